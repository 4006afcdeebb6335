"""EXAQ (arXiv 2410.03185) in floats, as its authors compute it, and a layer's constants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.softmax_parameters import THRESHOLD_POINT, Constants, SoftmaxParameters

__all__ = ["CALLS", "CLIPS", "Clip", "differences", "deviation", "clip_value", "calibrate",
           "level_codes", "quantised_softmax", "exact_softmax_reference", "constants"]

#: Calls of a layer whose minima and clips calibration averages.
CALLS = 25

#: How the clip follows from the standard deviation, and what each is.
CLIPS = {
    "linear": "a line for each number of bits, the authors' default",
    "table":  "interpolation in a table of clips of least squared error",
}

#: Slope and constant of the linear clip for each number of bits.
_LINES = {2: (-1.66, -1.85), 3: (-1.75, -2.06), 4: (-1.83, -2.27)}

#: Standard deviation, and clips of least squared error for 2, 3 and 4 bits: a fifth of the
#: authors' rows. Interpolation between these is within 0.026 of theirs, the step of their search.
_TABLE = np.array([
    (0.00,  0.000,  0.000,  0.000), (0.10, -0.426, -0.501, -0.526),
    (0.30, -1.228, -1.378, -1.504), (0.40, -1.579, -1.779, -1.955),
    (0.51, -1.930, -2.130, -2.356), (0.61, -2.231, -2.481, -2.732),
    (0.81, -2.757, -3.083, -3.383), (1.01, -3.183, -3.559, -3.910),
    (1.21, -3.534, -3.960, -4.361), (1.41, -3.810, -4.261, -4.712),
    (1.62, -4.010, -4.511, -5.013), (2.02, -4.311, -4.862, -5.414),
    (2.42, -4.511, -5.113, -5.689), (3.03, -4.712, -5.313, -5.940),
    (3.43, -4.812, -5.439, -6.040), (4.04, -4.912, -5.539, -6.165),
    (4.95, -5.013, -5.639, -6.291), (6.06, -5.113, -5.739, -6.366),
    (8.08, -5.188, -5.815, -6.466), (10.0, -5.213, -5.840, -6.491)])


def differences(x: ArrayLike, mask: ArrayLike | None = None) -> NDArray[np.float64]:
    """Differences t from each row's maximum, -infinity where masked.

    Parameters
    ----------
    x : array_like of float, shape (..., N)
        Logits.
    mask : array_like of bool, shape (..., N), or None
        Masked elements, besides those that are -infinity.

    Raises
    ------
    ValueError
        If a logit that is not masked is NaN or +infinity.
    """
    values = np.array(x, dtype=np.float64)
    if mask is not None:
        values[np.asarray(mask, dtype=bool)] = -np.inf
    if np.isnan(values).any() or (values == np.inf).any():
        raise ValueError("Logits that are not masked must be numbers, not NaN or +infinity")
    maxima = values.max(axis=-1, keepdims=True, initial=-np.inf)
    return values - np.where(np.isfinite(maxima), maxima, 0)


def deviation(t: NDArray[np.float64]) -> float:
    """Standard deviation σ of all finite t of a call, with divisor n - 1; 0 for a single one."""
    finite = t[np.isfinite(t)]
    return float(finite.std(ddof=1)) if finite.size > 1 else 0.0


def clip_value(sigma: float, bits: int, clip: str = "linear") -> float:
    """Clip C for a standard deviation.

    ::

        C(2 bits) = -1.66·σ - 1.85    C(3 bits) = -1.75·σ - 2.06    C(4 bits) = -1.83·σ - 2.27

    or the interpolation of the table, whose ends hold beyond it.

    Examples
    --------
    >>> round(clip_value(2.0, 2), 3), round(clip_value(2.02, 2, "table"), 3)
    (-5.17, -4.311)
    """
    _check(bits, clip)
    if clip == "table":
        return float(np.interp(sigma, _TABLE[:, 0], _TABLE[:, bits - 1]))
    slope, constant = _LINES[bits]
    return slope * sigma + constant


def _check(bits: int, clip: str = "linear") -> None:
    """Refuse a number of bits or a clip that the paper does not have."""
    if bits not in _LINES:
        raise ValueError(f"Parameter bits must be 2, 3 or 4, not {bits!r}")
    if clip not in CLIPS:
        raise ValueError(f"Parameter clip must be one of {', '.join(CLIPS)}, not {clip!r}")


@dataclass(frozen=True)
class Clip:
    """Clip and least difference of a layer, averaged over its calls, or of one call.

    Parameters
    ----------
    clip : float
        C.
    minimum : float
        Least difference from a row's maximum.
    """

    clip: float
    minimum: float

    @property
    def lo(self) -> float:
        """Lowest level, max(minimum, C); 0 if all logits of each row are equal."""
        return max(self.minimum, self.clip)


def calibrate(calls: Sequence[ArrayLike], bits: int, clip: str = "linear") -> Clip:
    """Freeze the clip of a layer from its recorded logits, as the authors' ``--calibrate``.

    C and the least difference are averaged over the first 25 calls. With one call it is what the
    authors' dynamic mode does in that call.

    Parameters
    ----------
    calls : sequence of array_like of float, shape (..., N) each
        Logits of each call of the layer; masked elements are -infinity.
    bits : int
        b, bits of a code.
    clip : str
        A key of :data:`CLIPS`.

    Raises
    ------
    ValueError
        If there is no call, one has no element that is not masked, or one has a NaN or +infinity.

    Examples
    --------
    >>> found = calibrate([[[0.0, -1.0, -9.0]], [[3.0, 2.0, -np.inf]]], bits=2)
    >>> round(found.clip, 3), found.minimum, found.lo
    (-6.531, -5.0, -5.0)
    """
    _check(bits, clip)
    if not len(calls):
        raise ValueError("Calls must be at least one, not none")
    clips, minima = [], []
    for index, call in enumerate(calls[:CALLS]):
        t = differences(call)
        if not np.isfinite(t).any():
            raise ValueError(f"Calls must have elements that are not masked, not none as call "
                             f"{index}")
        clips.append(clip_value(deviation(t), bits, clip))
        minima.append(float(t[np.isfinite(t)].min()))
    return Clip(float(np.mean(clips)), float(np.mean(minima)))


def level_codes(t: ArrayLike, lo: float, bits: int, dtype: Any = np.float64) -> NDArray[np.int64]:
    """Codes of differences by the authors' formula.

    ::

        k = round((clip(t, lo, 0) - lo) · ((2**b - 1) / -lo))    ties to even

    with each operation rounded in ``dtype`` but for the factor, which is rounded from float64.
    ``lo = 0`` gives the highest code. Masked elements, -infinity, get 0 as those below ``lo`` do.

    Parameters
    ----------
    t : array_like of float
        Differences from the maximum, at most 0.
    lo : float
        Lowest level, at most 0.
    bits : int
        b.
    dtype : numpy dtype
        ``np.float64`` or ``np.float32``.

    Returns
    -------
    ndarray of int64, same shape as ``t``

    Examples
    --------
    >>> level_codes([0.0, -0.5, -1.5, -2.5, -7.0], lo=-3.0, bits=2).tolist()  # ties to even
    [3, 2, 2, 0, 0]
    """
    _check(bits)
    t = np.asarray(t).astype(dtype)
    levels = (1 << bits) - 1
    if lo == 0:
        return np.where(t == 0, levels, 0).astype(np.int64)
    low, factor = dtype(lo), dtype(levels / -lo)
    return np.rint((np.clip(t, low, dtype(0)) - low) * factor).astype(np.int64)


def quantised_softmax(x: ArrayLike, lo: float, bits: int, mask: ArrayLike | None = None,
                      dtype: Any = np.float64) -> NDArray[Any]:
    """Softmax of quantised logits in floats, EXAQ as its authors' code computes it.

    ::

        t = x - rowmax(x)    t̂ = k / ((2**b - 1) / -lo) + lo    softmax = exp(t̂) / Σ exp(t̂)

    with k of :func:`level_codes`. A clipped element contributes exp(lo), a masked one 0. Rows of
    masked elements give zeros.

    Parameters
    ----------
    x : array_like of float, shape (..., N)
        Logits.
    lo : float
        Lowest level, at most 0.
    bits : int
        b.
    mask : array_like of bool, shape (..., N), or None
        Masked elements, besides those that are -infinity.
    dtype : numpy dtype
        ``np.float64`` or ``np.float32``, in which everything but the maximum is computed.

    Returns
    -------
    ndarray of dtype, shape (..., N)
    """
    t = differences(x, mask)
    levels = level_codes(t, lo, bits, dtype).astype(dtype)
    if lo != 0:
        levels = levels / dtype(((1 << bits) - 1) / -lo) + dtype(lo)
    else:
        levels = np.zeros_like(levels)
    return _normalised(np.where(np.isfinite(t), np.exp(levels), dtype(0)))


def exact_softmax_reference(x: ArrayLike, mask: ArrayLike | None = None) -> NDArray[np.float64]:
    """Softmax in float64; 0 where masked, and in rows of masked elements."""
    return _normalised(np.exp(differences(x, mask)))


def _normalised(exponents: NDArray[Any]) -> NDArray[Any]:
    """Exponents divided by their row's sum; rows of zeros stay zeros."""
    sums = exponents.sum(axis=-1, keepdims=True)
    return exponents / np.where(sums == 0, exponents.dtype.type(1), sums)


def constants(lo: float, parameters: SoftmaxParameters, dtype: Any = np.float64) -> Constants:
    """Integer constants of a layer from its lowest level.

    θ_k is the least multiple of 2**-24 whose code by :func:`level_codes` is at least k. All fp16
    numbers, and all differences of two of them, are such multiples, so the codes of the unit are
    those of the formula in ``dtype`` for each of them, ties included; of bf16 numbers for those
    of at least 2**-17 in magnitude. The exponents are those of the levels themselves,
    ``E_k = round(2**F · exp(lo·(1 - k / (2**b - 1))))``, computed in decimals, ties to even.

    An exponent below half a unit is 0. E_0 is from ``lo < -(F + 1)·ln 2`` on, -11.09 at F = 15
    and -3.47 at F = 4; such elements get probability 0, where the formula leaves them exp(lo).

    Parameters
    ----------
    lo : float
        Lowest level, from above -32 to ``-(2**b - 1)·2**-23``, at which two thresholds could
        coincide.
    parameters : SoftmaxParameters
        The unit.
    dtype : numpy dtype
        Of the formula, ``np.float64`` or ``np.float32``.

    Raises
    ------
    ValueError
        If ``lo`` is out of range.

    Examples
    --------
    >>> from golden.softmax_parameters import SOFTMAX_SETS
    >>> unit = SOFTMAX_SETS["attention_tiny"]
    >>> found = constants(-3.0, unit)  # a tie below an even code belongs to it
    >>> [magnitude / 2**24 for magnitude in found.thresholds], found.exponents
    ([2.4999999403953552, 1.5, 0.4999999403953552], (1631, 4435, 12055, 32768))
    """
    levels = parameters.levels - 1
    if not (math.isfinite(lo) and -32 < lo <= -levels * 2.0**-23):
        raise ValueError(f"Clip lo must be above -32 and at most -{levels} * 2**-23 for "
                         f"{parameters.bits} bits, not {lo}")
    thresholds = tuple(_threshold(k, lo, parameters.bits, dtype) for k in range(1, levels + 1))
    exponents = tuple(_exponent(Fraction(lo) * Fraction(levels - k, levels), parameters.exp_bits)
                      for k in range(levels + 1))
    return Constants(thresholds, exponents)


def _threshold(k: int, lo: float, bits: int, dtype: Any) -> int:
    """Magnitude, in units of 2**-24, of the least multiple with a code of at least k."""
    # The formula is monotonic, for each of its roundings is: bisect. 0 has the highest code.
    inside, outside = 0, 32 << THRESHOLD_POINT
    while outside - inside > 1:
        middle = (inside + outside) // 2
        reached = level_codes(-middle * 2.0**-THRESHOLD_POINT, lo, bits, dtype) >= k
        inside, outside = (middle, outside) if reached else (inside, middle)
    return inside


def _exponent(level: Fraction, exp_bits: int) -> int:
    """exp(level) in units of 2**-exp_bits, to the nearest, ties to even."""
    with localcontext() as context:
        context.prec = 50
        return round((Decimal(level.numerator) / Decimal(level.denominator)).exp() * 2**exp_bits)
