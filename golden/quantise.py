"""Quantisers of weights and activations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import FORMATS, Format

__all__ = ["WEIGHTS", "SCALES", "GroupedWeights", "Activations", "groups", "quantise_weights",
           "quantise_activations"]

#: Formats of weights, and of their scales.
WEIGHTS = ("int2", "int3", "int4", "uint4", "int8", "uint8", "ternary", "shift2", "shift3",
           "shift4", "e2m1")
SCALES  = ("fp16", "bf16", "fp32", "e8m0", "e4m3")

_INTEGERS = [name for name in WEIGHTS if FORMATS[name].is_integer]
_SIGNED   = [name for name in _INTEGERS if FORMATS[name].signed]

_ONE = np.float32(1)


def groups(k: int, group: int) -> int:
    """Number of groups of K; the last may be shorter."""
    return -(-k // group)


@dataclass(frozen=True)
class GroupedWeights:
    """Quantised weights.

    ``w[k, n] ≈ scales[k // group, n] * (q[k, n] - zeros[k // group, n]) * step * global_scale``

    Parameters
    ----------
    w : str
        Weight format, of :data:`WEIGHTS`.
    scale : str
        Format of the scales, of :data:`SCALES`.
    group : int
        G; the last group of K may be shorter.
    q : ndarray of int64, shape (K, N)
        Numbers of the weight format in its steps.
    zeros : ndarray of int64, shape (ceil(K / G), N)
        Zero points, 0 to ``max_zero`` of the format.
    scales : ndarray of int64, shape (ceil(K / G), N)
        Codes of the scales, which may be negative numbers and must be finite.
    global_scale : float32
        Scale of the whole tensor (NVFP4's); it is multiplied with the scales of the tokens.

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
    global_scale: np.float32 = _ONE

    def __post_init__(self) -> None:
        fmt, scale_fmt = _format("w", self.w, WEIGHTS), _format("scale", self.scale, SCALES)
        k, n = self.q.shape
        if self.group < 1:
            raise ValueError(f"Group size must be at least 1, not {self.group}")
        for name in ("zeros", "scales"):
            if getattr(self, name).shape != (groups(k, self.group), n):
                raise ValueError(f"Shape of {name} must be {(groups(k, self.group), n)}, "
                                 f"not {getattr(self, name).shape}")
        for name, low, high in (("q", fmt.low, fmt.high), ("zeros", 0, fmt.max_zero)):
            values = getattr(self, name)
            if values.size and not low <= values.min() <= values.max() <= high:
                raise ValueError(f"Values of {name} must be from {low} to {high} for {self.w}, "
                                 f"not {values.min()} to {values.max()}")
        bad = np.argwhere(fmt.decode(self.codes) != self.q * fmt.step)
        if bad.size:
            index = tuple(bad[0].tolist())
            raise ValueError(f"Values of q must be numbers of {self.w}, not {self.q[index]} "
                             f"as at index {index}")
        _check_finite("Scales", scale_fmt.decode(self.scales))
        if not np.isfinite(self.global_scale):
            raise ValueError(f"Global scale must be finite, not {self.global_scale}")

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        k, n = self.q.shape
        return k, n

    @property
    def codes(self) -> NDArray[np.int64]:
        """Codes of the weights, shape (K, N)."""
        fmt = FORMATS[self.w]
        return fmt.encode(self.q * fmt.step)

    def dequantise(self) -> NDArray[np.float64]:
        """Weights as real numbers, shape (K, N); exact but for the global scale."""
        k = len(self.q)
        scales, zeros = (np.repeat(each, self.group, axis=0)[:k] for each in (
            FORMATS[self.scale].decode(self.scales), self.zeros))
        return scales * (self.q - zeros) * FORMATS[self.w].step * np.float64(self.global_scale)

    def with_format(self, w: str) -> "GroupedWeights":
        """Same weights as codes of another format, which must hold each ``q - zero`` exactly.

        A format with zero points takes half of its range as zero point.
        """
        if w == self.w:
            return self
        fmt = _format("w", w, _INTEGERS)
        if not FORMATS[self.w].is_integer:
            raise ValueError(f"Weights of {self.w} must remain in it, not be changed to {w}")
        zeros = np.full_like(self.zeros, fmt.max_zero + 1 >> 1)
        q = self.q + np.repeat(zeros - self.zeros, self.group, axis=0)[:len(self.q)]
        bad = np.argwhere((q < fmt.low) | (q > fmt.high))
        if bad.size:
            index = tuple(bad[0].tolist())
            low, high = (bound - zeros.max(initial=0) for bound in (fmt.low, fmt.high))
            raise ValueError(f"Weights less their zero points must be from {low} to {high} "
                             f"for {w}, not {q[index] - zeros.max()} as at index {index}")
        return replace(self, w=w, q=q, zeros=zeros)

    def with_scale(self, scale: str) -> "GroupedWeights":
        """Same weights with scales in another format, which must hold each of them exactly."""
        values = FORMATS[self.scale].decode(self.scales)
        fmt = _format("scale", scale, SCALES)
        codes = fmt.encode(values)
        bad = np.argwhere(fmt.decode(codes) != values)
        if bad.size:
            index = tuple(bad[0].tolist())
            raise ValueError(f"Scales must be numbers of {scale}, not {values[index]} "
                             f"as at index {index}")
        return replace(self, scale=scale, scales=codes)

    def columns(self, index: slice | NDArray[np.int64]) -> "GroupedWeights":
        """Weights of some output features."""
        return replace(self, q=self.q[:, index], zeros=self.zeros[:, index],
                       scales=self.scales[:, index])


@dataclass(frozen=True)
class Activations:
    """Quantised activations.

    ``x[m, k] ≈ scales[m] * group_scales[m, k // group] * (q[m, k] - zeros[m, k // group]) * step``

    Parameters
    ----------
    q : ndarray of int64, shape (M, K)
        Numbers of an integer format in its steps; codes of a float format.
    scales : ndarray of float32, shape (M,)
        Scales of the tokens.
    fmt : Format
        ``int8``, ``fp16``, ``bf16`` or one that :func:`golden.formats.aligned` returns.
    group : int, optional
        Activations along K that share a scale or a zero point; must be that of the weights.
    zeros : ndarray of int64, shape (M, ceil(K / G)), optional
        Zero points of ``int8``, from -128 to 127; none if absent.
    group_scale : str
        Format of the groups' scales.
    group_scales : ndarray of int64, shape (M, ceil(K / G)), optional
        Their codes; any, NaN too. None if absent.

    Raises
    ------
    ValueError
        If a shape or a value breaks these rules.
    """

    q: NDArray[np.int64]
    scales: NDArray[np.float32]
    fmt: Format = FORMATS["int8"]
    group: int | None = None
    zeros: NDArray[np.int64] | None = None
    group_scale: str = "fp16"
    group_scales: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        m, k = self.q.shape
        if self.scales.shape != (m,):
            raise ValueError(f"Shape of scales must be {(m,)}, not {self.scales.shape}")
        for name in ("zeros", "group_scales"):
            if (values := getattr(self, name)) is None:
                continue
            if self.group is None:
                raise ValueError(f"Group size must be given with {name}")
            if values.shape != (m, groups(k, self.group)):
                raise ValueError(f"Shape of {name} must be {(m, groups(k, self.group))}, "
                                 f"not {values.shape}")
        codes = not self.fmt.is_integer
        low, high = (0, (1 << self.fmt.bits) - 1) if codes else (self.fmt.low, self.fmt.high)
        checks = [("q", self.q, low, high)]
        if self.zeros is not None:
            checks.append(("zeros", self.zeros, low, high))
        for name, values, low, high in checks:
            if values.size and not low <= values.min() <= values.max() <= high:
                raise ValueError(f"Values of {name} must be from {low} to {high} for "
                                 f"{self.fmt.name}, not {values.min()} to {values.max()}")

    @property
    def codes(self) -> NDArray[np.int64]:
        """Codes of the activations, shape (M, K)."""
        return self.q & (1 << self.fmt.bits) - 1

    def dequantise(self) -> NDArray[np.float64]:
        """Activations as real numbers, shape (M, K); exact."""
        k = self.q.shape[1]
        x = self.q * self.fmt.step if self.fmt.is_integer else self.fmt.decode(self.q)
        group = self.group or k
        if self.zeros is not None:
            x = x - np.repeat(self.zeros, group, axis=1)[:, :k] * self.fmt.step
        if self.group_scales is not None:
            scales = FORMATS[self.group_scale].decode(self.group_scales)
            x = x * np.repeat(scales, group, axis=1)[:, :k]
        return x * self.scales.astype(np.float64)[:, None]


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
    fmt, scale_fmt = _format("w", w, _INTEGERS), _format("scale", scale, SCALES)
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


def _format(parameter: str, name: str, choices: Sequence[str]) -> Format:
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
