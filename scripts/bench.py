"""``mixpe bench``: every design and rival measured in one run, and ratios with targets."""

import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click
from rich import box
from rich.table import Column, Table

from scripts.console import console, progress
from scripts.designs import LAYERS, Design, Measured, designs, measure
from scripts.files import write
from scripts.processes import processes
from scripts.ratios import Ratio, alike, best, ratios, shape
from scripts.synth import LEFT_OUT, flow_digest, library_facts, library_of, show_source, tools
from synth.liberty import Library

__all__ = ["HURRY", "main", "report_of", "show", "some"]

#: Delay that cells are sized for, over the period of the INT8 tile mapped for area.
HURRY = 0.8


def main(liberty: Path | None, delay_driven: bool, workers: int, output: Path,
         chosen: list[Design] | None = None) -> dict:
    """Measure, print the tables, write ``<output>/bench.json`` and the plots; return the report.

    Nothing is taken from an earlier run. Designs are independent of one another and measured by
    ``workers`` processes; the largest go first, so that none of them ends alone.

    Parameters
    ----------
    liberty : Path, optional
        Cell library; the default one if absent.
    delay_driven : bool
        Whether the order is also checked with cells sized for one delay.
    workers : int
        Processes.
    output : Path
        Folder.
    chosen : list of Design, optional
        All of :func:`scripts.designs.designs` if absent.

    Raises
    ------
    SimulationError
        If a result of a netlist differs from numpy's.
    """
    from scripts import bench_plots

    library = library_of(liberty)
    every = designs() if chosen is None else chosen
    delay, fast = None, []
    with processes(workers) as pool:
        slow = _measured(pool, "mapped for area", every, library, output / "bench", None)
        ours = best(slow, "W4A8")
        if delay_driven:
            delay = round(HURRY * alike(slow, ours, "INT8 tile").period, 2)
            fast = _measured(pool, "mapped for delay", _main(every, ours), library,
                             output / "bench", delay)
    report = report_of(library, slow, fast, ratios(slow, fast), delay)
    show(report)
    write(output / "bench.json", json.dumps(report, indent=2) + "\n")
    plots = bench_plots.main(report, output / "bench")
    console.print(f"Written to {output / 'bench.json'}, {', '.join(map(str, plots))}")
    return report


def some(chosen: list[Design], library: Library, workers: int, path: Path) -> dict:
    """Measure some designs, mapped for area, and write the report, which has no ratios."""
    with processes(workers) as pool:
        found = _measured(pool, "mapped for area", chosen, library, path.parent / "bench", None)
    report = report_of(library, found, [], [], None)
    write(path, json.dumps(report, indent=2) + "\n")
    return report


def _measured(pool: ProcessPoolExecutor, flow: str, chosen: list[Design], library: Library,
              output: Path, delay: float | None) -> list[Measured]:
    """Measure designs in parallel; in the order in which they are given."""
    found = {}
    with progress(sum(map(_work, chosen)), flow, estimate=True) as step:
        tasks = {pool.submit(_task, design, library.path, output, delay): design
                 for design in sorted(chosen, key=_work, reverse=True)}
        try:
            for task in as_completed(tasks):
                found[tasks[task].name] = task.result()
                step(f"{flow}: {tasks[task].name}", _work(tasks[task]))
        except BrokenProcessPool:
            raise click.ClickException("A process ended before its design was measured; it may "
                                       "have run out of memory") from None
    return [found[design.name] for design in chosen]


def _task(design: Design, library: Path, output: Path, delay: float | None) -> Measured:
    """Measure a design in a process of its own."""
    return measure(design, Library.load(library), output, delay)


def _work(design: Design) -> int:
    """About the seconds that a design takes, for the estimate: products are larger than sums."""
    each = 0.3 if "INT8" in design.name or "product" in design.name else 0.1
    if design.operation != "MAC" or design.block in ("row_sum", "aligner"):
        return round(10 + 5 * len(design.kinds))
    return round(5 + each * design.macs * (1 + len(design.kinds)) / 4)


def _main(every: list[Design], ours: Measured) -> list[Design]:
    """Designs of the order: tiles of the shape of ours, and elements."""
    return [each for each in every if each.block == "element" or (
        each.block == "tile" and shape(each.parameters) == shape(ours.design.parameters))]


def report_of(library: Library, slow: list[Measured], fast: list[Measured],
              claims: list[Ratio], delay: float | None) -> dict:
    """Everything measured, JSON-ready; ``docs/bench.md`` says what its keys are.

    Energies are at the longest period of the tiles of integers, of all designs without such, or
    at a design's own if that is longer.
    """
    tiles = [each for each in slow if each.shares and each.design.block == "tile"
             and each.design.parameters.x_format.is_integer]
    period = max(each.period for each in tiles or slow)
    return {
        "library": library_facts(library), "tools": tools(), "flow_sha256": flow_digest(),
        "left_out": LEFT_OUT, "best": best(slow, "W4A8").design.name, "layers": list(LAYERS),
        "energy_period_ns": period, "delay_ns": delay,
        "ratios": [claim.to_dict() for claim in claims],
        "designs": [_facts(each, period) for each in slow],
        "delay_driven": [_facts(each, period) for each in fast],
    }


def _facts(each: Measured, period: float) -> dict:
    """A design, JSON-ready; its energies at a period in ns, or at its own if that is longer."""
    design, period = each.design, max(period, each.period)
    share = design.macs / design.operations
    energies = {kind: each.energies(kind, period) for kind in each.shares}
    return {
        "name": design.name, "family": design.family, "block": design.block, "macs": design.macs,
        "operation": design.operation, "operations": design.operations,
        "set": design.parameters.to_dict(), "verilog_sha256": each.digest,
        "gates_per_mac": each.area, "memory_gates_per_mac": each.memory,
        "parts_gates_per_mac": each.gates, "gates_per_operation": each.area * share,
        "period_ns": each.period, "energy_period_ns": period,
        "fj_per_mac": {kind: each.energy(kind, period) for kind in each.shares},
        "parts_fj_per_mac": energies,
        "fj_per_operation": {kind: each.energy(kind, period) * share for kind in each.shares},
        "parts_fj_per_operation": {kind: {part: energy * share for part, energy in parts.items()}
                                   for kind, parts in energies.items()},
        "leakage_fj_per_mac_ns": {kind: each.leakage(kind) for kind in each.shares},
        **_blocks(each),
    }


def _blocks(each: Measured) -> dict:
    """Areas of an array by block, and what it has beyond its tiles and feet."""
    if not each.blocks:
        return {}
    return {"blocks_gates_per_mac": each.blocks,
            "overhead_gates_per_mac": each.area - each.blocks["tiles"] - each.blocks["feet"]}


def show(report: dict) -> None:
    """The report as tables."""
    period = report["energy_period_ns"]
    table = Table(Column("design", no_wrap=True), title=f"Designs, energies at {period:.2f} ns",
                  title_justify="left", box=box.SIMPLE)
    kinds = report["layers"]
    sized = {each["name"]: each for each in report["delay_driven"]}
    for heading in ("MAC per\ncycle", "GE per\nMAC", "ns", *(f"fJ,\n{kind}" for kind in kinds)):
        table.add_column(heading, justify="right")
    if sized:
        table.add_column(f"GE for\n{report['delay_ns']} ns", justify="right")
        table.add_column("ns", justify="right")
    for each in report["designs"]:
        cells = [f"{each['macs']:,}", f"{each['gates_per_mac']:,.1f}", f"{each['period_ns']:.2f}"]
        cells += [f"{each['fj_per_mac'][kind]:,.0f}" if kind in each["fj_per_mac"] else ""
                  for kind in kinds]
        if other := sized.get(each["name"]):
            cells += [f"{other['gates_per_mac']:,.1f}", f"{other['period_ns']:.2f}"]
        table.add_row(each["name"], *cells)
    console.print(table)

    table = Table("ratio", "ours", "rival", title="Ratios", title_justify="left", box=box.SIMPLE)
    for heading in ("value", "target", "met"):
        table.add_column(heading, justify="right")
    for claim in report["ratios"]:
        table.add_row(claim["name"], claim["ours"], claim["rival"], f"{claim['value']:.3f}",
                      f"{claim['comparison']} {claim['target']:g}", "yes" if claim["met"] else "no")
    console.print(table)
    show_source(report)
