"""Sweeps: which tiles to measure, from the axes of a TOML file."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from golden.parameters import ArrayParameters

__all__ = ["MAX_COMBINATIONS", "NAME", "PERIOD", "Point", "Sweep"]

#: Name of every set of a sweep, so that equal tiles have equal Verilog.
NAME = "point"

#: Combinations of all groups of axes.
MAX_COMBINATIONS = 100_000

#: Axis that is no parameter of a set: the period that cells are sized for.
PERIOD = "period"

#: Value of :data:`PERIOD` for the smallest cells.
NO_PERIOD = "none"


@dataclass(frozen=True)
class Point:
    """A tile to measure.

    Parameters
    ----------
    parameters : ArrayParameters
        Set of the tile, of the name :data:`NAME`.
    period : float or None
        Clock period in ns that its cells are sized for; None for the smallest cells.
    """

    parameters: ArrayParameters
    period: float | None

    def values(self) -> dict[str, Any]:
        """Value of each axis, in the words of the file."""
        values = self.parameters.to_dict()
        del values["name"]
        return values | {PERIOD: NO_PERIOD if self.period is None else self.period}


@dataclass(frozen=True)
class Sweep:
    """Tiles to measure.

    Parameters
    ----------
    name : str
        Name of its results.
    points : tuple of Point
        Tiles, each once.
    refused : dict of str to int
        Combinations of the axes that no array has, counted by the rule that they break.
    """

    name: str
    points: tuple[Point, ...]
    refused: dict[str, int]

    @classmethod
    def load(cls, path: Path) -> "Sweep":
        """Read a TOML file, whose name becomes the sweep's; :meth:`from_dict` has the form.

        Raises
        ------
        ValueError
            If the file is no sweep; the message names it.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"Sweep {path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"Sweep {path} is not TOML: {error}") from None
        except RecursionError:
            raise ValueError(f"Sweep {path} is not TOML: it is nested too deeply") from None
        try:
            return cls.from_dict(path.stem, values)
        except ValueError as error:
            raise ValueError(f"Sweep {path}: {error}") from None

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> "Sweep":
        """Sweep over every combination of the values of each group of axes.

        Parameters
        ----------
        name : str
            Name of the sweep.
        values : mapping
            ``base`` maps parameters to the value that they have in all points. ``axes`` is a list
            of groups, each a mapping of parameters, or :data:`PERIOD`, to lists of values.

        Raises
        ------
        ValueError
            If a key is not known, a parameter is missing, a list is none or has no value, a
            period is not one, there are more than :data:`MAX_COMBINATIONS`, or no combination is
            an array.

        Examples
        --------
        >>> sweep = Sweep.from_dict("small", {
        ...     "base": {"tile_rows": 1, "tile_columns": 1},
        ...     "axes": [{"mac": ["product", "pair_sum"], "lanes": [1, 2]}]})
        >>> [(point.parameters.mac, point.parameters.lanes) for point in sweep.points]
        [('product', 1), ('product', 2), ('pair_sum', 2)]
        >>> sweep.refused
        {'Parameter lanes must be even for mac pair_sum, not 1': 1}
        """
        _check_keys("Keys", values, ("base", "axes"))
        base, groups = values.get("base", {}), values.get("axes")
        if not isinstance(base, dict):
            raise ValueError(f"Key base must be a table, not {base!r}")
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            raise ValueError(f"Key axes must be a list of tables, not {groups!r}")
        known = [field.name for field in fields(ArrayParameters) if field.name != "name"]
        _check_keys("Parameters of base", base, known)
        for group in groups:
            _check_axes(group, [*known, PERIOD])
        count = sum(prod(map(len, group.values())) for group in groups)
        if count > MAX_COMBINATIONS:
            raise ValueError(f"Axes must have at most {MAX_COMBINATIONS} combinations in all, "
                             f"not {count}")
        points, refused = {}, Counter()
        for group in groups:
            for choice in _combinations(group):
                period = _period(choice.pop(PERIOD, NO_PERIOD))
                try:
                    parameters = ArrayParameters.from_dict({"name": NAME, **base, **choice})
                except ValueError as error:
                    refused[str(error)] += 1
                else:
                    points[Point(parameters, period)] = None
        if not points:
            reason = f": {next(iter(refused))}" if refused else ""
            raise ValueError(f"A combination of axes must be an array, none is{reason}")
        return cls(name, tuple(points), dict(refused))

    def varying(self) -> list[str]:
        """Axes whose value is not the same in all points, in the order of the parameters."""
        values = [point.values() for point in self.points]
        return [axis for axis in values[0] if len({each[axis] for each in values}) > 1]


def _check_keys(what: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    if unknown := sorted(table.keys() - set(known)):
        raise ValueError(f"{what} must be among {', '.join(sorted(known))}, "
                         f"not {', '.join(unknown)}")


def _check_axes(group: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse axes that are not known or have no list of values."""
    _check_keys("Axes", group, known)
    for axis, listed in group.items():
        if not isinstance(listed, list) or not listed:
            raise ValueError(f"Axis {axis} must be a list of values, not {listed!r}")
        if any(isinstance(value, (list, dict)) for value in listed):
            raise ValueError(f"Axis {axis} must have numbers, words or truth values, not {listed}")


def _combinations(group: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each choice of a value for each axis; the last axis changes fastest."""
    for choice in product(*group.values()):
        yield dict(zip(group, choice, strict=True))


def _period(value: object) -> float | None:
    """Period in ns, or None."""
    if value == NO_PERIOD:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1000:
        raise ValueError(f"Axis {PERIOD} must have periods in ns, above 0 and below 1000, "
                         f"or {NO_PERIOD!r}, not {value!r}")
    return float(value)
