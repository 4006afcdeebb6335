"""How the commands write their results."""

from pathlib import Path

from hdl import files

__all__ = ["write"]


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; its folder is made if need be.

    What is there and no regular file, such as a pipe or a device, is written to as it is.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_text(text, encoding="utf-8")
        return
    files.write({path.name: text}, path.parent)
