"""Which blocks are mutated, with which bench, and whether that notices."""

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from golden.parameters import SETS, ArrayParameters
from golden.sets import Parameters
from golden.softmax_parameters import SOFTMAX_SETS
from hdl.array import Array
from hdl.axi_lite import AxiLiteRegisters
from hdl.block import Block
from hdl.channel import COUNT
from hdl.counter import Counter
from hdl.export import verilog
from hdl.gemm import Gemm
from hdl.softmax.core import Softmax
from hdl.softmax.division import Division
from hdl.softmax.thresholds import Threshold
from hdl.tile import Tile
from synth.mutation import SELECTOR, Mutant, Never, equivalent, mutants, with_mutants
from tb import packed, runner
from tb.bounds import bounds
from tb.column import Column
from tb.packed import Packed
from tb.registers import TABLES
from tb.runner import SimulationError, SimulationTimeout

__all__ = ["SURVIVORS", "TARGETS", "ControlError", "Target", "Trial", "prepare", "reasons"]

#: Survivors that have been looked at, and why no bench can tell them.
SURVIVORS = Path(__file__).parent / "data" / "survivors.toml"

#: How many times the CPU time of the control run a mutant's may take, and seconds besides.
_SLOWER, _MORE = 4, 5

#: Seconds for the proof that a survivor is equivalent.
_PROOF = 60


class ControlError(SimulationError):
    """A bench fails without any mutant."""


@dataclass(frozen=True)
class Target:
    """A block, the modules of it that are changed, and its bench.

    Parameters
    ----------
    name : str
        What the block is called.
    block : callable
        Gives the :class:`hdl.block.Block` that is the top module of the simulation.
    modules : tuple of str
        Names of the modules that are changed, without ``mixpe_<set>_``; empty for the array itself.
    runs : tuple of (str, dict)
        Benches, modules of :mod:`tb`, with their settings: first a short run, which finds most
        mutants, then those of the tests. A packed block adds its inputs.
    """

    name: str
    block: Callable[[], Block]
    modules: tuple[str, ...]
    runs: tuple[tuple[str, dict], ...]


def _targets() -> list[Target]:
    tiny, attention = SETS["tiny"], SOFTMAX_SETS["attention_tiny"]
    # In a proof the words of a memory are flip-flops.
    shallow = tiny.replace(name="shallow", x_depth=64, w_depth=32)
    of_tiny, of_shallow, of_attention = ({"parameters": each.to_dict()}
                                       for each in (tiny, shallow, attention))
    group, rows, columns = tiny.group, tiny.rows, tiny.columns
    shapes = [(1, group, 1), (rows, group, columns), (rows + 1, 2 * group, columns),
              (rows, 3 * group, columns + 1), (2 * rows - 1, group, 2 * columns - 1)]
    return [
        Target("dequantiser", partial(_column, tiny),
               ("dequantiser", "correction", "product", "accumulators"),
               tuple(("bench_dequantiser", of_tiny | {"count": count})
                     for count in (2_000, 50_000))),
        Target("tile", partial(Tile, tiny), ("tile", "pe"),
               tuple(("bench_tile", of_tiny | {"groups": groups}) for groups in (1 << 8, 1 << 12))),
        Target("array-control", partial(Array, tiny), ("", "band", "foot", "output"),
               (("bench_array", of_tiny | {"shapes": shapes[2:3], "lengths": [0], "resets": 2}),
                ("bench_array", of_tiny | {"shapes": shapes, "lengths": [0, 1024]}))),
        Target("softmax", partial(Softmax, attention),
               ("softmax_core", "keys_buffer", "words_buffer", "maximum", "coder",
                "exponent_sum"),
               tuple(("bench_softmax", of_attention | {"rounds": count, "resets": count})
                     for count in (1, 4))),
        Target("softmax-threshold", partial(Threshold, attention), ("threshold",),
               (("bench_threshold", of_attention | {"count": 3_000}),)),
        Target("softmax-division", partial(Division, attention), ("division",),
               tuple(("bench_division", of_attention | {"count": count})
                     for count in (200, 3_000))),
        Target("axi-front", partial(Gemm, shallow),
               ("gemm", "engine", "admission", "x_channel", "w_channel", "s_channel",
                "sx_channel"),
               (("bench_gemm", of_shallow | {"count": 2, "limit": 30, "products": 10**4,
                                             "resets": 1}),
                ("bench_gemm_crosses", of_shallow | {"rounds": 4}),
                ("bench_gemm", of_shallow | {"count": 6, "limit": 200, "products": 10**5,
                                             "resets": 4, "features": 20_001}))),
        Target("counter", partial(Counter, tiny, 4), ("counter_4",),
               (("bench_counter", {"width": 4}),)),
        Target("register-bank", partial(AxiLiteRegisters, tiny, TABLES["gemm"]), ("registers",),
               (("bench_registers", of_tiny | {"table": "gemm"}),)),
    ]


def _column(parameters) -> Packed:
    """A dequantiser with its accumulators, as the bench takes it."""
    return Packed(Column(parameters))


#: What `mixpe mutate` changes, by name.
TARGETS = {each.name: each for each in _targets()}


@dataclass(frozen=True)
class Trial:
    """A target compiled with its mutants.

    Parameters
    ----------
    target : Target
    parameters : Parameters
        Set of the block.
    top, text : str
        Top module, and the Verilog without mutants.
    mutants : list of Mutant
    seed : int
        Of the bench.
    folder : Path
        Result of :func:`tb.runner.build`.
    runs : tuple of (str, dict)
        Those of the target, with what its block adds to the settings.
    limits : tuple of int
        CPU seconds that a mutant may take for each of these.
    """

    target: Target
    parameters: Parameters
    top: str
    text: str
    mutants: list[Mutant]
    seed: int
    folder: Path
    runs: tuple[tuple[str, dict], ...]
    limits: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the Verilog, hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    def control(self) -> list[float]:
        """Run the benches without a mutant; return the CPU seconds of each run.

        Raises
        ------
        ControlError
            If it fails.
        """
        seconds = []
        for run in self.runs:
            before = os.times()
            try:
                self._run(0, *run)
            except SimulationError as error:
                raise ControlError(f"Block {self.target.name} must pass its bench without a "
                                   f"mutant: {error}") from None
            after = os.times()
            seconds.append(after.children_user + after.children_system
                           - before.children_user - before.children_system)
        return seconds

    def outcome(self, number: int) -> str:
        """What becomes of a mutant, counted from 1.

        Returns
        -------
        str
            ``failed`` or ``time`` if the bench finds it, by a test that fails or by one that takes
            too long; ``equivalent`` if it is proved to change nothing; otherwise ``survived``.
        """
        for run, seconds in zip(self.runs, self.limits, strict=True):
            try:
                self._run(number, *run, seconds=seconds)
            except SimulationTimeout:
                return "time"
            except SimulationError:
                return "failed"
        mutant = self.mutants[number - 1]
        same = equivalent(self.text, self.top, mutant, _PROOF, self._never(mutant.module))
        return "equivalent" if same else "survived"

    def _never(self, module: str) -> list[Never]:
        """Bits above the bounds of an engine's counts, however long it runs."""
        if not isinstance(self.parameters, ArrayParameters):
            return []
        short = module.removeprefix(f"mixpe_{self.parameters.name}_")
        return [Never(each.name, *each.bits)
                for each in bounds(self.parameters, (1 << COUNT.width) - 1)
                if each.largest >= 0 and each.bits[0] <= each.bits[1]
                and re.fullmatch(each.module, short)]

    def _run(self, number: int, bench: str, settings: dict, seconds: int | None = None) -> None:
        runner.run(self.folder, self.top, f"tb.{bench}", seed=self.seed,
                   plusargs=(f"+{SELECTOR}={number}",), seconds=seconds, **settings)


def prepare(target: Target, count: int, seed: int) -> Trial:
    """Compile a target with ``count`` mutants and run its bench without any.

    Raises
    ------
    ControlError
        If the bench fails without any mutant.
    """
    block = target.block()
    text, name = verilog(block), block.parameters.name
    modules = [f"mixpe_{name}_{module}" if module else f"mixpe_{name}" for module in target.modules]
    chosen = mutants(text, block.module, modules, count, seed)
    folder = runner.build(with_mutants(text, block.module, chosen), block.module)
    inputs = packed.settings(block)
    runs = tuple((bench, settings | inputs) for bench, settings in target.runs)
    trial = Trial(target, block.parameters, block.module, text, chosen, seed, folder, runs)
    limits = tuple(round(_SLOWER * each + _MORE) for each in trial.control())
    return Trial(**vars(trial) | {"limits": limits})


def reasons(path: Path = SURVIVORS) -> list[tuple[re.Pattern, str]]:
    """Keys of the survivors that have been looked at, as expressions, and the reason of each."""
    with path.open("rb") as file:
        return [(re.compile(each["mutant"]), each["reason"])
                for each in tomllib.load(file)["survivor"]]
