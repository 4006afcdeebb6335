"""Fixed runs of every parameter set, which any simulator must repeat bit for bit.

Arrays run a layer of each file of ``tb/data``; engines and units run their benches; the heads of
``mixpe attention`` run through both of their units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from golden.parameters import SETS, ArrayParameters
from golden.quantise import quantise_weights
from golden.sets import Parameters
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS, BaselineParameters
from golden.synthetic import activations, causal_scores
from golden.values_parameters import VALUES_SETS
from hdl.array import Array
from hdl.block import Block
from hdl.export import verilog
from scripts import attention, checkpoint, sim
from scripts.units import unit
from tb import runner
from tb.attention_head import quantised_head
from tb.attention_unit import head_verilog, run_head
from tb.layer import run_layer

__all__ = ["DATA", "Fixture", "FIXTURES", "layer_fixture"]

DATA = Path(__file__).parent / "data"

#: Rows of activations of a layer.
TOKENS = 3

#: Features of a layer that are taken, and length of its sums in groups.
FEATURES, GROUPS = 16, 2


@dataclass(frozen=True)
class Fixture:
    """A design and what it is given.

    Attributes
    ----------
    parameters : Parameters
        Its set.
    name : str
        What it is given.
    design : callable
        Name of the top module and its Verilog, from no arguments.
    record : callable
        Runs the bench in Verilator with a seed and writes the ports to a file (VCD).
    """

    parameters: Parameters
    name: str
    design: Callable[[], tuple[str, str]]
    record: Callable[[int, Path], None]


def _exported(block: Callable[[], Block]) -> tuple[str, str]:
    """Module and Verilog of a block."""
    made = block()
    return made.module, verilog(made)


def layer_fixture(p: ArrayParameters, path: Path) -> Fixture:
    """Part of the first layer of a file through an array, with random stalls."""
    def record(seed, trace):
        rng = np.random.default_rng(seed)
        if path.stem.endswith("reference"):
            w = next(iter(load_file(path).values()))
        else:
            w = checkpoint.load(path, checkpoint.layers(path)[0]).dequantise()
        w = np.asarray(w, dtype=np.float64)[:GROUPS * p.group, :FEATURES]
        weights = quantise_weights(w, w=p.w, group=p.group, scale=p.scale)
        x = sim.quantised_activations(activations(rng, TOKENS, len(w)), p, p.group)
        top, source = _exported(lambda: Array(p))
        run_layer(source, top, p, x, weights, stalls=True, seed=seed, trace=trace)

    return Fixture(p, path.name, lambda: _exported(lambda: Array(p)), record)


def _bench(p: Parameters, bench: str, **settings) -> Fixture:
    """A set's unit and its bench."""
    def record(seed, trace):
        top, source = _exported(lambda: unit(p))
        runner.run(runner.build(source, top, trace=True), top, f"tb.{bench}", trace=trace,
                   seed=seed, parameters=p.to_dict(), **settings)

    return Fixture(p, bench, lambda: _exported(lambda: unit(p)), record)


def _head(bits: int) -> Fixture:
    """A head of causal attention of 16 tokens and 4 columns."""
    softmax = attention.softmax_set(bits, 16)
    values = attention.values_set(softmax)

    def record(seed, trace):
        rng = np.random.default_rng(seed)
        scores, v = causal_scores(2.0, 16, rng), rng.normal(size=(16, 4))
        head = quantised_head(softmax, scores, v)
        run_head(softmax, values, head.constants, scores, head.values, seed=seed, trace=trace)

    return Fixture(softmax, "attention head", lambda: head_verilog(softmax, values), record)


def _fixtures() -> list[Fixture]:
    """All fixtures."""
    softmax = {**SOFTMAX_SETS, **EXACT_SETS}.values()
    return [
        *(layer_fixture(p, path)
          for p in SETS.values() for path in sorted(DATA.glob("*.safetensors"))),
        _bench(SETS["tiny"], "bench_gemm", count=2, limit=40, products=10**4, resets=1),
        *(_bench(p, "bench_softmax_unit", rounds=1, resets=1,
                 exact=isinstance(p, BaselineParameters)) for p in softmax),
        *(_bench(p, "bench_values_unit", rounds=1, resets=1)
          for p in VALUES_SETS.values()),
        *map(_head, attention.BITS),
    ]


#: Every fixture.
FIXTURES = _fixtures()
