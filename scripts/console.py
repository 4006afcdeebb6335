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


#: Seconds of the past that an estimate of the time left is made from; steps take long.
_PAST = 3600


@contextmanager
def progress(steps: int, text: str = "", *, estimate: bool = False) -> Iterator:
    """A bar that moves with each call of what is yielded, and says what is being done.

    ``text`` is said before the first call. With ``estimate`` steps are taken to last alike, and
    the time left is shown too; a call that ends more than one step says how many.
    """
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn()]
    if estimate:
        columns += [TextColumn("left"), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True, speed_estimate_period=_PAST) as bar:
        task = bar.add_task(text, total=steps)
        yield lambda text, work=1: bar.update(task, description=text, advance=work)
