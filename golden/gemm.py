"""Grouped mixed-precision GEMM: exact sums, dequantised after each group."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.formats import FORMATS
from golden.mixed import MixedWeights
from golden.quantise import Activations, GroupedWeights, groups

__all__ = ["group_sums", "nearest_float32", "dequantise", "gemm"]


def group_sums(x: Activations, weights: GroupedWeights) -> NDArray[Any]:
    """Σ (x − zx)·(q − z) over each group in steps of ``x`` times steps of ``q``, exact.

    Parameters
    ----------
    x : Activations
        M by K activations; infinities and NaN count as 0.
    weights : GroupedWeights
        K by N weights.

    Returns
    -------
    ndarray of int, shape (ceil(K / G), M, N)
        Of int64, or of Python's integers for activations whose sums need more bits.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the groups of the activations are not those of the weights.
    """
    k, n = weights.q.shape
    if x.q.shape[1] != k:
        raise ValueError(f"Shapes {x.q.shape} and {(k, n)} do not form a matrix product")
    if x.group not in (None, weights.group):
        raise ValueError(f"Group size of the activations must be that of the weights, "
                         f"{weights.group}, not {x.group}")
    # No weight less its zero point exceeds 255.
    narrow = x.fmt.high * 255 * min(k, weights.group) < 1 << 63
    steps = _steps(x, np.dtype(np.int64 if narrow else object))
    # The zero points leave the inner product: they multiply the sums of rows and columns.
    sums = [np.zeros((0, len(steps), n), dtype=steps.dtype)]
    for g in range(groups(k, weights.group)):
        part = slice(g * weights.group, (g + 1) * weights.group)
        rows, columns, z = steps[:, part], weights.q[part], weights.zeros[g]
        zx = np.zeros(len(rows), dtype=np.int64) if x.zeros is None else x.zeros[:, g]
        sums.append((rows @ columns - np.outer(rows.sum(axis=1), z)
                     - np.outer(zx, columns.sum(axis=0) - len(columns) * z))[None])
    return np.concatenate(sums)


def _steps(x: Activations, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Activations in steps, of int64 or of Python's integers; infinities and NaN are 0."""
    if x.fmt.is_integer:
        return x.q.astype(dtype)
    values = x.fmt.decode(x.q)
    values = np.where(np.isfinite(values), values, 0) / x.fmt.step
    if dtype == np.int64:
        return values.astype(dtype)
    return np.array([int(value) for value in values.ravel()], dtype=dtype).reshape(values.shape)


def nearest_float32(integers: NDArray[Any], step: float) -> NDArray[np.float32]:
    """``integers * step``, rounded once to the nearest, ties to even.

    Parameters
    ----------
    integers : ndarray of int64 or of Python's integers
        Of any size.
    step : float
        A power of two.

    Returns
    -------
    ndarray of float32, same shape as ``integers``
    """
    if integers.dtype != object and np.abs(integers).max(initial=0) < 1 << 53:
        with np.errstate(over="ignore"):
            return (integers * step).astype(np.float32)
    # Bits beyond binary32's reach become one that says whether there were any.
    sign, magnitude = np.where(integers < 0, -1, 1), abs(integers.astype(object))
    drop = np.vectorize(lambda value: max(0, value.bit_length() - 52), otypes=[object])(magnitude)
    rest = magnitude & (1 << drop) - 1
    kept = (magnitude >> drop | (rest > 0)).astype(np.int64)
    with np.errstate(over="ignore"):
        return np.ldexp(sign * kept * 1.0, drop.astype(np.int64) + int(np.log2(step))).astype(
            np.float32)


def dequantise(sums: NDArray[np.float32], scales: NDArray[np.float32],
               sx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale and add the groups in float32: ``acc = 0; acc += sums[g] * scales[g]; acc * sx``.

    Each product and sum is rounded to nearest even; groups are added in ascending order.

    Parameters
    ----------
    sums : ndarray of float32, shape (groups, M, N)
        Sums of the groups.
    scales : ndarray of float32, shape (groups, 1 or M, N)
        Scales of the groups.
    sx : ndarray of float32, shape (M,)
        Scales of the tokens.

    Returns
    -------
    ndarray of float32, shape (M, N)
    """
    acc = np.zeros(sums.shape[1:], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for group, scale in zip(sums, scales, strict=True):
            acc = acc + group * scale
        return acc * sx[:, None]


def gemm(x: Activations, weights: GroupedWeights | MixedWeights, *,
         y: str = "fp16") -> NDArray[np.int64]:
    """Codes of the outputs.

    ::

        y[m, n] = sx[m] · Σ_g s[g, n]·t[m, g] · Σ_{k∈g} (x[m, k] - zx[m, g])·(q[k, n] - z[g, n])

    with the activations' group scales t, if they have any. MixPE, arXiv 2411.16158: dequantisation
    follows the product of each group. In float32, each result rounded to the nearest, ties to
    even: the sum of a group; s·t; the product of these; the sum over the groups; sx times the
    weights' global scale; the product of these. A group with an infinity or NaN among its
    activations has the sum NaN.

    Parameters
    ----------
    x : Activations
        M by K activations.
    weights : GroupedWeights or MixedWeights
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
    if isinstance(weights, MixedWeights):
        columns = [gemm(x, part, y=y) for part in (weights.wide, weights.narrow)]
        return np.concatenate(columns, axis=1)[:, np.argsort(weights.features)]
    k = weights.q.shape[0]
    sums = nearest_float32(group_sums(x, weights), x.fmt.step * FORMATS[weights.w].step)
    if not x.fmt.is_integer:
        bad = ~np.isfinite(x.fmt.decode(x.q))
        for g in range(groups(k, weights.group)):
            part = slice(g * weights.group, (g + 1) * weights.group)
            sums[g, bad[:, part].any(axis=1)] = np.nan
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        scales = FORMATS[weights.scale].decode(weights.scales).astype(np.float32)[:, None]
        if x.group_scales is not None:
            own = FORMATS[x.group_scale].decode(x.group_scales).astype(np.float32)
            scales = scales * own.T[:, :, None]
        sx = x.scales * weights.global_scale
    return FORMATS[y].encode(dequantise(sums, scales, sx))
