"""Quantisers of weights and activations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import FORMATS, Format

__all__ = ["GroupedWeights", "Activations", "quantise_weights", "quantise_activations"]

_INTEGERS = [fmt.name for fmt in FORMATS.values() if fmt.is_integer]
_SIGNED   = [name for name in _INTEGERS if FORMATS[name].signed]
_FLOATS   = [name for name in FORMATS if name not in _INTEGERS]


@dataclass(frozen=True)
class GroupedWeights:
    """Quantised weights, ``w[k, n] ≈ scale[k // group, n] * (q[k, n] - zeros[k // group, n])``.

    Parameters
    ----------
    w : str
        Weight format, an integer of :data:`golden.formats.FORMATS`.
    scale : str
        Format of the scales, a float of :data:`golden.formats.FORMATS`.
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
        fmt, scale_fmt = _format("w", self.w, _INTEGERS), _format("scale", self.scale, _FLOATS)
        k, n = self.q.shape
        if self.group < 1 or k % self.group:
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
        _check_finite("Scales", scale_fmt.decode(self.scales))

    def dequantise(self) -> NDArray[np.float64]:
        """Weights as real numbers, shape (K, N); exact."""
        scales, zeros = (np.repeat(each, self.group, axis=0) for each in (
            FORMATS[self.scale].decode(self.scales), self.zeros))
        return scales * (self.q - zeros)

    def with_format(self, w: str) -> "GroupedWeights":
        """Same weights as codes of another format, which must hold each ``q - zero`` exactly."""
        if w == self.w:
            return self
        fmt = _format("w", w, _INTEGERS)
        q = self.q - np.repeat(self.zeros, self.group, axis=0)
        bad = np.argwhere((q < fmt.low) | (q > fmt.high))
        if bad.size:
            index = tuple(bad[0].tolist())
            raise ValueError(f"Weights less their zero points must be from {fmt.low} to {fmt.high} "
                             f"for {w}, not {q[index]} as at index {index}")
        return GroupedWeights(w, self.scale, self.group, q, np.zeros_like(self.zeros), self.scales)

    def with_scale(self, scale: str) -> "GroupedWeights":
        """Same weights with scales in another format, which must hold each of them exactly."""
        values = FORMATS[self.scale].decode(self.scales)
        fmt = _format("scale", scale, _FLOATS)
        codes = fmt.encode(values)
        bad = np.argwhere(fmt.decode(codes) != values)
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
    rounded to the scale format, and up to its least number, before it divides the weights; a
    group of zeros has ``s = 1``. A weight is off by at most ``s / 2``, and if ``s`` was rounded
    down from ``d`` by at most ``(d - s)`` times the number of steps more.

    Parameters
    ----------
    weights : array_like of float, shape (K, N)
        Finite numbers.
    w : str
        ``int4``, ``uint4`` or ``int8``.
    group : int
        G; must divide K.
    scale : str
        Format of the scales.

    Raises
    ------
    ValueError
        If a parameter or a weight breaks these rules, or a scale is too large for its format.

    Examples
    --------
    >>> quantise_weights([[-1.0], [2.0]], w="uint4", group=2).q.ravel().tolist()
    [0, 15]
    """
    fmt, scale_fmt = _format("w", w, _INTEGERS), _format("scale", scale, _FLOATS)
    weights = _matrix("Weights", weights, np.float64)
    k, n = weights.shape
    if group < 1 or k % group:
        raise ValueError(f"K must be a multiple of the group size {group}, not {k}")
    grouped = weights.reshape(k // group, group, n)
    low, high = np.minimum(grouped.min(axis=1), 0), np.maximum(grouped.max(axis=1), 0)
    with np.errstate(over="ignore"):
        span = high - low if fmt.max_zero else np.maximum(high, -low)
    exact = span / (fmt.high - fmt.low if fmt.max_zero else fmt.high)
    codes = np.where(exact > 0, np.maximum(scale_fmt.encode(exact), 1), scale_fmt.encode(1.0))
    step = scale_fmt.decode(codes)
    bad = np.argwhere(np.isinf(step))
    if bad.size:
        index = tuple(bad[0].tolist())
        raise ValueError(f"Scale of group {index[0]}, column {index[1]} must be a number of "
                         f"{scale}, not {exact[index]}")
    zeros = np.clip(np.rint(-low / step), 0, fmt.high if fmt.max_zero else 0).astype(np.int64)
    q = np.clip(np.rint(grouped / step[:, None]) + zeros[:, None], fmt.low, fmt.high)
    return GroupedWeights(w, scale, group, q.reshape(k, n).astype(np.int64), zeros, codes)


def quantise_activations(x: ArrayLike, *, fmt: str = "int8") -> Activations:
    """Round each token (row) to symmetric integers, ``s = max|x| / high`` in float32.

    Tokens are rounded to float32 first. A token of zeros has ``s = 1``; any other at least the
    least number of float32. An activation is off by at most ``s / 2`` and the rounding of ``s``
    and of the quotient, ``2**-23 * |x|``; where ``s`` is subnormal and was rounded down from
    ``d``, by ``(d - s) * high``.

    Parameters
    ----------
    x : array_like of float, shape (M, K)
        Finite numbers of float32's range.
    fmt : str
        A signed integer format.

    Examples
    --------
    >>> quantise_activations([[1.0, -0.5], [0.0, 0.0]]).q.tolist()
    [[127, -64], [0, 0]]
    """
    x = _matrix("Activations", x, np.float32)
    high = _format("fmt", fmt, _SIGNED).high
    largest = np.abs(x).max(axis=1, initial=0)
    scales = np.where(largest > 0, largest / np.float32(high), np.float32(1)).astype(np.float32)
    scales = np.where(scales > 0, scales, np.float32(2.0**-149))  # a quotient that underflowed
    q = np.clip(np.rint(x / scales[:, None]), -high, high).astype(np.int64)
    return Activations(q, scales)


def _format(parameter: str, name: str, choices: list[str]) -> Format:
    """Format by its name."""
    if name not in choices:
        raise ValueError(f"Parameter {parameter} must be one of {', '.join(choices)}, not {name!r}")
    return FORMATS[name]


def _matrix(name: str, values: ArrayLike, dtype: type) -> NDArray[Any]:
    """Matrix of finite numbers."""
    with np.errstate(over="ignore"):
        matrix: NDArray[Any] = np.asarray(values, dtype=dtype)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be a matrix, not of shape {matrix.shape}")
    _check_finite(name, matrix)
    return matrix


def _check_finite(name: str, values: NDArray[Any]) -> None:
    """Refuse NaN and infinities."""
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        index = tuple(bad[0].tolist())
        raise ValueError(f"{name} must be finite, not {values[index]} as at index {index}")
