"""``mixpe sizes``: the tables of sizes and ratios in the documents, from ``mixpe bench``."""

from pathlib import Path

from golden.softmax_parameters import SOFTMAX_SETS
from scripts import reports
from scripts.console import console
from scripts.files import Section

__all__ = ["main", "ratio_table", "design_table", "claim_table", "softmax_table"]

#: Softmax sets of the softmax table, each with its rival.
MEASURED_SOFTMAX = (SOFTMAX_SETS["attention"],)

#: Designs of README.md besides the best tile, by family; of a family of tiles those of its shape.
SHOWN = ("W4A8 shift_add", "W4A8 product", "W3A8 shift", "W4A16 aligned", "INT8 tile", "INT8 PE",
         "FP16 FMA", "dequantiser", "array")


def main(readme: Path, page: Path, output: Path) -> None:
    """Replace the tables between the markers of both files; make the reports that are missing.

    Raises
    ------
    click.UsageError
        If the markers are not there.
    """
    sections = Section(readme, "sizes"), Section(page, "sizes")
    report = reports.bench_report(None, output, 2)
    softmax = "".join(softmax_table(reports.softmax_report(parameters, None, output))
                      for parameters in MEASURED_SOFTMAX)
    tables = ratio_table(report) + design_table(report) + softmax, claim_table(report)
    for section, table in zip(sections, tables, strict=True):
        section.renew(table)
        console.print(f"Written to {section.path}")


def ratio_table(report: dict) -> str:
    """Markdown table of the ratios with a target, without those of the order."""
    rows = [claim for claim in report["ratios"] if not claim["name"].startswith("order ")]
    order = [claim for claim in report["ratios"] if claim["name"].startswith("order ")]
    lines = "".join(f"| {claim['name']} | {claim['ours']} | {claim['rival']} | "
                    f"{claim['value']:.3f} | {_target(claim)} | {_met(claim)} |\n"
                    for claim in rows)
    held = sum(claim["met"] for claim in order)
    return (f"| ratio | ours | rival | value | target | met |\n|---|---|---|--:|--:|---|\n{lines}\n"
            f"{held} of {len(order)} relations of the order of areas hold, mapped for area and for "
            f"a delay of {report['delay_ns']} ns. [Bench](docs/bench.md) has the method.\n\n")


def claim_table(report: dict) -> str:
    """Markdown table of all ratios with their anchors and methods."""
    lines = "".join(f"| {claim['name']} | {claim['value']:.3f} | {_target(claim)} | "
                    f"{_met(claim)} | {claim['anchor']} | {claim['method']} |\n"
                    for claim in report["ratios"])
    return ("| ratio | value | target | met | anchor | method |\n|---|--:|--:|---|---|---|\n"
            f"{lines}\n{_source(report)}")


def _target(claim: dict) -> str:
    """Target as it is written."""
    signs = {"<=": "≤", ">=": "≥", "<": "<"}
    return f"{signs[claim['comparison']]} {claim['target']:g}"


def _met(claim: dict) -> str:
    return "yes" if claim["met"] else "**no**"


def design_table(report: dict) -> str:
    """Markdown table of the best tile, those of its shape, and what it is measured against."""
    found = {each["name"]: each for each in report["designs"]}
    ours = found[report["best"]]
    chosen = [ours, *(each for family in SHOWN for each in report["designs"]
                      if each["family"] == family and each is not ours
                      and (each["block"] != "tile" or each["family"] == "INT8 PE"
                           or _shape(each) == _shape(ours)))]
    lines = []
    for each in chosen:
        energy = each["fj_per_mac"].get("fixture")
        memory = each["memory_gates_per_mac"]
        cells = [each["name"], f"{each['macs']:,}", f"{each['gates_per_mac']:.1f}",
                 f"{memory:.1f}" if memory else "", "" if energy is None else f"{energy:.0f}",
                 f"{each['period_ns']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |\n")
    return ("| design | MAC per cycle | GE per MAC | memories, GE per MAC | fJ per MAC | "
            f"period, ns |\n|---|--:|--:|--:|--:|--:|\n{''.join(lines)}\n{_source(report)}")


def _shape(each: dict) -> tuple[int, int, int]:
    """Rows, columns and lanes of a tile."""
    return tuple(each["set"][name] for name in ("tile_rows", "tile_columns", "lanes"))


def _source(report: dict) -> str:
    """How the numbers came about."""
    library, tools = report["library"], report["tools"]
    versions = ", ".join(f"{name} {number}" for name, number in tools.items())
    return (f"Measured by `make bench` with {versions}; library {library['name']} (NanGate 45 nm, "
            f"typical, {library['voltage']} V), Booth multipliers and one script for all. GE is "
            f"the area of a NAND2, {library['nand2_um2']:.3f} µm²; fJ is for weights of a "
            f"checkpoint layer and activations with outlier channels, at "
            f"{report['energy_period_ns']:.2f} ns or a longer period of the design's own. Left "
            f"out: {report['left_out']}.\n")


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
