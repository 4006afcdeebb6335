"""Driver of a tile, and what it must answer."""

import numpy as np
from cocotb.triggers import RisingEdge

from golden.parameters import ArrayParameters
from golden.stream import pack
from tb.random_layer import steps
from tb.stream import reset, start_clock

__all__ = ["LATENCY", "drain", "expected", "signed_fields"]

#: Cycles from operands to the bottom row's sum.
LATENCY = 3


def integer_type(bits: int):
    """Type of an array of signed integers; Python's if they have more than 64 bits."""
    return np.int64 if bits <= 64 else object


def signed_fields(words: list[int], bits: int, count: int):
    """Two's complement fields of words, the lowest first; shape (words, count)."""
    half = 1 << bits - 1
    return np.array([[((word >> bits * field) + half) % (1 << bits) - half
                      for field in range(count)] for word in words], dtype=integer_type(bits))


async def drain(dut, parameters: ArrayParameters, x, w, last, above, enable=None, move=None):
    """Sums that drain from the tile, shape (cycles, C), when it is fed for some cycles.

    Codes of activations ``x`` have shape (cycles, R, L), of weights ``w`` (cycles, C, L), ``last``
    (cycles,) and the sums of the tile ``above`` (cycles, C); ``enable`` and ``move`` (cycles,) are
    high in every cycle if absent.
    """
    p = parameters
    always = np.ones(len(x), dtype=bool)
    start_clock(dut)
    for port in (dut.x_i, dut.w_i, dut.enable_i, dut.last_i, dut.move_i, dut.drain_i):
        port.value = 0
    await reset(dut)
    beats = zip(pack(x.reshape(len(x), -1), p.x_format.bits),
                pack(w.reshape(len(w), -1), p.w_format.bits),
                (always if enable is None else enable).tolist(), last.tolist(),
                (always if move is None else move).tolist(), pack(above, p.sum_bits), strict=True)
    drained = []
    for x_beat, w_beat, enable_beat, last_beat, move_beat, above_beat in beats:
        dut.x_i.value = x_beat
        dut.w_i.value = w_beat
        dut.enable_i.value = enable_beat
        dut.last_i.value = last_beat
        dut.move_i.value = move_beat
        dut.drain_i.value = above_beat
        await RisingEdge(dut.clk)
        drained.append(int(dut.drain_o.value))
    return signed_fields(drained, p.sum_bits, p.tile_columns)


def expected(parameters: ArrayParameters, x, w, last, above, enable=None, move=None):
    """The same by definition: products by numpy, shadows as a shift register."""
    p = parameters
    totals = steps(p.x_format, x) @ steps(p.w_format, w).swapaxes(1, 2)
    if enable is not None:
        totals = np.where(enable[:, None, None], totals, 0)
    shadow = np.zeros((p.tile_rows, p.tile_columns), dtype=integer_type(p.sum_bits))
    acc = np.zeros_like(shadow)
    drained = np.zeros((len(x), p.tile_columns), dtype=shadow.dtype)
    for cycle in range(len(x) - LATENCY + 1):
        acc = acc + totals[cycle]
        bottom = shadow[-1].copy() if move is None or move[cycle] else drained[cycle + 1]
        if last[cycle]:
            shadow, acc = acc, np.zeros_like(acc)
        elif cycle + 1 < len(x) and (move is None or move[cycle]):
            shadow = np.vstack([above[cycle + 1], shadow[:-1]])
        if cycle + 2 < len(x):
            drained[cycle + 2] = bottom
    return drained
