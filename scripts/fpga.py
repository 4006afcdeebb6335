"""``mixpe fpga``: a set's tile and INT8 tiles of its shape, placed and routed on an FPGA."""

import json
import platform
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice, product
from pathlib import Path

from rich import box
from rich.table import Table

from golden.parameters import ArrayParameters
from scripts.console import console, progress
from scripts.files import write
from synth.fpga import FAMILIES, Design, Family, Placement, place, synthesise

__all__ = ["COUNTED", "Tile", "main", "tiles"]

COUNTED = ("the tile's own cells, not those of the harness around it; frequencies are of paths "
           "from register to register")


@dataclass(frozen=True)
class Tile:
    """A tile to place and route.

    Parameters
    ----------
    parameters : ArrayParameters
    dsps : bool
        Whether multiplications may take DSPs.
    """

    parameters: ArrayParameters
    dsps: bool = False

    @property
    def name(self) -> str:
        """The set's, and what it may take."""
        return f"{self.parameters.name}_dsp" if self.dsps else self.parameters.name

    @property
    def macs(self) -> int:
        """Multiply-accumulates in each cycle."""
        p = self.parameters
        return p.tile_rows * p.tile_columns * p.lanes


def main(parameters: ArrayParameters, family: str, seeds: int, workers: int,
         output: Path) -> None:
    """Place and route; print the table and write ``<output>/<set>-<family>.json``.

    Seeds are 1 to ``seeds``, and ``workers`` of the jobs run at a time.
    """
    chosen = tiles(parameters, FAMILIES[family])
    folder = output / f"{parameters.name}-{family}"
    placements = _placed(chosen, FAMILIES[family], tuple(range(1, seeds + 1)), workers, folder)
    report = _report(parameters, family, chosen, placements)
    _print(report)
    path = folder.with_suffix(".json")
    write(path, json.dumps(report, indent=2) + "\n")
    console.print(f"Written to {path}")


def tiles(parameters: ArrayParameters, family: Family) -> tuple[Tile, ...]:
    """The set's tile, then INT8 tiles of its shape.

    These have a multiplier for each lane, of LUTs; the sums that need none, which may be smaller;
    and, if the family has any, DSPs.
    """
    int8 = parameters.baseline()
    sums = int8.replace(name=f"{parameters.name[:23]}_int8_sum",
                        mac="shift_add" if parameters.lanes % 2 else "pair_sum")
    dsps = (Tile(int8, dsps=True),) if family.with_dsps else ()
    return Tile(parameters), Tile(int8), Tile(sums), *dsps


def _placed(chosen: tuple[Tile, ...], family: Family, seeds: tuple[int, ...], workers: int,
            folder: Path) -> list[Placement]:
    """Each tile with each seed; the first error ends the rest."""
    from hdl.export import export
    from hdl.tile import Tile as Hardware

    sources = [export(Hardware(tile.parameters), folder / tile.name) for tile in chosen]

    def mapped(tile: Tile, verilog: Path) -> Design:
        design = synthesise(verilog, family, verilog.parent, dsps=tile.dsps)
        design.device  # noqa: B018, refused now, before others are placed for hours
        return design

    def each(job: Callable, *arguments: Iterable, text: str) -> list:
        results = []
        for result in pool.map(job, *arguments):
            results.append(result)
            step(f"{text} {len(results)}")
        return results

    # The tools are processes of their own, so that threads suffice.
    with (progress(len(chosen) * (1 + len(seeds)), estimate=True) as step,
          ThreadPoolExecutor(workers) as pool):
        designs = each(mapped, chosen, sources, text="mapped")
        jobs = zip(*product(designs, seeds), strict=True)
        runs = iter(each(place, *jobs, text="placed and routed"))
    return [Placement(design, tuple(islice(runs, len(seeds)))) for design in designs]


def _report(parameters: ArrayParameters, family: str, chosen: Iterable[Tile],
            placements: Iterable[Placement]) -> dict:
    """Everything measured, JSON-ready. Frequencies in MHz."""
    entries = []
    for tile, placement in zip(chosen, placements, strict=True):
        design = placement.design
        resources = asdict(design.resources)
        entries.append({
            "tile": tile.name, "mac": tile.parameters.mac, "macs": tile.macs,
            "device": design.device.name, "package": design.device.package,
            **resources,
            **{f"{name}_per_mac": number / tile.macs for name, number in resources.items()},
            "median_mhz": placement.fmax, "runs": [asdict(run) for run in placement.runs],
        })
    ours, *rivals = entries
    nextpnr = f"yowasp-nextpnr-{family}"
    return {
        "set": parameters.to_dict(),
        "family": family,
        "counted": COUNTED,
        "tools": {"python": platform.python_version(),
                  **{name: version(name) for name in ("mixpe", "amaranth", "pyosys", nextpnr)}},
        "tiles": entries,
        "ratios": {rival["tile"]: {"luts": ours["luts"] / rival["luts"],
                                   "median_mhz": ours["median_mhz"] / rival["median_mhz"]}
                   for rival in rivals},
    }


def _print(report: dict) -> None:
    """The report as a table."""
    tiles, tools = report["tiles"], report["tools"]
    ours, *rivals = tiles
    table = Table("", box=box.SIMPLE, title_justify="left",
                  title=f"Tiles of {ours['tile']} on {report['family']}: {ours['macs']} MAC per "
                        f"cycle, {len(ours['runs'])} seeds")
    for tile in tiles:
        table.add_column(tile["tile"], justify="right")
    table.add_row("device", *(tile["device"] for tile in tiles))
    for label, field in (("LUT", "luts"), ("carry bits", "carries"), ("FF", "flip_flops"),
                         ("block RAM", "block_rams"), ("DSP", "dsps")):
        table.add_row(label, *(f"{tile[field]:,}" for tile in tiles))
        table.add_row(f"{label} per MAC", *(f"{tile[f'{field}_per_mac']:.2f}" for tile in tiles))
    for label, choose in (("lowest", min), ("highest", max)):
        table.add_row(f"fmax, MHz, {label}", *(
            f"{choose(run['fmax'] for run in tile['runs']):.1f}" for tile in tiles))
    table.add_row("fmax, MHz, median", *(f"{tile['median_mhz']:.1f}" for tile in tiles))
    for label, field in (("LUT", "luts"), ("fmax", "median_mhz")):
        table.add_row(f"{label}, ratio to it", "", *(
            f"{report['ratios'][tile['tile']][field]:.3f}" for tile in rivals))
    console.print(table)
    outside = sum(not run["inside"] for tile in tiles for run in tile["runs"])
    if outside:
        console.print(f"In {outside} runs the harness limits the frequency, not the tile.")
    console.print(f"Counted: {report['counted']}.")
    console.print(", ".join(f"{tool} {number}" for tool, number in tools.items()))
