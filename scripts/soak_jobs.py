"""Jobs of ``mixpe soak``: a block of some parameter set, and the benches that it must pass."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from golden.parameters import CHOICES, MACS, SETS, ArrayParameters
from golden.sets import Parameters
from golden.softmax_parameters import (
    EXACT_SETS,
    SOFTMAX_CHOICES,
    SOFTMAX_SETS,
    BaselineParameters,
    SoftmaxParameters,
)
from golden.values_parameters import VALUES_CHOICES, VALUES_SETS, ValuesParameters
from scripts.formats import ACTIVATIONS, WEIGHTS
from scripts.units import unit
from tb import runner

__all__ = ["BLOCKS", "Job", "Kind", "draw", "job_seeds", "perform"]

#: Share of the jobs whose set is one that comes with mixpe; the others are random.
NAMED = 0.1

#: Most multiply-accumulates of an array in each cycle, and most dequantisers.
LARGEST_ARRAY, MOST_DEQUANTISERS = 32, 6

#: How often random choices that break a rule are made again before their formats change.
TRIES = 1000


@dataclass(frozen=True)
class Kind:
    """A kind of block.

    Parameters
    ----------
    build : callable
        Makes the block of a parameter set.
    draw : callable
        Makes a random set from a generator of random numbers and a name.
    settings : callable
        Makes random settings of the benches from such a generator and a set.
    named : Parameters
        Set that comes with mixpe and is small.
    benches : dict of str to tuple of str
        Modules of the benches, and the tests of each; all if there are none.
    weight : int
        How often it is drawn, compared with others.
    """

    build: Callable[[Any], Any]
    draw: Callable[[np.random.Generator, str], Any]
    settings: Callable[[np.random.Generator, Any], dict[str, Any]]
    named: Parameters
    benches: dict[str, tuple[str, ...]]
    weight: int = 1


@dataclass(frozen=True)
class Job:
    """What its seed alone determines.

    Parameters
    ----------
    seed : int
        Seed of the choices and of the benches.
    block : str
        Kind of block, a key of :data:`BLOCKS`.
    parameters : Parameters
        Set of the block.
    settings : dict
        Settings of the benches.
    """

    seed: int
    block: str
    parameters: Parameters
    settings: dict[str, Any]

    @property
    def named(self) -> bool:
        """Whether the set is one that comes with mixpe."""
        return self.parameters == BLOCKS[self.block].named


def job_seeds(seed: int, count: int, first: int = 0) -> list[int]:
    """Seeds of ``count`` jobs of a soak, from job ``first`` on; below 2**31."""
    return [int(np.random.SeedSequence((seed, index)).generate_state(1)[0] >> 1)
            for index in range(first, first + count)]


def draw(seed: int) -> Job:
    """Job of a seed."""
    rng = np.random.default_rng(seed)
    block = _one(rng, [name for name, kind in BLOCKS.items() for _ in range(kind.weight)])
    kind = BLOCKS[block]
    parameters = kind.named if rng.random() < NAMED else kind.draw(rng, f"soak_{seed}")
    stalls = {"share": round(float(rng.uniform(0.1, 0.9)), 2), "longest": int(rng.integers(1, 7))}
    settings = {"stalls": stalls, "resets": int(rng.integers(1, 5))}
    return Job(seed, block, parameters, settings | kind.settings(rng, parameters))


def perform(job: Job, *, keep: bool = False) -> dict[str, Any]:
    """Generate, compile and run a job; return what is known of it, JSON-ready.

    Whatever goes wrong is the job's failure. The compiled simulation is removed unless the job
    failed, its set comes with mixpe or ``keep`` is set.
    """
    begin = time.monotonic()
    result = {"seed": job.seed, "block": job.block, "set": job.parameters.name,
              "named": job.named, "parameters": job.parameters.to_dict(),
              "settings": job.settings, "verilog_sha256": None, "tests": 0, "outputs": 0,
              "failure": None}
    try:
        result |= _simulate(job, keep or job.named)
    except Exception as error:  # of whatever kind: that a set cannot be generated is one too
        result["failure"] = f"{type(error).__name__}: {error}"
    return result | {"seconds": round(time.monotonic() - begin, 1)}


def _simulate(job: Job, keep: bool) -> dict[str, Any]:
    from hdl.export import verilog

    kind = BLOCKS[job.block]
    block = kind.build(job.parameters)
    source = verilog(block)
    folder = runner.build(source, block.module)
    with tempfile.TemporaryDirectory() as directory:
        tally = Path(directory) / "tally"
        tally.touch()
        tests = sum(runner.run(folder, block.module, bench, tests=",".join(names) or None,
                               seed=job.seed, tally=str(tally),
                               parameters=job.parameters.to_dict(), **job.settings)
                    for bench, names in kind.benches.items())
        outputs = sum(map(int, tally.read_text().split()))
    if not outputs:
        raise runner.SimulationError(f"{block.module}: no output was compared")
    if not keep:
        shutil.rmtree(folder)
    return {"verilog_sha256": sha256(source.encode()).hexdigest(), "tests": tests,
            "outputs": outputs}


# Random choices


def _one(rng: np.random.Generator, choices):
    """One of some choices."""
    return choices[int(rng.integers(len(choices)))]


def _choices(rng: np.random.Generator, choices: dict[str, tuple]) -> dict[str, Any]:
    """A value of each parameter that is chosen from a list."""
    return {field: _one(rng, values) for field, values in choices.items()}


def _integers(rng: np.random.Generator, **limits: tuple[int, int]) -> dict[str, int]:
    """A value of each parameter that is an integer, from its least to its greatest."""
    return {field: int(rng.integers(low, high + 1)) for field, (low, high) in limits.items()}


def _valid(make: Callable[[], Any], small: Callable[[Any], bool] = lambda parameters: True,
           tries: int | None = None):
    """The first set that ``make`` makes which breaks no rule and is small; None without any."""
    for _ in count() if tries is None else range(tries):
        try:
            parameters = make()
        except ValueError:
            continue
        if small(parameters):
            return parameters
    return None


def _array(rng: np.random.Generator, name: str) -> ArrayParameters:
    """Random set of an array that is small."""
    while True:
        formats = WEIGHTS[_one(rng, list(WEIGHTS))] | ACTIVATIONS[_one(rng, list(ACTIVATIONS))]
        if formats.get("x_align"):
            formats |= _integers(rng, x_align=(3, 16))
        elif "x_scale" in formats:
            formats |= {"x_scale": _one(rng, ("fp16", "bf16"))}
        formats |= {field: _one(rng, CHOICES[field]) for field in ("scale", "y", "adders", "cut")}
        found = _valid(partial(_shaped, rng, name, formats), _small, TRIES)
        if found:
            return found


def _small(p: ArrayParameters) -> bool:
    """Whether an array compiles in some ten seconds."""
    return p.peak <= LARGEST_ARRAY and p.columns * p.bands <= MOST_DEQUANTISERS


def _shaped(rng: np.random.Generator, name: str, formats: dict[str, Any]) -> ArrayParameters:
    """Set of some formats, if the shape that is drawn for it breaks no rule."""
    sizes = _integers(rng, lanes=(1, 8), tile_rows=(1, 3), tile_columns=(1, 4), mesh_rows=(1, 3),
                      mesh_columns=(1, 3), bands=(1, 3), y_lanes=(1, 4), x_rows=(1, 4))
    beats = int(rng.integers(4, 13))
    # Room for two blocks of two groups and a bit, which the benches of the engine ask for.
    w_depth = 2 * beats + 12 + int(rng.integers(0, 20))
    x_depth = 2 * w_depth + int(rng.integers(0, 40))
    return ArrayParameters(name=name, mac=_one(rng, list(MACS)), group=sizes["lanes"] * beats,
                           w_depth=w_depth, x_depth=x_depth, **sizes, **formats)


def _softmax(rng: np.random.Generator, name: str) -> SoftmaxParameters:
    """Random set of a softmax unit."""
    return _valid(lambda: SoftmaxParameters(
        name=name, **_choices(rng, SOFTMAX_CHOICES),
        **_integers(rng, width=(1, 8), bits=(2, 4), max_length=(4, 100), exp_bits=(4, 15),
                    sets=(1, 4), least_length=(1, 60))))


def _exact_softmax(rng: np.random.Generator, name: str) -> BaselineParameters:
    """Random set of a softmax unit with exact exponents."""
    return _valid(lambda: BaselineParameters(
        name=name, y=_one(rng, SOFTMAX_CHOICES["y"]),
        **_integers(rng, width=(1, 3), max_length=(4, 100), least_length=(1, 60))))


def _values(rng: np.random.Generator, name: str) -> ValuesParameters:
    """Random set of a unit for codes times V, whose longest rows run at the full rate."""
    return _valid(lambda: ValuesParameters(
        name=name, **_choices(rng, VALUES_CHOICES), products=_one(rng, (1, 2, 4, 8, 16)),
        code_bits=_one(rng, (8, 16)),
        **_integers(rng, width=(1, 4), words=(1, 2), bits=(2, 4), queries=(2, 3), columns=(1, 3),
                    max_length=(3, 120), exp_bits=(4, 15), sets=(1, 4))),
        lambda p: p.full_rate_length <= p.max_length and p.tokens < p.max_length)


# Settings of the benches


def _layers(rng: np.random.Generator, p: ArrayParameters) -> dict[str, Any]:
    """Shapes (M, K, N), and layers (M, K, N, G) in groups of every size."""
    def shape(groups: int) -> tuple[int, int, int]:
        sizes = rng.integers(1, [2 * p.rows + 1, groups * p.group + 1, 2 * p.columns + 1])
        return tuple(map(int, sizes))

    layers = []
    for m, k, n in (shape(3) for _ in range(4)):
        sizes = range(p.least_group, p.group + 1, p.lanes)
        one = k <= p.group and rng.random() < 0.3  # a group for each output feature
        layers.append((m, k, n, k if one else _one(rng, sizes)))
    return {"shapes": [shape(2) for _ in range(4)], "lengths": [0], "layers": layers}


def _gemms(rng: np.random.Generator, p: ArrayParameters) -> dict[str, Any]:
    """How many GEMMs, and of what size."""
    return {"count": 4, "limit": int(rng.integers(20, 60)), "products": 20_000}


def _rounds(rng: np.random.Generator, p: Parameters) -> dict[str, Any]:
    """How often rows or jobs of all lengths run; a unit with exact exponents is told apart."""
    return {"rounds": int(rng.integers(1, 3)), "exact": isinstance(p, BaselineParameters)}


def _stalled(name: str) -> tuple[str, ...]:
    """A test with and without stalls."""
    return f"{name}/stalls=False", f"{name}/stalls=True"


def _array_block(p):
    from hdl.array import Array
    return Array(p)


def _softmax_block(p):
    from hdl.softmax.core import Softmax
    return Softmax(p)


def _exact_softmax_block(p):
    from hdl.softmax.exact import ExactSoftmax
    return ExactSoftmax(p)


def _values_block(p):
    from hdl.values.core import Values
    return Values(p)


_TINY, _TINY_SOFTMAX = SETS["tiny"], SOFTMAX_SETS["attention_tiny"]
_TINY_EXACT, _TINY_VALUES = EXACT_SETS["attention_tiny_exact"], VALUES_SETS["attention_tiny_pv"]

#: Tests of the engine that hold for every set; the others rest on sizes that sets are made for.
_GEMM_TESTS = (*_stalled("shapes"), "reset_in_the_middle/soft=False",
               "reset_in_the_middle/soft=True", "shapes_that_break_a_rule", "queue_of_commands",
               "ends_of_streams", "counters")

#: Kinds of blocks by their names.
BLOCKS = {
    "array": Kind(_array_block, _array, _layers, _TINY,
                  {"tb.bench_array": (), "tb.bench_matrix": ()}, weight=3),
    "engine": Kind(unit, _array, _gemms, _TINY, {"tb.bench_gemm": _GEMM_TESTS},
                   weight=3),
    "softmax": Kind(_softmax_block, _softmax, _rounds, _TINY_SOFTMAX, {"tb.bench_softmax": ()}),
    "softmax, ports": Kind(unit, _softmax, _rounds, _TINY_SOFTMAX,
                           {"tb.bench_softmax_unit": ()}),
    "exact softmax": Kind(_exact_softmax_block, _exact_softmax, _rounds, _TINY_EXACT,
                          {"tb.bench_softmax": ()}),
    "exact softmax, ports": Kind(unit, _exact_softmax, _rounds, _TINY_EXACT,
                                 {"tb.bench_softmax_unit": ()}),
    "values": Kind(_values_block, _values, _rounds, _TINY_VALUES, {"tb.bench_values": ()}),
    "values, ports": Kind(unit, _values, _rounds, _TINY_VALUES,
                          {"tb.bench_values_unit": (*_stalled("packets"), "after_softmax",
                                                    "errors", "soft_reset")}),
}
