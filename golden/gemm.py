"""Grouped mixed-precision GEMM: exact integer sums, dequantised after each group."""

import numpy as np
from numpy.typing import NDArray

from golden.formats import FORMATS
from golden.quantise import Activations, GroupedWeights

__all__ = ["group_sums", "dequantise", "gemm"]


def group_sums(x: NDArray[np.int64], weights: GroupedWeights) -> NDArray[np.int64]:
    """Σ x·(q − z) over each group, exact.

    Parameters
    ----------
    x : ndarray of int64, shape (M, K)
        Integer activations.
    weights : GroupedWeights
        K by N weights.

    Returns
    -------
    ndarray of int64, shape (K / G, M, N)
    """
    k, n = weights.q.shape
    if x.ndim != 2 or x.shape[1] != k:
        raise ValueError(f"Shapes {x.shape} and {(k, n)} do not form a matrix product")
    x = x.reshape(len(x), -1, weights.group).swapaxes(0, 1)
    q = weights.q.reshape(-1, weights.group, n)
    # The zero point leaves the inner product: it multiplies the sum of the row's activations.
    return x @ q - x.sum(axis=2)[:, :, None] * weights.zeros[:, None, :]


def dequantise(sums: NDArray[np.int64], scales: NDArray[np.float32],
               sx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale and add the groups in float32: ``acc = 0; acc += fp32(sums[g]) * scales[g]; acc * sx``.

    Each conversion, product and sum is rounded to nearest even; groups are added in ascending
    order.

    Parameters
    ----------
    sums : ndarray of int64, shape (K / G, M, N)
        Result of :func:`group_sums`.
    scales : ndarray of float32, shape (K / G, N)
        Group scales of the weights.
    sx : ndarray of float32, shape (M,)
        Scales of the tokens.

    Returns
    -------
    ndarray of float32, shape (M, N)
    """
    acc = np.zeros(sums.shape[1:], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for group, scale in zip(sums, scales, strict=True):
            acc = acc + group.astype(np.float32) * scale
        return acc * sx[:, None]


def gemm(x: Activations, weights: GroupedWeights, *, y: str = "fp16") -> NDArray[np.int64]:
    """Codes of ``y[m, n] = sx[m] · Σ_g s[g, n] · Σ_{k∈g} x[m, k]·(q[k, n] − z[g, n])``.

    MixPE, arXiv 2411.16158: dequantisation follows the integer product of each group.

    Parameters
    ----------
    x : Activations
        M by K activations.
    weights : GroupedWeights
        K by N weights.
    y : str
        Output format, to which the float32 result is rounded.

    Returns
    -------
    ndarray of int64, shape (M, N)

    Examples
    --------
    >>> from golden.quantise import quantise_weights
    >>> weights = quantise_weights([[1.0], [-1.0]], w="int4", group=2)
    >>> hex(gemm(Activations(np.array([[3, -4]]), np.float32([0.5])), weights).item())  # 3.5
    '0x4300'
    """
    scales = FORMATS[weights.scale].decode(weights.scales).astype(np.float32)
    return FORMATS[y].encode(dequantise(group_sums(x.q, weights), scales, x.scales))
