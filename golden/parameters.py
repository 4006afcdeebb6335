"""Parameter sets of an array, and every width and depth that follows from them."""

from dataclasses import dataclass
from typing import ClassVar

from golden.base_parameters import BaseParameters
from golden.formats import FORMATS, Format, aligned, signed_bits

__all__ = ["ArrayParameters", "CHOICES", "MACS", "RANGES", "SETS", "ACCUMULATE_LOOP",
           "DEQUANTISE_LATENCY", "FLOAT_LATENCY", "RESCALE_LATENCY", "SCALE_LATENCY"]

#: Micro-architectures of the multiply-accumulate, and what each is.
MACS = {
    "shift_add": "one shifted addend for each weight bit of each lane (MixPE)",
    "bit_plane": "an AND of the activation for each weight bit of each lane, added in a compressor "
                 "tree with the accumulator",
    "radix4":    "one of {0, x, 2x, 3x} for each two weight bits of each lane, added likewise",
    "pair_sum":  "one of {0, x0, x1, x0 + x1} for each weight bit of each pair of lanes, added "
                 "likewise",
    "product":   "a multiplier for each lane: the baseline",
    "shift":     "one shifted activation for each lane, negated or not (DenseShift)",
    "float":     "a product of significands by shift and add, shifted to its place in a "
                 "fixed-point accumulator (MixPE's W4A16)",
}

#: Values of each parameter that is chosen from a list.
CHOICES: dict[str, tuple[str | bool, ...]] = {
    "x": ("int8", "fp16", "bf16"),
    "x_scale": ("token", "fp16", "bf16", "e8m0"),
    "x_zero": (False, True),
    "w": ("int2", "int3", "int4", "uint4", "int8", "ternary", "shift2", "shift3", "shift4",
          "e2m1"),
    "wide": (False, True),
    "scale": ("fp16", "bf16", "e8m0", "e4m3"),
    "y": ("fp32", "fp16", "bf16", "int8"),
    "mac": tuple(MACS),
    "adders": ("compressors", "carry_chains"),
    "cut": ("operands", "shared"),
}

#: Least and greatest value of each parameter that is an integer.
RANGES = {
    "lanes": (1, 256), "tile_rows": (1, 64), "tile_columns": (1, 64), "mesh_rows": (1, 64),
    "mesh_columns": (1, 64), "bands": (1, 64), "group": (1, 32768), "y_lanes": (1, 64),
    "x_align": (0, 24), "x_rows": (1, 4096), "x_depth": (2, 65536), "w_depth": (2, 65536),
}

#: Least cycles from one addition to an accumulator to the next; reading, adding and writing it
#: take three.
ACCUMULATE_LOOP = 4

#: Cycles from a sum until its accumulator can be read, without those that
#: :attr:`ArrayParameters.dequantise_latency` adds.
DEQUANTISE_LATENCY = 5

#: Cycles of the product of two group scales.
SCALE_LATENCY = 2

#: Cycles in which a sum of many bits becomes a float.
FLOAT_LATENCY = 2

#: Cycles from an accumulator and its token's scale to the output.
RESCALE_LATENCY = 5


@dataclass(frozen=True, kw_only=True)
class ArrayParameters(BaseParameters):
    """Parameters of an output-stationary array for one grouped mixed-precision GEMM.

    Parameters
    ----------
    name : str
        Name of the set; every Verilog module begins with ``mixpe_<name>``.
    x, w : str
        Activation and weight format, keys of :data:`golden.formats.FORMATS`.
    x_align : int
        A, bits to which the activations of a group are aligned if they are floats; with 0 they
        remain floats.
    x_scale : str
        ``token`` if the activations of a token share a scale, which multiplies the finished sum;
        or the format of the scales that those of each group have.
    x_zero : bool
        Whether the activations of each group have a zero point.
    wide : bool
        Whether an output tile may have 8-bit weights, each in two columns of ``uint4``.
    scale : str
        Format of the weights' group scales.
    y : str
        Output format.
    mac : str
        Micro-architecture of the multiply-accumulate, a key of :data:`MACS`.
    adders : str
        What adds in ``bit_plane``, ``radix4``, ``pair_sum`` and ``shift``: ``compressors``, a tree
        of 3:2 adders for cells of a library, or ``carry_chains`` for the logic of an FPGA.
    cut : str
        Where a tile's operand registers stand: ``operands``, before what the rows and the columns
        share is formed, or ``shared``, after it: more registers, shorter paths.
    lanes : int
        L, multiply-accumulates of a processing element in each cycle, along K.
    tile_rows, tile_columns : int
        R and C, processing elements of a tile; they share operands combinationally.
    mesh_rows, mesh_columns : int
        Tiles of a band; operands are registered from tile to tile.
    bands : int
        Bands stacked along M. Each has its own dequantisers, so that a column of more than
        ``group / lanes`` rows takes several.
    group : int
        G, the most weights along K that share a scale and a zero point; a group may be shorter,
        down to :attr:`least_group`.
    y_lanes : int
        Outputs rescaled and sent in each cycle.
    x_rows : int
        Rows of activations in an item of the engine's stream x: with all of them activations come
        as fast as the array takes them.
    x_depth : int
        Beats of activations that the engine buffers: all of a GEMM, in blocks of ``rows``.
    w_depth : int
        Beats of weights that the engine buffers: those of a pass over the columns, if there are
        several blocks of rows, and of the next pass.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    unit: ClassVar[str] = "array"

    x: str = "int8"
    x_align: int = 0
    x_scale: str = "token"
    x_zero: bool = False
    w: str = "uint4"
    wide: bool = False
    scale: str = "fp16"
    y: str = "fp16"
    mac: str = "pair_sum"
    adders: str = "compressors"
    cut: str = "operands"
    lanes: int
    tile_rows: int
    tile_columns: int
    mesh_rows: int = 1
    mesh_columns: int = 1
    bands: int = 1
    group: int = 128
    y_lanes: int = 1
    x_rows: int = 1
    x_depth: int = 1024
    w_depth: int = 512

    def __post_init__(self) -> None:
        self._check_values(CHOICES, RANGES)
        self._check_shape()
        self._check_formats()

    def _check_shape(self) -> None:
        """Refuse shapes that no array has."""
        if self.group % self.lanes:
            raise ValueError(f"Parameter lanes must divide the group size {self.group}, "
                             f"not {self.lanes}")
        if self.mac == "pair_sum" and self.lanes % 2:
            raise ValueError(f"Parameter lanes must be even for mac pair_sum, not {self.lanes}")
        if self.beats < ACCUMULATE_LOOP:
            raise ValueError(f"Parameter lanes must be at most group / {ACCUMULATE_LOOP} = "
                             f"{self.group // ACCUMULATE_LOOP}, not {self.lanes}")
        if self.band_rows > self.beats:
            raise ValueError(f"Parameters tile_rows * mesh_rows must be at most group / lanes = "
                             f"{self.beats}, not {self.band_rows}; use more bands")
        if self.rows % self.x_rows:
            raise ValueError(f"Parameter x_rows must divide the number of rows {self.rows}, "
                             f"not {self.x_rows}")
        for field in ("x_depth", "w_depth"):
            if getattr(self, field) < self.least_beats:
                raise ValueError(f"Parameter {field} must be at least {self.least_beats}, the "
                                 f"beats of the shortest group, not {getattr(self, field)}")
        columns = self.columns // (1 + self.wide)
        if columns % self.y_lanes:
            raise ValueError(f"Parameter y_lanes must divide the number of columns {columns}, "
                             f"not {self.y_lanes}")
        if self.wide and self.tile_columns % 2:
            raise ValueError(f"Parameter tile_columns must be even for wide, "
                             f"not {self.tile_columns}")

    def _check_formats(self) -> None:
        """Refuse formats that make no sense together."""
        if self.x_align and self.x == "int8":
            raise ValueError(f"Parameter x_align must be 0 for x int8, not {self.x_align}")
        if self.x_align == 1 or self.x_align == 2:
            raise ValueError(f"Parameter x_align must be 0 or at least 3, not {self.x_align}")
        if (self.x != "int8" and not self.x_align) != (self.mac == "float"):
            raise ValueError("Parameter mac must be float for float activations that are not "
                             f"aligned, and only then, not {self.mac!r}")
        if self.adders != "compressors" and self.mac in ("product", "shift_add", "float"):
            raise ValueError("Parameter adders must be compressors for mac product, shift_add and "
                             f"float, which add by carry chains anyway, not {self.adders!r}")
        if (self.mac == "shift") and not self.w.startswith("shift"):
            raise ValueError(f"Parameter w must be shift2, shift3 or shift4 for mac shift, "
                             f"not {self.w!r}")
        if self.x_align and self.x_rows != 1:
            raise ValueError(f"Parameter x_rows must be 1 for aligned activations, "
                             f"not {self.x_rows}")
        if self.x_zero and self.x != "int8":
            raise ValueError(f"Parameter x must be int8 for x_zero, not {self.x!r}")
        if (self.x_scale == "e8m0") != bool(self.x_align):
            raise ValueError("Parameter x_scale must be e8m0 for aligned activations, and only "
                             f"then, not {self.x_scale!r}")
        if self.mac == "float" and self.x_scale != "token":
            raise ValueError(f"Parameter x_scale must be token for float activations, "
                             f"not {self.x_scale!r}")
        if self.wide and self.w != "uint4":
            raise ValueError(f"Parameter w must be uint4 for wide, not {self.w!r}")

    def baseline(self) -> "ArrayParameters":
        """INT8 array of the same shape, with a multiplier for each lane."""
        return self.replace(name=f"{self.name[:27]}_int8", x="int8", x_align=0, x_scale="token",
                            x_zero=False, w="int8", wide=False, mac="product", adders="compressors")

    def rivals(self) -> "tuple[ArrayParameters, ...]":
        """Arrays of the same shape to measure this one against.

        The baseline; and if the weights are of another format, int4 by the smallest MAC for it.
        """
        if self.w in ("int4", "uint4"):
            return (self.baseline(),)
        smallest = "pair_sum" if self.lanes % 2 == 0 else "shift_add"
        return self.baseline(), self.replace(
            name=f"{self.name[:27]}_int4", w="int4", wide=False,
            mac="float" if self.mac == "float" else smallest)

    # Shapes

    @property
    def beats(self) -> int:
        """Cycles of a group, G / L."""
        return self.group // self.lanes

    @property
    def least_beats(self) -> int:
        """Cycles of the shortest group."""
        return max(self.band_rows, ACCUMULATE_LOOP)

    @property
    def least_group(self) -> int:
        """Weights of the shortest group, all its beats being full."""
        return self.least_beats * self.lanes

    @property
    def band_rows(self) -> int:
        """Rows of a band."""
        return self.tile_rows * self.mesh_rows

    @property
    def rows(self) -> int:
        """Rows of the array, outputs along M of an output tile."""
        return self.band_rows * self.bands

    @property
    def columns(self) -> int:
        """Columns of the array, outputs along N of an output tile."""
        return self.tile_columns * self.mesh_columns

    @property
    def peak(self) -> int:
        """Multiply-accumulates in each cycle."""
        return self.rows * self.columns * self.lanes

    @property
    def full_rate_length(self) -> int:
        """Least K, in whole groups, at which no beat waits for outputs to be sent.

        An output tile must be sent while the next one is computed, and its bank be free before
        the first group of the one after that ends. A bank can be read when its last row has
        crossed the mesh and the dequantiser.
        """
        sent = self.rows * self.columns // self.y_lanes
        drained = self.mesh_rows + self.mesh_columns + self.band_rows + self.dequantise_latency + 1
        groups = -(-max(sent, sent + drained - self.beats) // self.beats)
        return groups * self.group

    @property
    def latency(self) -> int:
        """Cycles from the last beat of an output tile to the first of its outputs.

        The rows reach the feet, the last foot its last row, its dequantiser the accumulators; one
        cycle reads these.
        """
        return (self.mesh_rows + self.mesh_columns + self.band_rows + self.dequantise_latency
                + 1 + RESCALE_LATENCY)

    @property
    def dequantise_latency(self) -> int:
        """Cycles from a sum until its accumulator can be read."""
        return (DEQUANTISE_LATENCY + SCALE_LATENCY * (self.x_scale != "token")
                + FLOAT_LATENCY * self.float_sums)

    # Formats

    @property
    def x_format(self) -> Format:
        """Format of the activations that enter the array."""
        return aligned(self.x_align) if self.x_align else FORMATS[self.x]

    @property
    def x_input_format(self) -> Format:
        """Format of the activations that enter the engine, which aligns them if need be."""
        return FORMATS[self.x]

    @property
    def x_scale_format(self) -> Format | None:
        """Format of the activations' group scales, if they have any."""
        return None if self.x_scale == "token" else FORMATS[self.x_scale]

    @property
    def w_format(self) -> Format:
        """Weight format."""
        return FORMATS[self.w]

    @property
    def scale_format(self) -> Format:
        """Format of the weights' group scales."""
        return FORMATS[self.scale]

    @property
    def y_format(self) -> Format:
        """Output format."""
        return FORMATS[self.y]

    @property
    def x_groups(self) -> bool:
        """Whether the activations of a group have a scale or a zero point of their own."""
        return self.x_scale != "token" or self.x_zero

    @property
    def t_stream(self) -> bool:
        """Whether the engine takes such; those of aligned activations it finds itself."""
        return self.x_groups and not self.x_align

    @property
    def max_zero(self) -> int:
        """Largest zero point of a weight."""
        return FORMATS["uint8"].max_zero if self.wide else self.w_format.max_zero

    @property
    def zero_bits(self) -> int:
        """Width of a weight's zero point."""
        return self.max_zero.bit_length()

    # Widths. A group's sums are exact; each width is the least that holds every group. Numbers
    # are counted in steps of their formats.

    @property
    def sum_bits(self) -> int:
        """Width of a PE's accumulator, Σ x·q over a group."""
        return self._dot_bits(self.w_format.low, self.w_format.high)

    @property
    def joined_bits(self) -> int:
        """Width of Σ x·q of the widest weights."""
        return self._dot_bits(0, FORMATS["uint8"].high) if self.wide else self.sum_bits

    @property
    def row_sum_bits(self) -> int:
        """Width of Σ x over a group."""
        return self._dot_bits(1, 1)

    @property
    def column_sum_bits(self) -> int:
        """Width of Σ (q − z) over a group."""
        low, high = self.weight_range
        return signed_bits(self.group * low, self.group * high)

    @property
    def corrected_bits(self) -> int:
        """Width of Σ (x − zx)·(q − z) over a group."""
        low, high = self.x_format.low, self.x_format.high
        spread = (low - high, high - low) if self.x_zero else (low, high)
        return self._dot_bits(*self.weight_range, spread)

    @property
    def weight_range(self) -> tuple[int, int]:
        """Lowest and highest weight, zero point subtracted."""
        return self.w_format.low - self.max_zero, self._highest_weight

    @property
    def float_sums(self) -> bool:
        """Whether sums are so wide that they become floats before they are multiplied."""
        return self.mac == "float"

    @property
    def _highest_weight(self) -> int:
        """Highest weight of any output tile."""
        return FORMATS["uint8"].high if self.wide else self.w_format.high

    def _dot_bits(self, low: int, high: int, spread: tuple[int, int] | None = None) -> int:
        """Width of a group's Σ x·v for v from ``low`` to ``high``, x in ``spread``."""
        extremes = [x * v * self.group
                    for x in spread or (self.x_format.low, self.x_format.high)
                    for v in (low, high)]
        return signed_bits(min(extremes), max(extremes))

    # Depths

    @property
    def t_depth(self) -> int:
        """Groups of blocks of rows that the engine buffers, as many as ``x_depth`` may have."""
        return max(2, self.x_depth // self.least_beats)

    @property
    def s_depth(self) -> int:
        """Groups of columns that the engine buffers."""
        return max(2, self.w_depth // self.least_beats)

    @property
    def sx_depth(self) -> int:
        """Scales of tokens that the engine buffers."""
        return self.rows * self.t_depth

    @property
    def scale_queue(self) -> int:
        """Entries of the scale queue at a column's foot.

        An entry is taken with the last beat of its group and can be taken again when the last
        column has drained: after the mesh's skew, the rows and three registers.
        """
        lifetime = self.mesh_rows + self.mesh_columns + self.band_rows + 3
        return -(-lifetime // self.least_beats)


SETS = {parameters.name: parameters for parameters in (
    # Small enough for every test; two bands.
    ArrayParameters(name="tiny", lanes=4, tile_rows=2, tile_columns=2, mesh_rows=2, mesh_columns=2,
                    bands=2, group=16, y="fp32", y_lanes=2),
    # The systolic array of scalar shift&add elements that MixPE describes, an eighth as wide.
    ArrayParameters(name="paper", mac="shift_add", lanes=1, tile_rows=1, tile_columns=1,
                    mesh_rows=8, mesh_columns=8),
    # 1,024 multiply-accumulates a cycle with one dequantiser for each 128.
    ArrayParameters(name="edge", lanes=16, tile_rows=4, tile_columns=4, mesh_rows=2,
                    mesh_columns=2, y_lanes=2, x_rows=8),
    # The cheapest multiply-accumulates: twice the lanes, for streams twice as wide.
    ArrayParameters(name="dense", lanes=32, tile_rows=4, tile_columns=8, y_lanes=2, x_rows=4,
                    w_depth=256),
    # Yosys' synth_ecp5 counts 12,400 LUTs with carries, half of an LFE5U-25F.
    ArrayParameters(name="fpga", lanes=8, tile_rows=2, tile_columns=2, mesh_columns=2),
    # MixLLM (arXiv 2412.14590): output features of 8 and 4 bits, activations scaled by group.
    ArrayParameters(name="mixed", x_scale="fp16", wide=True, lanes=16, tile_rows=4, tile_columns=4,
                    mesh_columns=2, y_lanes=2),
    # DenseShift (arXiv 2208.09708): weights ±1 to ±8, powers of two.
    ArrayParameters(name="shift", w="shift3", mac="shift", lanes=16, tile_rows=4, tile_columns=4,
                    y_lanes=2),
    # MixPE's W4A16, exact, and the same with activations aligned to integers of 12 bits.
    ArrayParameters(name="w4a16", x="fp16", mac="float", lanes=8, tile_rows=2, tile_columns=4),
    ArrayParameters(name="w4a16_aligned", x="fp16", x_align=12, x_scale="e8m0", lanes=16,
                    tile_rows=4, tile_columns=4, y_lanes=2),
    # OCP Microscaling Formats 1.0: MXFP4 weights; activations of 8 bits, as those of MXINT8.
    ArrayParameters(name="mxfp4", x="bf16", x_align=8, x_scale="e8m0", w="e2m1", scale="e8m0",
                    y="bf16", lanes=8, tile_rows=4, tile_columns=4, group=32, y_lanes=2),
    # NVIDIA's format: groups of 16 with e4m3 scales; the tensor's scale multiplies the tokens'.
    ArrayParameters(name="nvfp4", w="e2m1", scale="e4m3", y="bf16", lanes=4, tile_rows=4,
                    tile_columns=4, mesh_columns=2, group=16, y_lanes=2),
)}
