"""Where the commands print."""

from rich.console import Console

__all__ = ["console"]

#: At least as wide as the tables, so that a narrow terminal or a pipe does not break their words.
#: Names of layers and files are printed as they are, brackets and colons included.
console = Console(width=max(Console().width, 116), highlight=False, markup=False, emoji=False)
