"""Cocotb tests of the LEDs of a tile that checks itself; run by :mod:`tb.test_ulx3s`."""

import cocotb
from cocotb.triggers import RisingEdge

from tb.settings import SETTINGS
from tb.stream import reset, start_clock


async def leds(dut):
    """Levels of ``right`` and of ``wrong`` in the cycles that follow a reset."""
    levels = []
    for _ in range(SETTINGS["cycles"]):
        await RisingEdge(dut.clk)
        levels.append((int(dut.right.value), int(dut.wrong.value)))
    return zip(*levels, strict=True)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def leds_tell(dut):
    """Two times, and from any state to begin with."""
    start_clock(dut)
    for _ in range(2):
        await reset(dut)
        right, wrong = await leds(dut)
        assert (right[-1], wrong[-1]) == (SETTINGS["right"], SETTINGS["wrong"])
        for levels in (right, wrong):
            assert levels == tuple(sorted(levels))  # what is lit stays so
        assert sum(right) <= SETTINGS["cycles"] - SETTINGS["enough"]
