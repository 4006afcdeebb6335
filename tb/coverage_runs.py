"""Which sets are measured for coverage, and what runs for each: blocks, benches, settings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from golden.parameters import SETS, ArrayParameters
from golden.registers import unit_registers
from golden.sets import Parameters
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS, SoftmaxParameters
from golden.values_parameters import VALUES_SETS, ValuesParameters
from hdl.axi_lite import AxiLiteRegisters
from hdl.block import Block
from hdl.rescale import Rescale
from hdl.softmax.core import Softmax
from hdl.softmax.thresholds import Threshold
from hdl.tile import Tile
from hdl.values.core import Values
from hdl.values.reciprocal import Reciprocal
from scripts.units import unit
from tb.column import Column
from tb.packed import Packed

__all__ = ["COVERED", "Run", "runs"]

#: The engine with eight multiply-accumulates that its features below share.
_SMALL = ArrayParameters(name="small", lanes=4, tile_rows=1, tile_columns=2, mesh_rows=2,
                         mesh_columns=2, group=32, y_lanes=2, x_depth=64, w_depth=32)

_SOFTMAX = SOFTMAX_SETS["attention_tiny"]

#: Sets that between them have every feature.
COVERED: dict[str, Parameters] = {each.name: each for each in (
    SETS["tiny"],
    # MixLLM's features of 8 and 4 bits; activations with scales and zero points.
    _SMALL.replace(name="small_mixed", wide=True, x_zero=True, x_scale="fp16", x_rows=2),
    # DenseShift, with scales of NVFP4.
    _SMALL.replace(name="small_shift", w="shift3", mac="shift", scale="e4m3", y="bf16"),
    # Aligned activations.
    _SMALL.replace(name="small_aligned", x="fp16", x_align=8, x_scale="e8m0", y="int8"),
    # Float activations.
    _SMALL.replace(name="small_float", x="bf16", mac="float", w="int4", scale="bf16", lanes=2,
                   group=16, y="fp32"),
    _SOFTMAX,
    _SOFTMAX.replace(name="tiny_3bit", bits=3, y="u16", accumulate="lut"),
    _SOFTMAX.replace(name="tiny_4bit", x="bf16", bits=4, y="fp16"),
    EXACT_SETS["attention_tiny_exact"],
    VALUES_SETS["attention_tiny_pv"],
)}


@dataclass(frozen=True)
class Run:
    """A block and the benches that run on it.

    Parameters
    ----------
    make : callable
        Gives the :class:`hdl.block.Block`.
    benches : dict of str to dict
        Settings of each bench by its module, besides the parameters and the inputs of a
        :class:`tb.packed.Packed`.
    """

    make: Callable[[], Block]
    benches: dict[str, dict[str, Any]] = field(default_factory=dict)


def runs(p: Parameters) -> Iterator[Run]:
    """The unit first, then blocks of it whose corners its ports reach rarely."""
    yield Run(partial(unit, p), _UNITS[p.unit](p))
    yield Run(partial(AxiLiteRegisters, p, unit_registers(p)),
              {"tb.bench_registers": {"unit": p.unit}})
    if isinstance(p, ArrayParameters):
        column = p.replace(mesh_columns=1, tile_columns=1 + p.wide, y_lanes=1, bands=1,
                           x_rows=1)
        for block, bench in ((partial(Column, column), "dequantiser"),
                             (partial(Rescale, p), "rescale")):
            yield Run(partial(_packed, block), {f"tb.bench_{bench}": {"count": 10_000}})
        yield Run(partial(Tile, p), {"tb.bench_tile": {"groups": 1 << 10}})
    elif isinstance(p, SoftmaxParameters):
        yield Run(partial(Softmax, p), {"tb.bench_softmax": {"rounds": 4, "resets": 4}})
        yield Run(partial(Threshold, p), {"tb.bench_threshold": {"count": 3_000}})
    elif isinstance(p, ValuesParameters):
        yield Run(partial(Values, p), {"tb.bench_values": {"rounds": 3, "resets": 4}})
        yield Run(partial(Reciprocal, p), {"tb.bench_reciprocal": {"count": 500}})


def _packed(block: Callable[[], Block]) -> Packed:
    """A block as its bench takes it."""
    return Packed(block())


def _engine(p: ArrayParameters) -> dict[str, dict[str, Any]]:
    return {"tb.bench_gemm": {"count": 4, "limit": 200, "products": 10**5, "resets": 2},
            "tb.bench_gemm_crosses": {"rounds": 12}}


def _softmax(p) -> dict[str, dict[str, Any]]:
    found = {"tb.bench_softmax_unit": {"rounds": 4, "resets": 4,
                                       "exact": p.unit == "exact_softmax"}}
    if p.unit == "softmax":
        found["tb.bench_softmax_crosses"] = {"rounds": 50}
    return found


def _values(p: ValuesParameters) -> dict[str, dict[str, Any]]:
    return {"tb.bench_values_unit": {"rounds": 3, "resets": 4},
            "tb.bench_values_corners": {"rounds": 6}}


_UNITS = {"array": _engine, "softmax": _softmax, "exact_softmax": _softmax, "values": _values}
