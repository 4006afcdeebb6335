"""What all parameter sets have in common: a name, rules of values, and a JSON form."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

__all__ = ["BaseParameters"]


@dataclass(frozen=True, kw_only=True)
class BaseParameters:
    """A named parameter set.

    Parameters
    ----------
    name : str
        Name of the set, a lower-case identifier of at most 32 characters.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    #: What a set of the class describes, a key of :data:`golden.sets.UNITS`.
    unit: ClassVar[str]

    name: str

    def _check_values(self, choices: Mapping[str, tuple[str | bool, ...]],
                      ranges: Mapping[str, tuple[int, int]]) -> None:
        """Refuse a bad name, a value that is not among the choices, an integer out of range."""
        if not re.fullmatch("[a-z][a-z0-9_]{0,31}", str(self.name)):
            raise ValueError("Name must be a lower-case identifier of at most 32 characters, "
                             f"not {self.name!r}")
        for field, allowed in choices.items():
            value = getattr(self, field)
            # Python takes 1 for True.
            if not any(type(value) is type(each) and value == each for each in allowed):
                raise ValueError(f"Parameter {field} must be one of "
                                 f"{', '.join(map(str, allowed))}, not {value!r}")
        for field, (low, high) in ranges.items():
            value = getattr(self, field)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"Parameter {field} must be an integer from {low} to {high}, "
                                 f"not {value!r}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a parameter set from :meth:`to_dict`."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ValueError(f"Parameters must be among {', '.join(sorted(known))}, "
                             f"not {', '.join(unknown)}")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := sorted(needed - values.keys()):
            raise ValueError(f"Parameters {', '.join(missing)} must be given")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form of this set."""
        return asdict(self)

    def replace(self, **changes: Any) -> Self:
        """Parameter set that differs in ``changes``."""
        return replace(self, **changes)
