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

COUNTED = ("the tile's own cells, as Yosys maps it; not the harness around it. Frequencies are of "
           "paths from register to register, at the default speed grade and worst corner of "
           "nextpnr's tables")


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
        assert design.device  # or others are placed for hours before this one is refused
        return design

    def each(job: Callable, *arguments: Iterable, text: str) -> list:
        results = []
        for result in pool.map(job, *arguments):
            results.append(result)
            step(f"{text} {len(results)}")
        return results

    # The tools are processes of their own, so that threads suffice.
    with (progress(len(chosen) * (1 + len(seeds))) as step,
          ThreadPoolExecutor(workers) as pool):
        designs = each(mapped, chosen, sources, text="mapped")
        jobs = zip(*product(designs, seeds), strict=True)
        frequencies = iter(each(place, *jobs, text="placed and routed"))
    return [Placement(design, seeds, tuple(islice(frequencies, len(seeds))))
            for design in designs]


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
            "seeds": placement.seeds, "fmax_mhz": placement.fmax,
            "median_mhz": placement.median,
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
    name, family = report["set"]["name"], report["family"]
    ours, *_ = report["tiles"]
    table = Table("tile", "device", box=box.SIMPLE, title_justify="left",
                  title=f"Tiles of {name} on {family}: {ours['macs']} MAC per cycle, "
                        f"{len(ours['seeds'])} seeds")
    for heading in ("LUT\nper MAC", "carry bits\nper MAC", "FF\nper MAC", "RAM\nper MAC",
                    "DSP\nper MAC", "fmax, MHz\nmedian", "\nlowest", "\nhighest",
                    "LUT,\nratio", "fmax,\nratio"):
        table.add_column(heading, justify="right")
    for tile in report["tiles"]:
        ratio = report["ratios"].get(tile["tile"], {"luts": 1, "median_mhz": 1})
        table.add_row(
            tile["tile"], tile["device"],
            *(f"{tile[f'{field}_per_mac']:.{digits}f}" for field, digits in (
                ("luts", 1), ("carries", 1), ("flip_flops", 1), ("block_rams", 0), ("dsps", 2))),
            *(f"{frequency:.1f}" for frequency in (
                tile["median_mhz"], min(tile["fmax_mhz"]), max(tile["fmax_mhz"]))),
            f"{ratio['luts']:.3f}", f"{ratio['median_mhz']:.3f}")
    console.print(table)
    console.print(f"Ratios are those of {name} to the tile of the line. Counted: "
                  f"{report['counted']}.")
    console.print(", ".join(f"{tool} {number}" for tool, number in report["tools"].items()))
