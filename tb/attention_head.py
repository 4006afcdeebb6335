"""A causal attention head with made scores, and what EXAQ costs in it."""

from dataclasses import dataclass

import numpy as np

from golden.attention import weighted_values
from golden.exaq import (
    calibrate,
    constants,
    exact_softmax_reference,
    quantised_softmax,
)
from golden.formats import FORMATS
from golden.quantise import Activations, quantise_activations
from golden.softmax import SoftmaxResult, softmax
from golden.softmax_parameters import Constants, SoftmaxParameters
from golden.synthetic import causal_scores


@dataclass(frozen=True)
class QuantisedHead:
    """A head as the units compute it, with a clip from its own scores.

    Parameters
    ----------
    lo : float
        Lowest level.
    constants : Constants
        Of the softmax unit.
    values : Activations
        Vᵀ in int8, with a scale for each column of V.
    result : SoftmaxResult
        Codes and probabilities.
    outputs : ndarray of int64, shape (queries, columns)
        Codes of the outputs in fp32.
    """

    lo: float
    constants: Constants
    values: Activations
    result: SoftmaxResult
    outputs: np.ndarray


def quantised_head(unit: SoftmaxParameters, codes: np.ndarray, v: np.ndarray,
                   clip: str = "linear") -> QuantisedHead:
    """Quantise and compute a head of given scores, codes of (queries, tokens), and V."""
    lo = calibrate([unit.x_format.decode(codes)], unit.bits, clip).lo
    chosen, values = constants(lo, unit), quantise_activations(v.T, fmt="int8")
    result = softmax(codes, None, chosen, unit)
    return QuantisedHead(lo, chosen, values, result,
                         weighted_values(result, chosen, values, y="fp32"))


@dataclass(frozen=True)
class Errors:
    """Errors of a head against exact softmax.

    Parameters
    ----------
    lo : float
        Lowest level.
    probability : float
        Root mean square error of the probabilities that are not masked, relative to theirs, as
        the authors compute them.
    unit_probability : float
        The same of the unit's probabilities in fp16.
    output : float
        Root mean square error of the outputs, relative to theirs, of the authors' probabilities
        times real values.
    unit_output : float
        The same of the unit's codes times values in int8.
    """

    lo: float
    probability: float
    unit_probability: float
    output: float
    unit_output: float


def errors(sigma: float, bits: int, *, seed: int, clip: str = "linear", tokens: int = 256,
           columns: int = 64) -> Errors:
    """Errors of a head whose clip comes from its own scores."""
    rng = np.random.default_rng(seed)
    codes = causal_scores(sigma, tokens, rng)
    values = rng.normal(size=(tokens, columns))
    scores = FORMATS["fp16"].decode(codes)

    unit = SoftmaxParameters(name="head", bits=bits, max_length=tokens, y="fp16")
    head = quantised_head(unit, codes, values, clip)
    exact, floats = exact_softmax_reference(scores), quantised_softmax(scores, head.lo, bits)
    return Errors(head.lo, relative(floats, exact),
                  relative(FORMATS["fp16"].decode(head.result.probabilities), exact),
                  relative(floats @ values, exact @ values),
                  relative(FORMATS["fp32"].decode(head.outputs), exact @ values))


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    """Root mean square error, relative to the root mean square of what is exact."""
    return float(np.sqrt(((found - exact)**2).sum() / (exact**2).sum()))
