"""Cocotb test of a made module, some of which it leaves out; run by :mod:`tb.test_coverage`."""

import cocotb
from cocotb.triggers import RisingEdge

from tb.stream import start_clock


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def half(dut):
    """The lower input goes up and down, the upper one stays low."""
    start_clock(dut)
    for value in (0, 1, 0, 1, 0):
        dut.i.value = value
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert dut.o.value == value
