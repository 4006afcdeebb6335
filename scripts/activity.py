"""Switching activity of mapped blocks on operands, with their results checked."""

import numpy as np
from numpy.typing import NDArray

from golden.formats import FORMATS
from golden.parameters import ArrayParameters
from golden.rival_parameters import RivalParameters
from scripts.operands import STREAMS, Sums, busy, operands, sums, warm_up
from synth.mapping import Mapping
from synth.power import Activity
from synth.simulation import simulate
from tb.rival_driver import latency
from tb.runner import SimulationError
from tb.tile_driver import LATENCY, expected

__all__ = ["bits", "check", "dequantiser_activity", "element_activity", "tile_activity",
           "with_reset"]

#: Cycles of reset.
RESET = 2

#: Groups of an output, and outputs of a dequantiser; the first is not measured.
GROUPS, OUTPUTS = 8, 3


def tile_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                  streams: int | None = None) -> Activity:
    """Activity of a tile on operands of a kind, groups without a bubble, zeros from above.

    Sums drain as in a band: for as many cycles after a group's last beat as there are rows.

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
    move = np.convolve(last, np.ones(1 + p.band_rows))[:len(last)] > 0
    above = np.zeros((len(x), p.tile_columns), dtype=np.int64)
    control = {"enable_i": enable, "last_i": last, "move_i": move}
    outputs, activity = simulate(mapping.netlist, with_reset({
        "x_i": bits(x, p.x_format.bits),
        "w_i": bits(w, p.w_format.bits),
        **{port: np.repeat(values, streams).reshape(-1, streams, 1)
           for port, values in control.items()},
        "drain_i": np.zeros((len(x), streams, p.tile_columns * p.sum_bits), dtype=bool),
    }), measured=len(x) - warm_up(p, kind))
    begin = np.flatnonzero(last)[0] + LATENCY
    for stream in range(streams):
        wanted = bits(expected(p, x[:, stream], w[:, stream], last, above, enable,
                               move)[:, None], p.sum_bits)
        # The driver counts a sum in the cycle that ends with the edge that shows it.
        check(mapping, outputs["drain_o"][RESET:, [stream]][begin:], wanted[begin:])
    return activity


def element_activity(mapping: Mapping, parameters: RivalParameters, kind: str,
                     streams: int = STREAMS) -> Activity:
    """Activity of the int8 element on operands of a kind, groups without a bubble.

    Raises
    ------
    SimulationError
        If a sum differs from numpy's.
    """
    p = ArrayParameters(name=parameters.name, w="int8", mac="product", lanes=1, tile_rows=1,
                        tile_columns=1, group=parameters.group)
    x, w = (codes.reshape(-1, streams) for codes in operands(p, kind, streams))
    last = np.arange(len(x)) % p.beats == p.beats - 1
    outputs, activity = simulate(mapping.netlist, with_reset({
        "x_i": bits(x, p.x_format.bits),
        "w_i": bits(w, p.w_format.bits),
        "last_i": np.repeat(last, streams).reshape(-1, streams, 1),
        **({"drain_i": np.zeros((len(x), streams, p.sum_bits), dtype=bool)}
           if parameters.shadow else {}),
    }), measured=len(x) - warm_up(p))
    totals = (p.x_format.decode(x) * p.w_format.decode(w)).reshape(-1, p.beats, streams).sum(axis=1)
    # The last sum is not seen.
    after = latency(parameters)
    shown = outputs["drain_o"][RESET + after:][last[:-after]]
    check(mapping, shown, bits(totals.astype(np.int64)[:len(shown)], p.sum_bits))
    return activity


def dequantiser_activity(mapping: Mapping, parameters: ArrayParameters, kind: str,
                         streams: int = STREAMS) -> Activity:
    """Activity of a column's dequantiser that takes a sum in each cycle, of all rows in turn.

    A bank is read once while sums are added to the other.

    Raises
    ------
    SimulationError
        If an accumulator differs from numpy's.
    """
    p = parameters
    groups = GROUPS * OUTPUTS
    taken = sums(p, kind, groups, streams)
    group, row = np.divmod(np.arange(groups * p.band_rows), p.band_rows)
    output, index = np.divmod(group, GROUPS)
    reads = index == GROUPS - 1
    control = {"valid": np.ones_like(row), "first": index == 0, "row": row, "bank": output % 2,
               "read_row": row * reads, "read_bank": 1 - output % 2}
    values = {name: values.reshape(-1, streams) for name, values in vars(taken).items()}
    values |= {name: np.repeat(numbers[:, None], streams, axis=1).astype(np.int64)
               for name, numbers in control.items()}
    ports = {name: len(nets) for name, (direction, nets) in mapping.netlist.ports.items()
             if direction == "input" and name not in ("clk", "rst")}
    outputs, activity = simulate(mapping.netlist, with_reset({
        name: bits(values[name], width) for name, width in ports.items()
    }), measured=(OUTPUTS - 1) * GROUPS * p.band_rows)
    wanted = _accumulators(p, taken).reshape(-1, streams)
    when = np.flatnonzero(reads & (output > 0))
    # An accumulator shows one cycle after it is addressed, as the last group before left it.
    last = (output[when] * GROUPS - 1) * p.band_rows + row[when]
    check(mapping, outputs["result"][RESET + 1:][when[:-1]],
          bits(wanted[last[:-1]], outputs["result"].shape[-1]))
    return activity


def _accumulators(p: ArrayParameters, taken: Sums) -> NDArray[np.uint32]:
    """Codes of the accumulators after each group, by numpy."""
    unit = p.x_format.step * p.w_format.step
    exact = taken.sum - taken.zero * taken.row_sum - taken.x_zero * taken.column_sum
    scales = p.scale_format.decode(taken.scale).astype(np.float32)
    if p.x_scale != "token":
        scales = scales * FORMATS[p.x_scale].decode(taken.x_scale).astype(np.float32)
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
