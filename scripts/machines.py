"""Machines of equal area for the layers of models: their time and energy.

A machine is as many tiles as fit in an area, with their feet, rescaling lanes and softmax unit, all
measured by ``mixpe bench`` and ``mixpe synth``. Operands come from a memory of one bandwidth
through buffers of one size.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from math import ceil

from golden.cycles import GemmShape, commands_cycles
from golden.fidelity import SCHEMES
from golden.layer_cycles import command_rows
from golden.parameters import ArrayParameters
from golden.stream import group_beats
from golden.workloads import ATTENTION, MEMORY, MODELS, PHASES, Gemm, Model, Phase, layer

__all__ = ["CONSTANTS", "Constant", "Cost", "DESIGNS", "KINDS", "Kind", "Machine", "Softmax",
           "constants", "machines"]


@dataclass(frozen=True)
class Constant:
    """A number that is not measured here."""

    value: float
    unit: str
    source: str


#: What the machines share, and what their surroundings cost.
CONSTANTS = {
    "area": Constant(4.0, "MGE", "chosen: some 5,000 INT8 elements; the array that MixPE's authors "
                     "model has 32 x 32 (github.com/yuzhang712/mixpe_simulator)"),
    "softmax_share": Constant(0.02, "of the area", "chosen"),
    "bandwidth": Constant(64.0, "GB/s", "1,024 bits at 500 MHz, as in the simulator of MixPE's "
                          "authors"),
    "latency": Constant(100.0, "ns", "first word of a DRAM access, about 100 ns: Hennessy and "
                        "Patterson, Computer Architecture, 6th edition, section 2.2"),
    "buffer": Constant(2048.0, "KiB", "chosen, for activations and as much for weights; the "
                       "simulator of MixPE's authors has 256 and 128, which hold 12 tokens of "
                       "20,480 features"),
    "dram": Constant(3.92, "pJ/bit", "HBM2: O'Connor et al., Fine-Grained DRAM, MICRO 2017"),
    "sram": Constant(20 / 64, "pJ/bit", "64 bits of a memory of 32 KB, as a bank, take 20 pJ at "
                     "45 nm: Horowitz, Computing's energy problem, ISSCC 2014"),
}


def constants(changes: Mapping[str, float]) -> dict[str, Constant]:
    """The constants, some with other values.

    Raises
    ------
    ValueError
        If there is no such constant, or a value is not positive.
    """
    found = dict(CONSTANTS)
    for name, value in changes.items():
        if name not in found:
            raise ValueError(f"Constant must be one of {', '.join(found)}, not {name!r}")
        if not 0 < value < float("inf"):
            raise ValueError(f"Constant {name} must be a positive number, not {value:g}")
        found[name] = replace(found[name], value=value, source="given")
    return found


#: Most outputs that are rescaled in each cycle.
Y_LANES = 64

#: GEMMs for which a mesh is chosen: rows, output features, and lengths from ViT-Base's on.
TYPICAL = tuple((m, k, n) for m in (512, 2048) for k in (768, 4096) for n in (768, 4096, 14336))

#: Longest K of the models.
LONGEST = max(gemm.k for model in MODELS.values() for gemm in layer(model, PHASES[0])[0])

#: Operands with whose energies the machines count.
OPERANDS = "fixture"

#: Part of a design's energy that is drawn in every cycle, operands or not.
CLOCK = "clock pins"

_SCALE_BITS, _ZERO_BITS, _FP16 = 16, 4, 16


@dataclass(frozen=True)
class Kind:
    """What a machine is made of, and what its operands take in memory.

    Parameters
    ----------
    name : str
    scheme : str
        Its arithmetic, a key of :data:`golden.fidelity.SCHEMES`.
    tile : str
        Design of the bench that multiplies and adds.
    foot : str or None
        Design of the bench with the dequantisers of a tile; none if weights have no groups or are
        dequantised first.
    row_sum : str or None
        Design of the bench that sums the activations of a row of tiles, for zero points.
    aligner : str or None
        Design of the bench that aligns the activations of the whole machine.
    frame : ArrayParameters
        Array of one tile that takes as many cycles.
    x_bits : float
        Bits of an activation with its share of scales.
    drains : bool
        Whether sums leave through the elements while nothing is computed: there is no shadow.
    pipelined : bool
        Whether the tile is taken to keep the clock of :data:`PACE` by registers that are not
        counted.
    exaq : bool
        Whether its softmax unit has codes, or exact exponents.
    attends : bool
        Whether keys and values can be its weights.
    """

    name: str
    scheme: str
    tile: str
    foot: str | None
    row_sum: str | None
    aligner: str | None
    frame: ArrayParameters
    x_bits: float
    drains: bool = False
    pipelined: bool = False
    exaq: bool = False
    attends: bool = True

    @property
    def w_bits(self) -> float:
        """Mean bits of a weight with its share of scales and zero points."""
        return SCHEMES[self.scheme].weight_bits

    @property
    def wide(self) -> float:
        """Share of the output features that have 8 bits."""
        return SCHEMES[self.scheme].wide_share


def _grouped(bits: int, zero_bits: int = 0) -> float:
    """Bits of a weight in groups of 128 with a scale and a zero point."""
    return bits + (_SCALE_BITS + zero_bits) / 128


def _frame(name: str, **options) -> ArrayParameters:
    values = {"w": "uint4", "lanes": 32, "tile_rows": 4, "tile_columns": 8} | options
    return ArrayParameters(name=name, **values)


#: Machines that are compared.
KINDS = (
    Kind("MixPE W4A8", "W4A8", "W4A8 pair_sum 4x8x32", "foot, W4A8 4x8x32",
         "row sum, W4A8 4x8x32", None, _frame("w4a8"), 8, exaq=True),
    Kind("MixPE W4A16", "W4A16 aligned", "W4A16 aligned 4x8x32", "foot, W4A16 aligned 4x8x32",
         "row sum, W4A16 aligned 4x8x32", "aligner, 4x8x32", _frame("w4a16"), _FP16,
         exaq=True),
    Kind("MixLLM W4.4A8", "W4.4A8 MixLLM", "MixLLM pair_sum 4x8x32", "foot, MixLLM 4x8x32",
         "row sum, W4A8 4x8x32", None, _frame("mixllm", wide=True, x_scale="fp16"),
         8 + _SCALE_BITS / 128, exaq=True),
    # Its foot has no zero points, as that of INT8 weights, whose sums are wider.
    Kind("DenseShift W3A8", "DenseShift, 3 bits", "W3A8 shift 4x8x32", "foot, INT8 4x8x32", None,
         None, _frame("shift", w="shift3", mac="shift"), 8, exaq=True, attends=False),
    Kind("INT8", "INT8", "INT8 PE", None, None, None,
         _frame("int8", w="int8", mac="product", lanes=1, tile_rows=2, tile_columns=2), 8,
         drains=True),
    Kind("INT8, pair sums", "INT8", "INT8 pair_sum 4x8x32", None, None, None,
         _frame("int8_pairs", w="int8"), 8),
    Kind("FP16", "FP16, fp16 sums", "FP16 FMA", None, None, None,
         _frame("fp16", w="int8", mac="product", lanes=1, tile_rows=2, tile_columns=2), _FP16,
         drains=True, pipelined=True),
    Kind("INT8, dequantised first", "W4A8, INT8 first", "to INT8 first", None, None, None,
         _frame("int8_first", mac="product", lanes=16, tile_rows=4, tile_columns=4),
         8),
    # The same by pair sums: a tile of int8 whose dequantisers are not counted.
    Kind("INT8 by pair sums, dequantised first", "W4A8, INT8 first", "INT8 pair_sum 4x8x32", None,
         None, None, _frame("int8_pairs_first", w="int8"), 8),
    Kind("FP16, dequantised first", "W4A16, FP16 first", "to FP16 first", None, None, None,
         _frame("fp16_first", mac="product", lanes=1, tile_rows=4, tile_columns=4), _FP16,
         pipelined=True),
)

#: Design whose clock pipelined tiles keep.
PACE = "INT8 PE"

#: Name of the design of a rescaling lane, and of all that the machines are made of.
RESCALE = "rescale, fp16"
DESIGNS = (RESCALE, *dict.fromkeys(
    name for kind in KINDS for name in (kind.tile, kind.foot, kind.row_sum, kind.aligner) if name))


@dataclass(frozen=True)
class Softmax:
    """Softmax unit, as ``mixpe synth`` has measured it.

    Parameters
    ----------
    gates : float
        Gate equivalents of a lane.
    period : float
        Least clock period, ns.
    energy : float
        fJ for each element.
    """

    gates: float
    period: float
    energy: float

    @classmethod
    def of(cls, unit: dict) -> "Softmax":
        """From a unit of the report of ``mixpe synth``."""
        return cls(unit["gates_per_lane"], unit["period_ns"], unit["fj_per_element"])


@dataclass(frozen=True)
class Cost:
    """Time and energy of some work.

    Parameters
    ----------
    macs : float
        Multiply-accumulates that are wanted.
    compute, memory : float
        Time in ns of the array, and of the memory, if each were alone.
    time : float
        Time in ns.
    bytes : float
        Bytes from and to the memory.
    energy : dict of str to float
        Energy in pJ of each part.
    """

    macs: float = 0.0
    compute: float = 0.0
    memory: float = 0.0
    time: float = 0.0
    bytes: float = 0.0
    energy: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: "Cost") -> "Cost":
        mine, others = dict(self.energy), dict(other.energy)
        return Cost(self.macs + other.macs, self.compute + other.compute,
                    self.memory + other.memory, self.time + other.time, self.bytes + other.bytes,
                    {part: mine.get(part, 0.0) + others.get(part, 0.0)
                     for part in {**mine, **others}})

    @property
    def bound(self) -> str:
        """What the time is mostly that of."""
        return "memory" if self.memory > self.compute else "compute"

    @property
    def total_energy(self) -> float:
        """Energy in pJ of all parts."""
        return sum(self.energy.values())


@dataclass(frozen=True)
class Machine:
    """As many tiles of a kind as fit in an area.

    Parameters
    ----------
    kind : Kind
    designs : dict of str to dict
        Designs of the bench's report by name.
    softmax : Softmax
        Its softmax unit.
    constants : dict of str to Constant
    """

    kind: Kind
    designs: Mapping[str, dict]
    softmax: Softmax
    constants: Mapping[str, Constant]

    @property
    def tile(self) -> dict:
        """Design of its tile."""
        return self.designs[self.kind.tile]

    @property
    def _parts(self) -> list[dict]:
        """Designs whose paths the clock must suit: all but output lanes and aligner, being few."""
        kind = self.kind
        names = PACE if kind.pipelined else kind.tile, kind.foot, kind.row_sum
        return [self.designs[name] for name in names if name]

    @property
    def period(self) -> float:
        """Clock period, ns: the longest path of all parts."""
        return max(part["period_ns"] for part in self._parts)

    @property
    def unit_gates(self) -> float:
        """Gate equivalents per MAC of a tile and its foot, accumulators included."""
        tile = self.tile
        foot = _gates(self.designs[self.kind.foot]) if self.kind.foot else 0.0
        return (_gates(tile) + foot) / tile["macs"]

    @property
    def energy_per_mac(self) -> float:
        """Energy in fJ of a product, a sum's dequantisation shared by its group."""
        parts = self.tile["parts_fj_per_mac"][OPERANDS]
        return sum(parts.values()) + self._per_operation(self.kind.foot) / self.kind.frame.group

    def _gates(self, rows: int, columns: int, y_lanes: int) -> float:
        """Gate equivalents of an array with its output lanes."""
        kind, frame = self.kind, self.kind.frame
        found = rows * columns * frame.lanes * self.unit_gates
        found += y_lanes * _gates(self.designs[RESCALE])
        if kind.row_sum:
            found += rows / frame.tile_rows * _gates(self.designs[kind.row_sum])
        return found + (_gates(self.designs[kind.aligner]) if kind.aligner else 0.0)

    @property
    def gates(self) -> float:
        """Gate equivalents of the array and its output lanes, without the softmax unit."""
        return self._gates(self.array.rows, self.array.columns, self.array.y_lanes)

    @cached_property
    def array(self) -> ArrayParameters:
        """The array with the most useful shape that fits.

        Of all meshes and numbers of output lanes that fit, the one with the least product of the
        cycles that :data:`TYPICAL` GEMMs take, those that wait for outputs included, and the bits
        that are read for them. Its buffers hold the longest K of the models.
        """
        shapes = list(self._shapes())
        if not shapes:
            raise ValueError(f"Constant area must hold a machine {self.kind.name}, and constant "
                             f"buffer its operands of length {LONGEST}, not be "
                             f"{self.constants['area'].value:g} MGE and "
                             f"{self.constants['buffer'].value:g} KiB")
        return min(shapes, key=self._merit)

    def _shapes(self) -> Iterator[ArrayParameters]:
        """Arrays that fit in the area and whose operands fit in the buffers."""
        kind, frame = self.kind, self.kind.frame
        budget = 1e6 * self.constants["area"].value * (1 - self.constants["softmax_share"].value)
        longest = ceil(LONGEST / frame.lanes)
        # Tiles of a band in a column; another band begins where a foot would have too many rows.
        tall = min(frame.beats // frame.tile_rows, 64)
        for mesh_columns, height in product(range(1, 65), (*range(1, tall),
                                                           *range(tall, 64 * tall, tall))):
            rows, columns = height * frame.tile_rows, mesh_columns * frame.tile_columns
            depths = [self._depth(frame.lanes, bits)
                      for bits in (rows * kind.x_bits, columns * kind.w_bits)]
            if min(depths) < longest:
                continue
            bands = ceil(height / tall)
            for y_lanes in range(1, min(columns, Y_LANES) + 1):
                if (columns // (1 + frame.wide) % y_lanes == 0
                        and self._gates(rows, columns, y_lanes) <= budget):
                    yield frame.replace(
                        mesh_rows=height // bands, bands=bands, mesh_columns=mesh_columns,
                        y_lanes=y_lanes, x_rows=self._x_rows(rows), x_depth=depths[0],
                        w_depth=depths[1])

    def _x_rows(self, rows: int) -> int:
        """Rows of activations that come in a cycle: as the memory delivers, or the aligner."""
        width = self.kind.frame.lanes * self.kind.x_bits
        return 1 if self.kind.aligner else _divisor(rows, self._bits_per_cycle / width)

    def _merit(self, array: ArrayParameters) -> float:
        """Cycles of typical GEMMs times the bits that are read for them."""
        cycles = bits = 0.0
        for m, k, n in TYPICAL:
            tiles, beats = ceil(m / array.rows) * ceil(n / array.columns), ceil(k / array.lanes)
            beats += array.rows * self.kind.drains
            cycles += tiles * max(beats, array.rows * array.columns // array.y_lanes)
            bits += tiles * beats * (array.rows * self.kind.x_bits
                                     + array.columns * self.kind.w_bits)
        return cycles * bits

    def _depth(self, lanes: int, bits: float) -> int:
        """Beats that a buffer holds, of ``bits`` for each lane."""
        return min(65536, int(self.constants["buffer"].value * 1024 * 8 / (bits * lanes)))

    @property
    def _bits_per_cycle(self) -> float:
        """Bits that the memory delivers in a cycle."""
        return 8 * self.constants["bandwidth"].value * self.period

    @property
    def peak(self) -> float:
        """Multiply-accumulates in a nanosecond."""
        return self.array.peak / self.period

    @property
    def softmax_lanes(self) -> int:
        """Lanes of the softmax units that its share of the area holds."""
        return int(self.constants["area"].value * 1e6 * self.constants["softmax_share"].value
                   / self.softmax.gates)

    def gemm(self, gemm: Gemm) -> Cost:
        """Time and energy of a GEMM, all ``count`` of it.

        The rows of activations are split so that two parts fit in the buffer, if not all do; the
        weights come anew for each part. The operands of what follows come while one part is
        computed, so the longer of the two counts, and the latency of the memory once.
        """
        if gemm.kind == ATTENTION and not self.kind.attends:
            raise ValueError(f"Machine {self.kind.name} must not be asked for attention")
        wide = gemm.n if gemm.kind == ATTENTION and self.kind.wide else round(
            gemm.n * self.kind.wide)
        most = self._rows_that_fit(gemm.m, gemm.k)
        parts = [min(most, gemm.m - start) for start in range(0, gemm.m, most)]
        total = Cost()
        for m in dict.fromkeys(parts):
            count = parts.count(m) * gemm.count
            total += self._part(m, gemm, wide, count)
        return replace(total, time=total.time + self.constants["latency"].value,
                       macs=gemm.macs)

    def _rows_that_fit(self, m: int, k: int) -> int:
        """Rows of activations of a part of a GEMM."""
        array = self.array
        beats = sum(group_beats(k, array.group, array))
        return command_rows(array, m, beats, double=True)[1]

    def _part(self, m: int, gemm: Gemm, wide: int, count: int) -> Cost:
        """Cost of GEMMs of m rows that follow each other."""
        array, k, n = self.array, gemm.k, gemm.n
        busy, cycles = _cycles(array, m, k, n, wide, count)
        tiles = (ceil(m / array.rows)
                 * (ceil(wide / (array.columns // 2)) + ceil((n - wide) / array.columns)))
        if self.kind.drains:
            cycles += count * tiles * array.rows
        compute = cycles * self.period
        weights = (n - wide) * self._narrow_bits + wide * _grouped(8)
        bits = count * (m * k * self.kind.x_bits * (gemm.x_from == MEMORY) + k * weights
                        + m * n * _FP16 * (gemm.y_to == MEMORY))
        memory = bits / 8 / self.constants["bandwidth"].value
        sums = count * tiles * ceil(k / array.group) * array.rows * array.columns
        return Cost(0.0, compute, memory, max(compute, memory), bits / 8, {
            "multiply and add": 1e-3 * self._beats(m, busy * count),
            "dequantise": 1e-3 * sums * self._per_operation(self.kind.foot),
            "rescale": 1e-3 * count * m * n * self._per_operation(RESCALE),
            "buffers": self.constants["sram"].value * (bits + busy * count * array.lanes * (
                array.rows * self.kind.x_bits + array.columns * self._narrow_bits)),
            "memory": self.constants["dram"].value * bits,
        })

    def _per_operation(self, name: str | None) -> float:
        """Energy in fJ of an operation of a design, its memories included; 0 without one."""
        return sum(self.designs[name]["parts_fj_per_operation"][OPERANDS].values()) if name else 0.0

    @property
    def _narrow_bits(self) -> float:
        """Bits of a weight that is not wide."""
        return _grouped(4, _ZERO_BITS) if self.kind.wide else self.kind.w_bits

    def _beats(self, m: int, beats: int) -> float:
        """Energy in fJ of tiles and row sums; rows beyond M draw what the clock does alone."""
        array, parts = self.array, self.tile["parts_fj_per_mac"][OPERANDS]
        used = m / (ceil(m / array.rows) * array.rows)
        found = array.peak * (used * sum(parts.values()) + (1 - used) * parts[CLOCK])
        if name := self.kind.row_sum:
            found += (array.rows / array.tile_rows * self.designs[name]["macs"]
                      * self._per_operation(name))
        return beats * found

    def softmax_cost(self, rows: int, length: int) -> Cost:
        """Time and energy of softmax; what enters and leaves stays on the chip."""
        elements = rows * length
        time = elements / self.softmax_lanes * self.softmax.period
        return Cost(0.0, time, 0.0, time, 0.0, {"softmax": 1e-3 * elements * self.softmax.energy})

    def layer(self, model: Model, phase: Phase) -> dict[str, Cost]:
        """Cost of a layer: its linear part, and with attention and softmax the whole of it.

        Softmax runs beside the products of other heads, so the longer of the two counts. Without
        ``whole`` if keys and values cannot be weights.
        """
        gemms, rows = layer(model, phase)
        linear = sum((self.gemm(each) for each in gemms if each.kind != ATTENTION), Cost())
        found = {"linear": linear}
        if self.kind.attends:
            attention = sum((self.gemm(each) for each in gemms if each.kind == ATTENTION), Cost())
            softmax = self.softmax_cost(rows.rows, rows.length)
            found |= {"attention": attention, "softmax": softmax}
            both = replace(attention + softmax, compute=max(attention.compute, softmax.compute),
                           time=max(attention.time, softmax.time))
            found["whole"] = linear + both
        return found


def machines(bench: Mapping, softmax: Mapping, changes: Mapping[str, float]) -> Iterator[Machine]:
    """All machines, of the reports of ``mixpe bench`` and of ``mixpe synth`` of a softmax set.

    Raises
    ------
    ValueError
        If a constant is wrong.
    """
    designs = {each["name"]: each for each in bench["designs"]}
    exaq, exact = map(Softmax.of, softmax["units"])
    values = constants(changes)
    for kind in KINDS:
        yield Machine(kind, designs, exaq if kind.exaq else exact, values)


def _gates(design: dict) -> float:
    """Gate equivalents of a design, its memories as flip-flops included."""
    return (design["gates_per_mac"] + design["memory_gates_per_mac"]) * design["macs"]


def _divisor(number: int, most: float) -> int:
    """Largest divisor of a number that is at most ``most``, or 1."""
    return max((each for each in range(1, number + 1)
                if number % each == 0 and each <= most), default=1)


@cache
def _cycles(array: ArrayParameters, m: int, k: int, n: int, wide: int,
            count: int) -> tuple[int, int]:
    """Beats of a GEMM, and cycles of ``count`` that follow each other."""
    shape = GemmShape(m=m, k=k, n=n, wide=wide)
    single = commands_cycles(array, [shape])
    if count == 1:
        return single.busy, single.total
    two, three = (commands_cycles(array, [shape] * each).total for each in (2, 3))
    return single.busy, two + (count - 2) * (three - two)
