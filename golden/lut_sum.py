"""EXAQ's accumulation (arXiv 2410.03185): a table of the sums of several exponents."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.softmax_parameters import LUT_CODES, Constants

__all__ = ["lut", "packed", "lut_sum"]


def lut(constants: Constants) -> NDArray[np.int64]:
    """Table of sums: entry i is the sum of the exponents of the codes that i packs.

    A byte packs four codes of 2 bits, 256 entries; 6 bits pack two of 3 bits, 64 entries; a byte
    packs two of 4 bits, 256 entries. The first code has the lowest bits.

    Parameters
    ----------
    constants : Constants
        Exponents of a layer.

    Returns
    -------
    ndarray of int64, shape (entries,)

    Examples
    --------
    >>> table = lut(Constants((3, 2, 1), (1, 3, 6, 16)))
    >>> table[0b11_10_01_00].item()  # 16 + 6 + 3 + 1
    26
    """
    bits, codes = constants.bits, LUT_CODES[constants.bits]
    entries = np.arange(1 << bits * codes)
    exponents = np.array(constants.exponents, dtype=np.int64)
    return sum(exponents[entries >> bits * place & (1 << bits) - 1] for place in range(codes))


def packed(words: ArrayLike, bits: int) -> NDArray[np.int64]:
    """Codes of a row packed to indices of the table.

    Masked elements, and those that fill up the last index, count as code 0.

    Parameters
    ----------
    words : array_like of int, shape (rows, N)
        Codes, or ``2**b`` for masked elements, as in ``SoftmaxResult.codes``.
    bits : int
        b.

    Returns
    -------
    ndarray of int64, shape (rows, ceil(N / c))
        With c codes of :data:`golden.softmax_parameters.LUT_CODES` in an index.
    """
    codes = np.asarray(words, dtype=np.int64)
    if codes.ndim != 2 or (codes.size and not 0 <= codes.min() <= codes.max() <= 1 << bits):
        raise ValueError(f"Codes must be a matrix of integers from 0 to {1 << bits}")
    each = LUT_CODES[bits]
    codes = np.pad(np.where(codes >> bits, 0, codes), ((0, 0), (0, -codes.shape[1] % each)))
    places = codes.reshape(len(codes), -1, each) << bits * np.arange(each)
    return places.sum(axis=2)


def lut_sum(words: ArrayLike, constants: Constants) -> NDArray[np.int64]:
    """Sum of each row's exponents by the table, equal to Σ n_k·E_k.

    What is masked or fills up the last index was counted as code 0, so its E_0 is subtracted.

    Parameters
    ----------
    words : array_like of int, shape (rows, N)
        Codes, or ``2**b`` for masked elements, as in ``SoftmaxResult.codes``.
    constants : Constants
        Exponents of a layer.

    Returns
    -------
    ndarray of int64, shape (rows,)
    """
    indices = packed(words, constants.bits)
    counted = (np.asarray(words) < 1 << constants.bits).sum(axis=1)
    extra = indices.shape[1] * LUT_CODES[constants.bits] - counted
    return lut(constants)[indices].sum(axis=1) - extra * constants.exponents[0]
