"""Operands of vector tests: corners, each beside each other, and random ones that are not even.

As in Berkeley TestFloat, whose document names the dangers: numbers at the ends of their range,
fractions of few ones or few zeros, all differences of exponents, and what nearly cancels.
"""

import numpy as np
from numpy.typing import NDArray

from golden.formats import Format

__all__ = ["corners", "crossed", "floats", "pairs", "near", "integers"]


def corners(fmt: Format, *, few: bool = False) -> NDArray[np.int64]:
    """Codes of note of a float format, in both signs if it has such.

    Zero; the least and the greatest subnormal and normal numbers and their neighbours; one, its
    neighbours and its half and double; fractions at, below and above the middle; infinity, quiet
    and signalling NaN. ``few`` leaves about half of them.
    """
    one, place = fmt.bias << fmt.man_bits, 1 << fmt.man_bits
    top, ones  = (1 << fmt.exp_bits) - 1 << fmt.man_bits, place - 1
    chosen = [0, 1, ones, place, place + 1, one - 1, one, one + 1, one + place // 2,
              one + ones, fmt.max_finite, top + place // 2, top]
    if not few:
        chosen += [2, 3, place // 2, place // 2 + 1, ones - 1, 2 * place - 1, 2 * place,
                   one - place, one + place, one + place // 2 - 1, one + place // 2 + 1,
                   one + 2, one + ones - 1, one + 12 * place, one - 12 * place, top - place,
                   fmt.max_finite - 1, top + 1, top + ones]
    codes = np.unique(np.array(chosen) & top + ones)
    return np.concatenate([codes, codes | 1 << fmt.bits - 1]) if fmt.signed else codes


def crossed(*codes: NDArray) -> list[NDArray]:
    """Every combination of codes, an array for each operand."""
    return [each.ravel() for each in np.meshgrid(*codes, indexing="ij")]


def floats(rng: np.random.Generator, fmt: Format, count: int,
           exponents: NDArray | None = None) -> NDArray[np.int64]:
    """Random codes: every exponent alike; fractions of few ones, of few zeros, or any."""
    if exponents is None:
        exponents = rng.integers(0, 1 << fmt.exp_bits, count)
    ones = (1 << fmt.man_bits) - 1
    sparse = np.zeros(count, dtype=np.int64)
    if fmt.man_bits:
        for _ in range(3):
            sparse |= np.where(rng.random(count) < 0.6, 1 << rng.integers(0, fmt.man_bits, count),
                               0)
    kind = rng.random(count)
    fraction = np.select([kind < 0.25, kind < 0.5], [sparse, ones ^ sparse],
                         rng.integers(0, ones + 1, count))
    sign = rng.integers(0, 2, count) if fmt.signed else np.zeros(count, dtype=np.int64)
    return (sign << fmt.exp_bits | exponents) << fmt.man_bits | fraction


def pairs(rng: np.random.Generator, a: Format, b: Format, count: int) -> list[NDArray[np.int64]]:
    """Random codes of two formats: half with every difference of exponents, half with every sum."""
    tops = [(1 << fmt.exp_bits) - 1 for fmt in (a, b)]
    order = np.arange(count) // 2
    difference, total = order % (sum(tops) + 1) - tops[1], order % (sum(tops) + 1)
    # Exponents of `a` that leave one for `b`.
    low  = np.where(np.arange(count) % 2, np.maximum(0, difference), np.maximum(0, total - tops[1]))
    high = np.where(np.arange(count) % 2, np.minimum(tops[0], tops[1] + difference),
                    np.minimum(tops[0], total))
    first  = rng.integers(low, high + 1)
    second = np.where(np.arange(count) % 2, first - difference, total - first)
    return [floats(rng, a, count, first), floats(rng, b, count, second)]


def near(rng: np.random.Generator, codes: NDArray[np.int64], fmt: Format) -> NDArray[np.int64]:
    """Codes that nearly cancel others: of the other sign, up to two places away."""
    magnitude = (codes & (1 << fmt.bits - 1) - 1) + rng.integers(-2, 3, len(codes))
    sign = codes >> fmt.bits - 1 ^ 1
    return sign << fmt.bits - 1 | np.clip(magnitude, 0, (1 << fmt.bits - 1) - 1)


def integers(rng: np.random.Generator, low: int, high: int, count: int) -> NDArray:
    """Integers of ``low`` to ``high``: 0, both ends, and of every size.

    Some are next to a power of two, or at the middle of two numbers of binary32 or next to it.
    """
    bits = max(-low, high).bit_length()
    sizes, kinds = rng.integers(0, bits + 1, count), rng.random(count)
    signs, deltas = rng.choice([-1, 1], count), rng.integers(-1, 2, count)
    digits = [int.from_bytes(rng.bytes(40), "little") for _ in range(count)]
    values = []
    for size, kind, sign, delta, digit in zip(
            sizes.tolist(), kinds, signs.tolist(), deltas.tolist(), digits, strict=True):
        if kind < 0.05:
            value = (0, low, high)[delta]
        elif kind < 0.2:
            value = sign * (1 << size) + delta
        elif kind < 0.4:
            value = sign * ((digit >> 296 | 1 << 24 | 1) << max(0, size - 25)) + delta
        else:
            value = sign * (digit >> 320 - size)
        values.append(min(max(value, low), high))
    return np.array(values, dtype=np.int64 if bits < 62 else object)
