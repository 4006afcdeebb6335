"""``mixpe coverage``: lines, branches, toggles and crosses that the benches reach, by set."""

import json
import re
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from golden.parameters import ArrayParameters
from golden.sets import Parameters
from hdl.export import digest, verilog
from scripts.console import console, progress
from scripts.files import Section
from scripts.processes import processes
from scripts.proofs import basis, finish
from scripts.units import unit, unit_module
from tb import packed, runner
from tb.bounds import bounds
from tb.coverage import Counts, Point, merged, modules, moved, read, same_lines
from tb.coverage_runs import COVERED, Run, runs

__all__ = ["TARGET", "UNREACHABLE", "Reason", "Measured", "derived", "main", "reasons",
           "module_report", "faults", "share"]

#: Least share of lines, branches and toggles, without those that cannot be reached.
TARGET = 0.95

#: Holes that cannot be reached, and why.
UNREACHABLE = Path(__file__).parent.parent / "tb" / "data" / "unreachable.toml"


@dataclass(frozen=True)
class Reason:
    """Why points of a module cannot be reached.

    Parameters
    ----------
    module : str
        Regular expression of the module's name, without ``mixpe_<set>_``.
    name : str
        Regular expression of a line's text, or of a signal's name.
    reason : str
        Why.
    kind : str
        ``line`` or ``toggle``.
    low : int or str
        Lowest bit of the signal that it speaks of; or a parameter or width of the set, whose
        number of bits that is. A signal of one bit is its bit 0.
    high : int, optional
        Highest bit that it speaks of.
    fields : int
        Width of the fields that the signal is made of, whose bits ``low`` and ``high`` count; 0
        for all of it.
    sets : tuple of str
        Names of sets; all if empty.
    derived : bool
        Whether it follows from a bound: it may speak of nothing.
    """

    module: str
    name: str
    reason: str
    kind: str = "toggle"
    low: int | str = 0
    high: int | None = None
    fields: int = 0
    sets: tuple[str, ...] = ()
    derived: bool = False

    def matches(self, p: Parameters, point: Point) -> bool:
        """Whether it speaks of a point of a set."""
        if point.kind != self.kind or (self.sets and p.name not in self.sets):
            return False
        if not re.fullmatch(self.module, short(p, point.module)):
            return False
        if self.kind == "line":
            return bool(re.fullmatch(self.name, point.name))
        signal, bit, _ = parts(point.name)
        low = self.low if isinstance(self.low, int) else getattr(p, self.low, 0).bit_length()
        place = bit % self.fields if self.fields else bit
        return (low <= place and (self.high is None or place <= self.high)
                and bool(re.fullmatch(self.name, signal)))


def reasons(path: Path = UNREACHABLE) -> list[Reason]:
    """Reasons of a file."""
    return [Reason(**each | {"sets": tuple(each.get("sets", ()))})
            for each in tomllib.loads(path.read_text(encoding="utf-8"))["hole"]]


def derived(p: Parameters) -> Iterator[Reason]:
    """Reasons that follow from the bounds of a set's counts."""
    for each in bounds(p) if isinstance(p, ArrayParameters) else ():
        low, high = each.bits
        if low <= high:
            yield Reason(each.module, each.name, each.reason, low=low, high=high, sets=(p.name,),
                         derived=True)


def short(p: Parameters, module: str) -> str:
    """Name of a module without that of the set; of the array, which has no more, ``array``."""
    return module.removeprefix(f"mixpe_{p.name}").removeprefix("_") or "array"


def parts(name: str) -> tuple[str, int, str]:
    """Signal, bit and change of a toggle."""
    signal, _, change = name.rpartition(":")
    match = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", signal)
    return match[1], int(match[2] or 0), change


@dataclass(frozen=True)
class Measured:
    """What the benches of a set reached.

    Parameters
    ----------
    parameters : Parameters
    verilog_sha256 : str
        Of the unit.
    counts : Counts
        Of the unit's modules.
    crosses : list of dict
        Reports of :class:`tb.crosses.Collector`.
    tests : int
        cocotb tests that passed.
    """

    parameters: Parameters
    verilog_sha256: str
    counts: Counts
    crosses: list[dict[str, Any]]
    tests: int


def main(chosen: tuple[Parameters, ...], seed: int, workers: int, output: Path,
         page: Path | None, path: Path = UNREACHABLE) -> dict[str, Any]:
    """Run the benches, print the tables, write ``coverage.json``; return the report.

    Parameters
    ----------
    chosen : tuple of Parameters
        Sets; those of :data:`tb.coverage_runs.COVERED` if there are none.
    seed : int
        Seed of the benches.
    workers : int
        Processes.
    output : Path
        Folder.
    page : Path, optional
        Page whose tables are renewed.
    path : Path
        File of the reasons.

    Raises
    ------
    SimulationError
        If a test fails.
    click.ClickException
        If a bin is missing, too little is reached, or a reason is wrong; the report is written.
    """
    section = page and Section(page, "coverage")
    began, sets = time.monotonic(), chosen or tuple(COVERED.values())
    listed = reasons(path) + [each for p in sets for each in derived(p)]
    found = _measured(sets, seed, workers)
    report = {
        **basis(), "seed": seed, "seconds": round(time.monotonic() - began),
        "target": TARGET,
        "sets": [_set_report(each, listed) for each in found],
    }
    for table in tables(report):
        console.print(_table(*table))
    finish(report, output / "coverage.json", section, _markdown)
    if wrong := faults(report, found, listed, all_sets=not chosen):
        raise click.ClickException("; ".join(wrong))
    return report


def _measured(chosen: tuple[Parameters, ...], seed: int, workers: int) -> list[Measured]:
    """Run the benches of all sets in parallel."""
    jobs = [(p, index) for p in chosen for index in range(len(list(runs(p))))]
    # The units take longest, engines before others.
    jobs.sort(key=lambda job: (job[1] > 0, job[0].unit != "array"))
    found: dict[str, list] = defaultdict(list)
    with progress(len(jobs), "compiling and running", estimate=True) as step, \
            processes(workers) as pool:
        tasks = {pool.submit(_task, p, index, seed): p for p, index in jobs}
        for task in as_completed(tasks):
            found[tasks[task].name].append(task.result())
            step(f"ran {tasks[task].name}")
    return [_together(p, found[p.name]) for p in chosen]


def _task(p: Parameters, index: int, seed: int) -> tuple[str, Counts, list[dict], int]:
    """Run the benches of a block; return its Verilog, points, crosses and how many tests ran."""
    return run_benches(p, list(runs(p))[index], seed)


def run_benches(p: Parameters, run: Run, seed: int) -> tuple[str, Counts, list[dict], int]:
    """Verilog of a block, what its benches reached, their crosses, and how many tests ran."""
    block = run.make()
    source, top = verilog(block), block.module
    inputs = packed.settings(block)
    folder = runner.build(source, top, coverage=True)
    counts, crosses, tests = [], [], 0
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        dat, json_ = (Path(directory) / name for name in ("coverage.dat", "crosses.json"))
        for bench, settings in run.benches.items():
            if bench.endswith("_crosses"):
                settings = settings | {"output": str(json_)}
            tests += runner.run(folder, top, bench, coverage=dat, seed=seed,
                                parameters=p.to_dict(), **inputs, **settings)
            counts.append(read(dat, source))
            if bench.endswith("_crosses"):
                crosses += json.loads(json_.read_text())
    return source, merged(counts), crosses, tests


def _together(p: Parameters, found: list[tuple[str, Counts, list[dict], int]]) -> Measured:
    """Points of the modules of a set's unit, from all blocks that have the same module."""
    block = unit(p)
    own, kept = modules(verilog(block)), []
    for source, counts, _, _ in found:
        for name, text in modules(source).items():
            if name in own and (lines := same_lines(text, own[name])) is not None:
                kept.append(moved({point: count for point, count in counts.items()
                                   if point.module == name}, lines, own[name]))
    return Measured(p, digest(block), merged(kept), [each for *_, crosses, _ in found
                                                     for each in crosses],
                    sum(tests for *_, tests in found))


# The report


def _set_report(each: Measured, listed: list[Reason]) -> dict[str, Any]:
    """What was reached of a set, JSON-ready."""
    by_module: dict[str, Counts] = defaultdict(dict)
    for point, count in sorted(each.counts.items()):
        by_module[point.module][point] = count
    p = each.parameters
    return {
        "set": p.name, "unit": unit_module(p), "parameters": p.to_dict(),
        "verilog_sha256": each.verilog_sha256, "tests": each.tests,
        "modules": [module_report(p, name, counts, listed)
                    for name, counts in by_module.items()],
        "crosses": each.crosses,
    }


def module_report(p: Parameters, module: str, counts: Counts,
                  listed: list[Reason]) -> dict[str, Any]:
    """Points of a module: hit, total and excluded of each kind; holes, and those with a reason."""
    report: dict[str, Any] = {"module": module}
    holes: list[Point] = []
    excused: dict[str, list[Point]] = defaultdict(list)
    for kind in ("line", "toggle"):
        missed = [point for point, count in counts.items() if point.kind == kind and not count]
        excluded = 0
        for point in missed:
            reason = next((each for each in listed if each.matches(p, point)), None)
            if reason:
                excluded += 1
                excused[reason.reason].append(point)
            else:
                holes.append(point)
        total = sum(point.kind == kind for point in counts)
        report[kind] = {"hit": total - len(missed), "total": total, "excluded": excluded}
    report["holes"] = named(holes)
    report["excluded"] = [{"reason": reason, "holes": named(points)}
                          for reason, points in excused.items()]
    return report


def named(points: Iterable[Point]) -> list[str]:
    """Names of holes; bits side by side as a range, both changes of a bit as one."""
    lines, changes = [], defaultdict(lambda: defaultdict(set))
    for point in points:
        if point.kind == "line":
            lines.append(point.name)
        else:
            signal, bit, change = parts(point.name)
            changes[signal][bit].add(change)
    for signal, bits in changes.items():
        for first, last, change in _ranges(bits):
            where = f"[{last}:{first}]" if last > first else f"[{first}]"
            both = "" if len(change) == 2 else f" {next(iter(change))}"
            lines.append(f"{signal}{where}{both}")
    return lines


def _ranges(bits: dict[int, set[str]]) -> Iterator[tuple[int, int, set[str]]]:
    """Lowest and highest of bits side by side that lack the same changes."""
    first = last = None
    for bit in sorted(bits):
        if last is not None and bit == last + 1 and bits[bit] == bits[first]:
            last = bit
            continue
        if last is not None:
            yield first, last, bits[first]
        first = last = bit
    if last is not None:
        yield first, last, bits[first]


def faults(report: dict[str, Any], found: list[Measured], listed: list[Reason], *,
           all_sets: bool) -> list[str]:
    """What is wrong with a report: missing bins, too little reached, reasons that are none.

    That a reason speaks of nothing is told if all sets were measured.
    """
    wrong = []
    for each in report["sets"]:
        for cross in each["crosses"]:
            if missing := cross["missing"]:
                first = ", ".join(f"{axis} {value}" for axis, value in missing[0].items())
                wrong.append(f"Cross {cross['cross']} of {each['set']} lacks {len(missing)} of "
                             f"{cross['bins']} bins, the first {first}")
        for kind in ("line", "toggle"):
            if (reached := share(_sum(each, kind))) < TARGET:
                wrong.append(f"Coverage of {each['set']}, {kind}, must be at least {TARGET:.0%}, "
                             f"not {reached:.2%}")
    for each in listed:
        spoken = [(point, one.counts) for one in found for point in one.counts
                  if each.matches(one.parameters, point)]
        if not spoken and all_sets and not each.derived:
            wrong.append(f"Reason for {each.name} of module {each.module} must speak of a point")
        for point, counts in spoken:
            if all(counts[other] for other in _both(point) if other in counts):
                wrong.append(f"Reason for {each.name} must not speak of {point.name} of "
                             f"{point.module}, which is reached")
                break
    return wrong


def _both(point: Point) -> list[Point]:
    """Both changes of a bit; of a line itself."""
    if point.kind == "line":
        return [point]
    bit = point.name.rpartition(":")[0]
    return [Point(point.module, point.kind, f"{bit}:{change}") for change in ("0->1", "1->0")]


def _sum(each: dict[str, Any], kind: str) -> dict[str, int]:
    """Points of a kind of all modules of a set."""
    return {key: sum(module[kind][key] for module in each["modules"])
            for key in ("hit", "total", "excluded")}


def share(points: dict[str, int]) -> float:
    """Share that was reached of what can be."""
    reachable = points["total"] - points["excluded"]
    return points["hit"] / reachable if reachable else 1.0


# Tables

#: Rows of cells, the first being the headings.
Rows = list[list[str]]


def tables(report: dict[str, Any]) -> list[tuple[str, Rows]]:
    """Titles and rows of all tables of a report."""
    code = [["set", "tests", "lines and branches", "toggles", "holes left", "cannot be reached",
             "toggles with these"]]
    bins = [["set", "cross", "bins", "reached"]]
    for each in report["sets"]:
        line, toggle = (_sum(each, kind) for kind in ("line", "toggle"))
        left = sum(kind["total"] - kind["hit"] - kind["excluded"] for kind in (line, toggle))
        code.append([each["set"], f"{each['tests']}",
                     f"{share(line):.2%} of {line['total'] - line['excluded']:,}",
                     f"{share(toggle):.2%} of {toggle['total'] - toggle['excluded']:,}",
                     f"{left:,}", f"{line['excluded'] + toggle['excluded']:,}",
                     f"{toggle['hit'] / max(1, toggle['total']):.2%}"])
        bins += [[each["set"], cross["cross"], f"{cross['bins']:,}", f"{cross['hit']:,}"]
                 for cross in each["crosses"]]
    found = [("Points of the exported Verilog", code)]
    return [*found, ("Crosses", bins)] if len(bins) > 1 else found


def _table(title: str, rows: Rows) -> Table:
    """A table for the terminal."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for index, heading in enumerate(rows[0]):
        text = index == 0 or heading == "cross"
        table.add_column(heading, no_wrap=text, justify="left" if text else "right")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _markdown(report: dict[str, Any]) -> str:
    """The tables of the page, and the holes of the sets by module."""
    text = []
    for title, (head, *rows) in tables(report):
        rule = "|" + "".join("---|" if name in ("set", "cross") else "--:|" for name in head)
        lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        text.append(f"### {title}\n\n| {' | '.join(head)} |\n{rule}\n{lines}\n")
    text.append(_reason_table(report))
    versions = ", ".join(f"{name} {version}" for name, version in report["tools"].items())
    text.append(f"Seed {report['seed']}; {versions}; {report['seconds'] / 60:.0f} minutes.\n")
    return "\n".join(text)


def _reason_table(report: dict[str, Any]) -> str:
    """Points that cannot be reached, by reason."""
    found: dict[str, int] = defaultdict(int)
    for each in report["sets"]:
        for module in each["modules"]:
            for excluded in module["excluded"]:
                found[excluded["reason"]] += len(excluded["holes"])
    rows = "\n".join(f"| {reason} | {count:,} |" for reason, count in found.items())
    return f"### Why holes cannot be reached\n\n| reason | signals |\n|---|--:|\n{rows}\n"
