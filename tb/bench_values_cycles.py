"""Cocotb test of the counters of the unit for codes times V; run by :mod:`tb.test_cycles`."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, Timer

from golden.unit_cycles import values_cycles
from tb.bench_values_unit import P, started
from tb.settings import SETTINGS
from tb.stream import PERIOD_NS
from tb.values_driver import Job


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def counters(dut):
    """Every counter is the model's for commands alone, operands having been offered before."""
    bench, rng = await started(dut)
    for m, n, d in SETTINGS["runs"]:
        job = Job(list(rng.integers(0, P.levels, (m, n))), np.zeros(m, dtype=bool),
                  rng.integers(-128, 128, (n, d)), np.ones(d, dtype=np.float32), 0)
        await bench.write("CONTROL", 4)
        await bench.offer(job)
        await ClockCycles(dut.aclk, 10)
        await bench.start(m, n, d, 0)
        expected = values_cycles(P, m, n, d)
        await Timer((expected.total + 100) * PERIOD_NS, "ns")
        await bench.compare(job)
        assert await bench.read("STATUS") & 1 == 0, (m, n, d)
        actual = {name: await bench.read(f"STALL_{name.upper()}") for name in expected.stalls}
        assert (await bench.read("CYCLES"), await bench.read("BEATS"), actual) == (
            expected.total, expected.beats, expected.stalls), (P.name, m, n, d)
