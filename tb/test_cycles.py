"""The cycle models against the hardware's counters, and the memory's against a plain one."""

import os
import re
import secrets
from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from golden.cycles import GemmShape, commands_cycles, gemm_cycles
from golden.layer_cycles import Memory, layer_cycles
from golden.parameters import SETS, ArrayParameters
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS
from golden.stream import group_beats
from golden.unit_cycles import softmax_cycles, values_cycles
from golden.values_parameters import VALUES_SETS
from hdl.export import verilog
from hdl.gemm import Gemm
from hdl.softmax.core import Softmax
from hdl.softmax.exact import ExactSoftmax
from hdl.values.unit import ValuesUnit
from tb.engines import ENGINES as SMALL_ENGINES
from tb.engines import SMALL
from tb.marks import first_by_default
from tb.runner import simulate
from tb.test_engine import ENGINES, QUICK, STEADY
from tb.test_softmax_unit import RIVALS, TABLED, UNITS
from tb.test_values_unit import UNITS as VALUES_UNITS

#: Engines that other tests compile too.
MODELS = [each for each in ENGINES if each.name in QUICK]

#: Units of attention that other tests compile too.
SOFTMAX_UNITS = [UNITS[0], TABLED[0], RIVALS[0]]


def seeded() -> tuple[int, np.random.Generator]:
    """Seed, which is printed, and repeated if it is given."""
    seed = int(os.environ.get("COCOTB_RANDOM_SEED", secrets.randbelow(1 << 31)))
    print(f"COCOTB_RANDOM_SEED={seed}")
    return seed, np.random.default_rng(seed)


def refused(message: str):
    """Context that expects an error with exactly this message."""
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def edges(p: ArrayParameters) -> list[GemmShape]:
    """Shapes at the ends of what a set takes."""
    deep = min(p.w_depth, p.x_depth // 2) // p.beats * p.lanes * p.beats
    return [GemmShape(**shape) for shape in (
        {"m": 1, "k": 1, "n": 1},
        {"m": 1, "k": 3 * p.group, "n": 3 * p.columns},
        {"m": p.rows, "k": p.full_rate_length, "n": p.columns}
        if p.full_rate_length <= p.x_depth * p.lanes else {"m": p.rows, "k": p.group, "n": 1},
        # One group, shorter than the least
        {"m": p.rows + 1, "k": p.lanes + 1, "n": 4 * p.columns, "group": p.lanes + 1},
        {"m": 2 * p.rows, "k": p.group + 1, "n": p.columns + 1, "group": p.least_group},
        # All places for activations, and for the weights of a pass
        {"m": 2 * p.rows, "k": deep, "n": 2 * p.columns},
        {"m": p.rows * min(16, p.x_depth // p.least_beats), "k": 1, "n": 2 * p.columns},
    )]


def any_shape(rng, p: ArrayParameters, beats: int) -> GemmShape:
    """Shape that fits a set's buffers, of no more than some beats."""
    while True:
        group = int(rng.integers(p.least_beats, p.beats + 1)) * p.lanes
        k = int(rng.integers(1, 6 * p.group if rng.random() < 0.8 else 9))
        if k <= p.group and rng.random() < 0.3:
            group = k
        m, n = (int(rng.integers(1, 5 * size)) for size in (p.rows, p.columns))
        wide = int(rng.integers(0, n + 1)) if p.wide and rng.random() < 0.7 else 0
        try:
            if gemm_cycles(p, m, k, n, wide=wide, group=group).busy <= beats:
                return GemmShape(m=m, k=k, n=n, wide=wide, group=group)
        except ValueError:
            continue


@pytest.mark.parametrize("parameters", [
    *MODELS, *(pytest.param(each, marks=pytest.mark.full)
               for each in (*SMALL_ENGINES, STEADY, *ENGINES, *SETS.values())
               if each not in MODELS)],
    ids=lambda parameters: parameters.name)
def test_engine(parameters):
    seed, rng = seeded()
    runs  = [[shape] for shape in edges(parameters)]
    runs += [[any_shape(rng, parameters, 1000)] for _ in range(6)]
    runs += [[any_shape(rng, parameters, 400) for _ in range(count)] for count in (2, 2, 4, 4, 6)]
    runs += [[any_shape(rng, parameters, 300)] * 4, edges(parameters)[:4]]
    # Activations that wait for places of those before
    full = edges(parameters)[5:7]
    runs += [full[:1] * 3, full * 2, [replace(shape, n=1) for shape in full * 2]]
    assert len(runs) * len(MODELS) >= 40
    engine = Gemm(parameters)
    assert simulate(verilog(engine), engine.module, "tb.bench_cycles", seed=seed,
                    parameters=parameters.to_dict(),
                    runs=[[vars(shape) for shape in shapes] for shapes in runs]) == 1


@pytest.mark.full
def test_engine_that_holds_a_single_group():
    p = SMALL.replace(name="shallow", x_depth=SMALL.least_beats)
    runs = [[GemmShape(m=1, k=k, n=5)] * count for k in (1, p.group) for count in (1, 4)]
    engine = Gemm(p)
    assert simulate(verilog(engine), engine.module, "tb.bench_cycles", seed=1,
                    parameters=p.to_dict(),
                    runs=[[vars(shape) for shape in shapes] for shapes in runs]) == 1


@pytest.mark.parametrize("parameters", [
    *SOFTMAX_UNITS, *(pytest.param(each, marks=pytest.mark.full)
                      for each in (*UNITS, *TABLED, *RIVALS) if each not in SOFTMAX_UNITS)],
    ids=lambda parameters: parameters.name)
def test_softmax_unit(parameters):
    seed, rng = seeded()
    p, exact = parameters, parameters in RIVALS
    runs = [(1, 1), (30, 1), (1, p.max_length), (6, p.max_length), (8, p.least_length),
            (12, p.least_length - 1), (20, p.width + 1)]
    runs += [(int(rng.integers(2, 20)), int(rng.integers(1, p.max_length + 1))) for _ in range(4)]
    runs  = [(rows, n) for rows, n in runs if 1 <= n <= p.max_length]
    unit = (ExactSoftmax if exact else Softmax)(p)
    assert simulate(verilog(unit), unit.module, "tb.bench_softmax_cycles", seed=seed, exact=exact,
                    parameters=p.to_dict(), runs=runs) == 1


@pytest.mark.parametrize("parameters", first_by_default(VALUES_UNITS),
                         ids=lambda parameters: parameters.name)
def test_values_unit(parameters):
    seed, rng = seeded()
    p = parameters
    runs = [(1, 1, 1), (p.queries, p.max_length, 2 * p.columns), (3 * p.queries + 1, 5, 1),
            (4 * p.queries, p.full_rate_length, 8 * p.columns), (2 * p.queries, p.max_length, 1)]
    runs += [(int(rng.integers(1, 12)), int(rng.integers(1, p.max_length + 1)),
              int(rng.integers(1, 20))) for _ in range(5)]
    runs  = [(m, min(n, p.max_length), d) for m, n, d in runs]
    unit = ValuesUnit(p)
    assert simulate(verilog(unit), unit.module, "tb.bench_values_cycles", seed=seed,
                    parameters=p.to_dict(), runs=runs) == 1


@pytest.mark.parametrize("name", SETS)
def test_commands_that_repeat(name):
    """Output tiles that are skipped are those that are computed one by one."""
    p = SETS[name]
    for wide in {0, 5 * p.columns * p.wide}:
        for k in (1, p.group, p.full_rate_length):
            cycles = [gemm_cycles(p, p.rows, k, passes * p.columns, wide=wide, group=p.group)
                      for passes in (20, 22, 24, 1024)]
            # Dividends of 20 to 24 passes may differ by a bit.
            first, second, third = (each.total - each.edges for each in cycles[:3])
            assert third - second == second - first
            assert cycles[3].total - cycles[3].edges == third + 500 * (third - second)


def test_rate():
    """From its full length on an engine waits for nothing but the first activations."""
    for p in SETS.values():
        if p.x_depth * p.lanes >= p.full_rate_length:
            cycles = gemm_cycles(p, p.rows, p.full_rate_length, 40 * p.columns)
            assert set(cycles.stalls) - {"x", "t"} == {"w", "s", "sx", "y"}
            assert sum(cycles.stalls.values()) == cycles.stalls["x"]
            assert cycles.edges < 400


@pytest.mark.parametrize(("change", "message"), [
    ({"m": 0}, "Parameter m must be an integer from 1 to 16777215, not 0"),
    ({"k": 1.0}, "Parameter k must be an integer from 1 to 16777215, not 1.0"),
    ({"n": 1 << 24}, "Parameter n must be an integer from 1 to 16777215, not 16777216"),
    ({"wide": 65}, "Parameter wide must be an integer from 0 to 64, not 65"),
    ({"wide": 1}, "Parameter wide must be 0 for set edge, not 1"),
    ({"group": 0}, "Parameter group must be an integer from 1 to 65535, not 0"),
    ({"group": 120}, "Group size must be a multiple of 16 from 128 to 128 for set edge, not 120"),
    ({"m": 1, "k": 16400},
     "Parameter x_depth must be at least 1032 for M = 1 and K = 16400, not 1024"),
    ({"m": 9, "k": 8208},
     "Parameter x_depth must be at least 1040 for M = 9 and K = 8208, not 1024"),
])
def test_shapes_that_are_refused(change, message):
    with refused(message):
        gemm_cycles(SETS["edge"], **{"m": 8, "k": 1024, "n": 64} | change)


def test_commands_that_are_refused():
    p, shape = SETS["edge"], GemmShape(m=1, k=128, n=8)
    with refused("Shapes must be at least one, not none"):
        commands_cycles(p, [])
    with refused("Starts must be 0 and 1 more, not [0]"):
        commands_cycles(p, [shape] * 2, [0])
    with refused("Start 1 must be in cycle 2 or later, as the queue is "
                 "full, not in 1"):
        commands_cycles(p, [shape] * 2, [0, 1])
    with refused("Parameter w_depth must be at least 520 for K = 8208 and "
                 "several blocks of rows, not 512"):
        gemm_cycles(p.replace(x_depth=2048), 9, 16 * 513, 8)


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 1), "Parameter rows must be an integer of at least 1, not 0"),
    ((1, 8193), "Parameter n must be an integer of at least 1 and at most 8192, not 8193"),
])
def test_rows_that_are_refused(arguments, message):
    for p in (SOFTMAX_SETS["attention"], EXACT_SETS["attention_exact"]):
        with refused(message):
            softmax_cycles(p, *arguments)


def test_values_that_are_refused():
    p = VALUES_SETS["attention_pv"]
    for index, (name, high) in enumerate((("m", (1 << 24) - 1), ("n", 8192), ("d", 65535))):
        for value in (0, high + 1):
            shape = [1, 1, 1]
            shape[index] = value
            with refused(f"Parameter {name} must be an integer from 1 to "
                         f"{high}, not {value}"):
                values_cycles(p, *shape)


def plain(p, m, k, n, memory, wide) -> tuple[int, int, int]:
    """Commands, bytes and cycles of a layer, command by command."""
    padded = sum(group_beats(k, p.group, p))
    limit = p.x_depth // padded
    if padded > p.w_depth:
        limit = 1
    overlap = memory.double_buffered and limit * p.rows < m and 2 * padded <= p.x_depth
    if overlap:
        limit = min(limit, p.x_depth // (2 * padded))
    jobs, left = [], m
    while left:
        rows = min(left, limit * p.rows)
        left -= rows
        count = -(-k // p.group)
        entry = 16 * (p.x_scale == "fp16") + 8 * p.x_zero
        bits = {"x": p.x_input_format.bits * rows * k,
                "w": (8 * wide + p.w_format.bits * (n - wide)) * k,
                "s": count * n * (p.scale_format.bits + p.zero_bits),
                "sx": 32 * rows, "t": rows * count * entry}
        into = sum(ceil(each / 8) for each in bits.values())
        out  = ceil(p.y_format.bits * rows * n / 8)
        jobs.append((memory.latency + ceil(into / memory.bytes_per_cycle),
                     gemm_cycles(p, rows, k, n, wide=wide).total,
                     ceil(out / memory.bytes_per_cycle), into + out))
    moved = sum(job[3] for job in jobs)
    if not overlap:
        return len(jobs), moved, sum(sum(job[:3]) for job in jobs)
    now = jobs[0][0]
    for index, (_, run, _, _) in enumerate(jobs):
        beside  = jobs[index + 1][0] if index + 1 < len(jobs) else 0
        beside += jobs[index - 1][2] if index else 0
        now += max(run, beside)
    return len(jobs), moved, now + jobs[-1][2]


@pytest.mark.parametrize("name", ["edge", "mixed", "w4a16_aligned", "fpga"])
@pytest.mark.parametrize("double_buffered", [False, True])
def test_layer(name, double_buffered):
    p, (_, rng) = SETS[name], seeded()
    for _ in range(20):
        m, n = (int(2**rng.uniform(0, high)) for high in (9, 8))
        k = int(rng.integers(1, p.x_depth * p.lanes * 7 // 10))
        wide = int(rng.integers(0, n + 1)) * p.wide
        memory = Memory(bytes_per_cycle=float(2**rng.uniform(-2, 9)),
                        latency=int(rng.integers(0, 500)), double_buffered=double_buffered)
        layer = layer_cycles(p, m, k, n, memory, wide=wide)
        commands, moved, total = plain(p, m, k, n, memory, wide)
        assert (layer.commands, layer.total) == (commands, total), (m, k, n, wide, memory)
        streams = {key: value for key, value in layer.memory.items() if key != "latency"}
        assert sum(streams.values()) * memory.bytes_per_cycle == pytest.approx(moved)
        assert layer.memory["latency"] == memory.latency * commands
        assert layer.utilisation == m * k * n / (p.peak * layer.total)


def test_bound():
    p = SETS["edge"]
    assert layer_cycles(p, 512, 1024, 512, Memory(bytes_per_cycle=64)).bound == "compute"
    assert layer_cycles(p, 8, 1024, 512, Memory(bytes_per_cycle=1)).bound == "w"
    assert layer_cycles(p, 512, 128, 8, Memory(bytes_per_cycle=1)).bound == "x"
    assert layer_cycles(p, 1, 128, 1, Memory(bytes_per_cycle=8, latency=9999)).bound == "latency"


@pytest.mark.parametrize(("change", "message"), [
    ({"bytes_per_cycle": 0}, "Parameter bytes_per_cycle must be a number above 0, not 0"),
    ({"bytes_per_cycle": float("nan")},
     "Parameter bytes_per_cycle must be a number above 0, not nan"),
    ({"latency": -1}, "Parameter latency must be an integer of at least 0, not -1"),
    ({"latency": 0.5}, "Parameter latency must be an integer of at least 0, not 0.5"),
    ({"double_buffered": 1}, "Parameter double_buffered must be True or False, not 1"),
])
def test_memories_that_are_refused(change, message):
    with refused(message):
        Memory(**{"bytes_per_cycle": 8} | change)


def test_layers_that_are_refused():
    p, memory = SETS["edge"], Memory(bytes_per_cycle=8)
    with refused("Parameter x_depth must be at least 1032 for K = 16400, "
                 "not 1024"):
        layer_cycles(p, 100, 16400, 8, memory)
    with refused("Parameter m must be an integer of at least 1, not 0"):
        layer_cycles(p, 0, 128, 8, memory)
    with refused("Parameter k must be an integer from 1 to 16777215, "
                 "not 0"):
        layer_cycles(p, 1, 0, 8, memory)
