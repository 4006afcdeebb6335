"""``mixpe netlist-sim``: the benches of a set's blocks on their mapped netlists."""

from functools import partial
from pathlib import Path

from golden.parameters import ArrayParameters
from golden.sets import Parameters
from golden.softmax_parameters import BaselineParameters
from scripts import softmax_synth, synth
from scripts.console import console
from synth.mapping import simulation_model
from tb import runner

__all__ = ["main"]


def main(parameters: Parameters, liberty: Path | None, seed: int) -> None:
    """Run the benches; the log of a run that fails says where it is.

    Raises
    ------
    SimulationError
        If a test fails.
    """
    library = synth.library_of(liberty)
    jobs = _array if isinstance(parameters, ArrayParameters) else _softmax
    for block, mapped, bench, settings in jobs(parameters):
        with console.status(f"mapping and compiling the {block}"):
            mapping = mapped(library=library, output=Path("build/synth"))
            folder = runner.build(simulation_model(mapping), mapping.top)
        with console.status(f"simulating the netlist of the {block}"):
            count = runner.run(folder, mapping.top, bench, seed=seed,
                               parameters=parameters.to_dict(), **settings)
        console.print(f"{mapping.top}: {len(mapping.netlist.instances):,} cells, "
                      f"{count} tests passed, seed {seed}")


def _array(p: ArrayParameters):
    """Block, how it is mapped, its bench and the settings of that, for the tile and the array."""
    settings = {
        "tile": {"groups": 1 << 12},
        "array": {"shapes": [(1, p.group, 1), (p.rows + 1, 2 * p.group, p.columns + 1)],
                  "resets": 3, "lengths": [0]},
    }
    for block in settings:
        yield block, partial(synth.mapped, p, block), f"tb.bench_{block}", settings[block]


def _softmax(p):
    """The same for the unit of a softmax set; its row buffers are memories, not cells."""
    settings = {"rounds": 1, "resets": 1, "exact": isinstance(p, BaselineParameters)}
    yield "unit", partial(softmax_synth.mapped, p), "tb.bench_softmax", settings
