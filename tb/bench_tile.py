"""Cocotb tests of a tile; run by :mod:`tb.test_tile`."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.stream import pack, unpack
from tb.settings import SETTINGS, parameters
from tb.stream import reset, start_clock

P = parameters()
LATENCY = 3  # from operands to the bottom row's sum


def sign_extended(values, bits: int):
    """Two's complement values of unsigned fields."""
    return values - ((values >> bits - 1) << bits)


async def sums(dut, x, w, last, above):
    """Sums that drain from the tile, shape (cycles, C), when it is fed one beat in each cycle.

    Parameters
    ----------
    x : ndarray, shape (cycles, R, L)
    w : ndarray, shape (cycles, C, L)
    last : ndarray of bool, shape (cycles,)
    above : ndarray, shape (cycles, C)
    """
    start_clock(dut)
    dut.last_i.value = 0
    await reset(dut)
    beats = zip(pack(x.reshape(len(x), -1), P.x_format.bits),
                pack(w.reshape(len(w), -1), P.w_format.bits),
                last.tolist(), pack(above, P.sum_bits), strict=True)
    drained = []
    for x_beat, w_beat, last_beat, above_beat in beats:
        dut.x_i.value = x_beat
        dut.w_i.value = w_beat
        dut.last_i.value = last_beat
        dut.drain_i.value = above_beat
        await RisingEdge(dut.clk)
        drained.append(int(dut.drain_o.value))
        assert int(dut.x_o.value) == int(dut.x_o.value)
    return sign_extended(unpack(drained, P.sum_bits, P.tile_columns), P.sum_bits)


def expected(x, w, last, above):
    """The same by definition: products by numpy, shadows as a shift register."""
    totals = np.einsum("trl,tcl->trc", x, w)
    shadow = np.zeros((P.tile_rows, P.tile_columns), dtype=np.int64)
    acc = np.zeros_like(shadow)
    drained = np.zeros((len(x), P.tile_columns), dtype=np.int64)
    drain = np.zeros(P.tile_columns, dtype=np.int64)
    for cycle in range(len(x) - LATENCY + 1):
        acc += totals[cycle]
        drain = shadow[-1].copy()
        if last[cycle]:
            shadow, acc = acc, np.zeros_like(acc)
        elif cycle + 1 < len(x):
            shadow = np.vstack([above[cycle + 1], shadow[:-1]])
        if cycle + 2 < len(x):
            drained[cycle + 2] = drain
    return drained


@cocotb.test()
async def every_product(dut):
    """Each lane of each element multiplies every pair of codes."""
    pairs = 1 << P.x_format.bits + P.w_format.bits
    count = min(pairs, SETTINGS.get("pairs", pairs))
    steps = np.arange(count)[:, None] * (pairs // count) + 977 * np.arange(P.lanes)
    x_codes, w_codes = np.divmod(steps % pairs, 1 << P.w_format.bits)
    masks = np.arange(P.tile_rows) * 37 % (1 << P.x_format.bits)
    x_codes = x_codes[:, None] ^ masks[:, None]
    w_codes = np.repeat(w_codes[:, None], P.tile_columns, axis=1)
    # Each pair is a group of its own, followed by zeros while the rows drain.
    period = P.tile_rows + 1
    cycles = count * period + LATENCY + P.tile_rows
    x = np.zeros((cycles, P.tile_rows, P.lanes), dtype=np.int64)
    w = np.zeros((cycles, P.tile_columns, P.lanes), dtype=np.int64)
    last = np.zeros(cycles, dtype=bool)
    where = np.arange(count) * period
    x[where] = P.x_format.decode(x_codes)
    w[where] = P.w_format.decode(w_codes)
    last[where] = True
    above = np.zeros((cycles, P.tile_columns), dtype=np.int64)

    actual = await sums(dut, x, w, last, above)

    np.testing.assert_array_equal(actual[LATENCY:], expected(x, w, last, above)[LATENCY:])


@cocotb.test()
async def groups_follow_without_a_bubble(dut):
    """Random operands, groups of random length, and rows of the tile above behind one's own."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    cycles = 2000
    x = rng.integers(P.x_format.low, P.x_format.high + 1, (cycles, P.tile_rows, P.lanes))
    w = rng.integers(P.w_format.low, P.w_format.high + 1, (cycles, P.tile_columns, P.lanes))
    last = np.zeros(cycles, dtype=bool)
    last[np.cumsum(rng.integers(min(P.tile_rows, P.beats), P.beats + 1, cycles // P.beats))] = True
    limit = 1 << P.sum_bits - 1
    above = rng.integers(-limit, limit, (cycles, P.tile_columns))

    actual = await sums(dut, x, w, last, above)

    begin = np.flatnonzero(last)[0] + LATENCY
    np.testing.assert_array_equal(actual[begin:], expected(x, w, last, above)[begin:])
    assert np.abs(actual[begin:]).max() > 0


@cocotb.test()
async def extreme_groups(dut):
    """The accumulator holds the lowest and the highest sum of a group."""
    extremes = [(x, w) for x in (P.x_format.low, P.x_format.high)
                for w in (P.w_format.low, P.w_format.high)]
    cycles = P.beats * len(extremes) + LATENCY + P.tile_rows
    x = np.zeros((cycles, P.tile_rows, P.lanes), dtype=np.int64)
    w = np.zeros((cycles, P.tile_columns, P.lanes), dtype=np.int64)
    last = np.zeros(cycles, dtype=bool)
    for index, (x_value, w_value) in enumerate(extremes):
        group = slice(index * P.beats, (index + 1) * P.beats)
        x[group], w[group] = x_value, w_value
        last[group.stop - 1] = True
    above = np.zeros((cycles, P.tile_columns), dtype=np.int64)

    actual = await sums(dut, x, w, last, above)

    for index, (x_value, w_value) in enumerate(extremes):
        first = (index + 1) * P.beats - 1 + LATENCY
        rows = actual[first:first + P.tile_rows]
        assert (rows == x_value * w_value * P.group).all(), (x_value, w_value, rows)
