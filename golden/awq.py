"""The layout of AutoAWQ's "gemm" checkpoints.

A layer is three tensors. Each 32-bit word holds eight consecutive columns of one row, four bits
each; the nibble at bit 4·i is column ``8c + ORDER[i]`` of word ``c``::

    bits     31..28 27..24 23..20 19..16 15..12 11..8  7..4   3..0
    column    8c+7   8c+5   8c+3   8c+1   8c+6  8c+4   8c+2   8c

Weights and zero points are unsigned and stored as they are: ``w = scale * (q - zero)``.

Source: autoawq 0.2.9, ``awq/modules/linear/gemm.py`` and ``awq/utils/packing_utils.py``.
"""

import numpy as np
from numpy.typing import NDArray

from golden.quantise import GroupedWeights

__all__ = ["ORDER", "unpack", "pack"]

#: Column, within its word, of each nibble from the lowest.
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

#: Lowest bit of each column.
_SHIFTS = 4 * np.argsort(ORDER).astype(np.uint32)


def unpack(qweight: NDArray[np.int32], qzeros: NDArray[np.int32],
           scales: NDArray[np.integer], *, scale: str = "fp16") -> GroupedWeights:
    """Weights of a layer.

    Parameters
    ----------
    qweight : ndarray of int32, shape (K, N / 8)
        Words of weights.
    qzeros : ndarray of int32, shape (K / G, N / 8)
        Words of zero points; their number of rows gives the group size G.
    scales : ndarray of int, shape (K / G, N)
        Codes of the scales.
    scale : str
        Format of the scales.

    Returns
    -------
    GroupedWeights
        In ``uint4``.

    Raises
    ------
    ValueError
        If a type, a shape or a scale breaks these rules.

    Examples
    --------
    >>> one = np.array([[0x3c00] * 8])  # 1.0 in fp16
    >>> word = np.array([[0x7531_6420]], dtype=np.int32)
    >>> unpack(word, np.zeros_like(word), one).q.tolist()
    [[0, 1, 2, 3, 4, 5, 6, 7]]
    """
    for name, words in (("qweight", qweight), ("qzeros", qzeros)):
        if words.dtype != np.int32 or words.ndim != 2 or not words.size:
            raise ValueError(f"Tensor {name} must be a matrix of int32, "
                             f"not {words.dtype} of shape {words.shape}")
    if scales.dtype.kind not in "iu":
        raise ValueError(f"Tensor scales must be integer codes of {scale}, not {scales.dtype}")
    k, groups = len(qweight), len(qzeros)
    if k % groups:
        raise ValueError(f"K must be a multiple of the number of groups {groups}, not {k}")
    if qzeros.shape[1] != qweight.shape[1]:
        raise ValueError(f"Shape of qzeros must be {(groups, qweight.shape[1])}, "
                         f"not {qzeros.shape}")
    return GroupedWeights("uint4", scale, k // groups, _columns(qweight), _columns(qzeros),
                          scales.astype(np.int64))


def pack(weights: GroupedWeights) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``qweight`` and ``qzeros`` of a layer; its ``scales`` are ``weights.scales``.

    Raises
    ------
    ValueError
        If the weights are not ``uint4``, N is not a multiple of 8, or a zero point is 16.
    """
    if weights.w != "uint4":
        raise ValueError(f"Weight format must be uint4 for AutoAWQ, not {weights.w}")
    if (n := weights.q.shape[1]) % len(ORDER):
        raise ValueError(f"N must be a multiple of {len(ORDER)} for AutoAWQ, not {n}")
    if (highest := weights.zeros.max(initial=0)) > 15:
        raise ValueError(f"Zero points must be at most 15 for AutoAWQ, not {highest}")
    return _words(weights.q), _words(weights.zeros)


def _columns(words: NDArray[np.int32]) -> NDArray[np.int64]:
    """Nibbles in the order of the columns."""
    nibbles = words.view(np.uint32)[:, :, None] >> _SHIFTS & 15
    return nibbles.reshape(len(words), -1).astype(np.int64)


def _words(columns: NDArray[np.int64]) -> NDArray[np.int32]:
    """Inverse of :func:`_columns`."""
    nibbles = columns.astype(np.uint32).reshape(len(columns), -1, len(ORDER))
    return np.bitwise_or.reduce(nibbles << _SHIFTS, axis=-1).view(np.int32)
