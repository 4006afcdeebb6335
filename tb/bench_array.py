"""Cocotb tests of the array; run by :mod:`tb.test_array`."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.gemm import gemm
from golden.stream import LayerStreams
from tb.array_driver import ArrayDriver
from tb.random_layer import random_layer
from tb.settings import SETTINGS, STALLS, parameters, reset_cycles
from tb.stream import no_pauses, random_pauses, reset

P = parameters()
SHAPES = [tuple(shape) for shape in SETTINGS.get("shapes", [])]


async def every_shape(bench: ArrayDriver, rng):
    """Reset; run a layer of each shape and compare with golden."""
    await reset(bench.dut)
    for shape in SHAPES:
        options = {"wide": int(rng.integers(0, shape[2] + 1))} if P.wide else {}
        x, weights = random_layer(rng, P, *shape, **options)
        actual = await bench.run(x, weights)
        np.testing.assert_array_equal(actual, gemm(x, weights, y=P.y), err_msg=str(shape))
    await bench.idle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def shapes(dut, stalls):
    """Every shape matches golden, with stalls on all streams and without."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P, random_pauses(rng, **STALLS) if stalls else no_pauses)
    await every_shape(bench, rng)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(slow=["x", "w", "s", "sx", "y", *["t"] * P.x_groups])
async def all_wait_for_one(dut, slow):
    """Every shape matches golden while one stream is the slowest, scales by more than a group."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P)
    longest = 2 * P.beats if slow in "st" else 6
    stream = bench.y if slow == "y" else bench.sources[slow]
    stream.pause = random_pauses(rng, longest=longest)
    bench.slowdown = 2 * longest
    await every_shape(bench, rng)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reset_at_any_time(dut):
    """After a reset in the middle of a group, a drain or an output nothing of the past is left.

    The streams go on during the reset, and begin anew in the first cycle after it.
    """
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P)
    await reset(dut)
    shape = (P.rows, 2 * P.group, P.columns)
    for cycles in reset_cycles(rng, 4 * P.beats + 30):
        sending = bench.offer(LayerStreams(*random_layer(rng, P, *shape), P))
        await ClockCycles(dut.clk, cycles)
        for task in sending:
            task.cancel()
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        for source in bench.sources.values():
            source.valid.value = 0
        bench.y.received.clear()
        x, weights = random_layer(rng, P, *shape)
        np.testing.assert_array_equal(await bench.run(x, weights), gemm(x, weights, y=P.y))
    await bench.idle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(length=SETTINGS["lengths"])
async def full_rate(dut, length):
    """One beat in each cycle, from the first to the last, over tiles as short as that allows."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P)
    await reset(dut)
    groups = -(-max(length, P.full_rate_length) // P.group)
    x, weights = random_layer(rng, P, P.rows, groups * P.group, 4 * P.columns)
    np.testing.assert_array_equal(await bench.run(x, weights), gemm(x, weights, y=P.y))
    stream = bench.sources["x"]
    assert stream.sent == 4 * groups * P.beats
    assert stream.ended - stream.began + 1 == stream.sent


@cocotb.test()
async def outputs_are_offered_unasked(dut):
    """Stream ``y`` becomes valid though nobody is ready, as a stream must."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P)
    bench.y.pause = lambda: 1 << 20
    await reset(dut)
    bench.offer(LayerStreams(*random_layer(rng, P, P.rows, P.group, P.columns), P))
    await ClockCycles(dut.clk, P.beats + P.latency + 2)
    assert dut.y__valid.value == 1
    assert dut.y__ready.value == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency(dut):
    """The first output follows the last beat of its tile by the cycles that the design states."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P)
    await reset(dut)
    sending = bench.offer(LayerStreams(*random_layer(rng, P, P.rows, P.group, P.columns), P))
    while bench.sources["x"].sent < P.beats:
        await RisingEdge(dut.clk)
    cycles = 0
    while not bench.y.received:
        await RisingEdge(dut.clk)
        cycles += 1
    assert cycles == P.latency
    for task in sending:
        await task
