"""Parameter sets of the softmax units, the constants of a layer, and every width that follows."""

from dataclasses import dataclass
from typing import ClassVar

from golden.base_parameters import BaseParameters
from golden.formats import FORMATS, Format

__all__ = ["SoftmaxParameters", "BaselineParameters", "Constants", "SOFTMAX_CHOICES",
           "SOFTMAX_RANGES", "SOFTMAX_SETS", "EXACT_SETS", "LUT_CODES", "THRESHOLD_BITS",
           "THRESHOLD_POINT", "LOG2_E"]

#: Values of each parameter that is chosen from a list.
SOFTMAX_CHOICES: dict[str, tuple[str | bool, ...]] = {
    "x": ("fp16", "bf16"),
    "y": ("uint8", "u16", "fp16"),
    "accumulate": ("counters", "lut"),
}

#: Least and greatest value of each parameter that is an integer.
SOFTMAX_RANGES = {
    "width": (1, 32), "bits": (2, 4), "max_length": (1, 65536), "exp_bits": (4, 15),
    "sets": (1, 16), "least_length": (1, 65536),
}

#: Codes that share an entry of the table of sums, for each width of a code (EXAQ, arXiv
#: 2410.03185: four codes of 2 bits in a byte).
LUT_CODES = {2: 4, 3: 2, 4: 2}

#: Width of a threshold, a magnitude below 32.
THRESHOLD_BITS = 29

#: Binary places of a threshold. All fp16 numbers and their differences are multiples of 2**-24.
THRESHOLD_POINT = 24

#: Formats of the probabilities. Integers are fractions of 1.
_OUTPUTS = {
    "uint8": Format("uint8", 8, signed=False, point=8),
    "u16":   Format("u16", 16, signed=False, point=16),
    "fp16":  FORMATS["fp16"],
}

#: Fraction bits of the quotient from which a probability is rounded; for fp16 those of its step.
_QUOTIENT_BITS = {"uint8": 8, "u16": 16, "fp16": 24}

#: log2 e in steps of 2**-64, rounded to the nearest; a unit takes as many bits as it needs.
LOG2_E = 0x171547652b82fe177


def _check_lengths(max_length: int, least_length: int) -> None:
    """Refuse a length at full rate that no row has."""
    if least_length > max_length:
        raise ValueError(f"Parameter least_length must be at most max_length {max_length}, "
                         f"not {least_length}")


@dataclass(frozen=True, kw_only=True)
class _RowParameters(BaseParameters):
    """What every unit has that takes rows of logits, ``width`` in each cycle.

    Parameters
    ----------
    width : int
        W, elements in each cycle.
    max_length : int
        Elements of the longest row.
    y : str
        Format of the probabilities: ``uint8`` in units of 2**-8, ``u16`` in units of 2**-16, both
        saturating below 1, or ``fp16``.
    least_length : int
        Rows of this length and longer stream at full rate.
    """

    width: int = 16
    max_length: int = 8192
    y: str = "uint8"
    least_length: int = 128

    def row_cycles(self, n: int) -> int:
        """Cycles of a row of n elements at full rate, ceil(n / W)."""
        return -(-n // self.width)

    @property
    def words(self) -> int:
        """Words of W elements of the longest row."""
        return self.row_cycles(self.max_length)

    @property
    def count_bits(self) -> int:
        """Width of a number of elements of a row."""
        return self.max_length.bit_length()

    @property
    def y_format(self) -> Format:
        """Format of the probabilities."""
        return _OUTPUTS[self.y]

    @property
    def quotient_bits(self) -> int:
        """Fraction bits of a quotient before it is rounded; the remainder decides the rounding.

        A quotient has one bit more, for 1 itself.
        """
        return _QUOTIENT_BITS[self.y]


@dataclass(frozen=True, kw_only=True)
class SoftmaxParameters(_RowParameters):
    """Parameters of an EXAQ softmax unit (arXiv 2410.03185).

    A row's logits become codes of ``bits`` bits by comparison with thresholds; what follows, the
    exponents, their sum and the probabilities, depends on the codes alone
    (:func:`golden.softmax.softmax`).

    Parameters
    ----------
    name : str
        Name of the set, as it stands in the names of its Verilog modules.
    x : str
        Format of the logits, ``fp16`` or ``bf16``.
    width : int
        W, elements in each cycle.
    bits : int
        b, bits of a code.
    max_length : int
        Elements of the longest row.
    y : str
        Format of the probabilities: ``uint8`` in units of 2**-8, ``u16`` in units of 2**-16, both
        saturating below 1, or ``fp16``.
    accumulate : str
        How exponents are summed: ``counters``, one for each code, or ``lut``, a table of sums of
        several codes, as the paper does. The sums are equal.
    exp_bits : int
        F, fraction bits of the exponents in the table of constants.
    sets : int
        Sets of constants, one for each layer, that rows choose from.
    least_length : int
        Rows of this length and longer stream at full rate, if they have at least four words.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    unit: ClassVar[str] = "softmax"

    x: str = "fp16"
    bits: int = 2
    accumulate: str = "counters"
    exp_bits: int = 15
    sets: int = 4

    def __post_init__(self) -> None:
        self._check_values(SOFTMAX_CHOICES, SOFTMAX_RANGES)
        _check_lengths(self.max_length, self.least_length)
        if self.accumulate == "lut" and self.width % self.lut_codes:
            raise ValueError(f"Parameter width must be a multiple of {self.lut_codes} for "
                             f"accumulate lut and {self.bits} bits, not {self.width}")

    def baseline(self) -> "BaselineParameters":
        """Exact-exponent unit of the same width and output; its logits are fp16."""
        return BaselineParameters(name=f"{self.name[:26]}_exact", width=self.width,
                                  max_length=self.max_length, y=self.y,
                                  least_length=self.least_length)

    @property
    def x_format(self) -> Format:
        """Format of the logits."""
        return FORMATS[self.x]

    @property
    def levels(self) -> int:
        """Codes, 2**b; there is one threshold less."""
        return 1 << self.bits

    @property
    def word_bits(self) -> int:
        """Width of an element of the output of codes: the code, and a bit above for masked."""
        return self.bits + 1

    @property
    def sum_bits(self) -> int:
        """Width of the sum of a row's exponents, at most ``max_length * 2**exp_bits``."""
        return (self.max_length << self.exp_bits).bit_length()

    @property
    def full_rate_length(self) -> int:
        """Length of the shortest row at full rate: ``least_length``, or that of four words."""
        return max(self.least_length, 3 * self.width + 1)

    @property
    def block_words(self) -> int:
        """Words in a block of a row, for which elements of each code are counted.

        A row's first block has up to one less than twice as many, so that its last ends with it.
        """
        return self.row_cycles(self.least_length)

    @property
    def block_count_bits(self) -> int:
        """Width of a number of elements of a block."""
        return min(self.width * (2 * self.block_words - 1), self.max_length).bit_length()

    @property
    def lut_codes(self) -> int:
        """Codes that share an entry of the table of sums."""
        return LUT_CODES[self.bits]

    @property
    def lut_entries(self) -> int:
        """Entries of the table of sums."""
        return 1 << self.bits * self.lut_codes

    @property
    def lut_bits(self) -> int:
        """Width of an entry of the table of sums, at most ``lut_codes * 2**exp_bits``."""
        return (self.lut_codes << self.exp_bits).bit_length()


@dataclass(frozen=True, kw_only=True)
class BaselineParameters(_RowParameters):
    """Parameters of a softmax unit with exact exponents, the rival of EXAQ's.

    Each element has an exponent by table and linear interpolation and a division of its own
    (:func:`golden.exact_softmax.exact_softmax`). The widths follow from the output's precision:
    what comes before the rounding errs by at most half a unit of ``uint8`` or ``u16``, and in
    fp16 by at most the greater of 2**-11 of the number and 2**-25.

    Parameters
    ----------
    name : str
        Name of the set, as it stands in the names of its Verilog modules.
    width : int
        W, elements in each cycle.
    max_length : int
        Elements of the longest row.
    y : str
        Format of the probabilities: ``uint8`` in units of 2**-8, ``u16`` in units of 2**-16, both
        saturating below 1, or ``fp16``.
    least_length : int
        Rows of this length and longer stream at full rate.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    unit: ClassVar[str] = "exact_softmax"

    def __post_init__(self) -> None:
        self._check_values({"y": SOFTMAX_CHOICES["y"]}, {
            field: SOFTMAX_RANGES[field] for field in ("width", "max_length", "least_length")})
        _check_lengths(self.max_length, self.least_length)

    @property
    def x_format(self) -> Format:
        """Format of the logits."""
        return FORMATS["fp16"]

    @property
    def sets(self) -> int:
        """Sets of constants. There are none to choose from: a row's choice takes no bits."""
        return 1

    @property
    def full_rate_length(self) -> int:
        """Length of the shortest row at full rate."""
        return self.least_length

    @property
    def precision(self) -> int:
        """P: an exponent, before it is cut to ``exp_bits``, errs by less than 2**-P of itself."""
        return {"uint8": 11, "u16": 19, "fp16": 13}[self.y]

    @property
    def distance_point(self) -> int:
        """T, fraction bits of the distance from the maximum, P + 2."""
        return self.precision + 2

    @property
    def distance_bits(self) -> int:
        """Width of the distance from the maximum, which saturates below 32."""
        return 5 + self.distance_point

    @property
    def log2_e_point(self) -> int:
        """Fraction bits of the factor log2 e, P + 7."""
        return self.precision + 7

    @property
    def log2_e(self) -> int:
        """log2 e in steps of ``2**-log2_e_point``, rounded to the nearest."""
        drop = 64 - self.log2_e_point
        return (LOG2_E + (1 << drop - 1)) >> drop

    @property
    def table_address_bits(self) -> int:
        """k: the table of 2**-f has 2**k segments of f from 0 to 1."""
        return self.precision // 2

    @property
    def value_bits(self) -> int:
        """V, fraction bits of the table's entries, P + 4."""
        return self.precision + 4

    @property
    def table(self) -> tuple[int, ...]:
        """2**-(i / 2**k) for i from 0 to 2**k, in units of 2**-V, rounded to the nearest.

        The first entry is 2**V, the last 2**(V - 1).
        """
        segments = 1 << self.table_address_bits
        # V is at most 23: float64's power is far closer to the number than that to a middle.
        return tuple(round(2.0**(self.value_bits - i / segments)) for i in range(segments + 1))

    @property
    def rest_bits(self) -> int:
        """Bits of f below the table's address; they interpolate."""
        return self.distance_point - self.table_address_bits

    @property
    def exp_bits(self) -> int:
        """F, fraction bits of an exponent.

        Cutting all exponents of the longest row changes its sum, which is at least 1, by at most
        an eighth of what the output resolves. No bit of the table's entries is lost.
        """
        unit = {"uint8": 8, "u16": 16, "fp16": 11}[self.y]
        return max(unit + 3 + (self.max_length - 1).bit_length(), self.quotient_bits + 3,
                   self.value_bits)

    @property
    def sum_bits(self) -> int:
        """Width of the sum of a row's exponents, at most ``max_length * 2**exp_bits``."""
        return (self.max_length << self.exp_bits).bit_length()


@dataclass(frozen=True)
class Constants:
    """What a layer's rows are quantised and summed with; the content of a set of registers.

    Parameters
    ----------
    thresholds : tuple of int
        -θ_k for k from 1 to 2**b - 1, in units of 2**-24, each below 2**29 (32.0) and strictly
        descending: a logit whose difference from the row's maximum is at least θ_k has a code of
        at least k.
    exponents : tuple of int
        E_k for k from 0 to 2**b - 1, in units of 2**-F, not descending; the last is 2**F, the
        exponent of the maximum itself. Small ones may be 0: such elements add nothing to the sum
        and have probability 0.

    Raises
    ------
    ValueError
        If a constant breaks these rules.
    """

    thresholds: tuple[int, ...]
    exponents: tuple[int, ...]

    def __post_init__(self) -> None:
        levels = len(self.exponents)
        if levels not in (4, 8, 16):
            raise ValueError(f"Constants must have 4, 8 or 16 exponents, not {levels}")
        if len(self.thresholds) != levels - 1:
            raise ValueError(f"Constants must have {levels - 1} thresholds for {levels} exponents, "
                             f"not {len(self.thresholds)}")
        for name, values, limit in (("Thresholds", self.thresholds, (1 << THRESHOLD_BITS) - 1),
                                    ("Exponents", self.exponents, 1 << 15)):
            for value in values:
                if type(value) is not int or not 0 <= value <= limit:
                    raise ValueError(f"{name} must be integers from 0 to {limit}, not {value!r}")
        if any(high <= low for high, low in zip(self.thresholds, self.thresholds[1:],
                                                strict=False)):
            raise ValueError("Thresholds must be strictly descending magnitudes, "
                             f"not {', '.join(map(str, self.thresholds))}")
        if list(self.exponents) != sorted(self.exponents):
            raise ValueError("Exponents must not descend, "
                             f"as {', '.join(map(str, self.exponents))} do")
        if self.exponents[-1] not in [1 << bits for bits in range(4, 16)]:
            raise ValueError("Last exponent must be a power of two from 16 to 32768, "
                             f"not {self.exponents[-1]}")

    @property
    def bits(self) -> int:
        """Bits of a code, b."""
        return len(self.exponents).bit_length() - 1

    @property
    def exp_bits(self) -> int:
        """Fraction bits of the exponents, F."""
        return self.exponents[-1].bit_length() - 1

    def check(self, parameters: SoftmaxParameters) -> None:
        """Refuse constants that are not of a unit's widths.

        Raises
        ------
        ValueError
            If codes or exponents have other widths.
        """
        if (self.bits, self.exp_bits) != (parameters.bits, parameters.exp_bits):
            raise ValueError(f"Constants must be of {parameters.bits} bits with exponents of "
                             f"{parameters.exp_bits} for {parameters.name}, "
                             f"not {self.bits} and {self.exp_bits}")


SOFTMAX_SETS = {parameters.name: parameters for parameters in (
    # Small enough for every test.
    SoftmaxParameters(name="attention_tiny", width=4, max_length=64, least_length=32, sets=2),
    # Causal attention of LLMs: a fp16 row of 8,192 in 512 cycles.
    SoftmaxParameters(name="attention"),
    # The paper's accumulation: four codes of 2 bits look up the sum of their exponents.
    SoftmaxParameters(name="attention_lut", accumulate="lut", y="fp16"),
    # The finest codes and bf16 logits.
    SoftmaxParameters(name="attention_4bit", x="bf16", bits=4, y="u16"),
)}

#: The rival of each of these, under its name with ``_exact`` behind.
EXACT_SETS = {exact.name: exact for exact in (p.baseline() for p in SOFTMAX_SETS.values())}
