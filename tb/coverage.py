r"""Coverage that Verilator records: points by module, merged over runs and instances.

A line of its file is ``C '<keys>' <count>``; each key is ``\1<name>\2<value>``. Of these are read
``page`` (kind and module), ``o`` (what the point is) and ``l`` (line in the source).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KINDS", "Point", "Counts", "read", "merged", "modules"]

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
