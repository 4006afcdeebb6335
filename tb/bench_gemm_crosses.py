"""Cocotb tests that close crosses and holes of a GEMM engine; run by :mod:`scripts.coverage`."""

import json
from itertools import product
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from golden.stream import EngineStreams
from hdl.engine import COMMANDS
from tb.axi_unit import pauses
from tb.bench_gemm import compare, compare_each, expected
from tb.crosses import GEMM, SHARES, Collector
from tb.engine_aims import Command, aims, command
from tb.engine_sampler import EngineSampler
from tb.gemm_driver import GemmDriver
from tb.random_layer import random_operands
from tb.settings import SETTINGS, parameters

P = parameters()

#: The largest M, K and N that fit, each with the least of the others.
MOST_M, MOST_K, MOST_N = (P.x_depth // P.least_beats * P.rows, P.x_depth * P.lanes, (1 << 24) - 1)


class SampledDriver(GemmDriver):
    """A driver that tells the commands it starts."""

    def __init__(self, dut, collector: Collector):
        super().__init__(dut, P)
        self.sampler = EngineSampler(dut, P, self.sources, collector)

    async def start(self, m, k, n, *, wide=0, group=None):
        """Queue a command."""
        self.sampler.command(m, k, n, wide, P.group if group is None else group)
        await super().start(m, k, n, wide=wide, group=group)


async def run(bench: SampledDriver, commands: list[Command]) -> int:
    """Run commands back to back, compare their outputs; return the errors that they cause."""
    errors = 0
    frames = {name: [[]] for name in bench.sources}
    for each in commands:
        for name, items in (each.streams.payloads | bench.garbled(each.streams)).items():
            parts = frames[name]
            wrong = each.last if name == each.stream else "right"
            if wrong == "early":
                parts[-1] += items[:1]
                parts.append(items[1:])
            else:
                parts[-1] += items
            if wrong != "missing":
                parts.append([])
        if each.last != "right":
            kind = {"early": "unexpected", "missing": "missing"}[each.last]
            errors |= bench.mask("ERROR", f"{each.stream}_last_{kind}")
    for name, parts in frames.items():
        for part in filter(None, parts):
            await bench.send(name, part)
    for each in commands:
        while await bench.read("STATUS") & 4:
            pass
        await bench.start(*each.x.q.shape, each.weights.shape[1], wide=each.wide,
                          group=each.weights.group)
    for each in commands:
        np.testing.assert_array_equal(await bench.outputs(each.streams),
                                      expected(each.x, each.weights))
    return errors


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def crosses(dut):
    """Commands that aim at what was not reached yet, in so many rounds; outputs match golden."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    collector = Collector(GEMM, P)
    bench = SampledDriver(dut, collector)
    await bench.reset()
    for _ in range(SETTINGS["rounds"]):
        aimed = aims(rng, collector)
        dut._log.info("%d bins to aim at", len(aimed))
        for stalls, shares in SHARES.items():
            commands = [command(rng, P, values) for values in aimed if values["stalls"] == stalls]
            if not commands:
                continue
            bench.pause({name: pauses(rng, shares[name == "y"]) for name in (*bench.sources, "y")})
            commands.append(command(rng, P, {"last": "right"}))  # ends what has no end
            await bench.write("CONTROL", 4)
            errors = await run(bench, commands)
            await bench.idle()
            assert await bench.read("ERROR") == errors
            await bench.write("ERROR", errors)
    if "output" in SETTINGS:
        Path(SETTINGS["output"]).write_text(json.dumps(collector.report()))


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def registers_at_the_ports(dut):
    """Every register of the table answers; those that can be written keep all ones and none."""
    bench = GemmDriver(dut, P)
    await bench.reset()
    await bench.check_registers()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def largest_shapes(dut):
    """The largest M, K, N and WIDE are admitted, and abandoned by a soft reset."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    # Bits of all and of every other one.
    for part in (1, 3, 1.5):
        m, k, n = (max(1, int(each / part)) for each in (MOST_M, MOST_K, MOST_N))
        for shape, wide in product(((m, P.lanes), (1, k), (m // 2, 2 * P.lanes)), {0, n * P.wide}):
            for _ in range(COMMANDS):
                await bench.start(shape[0], shape[1], n, wide=wide)
                await ClockCycles(dut.aclk, 200)
            assert await bench.read("STATUS") >> 8 == COMMANDS - 1
            assert await bench.read("ERROR") == 0
            await bench.restart()
            assert await bench.read("STATUS") == 2
    await compare(bench, rng, P.rows, P.group, P.columns)
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(wide=[False, True] if P.wide else [False])
async def higher_bits_of_features(dut, wide):
    """A GEMM goes on behind the columns that it would have without a high bit of its features."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    columns = P.columns // 2 if wide else P.columns
    x, weights = random_operands(rng, P, 1, P.lanes, 3 * columns, wide=3 * columns * wide)
    layer = EngineStreams(x, weights, P)
    for bit in range((3 * columns).bit_length(), 24):
        n = 1 << bit | columns + 1
        await bench.write("CONTROL", 4)
        await bench.start(1, P.lanes, n, wide=n * wide)
        await bench.offer(layer)
        await ClockCycles(dut.aclk, 400 + len(layer.payloads["w"]))
        assert await bench.read("WORDS_Y") == 3 * columns // P.y_lanes, n
        assert await bench.read("DONE") == 0, n
        assert await bench.read("STATUS") & 3 == 1, n
        await bench.restart()
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def beside_the_largest(dut):
    """Commands run as ever while another place of the queue has one with the largest numbers."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    for before, shape in product(range(COMMANDS), ((MOST_M, P.lanes), (1, MOST_K))):
        for _ in range(before):
            await compare(bench, rng, P.rows, P.group, P.columns)
        # The last group is short, and has lanes past K if there are several.
        layers = [random_operands(rng, P, P.rows + 1, P.group + 1, P.columns + 1)
                  for _ in range(COMMANDS - 1)]
        for x, weights in layers:
            await bench.start(*x.q.shape, weights.shape[1])
            await ClockCycles(dut.aclk, 200)
        await bench.start(*shape, MOST_N, wide=MOST_N * P.wide)
        await ClockCycles(dut.aclk, 200)
        streams = [EngineStreams(*layer, P) for layer in layers]
        for each in streams:
            await bench.offer(each)
        await compare_each(bench, layers, streams)
        assert await bench.read("STATUS") & 3 == 1
        await bench.restart()
    await bench.idle()
    assert await bench.read("ERROR") == 0


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def shapes_that_do_not_fit(dut):
    """Whatever bits a shape has that is too large, it is refused."""
    bench = GemmDriver(dut, P)
    await bench.reset()
    wrong = bench.mask("ERROR", "bad_shape")
    bad = [(shape, wide) for size in (MOST_N, 0x555555, 0xaaaaaa)
           for shape in ((size, P.lanes, size), (1, size, size), (size, size, size))
           for wide in (0, size)]
    # Without the highest of their bits these fit.
    sizes = [1 << bit | 1 for bit in range(24)]
    bad += [((size, P.lanes, 1), 0) for size in sizes if size > MOST_M]
    bad += [((1, size, 1), 0) for size in sizes if size > MOST_K]
    for shape, wide in bad:
        await bench.start(*shape, wide=wide)
        await ClockCycles(dut.aclk, 300)
        assert await bench.read("ERROR") == wrong, (shape, wide)
        await bench.write("ERROR", wrong)
    await bench.start(1, P.lanes, 1, group=0xffff & -P.lanes)  # one group, however long
    await ClockCycles(dut.aclk, 300)
    assert await bench.read("ERROR") == 0
