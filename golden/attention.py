"""Attention's second product from codes: values of equal codes are added first."""

import numpy as np
from numpy.typing import NDArray

from golden.formats import FORMATS
from golden.gemm import dequantise, group_sums, nearest_float32
from golden.quantise import Activations, GroupedWeights, groups
from golden.softmax import SoftmaxResult
from golden.softmax_parameters import Constants

__all__ = ["reciprocals", "code_sums", "weighted_values"]


def reciprocals(sums: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 / S in float32, rounded once to the nearest, ties to even; 0 for S = 0.

    Parameters
    ----------
    sums : ndarray of int64
        Sums S of exponents, from 0 to 2**32 - 1.

    Returns
    -------
    ndarray of float32, same shape as ``sums``
    """
    divisors = np.maximum(sums, 1)
    # A quotient of 30 or 31 bits, the last of which also tells of a remainder.
    shift = 30 + np.frexp(divisors.astype(np.float64))[1].astype(np.int64)
    quotient, rest = np.divmod(np.int64(1) << shift, divisors)
    found = np.ldexp((quotient | (rest > 0)).astype(np.float64), -shift).astype(np.float32)
    return np.where(sums > 0, found, np.float32(0))


def code_sums(result: SoftmaxResult, constants: Constants,
              values: Activations) -> NDArray[np.object_]:
    """Σ_k E_k · Σ (V[j, d] - z) over the tokens j of a group that have code k, exact.

    Parameters
    ----------
    result : SoftmaxResult
        Codes of rows of N tokens.
    constants : Constants
        With which they were computed.
    values : Activations
        Vᵀ, D by N. A group, if there are any, is one of tokens.

    Returns
    -------
    ndarray of Python's integers, shape (ceil(N / G), D, rows)
        In units of 2**-F times steps of the values; infinities and NaN count as 0.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if values.q.shape[1] != result.codes.shape[1]:
        raise ValueError(f"Values must be of {result.codes.shape[1]} tokens as the codes, "
                         f"not of {values.q.shape[1]}")
    group = values.group or values.q.shape[1]
    count, tokens = groups(values.q.shape[1], group), len(result.codes)
    zeros = np.zeros((count, tokens), dtype=np.int64)
    total = np.zeros((count, len(values.q), tokens), dtype=object)
    for k, exponent in enumerate(constants.exponents):
        chosen = (result.codes == k).T.astype(np.int64)
        ones = GroupedWeights("int2", "fp16", group, chosen, zeros, zeros)
        total += group_sums(values, ones).astype(object) * exponent
    return total


def weighted_values(result: SoftmaxResult, constants: Constants, values: Activations, *,
                    y: str = "fp16") -> NDArray[np.int64]:
    """Codes of attention's outputs, the probabilities times V.

    ::

        P[m, d, g] = Σ_k E_k · Σ_{j in g with code k} V[j, d]        exact
        acc        = Σ_g fp32(fp32(P · steps) · t[d, g])             in float32, g ascending from +0
        y[m, d]    = y_format(fp32(fp32(acc · s[d]) · fp32(1 / S)))

    with the values' group scales t, if they have any, and their scales s; each operation is
    rounded to the nearest, ties to even. Masked tokens are not added, whatever their values. An
    infinity or NaN among the others of a row gives NaN, and so does an invalid row; a row of
    masked tokens gives +0.

    The values take the place of a GEMM's activations: a row d is a column of V, K are the tokens.
    So an array that multiplies by {0, 1} computes the inner sums, one product for each code.

    Let u = 2**-24, g the number of groups, γ = (g + 5)u / (1 - (g + 5)u) and

    ::

        T = Σ_g |t·P| · steps · |s| / S    E = γ·T + 2**-149 · (1 + (1 + |s|)·(g + 1) / S)

    Without an overflow a result differs from Σ_j (E_k / S)·V[j, d] with the real values by at
    most E + (T + E)·2**(-1 - mantissa bits of y) + half the least number of y: each term passes
    its conversion, its product, g - 1 additions, two last products and the rounding of 1 / S,
    g + 4 roundings; a product that is subnormal is off by half of 2**-149 instead. γ has one
    rounding to spare for the products of these errors.

    Parameters
    ----------
    result : SoftmaxResult
        Codes and sums of rows of N tokens.
    constants : Constants
        With which they were computed.
    values : Activations
        Vᵀ, D by N: int8 with a scale for each column of V, and with scales for each group of
        tokens if wanted, fp16 or bf16.
    y : str
        Output format.

    Returns
    -------
    ndarray of int64, shape (rows, D)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from golden.softmax import softmax
    >>> from golden.softmax_parameters import SOFTMAX_SETS
    >>> unit = SOFTMAX_SETS["attention_tiny"]
    >>> constants = Constants((5 << 23, 3 << 23, 1 << 23), (1631, 4435, 12055, 32768))
    >>> result = softmax(unit.x_format.encode([[2.0, 2.0, -9.0, 2.0]]), [[0, 0, 0, 1]],
    ...                  constants, unit)
    >>> values = Activations(np.array([[8, 4, 100, 127]]), np.float32([0.5]))
    >>> found = weighted_values(result, constants, values, y="fp32")
    >>> round(FORMATS["fp32"].decode(found).item(), 4)
    4.1413
    """
    step = values.fmt.step
    acc = nearest_float32(code_sums(result, constants, values), step)
    scales = np.ones((len(acc), len(values.q), 1), dtype=np.float32)
    if values.group_scales is not None:
        own = FORMATS[values.group_scale].decode(values.group_scales)
        scales = own.T[:, :, None].astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found = dequantise(acc, scales, values.scales).T * reciprocals(result.sums)[:, None]
    found[_poisoned(result, values) | result.invalid[:, None]] = np.nan
    return FORMATS[y].encode(found)


def _poisoned(result: SoftmaxResult, values: Activations) -> NDArray[np.bool_]:
    """Outputs to which a token that is not masked adds an infinity or NaN, shape (rows, D)."""
    if values.fmt.is_integer:
        return np.zeros((len(result.codes), len(values.q)), dtype=bool)
    bad = ~np.isfinite(values.fmt.decode(values.q))
    shown = result.codes < result.counts.shape[1]
    return (shown.astype(np.int64) @ bad.T.astype(np.int64)) > 0
