"""A saturating counter at random. Runs in the simulator."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from tb.settings import SETTINGS
from tb.stream import reset, start_clock


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counts_clears_and_saturates(dut):
    """Each cycle of random increments, rare clears and rarer resets."""
    rng, largest = random.Random(cocotb.RANDOM_SEED), 2**SETTINGS["width"] - 1
    start_clock(dut)
    dut.clear.value = dut.increment.value = 0
    await reset(dut)
    count, saturated = 0, 0
    for _ in range(2000):
        increment, clear, rst = (int(rng.random() < share) for share in (0.7, 0.02, 0.005))
        dut.increment.value, dut.clear.value, dut.rst.value = increment, clear, rst
        await RisingEdge(dut.clk)
        assert int(dut.count.value) == count
        saturated += count == largest and increment
        count = 0 if clear or rst else min(count + increment, largest)
    assert saturated > 100
