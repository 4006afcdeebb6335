"""What the rivals compute: weights dequantised before the product, fused multiply-adds."""

from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import FORMATS, Format
from golden.quantise import groups, quantise_weights
from golden.rival_parameters import RIVALS, RivalParameters

__all__ = ["RIVALS", "RivalParameters", "ProgressiveWeights", "progressive", "dequantise", "fma",
           "dot"]

_FP16 = FORMATS["fp16"]

#: Most that a weight of the first level may be, so that no step of the second leads past int8.
_PROTECTED = 119


@dataclass(frozen=True)
class ProgressiveWeights:
    """Weights in two levels: int8 with a scale for each feature, and uint4 with integer scales.

    ``w[k, n] ≈ features[n] * (q[k, n] - zeros[k // group, n]) * scales[k // group, n]``

    Parameters
    ----------
    group : int
        G; the last group of K may be shorter.
    q : ndarray of int64, shape (K, N)
        Numbers of uint4.
    zeros, scales : ndarray of int64, shape (ceil(K / G), N)
        Zero points from 0 to 15 and integer scales from 1 to 16.
    features : ndarray of int64, shape (N,)
        fp16 codes of the scales of the output features.
    """

    group: int
    q: NDArray[np.int64]
    zeros: NDArray[np.int64]
    scales: NDArray[np.int64]
    features: NDArray[np.int64]


def progressive(weights: ArrayLike, group: int) -> ProgressiveWeights:
    """Progressive group quantisation (QServe, arXiv 2405.04532).

    A feature is rounded to integers from -119 to 119; these, in groups, to uint4 with an integer
    scale s and a zero point ``clamp(round(-min / s), 0, 15)``. Of the two integers next to
    ``(max - min) / 15`` s is that with the lesser squared error. The least s that holds all is at
    most 16, half of which is what a weight may gain: none leaves int8.

    Parameters
    ----------
    weights : array_like of float, shape (K, N)
        Finite numbers.
    group : int
        G.

    Raises
    ------
    ValueError
        If the group is below 1, or :func:`golden.quantise.quantise_weights` refuses the weights.
    """
    if group < 1:
        raise ValueError(f"Group size must be at least 1, not {group}")
    matrix = np.asarray(weights, dtype=np.float64)
    # int8 of a range that is as much larger ends at the protected number.
    first = quantise_weights(matrix * (127 / _PROTECTED), w="int8", group=len(matrix))
    steps = FORMATS[first.scale].decode(first.scales[0])
    wide = np.clip(np.rint(matrix / steps), -_PROTECTED, _PROTECTED).astype(np.int64)
    (k, n), count = wide.shape, groups(len(wide), group)
    q = np.empty((k, n), dtype=np.int64)
    zeros, scales = (np.empty((count, n), dtype=np.int64) for _ in range(2))
    for g in range(count):
        part = slice(g * group, (g + 1) * group)
        least = (wide[part].max(axis=0, initial=0) - wide[part].min(axis=0, initial=0)) // 15
        options = [_second_level(wide[part], np.maximum(least + more, 1)) for more in (0, 1)]
        errors = [(((found - z) * s - wide[part])**2).sum(axis=0) for found, z, s in options]
        better = errors[1] < errors[0]
        q[part], zeros[g], scales[g] = (np.where(better, b, a)
                                        for a, b in zip(*options, strict=True))
    return ProgressiveWeights(group, q, zeros, scales, first.scales[0])


def _second_level(wide: NDArray[np.int64],
                  scales: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Numbers of uint4, zero points and scales of a group of integers."""
    zeros = np.clip(np.rint(-wide.min(axis=0, initial=0) / scales), 0, 15).astype(np.int64)
    q = np.clip(np.rint(wide / scales) + zeros, 0, 15).astype(np.int64)
    return q, zeros, scales


def dequantise(parameters: RivalParameters, codes: ArrayLike, zeros: ArrayLike,
               scales: ArrayLike) -> NDArray[np.int64]:
    """Codes of the weights that are multiplied.

    To int8 ``clamp((q - z) * s, -128, 127)`` with an integer scale, which a quantiser chooses so
    that nothing clips (progressive group quantisation, QServe, arXiv 2405.04532); to fp16
    ``fp16((q - z) * s)``, one rounding to the nearest, ties to even.

    Parameters
    ----------
    parameters : RivalParameters
        Has dequantisers.
    codes, zeros, scales : array_like of int
        Codes of ``w_format``, zero points, and codes of ``scale_format``; shapes that broadcast.

    Returns
    -------
    ndarray of int64
        Codes of ``factor_format``, of the broadcast shape.

    Examples
    --------
    >>> dequantise(RIVALS["int8_first"], [0, 9, 15], 8, 17).tolist()
    [128, 17, 119]
    >>> [f"{code:x}" for code in dequantise(RIVALS["fp16_first"], [8, 9, 5], 8, 0x3555)]
    ['0', '3555', 'bc00']
    """
    offset = parameters.w_format.decode(codes) - np.asarray(zeros)
    with np.errstate(invalid="ignore"):  # 0 times infinity is NaN
        return parameters.factor_format.encode(offset * parameters.scale_format.decode(scales))


def fma(x: ArrayLike, w: ArrayLike, acc: ArrayLike, fmt: Format) -> NDArray[np.int64]:
    """``acc + x * w`` with one rounding to the nearest, ties to even (IEEE 754).

    Parameters
    ----------
    x, w : array_like of int
        Codes of fp16.
    acc : array_like of int
        Codes of ``fmt``; shapes broadcast.
    fmt : Format
        An IEEE format of the accumulator and the result.

    Returns
    -------
    ndarray of int64
        Codes of ``fmt``; the canonical NaN alone.

    Examples
    --------
    >>> code = fma(0x3c01, 0x3c01, 0xbc02, FORMATS["fp16"])  # (1 + u)² - (1 + 2·u) = u²
    >>> FORMATS["fp16"].decode(code) == 2.0**-20
    np.True_
    """
    a, b, c = _FP16.decode(x), _FP16.decode(w), fmt.decode(acc)
    with np.errstate(invalid="ignore"):
        close = a * b + c  # has the sign of the result, and its kind if that is no number
    finite = np.isfinite(close)
    a, b, c = (np.where(finite, value, 0) for value in (a, b, c))
    unit = min(2 * int(log2(_FP16.step)), int(log2(fmt.step)))
    product = _integers(a, _FP16.step) * _integers(b, _FP16.step)
    total = (product << 2 * int(log2(_FP16.step)) - unit) + (
        _integers(c, fmt.step) << int(log2(fmt.step)) - unit)
    nearest = np.frompyfunc(lambda each: _nearest(abs(each), unit, fmt), 1, 1)
    codes = np.asarray(nearest(total), dtype=np.int64)
    codes = codes | np.signbit(close).astype(np.int64) << fmt.bits - 1
    return np.where(finite, codes, fmt.encode(close))


def dot(parameters: RivalParameters, x: ArrayLike, w: ArrayLike) -> NDArray[np.int64]:
    """Sums over K, from 0 in ascending order of k; exact if accumulators are integers.

    Parameters
    ----------
    parameters : RivalParameters
        Has the accumulators.
    x : array_like of int, shape (..., M, K)
        Codes of ``x_format``.
    w : array_like of int, shape (..., K, N)
        Codes of ``factor_format``.

    Returns
    -------
    ndarray of int64, shape (..., M, N)
        Integers, or codes of ``acc_format``.

    Raises
    ------
    ValueError
        If an exact sum could have more products than an accumulator holds.
    """
    x, w = np.asarray(x), np.asarray(w)
    fmt = parameters.acc_format
    if fmt is None:
        if x.shape[-1] > parameters.length:
            raise ValueError(f"K must be at most {parameters.length}, not {x.shape[-1]}")
        factors = parameters.x_format.decode(x), parameters.factor_format.decode(w)
        return (factors[0] @ factors[1]).astype(np.int64)  # integers below 2**53
    # The same as :func:`fma` in each step, and a thousand times as fast: in fp32 products are
    # exact, and their sum is rounded once or, if it is rounded again, to odd.
    a, b = _FP16.decode(x).astype(np.float32), _FP16.decode(w).astype(np.float32)
    sums = np.zeros((*x.shape[:-1], w.shape[-1]), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(x.shape[-1]):
            terms = a[..., k, None] * b[..., k, None, :]
            if fmt.name == "fp32":
                sums += terms
            else:
                sums = _odd_sum(terms, sums).astype(np.float16).astype(np.float32)
    return fmt.encode(sums)


def _odd_sum(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum rounded to odd if it is not exact, so that it can be rounded again to half the bits.

    S. Boldo and G. Melquiond, IEEE Transactions on Computers 57, 2008; the rest is that of
    Knuth's TwoSum.
    """
    total = a + b
    other = total - a
    rest  = (a - (total - other)) + (b - other)
    codes = total.view(np.int32)
    even  = (rest != 0) & np.isfinite(total) & (codes & 1 == 0)
    # The next number away from 0 has the next code.
    return (codes + even * np.where((rest > 0) == (total > 0), 1, -1)).astype(np.int32).view(
        np.float32)


def _integers(values: NDArray[np.float64], step: float) -> NDArray[np.object_]:
    """Numbers in steps, as integers of any size."""
    return np.asarray(np.frompyfunc(int, 1, 1)(values / step), dtype=object)


def _nearest(magnitude: int, unit: int, fmt: Format) -> int:
    """Code of the number nearest to ``magnitude * 2**unit``; ties go to the even code."""
    lowest = int(log2(fmt.step)) - unit
    drop   = max(lowest, magnitude.bit_length() - fmt.man_bits - 1)
    kept, rest, whole = magnitude >> drop, magnitude & (1 << drop) - 1, 1 << drop
    kept += 2 * rest > whole or (2 * rest == whole and kept & 1)
    return min((drop - lowest << fmt.man_bits) + kept, fmt.infinity)
