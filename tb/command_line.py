"""The command ``mixpe`` run by tests: in a process of its own, or in this one, which is faster."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from scripts.mixpe import main

__all__ = ["invoke", "refuse", "run", "tree"]


def run(*arguments, cwd: Path, code: str = "", **options) -> subprocess.CompletedProcess:
    """Run the command in a process of its own, after the statements of ``code``."""
    program = f"{code}\nfrom scripts.mixpe import main\nmain()"
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], cwd=cwd,
                          env=environment, text=True, timeout=500,
                          **{"capture_output": True, **options})


def invoke(*arguments, cwd: Path) -> tuple[int, str, str]:
    """Run the command in this process; its exit status, standard output and error."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    status = 0
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]), chdir(cwd):
        try:
            main([*map(str, arguments)])
        except SystemExit as error:
            status = error.code or 0
        for stream in streams:
            stream.flush()
    output, errors = (stream.buffer.getvalue().decode() for stream in streams)
    return status, output, errors


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder and its contents."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}


def refuse(folder: Path, *arguments, message: str):
    """Expect one line on stderr, nothing on stdout, exit status 2 and no change in ``folder``."""
    before = tree(folder)
    assert invoke(*arguments, cwd=folder) == (2, "", f"mixpe: error: {message}\n")
    assert tree(folder) == before
