"""Cocotb tests of a tile; run by :mod:`tb.test_tile`."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tb.random_layer import steps
from tb.settings import SETTINGS, parameters
from tb.stream import reset, start_clock
from tb.tile_driver import LATENCY, drain, expected, signed_fields

P = parameters()


def extreme_codes(fmt):
    """Codes of the lowest and the highest number."""
    return fmt.encode([fmt.low * fmt.step, fmt.high * fmt.step]).tolist()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_product(dut):
    """The lanes of each element multiply all pairs of codes between them.

    Codes of infinities and NaN are among them and add nothing.
    """
    pairs = 1 << P.x_format.bits + P.w_format.bits
    count = min(-(-pairs // P.lanes), SETTINGS.get("groups", pairs))
    index = np.arange(count)[:, None] * P.lanes + np.arange(P.lanes)
    index *= max(1, pairs // index.size) | 1  # odd, so that every code comes up
    x_codes, w_codes = np.divmod(index % pairs, 1 << P.w_format.bits)
    masks = np.arange(P.tile_rows) * 37 % (1 << P.x_format.bits)
    x_codes = x_codes[:, None] ^ masks[:, None]
    w_codes = np.repeat(w_codes[:, None], P.tile_columns, axis=1)
    # Each pair is a group of its own, followed by cycles without operands while the rows drain.
    period = P.tile_rows + 1
    cycles = count * period + LATENCY + P.tile_rows
    x = np.zeros((cycles, P.tile_rows, P.lanes), dtype=np.int64)
    w = np.zeros((cycles, P.tile_columns, P.lanes), dtype=np.int64)
    last = np.zeros(cycles, dtype=bool)
    where = np.arange(count) * period
    x[where] = x_codes
    w[where] = w_codes
    last[where] = True
    above = np.zeros((cycles, P.tile_columns), dtype=np.int64)

    actual = await drain(dut, P, x, w, last, above, enable=last)

    np.testing.assert_array_equal(actual[LATENCY:], expected(P, x, w, last, above)[LATENCY:])


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(gaps=[False, True])
async def groups_follow_without_a_bubble(dut, gaps):
    """Random operands, groups of random length, and rows of the tile above behind one's own.

    With gaps, junk is at the inputs in cycles without operands, and shadows wait at times.
    """
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    cycles = 2000
    x = rng.integers(0, 1 << P.x_format.bits, (cycles, P.tile_rows, P.lanes))
    w = rng.integers(0, 1 << P.w_format.bits, (cycles, P.tile_columns, P.lanes))
    last = np.zeros(cycles, dtype=bool)
    last[np.cumsum(rng.integers(min(P.tile_rows, P.beats), P.beats + 1, cycles // P.beats))] = True
    size = -(-P.sum_bits * P.tile_columns // 8)
    above = signed_fields([int.from_bytes(rng.bytes(size)) for _ in range(cycles)], P.sum_bits,
                          P.tile_columns)
    enable, move = (last | (rng.random(cycles) > (0.5 if gaps else 0)) for _ in range(2))
    begin = np.flatnonzero(last)[0] + LATENCY
    move[begin - LATENCY + 1] = True  # nothing that was there before is looked at

    actual = await drain(dut, P, x, w, last, above, enable, move)

    np.testing.assert_array_equal(actual[begin:],
                                  expected(P, x, w, last, above, enable, move)[begin:])
    assert np.abs(actual[begin:]).max() > 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def operands_stay_until_the_next(dut):
    """Nothing goes on in a cycle without operands, whatever is at the inputs."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    start_clock(dut)
    for port in (dut.enable_i, dut.last_i, dut.move_i, dut.drain_i):
        port.value = 0
    await reset(dut)
    kept = None
    for enable in rng.random(100) < 0.5:
        inputs = [int.from_bytes(rng.bytes(-(-len(port) // 8))) % (1 << len(port))
                  for port in (dut.x_i, dut.w_i)]
        dut.x_i.value, dut.w_i.value = inputs
        dut.enable_i.value = bool(enable)
        await RisingEdge(dut.clk)
        # The outputs are still those of the cycle that ended.
        assert kept is None or [dut.x_o.value, dut.w_o.value] == kept
        kept = inputs if enable else kept
    assert kept


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def extreme_groups(dut):
    """The accumulator holds the lowest and the highest sum of a group."""
    extremes = [(x, w) for x in extreme_codes(P.x_format) for w in extreme_codes(P.w_format)]
    cycles = P.beats * len(extremes) + LATENCY + P.tile_rows
    x = np.zeros((cycles, P.tile_rows, P.lanes), dtype=np.int64)
    w = np.zeros((cycles, P.tile_columns, P.lanes), dtype=np.int64)
    last = np.zeros(cycles, dtype=bool)
    for index, (x_value, w_value) in enumerate(extremes):
        group = slice(index * P.beats, (index + 1) * P.beats)
        x[group], w[group] = x_value, w_value
        last[group.stop - 1] = True
    above = np.zeros((cycles, P.tile_columns), dtype=np.int64)

    actual = await drain(dut, P, x, w, last, above)

    for index, (x_code, w_code) in enumerate(extremes):
        first = (index + 1) * P.beats - 1 + LATENCY
        rows = actual[first:first + P.tile_rows]
        product = int(steps(P.x_format, x_code)) * int(steps(P.w_format, w_code))
        assert (rows == product * P.group).all(), (x_code, w_code, rows)


@cocotb.test(skip="operands" not in SETTINGS)
async def given_operands(dut):
    """Operands of a file, as for the switching activity; groups of ``beats`` cycles."""
    with np.load(SETTINGS["operands"]) as arrays:
        x, w = arrays["x"], arrays["w"]
    last = np.arange(len(x)) % P.beats == P.beats - 1
    above = np.zeros((len(x), P.tile_columns), dtype=np.int64)

    actual = await drain(dut, P, x, w, last, above)

    begin = P.beats - 1 + LATENCY
    np.testing.assert_array_equal(actual[begin:], expected(P, x, w, last, above)[begin:])
