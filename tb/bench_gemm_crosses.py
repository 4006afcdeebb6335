"""Cocotb test that closes the crosses of a GEMM engine; run by :mod:`scripts.coverage`."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cocotb
import numpy as np

from golden.formats import FORMATS
from golden.mixed import MixedWeights
from golden.quantise import Activations, GroupedWeights
from golden.stream import EngineStreams
from tb.axi_unit import pauses
from tb.bench_gemm import expected
from tb.crosses import GEMM, SHARES, Bin, Collector
from tb.engine_sampler import EngineSampler
from tb.gemm_driver import GemmDriver
from tb.random_layer import random_operands
from tb.settings import SETTINGS, parameters

P = parameters()


class SampledDriver(GemmDriver):
    """A driver that tells the commands it starts."""

    def __init__(self, dut, collector: Collector):
        super().__init__(dut, P)
        self.sampler = EngineSampler(dut, P, self.sources, collector)

    async def start(self, m, k, n, *, wide=0, group=None):
        """Queue a command."""
        self.sampler.command(m, k, n, wide, P.group if group is None else group)
        await super().start(m, k, n, wide=wide, group=group)


@dataclass
class Command:
    """A GEMM, and where TLAST is to be wrong: a stream, and ``early`` or ``missing``."""

    x: Activations
    weights: GroupedWeights | MixedWeights
    streams: EngineStreams
    stream: str
    last: str

    @property
    def wide(self) -> int:
        """Features of 8 bits."""
        return self.weights.wide.shape[1] if isinstance(self.weights, MixedWeights) else 0


def whole_or_rest(rng, size: int, rest: str) -> int:
    """Number that is a multiple of a size or is not, of at most two and a bit."""
    if rest == "whole":
        return size * int(rng.integers(1, 3))
    return size * int(rng.integers(0, 2)) + int(rng.integers(1, size))


def lengths(rng, group: str, rest: str) -> tuple[int, int]:
    """K and the group size for values on these axes."""
    if group == "one":
        beats = int(rng.integers(1, P.beats))
        k = beats * P.lanes - (int(rng.integers(1, P.lanes)) if rest == "lanes" else 0)
        return k, k if rest == "whole" else P.group
    sizes = list(range(P.least_group, P.group + 1, P.lanes))
    size = {"least": sizes[0], "most": sizes[-1]}.get(group) or int(rng.choice(sizes[1:-1]))
    beats = int(rng.integers(1, size // P.lanes))
    more = {"whole": size, "beats": beats * P.lanes,
            "lanes": beats * P.lanes - int(rng.integers(1, P.lanes)) if P.lanes > 1 else 0}[rest]
    return size + more, size


def command(rng, values: dict) -> Command:
    """Command that is in a bin of some cross; what its values do not say is random."""
    def value(axis):
        return values.get(axis) or str(rng.choice(GEMM[0].axes[axis](P)))

    k, group = lengths(rng, value("group"), value("k"))
    m = whole_or_rest(rng, P.rows, value("m"))
    aimed_wide = values.get("weights") == "uint8" and P.wide
    wide = whole_or_rest(rng, P.columns // 2, value("n")) if aimed_wide else int(
        rng.integers(0, P.columns)) * P.wide
    n = wide + (int(rng.integers(0, P.columns)) if aimed_wide
                else whole_or_rest(rng, P.columns, value("n")))
    x, weights = random_operands(rng, P, m, k, n, group=group, wide=wide)
    x, weights = with_signs(rng, x, weights, values)
    last = value("last")
    streams = EngineStreams(x, weights, P)
    # What ends early has two items.
    possible = [name for name, items in streams.payloads.items()
                if last != "early" or len(items) > 1]
    stream = values.get("stream") or (str(rng.choice(possible)) if possible else "")
    return (Command(x, weights, streams, stream, last) if stream in possible
            else command(rng, values))


def with_signs(rng, x: Activations, weights, values: dict):
    """Operands with zero points that are 0 as often as not, and one place with the signs wanted."""
    if isinstance(weights, MixedWeights):
        aimed = values.get("weights") == "uint8"
        wide, narrow = (signed(rng, part, values if wanted else {}) for part, wanted in (
            (weights.wide.with_format("uint8"), aimed), (weights.narrow, not aimed)))
        weights = MixedWeights(wide, narrow, weights.features)
    else:
        weights = signed(rng, weights, values)
    if P.x_zero:
        sign = {"negative": -1, "0": 0, "positive": 1}.get(values.get("x_zero"))
        signs = rng.integers(-1, 2, x.zeros.shape) if sign is None else sign
        x = replace(x, zeros=signs * rng.integers(1, 128, x.zeros.shape))
    return x, weights


def signed(rng, weights: GroupedWeights, values: dict) -> GroupedWeights:
    """Weights with zero points and signs of scales as values say, or random ones."""
    shape, zeros, scales = weights.zeros.shape, weights.zeros, weights.scales
    most = FORMATS[weights.w].max_zero
    sign = P.scale_format.signed << P.scale_format.bits - 1
    if most:
        zeros = rng.integers(0, 2, shape) * rng.integers(1, most + 1, shape)
    if zeros.size and values:
        place = tuple(rng.integers(shape))
        if "zero" in values and most:
            zeros[place] = values["zero"] == "positive"
        if "scale" in values and sign:
            scales = scales.copy()
            scales[place] = scales[place] & sign - 1 | sign * (values["scale"] == "negative")
    return replace(weights, zeros=zeros, scales=scales)


def plans(rng, collector: Collector, missing: dict[str, list[Bin]]) -> list[dict]:
    """Values to aim at: a bin that was not reached for each way to reach some."""
    found = {}
    for cross, bins in missing.items():
        for bin_ in bins:
            values = collector.named(cross, bin_)
            key = cross, *(value for axis, value in values.items() if axis not in ("zero", "scale"))
            found[key] = {"stalls": str(rng.choice(list(SHARES)))} | values
    return list(found.values())


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
        missing = {cross.name: collector.missing(cross.name) for cross in GEMM}
        aims = plans(rng, collector, missing)
        for stalls, shares in SHARES.items():
            commands = [command(rng, values) for values in aims if values["stalls"] == stalls]
            if not commands:
                continue
            bench.pause({name: pauses(rng, shares[name == "y"]) for name in (*bench.sources, "y")})
            commands.append(command(rng, {"last": "right"}))  # ends what has no end
            errors = await run(bench, commands)
            await bench.idle()
            assert await bench.read("ERROR") == errors
            await bench.write("ERROR", errors)
        dut._log.info("%s", {name: len(bins) for name, bins in missing.items()})
    Path(SETTINGS["output"]).write_text(json.dumps(collector.report()))
