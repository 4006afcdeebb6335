"""Cocotb tests that close holes of a unit for codes times V; run by :mod:`scripts.coverage`."""

from itertools import product

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamFrame

from tb.bench_values_unit import ERRORS, WIDTHS, P, started
from tb.settings import SETTINGS
from tb.values_driver import any_exponents, any_job


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def registers_at_the_ports(dut):
    """Every register of the table answers; those that can be written keep all ones and none."""
    bench, _ = await started(dut)
    await bench.check_registers()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def exponents_of_every_kind(dut):
    """Jobs of every set, whose exponents change while there is none; outputs match golden."""
    bench, rng = await started(dut)
    for _ in range(SETTINGS["rounds"]):
        await bench.set_exponents(any_exponents(rng, P)[::-1])
        bench.stall()
        for _ in range(2 * P.sets):
            m, n, d = rng.integers(1, [2 * P.queries + 2, P.max_length + 1, 3 * P.columns + 1])
            job = any_job(rng, P, int(m), int(n), int(d))
            await bench.send(job)
            await bench.compare(job)
    assert await bench.read("ERROR") == 0


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def ends_of_streams(dut):
    """TLAST that comes early or not at all is told, and the outputs are right."""
    bench, rng = await started(dut)
    for name, wrong in product(("v", "s"), ("unexpected", "missing")):
        job = any_job(rng, P, 2 * P.queries, P.max_length, 2 * P.columns)
        await bench.start(len(job.rows), *job.v.shape, job.chosen)
        for stream, data in bench.operands(job):
            size, frames = WIDTHS[stream], [data]
            if stream == name:
                # Without an end the packet goes on with what is the next job's.
                frames = ([data[:size], data[size:]] if wrong == "unexpected"
                          else [data + data[:size]])
            for each in frames:
                await bench.sources[stream].send(AxiStreamFrame(each))
        await bench.offer_codes(job)
        await bench.compare(job)
        told = ERRORS[f"{name}_last_{wrong}"]
        assert await bench.read("ERROR") == told
        await bench.write("ERROR", told)
        await bench.restart()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def largest_shapes(dut):
    """The most queries and columns are taken, and abandoned by a soft reset."""
    bench, rng = await started(dut)
    for part in (1, 3, 1.5):
        queries, columns = (int(each / part) for each in ((1 << 24) - 1, (1 << 16) - 1))
        for _ in range(3):
            await bench.start(queries, P.max_length, columns, P.sets - 1)
        await ClockCycles(dut.aclk, 100)
        assert await bench.read("ERROR") == 0
        await bench.restart()
    job = any_job(rng, P, P.queries, P.tokens + 1, P.columns)
    await bench.send(job)
    await bench.compare(job)
