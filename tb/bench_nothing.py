"""A bench that checks nothing, for the tests of :mod:`tb.mutation`. Runs in the simulator."""

import cocotb
from cocotb.triggers import ClockCycles

from tb.settings import SETTINGS
from tb.stream import start_clock


@cocotb.test()
async def runs(dut):
    """Some cycles, or with the setting ``forever`` no end."""
    start_clock(dut)
    await ClockCycles(dut.clk, 10)
    while SETTINGS.get("forever"):
        pass
