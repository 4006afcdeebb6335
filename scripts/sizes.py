"""``mixpe sizes``: the table of sizes in README.md, from the reports of ``mixpe synth``."""

import json
from hashlib import sha256
from pathlib import Path

import click

from golden.parameters import SETS, ArrayParameters
from scripts import synth
from scripts.console import console
from scripts.files import write
from synth.liberty import DEFAULT

__all__ = ["main", "table"]

#: Sets of the table; all have the same formats.
MEASURED = tuple(SETS[name] for name in ("tiny", "paper", "edge", "fpga"))

BEGIN, END = "<!-- sizes: begin -->\n", "<!-- sizes: end -->\n"

_HEAD = """\
| set | MAC per cycle | array, kGE | memories, kGE | tile, GE per MAC | fJ per MAC | period, ns |
|---|--:|--:|--:|--:|--:|--:|
"""


def main(readme: Path, output: Path) -> None:
    """Replace the table between the markers of ``readme``; make the reports that are missing.

    Raises
    ------
    click.UsageError
        If the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise click.UsageError(f"{readme} must have the lines {BEGIN.strip()} and {END.strip()}")
    reports = []
    for parameters in MEASURED:
        path = output / f"{parameters.name}.json"
        if not _usable(path, parameters):
            synth.main(parameters, None, True, output)
        reports.append(json.loads(path.read_text()))
    before, _, rest = text.partition(BEGIN)
    write(readme, before + BEGIN + table(reports) + END + rest.partition(END)[2])
    console.print(f"Written to {readme}")


def _usable(path: Path, parameters: ArrayParameters) -> bool:
    """Whether a report is there that says what a new one would."""
    from hdl.array import Array
    from hdl.export import verilog

    try:
        report = json.loads(path.read_text())
        return (bool(report["tiles"][0]["fj_per_mac"])
                and report["library"]["name"] == DEFAULT.name
                and report["tools"] == synth.tools()
                and report["array"]["verilog_sha256"]
                == sha256(verilog(Array(parameters)).encode()).hexdigest())
    except (OSError, ValueError, KeyError):
        return False


def table(reports: list[dict]) -> str:
    """Markdown table of reports made with one library and the same tools."""
    lines = []
    for report in reports:
        array, (ours, int8, *_) = report["array"], report["tiles"]
        cells = [report["set"]["name"], f"{array['macs']:,}",
                 f"{(array['gates'] - array['memory_gates']) / 1000:.1f}",
                 f"{array['memory_gates'] / 1000:.1f}"]
        energies = [tile["fj_per_mac"]["real"] for tile in (ours, int8)]
        cells += [f"{ours['gates_per_mac']:.1f} ({int8['gates_per_mac']:.1f})",
                  "{:.0f} ({:.0f})".format(*energies),
                  f"{ours['period_ns']:.2f} ({int8['period_ns']:.2f})"]
        lines.append(f"| {' | '.join(cells)} |\n")
    library, tools = reports[0]["library"], reports[0]["tools"]
    versions = ", ".join(f"{name} {number}" for name, number in tools.items())
    return (f"{_HEAD}{''.join(lines)}\nIn brackets: an INT8 tile of the same shape. Measured by "
            f"`make sizes` with {versions}; library {library['name']} (NanGate 45 nm, typical, "
            f"{library['voltage']} V), Booth multipliers and one script for all. GE is the area of "
            f"a NAND2, {library['nand2_um2']:.3f} µm²; fJ is for weights of a checkpoint layer and "
            f"activations with outlier channels. "
            f"Left out: {reports[0]['left_out']}.\n")
