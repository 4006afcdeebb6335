"""Cell libraries in the Liberty format with NLDM tables: what area, timing and power need."""

import hashlib
import os
import pickle
import re
import tempfile
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from synth.boolean import Expression, states

__all__ = ["DEFAULT", "LibraryError", "Table", "Arc", "Energy", "Pin", "Register", "Cell", "Adder",
           "Select", "ClockGate", "Library"]

#: NanGate 45 nm, typical, 1.1 V, 25 °C; see docs/cell-libraries.md.
DEFAULT = (Path(__file__).parent.parent
           / "build" / "cells" / "adks" / "freepdk-45nm" / "view-tiny" / "stdcells.lib")


_CACHE = Path(__file__).parent.parent / "build" / "liberty"


class LibraryError(ValueError):
    """A Liberty file cannot be used; one line says why."""


@dataclass(frozen=True)
class Table:
    """A function of two variables, linear between the points and beyond the outermost two.

    Parameters
    ----------
    axes : tuple of two tuples of float
        Points, at least two of each: of the transition time at the pin itself (ns), and of the
        output load (fF) or of the transition time at the clock (ns).
    values : tuple of tuples of float
        ``values[i][j]`` at ``axes[0][i], axes[1][j]``.
    """

    axes: tuple[tuple[float, ...], tuple[float, ...]]
    values: tuple[tuple[float, ...], ...]

    def __call__(self, first: float, second: float) -> float:
        """Interpolate."""
        rows, columns = self.axes
        i = bisect_right(rows, first, 1, len(rows) - 1) - 1
        j = bisect_right(columns, second, 1, len(columns) - 1) - 1
        u = (first - rows[i]) / (rows[i + 1] - rows[i])
        v = (second - columns[j]) / (columns[j + 1] - columns[j])
        low, high = self.values[i], self.values[i + 1]
        return ((1 - u) * ((1 - v) * low[j] + v * low[j + 1])
                + u * ((1 - v) * high[j] + v * high[j + 1]))


@dataclass(frozen=True)
class Arc:
    """A ``timing`` group: how an edge at ``related`` moves a pin, or constrains it.

    Parameters
    ----------
    related : tuple of str
        Pins that the arc starts from.
    kind : str
        ``timing_type``; ``combinational`` if absent.
    sense : str
        ``positive_unate``, ``negative_unate`` or ``non_unate``.
    delay, transition, constraint : tuple of (Table or None, Table or None)
        For a fall and a rise of the pin, in ns.
    """

    related: tuple[str, ...]
    kind: str
    sense: str
    delay: tuple[Table | None, Table | None]
    transition: tuple[Table | None, Table | None]
    constraint: tuple[Table | None, Table | None]


@dataclass(frozen=True)
class Energy:
    """An ``internal_power`` group: energy inside the cell for an edge at a pin.

    Parameters
    ----------
    related : tuple of str
        Input pins that cause the edge; empty if the pin is an input.
    when : Expression or None
        States of the cell that the energy is for; None for all.
    edges : tuple of (Table or None, Table or None)
        For a fall and a rise of the pin, in fJ.
    """

    related: tuple[str, ...]
    when: Expression | None
    edges: tuple[Table | None, Table | None]


@dataclass(frozen=True)
class Pin:
    """A signal pin; ``capacitance`` in fF, ``function`` of the other pins for an output."""

    direction: str
    capacitance: float
    clock: bool
    function: Expression | None
    arcs: tuple[Arc, ...]
    energies: tuple[Energy, ...]


@dataclass(frozen=True)
class Register:
    """An ``ff`` group: ``state`` and its complement take ``next`` when ``clock`` rises."""

    state: str
    complement: str
    clock: Expression
    next: Expression
    clear: Expression | None
    preset: Expression | None


@dataclass(frozen=True)
class ClockGate:
    """Pins of an integrated clock gate for registers that capture on the rising edge.

    A latch follows ``enable`` while ``clock`` is low; ``output`` is the AND of it and the clock, so
    that the enable of a cycle decides on the edge that ends it.
    """

    clock: str
    enable: str
    output: str


@dataclass(frozen=True)
class Cell:
    """A cell; ``area`` in um2, ``leakage`` in nW for the states that an expression names."""

    name: str
    area: float
    pins: dict[str, Pin]
    register: Register | None
    leakage: tuple[tuple[Expression | None, float], ...]
    usable: bool
    clock_gate: ClockGate | None

    @property
    def sequential(self) -> bool:
        """Whether the cell holds a state: a register or a clock gate."""
        return bool(self.register or self.clock_gate)

    @property
    def inputs(self) -> list[str]:
        """Names of the input pins."""
        return [name for name, pin in self.pins.items() if pin.direction == "input"]

    @property
    def outputs(self) -> list[str]:
        """Names of the output pins."""
        return [name for name, pin in self.pins.items() if pin.direction == "output"]


@dataclass(frozen=True)
class Adder:
    """A cell that adds two or three bits, with the roles of its pins."""

    cell: str
    inputs: tuple[str, ...]
    sum: str
    carry: str


@dataclass(frozen=True)
class Select:
    """A cell that selects one of three bits or none and inverts: its pins, line and bit in turn."""

    cell: str
    inputs: tuple[str, ...]
    output: str


class Library:
    """A cell library.

    Attributes
    ----------
    path : Path
        Liberty file.
    name : str
        Name of the library.
    voltage : float
        Nominal supply, V.
    cells : dict of str to Cell
        Cells in the order of the file.
    """

    def __init__(self, path: Path, group: "_Group"):
        self.path = path
        self.name = group.name
        self._units(group)
        self._templates = {child.name: child for child in group.children
                           if child.id in ("lu_table_template", "power_lut_template")}
        self._pin_capacitance = float(group.get("default_input_pin_cap", 0))
        self.cells = {child.name: self._cell(child) for child in group.all("cell")}

    @classmethod
    def load(cls, path: Path = DEFAULT) -> "Library":
        """Read a Liberty file: some seconds the first time, less than one from then on.

        Raises
        ------
        LibraryError
            If the file is missing, is not Liberty, or lacks what a library of cells must have.
        """
        path = Path(path).resolve()
        try:
            content = path.read_bytes()
            key = hashlib.sha256(content + Path(__file__).read_bytes()).hexdigest()[:16]
            cached = _CACHE / f"{key}.pickle"
            if cached.exists():
                library = pickle.loads(cached.read_bytes())
                library.path = path
                return library
            library = cls(path, _parse(content.decode(errors="replace")))
        except (KeyError, ValueError, OSError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if isinstance(error, KeyError):
                reason = f"{error.args[0]} is missing"
            raise LibraryError(f"Cell library {path}: {reason}") from None
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=_CACHE, delete=False) as file:
            pickle.dump(library, file)
        os.replace(file.name, cached)
        return library

    @property
    def nand2_area(self) -> float:
        """Area in um2 of the smallest two-input NAND: one gate equivalent (GE).

        Raises
        ------
        LibraryError
            If there is none.
        """
        return self._nand2.area

    @property
    def nand2_load(self) -> float:
        """Input capacitance in fF of the same NAND, the mean of its pins'."""
        return sum(self._nand2.pins[name].capacitance for name in self._nand2.inputs) / 2

    @cached_property
    def full_adder(self) -> Adder | None:
        """Smallest cell with the sum and the carry of three bits, whatever its pins' names."""
        return self._adder(3, lambda a, b, c: a ^ b ^ c, lambda a, b, c: a & b | c & (a | b))

    @cached_property
    def half_adder(self) -> Adder | None:
        """Smallest cell with the sum and the carry of two bits, whatever its pins' names."""
        return self._adder(2, lambda a, b: a ^ b, lambda a, b: a & b)

    @cached_property
    def and_or_invert(self) -> "Select | None":
        """Smallest cell that inverts the OR of three ANDs of two pins, next to each other."""
        found = self._find(6, lambda a, b, c, d, e, f: ~(a & b | c & d | e & f))
        return found and Select(found[0].name, tuple(found[0].inputs), *found[1])

    @cached_property
    def clock_gate(self) -> Cell | None:
        """Smallest clock gate."""
        found = [cell for cell in self.cells.values() if cell.clock_gate and cell.usable]
        return min(found, key=lambda cell: cell.area, default=None)

    @cached_property
    def buffer(self) -> str | None:
        """Smallest buffer."""
        return self.buffers[0].name if self.buffers else None

    @cached_property
    def buffers(self) -> list[Cell]:
        """Buffers, the smallest first."""
        return [cell for cell, _ in self._find_all(1, lambda a: a)]

    @cached_property
    def _nand2(self):
        found = self._find(2, lambda a, b: ~(a & b))
        if found is None:
            raise LibraryError(f"Cell library {self.path}: there is no two-input NAND")
        return found[0]

    def _adder(self, count, total, carry):
        found = self._find(count, total, carry)
        return found and Adder(found[0].name, tuple(found[0].inputs), *found[1])

    def _find(self, count, *functions):
        """The smallest of :meth:`_find_all`, or None."""
        found = self._find_all(count, *functions)
        return found[0] if found else None

    def _find_all(self, count, *functions):
        """Cells of ``count`` inputs with exactly these outputs, and the outputs' names, by area."""
        found = []
        for cell in self.cells.values():
            outputs = [cell.pins[name].function for name in cell.outputs]
            if (cell.register or not cell.usable or len(cell.inputs) != count
                    or len(outputs) != len(functions) or None in outputs
                    or any(not output.names <= set(cell.inputs) for output in outputs)):
                continue
            values = states(cell.inputs)
            tables = {name: cell.pins[name].function.table(values) for name in cell.outputs}
            roles = [next((name for name, table in tables.items()
                           if np.array_equal(table, function(*values.values()))), None)
                     for function in functions]
            if None not in roles:
                found.append((cell, roles))
        return sorted(found, key=lambda pair: pair[0].area)

    def _units(self, group):
        """Set the voltage and what brings the file's units to ns, fF, fJ and nW."""
        scale = {"a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}

        def quantity(text, unit):
            match = re.fullmatch(rf"([\d.eE+-]+)\s*([afpnum]?){unit}", text.strip(), re.IGNORECASE)
            if not match:
                raise ValueError(f"a unit must be a number of {unit}, not {text!r}")
            return float(match[1]) * scale[match[2].lower()]

        conditions = [child.get("voltage") for child in group.all("operating_conditions")]
        voltage = group.get("nom_voltage") or next(filter(None, conditions), None)
        if voltage is None:
            raise KeyError("nom_voltage")
        volt = quantity(group.get("voltage_unit", "1V"), "V")
        self.voltage = float(voltage) * volt
        self._ns = quantity(group.get("time_unit", "1ns"), "s") / 1e-9
        self._ff = quantity(" ".join(group.one("capacitive_load_unit").args), "f") / 1e-15
        self._nw = quantity(group.get("leakage_power_unit", "1nW"), "W") / 1e-9
        # Liberty has no unit of energy: it is the unit of capacitance times the square of that of
        # voltage.
        self._fj = self._ff * volt ** 2

    def _cell(self, group):
        flip_flop = next(group.all("ff"), None)
        register = flip_flop and Register(
            *flip_flop.args, *map(_expression, (flip_flop["clocked_on"], flip_flop["next_state"],
                                                flip_flop.get("clear"), flip_flop.get("preset"))))
        pins = {name: self._pin(pin) for pin in group.all("pin") for name in pin.args}
        leakage = [(_expression(entry.get("when")), float(entry["value"]) * self._nw)
                   for entry in group.all("leakage_power")]
        if all(when for when, _ in leakage):
            leakage.append((None, float(group.get("cell_leakage_power", 0)) * self._nw))
        return Cell(group.name, float(group.get("area", 0)), pins, register, tuple(leakage),
                    group.get("dont_use") != "true", _clock_gate(group))

    def _pin(self, group):
        arcs = tuple(Arc(tuple(arc.get("related_pin", "").split()),
                         arc.get("timing_type", "combinational"),
                         arc.get("timing_sense", "non_unate"),
                         self._edges(arc, "cell_{}", self._ns, self._ff),
                         self._edges(arc, "{}_transition", self._ns, self._ff),
                         self._edges(arc, "{}_constraint", self._ns, self._ns))
                     for arc in group.all("timing"))
        energies = tuple(Energy(tuple(energy.get("related_pin", "").split()),
                                _expression(energy.get("when")),
                                self._edges(energy, "{}_power", self._fj, self._ff))
                         for energy in group.all("internal_power"))
        direction = group["direction"]
        default = self._pin_capacitance if direction == "input" else 0
        function = None if group.get("three_state") else _expression(group.get("function"))
        return Pin(direction, float(group.get("capacitance", default)) * self._ff,
                   "true" in (group.get("clock"), group.get("clock_gate_clock_pin")), function,
                   arcs, energies)

    def _edges(self, group, name, unit, second):
        """Tables for a fall and a rise."""
        found = [next(group.all(name.format(edge)), None) for edge in ("fall", "rise")]
        if name == "{}_power" and (both := next(group.all("power"), None)):
            found = [both, both]
        return tuple(table and self._table(table, unit, second) for table in found)

    def _table(self, group, unit, second):
        """Table of values in ``unit``, its second axis in ``second``, the first in ns."""
        template = self._templates.get(group.name, group)
        axes = []
        for number in (1, 2):
            points = next(group.all(f"index_{number}"), None) or next(
                template.all(f"index_{number}"), None)
            if points:
                variable = template.get(f"variable_{number}", f"variable_{number}")
                axes.append((variable, _numbers(points.args)))
        values = np.array(_numbers(group.one("values").args)) * unit
        if values.size == 1:
            axes = []
        values = values.reshape([len(points) for _, points in axes] or [1])
        loads = ("total_output_net_capacitance", "related_pin_transition", "variable_2")
        is_second = [variable in loads for variable, _ in axes]
        if is_second == [True, False]:
            axes, values = axes[::-1], values.T
        elif is_second == [True]:
            values = values[np.newaxis, :]
        elif len(axes) < 2:
            values = values[:, np.newaxis]
        scaled = [(0.0, 1.0), (0.0, 1.0)]
        for variable, points in axes:
            place = variable in loads
            scaled[place] = tuple(point * (second if place else self._ns) for point in points)
        # A variable that is absent, or has one point, does not matter.
        values = np.repeat(values, 2, axis=0) if values.shape[0] == 1 else values
        values = np.repeat(values, 2, axis=1) if values.shape[1] == 1 else values
        scaled = [points if len(points) > 1 else (0.0, 1.0) for points in scaled]
        return Table(tuple(scaled), tuple(map(tuple, values.tolist())))


def _clock_gate(group):
    """Roles of the pins of a clock gate that needs nothing but a clock and an enable."""
    if group.get("clock_gating_integrated_cell") != "latch_posedge":
        return None
    roles = [f"clock_gate_{role}_pin" for role in ("clock", "enable", "out")]
    pins = {role: pin.name for pin in group.all("pin") for role in roles if pin.get(role) == "true"}
    for role in roles:
        if role not in pins:
            raise KeyError(f"{role} of cell {group.name}")
    return ClockGate(*(pins[role] for role in roles))


def _expression(text):
    return Expression.parse(text) if text else None


def _numbers(words):
    return [float(word) for word in words]


@dataclass(frozen=True)
class _Group:
    """A group of the file, or an attribute, which has no children."""

    id: str
    value: str
    arguments: str
    children: "list[_Group]"

    @property
    def args(self):
        """Words between the parentheses; a string may hold several."""
        return re.sub('[",]', " ", self.arguments).split()

    @property
    def name(self):
        return next(iter(self.args), "")

    def all(self, key):
        return (child for child in self.children if child.id == key)

    def one(self, key):
        return next(self.all(key), None) or self._missing(key)

    def get(self, key, default=None):
        found = next(self.all(key), None)
        return default if found is None else found.value

    def __getitem__(self, key):
        return self.one(key).value

    def _missing(self, key):
        raise KeyError(" ".join([key, "of", self.id, *self.args[:1]]))


_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'

# A comment, or a string, in which nothing is a comment. One without an end takes the rest of the
# file, so that no text is searched twice.
_COMMENT = re.compile(rf"""
    (?P<string> {_STRING} | ".* ) | /\* .*? (?: \*/ | \Z ) | // [^\n]*
    """, re.DOTALL | re.VERBOSE)

# `name (arguments);`, `name (arguments) {`, `name : value;` or `}`. The end of the line may stand
# for the semicolon.
_STATEMENT = re.compile(rf"""
    (?: (?P<end> \}} )
      | (?P<id> \w+ ) \s*
        (?: \( (?P<arguments> [^()"]* (?: {_STRING} [^()"]* )* ) \) \s* (?P<group> \{{ )?
          | : \s* (?=[^\s;}}]) (?P<value> [^;"\n{{}}]* (?: {_STRING} [^;"\n{{}}]* )* ) ) )
    [\s;]*
    """, re.DOTALL | re.VERBOSE)


def _parse(text):
    """Group of the file's library."""
    # A comment leaves its ends of lines, for the number in the message.
    text = _COMMENT.sub(lambda match: match["string"] or " " + "\n" * match[0].count("\n"), text)
    text = re.sub(r"\\(?=[^\S\n]*\n)", "", text)
    file = _Group("file", "", "", [])
    unfinished = [file]
    position = len(text) - len(text.lstrip())
    while unfinished and (match := _STATEMENT.match(text, position)):
        position = match.end()
        if match["end"]:
            unfinished.pop()
            continue
        child = _Group(match["id"], (match["value"] or "").strip().strip('"'),
                       match["arguments"] or "", [])
        unfinished[-1].children.append(child)
        if match["group"]:
            unfinished.append(child)
    if position < len(text) and file.children:
        line = text.count("\n", 0, position) + 1
        excerpt = text[position:position + 40].partition("\n")[0]
        raise ValueError(f"syntax error in line {line}: {excerpt!r}")
    if unfinished != [file] or [child.id for child in file.children] != ["library"]:
        raise ValueError("not one whole library group")
    return file.children[0]
