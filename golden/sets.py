"""Parameter sets of every unit, by their names or from files."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from golden.parameters import SETS, ArrayParameters
from golden.softmax_parameters import (
    EXACT_SETS,
    SOFTMAX_SETS,
    BaselineParameters,
    SoftmaxParameters,
)
from golden.values_parameters import VALUES_SETS, ValuesParameters

__all__ = ["UNITS", "ALL_SETS", "Parameters", "parameter_set"]

Parameters = ArrayParameters | SoftmaxParameters | BaselineParameters | ValuesParameters

#: Classes of parameter sets by what they describe, which is ``unit`` in a file.
UNITS: dict[str, type[Parameters]] = {
    each.unit: each
    for each in (ArrayParameters, SoftmaxParameters, BaselineParameters, ValuesParameters)
}

#: What messages call them.
_CALLED = {
    "array": "an array", "softmax": "a softmax unit", "exact_softmax": "an exact softmax unit",
    "values": "a unit for codes times V",
}

#: Sets that come with mixpe; a name is that of one set whatever its unit.
ALL_SETS: dict[str, Parameters] = {**SETS, **SOFTMAX_SETS, **EXACT_SETS, **VALUES_SETS}


def parameter_set(source: str, units: Iterable[str] = tuple(UNITS)) -> Parameters:
    """Parameter set by its name, or from a TOML file.

    Parameters
    ----------
    source : str
        Key of :data:`ALL_SETS`, or the path of a file that ends in ``.toml``. Its ``unit``, a key
        of :data:`UNITS`, says what the set describes, an array if it is absent.
    units : iterable of str
        What the set may describe.

    Raises
    ------
    ValueError
        If there is no such set, it is of another unit, or the file is not one.

    Examples
    --------
    >>> parameter_set("attention").bits
    2
    >>> parameter_set("attention", ["array"])
    Traceback (most recent call last):
    ValueError: Parameter set must be an array, not a softmax unit as attention is
    """
    units = tuple(units)
    if not source.endswith(".toml"):
        names = [name for name, each in ALL_SETS.items() if each.unit in units]
        if source not in ALL_SETS:
            raise ValueError(f"Parameter set must be one of {', '.join(names)} or a .toml file, "
                             f"not {source!r}")
        _check_unit(ALL_SETS[source].unit, units, source)
        return ALL_SETS[source]
    values = {"name": Path(source).stem, **_read(source)}
    unit = values.pop("unit", "array")
    if unit not in list(UNITS):  # it may be of any type
        raise ValueError(f"Parameter unit must be one of {', '.join(UNITS)}, not {unit!r}")
    _check_unit(unit, units, source)
    return UNITS[unit].from_dict(values)


def _check_unit(unit: str, units: tuple[str, ...], source: str) -> None:
    if unit not in units:
        raise ValueError(f"Parameter set must be {' or '.join(_CALLED[each] for each in units)}, "
                         f"not {_CALLED[unit]} as {source} is")


def _read(path: str) -> dict[str, object]:
    """Content of a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"Parameter set {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"Parameter set {path} is not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"Parameter set {path} is not TOML: it is nested too deeply") from None
