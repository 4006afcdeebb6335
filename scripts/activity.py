"""Switching activity of mapped blocks on operands, with their results checked."""

from collections.abc import Mapping as Values

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

from golden.formats import FORMATS
from golden.parameters import RESCALE_LATENCY, ArrayParameters
from golden.rival_parameters import RivalParameters
from golden.rivals import dequantise, dot
from hdl.foot import column_layout, step_layout
from hdl.row_sum import row_sum_layout, x_group_layout
from scripts.operands import (
    WIDE,
    Sums,
    busy,
    operands,
    outputs,
    rival_operands,
    source_of,
    sums,
    warm_up,
)
from synth.mapping import Mapping
from synth.power import Activity
from synth.simulation import simulate
from tb.rival_driver import drains, latency
from tb.runner import SimulationError
from tb.tile_driver import LATENCY, expected

__all__ = ["bits", "check", "dequantiser_activity", "foot_activity", "rescale_activity",
           "rival_activity", "row_sum_activity", "tile_activity", "with_reset"]

#: Cycles of reset.
RESET = 2

#: Groups of an output, and outputs of a dequantiser. The first is not measured; the others take
#: all groups of a layer equally often.
GROUPS, OUTPUTS = 8, 4


def tile_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                  streams: int | None = None) -> Activity:
    """Activity of a tile on operands of a kind, groups without a bubble, zeros from above.

    Sums drain as in a band: for as many cycles after a group's last beat as it has rows.

    Raises
    ------
    SimulationError
        If a sum differs from numpy's.
    """
    p = parameters
    x, w = operands(p, kind, streams)
    streams = x.shape[1]
    enable = busy(p, kind)
    last = enable & (np.cumsum(enable) % p.beats == 0)
    move = _moves(p, last)
    above = np.zeros((len(x), p.tile_columns), dtype=np.int64)
    shown, activity = simulate(mapping.netlist, with_reset({
        "x_i": bits(x, p.x_format.bits),
        "w_i": bits(w, p.w_format.bits),
        "enable_i": _all(enable, streams),
        "last_i": _all(last, streams),
        "move_i": _all(move, streams),
        "drain_i": np.zeros((len(x), streams, p.tile_columns * p.sum_bits), dtype=bool),
    }), measured=len(x) - warm_up(p, kind))
    begin = np.flatnonzero(last)[0] + LATENCY
    for stream in range(streams):
        drained = expected(p, x[:, stream], w[:, stream], last, above, enable, move)
        wanted = bits(drained[:, None], p.sum_bits)
        # The driver counts a sum in the cycle that ends with the edge that shows it.
        check(mapping, shown["drain_o"][RESET:, [stream]][begin:], wanted[begin:])
    return activity


def rival_activity(mapping: Mapping, parameters: RivalParameters, kind: str,
                   streams: int | None = None) -> Activity:
    """Activity of a rival on operands of a kind, sums of a group without a bubble.

    Raises
    ------
    SimulationError
        If a sum differs from that of :mod:`golden.rivals`.
    """
    p = parameters
    source, given = source_of(p), rival_operands(p, kind, streams)
    length, streams = given.x.shape[:2]
    last = _ends(source, length)
    inputs = {
        "x_i": bits(given.x, p.x_format.bits),
        "w_i": bits(given.w, p.w_format.bits),
        "last_i": _all(last, streams),
    }
    factors = given.w
    if drains(p):
        inputs["drain_i"] = np.zeros((length, streams, p.tile_columns * p.sum_bits), dtype=bool)
    if p.dequantises:
        inputs["zero_i"] = bits(given.zeros, p.w_format.zero_bits)
        inputs["scale_i"] = bits(given.scales, p.scale_format.bits)
        factors = dequantise(p, given.w, given.zeros[..., None], given.scales[..., None])
    shown, activity = simulate(mapping.netlist, with_reset(inputs),
                               measured=length - warm_up(source))
    totals = dot(p, _by_group(given.x, source.beats),
                 _by_group(factors, source.beats).swapaxes(-1, -2))
    _check_rows(mapping, shown["drain_o"][RESET:], totals, last, latency(p), p.sum_bits)
    return activity


def row_sum_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                     streams: int | None = None) -> Activity:
    """Activity of a tile's :class:`hdl.row_sum.RowSum` on the operands of the tile.

    Raises
    ------
    SimulationError
        If a sum differs from numpy's.
    """
    p = parameters
    x, _ = operands(p, kind, streams)
    length, streams = x.shape[:2]
    last = _ends(p, length)
    shown, activity = simulate(mapping.netlist, with_reset({
        "x": bits(x, p.x_format.bits),
        "enable": _all(np.ones_like(last), streams),
        "last": _all(last, streams),
        "move": _all(_moves(p, last), streams),
        "drain_i": np.zeros((length, streams, p.row_sum_bits), dtype=bool),
    }), measured=length - warm_up(p))
    values = (p.x_format.decode(x) / p.x_format.step).astype(np.int64)
    totals = _by_group(values, p.beats).sum(axis=-1, keepdims=True)
    # What the accumulators held is in the first sums.
    later = slice(p.beats, None)
    _check_rows(mapping, shown["drain_o"][RESET:][later], totals[1:], last[later], 2,
                p.row_sum_bits)
    return activity


def _ends(p: ArrayParameters, length: int) -> NDArray[np.bool_]:
    """Cycles in which a group ends."""
    return np.arange(length) % p.beats == p.beats - 1


def _moves(p: ArrayParameters, last: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cycles in which sums drain: of a group's last beat, and as many more as there are rows."""
    return np.convolve(last, np.ones(1 + p.band_rows))[:len(last)] > 0


def _all(numbers: NDArray, streams: int) -> NDArray:
    """Numbers of cycles for all streams, shape (cycles, streams, 1)."""
    return np.repeat(numbers, streams).reshape(-1, streams, 1)


def _by_group(codes: NDArray[np.int64], beats: int) -> NDArray[np.int64]:
    """Codes (groups, streams, count, K) of beats (cycles, streams, count, lanes)."""
    _, streams, count, lanes = codes.shape
    parts = codes.reshape(-1, beats, streams, count, lanes)
    return parts.transpose(0, 2, 3, 1, 4).reshape(-1, streams, count, beats * lanes)


def _check_rows(mapping: Mapping, shown: NDArray[np.bool_], totals: NDArray[np.int64],
                last: NDArray[np.bool_], after: int, width: int) -> None:
    """Refuse a netlist whose rows do not drain, the bottom one first, ``after`` cycles later.

    ``totals`` are (groups, streams, rows, columns), ``shown`` the bits of a row in each cycle.
    """
    for row, wanted in enumerate(totals.swapaxes(0, 2)[::-1]):
        seen = shown[after + row:][last[:len(last) - after - row]]
        wanted = wanted.swapaxes(0, 1)[:len(seen)]
        check(mapping, seen, bits(wanted, width))


def dequantiser_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                         streams: int | None = None) -> Activity:
    """Activity of a column's dequantiser that takes a sum in each cycle, of all rows in turn.

    A bank is read once while sums are added to the other.

    Raises
    ------
    SimulationError
        If an accumulator differs from numpy's.
    """
    p = parameters
    taken = sums(p, kind, GROUPS * OUTPUTS, streams)
    steps = _steps(p)
    streams = taken.sum.shape[2]
    values = {name: each.reshape(-1, streams) for name, each in vars(taken).items()}
    values |= {name: _all(numbers, streams)[..., 0] for name, numbers in steps.items()}
    ports = {name: len(nets) for name, (direction, nets) in mapping.netlist.ports.items()
             if direction == "input" and name not in ("clk", "rst")}
    shown, activity = simulate(mapping.netlist, with_reset({
        name: bits(values[name], width) for name, width in ports.items()
    }), measured=(OUTPUTS - 1) * GROUPS * p.band_rows)
    _check_accumulators(mapping, p, taken, steps, shown["result"][RESET:])
    return activity


def foot_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                  streams: int | None = None) -> Activity:
    """Activity of a tile's foot that takes a row of sums in each cycle, of all rows in turn.

    A bank is read once while sums are added to the other.

    Raises
    ------
    SimulationError
        If an accumulator differs from numpy's.
    """
    p = parameters
    taken = sums(p, kind, GROUPS * OUTPUTS, streams)
    steps = _steps(p)
    length, streams = len(steps["row"]), taken.sum.shape[2]
    shared = {name: _all(numbers, streams)[..., 0] for name, numbers in steps.items()}
    values = {name: each.reshape(length, streams, *each.shape[3:])
              for name, each in vars(taken).items()}
    rows = [_packed(layout, chosen) for layout, chosen in (
        (row_sum_layout(p), {"sum": values["row_sum"]}),
        (x_group_layout(p), {"scale": values["x_scale"], "zero": values["x_zero"]}))
        if layout.size]
    columns = [_packed(column_layout(p), {
        name: values[key][..., column]
        for name, key in (("scale", "scale"), ("zero", "zero"), ("sum", "column_sum"))})
        for column in range(p.tile_columns)]
    late = {
        "sums": bits(values["sum"], p.sum_bits),
        "step_i": _packed(step_layout(p), shared | {"wide": np.full_like(shared["row"],
                                                                         kind == WIDE)}),
        **{name: bits(shared[name], len(mapping.netlist.ports[name][1]))
           for name in ("read_row", "read_bank")},
        **({"row_i": np.concatenate(rows, axis=-1)} if rows else {}),
    }
    # What the columns have in a group is queued with its last operands, sums come later.
    early = {"columns": np.concatenate(columns, axis=-1),
             "columns_valid": _all(steps["row"] == 0, streams)}
    lead = p.mesh_rows + 2
    inputs = {name: _padded(each, lead, 0) for name, each in late.items()}
    inputs |= {name: _padded(each, 0, lead) for name, each in early.items()}
    shown, activity = simulate(mapping.netlist, with_reset(inputs),
                               measured=(OUTPUTS - 1) * GROUPS * p.band_rows)
    _check_accumulators(mapping, p, taken, steps, shown["result"][RESET + lead:])
    return activity


def rescale_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                     streams: int = 8) -> Activity:
    """Activity of an output lane that takes an accumulator in each cycle, row by row.

    Streams share the columns of the layer.

    Raises
    ------
    SimulationError
        If an output differs from numpy's.
    """
    p = parameters
    accumulators, scales = outputs(p, kind)
    accumulators = accumulators.reshape(len(scales), streams, -1).transpose(0, 2, 1)
    accumulators = accumulators.reshape(-1, streams)
    scales = _all(np.repeat(scales, len(accumulators) // len(scales)), streams)[..., 0]
    shown, activity = simulate(mapping.netlist, with_reset({
        "enable": np.ones((*scales.shape, 1), dtype=bool),
        "acc":    bits(accumulators.view(np.uint32), 32),
        "scale":  bits(scales.view(np.uint32), 32),
    }), measured=len(scales) - RESCALE_LATENCY)
    wanted = bits(p.y_format.encode(accumulators * scales), p.y_format.bits)
    check(mapping, shown["y"][RESET + RESCALE_LATENCY:], wanted[:-RESCALE_LATENCY])
    return activity


def _steps(p: ArrayParameters) -> dict[str, NDArray[np.int64]]:
    """What goes with a row of sums, for each cycle."""
    group, row = np.divmod(np.arange(GROUPS * OUTPUTS * p.band_rows), p.band_rows)
    output, index = np.divmod(group, GROUPS)
    reads = index == GROUPS - 1
    return {"valid": np.ones_like(row), "end": row == p.band_rows - 1, "first": index == 0,
            "final": reads, "bank": output % 2, "row": row, "read_row": row * reads,
            "read_bank": 1 - output % 2}


def _packed(layout: data.StructLayout, values: Values[str, NDArray]) -> NDArray[np.bool_]:
    """Bits of a structure whose members have values (cycles, streams)."""
    return np.concatenate([bits(values[name], Shape.cast(field.shape).width)
                           for name, field in layout], axis=-1)


def _padded(values: NDArray, before: int, after: int) -> NDArray:
    """Values with cycles of zeros before and after them."""
    return np.pad(values, ((before, after), *[(0, 0)] * (values.ndim - 1)))


def _check_accumulators(mapping: Mapping, p: ArrayParameters, taken: Sums,
                        steps: dict[str, NDArray[np.int64]], shown: NDArray[np.bool_]) -> None:
    """Refuse a netlist that does not show the accumulators that :func:`_steps` reads."""
    wanted = _accumulators(p, taken).reshape(len(steps["row"]), *taken.sum.shape[2:])
    cycle = np.arange(len(wanted))
    before = cycle // (GROUPS * p.band_rows) * GROUPS * p.band_rows  # cycles of earlier outputs
    when = np.flatnonzero(steps["final"] & (before > 0))[:-1]
    # An accumulator shows one cycle after it is addressed, as the last group before left it.
    last = before[when] - p.band_rows + steps["row"][when]
    check(mapping, shown[1:][when], bits(wanted[last], 32))


def _accumulators(p: ArrayParameters, taken: Sums) -> NDArray[np.uint32]:
    """Codes of the accumulators after each group, by numpy; shape (groups, rows, streams, C)."""
    unit = p.x_format.step * p.w_format.step
    exact = (taken.joined - taken.zero * taken.row_sum[..., None]
             - taken.x_zero[..., None] * taken.column_sum)
    scales = p.scale_format.decode(taken.scale).astype(np.float32)
    if p.x_scale != "token":
        own = FORMATS[p.x_scale].decode(taken.x_scale).astype(np.float32)
        scales = scales * own[..., None]
    addends = (exact * unit).astype(np.float32) * scales
    found = np.zeros_like(addends)
    for group, addend in enumerate(addends):
        found[group] = addend + (np.float32(0) if group % GROUPS == 0 else found[group - 1])
    return found.view(np.uint32)


def bits(numbers: NDArray, width: int) -> NDArray[np.bool_]:
    """Bits of numbers (cycles, streams, ...), the lowest first; shape (cycles, streams, bits)."""
    numbers = np.asarray(numbers)
    places = np.arange(width).astype(numbers.dtype)
    return (numbers[..., None] >> places & 1).astype(bool).reshape(*numbers.shape[:2], -1)


def with_reset(inputs: dict[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Inputs with cycles of reset before them, in which all others are 0."""
    def led(values, first):
        return np.concatenate([np.full((RESET, *values.shape[1:]), first), values])

    cycles, streams = next(iter(inputs.values())).shape[:2]
    return {"rst": led(np.zeros((cycles, streams, 1), dtype=bool), True),
            **{name: led(values, False) for name, values in inputs.items()}}


def check(mapping: Mapping, actual: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> None:
    """Refuse a netlist whose outputs are not those that are wanted."""
    bad = np.argwhere((actual != wanted).any(axis=-1))
    if bad.size:
        raise SimulationError(f"Netlist of {mapping.top} is wrong in cycle {bad[0, 0]}")
