"""Area of attention's second product: the unit for codes times V, and the engine's tiles."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from golden.parameters import ArrayParameters
from golden.values_parameters import ValuesParameters
from hdl.block import Block
from hdl.export import export
from hdl.tile import Tile
from hdl.values.outputs import ValuesOutputs
from hdl.values.tile import ValuesTile
from scripts.console import console, progress
from scripts.files import write
from scripts.synth import library_of, tools
from synth.liberty import Library
from synth.mapping import synthesise
from synth.timing import analyse

__all__ = ["Measured", "designs", "main", "measure"]

#: Bits of the exponents, in digits of the engine's ``uint4``.
DIGITS = 4


@dataclass(frozen=True)
class Design:
    """A block, and how often it must be used for a product.

    Parameters
    ----------
    name : str
        What it is.
    block : Block
    macs : int
        Products of a weight and a value in each cycle.
    passes : dict of int to int
        Passes over V for each number of bits of a code.
    """

    name: str
    block: Block
    macs: int
    passes: dict[int, int]


@dataclass(frozen=True)
class Measured:
    """A mapped block; ``gates`` are gate equivalents for a product in each cycle of a pass."""

    name: str
    macs: int
    gates: float
    period_ns: float
    passes: dict[int, int]

    def cost(self, bits: int) -> float | None:
        """Gate equivalents times passes for a product with codes of ``bits`` bits."""
        return self.gates * self.passes[bits] if bits in self.passes else None


def designs(values: ValuesParameters) -> list[Design]:
    """Tiles of the unit for each width of a code, and the engine's with as many lanes.

    An array multiplies by {0, 1} for one code after the other, or by one digit of the exponents
    after the other.
    """
    found = []
    for bits in (2, 3, 4):
        p = values.replace(name=f"{values.name[:27]}_{bits}bit", bits=bits,
                           products=min(values.products, 1 << bits))
        found.append(Design(f"sums for {p.levels} codes", ValuesTile(p), p.peak, {bits: 1}))
    p = values.replace(name=f"{values.name[:24]}_outputs")
    found.append(Design("feet, lanes, outputs", ValuesOutputs(p), p.peak, {}))
    for w, passes in (("int2", {bits: 1 << bits for bits in (2, 3, 4)}),
                      ("uint4", dict.fromkeys((2, 3, 4), DIGITS))):
        p = ArrayParameters(name=f"engine_{w}", w=w, lanes=values.tokens, tile_rows=4,
                            tile_columns=4)
        macs = p.tile_rows * p.tile_columns * p.lanes
        found.append(Design(f"engine, {w}", Tile(p), macs, passes))
    return found


def measure(design: Design, library: Library, output: Path) -> Measured:
    """Map and time a block in a folder below ``output``."""
    directory = output / design.block.module
    mapping = synthesise(export(design.block, directory), design.block.module, library, directory,
                         flatten=False)
    return Measured(design.name, design.macs, mapping.gates() / design.macs,
                    analyse(mapping.netlist).period, design.passes)


def main(parameters: ValuesParameters, liberty: Path | None, output: Path) -> None:
    """Map and time all designs; print the table and write ``<output>/<set>.json``."""
    library = library_of(liberty)
    chosen, found = designs(parameters), []
    with progress(len(chosen)) as step:
        for design in chosen:
            step(f"mapping {design.name}")
            found.append(measure(design, library, output))
    table = Table("block", title="Codes times V", title_justify="left", box=box.SIMPLE)
    for heading in ("products per cycle", "GE per product", "period, ns", "b = 2", "b = 3",
                    "b = 4"):
        table.add_column(heading, justify="right")
    for each in found:
        costs = (each.cost(bits) for bits in (2, 3, 4))
        table.add_row(each.name, f"{each.macs:,}", f"{each.gates:.1f}", f"{each.period_ns:.2f}",
                      *("" if cost is None else f"{cost:.0f}" for cost in costs))
    console.print(table)
    console.print("Columns b: gate equivalents times passes for a product in each cycle.")
    report = {"set": parameters.to_dict(), "library": library.path.name, "tools": tools(),
              "blocks": [asdict(each) for each in found]}
    path = output / f"{parameters.name}.json"
    write(path, json.dumps(report, indent=2) + "\n")
    console.print(f"Written to {path}")
