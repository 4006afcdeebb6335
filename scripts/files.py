"""How the commands write their results."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

from hdl import files

__all__ = ["Section", "kept", "write"]


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; its folder is made if need be.

    What is there and no regular file, such as a pipe or a device, is written to as it is.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_text(text, encoding="utf-8")
        return
    files.write({path.name: text}, path.parent)


def kept(path: Path, usable: Callable[[dict], bool]) -> dict | None:
    """Report that an earlier run has left in a file, if there is one and it is usable."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return report if usable(report) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Section:
    """Part of a page that a command makes, between ``<!-- name: begin -->`` and ``... end -->``.

    It is read when it is made, before the long work, whose result :meth:`renew` writes.

    Parameters
    ----------
    path : Path
        The page.
    name : str
        What the two lines say.

    Raises
    ------
    click.UsageError
        If the page lacks one of the lines.
    """

    path: Path
    name: str
    _outside: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        begin, end = (f"<!-- {self.name}: {edge} -->\n" for edge in ("begin", "end"))
        before, first, rest = self.path.read_text(encoding="utf-8").partition(begin)
        _, second, after = rest.partition(end)
        if not (first and second):
            raise click.UsageError(
                f"{self.path} must have the lines {begin.strip()} and {end.strip()}")
        object.__setattr__(self, "_outside", (before + begin, end + after))

    def renew(self, text: str) -> None:
        """Write the page with another text between the lines."""
        before, after = self._outside
        write(self.path, before + text + after)
