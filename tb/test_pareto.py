"""The Pareto front against its definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.pareto import dominates, front

#: Points of one to three objectives; few values, so that ties and equal points are common.
POINTS = st.integers(1, 3).flatmap(lambda size: st.lists(
    st.tuples(*[st.integers(0, 4) | st.floats(0, 4)] * size), max_size=12))


def beats(first, second) -> bool:
    """Whether a point is at least as good everywhere, and not the same."""
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


@given(POINTS)
def test_front_is_what_no_point_beats(points):
    places = front(points)
    assert places == sorted(set(places))
    best = [points[place] for place in places]
    assert not any(beats(a, b) for a in points for b in best)
    others = [point for place, point in enumerate(points) if place not in places]
    assert all(any(beats(a, point) for a in best) for point in others)


@given(POINTS)
def test_equal_points_share_their_fate(points):
    places = front(points + points)
    assert places == front(points) + [len(points) + place for place in front(points)]


def test_points_must_have_as_many_objectives():
    with pytest.raises(ValueError, match="zip"):
        dominates((1, 2), (1, 2, 3))
