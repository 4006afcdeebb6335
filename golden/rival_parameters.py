"""Parameter sets of the rivals that multiply whole operands, and every width that follows."""

from dataclasses import dataclass
from typing import ClassVar

from golden.base_parameters import BaseParameters
from golden.formats import FORMATS, Format, signed_bits
from golden.parameters import ArrayParameters

__all__ = ["RivalParameters", "KINDS", "RIVAL_CHOICES", "RIVAL_RANGES", "RIVALS", "LENGTH"]

#: What is measured against the arrays, and what each is.
KINDS = {
    "int8_pe":    "int8 times int8, added to an accumulator that holds a group",
    "fp16_fma":   "fused multiply-add of fp16 numbers",
    "int8_first": "tile that dequantises weights to int8, then multiplies and adds integers",
    "fp16_first": "tile that dequantises weights to fp16, then multiplies and adds floats",
}

#: Values of each parameter that is chosen from a list.
RIVAL_CHOICES: dict[str, tuple[str | bool, ...]] = {
    "kind": tuple(KINDS),
    "acc": ("exact", "fp16", "fp32"),
    "shadow": (False, True),
}

#: Least and greatest value of each parameter that is an integer.
RIVAL_RANGES = {"lanes": (1, 256), "tile_rows": (1, 64), "tile_columns": (1, 64),
                "group": (1, 32768)}

#: Most products of a sum of ``int8_first``, which goes on through all groups of K.
LENGTH = 32768


@dataclass(frozen=True, kw_only=True)
class RivalParameters(BaseParameters):
    """Parameters of a rival: a processing element, or a tile behind its own dequantisers.

    Parameters
    ----------
    name : str
        Name of the set, as it stands in the names of its Verilog modules.
    kind : str
        What it is, a key of :data:`KINDS`.
    lanes : int
        L, multiply-accumulates of a processing element in each cycle; more than one in
        ``int8_first`` only, for a fused multiply-add has one product.
    tile_rows, tile_columns : int
        R and C, processing elements of a tile; those of a kind without tiles are 1.
    group : int
        G, the weights along K that share a scale and a zero point, and the most products of a sum
        of ``int8_pe``.
    acc : str
        Accumulators: ``exact``, integers that hold every sum, or a float format.
    shadow : bool
        Whether a processing element of kind ``int8_pe`` hands its sum to a shadow register, from
        which it drains while the next sum goes on, as those of an array do.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    unit: ClassVar[str] = "rival"

    kind: str
    lanes: int = 1
    tile_rows: int = 1
    tile_columns: int = 1
    group: int = 128
    acc: str = "exact"
    shadow: bool = False

    def __post_init__(self) -> None:
        self._check_values(RIVAL_CHOICES, RIVAL_RANGES)
        integer = self.kind.startswith("int8")
        if (self.acc == "exact") != integer:
            raise ValueError(f"Parameter acc must be {'exact' if integer else 'fp16 or fp32'} "
                             f"for kind {self.kind}, not {self.acc!r}")
        single = {"int8_pe": ("lanes", "tile_rows", "tile_columns"),
                  "fp16_fma": ("lanes", "tile_rows", "tile_columns"),
                  "int8_first": (), "fp16_first": ("lanes",)}[self.kind]
        for field in single:
            if getattr(self, field) != 1:
                raise ValueError(f"Parameter {field} must be 1 for kind {self.kind}, "
                                 f"not {getattr(self, field)}")
        if self.shadow and self.kind != "int8_pe":
            raise ValueError(f"Parameter shadow must be False for kind {self.kind}, not True")
        if self.group % self.lanes:
            raise ValueError(f"Parameter lanes must divide the group size {self.group}, "
                             f"not {self.lanes}")
        if LENGTH % self.lanes:
            raise ValueError(f"Parameter lanes must divide {LENGTH}, not {self.lanes}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates in each cycle."""
        return self.tile_rows * self.tile_columns * self.lanes

    @property
    def beats(self) -> int:
        """Cycles of a group, G / L."""
        return self.group // self.lanes

    @property
    def dequantises(self) -> bool:
        """Whether weights enter as codes with a scale and a zero point."""
        return self.kind.endswith("first")

    @property
    def x_format(self) -> Format:
        """Format of the activations."""
        return FORMATS["fp16" if self.kind.startswith("fp16") else "int8"]

    @property
    def factor_format(self) -> Format:
        """Format of the weights that are multiplied."""
        return self.x_format

    @property
    def w_format(self) -> Format:
        """Format of the weights that enter."""
        return FORMATS["uint4"] if self.dequantises else self.factor_format

    @property
    def scale_format(self) -> Format:
        """Format of a group's scale: of the second level, an integer, for int8."""
        return FORMATS["fp16" if self.kind == "fp16_first" else "uint8"]

    @property
    def acc_format(self) -> Format | None:
        """Format of the accumulators if they are floats."""
        return None if self.acc == "exact" else FORMATS[self.acc]

    @property
    def length(self) -> int:
        """Most products of an exact sum."""
        return self.group if self.kind == "int8_pe" else LENGTH

    @property
    def sum_bits(self) -> int:
        """Width of an accumulator."""
        if self.acc_format:
            return self.acc_format.bits
        x, w = self.x_format, self.factor_format
        return signed_bits(x.low * w.high * self.length, x.low * w.low * self.length)

    @property
    def array(self) -> ArrayParameters:
        """Tile of int8 multipliers that ``int8_first`` has behind its dequantisers."""
        return ArrayParameters(name=self.name, x="int8", w="int8", mac="product",
                               lanes=self.lanes, tile_rows=self.tile_rows,
                               tile_columns=self.tile_columns, group=self.length)


RIVALS = {parameters.name: parameters for parameters in (
    RivalParameters(name="int8_pe", kind="int8_pe"),
    RivalParameters(name="int8_pe_shadow", kind="int8_pe", shadow=True),
    RivalParameters(name="fp16_fma", kind="fp16_fma", acc="fp16"),
    RivalParameters(name="fp16_fma_fp32", kind="fp16_fma", acc="fp32"),
    # Progressive quantisation, as in QServe (arXiv 2405.04532) and LiquidGEMM (arXiv 2509.01229).
    RivalParameters(name="int8_first", kind="int8_first", lanes=16, tile_rows=4, tile_columns=4),
    RivalParameters(name="fp16_first", kind="fp16_first", tile_rows=4, tile_columns=4,
                    acc="fp32"),
)}
