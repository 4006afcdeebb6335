"""How the commands write their results."""

import tempfile
from pathlib import Path

__all__ = ["write"]


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; its folder is made if need be.

    What is there and no regular file, such as a pipe or a device, is written to as it is.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as staging:
        written = Path(staging) / path.name
        written.write_text(text, encoding="utf-8")
        written.replace(path)
