"""Quantisers of weights and activations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import FORMATS

__all__ = ["GroupedWeights", "Activations", "quantise_weights", "quantise_activations"]


@dataclass(frozen=True)
class GroupedWeights:
    """Quantised weights, ``w[k, n] ≈ scale[k // group, n] * (q[k, n] - zeros[k // group, n])``.

    Parameters
    ----------
    w : str
        Weight format, a key of :data:`golden.formats.FORMATS`.
    scale : str
        Format of the scales.
    group : int
        G; divides K.
    q : ndarray of int64, shape (K, N)
        Integers of the weight format.
    zeros : ndarray of int64, shape (K / G, N)
        Zero points, 0 to ``max_zero`` of the format.
    scales : ndarray of int64, shape (K / G, N)
        Codes of the scales, which may be negative numbers and must be finite.

    Raises
    ------
    ValueError
        If a shape or a value breaks these rules.
    """

    w: str
    scale: str
    group: int
    q: NDArray[np.int64]
    zeros: NDArray[np.int64]
    scales: NDArray[np.int64]

    def __post_init__(self) -> None:
        fmt = FORMATS[self.w]
        k, n = self.q.shape
        if k % self.group:
            raise ValueError(f"K must be a multiple of the group size {self.group}, not {k}")
        for name in ("zeros", "scales"):
            if getattr(self, name).shape != (k // self.group, n):
                raise ValueError(f"Shape of {name} must be {(k // self.group, n)}, "
                                 f"not {getattr(self, name).shape}")
        for name, low, high in (("q", fmt.low, fmt.high), ("zeros", 0, fmt.max_zero)):
            values = getattr(self, name)
            if values.size and not low <= values.min() <= values.max() <= high:
                raise ValueError(f"Values of {name} must be from {low} to {high} for {self.w}, "
                                 f"not {values.min()} to {values.max()}")
        bad = np.argwhere(~np.isfinite(FORMATS[self.scale].decode(self.scales)))
        if bad.size:
            raise ValueError(f"Scales must be finite, not as at index {tuple(bad[0].tolist())}")

    def dequantise(self) -> NDArray[np.float64]:
        """Weights as real numbers, shape (K, N); exact."""
        repeat = lambda per_group: np.repeat(per_group, self.group, axis=0)
        return repeat(FORMATS[self.scale].decode(self.scales)) * (self.q - repeat(self.zeros))

    def with_scale(self, scale: str) -> "GroupedWeights":
        """Same weights with scales in another format, which must hold each of them exactly."""
        values = FORMATS[self.scale].decode(self.scales)
        codes = FORMATS[scale].encode(values)
        bad = np.argwhere(FORMATS[scale].decode(codes) != values)
        if bad.size:
            index = tuple(bad[0].tolist())
            raise ValueError(f"Scales must be numbers of {scale}, not {values[index]} "
                             f"as at index {index}")
        return GroupedWeights(self.w, scale, self.group, self.q, self.zeros, codes)


@dataclass(frozen=True)
class Activations:
    """Activations quantised for each token, ``x[m, k] ≈ scales[m] * q[m, k]``.

    Parameters
    ----------
    q : ndarray of int64, shape (M, K)
        Integers of the activation format.
    scales : ndarray of float32, shape (M,)
    """

    q: NDArray[np.int64]
    scales: NDArray[np.float32]

    def dequantise(self) -> NDArray[np.float64]:
        """Activations as real numbers, shape (M, K); exact."""
        return self.q * self.scales.astype(np.float64)[:, None]


def quantise_weights(weights: ArrayLike, *, w: str, group: int,
                     scale: str = "fp16") -> GroupedWeights:
    """Round weights to the nearest code of each group.

    Formats with zero points are asymmetric, ``s = (max - min) / (2**bits - 1)`` with
    ``z = clamp(-round(min / s))``; the others symmetric, ``s = max|w| / high`` (MixLLM,
    arXiv 2412.14590, and its code). Ranges include 0, so that z exists and 0 is exact. ``s`` is
    rounded to the scale format before it divides the weights; a group of zeros has ``s = 1``.

    Parameters
    ----------
    weights : array_like of float, shape (K, N)
    w : str
        ``int4``, ``uint4`` or ``int8``.
    group : int
        G; must divide K.
    scale : str
        Format of the scales.

    Examples
    --------
    >>> quantise_weights([[-1.0], [2.0]], w="uint4", group=2).q.ravel().tolist()
    [0, 15]
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or not np.isfinite(weights).all():
        raise ValueError("Weights must be a matrix of finite numbers")
    k, n = weights.shape
    if k % group:
        raise ValueError(f"K must be a multiple of the group size {group}, not {k}")
    fmt, scale_fmt = FORMATS[w], FORMATS[scale]
    grouped = weights.reshape(k // group, group, n)
    low, high = np.minimum(grouped.min(axis=1), 0), np.maximum(grouped.max(axis=1), 0)
    if fmt.max_zero:
        step = (high - low) / (fmt.high - fmt.low)
    else:
        step = np.maximum(high, -low) / fmt.high
    codes = scale_fmt.encode(np.where(step > 0, step, 1))
    step = scale_fmt.decode(codes)
    codes = np.where(step > 0, codes, scale_fmt.encode(1.0))  # a step that rounded to zero
    step = np.where(step > 0, step, 1)
    zeros = np.clip(np.rint(-low / step), 0, fmt.high if fmt.max_zero else 0).astype(np.int64)
    q = np.clip(np.rint(grouped / step[:, None]) + zeros[:, None], fmt.low, fmt.high)
    return GroupedWeights(w, scale, group, q.reshape(k, n).astype(np.int64), zeros, codes)


def quantise_activations(x: ArrayLike, *, fmt: str = "int8") -> Activations:
    """Round each token (row) to symmetric integers, ``s = fp32(max|x|) / high`` in float32.

    Parameters
    ----------
    x : array_like of float, shape (M, K)
    fmt : str
        An integer format.

    Examples
    --------
    >>> quantise_activations([[1.0, -0.5], [0.0, 0.0]]).q.tolist()
    [[127, -64], [0, 0]]
    """
    x = np.asarray(x, dtype=np.float32)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError("Activations must be a matrix of finite numbers")
    high = FORMATS[fmt].high
    largest = np.abs(x).max(axis=1, initial=0)
    scales = np.where(largest > 0, largest / np.float32(high), np.float32(1)).astype(np.float32)
    scales = np.where(scales > 0, scales, np.float32(2.0**-149))  # a quotient that underflowed
    q = np.clip(np.rint(x / scales[:, None]), -high, high).astype(np.int64)
    return Activations(q, scales)
