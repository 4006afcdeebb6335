"""``mixpe explore``: a sweep over parameters, and the front of its cheapest tiles."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from scripts import explore_plot, synth
from scripts.console import console
from scripts.files import write
from scripts.point import measure, recipe, tile_digest
from scripts.sweep import PERIOD, Point, Sweep
from synth.liberty import DEFAULT, Library
from synth.pareto import front

__all__ = ["OBJECTIVES", "main"]

#: What is measured, all of it best if least: heading and form of each column.
OBJECTIVES = {"gates_per_mac": ("GE per MAC", "{:.1f}"), "fj_per_mac": ("fJ per MAC", "{:.0f}"),
              "period_ns": ("period, ns", "{:.2f}")}

#: What a result says of how it was made, and a report does not.
_CIRCUMSTANCES = ("seconds", "worker")


def main(path: Path, liberty: Path | None, power: bool, output: Path,
         engine: AbstractContextManager) -> None:
    """Measure the points that have no result yet; print the front and write it with its plot.

    Parameters
    ----------
    path : Path
        Sweep, see :meth:`scripts.sweep.Sweep.from_dict`.
    liberty : Path or None
        Cell library; NanGate 45 nm if None.
    power : bool
        Whether energies are measured.
    output : Path
        Folder that receives ``points/<key>.json``, ``<sweep>.json`` and ``<sweep>.svg``.
    engine : context manager
        Gives the Dask client that runs the jobs, see :mod:`scripts.engine`.

    Raises
    ------
    click.ClickException
        Exit status 2 if the file is no sweep, 1 if points failed; the others are measured.
    """
    try:
        sweep = Sweep.load(path)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    library = synth.library_of(liberty)
    console.print(f"Sweep {sweep.name}: {len(sweep.points)} points")
    for rule, count in sweep.refused.items():
        console.print(f"  {count} combinations left out: {rule}")
    with engine as client:
        run = _Run(client, sweep, DEFAULT if liberty is None else liberty, power,
                   output / "points")
        run.measure()
    report = _report(sweep, library, power, run)
    _print(report)
    result = output / f"{sweep.name}.json"
    write(result, json.dumps(report, indent=2) + "\n")
    console.print(f"Written to {result}")
    if report["front"]:
        plot = output / f"{sweep.name}.svg"
        write(plot, explore_plot.svg(report))
        console.print(f"Written to {plot}")
    for point, reason in run.failed.items():
        console.print(f"{_label(point.values(), report['axes'])}: {reason}")
    if run.failed:
        raise click.ClickException(f"{len(run.failed)} of {len(sweep.points)} points failed")


class _Run:
    """The points of a sweep, what is known of each, and what went wrong."""

    def __init__(self, client, sweep: Sweep, liberty: Path, power: bool, folder: Path):
        self.client, self.sweep, self.power, self.folder = client, sweep, power, folder
        self.liberty = liberty.read_bytes()
        self.keys: dict[Point, str] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.failed: dict[Point, str] = {}

    def measure(self) -> None:
        """Find what each point's result depends on, and measure what has none."""
        self._find_keys()
        wanted = {}
        for point, key in self.keys.items():
            if (kept := _kept(self.folder / f"{key}.json")) is not None:
                self.results[key] = kept
            else:
                wanted.setdefault(key, point)
        shared = len(self.keys) - len(set(self.keys.values()))
        console.print(f"  {len(self.results)} tiles kept from before, {len(wanted)} to measure"
                      + f", {shared} points equal to others" * bool(shared))
        for key, result, reason in self._outcomes(wanted):
            if reason is None:
                self.results[key] = result
                content = {"point": wanted[key].values(), "result": result}
                write(self.folder / f"{key}.json", json.dumps(content, indent=2) + "\n")
            else:
                self.failed |= {point: reason for point, own in self.keys.items() if own == key}

    def _find_keys(self) -> None:
        """Digest of everything that the result of each point depends on."""
        from scripts.engine import outcomes

        sets = {point.parameters: (point.parameters.to_dict(), self.power, recipe())
                for point in self.sweep.points}
        digests, reasons = {}, {}
        for parameters, digest, reason in outcomes(self.client, tile_digest, sets,
                                                   "generating the tiles"):
            if reason is None:
                digests[parameters] = digest
            else:
                reasons[parameters] = reason
        library = sha256(self.liberty).hexdigest()
        for point in self.sweep.points:
            if point.parameters in reasons:
                self.failed[point] = reasons[point.parameters]
            else:
                parts = digests[point.parameters], point.period, self.power, library, recipe()
                self.keys[point] = sha256(json.dumps(parts).encode()).hexdigest()

    def _outcomes(self, wanted: dict[str, Point]) -> Iterator[tuple]:
        """Measurements by their keys, as they end."""
        import gzip

        from scripts.engine import outcomes

        if not wanted:
            return
        # A task can be computed again on another worker; data that a lost worker held could not.
        liberty = self.client.submit(gzip.decompress, gzip.compress(self.liberty), pure=False)
        jobs = {key: (point.parameters.to_dict(), point.period, self.power, liberty, recipe())
                for key, point in wanted.items()}
        yield from outcomes(self.client, measure, jobs, "measuring")


def _kept(path: Path) -> dict[str, Any] | None:
    """Result of an earlier run; None if there is none that can be read, or it lacks anything."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))["result"]
        return result if all(name in result for name in OBJECTIVES) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _report(sweep: Sweep, library: Library, power: bool, run: _Run) -> dict[str, Any]:
    """Everything measured, JSON-ready; the same whatever engine ran it."""
    objectives = [name for name in OBJECTIVES if power or name != "fj_per_mac"]
    points = []
    for point, key in run.keys.items():
        if key in run.results:
            result = {name: value for name, value in run.results[key].items()
                      if name not in _CIRCUMSTANCES}
            points.append({"key": key, "point": point.values(), **result})
    best = front([[point[name] for name in objectives] for point in points])
    return {
        "sweep": sweep.name, "axes": sweep.varying(), "objectives": objectives,
        "library": synth.library_facts(library), "tools": synth.tools(),
        "left_out": synth.LEFT_OUT, "refused": sweep.refused,
        "failed": [{"point": point.values(), "reason": reason}
                   for point, reason in run.failed.items()],
        "points": points,
        "front": sorted(best, key=lambda place: points[place]["gates_per_mac"]),
    }


def _label(values: dict[str, Any], axes: list[str]) -> str:
    """What tells a point from the others."""
    return " ".join(f"{axis}={values[axis]}" for axis in axes) or "the point"


def _print(report: dict[str, Any]) -> None:
    """The front as a table."""
    table = Table(title=f"Front of {report['sweep']}: {len(report['front'])} of "
                  f"{len(report['points'])} points", title_justify="left", box=box.SIMPLE)
    for axis in report["axes"]:
        table.add_column("sized for, ns" if axis == PERIOD else axis, justify="right")
    for name in report["objectives"]:
        table.add_column(OBJECTIVES[name][0], justify="right")
    for place in report["front"]:
        point = report["points"][place]
        table.add_row(*(str(point["point"][axis]) for axis in report["axes"]),
                      *(OBJECTIVES[name][1].format(point[name]) for name in report["objectives"]))
    console.print(table)
    library = report["library"]
    console.print(f"Left out: {report['left_out']}.")
    console.print(f"Library {library['name']}, {library['voltage']} V; "
                  + ", ".join(f"{tool} {number}" for tool, number in report["tools"].items()))
