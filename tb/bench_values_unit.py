"""Cocotb tests of the ports of the unit for codes times V; run by :mod:`tb.test_values_unit`."""

from itertools import cycle as repeated

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamFrame

from golden.attention import weighted_values
from golden.exaq import constants
from golden.quantise import Activations
from golden.registers import VALUES_ID, values_registers
from golden.softmax import softmax
from golden.softmax_parameters import SoftmaxParameters
from golden.values_parameters import ValuesParameters
from tb.axi_unit import UnitPorts, kept_bytes
from tb.settings import SETTINGS, compared, reset_cycles
from tb.values_driver import Job, any_exponents, any_job, cycles

P = ValuesParameters.from_dict(SETTINGS["parameters"])

TABLE = values_registers(P)

#: Bytes of an item of each stream besides the codes.
WIDTHS = {"v": P.tokens * P.columns, "s": 4 * P.columns}

#: Bits of ERROR by name.
ERRORS = {field.name: field.mask for register in TABLE.registers if register.name == "ERROR"
          for field in register.fields}


class UnitDriver(UnitPorts):
    """Drivers of all ports of ``mixpe_<set>_values``."""

    def __init__(self, dut, rng):
        self.rng = rng
        super().__init__(dut, TABLE, ["codes", "v", "s"])

    async def begin(self, exponents):
        """Reset, and write the exponents of all sets."""
        await self.reset()
        await self.set_exponents(exponents)

    async def set_exponents(self, exponents):
        """Write the exponents of all sets."""
        self.exponents = exponents
        for chosen, each in enumerate(exponents):
            for k, exponent in enumerate(each):
                await self.write(f"EXPONENT_{chosen}_{k}", exponent)

    def stall(self):
        """Stall all streams at random, for a period that comes again."""
        for port in self.streams:
            port.set_pause_generator(repeated(list(self.rng.random(997) < 0.5)))

    async def start(self, queries: int, tokens: int, columns: int, chosen: int):
        """Queue a command."""
        for name, value in (("QUERIES", queries), ("TOKENS", tokens), ("COLUMNS", columns),
                            ("SET", chosen), ("CONTROL", 1)):
            await self.write(name, value)

    async def send(self, job: Job):
        """Queue a job's command and its operands."""
        await self.start(len(job.rows), *job.v.shape, job.chosen)
        await self.offer(job)

    async def offer(self, job: Job):
        """Queue a job's operands."""
        await self.offer_codes(job)
        for name, data in self.operands(job):
            await self.sources[name].send(AxiStreamFrame(data))

    async def offer_codes(self, job: Job):
        """Queue a job's rows, a packet each."""
        size = P.code_bits // 8
        for row, invalid in zip(job.rows, job.invalid, strict=True):
            # What stands above a code is ignored.
            above = self.rng.integers(0, 1 << P.code_bits - P.word_bits, len(row)) << P.word_bits
            data = (row | above).astype(f"<u{size}").tobytes()
            await self.sources["codes"].send(AxiStreamFrame(data, tuser=2 * int(invalid)))

    def operands(self, job: Job):
        """Streams of a job besides the codes, with the bytes of their packets."""
        for name, width in WIDTHS.items():
            items = getattr(job, f"{name}_items")(P, self.rng)
            yield name, b"".join((item & (1 << 8 * width) - 1).to_bytes(width, "little")
                                 for item in items)

    async def compare(self, job: Job, outputs: np.ndarray | None = None):
        """Receive a job's outputs, one packet, and compare them with golden."""
        frame = await self.y.recv(compact=False)
        size = P.y_format.bits // 8
        wanted = job.outputs(P, self.exponents) if outputs is None else outputs
        kept = kept_bytes(frame)
        order = [wanted[first:first + P.queries, column:column + P.columns].ravel()
                 for first in range(0, len(wanted), P.queries)
                 for column in range(0, wanted.shape[1], P.columns)]
        compared(wanted.size)
        np.testing.assert_array_equal(np.frombuffer(kept, f"<u{size}"), np.concatenate(order))


async def started(dut):
    """Driver of a unit that has been reset, and its random numbers."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = UnitDriver(dut, rng)
    await bench.begin(any_exponents(rng, P))
    return bench, rng


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def packets(dut, stalls):
    """Jobs one behind the other with all sets of exponents; counters tell of them."""
    bench, rng = await started(dut)
    assert await bench.read("ID") == VALUES_ID
    await bench.write("IRQ_ENABLE", 1)
    if stalls:
        bench.stall()
    shapes = [(1, 1, 1), (P.queries + 1, P.tokens + 1, P.columns + 1),
              (2 * P.queries, P.max_length, 2 * P.columns),
              *((int(m), int(n), int(d)) for m, n, d in rng.integers(
                  1, [2 * P.queries + 2, P.max_length + 1, 3 * P.columns + 1],
                  (SETTINGS["rounds"], 3)))]
    jobs = [any_job(rng, P, *shape) for shape in shapes]
    receiving = cocotb.start_soon(received(bench, jobs))
    for job in jobs:
        while await bench.read("STATUS") & 2:
            pass
        await bench.send(job)
    await receiving
    await ClockCycles(dut.aclk, 2 * P.drain_cycles + 100)
    assert bench.y.empty()
    assert all(source.idle() for source in bench.sources.values())
    assert dut.interrupt.value == 1
    assert await bench.read("STATUS") == 0
    assert await bench.read("ERROR") == 0
    items = sum(len(job.v_items(P, rng)) for job in jobs)
    assert await bench.read("DONE") == len(jobs)
    assert await bench.read("WORDS_V") == await bench.read("BEATS") == items
    assert await bench.read("WORDS_CODES") == sum(P.row_cycles(len(row)) for job in jobs
                                                  for row in job.rows)
    assert await bench.read("WORDS_Y") == sum(
        len(job.rows) * -(-job.v.shape[1] // P.columns) for job in jobs)
    busy = await bench.read("CYCLES")
    stalled = [await bench.read(f"STALL_{name}") for name in ("CODES", "V", "S", "Y")]
    # Before the core has seen a command it is busy already.
    assert 0 <= busy - items - sum(stalled) <= 2 * len(jobs)
    if not stalls:
        assert busy <= sum(cycles(job, P) + 2000 for job in jobs)


async def received(bench, jobs):
    """Compare jobs in order."""
    for job in jobs:
        await bench.compare(job)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def after_softmax(dut):
    """Codes of golden's softmax, as its unit sends them, with masked and invalid rows."""
    bench, rng = await started(dut)
    softmax_set = SoftmaxParameters(name="head", width=P.width, bits=P.bits, y="uint8",
                                    max_length=P.max_length, exp_bits=P.exp_bits, least_length=1)
    found = constants(-3.0, softmax_set)
    for k, exponent in enumerate(found.exponents):
        await bench.write(f"EXPONENT_0_{k}", exponent)
    n, d, m = P.max_length, 2 * P.columns - 1, P.queries + 2
    x = softmax_set.x_format.encode(rng.normal(size=(m, n)))
    x[0, 0], x[1] = softmax_set.x_format.nan, softmax_set.x_format.infinity | 1 << 15
    mask = rng.random((m, n)) < 0.3
    mask[0] = False
    result = softmax(x, mask, found, softmax_set)
    assert result.invalid[0]
    assert result.all_masked[1]
    v, scales = rng.integers(-128, 128, (n, d)), rng.random(d).astype(np.float32)
    job = Job(list(result.codes), result.invalid, v, scales, 0)
    await bench.send(job)
    await bench.compare(job, weighted_values(result, found, Activations(v.T, scales), y=P.y))
    assert await bench.read("ERROR") == 0


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def errors(dut):
    """Each error is told, and what follows is right."""
    bench, rng = await started(dut)
    await bench.write("IRQ_ENABLE", 2)

    async def check(name):
        assert await bench.read("ERROR") == ERRORS[name], name
        assert dut.interrupt.value == 1
        await bench.write("ERROR", ERRORS[name])
        await bench.write("IRQ_STATUS", 3)

    bad = [(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0)]
    if P.max_length + 1 < 1 << P.count_bits:
        bad.append((1, P.max_length + 1, 1, 0))
    if P.sets < 16:
        bad.append((1, 1, 1, P.sets))
    for shape in bad:
        await bench.start(*shape)
        await check("bad_shape")
        assert await bench.read("STATUS") == 0

    job = any_job(rng, P, 2, P.width, P.columns)
    job.rows[0] = rng.integers(0, P.levels, P.width + 1)
    await bench.send(job)
    await bench.compare(job)
    await check("too_long")

    job = any_job(rng, P, P.queries, P.tokens, P.columns)
    wrong, right = (1 << P.exp_bits) + 1, bench.exponents[job.chosen][-1]
    top = f"EXPONENT_{job.chosen}_{P.levels - 1}"
    await bench.write(top, wrong)
    await bench.send(job)
    await bench.y.recv()
    await check("bad_exponents")
    await bench.write(top, right)

    # Commands without operands fill the queue.
    starts = 0
    while not await bench.read("STATUS") & 2:
        await bench.start(1, 1, 1, 0)
        starts += 1
    assert starts > 1
    await bench.start(1, 1, 1, 0)
    await check("start_refused")
    await bench.write("CONTROL", 2)
    assert await bench.read("STATUS") == 0
    # With a soft reset in the same cycle a start is refused.
    await bench.write("CONTROL", 3)
    await check("start_refused")
    assert await bench.read("STATUS") == 0

    job = any_job(rng, P, P.queries, P.tokens, P.columns)
    await bench.send(job)
    await bench.compare(job)
    assert await bench.read("ERROR") == 0


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def stalls_tell_their_cause(dut):
    """The stream that is held back has the cycles in its counter, and the others have few."""
    bench, rng = await started(dut)
    # More outputs than the unit can keep.
    blocks = P.output_depth // P.queries + 2
    for name, port in (*bench.sources.items(), ("y", bench.y)):
        await bench.write("CONTROL", 4)
        job = any_job(rng, P, P.queries, P.tokens, blocks * P.columns)
        port.pause = True
        await bench.send(job)
        await ClockCycles(dut.aclk, 2000)
        port.pause = False
        await bench.compare(job)
        counts = {each: await bench.read(f"STALL_{each.upper()}")
                  for each in ("codes", "v", "s", "y")}
        assert counts.pop(name) > 1000, name
        assert max(counts.values()) < 800, (name, counts)
        assert await bench.read("DONE") == 1


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def soft_reset(dut):
    """A soft reset discards commands and data, and leaves the exponents."""
    bench, rng = await started(dut)
    shape = 2 * P.queries, P.max_length, 2 * P.columns
    for wait in reset_cycles(rng, cycles(any_job(rng, P, *shape), P)):
        job = any_job(rng, P, *shape)
        await bench.send(job)
        await ClockCycles(dut.aclk, wait)
        await bench.restart()
        job = any_job(rng, P, P.queries, P.tokens + 1, P.columns)
        await bench.send(job)
        await bench.compare(job)
