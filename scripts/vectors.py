"""``mixpe vectors``: the float arithmetic of every block against two independent references."""

import time
from concurrent.futures import as_completed
from pathlib import Path

import click
from rich import box
from rich.table import Table

from hdl.export import digest
from scripts.console import console, progress
from scripts.files import Section
from scripts.processes import processes
from scripts.proofs import basis, finish
from tb.vectors import LEVEL_1, OPERATIONS, Operation, Result

__all__ = ["REFERENCES", "SECTION", "main", "table"]

#: Where the results must come from.
REFERENCES = {"numpy": "numpy and ml_dtypes", "ieee754": "IEEE 754 in exact integers"}

#: Part of the page that shows the table.
SECTION = "vectors"


def main(count: int | None, seed: int, workers: int, page: Path | None, output: Path,
         chosen: list[Operation] | None = None) -> dict:
    """Run the operations, print the table, write ``<output>/vectors.json``; return the report.

    Parameters
    ----------
    count : int, optional
        Vectors of an operation, :data:`tb.vectors.LEVEL_1` if absent; corners come on top, and
        small spaces are taken whole.
    seed : int
        Seed of the random vectors.
    workers : int
        Processes.
    page : Path, optional
        Page whose table is renewed.
    output : Path
        Folder of the report.
    chosen : list of Operation, optional
        All of :data:`tb.vectors.OPERATIONS` if absent.

    Raises
    ------
    click.ClickException
        If a result of the hardware differs from a reference; the report is written before.
    """
    count = LEVEL_1 if count is None else count
    section = Section(page, SECTION) if page else None
    every = OPERATIONS if chosen is None else chosen
    began = time.monotonic()
    entries, wrong = {}, []
    with processes(workers) as pool, progress(len(every), "vectors", estimate=True) as step:
        tasks = {pool.submit(_task, OPERATIONS.index(each), count, seed): each for each in every}
        for task in as_completed(tasks):
            each = tasks[task]
            result, sha256, module = task.result()
            entries[each.name, each.parameters.name] = _entry(each, result, sha256, module)
            if result.first:
                wrong.append(result.first)
            step(f"{each.name} of {each.parameters.name}")
    report = {**basis(), "references": REFERENCES, "seed": seed, "count": count,
              "seconds": round(time.monotonic() - began, 1),
              "operations": [entries[each.name, each.parameters.name] for each in every]}
    _show(report)
    finish(report, output / "vectors.json", section, table)
    if wrong:
        raise click.ClickException(wrong[0])
    return report


def _task(index: int, count: int, seed: int) -> tuple[Result, str, str]:
    """Run an operation in a process of its own; its result, digest and module."""
    operation = OPERATIONS[index]
    block = operation.block(operation.parameters)
    return operation.run(count, seed), digest(block), block.module


def _entry(operation: Operation, result: Result, sha256: str, module: str) -> dict:
    """An operation, JSON-ready."""
    return {"operation": operation.name, "block": module, "set": operation.parameters.name,
            "verilog_sha256": sha256, "references": list(result.mismatches),
            "rules": operation.rules, "vectors": result.vectors, "exhaustive": result.exhaustive,
            "mismatches": sum(result.mismatches.values()), "seconds": round(result.seconds, 1)}


def _show(report: dict) -> None:
    """The report as a table."""
    shown = Table("operation", "block", title="Vectors", title_justify="left", box=box.SIMPLE)
    for heading in ("vectors", "mismatches", "seconds"):
        shown.add_column(heading, justify="right")
    for each in report["operations"]:
        shown.add_row(each["operation"], each["block"],
                      f"{each['vectors']:,}{' (all)' * each['exhaustive']}",
                      str(each["mismatches"]), f"{each['seconds']:.1f}")
    console.print(shown)
    total = sum(each["vectors"] for each in report["operations"])
    console.print(f"{total:,} vectors, each against {' and '.join(REFERENCES.values())}, "
                  f"seed {report['seed']}")


def table(report: dict) -> str:
    """The report as a table of a page."""
    rows = ["| operation | block | vectors | mismatches | rounding, overflow, NaN |",
            "|---|---|--:|--:|---|"]
    for each in report["operations"]:
        rows.append(f"| `{each['operation']}` | `{each['block']}` | {each['vectors']:,}"
                    f"{', all' * each['exhaustive']} | {each['mismatches']} | {each['rules']} |")
    total = sum(each["vectors"] for each in report["operations"])
    tool_names = ", ".join(f"{name} {number}" for name, number in report["tools"].items())
    return "\n".join([*rows, "", f"{total:,} vectors, seed {report['seed']}; {tool_names}.", ""])
