"""Faults around the hardware: resets, unknown initial values, bad neighbours, hostile accesses."""

import json
import re

import pytest

from golden.parameters import SETS
from golden.softmax_parameters import SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from hdl.array import Array
from hdl.export import description, verilog
from hdl.gemm import Gemm
from hdl.softmax.core import Softmax
from hdl.softmax.unit import SoftmaxUnit
from hdl.values.core import Values
from hdl.values.unit import ValuesUnit
from tb import runner
from tb.engines import SMALL
from tb.four_valued import replay

#: Sets whose transfers are short: a reset in every cycle does not take long.
SOFTMAX = SOFTMAX_SETS["attention_tiny"].replace(name="faulty_rows", max_length=12, least_length=5)
VALUES  = VALUES_SETS["attention_tiny_pv"].replace(name="faulty_values", max_length=12)
ENGINE  = SMALL.replace(name="faulty", x_depth=64, w_depth=64, x_zero=True, x_scale="fp16")

#: Units with standard ports, as tb.bench_faults calls them.
UNITS = {"engine": (Gemm, ENGINE), "softmax": (SoftmaxUnit, SOFTMAX),
         "values": (ValuesUnit, VALUES)}

#: Blocks with the bench and the tests that reset them in a transfer, and how many cycles apart
#: the default test does.
RESETS = {
    "array":   (Array, SETS["tiny"], "tb.bench_array", "reset_at_any_time", 3),
    "softmax": (Softmax, SOFTMAX, "tb.bench_softmax", "reset_in_the_middle", 7),
    "values":  (Values, VALUES, "tb.bench_values", "reset_in_the_middle", 11),
    "engine":  (Gemm, ENGINE, "tb.bench_gemm",
                "reset_in_the_middle/soft=False,reset_in_the_middle/soft=True", 9),
    "softmax, ports": (SoftmaxUnit, SOFTMAX, "tb.bench_softmax_unit", "soft_reset", 7),
    "values, ports":  (ValuesUnit, VALUES, "tb.bench_values_unit", "soft_reset", 11),
}

#: Cycles in which unknown values are looked for; the simulator that knows them is slow.
LONGEST = 400

#: What the benches read besides.
SETTINGS = {"shapes": [], "lengths": [0], "layers": [], "rounds": 1, "count": 1}


def by_default(names, *chosen: str) -> list:
    """Names of the default tests, and the others in the long tests."""
    return [name if name in chosen else pytest.param(name, marks=pytest.mark.full)
            for name in names]


def simulate(block, bench, tests, **settings):
    """Run some tests on a block."""
    return runner.simulate(verilog(block), block.module, bench, tests=tests,
                           parameters=block.parameters.to_dict(), **SETTINGS | settings)


def check_resets(name: str, every: int | None = None):
    """Reset in cycles of a transfer that are so far apart."""
    kind, parameters, bench, tests, default = RESETS[name]
    assert simulate(kind(parameters), bench, tests, every=every or default) == len(tests.split(","))


@pytest.mark.parametrize("name", by_default(RESETS, "engine", "softmax, ports"))
def test_reset_in_many_cycles(name):
    check_resets(name)


@pytest.mark.full
@pytest.mark.parametrize("name", RESETS)
def test_reset_in_every_cycle(name):
    check_resets(name, 1)


def gate(port: str) -> str | None:
    """Line that tells whether an output means anything, without its prefix; None if it always does.

    Those are the lines of a channel that are not its handshake.
    """
    prefix, _, line = port.rpartition("_")
    if prefix == "s_axil" and line in ("bresp", "rdata", "rresp"):
        return f"{line[0]}valid"
    return "tvalid" if prefix.startswith("m_axis") and line != "tvalid" else None


def ports_of(block) -> dict[str, dict]:
    """Ports of a unit but for its clock."""
    return {name: port for name, port in description(block, "")["ports"].items() if name != "aclk"}


def trace(block, source: str, path, initial: int) -> list[dict[str, int]]:
    """Every port in every cycle of a run that begins with a reset, for some initial values."""
    unit = next(name for name, (kind, _) in UNITS.items() if type(block) is kind)
    runner.simulate(source, block.module, "tb.bench_faults", tests="traces", seed=1,
                    initial=initial, unit=unit, parameters=block.parameters.to_dict(),
                    record=str(path), ports=[*ports_of(block)], **SETTINGS)
    return json.loads(path.read_text())


def after_reset(block, cycles: list[dict]) -> list[dict]:
    """Outputs of the cycles from the first one after the reset, without those that mean nothing."""
    outputs = [name for name, port in ports_of(block).items() if port["direction"] == "output"]
    first = [int(cycle["aresetn"]) for cycle in cycles].index(1)
    return [{name: cycle[name] for name in outputs
             if not (line := gate(name)) or int(cycle[f"{name.rpartition('_')[0]}_{line}"])}
            for cycle in cycles[first:]]


def unknown(block, source: str, cycles: list[dict[str, int]]) -> list[dict[str, str]]:
    """The same cycles where all registers and memories are unknown before the reset; bits."""
    inputs = {name: port["width"] for name, port in ports_of(block).items()
              if port["direction"] == "input"}
    rows = [[cycle[name] for name in inputs] for cycle in cycles]
    found = replay(source, block.module, "aclk", inputs, rows)
    return [{name: cycle[name] for name in ports_of(block)} for cycle in found]


@pytest.mark.parametrize("unit", by_default(UNITS, "softmax"))
def test_initial_values(unit, tmp_path):
    """No output depends on what registers and memories held before the reset.

    It has the same value for all initial values, in every cycle from the first one on, and is known
    when these are unknown.
    """
    kind, parameters = UNITS[unit]
    block = kind(parameters)
    source = verilog(block)
    assert " initial" not in source.partition("module ")[2]
    runs = [trace(block, source, tmp_path / "trace.json", seed) for seed in (1, 2, 3)]
    first, *others = (after_reset(block, run) for run in runs)
    assert len(first) > 200
    for other in others:
        assert other == first
    ports, begin = ports_of(block), runs[0][:LONGEST]
    bits = [{name: f"{value:0{ports[name]['width']}b}" for name, value in cycle.items()}
            for cycle in after_reset(block, begin)]
    # An unknown bit is none of a handshake, which `after_reset` looks at.
    found = unknown(block, source, begin)
    handshakes = [name for name in ports if name.endswith(("valid", "ready"))]
    first_cycle = len(begin) - len(bits)
    assert not any("x" in cycle[name] for cycle in found[first_cycle:] for name in handshakes)
    assert after_reset(block, found) == bits


def test_unknown_values_are_found():
    """Registers of one bit without a reset show."""
    block = SoftmaxUnit(SOFTMAX)
    right = verilog(block)
    wrong = re.sub(r"(assign \w+ = )rst \? 1'h0 : (\w+;)", r"\1\2", right)
    assert wrong != right
    idle = [dict.fromkeys(ports_of(block), 0) | {"aresetn": int(cycle > 0)} for cycle in range(9)]
    for source, known in ((right, True), (wrong, False)):
        last = unknown(block, source, idle)[-1]
        assert known == all("x" not in bits for name, bits in last.items() if not gate(name))


@pytest.mark.parametrize("unit", by_default(UNITS, "engine"))
def test_neighbours(unit):
    kind, parameters = UNITS[unit]
    tests = ["lines_between_transfers", "silent_neighbours", "registers_under_way"]
    if unit != "softmax":
        tests += ["nobody_asked", "short_streams", "long_streams"]
    assert simulate(kind(parameters), "tb.bench_faults", ",".join(tests), unit=unit) == len(tests)
