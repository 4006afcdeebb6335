r"""Coverage that Verilator records: points by module, merged over runs and instances.

A line of its file is ``C '<keys>' <count>``; each key is ``\1<name>\2<value>``. Of these are read
``page`` (kind and module), ``o`` (what the point is) and ``l`` (line in the source).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["KINDS", "Point", "Counts", "read", "merged", "modules", "same_lines", "moved"]

#: Kinds of points by the page that Verilator puts them on: lines and branches of code, and
#: changes of a bit.
KINDS = {"v_line": "line", "v_branch": "line", "v_toggle": "toggle"}


@dataclass(frozen=True, order=True)
class Point:
    """Something that a run may reach.

    Parameters
    ----------
    module : str
        Verilog module.
    kind : str
        ``line`` or ``toggle``.
    name : str
        Of a line its text and what of it was reached, such as ``if``; of a toggle the bit and its
        change, such as ``count[3]:0->1``.
    """

    module: str
    kind: str
    name: str


#: How often each point was reached.
Counts = dict[Point, int]


def modules(source: str) -> dict[str, str]:
    """Text of each module of Verilog, by name."""
    return dict(re.findall(r"^(?=module (\w+))(.*?^endmodule)$", source,
                           re.MULTILINE | re.DOTALL))


def read(path: Path, source: str) -> Counts:
    """Points of a file that :func:`tb.runner.run` has written, and how often each was reached.

    Parameters
    ----------
    path : Path
        The file.
    source : str
        Verilog that was simulated; lines are named by their text.

    Raises
    ------
    ValueError
        If the file is not of the format.
    """
    lines, counts = source.splitlines(), {}
    starts = {name: number for number, line in enumerate(lines)
              for name in re.findall(r"^module (\w+)", line)}
    head, *body = path.read_text().splitlines()
    if head != "# SystemC::Coverage-3":
        raise ValueError(f"Coverage {path} must begin with # SystemC::Coverage-3, not {head!r}")
    for line in body:
        keys, count = _fields(path, line)
        page, _, module = keys["page"].partition("/")
        if (kind := KINDS.get(page)) is None or module not in starts:
            continue
        name = keys["o"].replace("__05F", "_")  # as Verilator writes a second underscore
        if kind == "line":
            number = int(keys["l"])
            name = f"{number - starts[module]}: {lines[number - 1].strip()}: {name}"
        point = Point(module, kind, name)
        counts[point] = counts.get(point, 0) + count
    return counts


def _fields(path: Path, line: str) -> tuple[dict[str, str], int]:
    """Keys and the count of a line."""
    match = re.fullmatch(r"C '(.*)' (\d+)", line)
    pairs = re.findall(r"\x01([^\x02]*)\x02([^\x01]*)", match[1]) if match else []
    if not {"page", "o", "l"} <= (keys := dict(pairs)).keys():
        raise ValueError(f"Coverage {path} must have points with page, o and l, not {line!r}")
    return keys, int(match[2])


def merged(runs: Iterable[Counts]) -> Counts:
    """Counts of several runs together."""
    total: Counts = {}
    for counts in runs:
        for point, count in counts.items():
            total[point] = total.get(point, 0) + count
    return total


# The same module in two designs

#: A wire without a name of its own. Their numbers, and the order in which Yosys writes what a
#: module has, depend on the whole design.
_UNNAMED = re.compile(r"\b_\d+_\b")


def same_lines(text: str, other: str) -> dict[int, int] | None:
    """For each line of a module's text the line that is the same in another text of the module.

    Lines are counted from 1. A wire without a name is the same if what drives it is.

    Returns
    -------
    dict of int to int or None
        None if it is another module.
    """
    ours, theirs = (_by_meaning(each) for each in (text, other))
    if {key: len(lines) for key, lines in ours.items()} != {
            key: len(lines) for key, lines in theirs.items()}:
        return None
    return {line: same for key, lines in ours.items()
            for line, same in zip(lines, theirs[key], strict=True)}


def moved(counts: Counts, lines: dict[int, int], text: str) -> Counts:
    """Points of a module, their lines named as they are in another text of it."""
    rows, found = text.splitlines(), {}
    for point, count in counts.items():
        if point.kind == "line":
            number, what = int(point.name.partition(":")[0]), point.name.rpartition(": ")[2]
            same = lines[number]
            point = Point(point.module, point.kind, f"{same}: {rows[same - 1].strip()}: {what}")
        found[point] = found.get(point, 0) + count
    return found


@lru_cache(64)
def _by_meaning(text: str) -> dict[tuple[str, int], list[int]]:
    """Lines by their statement, in which unnamed wires have names made of what drives them."""
    statements = list(_statements(text.splitlines()))
    drivers = defaultdict(list)
    for index, (_, statement) in enumerate(statements):
        left, _, right = re.sub(r"^(reg|wire|input|output).*", "", statement).partition("=")
        # An instance drives some of its ports; which, its own text does not say.
        for name in set(_UNNAMED.findall(left)) if right else _UNNAMED.findall(left):
            drivers[name].append(index)
    names, distinct = dict.fromkeys(drivers, ""), 1
    while True:
        names = {name: str(hash(tuple(sorted(_renamed(statements[index][1], names, name)
                                             for index in indices))))
                 for name, indices in drivers.items()}
        if distinct == (distinct := len(set(names.values()))):
            break
    found = defaultdict(list)
    for first, statement in statements:
        renamed = _renamed(statement, names)
        for offset in range(statement.count("\n") + 1):
            found[renamed, offset].append(1 + first + offset)
    return found


def _statements(lines: list[str]) -> Iterator[tuple[int, str]]:
    """First line and text of each: what is indented further belongs to the line before."""
    first = 0
    for number in range(1, len(lines) + 1):
        if number == len(lines) or not re.match(r"    |  \);", lines[number]):
            yield first, "\n".join(line.strip() for line in lines[first:number])
            first = number


def _renamed(statement: str, names: dict[str, str], own: str = "") -> str:
    """A statement with other names for the unnamed wires, and none for one of them."""
    return _UNNAMED.sub(lambda match: "_" if match[0] == own else names.get(match[0], "?"),
                        statement)
