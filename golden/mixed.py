"""8- and 4-bit output features side by side in one layer, MixLLM's (arXiv 2412.14590)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.quantise import GroupedWeights

__all__ = ["MixedWeights"]


@dataclass(frozen=True)
class MixedWeights:
    """Weights of which some output features have 8 bits and the others 4.

    Parameters
    ----------
    wide : GroupedWeights
        K by N8 weights of ``int8`` or ``uint8``; N8 may be 0.
    narrow : GroupedWeights
        K by N4 weights of another format; N4 may be 0.
    features : ndarray of int64, shape (N8 + N4,)
        Output feature of each column, the wide ones first; a permutation.

    Raises
    ------
    ValueError
        If the two do not belong together, or the features are no permutation.
    """

    wide: GroupedWeights
    narrow: GroupedWeights
    features: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.wide.w not in ("int8", "uint8"):
            raise ValueError(f"Format of the wide weights must be int8 or uint8, "
                             f"not {self.wide.w}")
        for name in ("group", "scale", "global_scale"):
            wide, narrow = getattr(self.wide, name), getattr(self.narrow, name)
            if wide != narrow:
                raise ValueError(f"Parameter {name} must be the same for wide and narrow weights, "
                                 f"not {wide} and {narrow}")
        if len(self.wide.q) != len(self.narrow.q):
            raise ValueError(f"K must be the same for wide and narrow weights, "
                             f"not {len(self.wide.q)} and {len(self.narrow.q)}")
        n = self.wide.q.shape[1] + self.narrow.q.shape[1]
        if not np.array_equal(np.sort(self.features), np.arange(n)):
            raise ValueError(f"Features must be a permutation of range({n})")

    @property
    def shape(self) -> tuple[int, int]:
        """K and N."""
        return len(self.wide.q), len(self.features)

    def dequantise(self) -> NDArray[np.float64]:
        """Weights as real numbers, shape (K, N), features in their order."""
        columns = np.concatenate([self.wide.dequantise(), self.narrow.dequantise()], axis=1)
        return columns[:, np.argsort(self.features)]
