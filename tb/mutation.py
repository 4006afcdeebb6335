"""Which blocks are mutated, with which bench, and whether that notices."""

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from golden.parameters import SETS
from golden.softmax_parameters import SOFTMAX_SETS
from hdl.array import Array
from hdl.axi_lite import AxiLiteRegisters
from hdl.block import Block
from hdl.export import verilog
from hdl.gemm import Gemm
from hdl.softmax.core import Softmax
from hdl.softmax.thresholds import Threshold
from hdl.tile import Tile
from synth.mutation import SELECTOR, Mutant, equivalent, mutants, with_mutants
from tb import packed, runner
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
    bench : str
        Module of :mod:`tb`.
    modules : tuple of str
        Names of the modules that are changed, without ``mixpe_<set>_``; empty for the array itself.
    settings : tuple of dict
        Settings of the bench: first those of a short run, which finds most mutants, last those of
        the tests. A packed block adds its inputs.
    """

    name: str
    block: Callable[[], Block]
    bench: str
    modules: tuple[str, ...]
    settings: tuple[dict, ...]


def _targets() -> list[Target]:
    tiny, attention = SETS["tiny"], SOFTMAX_SETS["attention_tiny"]
    of_tiny = {"parameters": tiny.to_dict()}
    group, rows, columns = tiny.group, tiny.rows, tiny.columns
    shapes = [(1, group, 1), (rows, group, columns), (rows + 1, 2 * group, columns),
              (rows, 3 * group, columns + 1), (2 * rows - 1, group, 2 * columns - 1)]
    return [
        Target("dequantiser", partial(_column, tiny), "bench_dequantiser",
               ("dequantiser", "correction", "product", "accumulators"),
               tuple(of_tiny | {"count": count} for count in (2_000, 50_000))),
        Target("tile", partial(Tile, tiny), "bench_tile", ("tile", "pe"),
               tuple(of_tiny | {"groups": groups} for groups in (1 << 8, 1 << 12))),
        Target("array-control", partial(Array, tiny), "bench_array",
               ("", "band", "foot", "output"),
               (of_tiny | {"shapes": shapes[2:3], "lengths": [0], "resets": 2},
                of_tiny | {"shapes": shapes, "lengths": [0, 1024]})),
        Target("softmax", partial(Softmax, attention), "bench_softmax",
               ("softmax_core", "keys_buffer", "words_buffer", "maximum", "coder", "exponent_sum",
                "division"),
               tuple({"parameters": attention.to_dict(), "rounds": count, "resets": count}
                     for count in (1, 4))),
        Target("softmax-threshold", partial(Threshold, attention), "bench_threshold",
               ("threshold",), ({"parameters": attention.to_dict(), "count": 3_000},)),
        Target("axi-front", partial(Gemm, tiny), "bench_gemm",
               ("gemm", "counter_32", "engine", "admission", "x_channel", "w_channel", "s_channel",
                "sx_channel"),
               (of_tiny | {"count": 2, "limit": 30, "products": 10**4, "resets": 1},
                of_tiny | {"count": 6, "limit": 200, "products": 10**6, "resets": 4})),
        Target("register-bank", partial(AxiLiteRegisters, tiny, TABLES["gemm"]), "bench_registers",
               ("registers",), ({"table": "gemm"},)),
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
    set_name, top, text : str
        Parameter set, top module, and the Verilog without mutants.
    mutants : list of Mutant
    seed : int
        Of the bench.
    folder : Path
        Result of :func:`tb.runner.build`.
    settings : tuple of dict
        Settings of the bench, the target's and what its block adds.
    limits : tuple of int
        CPU seconds that a mutant's run may take with each of these.
    """

    target: Target
    set_name: str
    top: str
    text: str
    mutants: list[Mutant]
    seed: int
    folder: Path
    settings: tuple[dict, ...]
    limits: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the Verilog, hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    def control(self) -> list[float]:
        """Run the bench without a mutant; return its CPU seconds with each of the settings.

        Raises
        ------
        ControlError
            If it fails.
        """
        seconds = []
        for settings in self.settings:
            before = os.times()
            try:
                self._run(0, settings)
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
        for settings, seconds in zip(self.settings, self.limits, strict=True):
            try:
                self._run(number, settings, seconds)
            except SimulationTimeout:
                return "time"
            except SimulationError:
                return "failed"
        mutant = self.mutants[number - 1]
        return "equivalent" if equivalent(self.text, self.top, mutant, _PROOF) else "survived"

    def _run(self, number: int, settings: dict, seconds: int | None = None) -> None:
        runner.run(self.folder, self.top, f"tb.{self.target.bench}", seed=self.seed,
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
    settings = tuple(each | inputs for each in target.settings)
    trial = Trial(target, name, block.module, text, chosen, seed, folder, settings)
    limits = tuple(round(_SLOWER * each + _MORE) for each in trial.control())
    return Trial(**vars(trial) | {"limits": limits})


def reasons(path: Path = SURVIVORS) -> list[tuple[re.Pattern, str]]:
    """Keys of the survivors that have been looked at, as expressions, and the reason of each."""
    with path.open("rb") as file:
        return [(re.compile(each["mutant"]), each["reason"])
                for each in tomllib.load(file)["survivor"]]
