"""What is claimed of a block, how it is proved, and copies of the block of which it is false."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["METHODS", "Broken", "Property", "copy"]

#: How a claim is proved, and what that says.
METHODS = {
    "algebra":       "the netlist of full width is rewritten to a polynomial of its input bits",
    "combinational": "a solver finds no values of the inputs and registers that break it",
    "induction":     "no state that a reset leads to breaks it, and no state in which it held for "
                     "as many cycles as the depth says leads to one that does",
    "bounded":       "nothing that can be done in as many cycles from a reset as the depth says "
                     "breaks it",
}


@dataclass(frozen=True)
class Broken:
    """A copy of a module with a mistake, of which a claim must be refuted.

    Parameters
    ----------
    text : str
        What stands in the module's source, once.
    instead : str
        The mistake.
    case : str
        Case of the property, the first if empty.
    depth : int
        Cycles after which the mistake shows; the property's if 0.
    """

    text: str
    instead: str
    case: str = ""
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Property:
    """A claim about a module of ``hdl``, for each of some cases.

    Parameters
    ----------
    name : str
        Lower-case words with hyphens, unique.
    family : str
        Properties that belong together.
    claim : str
        What is proved, and under which assumption, in one sentence.
    module : str
        Dotted name of the module that is copied with mistakes.
    cases : mapping of str to Any
        Parameter sets, or widths, by what the report calls them.
    build : callable
        From the module, or a broken copy, and a case: what is proved, a
        :class:`tb.formal.harness.Harness` or a :class:`tb.formal.algebra.Identity`.
    method : str
        Key of :data:`METHODS`.
    depth : int
        Most cycles of an induction, or cycles of a bounded proof; 1 otherwise.
    broken : tuple of Broken
        Mistakes, at least one.
    short : bool
        Whether it is cheap enough for every run of the tests, with its first case.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    name: str
    family: str
    claim: str
    module: str
    cases: Mapping[str, Any] = field(hash=False)
    build: Callable[[ModuleType, Any], Any]
    method: str
    depth: int = 1
    broken: tuple[Broken, ...]
    short: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Parameter method of {self.name} must be one of "
                             f"{', '.join(METHODS)}, not {self.method!r}")
        if not self.cases:
            raise ValueError(f"Parameter cases of {self.name} must not be empty")
        if not self.broken:
            raise ValueError(f"Parameter broken of {self.name} must not be empty")
        if (self.method in ("algebra", "combinational")) != (self.depth == 1):
            raise ValueError(f"Parameter depth of {self.name} must be 1 for algebra and "
                             f"combinational, and more otherwise, not {self.depth}")

    def case_of(self, broken: Broken) -> str:
        """Case in which a broken copy is refuted."""
        return broken.case or next(iter(self.cases))


def copy(name: str, broken: Broken | None) -> ModuleType:
    """A module, or a copy of it with a mistake; what it imports is as it is.

    Raises
    ------
    ValueError
        If the text does not stand in the source once.

    Examples
    --------
    >>> copy("hdl.counter", Broken("class Counter", "class Other")).Other.__name__
    'Other'
    """
    module = import_module(name)
    if broken is None:
        return module
    source = Path(module.__file__).read_text(encoding="utf-8")
    if (count := source.count(broken.text)) != 1:
        raise ValueError(f"Text of a broken copy of {name} must stand there once, not {count} "
                         f"times: {broken.text!r}")
    made = ModuleType(name)
    made.__file__, made.__package__ = module.__file__, module.__package__
    exec(compile(source.replace(broken.text, broken.instead), f"{name}, broken", "exec"),
         made.__dict__)
    return made
