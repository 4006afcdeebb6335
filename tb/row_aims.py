"""Rows that aim at bins of the crosses of a softmax unit."""

import numpy as np

from golden.softmax_parameters import SoftmaxParameters
from tb.crosses import SOFTMAX

__all__ = ["row"]


def _length(rng, p: SoftmaxParameters, kind: str, rest: str) -> int:
    """Number of elements of a row."""
    if kind == "longest":
        return p.max_length
    words = 1 if kind == "word" else int(rng.integers(2, min(p.words, 6)))
    return words * p.width - (int(rng.integers(1, p.width)) if rest == "rest" else 0)


def row(rng, p: SoftmaxParameters, values: dict) -> tuple[np.ndarray, np.ndarray, int]:
    """Row that is in a bin of some cross, what its values do not say being random."""
    fmt, minus = p.x_format, p.x_format.infinity | 1 << p.x_format.bits - 1
    kinds = {axis: str(rng.choice(SOFTMAX[0].axes[axis](p))) for axis in ("length", "rest")}
    n = _length(rng, p, values.get("length", kinds["length"]), values.get("rest", kinds["rest"]))
    # Below the maximum, 0, by little and by much, to have codes of every kind.
    x = fmt.encode(-np.abs(rng.normal(size=n)) * rng.choice([1, 4, 8]) - 2.0**-6)
    mask, places = np.zeros(n, dtype=bool), list(rng.permutation(n))
    left_out = values.get("left_out", "nothing")
    for kind in ("mask", "-inf"):
        if left_out in (kind, "both") and places:
            mask, x = _left_out(mask, x, places.pop(), kind, minus)
    if left_out == "all":
        for place in places:
            mask, x = _left_out(mask, x, place, str(rng.choice(["mask", "-inf"])), minus)
        places = []
    ties = values.get("ties", "one")
    if len(places) < {"none": 0, "one": 1, "all": 2, "several": 3}[ties]:
        return row(rng, p, values)  # some row has room, as the bin is listed
    count = {"none": 0, "one": 1, "all": len(places), "several": len(places) // 2 + 1}[ties]
    x[places[:count]] = 0
    if "special" in values:
        x[rng.integers(n)] = {"inf": fmt.infinity, "nan": fmt.nan}[values["special"]]
    if values.get("code") == "masked" and not mask.any():
        mask[rng.integers(n)] = n > 1
    return x, mask, int(values.get("set", rng.integers(p.sets)))


def _left_out(mask, x, place, kind, minus):
    """The same with an element left out."""
    mask, x = mask.copy(), x.copy()
    if kind == "mask":
        mask[place] = True
    else:
        x[place] = minus
    return mask, x
