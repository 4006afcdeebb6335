"""How close quantised arithmetic comes to that of real numbers: layers, softmax, selection."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from golden import synthetic
from golden.align import align
from golden.attention import weighted_values
from golden.exact_softmax import exact_softmax
from golden.exaq import calibrate, constants, exact_softmax_reference
from golden.formats import FORMATS
from golden.gemm import gemm
from golden.mixed import MixedWeights, quantise_mixed, salience, select_features
from golden.quantise import (
    WEIGHTS,
    Activations,
    GroupedWeights,
    quantise_activations,
    quantise_weights,
)
from golden.rivals import RIVALS, dequantise, dot, progressive
from golden.sets import parameter_set
from golden.softmax import softmax
from golden.softmax_parameters import BaselineParameters, SoftmaxParameters
from golden.synthetic import causal_scores, feature_magnitudes, gradients, outlier_channels

__all__ = ["sqnr", "Scheme", "SCHEMES", "WIDE_SHARE", "Product", "product", "Noise", "total",
           "measure", "standard_errors", "SIGMAS", "SOFTMAX_UNITS", "SoftmaxErrors",
           "softmax_errors", "SHARES", "Selection", "FeatureErrors", "feature_errors",
           "selections"]


def sqnr(reference: ArrayLike, actual: ArrayLike) -> float:
    """Signal-to-quantization-noise ratio in dB.

    ::

        10·log10( Σ reference² / Σ (actual - reference)² )

    Parameters
    ----------
    reference, actual : array_like of float, same shape
        What is exact and finite, and what was computed.

    Returns
    -------
    float
        Infinity if the two are equal, -infinity if what was computed has an infinity or NaN.

    Raises
    ------
    ValueError
        If the shapes differ, or the reference is not finite or is zero everywhere.

    Examples
    --------
    >>> round(sqnr([10.0, 0.0], [10.0, 1.0]), 6)
    20.0
    """
    reference, actual = (np.asarray(each, dtype=np.float64) for each in (reference, actual))
    if reference.shape != actual.shape:
        raise ValueError(f"Shape of what was computed must be {reference.shape}, "
                         f"not {actual.shape}")
    return _decibels(_power(reference), _power(actual - reference))


def _power(values: NDArray[np.float64]) -> float:
    """Sum of squares."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sum(values**2))


def _decibels(signal: float, noise: float) -> float:
    """Ratio of two powers in dB."""
    if not 0 < signal < math.inf:
        raise ValueError(f"Power of the reference must be positive and finite, not {signal}")
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if math.isfinite(noise) else -math.inf


# Schemes

#: Share of the output features that have 8 bits in MixLLM's W4.4A8.
WIDE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Formats of a layer's weights and activations, and the arithmetic of their product.

    Parameters
    ----------
    name : str
        As in tables.
    w : str
        Weight format, of :data:`golden.quantise.WEIGHTS`, or ``fp16``.
    group : int, optional
        G, weights along K that share a scale; if absent each output feature has one.
    scale : str
        Format of the weights' scales.
    x : str
        Activation format: ``int8``, ``fp16`` or ``bf16``.
    x_align : int
        A, bits to which float activations are aligned; 0 if they remain floats.
    x_scale : str
        ``token`` if a token has one scale, or the format of the scales of its groups.
    wide_share : float
        Share of the output features that have ``int8`` weights, by salience.
    rival : str
        Key of :data:`golden.rivals.RIVALS` that multiplies; empty for
        :func:`golden.gemm.gemm`.
    y : str
        Output format.

    Raises
    ------
    ValueError
        If the parameters contradict each other.
    """

    name: str
    w: str
    group: int | None = 128
    scale: str = "fp16"
    x: str = "int8"
    x_align: int = 0
    x_scale: str = "token"
    wide_share: float = 0.0
    rival: str = ""
    y: str = "fp16"

    def __post_init__(self) -> None:
        for field, allowed in (("w", (*WEIGHTS, "fp16")), ("x", ("int8", "fp16", "bf16")),
                               ("rival", ("", *RIVALS)), ("y", ("fp32", "fp16", "bf16"))):
            if getattr(self, field) not in allowed:
                raise ValueError(f"Parameter {field} must be one of "
                                 f"{', '.join(each or 'none' for each in allowed)}, "
                                 f"not {getattr(self, field)!r}")
        if not 0 <= self.wide_share <= 1:
            raise ValueError(f"Parameter wide_share must be from 0 to 1, not {self.wide_share}")
        if self.rival:
            rival = RIVALS[self.rival]
            wanted = (rival.w_format.name, rival.x_format.name, 0, "token", 0)
            own = (self.w, self.x, self.x_align, self.x_scale, self.wide_share)
            if own != wanted:
                raise ValueError(f"Parameters w, x, x_align, x_scale and wide_share must be "
                                 f"{wanted} for {self.rival}, not {own}")
        elif self.w == "fp16":
            raise ValueError("Parameter rival must be one that multiplies fp16 for w fp16, "
                             "not none")

    @property
    def weight_bits(self) -> float:
        """Mean bits of a weight, with its share of scales and zero points of 16-bit groups.

        A scale of an output feature counts nothing, nor does that of a tensor.
        """
        if self.w == "fp16":
            return 16.0
        fmt = FORMATS[self.w]
        bits = fmt.bits + self.wide_share * (FORMATS["int8"].bits - fmt.bits)
        if self.group is None:
            return bits
        scale = "uint8" if self.rival == "int8_first" else self.scale
        # A zero point from 0 to the highest number needs no more bits than a weight.
        zero = fmt.bits if fmt.max_zero else 0
        return bits + (FORMATS[scale].bits + (1 - self.wide_share) * zero) / self.group


def _of_set(name: str, source: str, **changes: Any) -> Scheme:
    """Scheme of a parameter set of an array, some of whose parameters are others."""
    parameters = parameter_set(source, ("array",)).to_dict()
    shared = {field.name for field in fields(Scheme)} - {"name", "wide_share", "rival"}
    return Scheme(name=name, **{key: parameters[key] for key in shared} | changes)


SCHEMES = {scheme.name: scheme for scheme in (
    Scheme(name="FP16, fp32 sums", w="fp16", x="fp16", group=None, rival="fp16_fma_fp32"),
    Scheme(name="FP16, fp16 sums", w="fp16", x="fp16", group=None, rival="fp16_fma"),
    _of_set("INT8", "edge", w="int8", group=None),
    _of_set("INT8, groups", "edge", w="int8"),
    # MixPE, arXiv 2411.16158, and the same weights dequantised before the product.
    _of_set("W4A8", "edge"),
    Scheme(name="W4A8, INT8 first", w="uint4", rival="int8_first"),
    _of_set("W4A16", "w4a16"),
    _of_set("W4A16 aligned", "w4a16_aligned"),
    Scheme(name="W4A16, FP16 first", w="uint4", x="fp16", rival="fp16_first"),
    _of_set("W4.4A8 MixLLM", "mixed", wide_share=WIDE_SHARE),
    _of_set("int4", "edge", w="int4"),
    _of_set("int3", "edge", w="int3"),
    _of_set("int2", "edge", w="int2"),
    _of_set("ternary", "edge", w="ternary"),
    _of_set("DenseShift, 4 bits", "shift", w="shift4"),
    _of_set("DenseShift, 3 bits", "shift"),
    _of_set("DenseShift, 2 bits", "shift", w="shift2"),
    _of_set("MXFP4", "mxfp4"),
    _of_set("NVFP4", "nvfp4"),
)}


# Layers


@dataclass(frozen=True)
class Product:
    """A quantised layer.

    Parameters
    ----------
    x : ndarray of float64, shape (M, K)
        Activations as real numbers.
    w : ndarray of float64, shape (K, N)
        Weights as real numbers.
    y : ndarray of float64, shape (M, N)
        Outputs as the hardware computes them.
    """

    x: NDArray[np.float64]
    w: NDArray[np.float64]
    y: NDArray[np.float64]


def product(scheme: Scheme, x: ArrayLike, w: ArrayLike,
            gradients: ArrayLike | None = None) -> Product:
    """Quantise a layer and multiply with the arithmetic that the Verilog equals.

    Parameters
    ----------
    scheme : Scheme
        Formats and arithmetic.
    x : array_like of float, shape (M, K)
        Activations.
    w : array_like of float, shape (K, N)
        Weights.
    gradients : array_like of float, shape (samples, K, N), optional
        Gradients that rank the output features; needed by a scheme with a ``wide_share``.

    Raises
    ------
    ValueError
        If gradients are needed and absent, shapes do not fit, or a quantiser refuses a number.
    """
    w = np.asarray(w, dtype=np.float64)
    if scheme.rival:
        return _rival_product(scheme, x, w)
    group = scheme.group or len(w)
    quantised = _activations(scheme, x, group)
    narrow = quantise_weights(w, w=scheme.w, group=group, scale=scheme.scale)
    weights: GroupedWeights | MixedWeights = narrow
    if scheme.wide_share:
        if gradients is None:
            raise ValueError(f"Gradients must be given for {scheme.name}")
        ranks = salience(w, narrow, gradients)
        chosen = select_features({"layer": ranks}, scheme.wide_share)["layer"]
        weights = quantise_mixed(w, chosen, group=group, narrow=scheme.w, scale=scheme.scale)
    y = gemm(quantised, weights, y=scheme.y)
    return Product(quantised.dequantise(), weights.dequantise(), FORMATS[scheme.y].decode(y))


def _activations(scheme: Scheme, x: ArrayLike, group: int) -> Activations:
    """Activations in the format of a scheme."""
    if scheme.x_align:
        codes = FORMATS[scheme.x].encode(x)
        return align(codes, fmt=scheme.x, bits=scheme.x_align, group=group)
    scale = None if scheme.x_scale == "token" else scheme.x_scale
    return quantise_activations(x, fmt=scheme.x, group=group, group_scale=scale)


def _rival_product(scheme: Scheme, x: ArrayLike, w: NDArray[np.float64]) -> Product:
    """Product of a rival, whose weights are dequantised before it or have no groups."""
    rival, fp16 = RIVALS[scheme.rival], FORMATS["fp16"]
    quantised = _activations(scheme, x, len(w))
    if scheme.rival == "int8_first":
        first = progressive(w, scheme.group or len(w))
        zeros, scales = (np.repeat(each, first.group, axis=0)[:len(w)]
                         for each in (first.zeros, first.scales))
        codes = dequantise(rival, first.q, zeros, scales)
        # Exact sums over K, scaled once: as of a single group.
        whole = GroupedWeights("int8", "fp16", len(w), FORMATS["int8"].decode(codes).astype(int),
                               np.zeros((1, w.shape[1]), dtype=np.int64), first.features[None])
        y = FORMATS[scheme.y].decode(gemm(quantised, whole, y=scheme.y))
        return Product(quantised.dequantise(), whole.dequantise(), y)
    if scheme.rival == "fp16_first":
        grouped = quantise_weights(w, w=scheme.w, group=scheme.group or len(w),
                                   scale=scheme.scale)
        zeros, scales = (np.repeat(each, grouped.group, axis=0)[:len(w)]
                         for each in (grouped.zeros, grouped.scales))
        codes = dequantise(rival, grouped.codes, zeros, scales)
    else:
        codes = fp16.encode(w)
    assert rival.acc_format
    sums = rival.acc_format.decode(dot(rival, quantised.codes, codes))
    return Product(quantised.dequantise(), fp16.decode(codes),
                   FORMATS[scheme.y].decode(FORMATS[scheme.y].encode(sums)))


@dataclass(frozen=True)
class Noise:
    """Sums of squares over a layer's outputs.

    Against the float64 product of what was not quantised are

    Parameters
    ----------
    signal : float
        that product itself,
    weights : float
        the difference of float64's product with quantised weights alone,
    activations : float
        the same with quantised activations alone,
    outputs : float
        the difference of what the hardware computes; and
    arithmetic : float
        the difference of that from float64's product of the same quantised operands.
    """

    signal: float
    weights: float
    activations: float
    outputs: float
    arithmetic: float

    def decibels(self) -> dict[str, float]:
        """Signal-to-noise ratio of each noise in dB.

        Raises
        ------
        ValueError
            If the signal is zero or not finite.
        """
        return {name: _decibels(self.signal, getattr(self, name))
                for name in ("weights", "activations", "outputs", "arithmetic")}


def total(noises: Sequence[Noise]) -> Noise:
    """Noise of several layers together."""
    return Noise(*(sum(getattr(noise, field.name) for noise in noises)
                   for field in fields(Noise)))


def measure(scheme: Scheme, x: ArrayLike, w: ArrayLike,
            gradients: ArrayLike | None = None) -> Noise:
    """Noise of a layer; parameters and errors are those of :func:`product`."""
    found = product(scheme, x, w, gradients)
    x, w = (np.asarray(each, dtype=np.float64) for each in (x, w))
    exact = x @ w
    with np.errstate(over="ignore", invalid="ignore"):
        return Noise(_power(exact), _power(x @ found.w - exact), _power(found.x @ w - exact),
                     _power(found.y - exact), _power(found.y - found.x @ found.w))


def standard_errors(noises: Sequence[Noise]) -> dict[str, float]:
    """Standard errors in dB of the ratios of independent layers together, by the jackknife.

    ::

        sqrt( (n - 1) / n · Σ_i (d_i - mean d)² )    d_i: in dB, all layers but i

    Parameters
    ----------
    noises : sequence of Noise
        Of n >= 2 layers.

    Raises
    ------
    ValueError
        If there are fewer layers.
    """
    n = len(noises)
    if n < 2:
        raise ValueError(f"Layers must be at least 2 for a standard error, not {n}")
    without = [total([*noises[:i], *noises[i + 1:]]).decibels() for i in range(n)]
    return {name: math.sqrt((n - 1) * float(np.var([each[name] for each in without])))
            for name in without[0]}


# Softmax

#: Deviations of the logits' differences from their row's maximum.
SIGMAS = (0.9, 1.5, 2.0, 2.7, 3.4)

#: Softmax units, and the bits of their codes; without codes exponents are exact.
SOFTMAX_UNITS: dict[str, int | None] = {
    "EXAQ, 2 bits": 2, "EXAQ, 3 bits": 3, "EXAQ, 4 bits": 4, "exact exponents": None}


@dataclass(frozen=True)
class SoftmaxErrors:
    """Errors of a softmax unit and of attention's outputs, against softmax in float64.

    Parameters
    ----------
    lo : float or None
        Lowest level, mean over the heads; none with exact exponents.
    absolute : float
        Mean |p̂ - p| of all probabilities that are not masked.
    variation : float
        Total variation ½·Σ |p̂ - p| of a row, mean over the rows.
    outputs : float
        Root mean square error of probabilities times V, relative to the root mean square; V in
        int8 with a scale for each column.
    """

    lo: float | None
    absolute: float
    variation: float
    outputs: float


def softmax_errors(sigma: float, bits: int | None, *, heads: int = 8, tokens: int = 256,
                   columns: int = 64, seed: int = 1) -> SoftmaxErrors:
    """Errors in causal heads with made scores and normal V.

    Each head has a clip from its own scores, as in EXAQ's dynamic mode. Probabilities are fp16,
    outputs fp32. With exact exponents the probabilities are multiplied by V as float activations.

    Parameters
    ----------
    sigma : float
        σ of the scores' differences from their row's maximum.
    bits : int, optional
        b, 2 to 4; absent for exact exponents.
    heads, tokens, columns : int
        How many heads, of how many queries and keys, and columns of V.
    seed : int
        Equal seeds give the same scores and V for all bits.
    """
    rng = np.random.default_rng(seed)
    lows, rows, variation, elements = [], 0, 0.0, 0
    signal, noise = 0.0, 0.0
    for _ in range(heads):
        scores, v = causal_scores(sigma, tokens, rng), rng.normal(size=(tokens, columns))
        exact = exact_softmax_reference(FORMATS["fp16"].decode(scores))
        if bits is None:
            probabilities, outputs = _exact_head(scores, v)
        else:
            lo, probabilities, outputs = _exaq_head(scores, v, bits)
            lows.append(lo)
        variation += float(np.abs(probabilities - exact).sum()) / 2
        rows += tokens
        elements += int((FORMATS["fp16"].decode(scores) > -np.inf).sum())
        signal += _power(exact @ v)
        noise += _power(outputs - exact @ v)
    return SoftmaxErrors(float(np.mean(lows)) if lows else None, 2 * variation / elements,
                         variation / rows, math.sqrt(noise / signal))


def _exaq_head(scores: NDArray[np.int64], v: NDArray[np.float64],
               bits: int) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Lowest level, probabilities and outputs of a head with codes."""
    tokens = scores.shape[1]
    unit = SoftmaxParameters(name="head", bits=bits, max_length=tokens, y="fp16",
                             least_length=min(tokens, 128))
    lo = calibrate([unit.x_format.decode(scores)], bits).lo
    chosen = constants(lo, unit)
    result = softmax(scores, None, chosen, unit)
    outputs = weighted_values(result, chosen, quantise_activations(v.T), y="fp32")
    return lo, unit.y_format.decode(result.probabilities), FORMATS["fp32"].decode(outputs)


def _exact_head(scores: NDArray[np.int64],
                v: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities and outputs of a head with exact exponents."""
    tokens = scores.shape[1]
    unit = BaselineParameters(name="head_exact", max_length=tokens, y="fp16",
                              least_length=min(tokens, 128))
    codes = exact_softmax(scores, None, unit).probabilities
    p = Activations(codes, np.ones(len(codes), dtype=np.float32), FORMATS["fp16"])
    outputs = gemm(p, quantise_weights(v, w="int8", group=tokens, scale="fp32"), y="fp32")
    return p.dequantise(), FORMATS["fp32"].decode(outputs)


# Selection of output features

#: Shares of the output features that have 8 bits.
SHARES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)

#: Layers among which features are selected, and how large their gradients are: MixLLM finds the
#: features of the first ones salient far more often (arXiv 2412.14590).
_PROJECTIONS = {"v_proj": 4.0, "down_proj": 2.0, "o_proj": 1.0, "up_proj": 0.5, "gate_proj": 0.5}


@dataclass(frozen=True)
class FeatureErrors:
    """What each output feature of a layer costs in 4 and in 8 bits; arrays of shape (N,).

    Parameters
    ----------
    ranks : ndarray of float64
        Salience by which features are selected.
    narrow_loss, wide_loss : ndarray of float64
        Salience with gradients of other samples: the loss that is to be expected.
    narrow_noise, wide_noise : ndarray of float64
        Sum of squared errors of the outputs.
    signal : ndarray of float64
        Sum of squares of the exact outputs.
    """

    ranks: NDArray[np.float64]
    narrow_loss: NDArray[np.float64]
    wide_loss: NDArray[np.float64]
    narrow_noise: NDArray[np.float64]
    wide_noise: NDArray[np.float64]
    signal: NDArray[np.float64]


def feature_errors(*, length: int = 1024, features: int = 128, tokens: int = 32,
                   ranked: int = 8, judged: int = 16, seed: int = 1) -> dict[str, FeatureErrors]:
    """Features of made layers in MixLLM's formats.

    Weights have heavy tails. Gradients are normal; their magnitudes are log-normal over the
    output features and differ from layer to layer.

    Parameters
    ----------
    length, features, tokens : int
        K, N and M of each layer.
    ranked, judged : int
        Samples of the gradients that rank the features, and of those that tell the loss.
    seed : int
        Equal seeds give equal layers.
    """
    scheme, rng, found = SCHEMES["W4.4A8 MixLLM"], np.random.default_rng(seed), {}
    assert scheme.group
    for name, factor in _PROJECTIONS.items():
        x = synthetic.activations(rng, tokens, length, outlier_channels(rng, length))
        w = synthetic.weights(rng, "heavy", (length, features))
        magnitudes = factor * feature_magnitudes(rng, features)
        quantised, exact = _activations(scheme, x, scheme.group), x.astype(np.float64) @ w
        formats = [quantise_weights(w, w=fmt, group=scheme.group, scale=scheme.scale)
                   for fmt in (scheme.w, "int8")]
        ranks = salience(w, formats[0], gradients(rng, ranked, length, magnitudes))
        others = gradients(rng, judged, length, magnitudes)
        losses = (salience(w, formats[0], others), salience(w, formats[1], others))
        # A feature's outputs do not depend on how the others are quantised.
        noises = [((FORMATS[scheme.y].decode(gemm(quantised, each, y=scheme.y)) - exact)**2).sum(
            axis=0) for each in formats]
        found[name] = FeatureErrors(ranks, losses[0], losses[1], noises[0], noises[1],
                                    (exact**2).sum(axis=0))
    return found


@dataclass(frozen=True)
class Selection:
    """Errors with some features of 8 bits.

    Parameters
    ----------
    loss : float
        Estimated change of the loss, the sum of the saliences, relative to that of 4 bits alone.
    sqnr : float
        Of the outputs of all layers, in dB.
    """

    loss: float
    sqnr: float


def selections(layers: dict[str, FeatureErrors], share: float,
               ranks: Sequence[dict[str, NDArray[np.float64]]]) -> list[Selection]:
    """Errors at a share of wide features, for several rankings of the features.

    Parameters
    ----------
    layers : dict of str to FeatureErrors
        Of :func:`feature_errors`.
    share : float
        Share of all features that has 8 bits.
    ranks : sequence of dict of str to ndarray of float, shape (N,)
        Each ranking: a number for each feature, of which the greatest are selected.
    """
    found = []
    signal = sum(float(layer.signal.sum()) for layer in layers.values())
    least = sum(float(layer.narrow_loss.sum()) for layer in layers.values())
    for each in ranks:
        loss, noise = 0.0, 0.0
        for name, chosen in select_features(each, share).items():
            layer, wide = layers[name], np.zeros(len(each[name]), dtype=bool)
            wide[chosen] = True
            loss += float(np.where(wide, layer.wide_loss, layer.narrow_loss).sum())
            noise += float(np.where(wide, layer.wide_noise, layer.narrow_noise).sum())
        found.append(Selection(loss / least, _decibels(signal, noise)))
    return found
