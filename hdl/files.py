"""Files that appear together and whole, or not at all."""

import errno
import os
import tempfile
from pathlib import Path

__all__ = ["write"]


def write(contents: dict[str, str], directory: Path) -> list[Path]:
    """Write files by name to a folder, which is made if need be; return their paths.

    Nothing appears before all are written, and each whole.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in contents:
        if (path := directory / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with tempfile.TemporaryDirectory(dir=directory) as staging:
        for name, content in contents.items():
            (Path(staging) / name).write_text(content, encoding="utf-8")
        for name in contents:
            (Path(staging) / name).replace(directory / name)
    return [directory / name for name in contents]
