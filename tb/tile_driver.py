"""Driver of a tile, and what it must answer."""

import numpy as np
from cocotb.triggers import RisingEdge

from golden.parameters import ArrayParameters
from golden.stream import pack, unpack
from tb.random_layer import steps
from tb.stream import reset, start_clock

__all__ = ["LATENCY", "drain", "expected"]

#: Cycles from operands to the bottom row's sum.
LATENCY = 3


def sign_extended(values, bits: int):
    """Two's complement values of unsigned fields."""
    return values - ((values >> bits - 1) << bits)


async def drain(dut, parameters: ArrayParameters, x, w, last, above):
    """Sums that drain from the tile, shape (cycles, C), when it is fed one beat in each cycle.

    Codes of activations ``x`` have shape (cycles, R, L), of weights ``w`` (cycles, C, L), ``last``
    (cycles,) and the sums of the tile ``above`` (cycles, C).
    """
    p = parameters
    start_clock(dut)
    for port in (dut.x_i, dut.w_i, dut.last_i, dut.drain_i):
        port.value = 0
    await reset(dut)
    beats = zip(pack(x.reshape(len(x), -1), p.x_format.bits),
                pack(w.reshape(len(w), -1), p.w_format.bits),
                last.tolist(), pack(above, p.sum_bits), strict=True)
    drained = []
    for x_beat, w_beat, last_beat, above_beat in beats:
        dut.x_i.value = x_beat
        dut.w_i.value = w_beat
        dut.last_i.value = last_beat
        dut.drain_i.value = above_beat
        await RisingEdge(dut.clk)
        drained.append(int(dut.drain_o.value))
    return sign_extended(unpack(drained, p.sum_bits, p.tile_columns), p.sum_bits)


def expected(parameters: ArrayParameters, x, w, last, above):
    """The same by definition: products by numpy, shadows as a shift register."""
    p = parameters
    totals = np.einsum("trl,tcl->trc", steps(p.x_format, x), steps(p.w_format, w))
    shadow = np.zeros((p.tile_rows, p.tile_columns), dtype=np.int64)
    acc = np.zeros_like(shadow)
    drained = np.zeros((len(x), p.tile_columns), dtype=np.int64)
    for cycle in range(len(x) - LATENCY + 1):
        acc += totals[cycle]
        bottom = shadow[-1].copy()
        if last[cycle]:
            shadow, acc = acc, np.zeros_like(acc)
        elif cycle + 1 < len(x):
            shadow = np.vstack([above[cycle + 1], shadow[:-1]])
        if cycle + 2 < len(x):
            drained[cycle + 2] = bottom
    return drained
