"""Softmax with exact exponents in integers: the rival that EXAQ is measured against."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.softmax import rounded_fractions, rows
from golden.softmax_parameters import BaselineParameters

__all__ = ["ExactSoftmaxResult", "exponents", "exact_softmax"]

#: Binary places of fp16 numbers and their differences.
_X_POINT = 24


@dataclass(frozen=True)
class ExactSoftmaxResult:
    """What the unit gives for rows of logits.

    Parameters
    ----------
    exponents : ndarray of int64, shape (rows, N)
        2**-v in units of ``2**-exp_bits``; 0 for masked elements and in invalid rows.
    probabilities : ndarray of int64, shape (rows, N)
        Codes of the output format. 0 for masked elements; in an invalid row NaN in fp16 and 0 in
        integers, masked elements too.
    sums : ndarray of int64, shape (rows,)
        Exponents added.
    all_masked, invalid : ndarray of bool, shape (rows,)
        Status bits: nothing left; a NaN or +infinity that is not masked.
    """

    exponents: NDArray[np.int64]
    probabilities: NDArray[np.int64]
    sums: NDArray[np.int64]
    all_masked: NDArray[np.bool_]
    invalid: NDArray[np.bool_]


def exponents(distances: ArrayLike, parameters: BaselineParameters) -> NDArray[np.int64]:
    """Exponents of distances from the maximum, in units of ``2**-exp_bits``.

    With the widths T, k, V and F of the parameters, each line cut to an integer by dropping bits:

    ::

        u = min(distance · 2**(T - 24), 32 · 2**T - 1)
        v = u · log2_e / 2**log2_e_point                        i = v / 2**T, f = v mod 2**T
        g = T[a] - (T[a] - T[a + 1]) · r / 2**(T - k)           a = f / 2**(T - k), r the rest
        exponent = g · 2**(F - V) / 2**i

    Before the last line it errs by less than 2**-P of e**-distance. Of it, u takes 2**-T, for it
    is less than a step too small; v ln 2 · 2**-T for the same reason, and ln 2 · 32 ·
    2**-(log2_e_point + 1) for the factor; interpolation (ln 2)² / 8 · 2**-2k of 2**-f, the
    greatest error of a chord; the entries 1/2 and the cut product 1 of 2**-V, of a number that is
    at least 1/2. With T = P + 2, log2_e_point = P + 7, 2k >= P - 1 and V = P + 4 the sum is 0.82
    of 2**-P. A distance from 32 on has an exponent below 2**-46, which is cut to 0.

    Parameters
    ----------
    distances : array_like of int
        Maximum less logit, in units of 2**-24, not negative.
    parameters : BaselineParameters
        The unit.

    Returns
    -------
    ndarray of int64, same shape as ``distances``

    Examples
    --------
    >>> unit = BaselineParameters(name="example")
    >>> (exponents([0, 1 << 24], unit) / 2**unit.exp_bits).tolist()  # 1 and 1 / e
    [1.0, 0.367919921875]
    """
    p = parameters
    table = np.array(p.table)
    u = np.minimum(np.asarray(distances, dtype=np.int64) >> _X_POINT - p.distance_point,
                   (1 << p.distance_bits) - 1)
    v = u * p.log2_e >> p.log2_e_point
    whole, fraction = v >> p.distance_point, v & (1 << p.distance_point) - 1
    address, rest = fraction >> p.rest_bits, fraction & (1 << p.rest_bits) - 1
    drop = (table[address] - table[address + 1]) * rest >> p.rest_bits
    return (table[address] - drop << p.exp_bits - p.value_bits) >> whole


def exact_softmax(x: ArrayLike, mask: ArrayLike | None,
                  parameters: BaselineParameters) -> ExactSoftmaxResult:
    """Softmax of rows of fp16 logits with an exponent and a division for each element.

    ::

        m = max of the elements that are not masked
        a_j = exponents(m - x_j)    A = Σ a_j    p_j = y_format(a_j / A)

    Sums are exact, quotients rounded once, to the nearest, ties to even. Masked elements, rows
    without others and invalid rows are as in :func:`golden.softmax.softmax`.

    With ε = 2**-P, h = 2**-F and A, s in units of 1, a quotient before its rounding differs from
    the real softmax p of the same logits by

    ::

        |a_j / A - p| <= (s / A) · 2·ε·p + h · (1 + p·N) / A        s <= (A + h·N) / (1 - ε)

    Proof: a_j = e_j + η_j with |η_j| <= ε·e_j + h, and A = s + ζ with |ζ| <= ε·s + h·N; then
    a_j / A - e_j / s = (η_j - p·ζ) / A. The maximum's exponent is exactly 1, so A >= 1. With the
    widths of :class:`BaselineParameters` that is at most half a unit of ``uint8`` and ``u16``,
    and for fp16 at most the greater of 2**-11·p and 2**-25.

    Parameters
    ----------
    x : array_like of int, shape (rows, N)
        fp16 codes of the logits.
    mask : array_like of bool, shape (rows, N), or None
        Mask bits.
    parameters : BaselineParameters
        The unit.

    Returns
    -------
    ExactSoftmaxResult

    Raises
    ------
    ValueError
        If a shape does not fit or a code is out of range.

    Examples
    --------
    >>> unit = BaselineParameters(name="example")
    >>> x = unit.x_format.encode([[1.0, 0.0, -9.0, 1.0]])
    >>> exact_softmax(x, None, unit).probabilities.tolist()
    [[108, 40, 0, 108]]
    """
    logits = rows(x, mask, parameters.x_format, parameters.max_length)
    shown = ~logits.masked & ~logits.invalid[:, None]
    # Multiples of 2**-24 below 2**18: the difference is exact.
    distances = np.ldexp(logits.maxima[:, None] - logits.values, _X_POINT)
    found = np.where(shown, exponents(np.where(shown, distances, 0), parameters), 0)
    sums = found.sum(axis=1)

    fmt = parameters.y_format
    # A row without elements has the sum 0; its quotients are 0.
    probabilities = rounded_fractions(found, np.maximum(sums, 1)[:, None], fmt)
    if not fmt.is_integer:
        probabilities[logits.invalid] = fmt.nan
    return ExactSoftmaxResult(found, probabilities, sums, logits.all_masked, logits.invalid)
