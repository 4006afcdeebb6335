"""``mixpe second-sim``: fixed runs of every set in Verilator and, once more, in CXXRTL."""

import tempfile
import time
from concurrent.futures import as_completed
from hashlib import sha256
from pathlib import Path

import click
from rich import box
from rich.table import Table

from scripts.console import console, progress
from scripts.files import Section
from scripts.processes import processes
from scripts.proofs import basis, finish
from tb.fixtures import FIXTURES, Fixture
from tb.second_simulator import Outcome, recorded, replayed

__all__ = ["SECTION", "main", "both", "table"]

#: Part of the page that shows the table.
SECTION = "second-simulator"


def main(sets: tuple[str, ...], seed: int, workers: int, page: Path | None, output: Path) -> dict:
    """Run the fixtures, print the table, write ``<output>/second_sim.json``; return the report.

    Parameters
    ----------
    sets : tuple of str
        Names of the sets whose fixtures are run; all if empty.
    seed : int
        Seed of operands and stalls.
    workers : int
        Processes.
    page : Path, optional
        Page whose table is renewed.
    output : Path
        Folder of the report.

    Raises
    ------
    click.ClickException
        If an output differs; the report is written before.
    SimulationError
        If a bench fails in Verilator.
    """
    section = Section(page, SECTION) if page else None
    chosen = [index for index, each in enumerate(FIXTURES)
              if not sets or each.parameters.name in sets]
    began = time.monotonic()
    entries, wrong = {}, []
    with processes(workers) as pool, progress(len(chosen), "two simulators",
                                              estimate=True) as step:
        tasks = {pool.submit(_task, index, seed): index for index in chosen}
        for task in as_completed(tasks):
            entry, first = task.result()
            entries[tasks[task]] = entry
            wrong += [first] * (not entry["equal"])
            step(f"{entry['fixture']} of {entry['set']}")
    report = {**basis(), "seed": seed, "seconds": round(time.monotonic() - began, 1),
              "fixtures": [entries[index] for index in chosen]}
    _show(report)
    finish(report, output / "second_sim.json", section, table)
    if wrong:
        raise click.ClickException(wrong[0])
    return report


def both(fixture: Fixture, seed: int, *, changes: str = "") -> tuple[str, str, Outcome]:
    """Module, its Verilog and the outcome of a fixture.

    Parameters
    ----------
    fixture : Fixture
        What is run.
    seed : int
        Seed of operands and stalls.
    changes : str
        Commands of Yosys that break the design that is replayed.
    """
    top, source = fixture.design()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "ports.vcd"
        fixture.record(seed, trace)
        recording = recorded(trace, source, top)
    return top, source, replayed(recording, source, top, changes=changes)


def _task(index: int, seed: int) -> tuple[dict, str]:
    """Run a fixture in a process of its own; it JSON-ready, and the first difference."""
    began = time.monotonic()
    top, source, outcome = both(FIXTURES[index], seed)
    fixture = FIXTURES[index]
    verilator, cxxrtl = outcome.hashes
    return {
        "set": fixture.parameters.name, "fixture": fixture.name, "block": top,
        "verilog_sha256": sha256(source.encode()).hexdigest(), "cycles": outcome.cycles,
        "output_sha256": {"verilator": verilator, "cxxrtl": cxxrtl},
        "streams_sha256": {name: dict(zip(("verilator", "cxxrtl"), each, strict=True))
                           for name, each in outcome.streams.items()},
        "equal": outcome.equal, "seconds": round(time.monotonic() - began, 1),
    }, outcome.first


def _show(report: dict) -> None:
    """The report as a table."""
    shown = Table("block", "fixture", title="Verilator and CXXRTL", title_justify="left",
                  box=box.SIMPLE)
    for heading in ("cycles", "hash of all outputs", "equal", "seconds"):
        shown.add_column(heading, justify="right")
    for each in report["fixtures"]:
        shown.add_row(each["block"], each["fixture"], f"{each['cycles']:,}",
                      each["output_sha256"]["verilator"][:12],
                      "yes" if each["equal"] else "no", f"{each['seconds']:.0f}")
    console.print(shown)


def table(report: dict) -> str:
    """The report as a table of a page."""
    rows = ["| block | fixture | cycles | hash of all outputs | equal |", "|---|---|--:|---|---|"]
    for each in report["fixtures"]:
        rows.append(f"| `{each['block']}` | {each['fixture']} | {each['cycles']:,} | "
                    f"`{each['output_sha256']['verilator'][:12]}` | "
                    f"{'yes' if each['equal'] else '**no**'} |")
    names = ", ".join(f"{name} {number}" for name, number in report["tools"].items())
    return "\n".join([*rows, "", f"Seed {report['seed']}; {names}.", ""])
