"""``mixpe formal``: every property proved, and refuted of its broken copies."""

import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from golden.sets import ALL_SETS
from scripts.console import console, progress
from scripts.files import Section
from scripts.processes import processes
from scripts.proofs import basis, finish
from tb.formal.attempt import LIMIT, Attempt, Outcome, attempt, attempts
from tb.formal.properties import FAMILIES, PROPERTIES
from tb.formal.property import METHODS, Property
from tb.formal.solver import PROVED, REFUTED

__all__ = ["failures", "main", "markdown", "report_of"]


def main(only: str | None, workers: int, output: Path, page: Path | None) -> dict[str, Any]:
    """Prove, print the table, write ``formal.json``; return the report.

    Parameters
    ----------
    only : str, optional
        Pattern of names of properties or families; all if absent.
    workers : int
        Processes.
    output : Path
        Folder.
    page : Path, optional
        Page whose table is renewed.

    Raises
    ------
    click.ClickException
        If a property is not proved, or a broken copy not refuted; the report is written before.
    click.UsageError
        If nothing matches, or the page has no markers.
    """
    section = page and Section(page, "formal")
    chosen = [each for each in PROPERTIES
              if only is None or fnmatch(each.name, only) or fnmatch(each.family, only)]
    if not chosen:
        raise click.UsageError(f"Option '--only' must match a property or one of the families "
                               f"{', '.join(FAMILIES)}, not {only!r}")
    report = report_of(chosen, workers)
    console.print(_table(report))
    finish(report, output / "formal.json", section, markdown)
    if wrong := failures(report):
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise click.ClickException(f"{len(wrong)} of {report['attempts']} proofs failed: "
                                   f"{'; '.join(wrong[:3])}{more}")
    return report


def report_of(chosen: list[Property], workers: int) -> dict[str, Any]:
    """Everything attempted, JSON-ready."""
    start = time.monotonic()
    jobs, found = [job for each in chosen for job in attempts(each)], {}
    with progress(len(jobs), "proving", estimate=True) as step:
        for job, outcome in _outcomes(jobs, workers):
            found[job] = outcome
            step(f"{job.name} {job.case}")
    return {
        **basis(), "seconds": round(time.monotonic() - start, 1), "limit_seconds": LIMIT,
        "attempts": len(jobs), "properties": [_entry(each, found) for each in chosen],
    }


def failures(report: dict[str, Any]) -> list[str]:
    """Cases that are not proved, and broken copies that are not refuted, each in a few words."""
    found = []
    for each in report["properties"]:
        found += [f"{each['name']}, {case['case']}: {case['verdict']}"
                  for case in each["cases"] if not case["proved"]]
        found += [f"{each['name']}, {broken['case']}, with {broken['instead']!r} in place of "
                  f"{broken['text']!r}: {broken['verdict']}"
                  for broken in each["broken"] if not broken["caught"]]
    return found


def _outcomes(jobs: list[Attempt], workers: int) -> Iterator[tuple[Attempt, Outcome]]:
    """Attempts with their outcomes, as they end."""
    if workers == 1:
        yield from ((job, attempt(job)) for job in jobs)
        return
    with processes(workers) as pool:
        futures = {pool.submit(attempt, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _entry(each: Property, found: dict[Attempt, Outcome]) -> dict[str, Any]:
    """A property of the report."""
    cases, copies = [], []
    for job in attempts(each):
        outcome = found[job].to_dict()
        if job.broken < 0:
            parameters = each.cases[job.case]
            is_set = ALL_SETS.get(job.case) is parameters
            cases.append({"case": job.case, **({"set": job.case} if is_set else {}), **outcome,
                          "proved": outcome["verdict"] == PROVED})
        else:
            broken = each.broken[job.broken]
            copies.append({"case": job.case, "module": each.module, "text": broken.text,
                           "instead": broken.instead, "verdict": outcome["verdict"],
                           "seconds": outcome["seconds"],
                           "caught": outcome["verdict"] == REFUTED})
    return {
        "name": each.name, "family": each.family, "claim": each.claim, "module": each.module,
        "method": each.method, "depth": max(case["cycles"] for case in cases),
        "proved": all(case["proved"] for case in cases),
        "caught": sum(copy["caught"] for copy in copies),
        "seconds": round(sum(part["seconds"] for part in (*cases, *copies)), 1),
        "cases": cases, "broken": copies,
    }


def _rows(report: dict[str, Any]) -> list[list[str]]:
    rows = []
    for each in report["properties"]:
        method = each["method"]
        if method in ("induction", "bounded"):
            method = f"{method}, {each['depth']}"
        proved = sum(case["proved"] for case in each["cases"])
        rows.append([each["name"], method, f"{proved} of {len(each['cases'])}",
                     f"{each['caught']} of {len(each['broken'])}", f"{each['seconds']:.1f}"])
    return rows


#: Headings of the table; the first two columns are text.
_HEADINGS = ["property", "method, cycles", "proved", "broken copies caught", "seconds"]


def _table(report: dict[str, Any]) -> Table:
    """The table for the terminal."""
    table = Table(title="Proofs", title_justify="left", box=box.SIMPLE)
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in _HEADINGS[:2] else "right")
    for row in _rows(report):
        table.add_row(*row)
    return table


def markdown(report: dict[str, Any]) -> str:
    """The tables of the page: what is proved, and how."""
    parts = []
    rows = {row[0]: row for row in _rows(report)}
    for family, title in FAMILIES.items():
        own = [each for each in report["properties"] if each["family"] == family]
        if not own:
            continue
        parts.append(f"### {title[0].upper()}{title[1:]}\n\n"
                     "| property | what is proved | of | method, cycles | broken copies caught |\n"
                     "|---|---|---|---|--:|\n")
        for each in own:
            cases = ", ".join(case["case"] for case in each["cases"])
            row = rows[each["name"]]
            parts.append(f"| {row[0]} | {each['claim']} | {cases} | {row[1]} | {row[3]} |\n")
        parts.append("\n")
    cases = sum(len(each["cases"]) for each in report["properties"])
    copies = sum(len(each["broken"]) for each in report["properties"])
    methods = "; ".join(f"{name}: {text}" for name, text in METHODS.items())
    return "".join(parts) + (
        f"{len(report['properties'])} properties, {cases} proofs, {copies} broken copies. "
        f"{methods[0].upper()}{methods[1:]}.\n")
