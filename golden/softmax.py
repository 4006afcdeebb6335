"""EXAQ softmax in integers: codes by thresholds, exact sums, probabilities rounded once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import Format
from golden.softmax_parameters import THRESHOLD_POINT, Constants, SoftmaxParameters

__all__ = ["Rows", "SoftmaxResult", "rows", "rounded_fractions", "softmax"]


@dataclass(frozen=True)
class Rows:
    """Logits of rows, and what a unit sees in them before it computes.

    Parameters
    ----------
    values : ndarray of float64, shape (rows, N)
        Logits; 0 where masked and in rows that are invalid.
    masked : ndarray of bool, shape (rows, N)
        Elements with their mask bit set, and those that are -infinity.
    maxima : ndarray of float64, shape (rows,)
        Largest logit that is not masked; 0 if there is none and for invalid rows.
    all_masked, invalid : ndarray of bool, shape (rows,)
        Rows with nothing left, and rows with a NaN or +infinity that is not masked.
    """

    values: NDArray[np.float64]
    masked: NDArray[np.bool_]
    maxima: NDArray[np.float64]
    all_masked: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


def rows(x: ArrayLike, mask: ArrayLike | None, fmt: Format, max_length: int) -> Rows:
    """Decode rows of logits and find their maxima.

    Parameters
    ----------
    x : array_like of int, shape (rows, N)
        Codes of ``fmt``.
    mask : array_like of bool, shape (rows, N), or None
        Which elements have their mask bit set.
    fmt : Format
        ``fp16`` or ``bf16``.
    max_length : int
        Largest N.

    Raises
    ------
    ValueError
        If a shape breaks these rules or a code is out of range.
    """
    codes = np.asarray(x, dtype=np.int64)
    if codes.ndim != 2:
        raise ValueError(f"Logits must be a matrix, not of shape {codes.shape}")
    if not 1 <= codes.shape[1] <= max_length:
        raise ValueError(f"Length of a row must be from 1 to {max_length}, not {codes.shape[1]}")
    bits = np.zeros(codes.shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    if bits.shape != codes.shape:
        raise ValueError(f"Shape of the mask must be {codes.shape}, not {bits.shape}")
    values = fmt.decode(codes)
    masked = bits | (values == -np.inf)
    all_masked = masked.all(axis=1)
    invalid = (~masked & ~np.isfinite(values)).any(axis=1)
    hidden = masked | invalid[:, None]
    maxima = np.where(hidden, -np.inf, values).max(axis=1)
    return Rows(np.where(hidden, 0.0, values), masked,
                np.where(all_masked | invalid, 0.0, maxima), all_masked, invalid)


def rounded_fractions(numerators: NDArray[np.int64], denominators: NDArray[np.int64],
                      fmt: Format) -> NDArray[np.int64]:
    """Codes of numerator / denominator, rounded once to the nearest, ties to even.

    The quotient has ``point`` fraction bits for an integer, which saturates at the format's
    highest number, and 24 for fp16, in whose least steps it then counts; the bits below those of
    the result and the remainder decide the rounding.

    Parameters
    ----------
    numerators, denominators : ndarray of int64, shapes that broadcast
        Integers with 0 <= numerator <= denominator and 0 < denominator < 2**47, the numerator
        below 2**38.
    fmt : Format
        A fraction in unsigned integers, or fp16.

    Returns
    -------
    ndarray of int64
    """
    point = fmt.point if fmt.is_integer else -int(np.log2(fmt.step))
    quotient, rest = np.divmod(numerators << point, denominators)
    drop = np.zeros_like(quotient)
    if not fmt.is_integer:
        # A float keeps its leading one and the bits of its mantissa; frexp counts the bits.
        drop = np.maximum(np.frexp(quotient.astype(np.float64))[1] - 1 - fmt.man_bits, 0)
    kept = quotient >> drop
    below = (quotient & (1 << drop) - 1) * denominators + rest
    twice, whole = 2 * below, denominators << drop
    kept = kept + ((twice > whole) | ((twice == whole) & (kept & 1 == 1)))
    if fmt.is_integer:
        return np.minimum(kept, fmt.high)
    # The leading one adds 1 to the exponent field, and so does a carry out.
    return (drop.astype(np.int64) << fmt.man_bits) + kept


@dataclass(frozen=True)
class SoftmaxResult:
    """What the unit gives for rows of logits.

    Parameters
    ----------
    codes : ndarray of int64, shape (rows, N)
        Words of the output of codes: the code k, or ``2**b`` for a masked element. 0 in an
        invalid row.
    probabilities : ndarray of int64, shape (rows, N)
        Codes of the output format. 0 for masked elements; in an invalid row NaN in fp16 and 0 in
        integers, masked elements too.
    counts : ndarray of int64, shape (rows, 2**b)
        n_k, elements of each code. 0 in an invalid row.
    sums : ndarray of int64, shape (rows,)
        S, exponents added, in units of 2**-F. 0 in an invalid row.
    all_masked, invalid : ndarray of bool, shape (rows,)
        Status bits: nothing left; a NaN or +infinity that is not masked.
    """

    codes: NDArray[np.int64]
    probabilities: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    all_masked: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


def softmax(x: ArrayLike, mask: ArrayLike | None, constants: Constants,
            parameters: SoftmaxParameters) -> SoftmaxResult:
    """Softmax of rows of logits as the unit computes it.

    ::

        m   = max of the elements that are not masked
        k_j = number of thresholds with x_j - m >= θ_k       the exact real difference
        n_k = number of elements of code k
        S   = Σ_k n_k·E_k                                    exact
        p_j = y_format(E_k / S) for k = k_j                  one rounding, ties to even

    An element is masked if its bit is set or it is -infinity: it has probability 0 and is not
    counted. A row of masked elements alone gives zeros. -0 equals +0.

    With h = 2**-(F + 1), a = S / 2**F and n' the elements whose code is not the highest, a
    probability before its rounding differs from that of exact exponents e_k = exp(lo + kΔ) of the
    same codes, p, by

    ::

        |E_k / S - p| <= h · (1 + p·n') / a

    Proof: E_k / 2**F = e_k + η_k with |η_k| <= h, and the highest is exact, so a = s + ζ with
    s = Σ n_k·e_k and |ζ| <= h·n'. Then E_k / S - e_k / s = (η_k - p·ζ) / a. The maximum itself
    is in the sum, so a >= 1. The rounding adds at most 2**-9 for ``uint8``, 2**-17 for ``u16``
    (twice that if it saturates) and the greater of 2**-11·p and 2**-25 for fp16.

    Parameters
    ----------
    x : array_like of int, shape (rows, N)
        Codes of the logits.
    mask : array_like of bool, shape (rows, N), or None
        Mask bits.
    constants : Constants
        Those of the rows' layer.
    parameters : SoftmaxParameters
        The unit.

    Returns
    -------
    SoftmaxResult

    Raises
    ------
    ValueError
        If the constants are not of the unit's widths, a shape does not fit or a code is out of
        range.

    Examples
    --------
    >>> from golden.softmax_parameters import SOFTMAX_SETS
    >>> x = SOFTMAX_SETS["attention_tiny"].x_format.encode([[1.0, 0.0, -9.0, 1.0]])
    >>> constants = Constants((5 << 23, 3 << 23, 1 << 23), (1631, 4435, 12055, 32768))  # lo = -3
    >>> result = softmax(x, None, constants, SOFTMAX_SETS["attention_tiny"])
    >>> result.codes.tolist(), result.sums.tolist(), result.probabilities.tolist()
    ([[3, 2, 0, 3]], [79222], [[106, 39, 5, 106]])
    """
    constants.check(parameters)
    logits = rows(x, mask, parameters.x_format, parameters.max_length)
    shown = ~logits.masked & ~logits.invalid[:, None]
    codes = np.where(shown, _codes(logits, constants), 0)
    counts = np.stack([(shown & (codes == k)).sum(axis=1) for k in range(parameters.levels)],
                      axis=1)
    exponents = np.array(constants.exponents, dtype=np.int64)
    sums = counts @ exponents

    fmt = parameters.y_format
    # A row without elements has the sum 0; none of its quotients is used.
    quotients = rounded_fractions(exponents, np.maximum(sums, exponents[-1])[:, None], fmt)
    probabilities = np.where(shown, np.take_along_axis(quotients, codes, axis=1), 0)
    if not fmt.is_integer:
        probabilities[logits.invalid] = fmt.nan
    words = np.where(logits.masked & ~logits.invalid[:, None], parameters.levels, codes)
    return SoftmaxResult(words, probabilities, counts, sums, logits.all_masked, logits.invalid)


def _codes(logits: Rows, constants: Constants) -> NDArray[np.int64]:
    """Thresholds that each element's exact difference from the maximum reaches."""
    x, m = logits.values, logits.maxima[:, None]
    difference = x - m
    # Knuth's TwoSum: x - m = difference + error, exactly. Of fp16 the error is 0.
    back = difference + m
    error = (x - back) - (m - (back - difference))
    codes = np.zeros(x.shape, dtype=np.int64)
    for magnitude in constants.thresholds:
        threshold = np.ldexp(-float(magnitude), -THRESHOLD_POINT)
        codes += (difference > threshold) | ((difference == threshold) & (error >= 0))
    return codes
