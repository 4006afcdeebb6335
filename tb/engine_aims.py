"""GEMM commands that aim at bins of the crosses of an engine."""

from dataclasses import dataclass, replace

from golden.formats import FORMATS
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights
from golden.stream import EngineStreams
from tb.crosses import GEMM, SHARES, Collector
from tb.random_layer import random_operands

__all__ = ["Command", "aims", "command"]


def aims(rng, collector: Collector) -> list[dict]:
    """Values of bins that were not reached, of those that differ in signs alone one at a time."""
    found = {}
    for cross in GEMM:
        for bin_ in collector.missing(cross.name):
            values = collector.named(cross.name, bin_)
            key = cross.name, *(value for axis, value in values.items()
                                if axis not in ("zero", "scale"))
            found[key] = {"stalls": str(rng.choice(list(SHARES)))} | values
    return list(found.values())


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


def _whole_or_rest(rng, size: int, rest: str) -> int:
    """Number that is a multiple of a size or is not, of at most two and a bit."""
    if rest == "whole":
        return size * int(rng.integers(1, 3))
    return size * int(rng.integers(0, 2)) + int(rng.integers(1, size))


def _lengths(rng, p: ArrayParameters, group: str, rest: str) -> tuple[int, int]:
    """K and the group size for values on these axes."""
    if group == "one":
        beats = int(rng.integers(1, p.beats))
        k = beats * p.lanes - (int(rng.integers(1, p.lanes)) if rest == "lanes" else 0)
        return k, k if rest == "whole" else p.group
    sizes = list(range(p.least_group, p.group + 1, p.lanes))
    size = {"least": sizes[0], "most": sizes[-1]}.get(group) or int(rng.choice(sizes[1:-1]))
    beats = int(rng.integers(1, size // p.lanes))
    more = {"whole": size, "beats": beats * p.lanes,
            "lanes": beats * p.lanes - int(rng.integers(1, p.lanes)) if p.lanes > 1 else 0}[rest]
    return size + more, size


def command(rng, p: ArrayParameters, values: dict) -> Command:
    """Command that is in a bin of some cross; what its values do not say is random."""
    def value(axis):
        return values.get(axis) or str(rng.choice(GEMM[0].axes[axis](p)))

    k, group = _lengths(rng, p, value("group"), value("k"))
    m = _whole_or_rest(rng, p.rows, value("m"))
    aimed_wide = values.get("weights") == "uint8" and p.wide
    wide = _whole_or_rest(rng, p.columns // 2, value("n")) if aimed_wide else int(
        rng.integers(0, p.columns)) * p.wide
    n = wide + (int(rng.integers(0, p.columns)) if aimed_wide
                else _whole_or_rest(rng, p.columns, value("n")))
    x, weights = random_operands(rng, p, m, k, n, group=group, wide=wide)
    x, weights = _with_signs(rng, p, x, weights, values)
    last = value("last")
    streams = EngineStreams(x, weights, p)
    # What ends early has two items.
    possible = [name for name, items in streams.payloads.items()
                if last != "early" or len(items) > 1]
    stream = values.get("stream") or (str(rng.choice(possible)) if possible else "")
    return (Command(x, weights, streams, stream, last) if stream in possible
            else command(rng, p, values))


def _with_signs(rng, p: ArrayParameters, x: Activations, weights, values: dict):
    """Operands with zero points that are 0 as often as not, and one place with the signs wanted."""
    if isinstance(weights, MixedWeights):
        aimed = values.get("weights") == "uint8"
        wide, narrow = (_signed(rng, p, part, values if wanted else {}) for part, wanted in (
            (weights.wide.with_format("uint8"), aimed), (weights.narrow, not aimed)))
        weights = MixedWeights(wide, narrow, weights.features)
    else:
        weights = _signed(rng, p, weights, values)
    if p.x_zero:
        sign = {"negative": -1, "0": 0, "positive": 1}.get(values.get("x_zero"))
        signs = rng.integers(-1, 2, x.zeros.shape) if sign is None else sign
        x = replace(x, zeros=signs * rng.integers(1, 128, x.zeros.shape))
    return x, weights


def _signed(rng, p: ArrayParameters, weights: GroupedWeights, values: dict) -> GroupedWeights:
    """Weights with zero points and signs of scales as values say, or random ones."""
    shape, zeros, scales = weights.zeros.shape, weights.zeros, weights.scales
    most = FORMATS[weights.w].max_zero
    sign = p.scale_format.signed << p.scale_format.bits - 1
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
