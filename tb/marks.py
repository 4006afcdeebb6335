"""Which of some parameters the default tests take."""

import pytest

__all__ = ["first_by_default"]


def first_by_default(sets: list) -> list:
    """The first of some sets, and the others in the long tests."""
    return [sets[0], *(pytest.param(each, marks=pytest.mark.full) for each in sets[1:])]
