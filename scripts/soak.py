"""``mixpe soak``: blocks of random sets on their benches, for as long as told."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import count
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from scripts.console import console, progress
from scripts.files import Section
from scripts.processes import processes
from scripts.proofs import basis, finish
from scripts.soak_jobs import BLOCKS, draw, job_seeds, perform

__all__ = ["main", "repeat", "report_of"]


def main(minutes: float, seed: int, workers: int, output: Path, page: Path | None
         ) -> dict[str, Any]:
    """Run jobs until a soak has lasted so long; print and write ``soak.json``; return the report.

    Jobs that have ended are lines of ``soak/<seed>.jsonl``, written as they end. Another run with
    the seed goes on behind them, and the time that they took counts.

    Parameters
    ----------
    minutes : float
        How long the soak lasts, earlier runs of the same sources with the seed included. Jobs
        that have begun by then are waited for.
    seed : int
        Seed of the soak: the seeds of its jobs follow from it.
    workers : int
        Processes, each with a job.
    output : Path
        Folder.
    page : Path, optional
        Page whose tables are renewed.

    Raises
    ------
    click.UsageError
        If the page has no markers.
    """
    section = page and Section(page, "soak")
    journal = _Journal(output / "soak" / f"{seed}.jsonl")
    if journal.records:
        console.print(f"{len(journal.records)} jobs of {journal.elapsed / 60:.0f} minutes are kept "
                      f"from {journal.path}")
    with progress(round(60 * minutes), "running jobs", estimate=True) as step:
        step("running jobs", journal.elapsed)
        for index, result in _results(journal, 60 * minutes, seed, workers):
            before = journal.elapsed
            journal.add(index, result)
            failures = sum(record["failure"] is not None for record in journal.records)
            step(f"{len(journal.records)} jobs, {failures} failures", journal.elapsed - before)
            if result["failure"] is not None:
                console.print(_told(result))
    report = report_of(journal.records, seed, journal.elapsed)
    for title, rows in _tables(report):
        console.print(_table(title, rows))
    finish(report, output / "soak.json", section, _markdown)
    return report


def repeat(seed: int) -> bool:
    """Run the job of a seed again and print what it is; whether it passed.

    Its compiled simulation remains.
    """
    job = draw(seed)
    console.print(f"{job.block}: {json.dumps(job.parameters.to_dict())}")
    console.print(f"settings: {json.dumps(job.settings)}")
    result = perform(job, keep=True)
    if result["failure"] is not None:
        console.print(_told(result))
        return False
    console.print(f"passed: {result['tests']} tests, {result['outputs']:,} outputs")
    return True


def report_of(records: list[dict[str, Any]], seed: int, seconds: float) -> dict[str, Any]:
    """What came of the jobs, JSON-ready."""
    groups: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for record in records:
        own = record["set"] if record["named"] else None
        groups.setdefault((record["block"], own), []).append(record)
    entries = []
    for (block, own), each in sorted(groups.items(), key=str):
        entry = {"block": block, "set": own, **_totals(each)}
        if own is not None:  # whose Verilog is always the same
            entry["verilog_sha256"] = each[-1]["verilog_sha256"]
        entries.append(entry)
    kept = ("seed", "block", "set", "parameters", "settings", "failure")
    return {
        **basis(), "seed": seed,
        "seconds": round(seconds), "minutes": round(seconds / 60, 1), **_totals(records),
        "entries": entries, "drawn": _drawn(records),
        "failed": [{name: record[name] for name in kept} for record in records
                   if record["failure"] is not None],
    }


def _totals(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over some jobs."""
    return {
        "jobs": len(records), "sets": len({record["verilog_sha256"] for record in records}),
        "tests": sum(record["tests"] for record in records),
        "outputs": sum(record["outputs"] for record in records),
        "job_seconds": round(sum(record["seconds"] for record in records)),
        "failures": sum(record["failure"] is not None for record in records),
    }


def _drawn(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each unit how often every choice was drawn, and the range of every number."""
    drawn: dict[str, dict[str, Any]] = {}
    for record in records:
        unit = BLOCKS[record["block"]].named.unit
        for field, value in record["parameters"].items():
            if field != "name":
                drawn.setdefault(unit, {}).setdefault(field, []).append(value)
    return {unit: {field: _spread(values) for field, values in fields.items()}
            for unit, fields in sorted(drawn.items())}


def _spread(values: list) -> Any:
    """Count of each value; of numbers the least and the greatest."""
    if all(type(value) is int for value in values):
        return [min(values), max(values)]
    return {str(value): number for value, number in sorted(Counter(values).items(), key=str)}


class _Journal:
    """Jobs that have ended, in a file to which each is added at once.

    Lines of other sources, and what is no whole line, are passed over.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    records : list of dict
        Results of :func:`scripts.soak_jobs.perform`, with ``index``, ``sources`` and ``elapsed``.
    elapsed : float
        Seconds that the soak has lasted, over all its runs.
    """

    def __init__(self, path: Path):
        self.path, self._sources = path, basis()["sources_sha256"]
        self.records = [record for line in self._lines()
                        if (record := _parsed(line)).get("sources") == self._sources]
        self._before = max((record["elapsed"] for record in self.records), default=0.0)
        self._begin = time.monotonic()
        self.elapsed = self._before

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()

    def add(self, index: int, result: dict[str, Any]) -> None:
        """Add a job by its number."""
        self.elapsed = self.now()
        record = {"index": index, "sources": self._sources, "elapsed": round(self.elapsed, 1),
                  **result}
        self.records.append(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # A run that was killed may have left a part of a line.
            file.write(f"\n{json.dumps(record)}\n")

    def now(self) -> float:
        """Seconds until now."""
        return self._before + time.monotonic() - self._begin


def _parsed(line: str) -> dict[str, Any]:
    """Object of a line; an empty one if it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _results(journal: _Journal, seconds: float, seed: int, workers: int
             ) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and result of each job as it ends; none begins when the time is over."""
    done = {record["index"] for record in journal.records}
    waiting = ((index, job_seeds(seed, 1, index)[0]) for index in count() if index not in done)
    if workers == 1:
        while journal.now() < seconds:
            index, job_seed = next(waiting)
            yield index, perform(draw(job_seed))
        return
    with processes(workers) as pool:
        running: dict[Future, int] = {}
        while running or journal.now() < seconds:
            while len(running) < workers and journal.now() < seconds:
                index, job_seed = next(waiting)
                running[pool.submit(_perform, job_seed)] = index
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _perform(seed: int) -> dict[str, Any]:
    return perform(draw(seed))


# Tables

Rows = list[list[str]]


def _told(result: dict[str, Any]) -> str:
    """A failure in a line or more."""
    return (f"{result['block']} of set {result['set']} failed: {result['failure']}\n"
            f"  repeat it with `mixpe soak --repeat {result['seed']}`")


def _tables(report: dict[str, Any]) -> Iterator[tuple[str, Rows]]:
    """Title and rows of each table, the heading first."""
    rows = [["block", "set", "jobs", "sets", "tests", "outputs", "failures"]]
    for entry in [*report["entries"], report]:
        rows.append([entry.get("block", "all"), entry.get("set") or "", f"{entry['jobs']:,}",
                     f"{entry['sets']:,}", f"{entry['tests']:,}", f"{entry['outputs']:,}",
                     f"{entry['failures']:,}"])
    yield f"Soak of {report['minutes']:g} minutes, seed {report['seed']}", rows
    rows = [["unit", "parameter", "drawn"]]
    for unit, fields in report["drawn"].items():
        rows += [[unit, field, _shown(values)] for field, values in fields.items()]
    yield "How often each choice was drawn, and ranges of numbers", rows


def _shown(values: dict[str, int] | list[int]) -> str:
    """Counts of the choices, or the range."""
    if isinstance(values, list):
        return f"{values[0]} to {values[1]}"
    return ", ".join(f"{value} {number}" for value, number in values.items())


def _table(title: str, rows: Rows) -> Table:
    """A table for the terminal."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for heading, value in zip(rows[0], rows[1], strict=True):
        table.add_column(heading, justify="right" if value.replace(",", "").isdigit()
                         else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _markdown(report: dict[str, Any]) -> str:
    """The tables of a page."""
    parts = []
    for title, (head, *rows) in _tables(report):
        lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
        parts.append(f"### {title}\n\n" + "\n".join(lines) + "\n\n")
    versions = ", ".join(f"{tool} {number}" for tool, number in report["tools"].items())
    return "".join(parts) + (f"Sources of `golden` and `hdl` "
                             f"{report['sources_sha256'][:12]}; {versions}.\n")
