"""Bad neighbours of a unit with standard ports, and hostile accesses; run by tb.test_faults."""

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from golden.registers import ADDRESS_BITS
from tb.axi_lite import OKAY, SLVERR
from tb.axi_unit import UnitPorts
from tb.settings import SETTINGS

UNIT = SETTINGS["unit"]

#: Cycles in which nothing may happen while a neighbour is silent.
SILENCE = 1500


@dataclass
class Unit:
    """What the tests need of a unit and its driver.

    Parameters
    ----------
    bench : UnitPorts
        Driver, reset and with its constants written.
    job : callable
        Makes a small random job.
    send, check : callable
        Begin to run a job; wait for its outputs and compare them with golden. The first takes the
        name of a stream and a number too, by which the items of that stream are to be longer.
    shape : tuple of str
        Registers that a job is described by, which may change while it runs.
    """

    bench: UnitPorts
    job: Callable[[], Any]
    send: Callable[..., Awaitable]
    check: Callable[[Any], Awaitable]
    shape: tuple[str, ...] = ()

    async def run(self):
        """Run a new job and compare."""
        job = self.job()
        await self.send(job)
        await self.check(job)

    async def recover(self):
        """Reset by the register, discard what is to be sent, and run a job."""
        for port in self.bench.streams:
            port.pause = False
        await self.bench.restart()
        await self.clear_errors()
        await self.run()

    async def clear_errors(self):
        """Clear ERROR."""
        await self.bench.write("ERROR", 0xffffffff)


async def engine(dut, rng) -> Unit:
    """GEMMs of one group in two blocks of rows."""
    from golden.stream import EngineStreams
    from tb.bench_gemm import P, expected
    from tb.gemm_driver import GemmDriver
    from tb.random_layer import random_operands

    bench = GemmDriver(dut, P)
    await bench.reset()

    async def send(job, longer: str | None = None, by: int = 0):
        x, weights, layer = job
        await bench.start(*x.q.shape, weights.shape[1])
        for name, items in layer.payloads.items():
            more = by if name == longer else 0
            await bench.send(name, (items + items[:1] * max(0, more))[:len(items) + more])

    async def check(job):
        x, weights, layer = job
        np.testing.assert_array_equal(await bench.outputs(layer), expected(x, weights))

    def job():
        x, weights = random_operands(rng, P, P.rows + 1, 2 * P.group, P.columns + 1)
        return x, weights, EngineStreams(x, weights, P)

    return Unit(bench, job, send, check, ("M", "K", "N", "GROUP"))


async def softmax(dut, rng) -> Unit:
    """Rows of some words."""
    from tb.bench_softmax import P, any_constants, any_row
    from tb.bench_softmax_unit import UnitDriver

    bench, constants = UnitDriver(dut), any_constants(rng)
    await bench.begin(constants)

    async def check(job):
        await bench.compare(job, constants, codes=False)

    return Unit(bench, lambda: (*any_row(rng, 2 * P.width + 1), 0),
                lambda job: bench.send(*job), check)


async def values(dut, rng) -> Unit:
    """Blocks of queries and columns with rows of some beats."""
    from tb.bench_values_unit import P, UnitDriver
    from tb.values_driver import any_exponents, any_job

    bench = UnitDriver(dut, rng)
    await bench.begin(any_exponents(rng, P))

    async def send(job, longer: str | None = None, by: int = 0):
        if longer == "codes":
            shorter = type(job)(job.rows[:by], job.invalid[:by], job.v, job.scales, job.chosen)
            await bench.start(len(job.rows), *job.v.shape, job.chosen)
            object.__setattr__(shorter, "v_items", lambda *_: job.v_items(P, rng))
            object.__setattr__(shorter, "s_items", lambda *_: job.s_items(P, rng))
            await bench.offer(shorter)
            return
        if longer:
            items = getattr(job, f"{longer}_items")(P, rng)
            items = (items + items[:1] * max(0, by))[:len(items) + by]
            object.__setattr__(job, f"{longer}_items", lambda *_: items)
        await bench.send(job)

    return Unit(bench, lambda: any_job(rng, P, P.queries + 1, 2 * P.tokens, P.columns + 1), send,
                bench.compare, ("QUERIES", "TOKENS", "COLUMNS", "SET"))


async def started(dut) -> Unit:
    """Unit after a reset."""
    return await {"engine": engine, "softmax": softmax, "values": values}[UNIT](
        dut, np.random.default_rng(cocotb.RANDOM_SEED))


def rubbish(port):
    """Drive anything."""
    port.value = random.getrandbits(len(port))


async def babble(dut, prefix: str, *, offer: bool):
    """Between the transfers of an input stream let its lines be anything; offer that, or do not.

    The driver, which drives after rising edges, takes an offer for its own and waits.
    """
    lines = [getattr(dut, f"{prefix}_{name}") for name in ("tdata", "tlast", "tkeep", "tuser")
             if hasattr(dut, f"{prefix}_{name}")]
    valid, mine = getattr(dut, f"{prefix}_tvalid"), False
    while True:
        await FallingEdge(dut.aclk)
        if mine or valid.value == 0:
            for line in lines:
                rubbish(line)
            if offer:
                valid.value = mine = True


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def lines_between_transfers(dut):
    """What a stream's lines show while nothing is offered has no effect, nor has the output's."""
    unit = await started(dut)
    for name in unit.bench.sources:
        cocotb.start_soon(babble(dut, f"s_axis_{name}", offer=False))
    for source in unit.bench.sources.values():
        source.set_pause_generator(random.random() < 0.6 for _ in iter(int, 1))
    for _ in range(3):
        await unit.run()
    assert await unit.bench.read("ERROR") & ~_data_errors(unit) == 0


def _data_errors(unit: Unit) -> int:
    """Bits of ERROR that random operands may set."""
    if UNIT != "softmax":
        return 0
    return unit.bench.mask("ERROR", "invalid") | unit.bench.mask("ERROR", "all_masked")


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=UNIT == "softmax")
async def nobody_asked(dut):
    """Without a command nothing is taken: not before the first, nor after one has ended."""
    unit = await started(dut)
    for _ in range(3):
        before = [await unit.bench.read(f"WORDS_{name}") for name in _counted()]
        tasks = [cocotb.start_soon(babble(dut, f"s_axis_{name}", offer=True))
                 for name in unit.bench.sources]
        ready = [getattr(dut, f"s_axis_{name}_tready") for name in unit.bench.sources]
        for _ in range(200):
            await RisingEdge(dut.aclk)
            assert [int(each.value) for each in ready] == [0] * len(ready)
            assert dut.m_axis_y_tvalid.value == 0
        for task in tasks:
            task.cancel()
        await FallingEdge(dut.aclk)
        for name in unit.bench.sources:
            getattr(dut, f"s_axis_{name}_tvalid").value = 0
        assert [await unit.bench.read(f"WORDS_{name}") for name in _counted()] == before
        assert await unit.bench.read("STATUS") & 1 == 0
        assert await unit.bench.read("ERROR") == 0
        await unit.run()
        await ClockCycles(dut.aclk, 200)


def _counted() -> tuple[str, ...]:
    """Streams whose words are counted."""
    return {"engine": ("X", "W", "Y"), "values": ("CODES", "V", "Y")}[UNIT]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def silent_neighbours(dut):
    """With a stream that never comes, or is never taken, the rest answers; a reset recovers."""
    unit = await started(dut)
    for name, port in (*unit.bench.sources.items(), ("y", unit.bench.y)):
        port.pause = True
        await unit.send(unit.job())
        await ClockCycles(dut.aclk, SILENCE)
        assert unit.bench.y.empty(), name
        busy = await unit.bench.read("STATUS") & 1
        assert busy == (UNIT != "softmax" or name == "y"), name
        await unit.recover()


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=UNIT == "softmax")
async def short_streams(dut):
    """A stream that ends early leaves the command waiting, with its error; a reset recovers."""
    unit = await started(dut)
    for name in unit.bench.sources:
        await unit.send(unit.job(), name, -1)
        await ClockCycles(dut.aclk, SILENCE)
        assert await unit.bench.read("STATUS") & 1 == 1, name
        told = 0 if name == "codes" else unit.bench.mask("ERROR", f"{name}_last_unexpected")
        assert await unit.bench.read("ERROR") == told, name
        assert unit.bench.y.empty(), name
        await unit.recover()


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=UNIT == "softmax")
async def long_streams(dut):
    """Items too many are not taken, their missing end is told; a reset recovers."""
    unit = await started(dut)
    for name, source in unit.bench.sources.items():
        if name == "codes":
            continue  # a row too many is of the next command; one too long has a test of its own
        job = unit.job()
        await unit.send(job, name, 2)
        await unit.check(job)
        await ClockCycles(dut.aclk, 300)
        assert await unit.bench.read("STATUS") & 1 == 0, name
        assert await unit.bench.read("ERROR") == unit.bench.mask("ERROR", f"{name}_last_missing")
        assert not source.idle(), name
        await unit.recover()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def registers_under_way(dut):
    """Illegal accesses while a job runs are refused and change nothing; nor do other shapes."""
    unit = await started(dut)
    bench, axil = unit.bench, unit.bench.axil
    offsets = {register.offset for register in bench.registers.values()}
    fixed = [register.offset for register in bench.registers.values() if not register.writable]
    for _ in range(4):
        job = unit.job()
        bench.y.pause = True
        await unit.send(job)
        for _ in range(60):
            kind = random.randrange(4)
            word, strobes = random.getrandbits(32), random.randrange(16)
            if kind == 0:  # no register, or none of its bytes
                address = random.randrange(1 << ADDRESS_BITS)
                if address not in offsets:
                    assert await axil.write(address, word, strobes) == SLVERR
                    assert await axil.read(address) == (SLVERR, 0)
            elif kind == 1:
                assert await axil.write(random.choice(fixed), word, strobes) == SLVERR
            elif kind == 2:  # CONTROL without its bits
                assert await axil.write(bench.registers["CONTROL"].offset, word, 0) == OKAY
            elif unit.shape:
                await bench.write(random.choice(unit.shape), word)
        bench.y.pause = False
        await unit.check(job)
    assert await bench.read("ERROR") & ~_data_errors(unit) == 0
    await unit.run()


@cocotb.test(timeout_time=20, timeout_unit="ms", skip="record" not in SETTINGS)
async def traces(dut):
    """Write every port in every cycle, from the reset on."""
    trace = []

    async def watch():
        while True:
            await RisingEdge(dut.aclk)
            trace.append({name: int(getattr(dut, name).value) for name in SETTINGS["ports"]})

    dut.aresetn.value = 0
    cocotb.start_soon(watch())
    unit = await started(dut)
    for _ in range(2):
        await unit.run()
    for register in unit.bench.registers.values():
        await unit.bench.axil.read(register.offset)
    Path(SETTINGS["record"]).write_text(json.dumps(trace))
