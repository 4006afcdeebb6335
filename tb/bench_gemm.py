"""Cocotb tests of the GEMM engine; run by :mod:`tb.test_engine`."""

from itertools import combinations_with_replacement, count

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from golden.gemm import gemm
from golden.stream import EngineStreams
from hdl.engine import COMMANDS
from tb.gemm_driver import GemmDriver
from tb.random_layer import as_aligned, random_operands
from tb.settings import SETTINGS, parameters, reset_cycles

P = parameters()


def pauses(rng):
    """Iterator of booleans that pauses a share of the cycles."""
    share = rng.choice([0, 0.2, 0.5, 0.9])
    while True:
        yield bool(rng.random() < share)


def options(rng, k: int, n: int) -> dict:
    """Group size and wide features of a layer."""
    sizes = list(range(P.least_group, P.group + 1, P.lanes))
    group = int(rng.choice([*sizes, P.group]))
    if k <= P.group and rng.random() < 0.3:
        group = k  # one for each channel
    chosen = {"group": group}
    if P.wide:
        chosen["wide"] = int(rng.choice([0, n, rng.integers(0, n + 1)]))
    return chosen


def expected(x, weights):
    """Codes of the outputs."""
    return gemm(as_aligned(P, x, weights.group), weights, y=P.y)


def spread(rng, limit: int) -> int:
    """Number from 1 to a limit, log-uniform."""
    return int((limit + 1)**rng.random())


def any_shape(rng) -> tuple[int, int, int]:
    """M, K and N up to the limit, that fit the buffers and take no more than so many products."""
    limit, blocks = SETTINGS["limit"], P.x_depth // P.least_beats
    while True:
        m = spread(rng, min(limit, blocks * P.rows))
        deepest = min(P.x_depth // -(-m // P.rows), P.w_depth) - P.least_beats
        k = spread(rng, min(limit, max(1, deepest) * P.lanes))
        n = spread(rng, limit)
        if m * k * n <= SETTINGS["products"]:
            return m, k, n


async def compare(bench, rng, m, k, n, **chosen):
    """Run a random GEMM of a shape and compare it with golden."""
    x, weights = random_operands(rng, P, m, k, n, **chosen)
    actual = await bench.run(x, weights)
    np.testing.assert_array_equal(actual, expected(x, weights), err_msg=str((m, k, n, chosen)))


async def compare_each(bench, layers: list, streams: list[EngineStreams]):
    """Receive the outputs of layers that run one behind the other and compare them with golden."""
    for each, (x, weights) in zip(streams, layers, strict=True):
        np.testing.assert_array_equal(await bench.outputs(each), expected(x, weights))


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def shapes(dut, stalls):
    """Random shapes, group sizes and shares of wide features match golden."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    if stalls:
        bench.pause({name: pauses(rng) for name in [*bench.sources, "y"]})
    for _ in range(SETTINGS["count"]):
        m, k, n = any_shape(rng)
        dut._log.info("%d x %d x %d", m, k, n)
        await compare(bench, rng, m, k, n, **options(rng, k, n))
    await bench.idle()
    assert await bench.read("ERROR") == 0
    assert await bench.read("DONE") == SETTINGS["count"]


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(soft=[False, True])
async def reset_in_the_middle(dut, soft):
    """After either reset, at any time, nothing of the past is left, but for registers."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    shape = (P.rows + 1, 2 * P.group + 1, P.columns + 1)
    beats = EngineStreams(*random_operands(rng, P, *shape), P).beats
    for cycles in reset_cycles(rng, 2 * beats):
        x, weights = random_operands(rng, P, *shape)
        layer = EngineStreams(x, weights, P)
        await bench.begin(x, weights, layer)
        await ClockCycles(dut.aclk, cycles)
        if soft:
            await bench.restart()
            assert await bench.read("M") == shape[0]
        else:
            for port in (*bench.sources.values(), bench.y):
                port.clear()
            await bench.reset()
            assert await bench.read("M") == 0
        await compare(bench, rng, *shape)
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def shapes_that_break_a_rule(dut):
    """A bad shape sets its error and the interrupt, and is dropped; the next one runs."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    await bench.write("IRQ_ENABLE", 2)
    beats = P.x_depth * P.lanes
    good = {"m": 1, "k": 2 * P.group, "n": 1}
    bad = [{"m": 0}, {"k": 0}, {"n": 0}, {"wide": 2}, {"group": 0}, {"group": P.group + P.lanes},
           {"group": P.least_group - P.lanes}, {"k": beats + 1},
           {"m": P.rows * P.x_depth + 1}, {"m": (1 << 24) - 1, "k": (1 << 24) - 1},
           {"k": P.group + 1, "group": P.group + 1},
           # Products and sums of 24 bits would wrap.
           {"m": P.rows * P.x_depth, "k": P.w_depth * P.lanes},
           {"k": (1 << 24) - 1, "group": P.least_group}]
    if P.w_depth < P.x_depth // 2:
        bad.append({"m": P.rows + 1, "k": P.w_depth * P.lanes + 1})
    if not P.wide:
        bad.append({"wide": 1})
    if P.lanes > 1:
        bad.append({"group": P.least_group + 1})
    for change in bad:
        await bench.start(**good | change)
        await ClockCycles(dut.aclk, 400)
        assert await bench.read("ERROR") == bench.mask("ERROR", "bad_shape"), change
        assert dut.interrupt.value == 1
        assert await bench.read("STATUS") == 2
        await bench.write("ERROR", (1 << 32) - 1)
        await bench.write("IRQ_STATUS", 3)
        await ClockCycles(dut.aclk, 3)
        assert dut.interrupt.value == 0
    await compare(bench, rng, P.rows, P.group, P.columns)
    await bench.idle()
    assert await bench.read("ERROR") == 0
    assert await bench.read("DONE") == 1


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def full_buffers(dut):
    """A GEMM that leaves no room for a beat runs; with one more beat or block it is refused."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    beats = min(P.w_depth, P.x_depth // 2) // P.beats * P.beats
    blocks = P.x_depth // beats
    assert beats * blocks == P.x_depth, "settings of the test"
    m, k, n = P.rows * blocks, P.lanes * beats, P.columns + 1
    await compare(bench, rng, m, k, n)
    assert await bench.read("ERROR") == 0
    bad = [{"m": m + 1}, {"k": k + 1}]
    if beats == P.w_depth:
        bad.append({"m": P.rows + 1, "k": k + 1})
    for change in bad:
        await bench.start(**{"m": m, "k": k, "n": n} | change)
        assert await bench.read("STATUS") & 3 == 1, "busy while the shape is divided"
        await ClockCycles(dut.aclk, 400)
        assert await bench.read("ERROR") == bench.mask("ERROR", "bad_shape"), change
        await bench.write("ERROR", (1 << 32) - 1)
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def late_streams(dut):
    """Outputs are right whichever stream is late, and that stream's stalls are counted."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    names = [*bench.sources, "y"]
    for late in names:
        for k in (1, 2 * P.group + 1, 3 * P.group):
            x, weights = random_operands(rng, P, P.rows + 1, k, P.columns + 1)
            port = bench.y if late == "y" else bench.sources[late]
            port.pause = True
            await bench.write("CONTROL", 4)
            streams = EngineStreams(x, weights, P)
            await bench.begin(x, weights, streams)
            await ClockCycles(dut.aclk, 1000)
            port.pause = False
            port.set_pause_generator(bool(rng.random() < 0.8) for _ in count())
            np.testing.assert_array_equal(await bench.outputs(streams), expected(x, weights),
                                          err_msg=f"{late} {k}")
            port.set_pause_generator(iter([]))
            port.pause = False
            stalls = {name: await bench.read(f"STALL_{name.upper()}") for name in names}
            # Activations that come one by one are late too if there are many.
            if late == "x" or len(streams.payloads["x"]) < 800:
                assert stalls[late] > 500, (late, k, stalls)
                assert max(stalls, key=stalls.get) == late, (late, k, stalls)
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def first_cause(dut):
    """Of two streams that are late together the first one's stalls are counted, and no other's."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    ports = bench.sources | {"y": bench.y}
    x, weights = random_operands(rng, P, P.rows, 2 * P.group, 8 * P.columns)
    layer = EngineStreams(x, weights, P)
    # All activations, and some of the eight output tiles, of which two can wait for `sx` or `y`.
    settled = 300 + len(layer.payloads["x"]) + len(layer.payloads["w"]) // 2
    order = [name for name in ("x", "w", "s", "t", "sx", "y") if name in ports]
    for late in combinations_with_replacement(order, 2):
        for name in late:
            ports[name].pause = True
        await bench.begin(x, weights, layer)
        await ClockCycles(dut.aclk, settled)
        await bench.write("CONTROL", 4)
        await ClockCycles(dut.aclk, 100)
        stalls = {name: await bench.read(f"STALL_{name.upper()}") for name in ports}
        assert stalls.pop(late[0]) > 100, late
        assert not any(stalls.values()), (late, stalls)
        for name in late:
            ports[name].pause = False
        np.testing.assert_array_equal(await bench.outputs(layer), expected(x, weights))
    await bench.idle()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def first_pass(dut):
    """Activations enter as fast as they come, an item in each cycle."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    k = P.full_rate_length
    shape = P.rows * max(1, min(P.x_depth, 512) * P.lanes // k), k, 1
    layers = [random_operands(rng, P, *shape) for _ in range(3)]
    streams = [EngineStreams(*each, P) for each in layers]
    for each in streams:
        await bench.offer(each)
        while await bench.read("STATUS") & 4:
            pass
        await bench.start(*shape)
    await compare_each(bench, layers, streams)
    items = sum(len(each.payloads["x"]) for each in streams)
    await bench.idle()
    cycles, busy = await bench.read("CYCLES"), await bench.read("BUSY")
    assert cycles <= 1.02 * max(items, busy) + 400, (cycles, items, busy)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def queue_of_commands(dut):
    """Commands run in order; one too many is refused, and those that wait are unaffected."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    await bench.write("IRQ_ENABLE", 1)
    layers = []
    while not await bench.read("ERROR"):
        shape = (int(rng.integers(1, P.rows + 2)), P.group, int(rng.integers(1, 2 * P.columns)))
        layers.append(random_operands(rng, P, *shape))
        await bench.start(*shape)
        await ClockCycles(dut.aclk, 400)
    layers.pop()
    assert await bench.read("ERROR") == bench.mask("ERROR", "start_refused")
    assert len(layers) == COMMANDS + 2
    status = await bench.read("STATUS")
    assert status & 7 == 0b101
    assert status >> 8 == len(layers) - 1
    streams = [EngineStreams(*layer, P) for layer in layers]
    for layer in streams:
        await bench.offer(layer)
    await compare_each(bench, layers, streams)
    await bench.idle()
    assert dut.interrupt.value == 1
    assert await bench.read("DONE") == len(layers)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def ends_of_streams(dut):
    """TLAST too early, or not at all, is told and changes nothing."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    for name in bench.sources:
        layers = [random_operands(rng, P, P.rows + 1, 2 * P.group, P.columns) for _ in range(2)]
        streams = [EngineStreams(*layer, P) for layer in layers]
        for x, weights in layers:
            await bench.start(*x.q.shape, weights.shape[1])
        frames = {other: [layer.payloads[other] for layer in streams] for other in bench.sources}
        # The first command's end lacks it; the second has one in its middle.
        first, second = frames[name]
        frames[name] = [first + second[:1], second[1:]]
        for other, parts in frames.items():
            for part in parts:
                await bench.send(other, part)
        await compare_each(bench, layers, streams)
        errors = bench.mask("ERROR", f"{name}_last_missing")
        errors |= bench.mask("ERROR", f"{name}_last_unexpected")
        assert await bench.read("ERROR") == errors, name
        await bench.write("ERROR", errors)
    await bench.idle()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def counters(dut):
    """Each counter counts what the register table says; the beats are those predicted."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    shares = [0, 0.1, 0.2, 0.5, 1] if P.wide else [0]
    n, half = 5 * P.columns + 3, max(1, P.columns // 2)
    for share in shares:
        await bench.write("CONTROL", 4)
        wide = round(share * n)
        x, weights = random_operands(rng, P, P.rows + 1, P.group + 1, n, wide=wide)
        layer = EngineStreams(x, weights, P)
        np.testing.assert_array_equal(await bench.run(x, weights), expected(x, weights))
        await ClockCycles(dut.aclk, 50)
        passes = -(-wide // half) + -(-(n - wide) // P.columns)
        assert await bench.read("BUSY") == passes * 2 * (P.beats + P.least_beats)
        assert await bench.read("WORDS_X") == len(layer.payloads["x"])
        assert await bench.read("WORDS_W") == len(layer.payloads["w"])
        size = [min(half, wide - start) for start in range(0, wide, half)]
        size += [min(P.columns, n - wide - start) for start in range(0, n - wide, P.columns)]
        beats = sum(-(-each // P.y_lanes) for each in size)
        assert await bench.read("WORDS_Y") == (P.rows + 1) * beats
        assert await bench.read("DONE") == 1
        stalls = sum([await bench.read(f"STALL_{name}") for name in ("X", "W", "S", "SX", "T",
                                                                     "Y")])
        assert 0 < await bench.read("CYCLES") - await bench.read("BUSY") - stalls < 400
    await bench.idle()


@cocotb.test(timeout_time=200, timeout_unit="ms", skip="features" not in SETTINGS)
async def many_features(dut):
    """So many output features that counts of passes reach their higher bits."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    n = SETTINGS["features"]
    for wide in sorted({0, n // 2 * P.wide}):
        await bench.write("CONTROL", 4)
        x, weights = random_operands(rng, P, 1, int(rng.integers(1, P.lanes + 1)), n, wide=wide)
        layer = EngineStreams(x, weights, P)
        np.testing.assert_array_equal(await bench.run(x, weights), expected(x, weights))
        for name in ("X", "W"):
            assert await bench.read(f"WORDS_{name}") == len(layer.payloads[name.lower()])
        if not wide:
            assert await bench.read("WORDS_Y") == -(-n // P.y_lanes)
        await compare(bench, rng, P.rows, P.group, P.columns)  # every count begins anew
    await bench.idle()
    assert await bench.read("ERROR") == 0


@cocotb.test(timeout_time=200, timeout_unit="ms", skip="steady" not in SETTINGS)
@cocotb.parametrize(decode=[False, True])
async def steady_rate(dut, decode):
    """At least 99 % of peak over output tiles and from one command to the next.

    The first rows come one by one, and that is counted. A row alone takes one item of weights in
    each cycle.
    """
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    m, k, n = (1, SETTINGS["steady"], 16 * P.columns) if decode else (
        2 * P.rows, SETTINGS["steady"], SETTINGS["passes"] * P.columns)
    layers = [random_operands(rng, P, m, k, n) for _ in range(2)]
    streams = [EngineStreams(*layer, P) for layer in layers]
    for layer in streams:
        await bench.offer(layer)
        await bench.start(m, k, n)
    while not await bench.read("BUSY"):
        pass
    before = await bench.read("BUSY")
    await bench.write("CONTROL", 4)
    await compare_each(bench, layers, streams)
    await bench.idle()
    busy, cycles = await bench.read("BUSY"), await bench.read("CYCLES")
    assert sum(layer.beats for layer in streams) - before - 10 <= busy
    dut._log.info("%.2f %% of %d cycles", 100 * busy / cycles, cycles)
    assert busy >= 0.99 * cycles
