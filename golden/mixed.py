"""8- and 4-bit output features side by side in one layer, MixLLM's (arXiv 2412.14590)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden.quantise import GroupedWeights, quantise_weights

__all__ = ["MixedWeights", "salience", "select_features", "quantise_mixed"]


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

    @property
    def group(self) -> int:
        """Group size of both."""
        return self.wide.group

    @property
    def global_scale(self) -> np.float32:
        """Global scale of both."""
        return self.wide.global_scale

    def dequantise(self) -> NDArray[np.float64]:
        """Weights as real numbers, shape (K, N), features in their order."""
        columns = np.concatenate([self.wide.dequantise(), self.narrow.dequantise()], axis=1)
        return columns[:, np.argsort(self.features)]


def salience(weights: ArrayLike, quantised: GroupedWeights, gradients: ArrayLike) -> NDArray[
        np.float64]:
    """How much the loss changes, to second order, with the quantisation of an output feature.

    ``mean over samples of |gᵀδ + (gᵀδ)² / 2|`` with ``δ = quantised - weights`` of the feature
    and its gradient g, whose outer product stands for the Hessian (MixLLM, arXiv 2412.14590).

    Parameters
    ----------
    weights : array_like of float, shape (K, N)
        Original weights.
    quantised : GroupedWeights
        The same, quantised.
    gradients : array_like of float, shape (samples, K, N)
        Gradient of the loss by the weights, for each sample; at least one.

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    weights, gradients = (np.asarray(each, dtype=np.float64) for each in (weights, gradients))
    if weights.shape != quantised.shape:
        raise ValueError(f"Shape of the weights must be {quantised.shape}, not {weights.shape}")
    if gradients.ndim != 3 or gradients.shape[1:] != weights.shape or not len(gradients):
        raise ValueError(f"Shape of the gradients must be samples by {weights.shape}, "
                         f"not {gradients.shape}")
    change = (gradients * (quantised.dequantise() - weights)).sum(axis=1)
    return np.abs(change + change**2 / 2).mean(axis=0)


def select_features(saliences: dict[str, NDArray[np.float64]],
                    share: float) -> dict[str, NDArray[np.int64]]:
    """Most salient output features of all layers together.

    Parameters
    ----------
    saliences : dict of str to ndarray of float, shape (N,)
        Salience of each feature of each layer.
    share : float
        Share of all features that is selected, 0 to 1; their number is rounded to the nearest,
        ties to even.

    Returns
    -------
    dict of str to ndarray of int64
        Ascending features of each layer. Of equal saliences those of the earlier layer, then the
        lower features, come first.

    Raises
    ------
    ValueError
        If the share is not from 0 to 1, or a salience is NaN.

    Examples
    --------
    >>> chosen = select_features({"up": np.array([1.0, 5.0]), "down": np.array([3.0, 2.0])}, 0.5)
    >>> {layer: features.tolist() for layer, features in chosen.items()}
    {'up': [1], 'down': [0]}
    """
    if not 0 <= share <= 1:
        raise ValueError(f"Parameter share must be from 0 to 1, not {share}")
    for layer, values in saliences.items():
        if np.isnan(values).any():
            raise ValueError(f"Saliences must be numbers, not nan as in layer {layer}")
    every = np.concatenate([np.zeros(0), *saliences.values()])
    order = np.argsort(-every, kind="stable")
    chosen = np.zeros(len(every), dtype=bool)
    chosen[order[:round(share * len(every))]] = True
    ends = np.cumsum([len(values) for values in saliences.values()])
    return {layer: np.flatnonzero(chosen[end - len(values):end])
            for (layer, values), end in zip(saliences.items(), ends, strict=True)}


def quantise_mixed(weights: ArrayLike, wide_features: ArrayLike, *, group: int,
                   narrow: str = "uint4", scale: str = "fp16") -> MixedWeights:
    """Quantise some output features to ``int8`` and the others to another format.

    Parameters
    ----------
    weights : array_like of float, shape (K, N)
        Finite numbers.
    wide_features : array_like of int
        Features of 8 bits, of :func:`select_features`; they come first, in ascending order.
    group : int
        G; the last group of K may be shorter.
    narrow : str
        Format of the others.
    scale : str
        Format of the scales; not ``e4m3``, whose global scale would not be one.

    Raises
    ------
    ValueError
        If a parameter breaks these rules, or :func:`golden.quantise.quantise_weights` refuses the
        weights.
    """
    if scale == "e4m3":
        raise ValueError("Parameter scale must have no global scale for wide and narrow weights, "
                         "not 'e4m3'")
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"Weights must be a matrix, not of shape {matrix.shape}")
    n, chosen = matrix.shape[1], np.asarray(wide_features, dtype=np.int64).ravel()
    wide = np.unique(chosen)
    if len(wide) != len(chosen) or (len(wide) and not 0 <= wide[0] <= wide[-1] < n):
        raise ValueError(f"Wide features must be different numbers of range({n}), "
                         f"not {chosen.tolist()}")
    others = np.setdiff1d(np.arange(n), wide)
    return MixedWeights(quantise_weights(matrix[:, wide], w="int8", group=group, scale=scale),
                        quantise_weights(matrix[:, others], w=narrow, group=group, scale=scale),
                        np.concatenate([wide, others]))
