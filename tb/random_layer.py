"""Random layers for the benches: every code, and special values now and then."""

from dataclasses import replace

import numpy as np

from golden.align import align
from golden.formats import Format
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights, groups

__all__ = ["as_aligned", "random_activations", "random_layer", "random_operands",
           "random_weights", "steps"]


def random_layer(rng, p: ArrayParameters, m: int, k: int, n: int, *, group: int | None = None,
                 wide: int = 0) -> tuple[Activations, GroupedWeights | MixedWeights]:
    """Layer for a set; ``wide`` of its features have 8-bit weights."""
    group = group or p.group
    x, weights = random_activations(rng, p, m, k, group), random_weights(rng, p, k, n - wide, group)
    if wide:
        mac = "float" if p.mac == "float" else "product"  # any that takes them
        own = p.replace(wide=False, w="int8", mac=mac, adders="compressors")
        eight = random_weights(rng, own, k, wide, group)
        weights = MixedWeights(eight, weights, rng.permutation(n))
    return x, weights


def random_operands(rng, p: ArrayParameters, m: int, k: int, n: int, **options
                    ) -> tuple[Activations, GroupedWeights | MixedWeights]:
    """Layer for an engine: as :func:`random_layer`, activations being floats if it aligns them."""
    if p.x_align:
        p = p.replace(x_align=0, x_scale="token", mac="float", adders="compressors")
    return random_layer(rng, p, m, k, n, **options)


def as_aligned(p: ArrayParameters, x: Activations, group: int) -> Activations:
    """Activations as the array of a set takes them from its engine."""
    if not p.x_align:
        return x
    return replace(align(x.codes, fmt=p.x, bits=p.x_align, group=group), scales=x.scales)


def random_weights(rng, p: ArrayParameters, k: int, n: int, group: int) -> GroupedWeights:
    """Codes, zero points and signed scales of every kind."""
    fmt, scale, count = p.w_format, p.scale_format, groups(k, group)
    q = steps(fmt, rng.integers(0, 1 << fmt.bits, (k, n)))
    zeros = rng.integers(0, fmt.max_zero + 1, (count, n))
    scales = (rng.integers(110, 135, (count, n)) if p.scale == "e8m0"
              else scale.encode(rng.normal(size=(count, n)) * (1 if p.scale == "e4m3" else 0.01)))
    return GroupedWeights(p.w, p.scale, group, q, zeros, scales)


def random_activations(rng, p: ArrayParameters, m: int, k: int, group: int) -> Activations:
    """Codes of every kind; one token in eight has an infinity or NaN, if there are such."""
    fmt, count = p.x_format, groups(k, group)
    options = {"group": group}
    if p.x_zero:
        options["zeros"] = rng.integers(fmt.low, fmt.high + 1, (m, count))
    if p.x_scale_format:
        scales = np.abs(rng.normal(size=(m, count))) * 0.1
        scales = p.x_scale_format.encode(scales)
        special = (1 << p.x_scale_format.bits) - 1
        scales = np.where(rng.random((m, count)) < 0.125 / max(1, count), special, scales)
        options |= {"group_scale": p.x_scale, "group_scales": scales}
    if fmt.is_integer:
        q = rng.integers(fmt.low, fmt.high + 1, (m, k))
    else:
        # Wide-spread numbers, subnormal ones among them.
        spread = np.where(rng.random((m, k)) < 0.1, 2.0**-20, 1)
        q = fmt.encode(rng.normal(size=(m, k)) * spread * rng.lognormal(0, 3, (m, 1)))
        special = fmt.infinity + rng.integers(0, 2, (m, k))
        q = np.where(rng.random((m, k)) < 0.125 / max(1, k), special, q)
    return Activations(q, rng.lognormal(-3, 1, m).astype(np.float32), fmt, **options)


def steps(fmt: Format, codes):
    """Numbers of codes in steps; infinities and NaN as 0. Python's integers if they are large."""
    values = fmt.decode(codes)
    values = np.where(np.isfinite(values), values, 0) / fmt.step
    return values.astype(np.int64) if fmt.high < 1 << 62 else np.vectorize(int, [object])(values)
