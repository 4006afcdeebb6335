"""Yosys, from the ``pyosys`` package, in a process of its own: an error there ends the process.

``python -m hdl.yosys -q -l LOG SCRIPT`` runs a script as the program ``yosys`` does, for tools that
start one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

__all__ = ["YosysError", "YosysTimeout", "run", "main"]

_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in sys.stdin.read().splitlines():
    if line.strip():
        design.run_pass(line.strip())
"""


class YosysError(RuntimeError):
    """A script failed; the message is Yosys' own."""


class YosysTimeout(YosysError):
    """A script took too long."""


def run(script: str, *, directory: Path | None = None, log: Path | None = None,
        limit: float | None = None) -> str:
    """Run a script, one command a line.

    Parameters
    ----------
    script : str
        Commands.
    directory : Path, optional
        Working directory.
    log : Path, optional
        File that receives Yosys' output.
    limit : float, optional
        Seconds after which it is stopped.

    Returns
    -------
    str
        Yosys' output.

    Raises
    ------
    YosysError
        If a command fails; :class:`YosysTimeout` if the time is up.
    """
    try:
        process = subprocess.run([sys.executable, "-c", _RUNNER], input=script, cwd=directory,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 timeout=limit)
    except subprocess.TimeoutExpired:
        raise YosysTimeout(f"Yosys has not ended within {limit:g} seconds") from None
    if log is not None:
        log.write_text(process.stdout)
    if process.returncode:
        lines = process.stdout.strip().splitlines() or ["no output"]
        errors = [line for line in lines if "ERROR" in line]
        raise YosysError((errors or lines)[-1])
    return process.stdout


def main(arguments: list[str] | None = None) -> None:
    """Run a script file; an error is one line and exit status 1."""
    parser = argparse.ArgumentParser(prog="yosys", description="Run a script of Yosys.")
    parser.add_argument("-q", action="store_true", help="print nothing but errors")
    parser.add_argument("-l", dest="log", metavar="LOG", type=Path, help="file for the output")
    parser.add_argument("script", metavar="SCRIPT", type=Path)
    options = parser.parse_args(arguments)
    try:
        output = run(options.script.read_text(), log=options.log)
    except YosysError as error:
        sys.exit(str(error))
    if not options.q:
        print(output)


if __name__ == "__main__":
    main()
