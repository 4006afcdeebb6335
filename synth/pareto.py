"""The Pareto front of measured designs."""

from collections.abc import Sequence

__all__ = ["dominates", "front"]


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether ``first`` is nowhere worse than ``second`` and somewhere better; less is better."""
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Places of the points that no other dominates, in the order given; equal points all stay.

    Parameters
    ----------
    points : sequence of sequence of float
        Objectives of each point, as many for each, all to be minimised. None may be NaN, which
        is neither better nor worse than anything.

    Examples
    --------
    >>> front([(1, 3), (2, 2), (2, 3), (3, 1), (2, 2)])
    [0, 1, 3, 4]
    """
    return [place for place, point in enumerate(points)
            if not any(dominates(other, point) for other in points)]
