"""Where the commands print, and how they show that they are at work."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["console", "progress"]

#: At least as wide as the tables, so that a narrow terminal or a pipe does not break their words.
#: Names of layers and files are printed as they are, brackets and colons included.
console = Console(width=max(Console().width, 116), highlight=False, markup=False, emoji=False)


@contextmanager
def progress(steps: int) -> Iterator:
    """A bar that moves with each call of what is yielded, and says what is being done.

    It shows the time that has passed, and an estimate of what is left.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=steps)
        yield lambda text: bar.update(task, description=text, advance=1)
