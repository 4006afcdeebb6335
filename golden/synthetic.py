"""Made tensors with the statistics of language models; none is of a real one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golden.exaq import deviation, differences
from golden.formats import FORMATS

__all__ = ["FREEDOM", "OUTLIER", "OUTLIER_SHARE", "WEIGHT_KINDS", "Layer", "outlier_channels",
           "activations", "weights", "feature_magnitudes", "gradients", "layer", "causal_scores"]

#: Degrees of freedom of Student's t: weights of a language model have tails of about this weight.
FREEDOM = 4

#: Share of the channels of activations that are outliers, and how much larger they are.
OUTLIER_SHARE, OUTLIER = 0.01, 20.0

#: Kinds of weights, and what each is.
WEIGHT_KINDS = {
    "gaussian": "normal weights",
    "heavy":    f"weights of Student's t distribution with {FREEDOM} degrees of freedom",
}

#: Deviation of the logarithm of the gradients' magnitudes from one output feature to another.
MAGNITUDE_SPREAD = 1.0

#: Gradient of a weight at which the estimated change of the loss is small, as of a trained model.
GRADIENT = 0.01


def outlier_channels(rng: np.random.Generator, length: int) -> NDArray[np.float64]:
    """Factors of channels, of which the share of outliers is exact, but at least one."""
    factors = np.ones(length)
    factors[rng.permutation(length)[:max(1, round(OUTLIER_SHARE * length))]] = OUTLIER
    return factors


def activations(rng: np.random.Generator, tokens: int, length: int,
                channels: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Normal activations with the outlier channels of language models, shape (tokens, length).

    Parameters
    ----------
    rng : Generator
        Source of the numbers.
    tokens, length : int
        M and K.
    channels : ndarray of float, shape (K,), optional
        Factor of each channel; if absent each is an outlier with probability
        :data:`OUTLIER_SHARE`.
    """
    if channels is None:
        channels = np.where(rng.random(length) < OUTLIER_SHARE, OUTLIER, 1.0)
    return (rng.normal(size=(tokens, length)) * channels).astype(np.float32)


def weights(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Weights of a kind of :data:`WEIGHT_KINDS`, independent of each other.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind not in WEIGHT_KINDS:
        raise ValueError(f"Weights must be one of {', '.join(WEIGHT_KINDS)}, not {kind!r}")
    return rng.standard_t(FREEDOM, shape) if kind == "heavy" else rng.normal(size=shape)


def feature_magnitudes(rng: np.random.Generator, features: int) -> NDArray[np.float64]:
    """Root mean square of the gradient of each output feature, log-normal, shape (N,)."""
    return GRADIENT * rng.lognormal(sigma=MAGNITUDE_SPREAD, size=features)


def gradients(rng: np.random.Generator, samples: int, length: int,
              magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal gradients of the loss of some samples, shape (samples, K, N)."""
    return rng.normal(size=(samples, length, len(magnitudes))) * magnitudes


@dataclass(frozen=True)
class Layer:
    """A linear layer with activations.

    Parameters
    ----------
    x : ndarray of float, shape (M, K)
        Activations.
    w : ndarray of float, shape (K, N)
        Weights.
    gradients : ndarray of float, shape (samples, K, N)
        Gradients of the loss, with which output features are ranked.
    """

    x: NDArray[Any]
    w: NDArray[Any]
    gradients: NDArray[np.float64]


def layer(kind: str, length: int, *, tokens: int, features: int, samples: int = 2,
          seed: int | Sequence[int] = 1) -> Layer:
    """Layer with independent weights, and outlier channels in its activations.

    Parameters
    ----------
    kind : str
        Of the weights, a key of :data:`WEIGHT_KINDS`.
    length : int
        K.
    tokens, features : int
        M and N.
    samples : int
        Samples of the gradients.
    seed : int or sequence of int
        Equal seeds give equal layers.
    """
    rng = np.random.default_rng(seed)
    x = activations(rng, tokens, length, outlier_channels(rng, length))
    w = weights(rng, kind, (length, features))
    return Layer(x, w, gradients(rng, samples, length, feature_magnitudes(rng, features)))


def causal_scores(sigma: float, tokens: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """fp16 codes of a head's scores, shape (tokens, tokens), -infinity for later tokens.

    Products of random queries and keys of 64 numbers, scaled so that the differences from the
    rows' maxima have the standard deviation ``sigma``.
    """
    queries, keys = rng.normal(size=(2, tokens, 64))
    scores = np.where(np.tri(tokens, dtype=bool), queries @ keys.T, -np.inf)
    return FORMATS["fp16"].encode(scores * (sigma / deviation(differences(scores))))
