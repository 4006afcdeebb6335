"""``mixpe mutate``: whether the benches notice single changes of the Verilog."""

import re
import time
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from scripts.console import console, progress
from scripts.files import Section
from scripts.processes import processes
from scripts.proofs import basis, finish
from tb.mutation import TARGETS, Target, Trial, prepare, reasons

__all__ = ["main", "report_of", "result_of", "show", "unexplained"]


@dataclass
class _Work:
    """A target while its mutants run.

    Parameters
    ----------
    target : Target
    trial : Trial, optional
        Once it is compiled.
    outcomes : dict of int to str
        Outcome of each mutant by its number.
    seconds : float
        Time of processes.
    """

    target: Target
    trial: Trial | None = None
    outcomes: dict[int, str] = field(default_factory=dict)
    seconds: float = 0


def main(names: tuple[str, ...], count: int, seed: int, workers: int, output: Path,
         page: Path | None) -> dict[str, Any]:
    """Try mutants, print the table, write ``<output>/mutate.json``; return the report.

    Parameters
    ----------
    names : tuple of str
        Blocks, keys of :data:`tb.mutation.TARGETS`; all if empty.
    count : int
        Mutants of each.
    seed : int
        Of the choice of mutants and of the benches.
    workers : int
        Processes; the results do not depend on them.
    output : Path
        Folder.
    page : Path, optional
        Page whose table is renewed.

    Raises
    ------
    ControlError
        If a bench fails without any mutant.
    click.UsageError
        If the page has no markers.
    """
    section = page and Section(page, "mutate")
    targets = [TARGETS[name] for name in names or TARGETS]
    report = report_of(targets, count, seed, workers)
    show(report)
    finish(report, output / "mutate.json", section, _markdown)
    return report


def report_of(targets: list[Target], count: int, seed: int, workers: int) -> dict[str, Any]:
    """Try ``count`` mutants of each target; the report, JSON-ready.

    ``docs/mutate.md`` says what its keys are.
    """
    began, known = time.monotonic(), reasons()
    jobs = [_Work(target) for target in targets]
    with (processes(workers) as pool,
          progress(len(jobs) * (count + 1), "compiling", estimate=True) as step):
        tasks: dict[Future, tuple[_Work, int]] = {
            pool.submit(_prepared, each.target, count, seed): (each, 0) for each in jobs}
        try:
            while tasks:
                task = next(as_completed(tasks))
                job, number = tasks.pop(task)
                result, seconds = task.result()
                job.seconds += seconds
                if number:
                    job.outcomes[number] = result
                    step(job.target.name)
                    continue
                job.trial = result
                tasks |= {pool.submit(_outcome, result, each): (job, each)
                          for each in range(1, len(result.mutants) + 1)}
                step(job.target.name, 1 + count - len(result.mutants))
            # What failed for want of memory or disk would look like what a bench found.
            for job in jobs:
                job.trial.control()
        except BrokenProcessPool:
            raise click.ClickException("A process ended before its mutant was tried; it may have "
                                       "run out of memory") from None
    return {**basis(), "seed": seed, "count": count,
            "seconds": round(time.monotonic() - began),
            "blocks": [result_of(job.trial, job.outcomes, known) | {"seconds": round(job.seconds)}
                       for job in jobs]}


def _prepared(target: Target, count: int, seed: int) -> tuple[Trial, float]:
    """Compile a target in a process of its own; also the time that took."""
    began = time.monotonic()
    return prepare(target, count, seed), time.monotonic() - began


def _outcome(trial: Trial, number: int) -> tuple[str, float]:
    """Try a mutant in a process of its own; also the time that took."""
    began = time.monotonic()
    return trial.outcome(number), time.monotonic() - began


def result_of(trial: Trial, outcomes: dict[int, str],
              known: list[tuple[re.Pattern, str]]) -> dict[str, Any]:
    """Numbers of a block and its survivors, with the reasons that are ``known`` of these."""
    found = list(outcomes.values())
    equivalent = found.count("equivalent")
    killed = found.count("failed") + found.count("time")
    survivors = [trial.mutants[number - 1] for number, outcome in sorted(outcomes.items())
                 if outcome == "survived"]
    different = len(found) - equivalent
    return {
        "block": trial.target.name, "set": trial.parameters.name, "module": trial.top,
        "mutated_modules": list(trial.target.modules),
        "benches": sorted({bench for bench, _ in trial.runs}),
        "verilog_sha256": trial.digest, "mutants": len(found), "equivalent": equivalent,
        "killed": killed, "killed_by_time": found.count("time"),
        "share": _share(killed, different),
        "survivors": [{"mutant": each.key, "line": each.line, "reason": next(
            (reason for pattern, reason in known if pattern.fullmatch(each.key)), None)}
            for each in survivors],
    }


def _share(killed: int, different: int) -> float:
    """Share of the mutants that make a difference; all if there are none."""
    return killed / different if different else 1.0


def unexplained(block: dict[str, Any]) -> int:
    """Survivors of a block's result that have no reason."""
    return sum(each["reason"] is None for each in block["survivors"])


def show(report: dict[str, Any]) -> None:
    """The report as a table, and survivors that nobody has explained."""
    head, *rows = _rows(report)
    table = Table(box=box.SIMPLE, title=f"Mutants, seed {report['seed']}", title_justify="left")
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index > 1 else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for each in report["blocks"]:
        for survivor in each["survivors"]:
            if survivor["reason"] is None:
                console.print(f"Unexplained, {each['block']}, line {survivor['line']}: "
                              f"{survivor['mutant']}")


def _rows(report: dict[str, Any]) -> list[list[str]]:
    """The table, its head first."""
    rows = [["block", "set", "mutants", "equivalent", "killed", "of the rest", "survivors",
             "explained", "minutes"]]
    blocks = report["blocks"]
    for name, of, each in [*((block["block"], block["set"], [block]) for block in blocks),
                           ("all", "", blocks)]:
        mutants, equivalent, killed, seconds = (
            sum(block[key] for block in each)
            for key in ("mutants", "equivalent", "killed", "seconds"))
        survivors = sum(len(block["survivors"]) for block in each)
        rows.append([name, of, f"{mutants:,}", f"{equivalent:,}", f"{killed:,}",
                     f"{_share(killed, mutants - equivalent):.1%}", f"{survivors:,}",
                     f"{survivors - sum(map(unexplained, each)):,}", f"{seconds / 60:.1f}"])
    return rows


def _markdown(report: dict[str, Any]) -> str:
    """The tables of a page."""
    head, *rows = _rows(report)
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)], *rows]
    text = "".join(f"| {' | '.join(row)} |\n" for row in lines)
    versions = ", ".join(f"{name} {each}" for name, each in report["tools"].items())
    text += f"\nSeed {report['seed']}, {report['seconds'] / 60:.0f} minutes, with {versions}.\n"
    survivors = [(each["block"], survivor) for each in report["blocks"]
                 for survivor in each["survivors"]]
    if survivors:
        text += "\n| block | survivor | why |\n|---|---|---|\n"
    for block, survivor in survivors:
        mutant = survivor["mutant"].replace("|", "\\|")
        text += f"| {block} | `{mutant}` | {survivor['reason'] or '**not explained**'} |\n"
    return text
