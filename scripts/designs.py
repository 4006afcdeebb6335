"""Designs that ``mixpe bench`` measures, and the measurement of one."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from hashlib import sha256
from math import prod
from pathlib import Path

from golden.parameters import MACS, SETS, ArrayParameters
from golden.rival_parameters import RIVALS, RivalParameters
from hdl.block import Block
from scripts.activity import (
    dequantiser_activity,
    foot_activity,
    rescale_activity,
    rival_activity,
    row_sum_activity,
    tile_activity,
)
from scripts.operands import KINDS, PARTIAL, WIDE
from scripts.synth import areas, tile_part
from synth.liberty import Library
from synth.mapping import synthesise
from synth.power import Share, estimates
from synth.timing import analyse

__all__ = ["ARRAYS", "BLOCKS", "LAYERS", "SHAPES", "Design", "Measured", "designs",
           "measure"]

#: What a design can be, and what is mapped of it.
BLOCKS = {
    "tile":        "a tile of a set",
    "element":     "an element or a tile of a rival",
    "dequantiser": "a column's dequantiser and the control of its accumulators, which several "
                   "columns would share; the accumulators' memory counted apart",
    "foot":        "the foot of a tile: dequantisers of all columns, the queue of their scales and "
                   "the control of their accumulators, whose memory is counted apart",
    "row_sum":     "sums of a tile's rows, which its foot needs for zero points",
    "rescale":     "an output lane: accumulator times the token's scale, rounded",
    "aligner":     "what aligns the activations of a row; its ring buffer counted apart",
    "array":       "a whole array",
}

#: Rows, columns and lanes of the tiles.
SHAPES = ((2, 2, 16), (4, 4, 16), (4, 8, 32))

#: Most products of tiles that are simulated on all kinds of operands, and the only kind of others.
MOST_KINDS, FEW_KINDS = 256, ("fixture",)

#: Operands with the statistics of layers.
LAYERS = ("gaussian", "heavy", "fixture")

#: Names of the rivals in tables.
_LABELS = {"int8_pe": "INT8 PE", "int8_pe_shadow": "INT8 PE with shadow", "fp16_fma": "FP16 FMA",
           "fp16_fma_fp32": "FP16 FMA, FP32 sums", "int8_first": "to INT8 first",
           "fp16_first": "to FP16 first"}

#: Sets whose whole array is mapped.
ARRAYS = ("paper", "edge", "fpga")

#: Parts of a design that is no tile.
LOGIC, REGISTERS, QUEUE = "multiply and add", "registers", "scale queue"

#: Memory that is counted apart: of accumulators; of an array and an aligner all.
MEMORY = "accumulator memory"

#: Blocks of an array by how the names of their instances begin, and what remains of it.
ARRAY_BLOCKS = {"tile_": "tiles", "foot_": "feet", "row_sum_": "row sums",
                "column_sum": "column sums", "output": "output"}
REST = "skew and control"


@dataclass(frozen=True)
class Design:
    """Something to measure.

    Parameters
    ----------
    name : str
        What tables call it.
    family : str
        What it is an instance of; designs of a family differ in shape.
    block : str
        Key of :data:`BLOCKS`.
    parameters : ArrayParameters or RivalParameters
        Its set.
    kinds : tuple of str
        Operands on which its netlist is simulated, of :data:`scripts.operands.KINDS`, and of
        ``PARTIAL`` if it is a tile.
    """

    name: str
    family: str
    block: str
    parameters: ArrayParameters | RivalParameters
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise ValueError(f"Parameter block must be one of {', '.join(BLOCKS)}, "
                             f"not {self.block!r}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates in each cycle.

        Of a dequantiser those of the sum that it takes, of a foot those of its columns' sums, of
        a row sum and an aligner those of the tile beside them, of an output lane those of an
        output with a single group.
        """
        p = self.parameters
        if self.block in ("dequantiser", "foot", "rescale"):
            return self.operations * p.group
        return {"element": lambda: p.macs, "array": lambda: p.peak}.get(
            self.block, lambda: p.tile_rows * p.tile_columns * p.lanes)()

    @property
    def operation(self) -> str:
        """What the design does :attr:`operations` times in each cycle."""
        return {"dequantiser": "dequantisation", "foot": "dequantisation",
                "rescale": "output"}.get(self.block, "MAC")

    @property
    def operations(self) -> int:
        """Sums that are dequantised, or outputs, in each cycle; of others the MACs."""
        if self.block == "foot":
            return self.parameters.tile_columns
        return 1 if self.block in ("dequantiser", "rescale") else self.macs

    @property
    def component(self) -> Block:
        """Block that is mapped, made anew."""
        from hdl.aligner import Aligner
        from hdl.array import Array
        from hdl.foot import Foot
        from hdl.rescale import Rescale
        from hdl.rivals.block import rival
        from hdl.row_sum import RowSum
        from hdl.tile import Tile
        from tb.column import Column

        return {"tile": Tile, "element": rival, "dequantiser": Column, "foot": Foot,
                "row_sum": RowSum, "rescale": Rescale, "aligner": Aligner,
                "array": Array}[self.block](self.parameters)

    @property
    def digest(self) -> str:
        """Digest of the Verilog."""
        from hdl.export import digest

        return digest(self.component)


@dataclass(frozen=True)
class Measured:
    """A design that has been mapped, timed and simulated.

    Parameters
    ----------
    design : Design
    delay : float or None
        Delay in ns that its cells are sized for; the smallest cells if absent.
    digest : str
        Of its Verilog.
    gates : dict of str to float
        Gate equivalents per MAC of each part.
    memory : float
        Gate equivalents per MAC of memories as flip-flops, which are not among the parts.
    period : float
        Least clock period, ns.
    shares : dict of str to dict of str to Share
        Energy in a cycle of each part, memories among them, for each kind of operands.
    blocks : dict of str to float
        Of an array: gate equivalents per MAC of :data:`ARRAY_BLOCKS`, of :data:`REST` and of the
        memories.
    """

    design: Design
    delay: float | None
    digest: str
    gates: dict[str, float]
    memory: float
    period: float
    shares: dict[str, dict[str, Share]]
    blocks: dict[str, float] = field(default_factory=dict)

    @property
    def area(self) -> float:
        """Gate equivalents per MAC."""
        return sum(self.gates.values())

    def energies(self, kind: str, period: float) -> dict[str, float]:
        """Energy in fJ per MAC of each part at a clock period in ns."""
        return {part: share.energy(period) / self.design.macs
                for part, share in self.shares[kind].items()}

    def energy(self, kind: str, period: float) -> float:
        """Energy in fJ per MAC of all parts but memories at a clock period in ns."""
        return sum(energy for part, energy in self.energies(kind, period).items()
                   if part != MEMORY)

    def leakage(self, kind: str) -> float:
        """Part of this energy that grows with the period, fJ per MAC and ns."""
        return self.energy(kind, 1.0) - self.energy(kind, 0.0)


def designs(shapes: tuple[tuple[int, int, int], ...] = SHAPES) -> list[Design]:
    """All designs: each micro-architecture that suits a format, in each shape, and the rivals.

    A micro-architecture that :data:`golden.parameters.MACS` gains, and the tile of a set of int8
    and uint4 that :data:`golden.parameters.SETS` gains, are among them. The tiles of whole INT8
    operands take the best of ours too. What else a machine has is of the largest shape.
    """
    whole, every = tuple(KINDS), (*KINDS, *PARTIAL)
    found = []
    for rows, columns, lanes in shapes:
        large = rows * columns * lanes > MOST_KINDS
        shape = {"lanes": lanes, "tile_rows": rows, "tile_columns": columns}
        label = f"{rows}x{columns}x{lanes}"
        for mac in MACS:
            try:
                p = ArrayParameters(name=f"{mac}_{label}", mac=mac, **shape)
            except ValueError:
                continue  # floats, or powers of two
            kinds = LAYERS if mac == "pair_sum" else FEW_KINDS
            found.append(Design(f"W4A8 {mac} {label}", f"W4A8 {mac}", "tile", p,
                                kinds if large else every))
        for mac in ("product", "pair_sum"):
            int8 = ArrayParameters(name=f"int8_{mac}_{label}", w="int8", mac=mac, **shape)
            found.append(Design(f"INT8 {mac} {label}", "INT8 tile", "tile", int8,
                                FEW_KINDS if large else every))
        shift = ArrayParameters(name=f"shift3_{label}", w="shift3", mac="shift", **shape)
        found.append(Design(f"W3A8 shift {label}", "W3A8 shift", "tile", shift,
                            FEW_KINDS if large else every))
        aligned = SETS["w4a16_aligned"].replace(name=f"aligned_{label}", y_lanes=1, **shape)
        found.append(Design(f"W4A16 aligned {label}", "W4A16 aligned", "tile", aligned,
                            FEW_KINDS))
    found += _named({_tile_of(each.parameters) for each in found}, every)
    found.append(Design("W4A16 float 2x4x8", "W4A16 float", "tile",
                        SETS["w4a16"].replace(name="w4a16_tile"), FEW_KINDS))
    found += _around(max(shapes, key=prod))
    lanes = min(lanes for *_, lanes in shapes)
    column = ArrayParameters(name="column", lanes=lanes, tile_columns=1,
                             tile_rows=min(128 // lanes, 8))
    found.append(Design("dequantiser, G = 128", "dequantiser", "dequantiser", column, whole))
    found += [Design(f"array {name}", "array", "array", SETS[name]) for name in ARRAYS]
    for name, p in RIVALS.items():
        label = _LABELS.get(name, name)
        family = "INT8 PE" if p.kind == "int8_pe" else label
        found.append(Design(label, family, "element", p,
                            whole if family == "INT8 PE" else FEW_KINDS))
    return found


def _around(shape: tuple[int, int, int]) -> Iterator[Design]:
    """Tile of MixLLM's weights, and what stands around the tiles of a shape.

    Rows of the tiles in a column keep a foot busy in all cycles.
    """
    rows, columns, lanes = shape
    label = f"{rows}x{columns}x{lanes}"
    p = ArrayParameters(name=f"w4a8_{label}", lanes=lanes, tile_rows=rows, tile_columns=columns,
                        mesh_rows=max(1, min(128 // lanes, 8) // rows))
    aligned = p.replace(name=f"w4a16_{label}", x="fp16", x_align=12, x_scale="e8m0")
    feet = {"W4A8": p, "W4A16 aligned": aligned,
            "INT8": p.replace(name=f"w8a8_{label}", w="int8", mac="product")}
    if columns % 2 == 0:
        mixed = p.replace(name=f"mixllm_{label}", x_scale="fp16", wide=True)
        feet["MixLLM"] = mixed
        yield Design(f"MixLLM {mixed.mac} {label}", "MixLLM", "tile", mixed, (*FEW_KINDS, WIDE))
    for name, each in feet.items():
        yield Design(f"foot, {name} {label}", "foot", "foot", each,
                     (*FEW_KINDS, WIDE) if each.wide else FEW_KINDS)
    for name in ("W4A8", "W4A16 aligned"):
        yield Design(f"row sum, {name} {label}", "row sum", "row_sum", feet[name], FEW_KINDS)
    yield Design("rescale, fp16", "rescale", "rescale", p.replace(name="lane"), FEW_KINDS)
    yield Design(f"aligner, {label}", "aligner", "aligner", aligned)


def _named(known: set[ArrayParameters], kinds: tuple[str, ...]) -> Iterator[Design]:
    """Tiles of the named sets for int8 and uint4, with groups of 128, that are not known."""
    for name, p in SETS.items():
        if (p.x, p.w, p.group) == ("int8", "uint4", 128) and _tile_of(p) not in known:
            known.add(_tile_of(p))
            label = f"{p.tile_rows}x{p.tile_columns}x{p.lanes}"
            yield Design(f"W4A8 {p.mac} {label}, set {name}", f"W4A8 {p.mac}", "tile",
                         p.replace(name=f"tile_of_{name}"[:32]), kinds)


def _tile_of(p: ArrayParameters) -> ArrayParameters:
    """Set that differs from others with the same tile in nothing."""
    tile = ("x", "x_align", "w", "mac", "group", "lanes", "tile_rows", "tile_columns", "adders",
            "cut")
    kept = {each.name: getattr(p, each.name) for each in fields(p) if each.name in tile}
    scale = {"x_scale": "e8m0"} if p.x_align else {}
    return ArrayParameters(name="tile", **kept, **scale)


def measure(design: Design, library: Library, output: Path,
            delay: float | None = None) -> Measured:
    """Export, map, time and simulate a design in a folder below ``output``.

    Cells are sized for ``delay`` in ns, or remain the smallest; sized ones are not simulated.

    Raises
    ------
    SimulationError
        If a result of the netlist differs from numpy's.
    """
    from hdl.export import export

    component = design.component
    folder = design.block if delay is None else f"{design.block}_{delay:g}ns"
    directory = output / design.parameters.name / folder
    verilog = export(component, directory)
    mapping = synthesise(verilog, component.module, library, directory, flatten=False, delay=delay)
    timing = analyse(mapping.netlist)
    memories = {memory.module for memory in mapping.memories}
    part = tile_part if design.block == "tile" else partial(_part, design.block, memories)
    gates, blocks = ({name: mapping.gates(area) / design.macs for name, area in areas(
        mapping, of).items()} for of in (part, partial(_array_block, memories)))
    activities = {kind: _ACTIVITIES[design.block](mapping, design.parameters, kind)
                  for kind in (design.kinds if delay is None else ())}
    powers = estimates(mapping, activities, timing)
    return Measured(design, delay, sha256(verilog.read_bytes()).hexdigest(), gates,
                    gates.pop(MEMORY, 0.0), timing.period,
                    {kind: power.parts(part) for kind, power in powers.items()},
                    blocks if design.block == "array" else {})


_ACTIVITIES = {"tile": tile_activity, "element": rival_activity,
               "dequantiser": dequantiser_activity, "foot": foot_activity,
               "row_sum": row_sum_activity, "rescale": rescale_activity}


def _array_block(memories: set[str], path: str, _kind: str) -> str:
    """Block of an array for cells in a path; the innermost memory, the outermost block."""
    steps = path.split(".")
    if not memories.isdisjoint(steps):
        return MEMORY if "accumulators" in steps else QUEUE
    return next((name for step in steps for start, name in ARRAY_BLOCKS.items()
                 if step.startswith(start)), REST)


def _part(block: str, memories: set[str], path: str, kind: str) -> str:
    """Part of a design that is no tile, for cells in a block, their clock pins, or inputs."""
    if not memories.isdisjoint(steps := path.split(".")):
        return QUEUE if block == "foot" and "accumulators" not in steps else MEMORY
    return {"combinational": LOGIC, "sequential": REGISTERS, "clock": "clock pins",
            "inputs": "inputs"}[kind]
