"""``mixpe sizes``: the tables of sizes in README.md, from the reports of ``mixpe synth``."""

import json
from hashlib import sha256
from pathlib import Path

import click

from golden.parameters import SETS, ArrayParameters
from golden.softmax_parameters import SOFTMAX_SETS, SoftmaxParameters
from scripts import softmax_synth, synth
from scripts.console import console
from scripts.files import write
from synth.liberty import DEFAULT

__all__ = ["main", "table", "softmax_table"]

#: Sets of the table; all have the same formats.
MEASURED = tuple(SETS[name] for name in ("tiny", "paper", "edge", "fpga"))

#: Softmax sets of the other table, each with its rival.
MEASURED_SOFTMAX = (SOFTMAX_SETS["attention"],)

BEGIN, END = "<!-- sizes: begin -->\n", "<!-- sizes: end -->\n"

_HEAD = """\
| set | MAC per cycle | array, kGE | memories, kGE | tile, GE per MAC | fJ per MAC | period, ns |
|---|--:|--:|--:|--:|--:|--:|
"""


def main(readme: Path, output: Path) -> None:
    """Replace the tables between the markers of ``readme``; make the reports that are missing.

    Raises
    ------
    click.UsageError
        If the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise click.UsageError(f"{readme} must have the lines {BEGIN.strip()} and {END.strip()}")
    tables = table([_report(parameters, output) for parameters in MEASURED])
    tables += "".join(softmax_table(_report(parameters, output)) for parameters in MEASURED_SOFTMAX)
    before, _, rest = text.partition(BEGIN)
    write(readme, before + BEGIN + tables + END + rest.partition(END)[2])
    console.print(f"Written to {readme}")


def _report(parameters: ArrayParameters | SoftmaxParameters, output: Path) -> dict:
    """Report of a set, made anew if none is there that says what a new one would."""
    path = output / f"{parameters.name}.json"
    command, usable = ((synth, _usable) if isinstance(parameters, ArrayParameters)
                       else (softmax_synth, _usable_softmax))
    try:
        report = json.loads(path.read_text())
        if (report["library"]["name"] == DEFAULT.name and report["tools"] == synth.tools()
                and usable(report, parameters)):
            return report
    except (OSError, ValueError, KeyError):
        pass
    command.main(parameters, None, True, output)
    return json.loads(path.read_text())


def _usable(report: dict, parameters: ArrayParameters) -> bool:
    """Whether a report has energies, and is of the array as it is now."""
    from hdl.array import Array

    return (bool(report["tiles"][0]["fj_per_mac"])
            and report["array"]["verilog_sha256"] == _digest(Array(parameters)))


def _usable_softmax(report: dict, parameters: SoftmaxParameters) -> bool:
    """Whether a report has energies, and is of both units as they are now."""
    return all(unit["fj_per_element"] is not None
               and unit["verilog_sha256"] == _digest(softmax_synth.core(each))
               for unit, each in zip(report["units"], (parameters, parameters.baseline()),
                                     strict=True))


def _digest(block) -> str:
    """Digest of the Verilog of a block."""
    from hdl.export import verilog

    return sha256(verilog(block).encode()).hexdigest()


def table(reports: list[dict]) -> str:
    """Markdown table of reports made with one library and the same tools."""
    lines = []
    for report in reports:
        array, (ours, int8, *_) = report["array"], report["tiles"]
        cells = [report["set"]["name"], f"{array['macs']:,}",
                 f"{(array['gates'] - array['memory_gates']) / 1000:.1f}",
                 f"{array['memory_gates'] / 1000:.1f}"]
        energies = [tile["fj_per_mac"]["fixture"] for tile in (ours, int8)]
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


_SOFTMAX_HEAD = """
| softmax unit | lanes | GE per lane | row buffers, kbit | fJ per element | period, ns |
|---|--:|--:|--:|--:|--:|
"""


def softmax_table(report: dict) -> str:
    """Markdown table of a softmax unit and its rival."""
    rows = [[unit["set"]["name"], str(unit["set"]["width"]), f"{unit['gates_per_lane']:,.0f}",
             f"{unit['row_buffer_bits'] / 1000:,.0f}", f"{unit['fj_per_element']:,.0f}",
             f"{unit['period_ns']:.2f}"] for unit in report["units"]]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return (f"{_SOFTMAX_HEAD}{lines}\nThe same library and tools; fJ at the longer period, for "
            f"normal logits. Left out: {report['left_out']}. [Softmax](docs/softmax.md#measured) "
            "has more.\n")
