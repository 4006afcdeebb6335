"""Crosses of what a unit is sent and how: the bins that its benches must reach.

A bin has a value on each axis of its cross. What is listed is every combination that exists for a
parameter set; what is sampled comes from the ports.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from golden.parameters import ArrayParameters
from golden.softmax_parameters import SoftmaxParameters

__all__ = ["Bin", "Cross", "Collector", "GEMM", "SOFTMAX", "STALLS", "SHARES", "LASTS",
           "crosses"]

#: Values on the axes of a cross, in their order.
Bin = tuple[str | int, ...]

#: Who kept whom waiting within a command or a row: an input came late, an output was taken late.
STALLS = ("none", "source", "sink", "both")

#: Share of the cycles in which inputs and outputs pause, to have such stalls.
SHARES = {"none": (0, 0), "source": (0.3, 0), "sink": (0, 0.5), "both": (0.3, 0.5)}

#: Where TLAST was: at a command's end alone, before it, or not at its end.
LASTS = ("right", "early", "missing")


@dataclass(frozen=True)
class Cross:
    """Axes and the combinations of their values that exist.

    Parameters
    ----------
    name : str
        What reports call it.
    axes : dict of str to callable
        Values on each axis for a parameter set, by the names of the axes.
    exists : callable
        Whether a combination, given by the names of the axes, exists for a set.
    """

    name: str
    axes: dict[str, Callable[..., tuple[str | int, ...]]]
    exists: Callable[..., bool] = lambda p, **values: True

    def bins(self, parameters) -> list[Bin]:
        """Every bin of a parameter set."""
        names = list(self.axes)
        combinations = product(*(values(parameters) for values in self.axes.values()))
        return [each for each in combinations
                if self.exists(parameters, **dict(zip(names, each, strict=True)))]


class Collector:
    """Bins of some crosses that a bench has reached.

    Parameters
    ----------
    crosses : tuple of Cross
    parameters
        Set of the unit.
    """

    def __init__(self, crosses: tuple[Cross, ...], parameters):
        self._crosses = {cross.name: cross for cross in crosses}
        self.hits = {cross.name: dict.fromkeys(cross.bins(parameters), 0) for cross in crosses}

    def sample(self, cross: str, **values) -> None:
        """Count a bin; its values are given by the names of the axes.

        Raises
        ------
        ValueError
            If no such bin is listed: the list, or what samples, is wrong.
        """
        bin_ = tuple(values[axis] for axis in self._crosses[cross].axes)
        if bin_ not in self.hits[cross]:
            raise ValueError(f"Bin of cross {cross} must be listed, not {bin_}")
        self.hits[cross][bin_] += 1

    def missing(self, cross: str) -> list[Bin]:
        """Bins that were not reached."""
        return [bin_ for bin_, count in self.hits[cross].items() if not count]

    def named(self, cross: str, bin_: Bin) -> dict[str, str | int]:
        """Values of a bin by the names of the axes."""
        return dict(zip(self._crosses[cross].axes, bin_, strict=True))

    def report(self) -> list[dict]:
        """JSON-ready: bins, how many were hit, and the missing ones, of each cross."""
        return [{"cross": name, "bins": len(hits), "hit": sum(map(bool, hits.values())),
                 "missing": [self.named(name, bin_) for bin_ in self.missing(name)]}
                for name, hits in self.hits.items()]


def _weights(p: ArrayParameters) -> tuple[str, ...]:
    """Formats of the weights of a pass over the columns."""
    return (p.w, "uint8") if p.wide else (p.w,)


def _groups(p: ArrayParameters) -> tuple[str, ...]:
    """Group sizes: one for all of K, or the least, the most and any between of several."""
    sizes = range(p.least_group, p.group + 1, p.lanes)
    return ("one", "least", *["between"] * (len(sizes) > 2), *["most"] * (len(sizes) > 1))


def _zeros(p: ArrayParameters) -> tuple[str, ...]:
    """Zero points of weights."""
    return ("0", "positive") if p.max_zero else ("none",)


def _x_zeros(p: ArrayParameters) -> tuple[str, ...]:
    """Zero points of activations."""
    return ("negative", "0", "positive") if p.x_zero else ("none",)


def _signs(p: ArrayParameters) -> tuple[str, ...]:
    """Signs of the weights' scales."""
    return ("positive", "negative") if p.scale_format.signed else ("positive",)


def _streams(p: ArrayParameters) -> tuple[str, ...]:
    """Streams of operands of an engine."""
    return ("x", "w", "s", "sx", *["t"] * p.t_stream)


#: What is left over after whole blocks of rows or passes over the columns, and of K after whole
#: groups: nothing, whole beats, or a beat that is not full.
_REST = {
    "m": lambda p: ("whole", "rest") if p.rows > 1 else ("whole",),
    "k": lambda p: ("whole", "beats", "lanes") if p.lanes > 1 else ("whole", "beats"),
    "n": lambda p: ("whole", "rest"),
}


def _operands_exist(p: ArrayParameters, *, weights: str, n: str, **_) -> bool:
    """Passes of a single feature have no rest."""
    return n == "whole" or p.columns // (2 if p.wide and weights == "uint8" else 1) > 1


#: Commands of a GEMM engine. A command is in as many bins as its groups and columns have zero
#: points and scales.
GEMM = (
    Cross("operands", {
        "weights": _weights, "group": _groups, "zero": _zeros, "scale": _signs,
        "stalls": lambda p: STALLS, "last": lambda p: LASTS, **_REST,
    }, _operands_exist),
    Cross("zero points", {"weights": _weights, "zero": _zeros, "x_zero": _x_zeros,
                          "scale": _signs, "group": _groups}),
    Cross("ends of streams", {"stream": _streams, "last": lambda p: LASTS,
                              "stalls": lambda p: STALLS}),
)


#: Elements that a row needs at least for as many maxima, and to leave out as told.
_TIES = {"none": 0, "one": 1, "all": 2, "several": 3}
_LEFT_OUT = {"nothing": 0, "mask": 1, "-inf": 1, "both": 2, "all": 1}


def _rows_exist(p: SoftmaxParameters, *, length: str, rest: str, ties: str, left_out: str,
                **_) -> bool:
    """Whether a row of such a length has room for what is in it; without elements, no maximum."""
    whole = {"word": p.width, "words": p.width * (p.words - 1),
             "longest": p.max_length}[length]
    last  = p.max_length % p.width
    if length == "longest":
        most = p.max_length if (rest == "rest") == bool(last) else 0
    else:
        most = whole - (rest == "rest")
    return (ties == "none") == (left_out == "all") and most >= max(
        1, _TIES[ties] + _LEFT_OUT[left_out])


#: Rows of a softmax unit; those with an infinity or NaN apart, as they have no probabilities.
SOFTMAX = (
    Cross("rows", {
        "output":   lambda p: ("probabilities", "codes"),
        "length":   lambda p: ("word", "words", "longest"),
        "rest":     lambda p: ("whole", "rest"),
        "stalls":   lambda p: STALLS,
        "ties":     lambda p: tuple(_TIES),
        "left_out": lambda p: tuple(_LEFT_OUT),
    }, _rows_exist),
    Cross("invalid rows", {
        "output":  lambda p: ("probabilities", "codes"),
        "length":  lambda p: ("word", "words", "longest"),
        "stalls":  lambda p: STALLS,
        "special": lambda p: ("inf", "nan"),
    }),
    Cross("codes", {
        "code":   lambda p: (*range(p.levels), "masked"),
        "set":    lambda p: tuple(range(p.sets)),
        "stalls": lambda p: STALLS,
    }),
)


def crosses(parameters) -> tuple[Cross, ...]:
    """Crosses of a set's unit; none if it has none."""
    return {"array": GEMM, "softmax": SOFTMAX}.get(parameters.unit, ())
