"""``mixpe netlist-sim``: the benches of the tile and the array on their mapped netlists."""

from pathlib import Path

from golden.parameters import ArrayParameters
from scripts.console import console
from scripts.synth import library_of, mapped
from synth.mapping import simulation_model
from tb import runner

__all__ = ["main"]


def main(parameters: ArrayParameters, liberty: Path | None, seed: int) -> None:
    """Run the benches; the log of a run that fails says where it is.

    Raises
    ------
    SimulationError
        If a test fails.
    """
    library = library_of(liberty)
    p = parameters
    settings = {
        "tile": {"groups": 1 << 12},
        "array": {"shapes": [(1, p.group, 1), (p.rows + 1, 2 * p.group, p.columns + 1)],
                  "resets": 3, "lengths": [0]},
    }
    for block in ("tile", "array"):
        with console.status(f"mapping and compiling the {block}"):
            mapping = mapped(p, block, library, Path("build/synth"))
            folder = runner.build(simulation_model(mapping), mapping.top)
        with console.status(f"simulating the netlist of the {block}"):
            count = runner.run(folder, mapping.top, f"tb.bench_{block}", seed=seed,
                               parameters=p.to_dict(), **settings[block])
        console.print(f"{mapping.top}: {len(mapping.netlist.instances):,} cells, "
                      f"{count} tests passed, seed {seed}")
