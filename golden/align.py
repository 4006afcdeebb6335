"""Float activations as fixed-point fractions of each group's largest power of two."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.formats import FORMATS, aligned
from golden.quantise import Activations, groups

__all__ = ["align"]


def align(x: ArrayLike, *, fmt: str, bits: int, group: int) -> Activations:
    """Align the activations of each token and group to their largest exponent.

    With E the largest exponent of a group, that of zeros and subnormal numbers being the format's
    lowest, the group's scale is ``2**E``, an e8m0 number for each E of fp16 and bf16, and

    ::

        q = clamp(round(x / 2**E / step), low, high)    step = 2**(2 - A), ties to even

    in the A bits of :func:`golden.formats.aligned`, whose ends are -2 and 2 - step. A group with
    an infinity or NaN has the scale NaN and activations 0. Sums then are integers: the engine of
    int8 computes them (pre-alignment: iFPU, ICLR 2023; FIGNA, HPCA 2024).

    The sum of a group with weights v is off by

    ::

        |Σ (q·step·2**E - x)·v| <= c · 2**(E + 2 - A) · Σ|v|

    with c = 1/2 if no activation saturates, else 1. Proof: x / 2**E lies strictly between -2 and
    2, for no exponent exceeds E. Rounding to a multiple of the step errs by at most half of it.
    Only a number from 2 - step/2 on rounds to 2 and saturates at 2 - step; it is below 2, so off
    by less than a step. -2 is a number of the format. The triangle inequality does the rest. With
    m mantissa bits, an activation of exponent e is exact if ``E - e <= A - 2 - m``, for then its
    last bit ``2**(e - m)`` is a multiple of ``2**E * step``; if all are, the sum is exact, and
    for ``A >= m + 2`` nothing saturates, for then no number of exponent E is rounded.

    Parameters
    ----------
    x : array_like of int, shape (M, K)
        Codes of ``fmt``.
    fmt : str
        ``fp16`` or ``bf16``.
    bits : int
        A, from 3 to 24.
    group : int
        G of the weights; the last group of K may be shorter.

    Returns
    -------
    Activations
        With group scales in e8m0; the scales of the tokens are 1.

    Raises
    ------
    ValueError
        If a parameter breaks these rules, or a code is out of range.

    Examples
    --------
    >>> x = align(FORMATS["fp16"].encode([[3.0, -0.25, 0.3]]), fmt="fp16", bits=5, group=3)
    >>> x.q.tolist(), x.dequantise().tolist()  # in steps of 1/8 of 2
    ([[12, -1, 1]], [[3.0, -0.25, 0.25]])
    """
    if fmt not in ("fp16", "bf16"):
        raise ValueError(f"Parameter fmt must be one of fp16, bf16, not {fmt!r}")
    if not 3 <= bits <= 24:
        raise ValueError(f"Parameter bits must be from 3 to 24, not {bits}")
    if group < 1:
        raise ValueError(f"Group size must be at least 1, not {group}")
    source, target, scale_fmt = FORMATS[fmt], aligned(bits), FORMATS["e8m0"]
    codes = np.asarray(x, dtype=np.int64)
    if codes.ndim != 2:
        raise ValueError(f"Activations must be a matrix, not of shape {codes.shape}")
    values, (m, k) = source.decode(codes), codes.shape

    q = np.zeros((m, k), dtype=np.int64)
    scales = np.full((m, groups(k, group)), scale_fmt.nan)
    for g in range(scales.shape[1]):
        part = slice(g * group, (g + 1) * group)
        finite = np.isfinite(values[:, part]).all(axis=1)
        exponents = _exponents(values[finite, part], 1 - source.bias)
        steps = np.ldexp(values[finite, part], -exponents[:, None])
        q[finite, part] = _signed(target.encode(steps), target.bits)
        scales[finite, g] = exponents + scale_fmt.bias
    return Activations(q, np.ones(m, dtype=np.float32), target, group, group_scale="e8m0",
                       group_scales=scales)


def _exponents(values: NDArray[np.float64], lowest: int) -> NDArray[np.int64]:
    """Largest exponent of each row, at least ``lowest``."""
    largest = np.abs(values).max(axis=1)
    # frexp's significand is from 1/2 to 1.
    return np.where(largest > 0, np.maximum(np.frexp(largest)[1] - 1, lowest), lowest)


def _signed(codes: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Numbers of two's complement codes."""
    return codes - (codes >> bits - 1 << bits)
