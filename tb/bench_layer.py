"""Runs one layer through the array; started by :mod:`tb.layer`."""

from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from tb.array_driver import ArrayDriver
from tb.layer import load_layer
from tb.settings import SETTINGS, parameters
from tb.stream import cycle, no_pauses, random_pauses, reset

P = parameters()


async def report(driver: ArrayDriver, path: Path):
    """Write the share of the outputs that have come, now and then."""
    while True:
        path.write_text(str(len(driver.y.received) / max(1, driver.total)))
        await ClockCycles(driver.dut.clk, 500)


@cocotb.test()
async def layer(dut):
    """Stream a layer through; write its outputs and how long it took."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    driver = ArrayDriver(dut, P, random_pauses(rng) if SETTINGS["stalls"] else no_pauses)
    await reset(dut)
    x, weights = load_layer(SETTINGS["layer"], SETTINGS["scalars"], P)
    reporting = cocotb.start_soon(report(driver, Path(SETTINGS["progress"])))
    y = await driver.run(x, weights)
    reporting.cancel()
    end = cycle()
    await driver.idle()
    stream = driver.sources["x"]
    np.savez(SETTINGS["result"], y=y, beats=stream.sent, cycles=end - stream.began + 1,
             busy=stream.ended - stream.began + 1)
