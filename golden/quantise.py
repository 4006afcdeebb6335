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
        if self.group is not None and self.group < 1:
            raise ValueError(f"Group size must be at least 1, not {self.group}")
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
        if self.zeros is not None and self.fmt != FORMATS["int8"]:
            raise ValueError(f"Format of activations with zero points must be int8, "
                             f"not {self.fmt.name}")
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
    """Round weights to the nearest numbers of a format times a scale of their group.

    The scale ``s`` of a group is ``d``, rounded to the scale format:

    ===============  ==================================  ==================================
    w                d                                   source
    ===============  ==================================  ==================================
    uint4, uint8     ``(max - min) / (2**bits - 1)``     MixLLM, arXiv 2412.14590
    int2 to int8     ``max|w| / high``                   MixLLM
    ternary          ``mean|w|``                         BitNet b1.58, arXiv 2402.17764
    shift2 to 4      ``i / 16 * max|w| / high``          DenseShift's numbers, arXiv 2208.09708
    e2m1             ``max|w| / 6``                      NVFP4
    e2m1, with e8m0  ``max|w| / 4``, rounded down        OCP Microscaling Formats 1.0
    ===============  ==================================  ==================================

    ``high`` is the format's highest number; i is that of 16 to 4 with the least squared error
    after all rounding, the greatest of equals. Ranges include 0. Unsigned formats have a zero
    point ``z = clamp(round(-min / s), 0, high)``; the others have none.

    ``s`` is rounded to the nearest, but e8m0 and e4m3 scales of integers up, so that nothing
    clips. It is at least the least positive number of its format. A group of zeros has ``s = 1``,
    or in a format without 0 the number nearest to 0. Scales in e4m3 stand below a global one, as
    in NVFP4: ``global = fp32(max d / 448)`` over all groups, with i = 16, and d is divided by it.
    The global scale is 1 in the other formats, and of zeros.

    An integer weight is off by at most ``s / 2``, and if ``s`` was rounded down from ``d`` by at
    most ``(d - s)`` times the number of steps more; s and d include the global scale. The other
    formats round a quotient ``w / s`` to their nearest number, ties to the even code, and one
    past their ends to the end.

    Parameters
    ----------
    weights : array_like of float, shape (K, N)
        Finite numbers.
    w : str
        Format of :data:`WEIGHTS`.
    group : int
        G; the last group of K may be shorter. With K each column has one scale.
    scale : str
        Format of the scales, of :data:`SCALES`.

    Raises
    ------
    ValueError
        If a parameter or a weight breaks these rules, or a scale is too large for its format.

    Examples
    --------
    >>> quantise_weights([[-1.0], [2.0]], w="uint4", group=2).q.ravel().tolist()
    [0, 15]
    >>> quantise_weights([[7.0], [-2.4], [0.3]], w="e2m1", group=3, scale="e8m0").dequantise(
    ...     ).ravel().tolist()
    [6.0, -2.0, 0.5]
    """
    _format("w", w, WEIGHTS)
    scale_fmt = _format("scale", scale, SCALES)
    weights = _matrix("Weights", weights, np.float64)
    (k, n), count = weights.shape, _group_count(weights.shape[0], group)
    parts = [slice(g * group, (g + 1) * group) for g in range(count)]
    exact = np.array([_exact_scales(weights[part], w, scale) for part in parts]).reshape(count, n)
    global_scale = _ONE
    if scale == "e4m3" and exact.any():
        global_scale = _global_scale(exact.max())
        exact, weights = exact / float(global_scale), weights / float(global_scale)

    q = np.empty((k, n), dtype=np.int64)
    zeros, codes = (np.empty((count, n), dtype=np.int64) for _ in range(2))
    beyond = 2 * scale_fmt.high * scale_fmt.step
    for g, part in enumerate(parts):
        codes[g] = _best_scales(weights[part], exact[g], w, scale)
        steps = scale_fmt.decode(codes[g])
        bad = np.argwhere(~np.isfinite(steps) | (exact[g] >= beyond))  # e8m0 saturates
        if bad.size:
            column = bad[0].item()
            raise ValueError(f"Scale of group {g}, column {column} must be a number of {scale}, "
                             f"not {exact[g, column]}")
        q[part], zeros[g] = _rounded(weights[part], steps, w)
    return GroupedWeights(w, scale, group, q, zeros, codes, global_scale)


def _group_count(k: int, group: int) -> int:
    """Number of groups of K, for a group size that has yet to be checked."""
    if group < 1:
        raise ValueError(f"Group size must be at least 1, not {group}")
    return groups(k, group)


def _exact_scales(part: NDArray[np.float64], w: str, scale: str) -> NDArray[np.float64]:
    """Scale d of each column of a group, before it is rounded."""
    fmt = FORMATS[w]
    low, high = np.minimum(part.min(axis=0), 0), np.maximum(part.max(axis=0), 0)
    with np.errstate(over="ignore"):
        if w == "ternary":
            return np.abs(part).mean(axis=0)
        if fmt.max_zero:
            return (high - low) / (fmt.high - fmt.low)
    highest = 4 if (w, scale) == ("e2m1", "e8m0") else fmt.high * fmt.step
    return np.maximum(high, -low) / highest


def _global_scale(largest: float) -> np.float32:
    """Scale that brings the largest of all groups to the end of e4m3."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.float32(largest / (FORMATS["e4m3"].high * FORMATS["e4m3"].step))
    if np.isinf(rounded):
        raise ValueError(f"Largest scale must be at most 448 times a number of fp32, "
                         f"not {largest}")
    return np.maximum(rounded, np.float32(2.0**-149))


def _scale_codes(exact: NDArray[np.float64], w: str, scale: str) -> NDArray[np.int64]:
    """Codes of scales, rounded as the weight format asks."""
    fmt = FORMATS[scale]
    if scale == "e4m3":  # the rounding of the global scale may have lifted it past the end
        exact = np.minimum(exact, fmt.high * fmt.step)
    codes = fmt.encode(exact)
    values = fmt.decode(codes)
    # Codes of positive numbers ascend with them.
    if (w, scale) == ("e2m1", "e8m0"):
        codes = codes - (values > exact)
    elif w in _INTEGERS and scale in ("e8m0", "e4m3"):
        codes = codes + (values < exact)
    return np.where(exact > 0, np.maximum(codes, fmt.subnormals),
                    fmt.encode(float(FORMATS[w].subnormals)))


def _best_scales(part: NDArray[np.float64], exact: NDArray[np.float64], w: str,
                 scale: str) -> NDArray[np.int64]:
    """Codes of the scales of a group's columns."""
    best = _scale_codes(exact, w, scale)
    if FORMATS[w].subnormals:
        return best
    least, unit = np.full(exact.shape, np.inf), FORMATS[scale].decode(best)
    unit = np.where((unit > 0) & np.isfinite(unit), unit, 1)  # keeps squares in range
    for i in range(16, 3, -1):
        codes = _scale_codes(exact * i / 16, w, scale)
        steps = FORMATS[scale].decode(codes)
        with np.errstate(over="ignore"):
            errors = (((_rounded(part, steps, w)[0] * steps - part) / unit)**2).sum(axis=0)
        best = np.where(errors < least, codes, best)
        least = np.minimum(errors, least)
    return best


def _rounded(part: NDArray[np.float64], scales: NDArray[np.float64],
             w: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of a group in steps of their format, and its zero points."""
    fmt = FORMATS[w]
    quotients = part / np.where(scales > 0, scales, 1)
    zeros = np.zeros(len(scales), dtype=np.int64)
    if fmt.max_zero:
        lowest = np.minimum(part.min(axis=0), 0)
        zeros = np.clip(np.rint(-lowest / scales), 0, fmt.high).astype(np.int64)
        q = np.clip(np.rint(quotients) + zeros, fmt.low, fmt.high)
    else:
        q = fmt.decode(fmt.encode(quotients)) / fmt.step
    return q.astype(np.int64), zeros


def quantise_activations(x: ArrayLike, *, fmt: str = "int8", group: int | None = None,
                         group_scale: str | None = None, zero: bool = False) -> Activations:
    """Round activations to int8 times a scale, or to floats.

    In int8 those of a token (row), or with ``group_scale`` those of a group of a token, share a
    scale s, which is d, rounded to the nearest of its format: float32 for a token. Quotients and
    d are formed in float64.

    ==========  =======================  ============================================
    zero        d                        q
    ==========  =======================  ============================================
    False       ``max|x| / 127``         ``clamp(round(x / s), -127, 127)``
    True        ``(max - min) / 255``    ``clamp(round(x / s) + z, -128, 127)``
                                         ``z = clamp(round(-128 - min / s), -128, 127)``
    ==========  =======================  ============================================

    Ranges include 0. Activations are rounded to float32 first. If all are zeros ``s = 1``; any
    other s is at least the least number of its format. An activation is off by at most ``s / 2``
    and, if s was rounded down from d, ``(d - s)`` times the number of steps, 127 or 255, more.

    Floats are rounded once to the nearest, ties to even, and overflow to infinity; all scales
    are 1.

    Parameters
    ----------
    x : array_like of float, shape (M, K)
        Finite numbers; for int8 of float32's range.
    fmt : str
        ``int8``, ``fp16`` or ``bf16``.
    group : int, optional
        G of the weights; must be given with ``group_scale`` or ``zero``.
    group_scale : str, optional
        Format of scales for each group, ``fp16`` or ``bf16`` (MixLLM's, arXiv 2412.14590).
    zero : bool
        Whether int8 is asymmetric. The zero point of a token is repeated over its groups.

    Raises
    ------
    ValueError
        If a parameter or an activation breaks these rules, or a scale is too large for its
        format.

    Examples
    --------
    >>> quantise_activations([[1.0, -0.5], [0.0, 0.0]]).q.tolist()
    [[127, -64], [0, 0]]
    >>> x = quantise_activations([[0.0, 51.0, 255.0]], group=2, zero=True)
    >>> x.q.tolist(), x.zeros.tolist()
    ([[-128, -77, 127]], [[-128, -128]])
    """
    if not _format("fmt", fmt, ("int8", "fp16", "bf16")).is_integer:
        if group_scale is not None or zero:
            raise ValueError(f"Parameter fmt must be int8 for group scales or zero points, "
                             f"not {fmt!r}")
        codes = FORMATS[fmt].encode(_matrix("Activations", x, np.float64))
        return Activations(codes, np.ones(len(codes), dtype=np.float32), FORMATS[fmt])

    matrix = _matrix("Activations", x, np.float32).astype(np.float64)
    (m, k), count = matrix.shape, 0
    if group is not None:
        count = _group_count(matrix.shape[1], group)
    elif group_scale is not None or zero:
        raise ValueError("Group size must be given for group scales or zero points")
    if group is None or group_scale is None:
        q, z, codes = _int8(matrix, zero, "fp32")
        scales = FORMATS["fp32"].decode(codes).astype(np.float32)
        zeros = np.repeat(z[:, None], count, axis=1) if zero else None
        return Activations(q, scales, group=group, zeros=zeros)

    scale_fmt = _format("group_scale", group_scale, ("fp16", "bf16"))
    q = np.empty((m, k), dtype=np.int64)
    zeros, codes = (np.empty((m, count), dtype=np.int64) for _ in range(2))
    for g in range(count):
        part = slice(g * group, (g + 1) * group)
        q[:, part], zeros[:, g], codes[:, g] = _int8(matrix[:, part], zero, group_scale)
    bad = np.argwhere(codes == scale_fmt.infinity)
    if bad.size:
        token, g = bad[0].tolist()
        raise ValueError(f"Scale of token {token}, group {g} must be a number of {group_scale}")
    return Activations(q, np.ones(m, dtype=np.float32), group=group,
                       zeros=zeros if zero else None, group_scale=group_scale, group_scales=codes)


def _int8(x: NDArray[np.float64], zero: bool, scale: str) -> tuple[NDArray[np.int64], ...]:
    """Numbers of int8, and zero point and code of the scale of each row."""
    fmt, scale_fmt = FORMATS["int8"], FORMATS[scale]
    low, high = x.min(axis=1, initial=0), x.max(axis=1, initial=0)
    exact = (high - low) / (fmt.high - fmt.low) if zero else np.maximum(high, -low) / fmt.high
    codes = np.where(exact > 0, np.maximum(scale_fmt.encode(exact), 1), scale_fmt.encode(1.0))
    steps = scale_fmt.decode(codes)
    zeros, lowest = np.zeros(len(x), dtype=np.int64), -fmt.high
    if zero:
        zeros = np.clip(np.rint(fmt.low - low / steps), fmt.low, fmt.high).astype(np.int64)
        lowest = fmt.low
    q = np.clip(np.rint(x / steps[:, None]) + zeros[:, None], lowest, fmt.high)
    return q.astype(np.int64), zeros, codes


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
