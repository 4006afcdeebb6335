"""What the rivals compute: weights dequantised before the product, fused multiply-adds."""

from math import log2

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import FORMATS, Format
from golden.rival_parameters import RIVALS, RivalParameters

__all__ = ["RIVALS", "RivalParameters", "dequantise", "fma", "dot"]

_FP16 = FORMATS["fp16"]


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
    acc = np.zeros((*x.shape[:-1], w.shape[-1]), dtype=np.int64)
    for k in range(x.shape[-1]):
        acc = fma(x[..., k, None], w[..., k, None, :], acc, fmt)
    return acc


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
