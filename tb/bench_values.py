"""Cocotb tests of the unit that multiplies codes by V; run by :mod:`tb.test_values_unit`."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.values_parameters import ValuesParameters
from tb.settings import SETTINGS, STALLS, compared, reset_cycles
from tb.softmax_driver import fields
from tb.stream import (
    StreamSink,
    StreamSource,
    cycle,
    no_pauses,
    random_pauses,
    reset,
    start_clock,
)
from tb.values_driver import any_exponents, any_job, cycles

P = ValuesParameters.from_dict(SETTINGS["parameters"])

#: Outputs that are told as events, none of which a right job has.
EVENTS = ("too_long", "bad_exponents", "v_last_unexpected", "v_last_missing",
          "s_last_unexpected", "s_last_missing")


class Bench:
    """Drivers of the unit's streams; golden's exponents."""

    def __init__(self, dut, rng, pause=no_pauses, y_pause=None):
        start_clock(dut)
        self.dut, self.rng = dut, rng
        self.sources = {name: StreamSource(dut, name, pause=pause)
                        for name in ("command", "codes", "v", "s")}
        self.y = StreamSink(dut, "y", pause=y_pause or pause)
        self.slowdown  = 1 if pause is no_pauses and not y_pause else 12
        self.exponents = any_exponents(rng, P)
        dut.exponents.value = fields((fields(each, P.exp_bits + 1) for each in self.exponents),
                                     (P.exp_bits + 1) * P.levels)
        self.events = set()
        cocotb.start_soon(self._watch())

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.rst.value == 0:
                self.events |= {name for name in EVENTS if getattr(self.dut, name).value == 1}

    def send(self, jobs):
        """Begin to send jobs; return what sends."""
        items = {"command": [job.command(P) for job in jobs],
                 "codes": [word for job in jobs for word in job.code_words(P)],
                 "v": [item for job in jobs for item in job.v_items(P, self.rng)],
                 "s": [item for job in jobs for item in job.s_items(P, self.rng)]}
        return [cocotb.start_soon(source.send(items[name]))
                for name, source in self.sources.items()]

    async def compare(self, jobs, *, limit=None):
        """Run jobs back to back and compare their outputs with golden."""
        expected = [word for job in jobs for word in job.results(P, self.exponents)]
        if limit is None:
            limit = 2 * sum(cycles(job, P) for job in jobs)
        senders = self.send(jobs)
        received = list(await self.y.receive(len(expected), limit=limit * self.slowdown))
        await RisingEdge(self.dut.clk)
        assert all(sender.done() for sender in senders), "outputs came without all of the inputs"
        self.y.received.clear()
        compared(sum(len(job.rows) * job.v.shape[1] for job in jobs))
        bits = P.y_format.bits
        for index, (actual, wanted) in enumerate(zip(received, expected, strict=True)):
            keep = wanted >> P.columns * bits
            kept = sum((1 << bits) - 1 << c * bits for c in range(P.columns) if keep >> c & 1)
            mask = kept | ~((1 << P.columns * bits) - 1)
            assert actual & mask == wanted, f"word {index}: {actual & mask:x}, not {wanted:x}"

    async def idle(self):
        """Assert that nothing more comes out and that nothing is left inside."""
        await ClockCycles(self.dut.clk, 2 * P.drain_cycles + 100)
        assert not self.y.received, "outputs that nobody asked for"
        assert self.dut.busy.value == 0


async def started(dut, rng, pause=no_pauses, y_pause=None):
    """Bench of a unit that has been reset."""
    bench = Bench(dut, rng, pause, y_pause)
    await reset(dut)
    return bench


def jobs_of_all_lengths(rng):
    """Jobs about the widths: the least, one less and one more, the longest, and any."""
    lengths = {1, 2, P.width, P.tokens - 1, P.tokens, P.tokens + 1, 2 * P.tokens + 1,
               P.max_length - 1, P.max_length, int(rng.integers(1, P.max_length + 1))}
    queries = [1, P.queries - 1, P.queries, P.queries + 1, 2 * P.queries + 1]
    columns = [1, P.columns, P.columns + 1, 3 * P.columns]
    return [any_job(rng, P, max(1, int(rng.choice(queries))), n, int(rng.choice(columns)))
            for n in map(int, rng.permutation(sorted(lengths))) if 1 <= n <= P.max_length]


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def jobs(dut, stalls):
    """Jobs of every length back to back, of all sets of exponents."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng, random_pauses(rng, **STALLS) if stalls else no_pauses)
    for _ in range(SETTINGS["rounds"]):
        await bench.compare(jobs_of_all_lengths(rng))
    await bench.idle()
    assert not bench.events


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def outputs_wait(dut):
    """Outputs that are taken far more slowly than they could come are not lost."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng, y_pause=lambda: 4 * P.query_cycles)
    await bench.compare([any_job(rng, P, 2 * P.queries, P.tokens, 12 * P.columns)])
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def extremes(dut):
    """The sums and totals hold the lowest and the highest that there are."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    job = any_job(rng, P, P.queries, P.max_length, 2 * P.columns)
    for row in job.rows:
        row[:] = P.levels - 1
    job.invalid[:] = False
    job.scales[:] = 1
    job.v[:, :P.columns], job.v[:, P.columns:] = -128, 127
    await bench.compare([job])
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def too_long(dut):
    """A row is cut at the command's tokens, and what follows is right."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    for n in (1, P.width, P.tokens, max(1, P.tokens - P.width)):
        for more in (1, P.width, 3 * P.tokens):
            job = any_job(rng, P, P.queries + 1, n, P.columns)
            which = int(rng.integers(len(job.rows)))
            job.rows[which] = rng.integers(0, P.levels, n + more)
            bench.events.clear()
            await bench.compare([job])
            assert bench.events == {"too_long"}
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def reset_in_the_middle(dut):
    """After a reset at any time nothing of the past is left."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    shape = 2 * P.queries, P.max_length, 2 * P.columns
    for wait in reset_cycles(rng, cycles(any_job(rng, P, *shape), P)):
        job = any_job(rng, P, *shape)
        senders = bench.send([job])
        await ClockCycles(dut.clk, wait)
        for sender in senders:
            sender.cancel()
        for source in bench.sources.values():
            source.valid.value = 0
        await reset(dut)
        bench.y.received.clear()
        await bench.compare([any_job(rng, P, P.queries, P.tokens + 1, P.columns + 1)])
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def full_rate(dut):
    """From the stated numbers of tokens and columns on there is tokens' entry in every cycle."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    n = P.full_rate_length
    d = P.full_rate_columns(n)
    await bench.compare([any_job(rng, P, 1, 1, 1)])
    # Commands and codes come before V, which therefore is all that is waited for.
    jobs = [any_job(rng, P, m, n, d) for m in (3 * P.queries, P.queries + 1, 2 * P.queries)]
    bench.sources["v"].began = 0
    begin = cycle()
    items = sum(len(job.v_items(P, rng)) for job in jobs)
    first = P.queries * max(P.words * P.beats(n), 27) + 60
    await bench.compare(jobs, limit=first + items + P.drain_cycles + 60)
    took = bench.sources["v"].ended - bench.sources["v"].began + 1
    dut._log.info("N = %d, D = %d: %d cycles for %d items, %d in all", n, d, took, items,
                  cycle() - begin)
    assert took == items
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def ends_of_streams(dut):
    """TLAST at the wrong place, or none, is told; the outputs do not change."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    for name, bits in (("v", 8 * P.tokens * P.columns), ("s", 32 * P.columns)):
        for kind in ("unexpected", "missing"):
            job = any_job(rng, P, P.queries + 1, P.tokens + 1, P.columns + 1)
            items = getattr(job, f"{name}_items")(P, rng)
            items[-1 if kind == "missing" else int(rng.integers(len(items) - 1))] ^= 1 << bits
            object.__setattr__(job, f"{name}_items", lambda *_, items=items: items)
            bench.events.clear()
            await bench.compare([job])
            assert bench.events == {f"{name}_last_{kind}"}
    await bench.idle()
