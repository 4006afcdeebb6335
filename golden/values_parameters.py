"""Parameter sets of the unit that multiplies codes of probabilities by V, and what follows."""

from dataclasses import dataclass
from typing import ClassVar

from golden.base_parameters import BaseParameters
from golden.formats import FORMATS, Format
from golden.parameters import RESCALE_LATENCY

__all__ = ["ValuesParameters", "VALUES_CHOICES", "VALUES_RANGES", "VALUES_SETS", "FOOT_LATENCY",
           "FLOAT_STAGES", "LANE_LATENCY", "RECIPROCAL_CYCLES", "QUERY_BITS", "COLUMN_BITS"]

#: Values of each parameter that is chosen from a list.
VALUES_CHOICES: dict[str, tuple[str | bool, ...]] = {"y": ("fp16", "bf16", "fp32")}

#: Least and greatest value of each parameter that is an integer.
VALUES_RANGES = {
    "width": (1, 32), "words": (1, 4), "bits": (2, 4), "queries": (2, 64), "columns": (1, 16),
    "products": (1, 16), "max_length": (1, 65536), "exp_bits": (4, 15), "code_bits": (8, 16),
    "sets": (1, 16),
}

#: Cycles from the last sums of an output to its total.
FOOT_LATENCY = 2

#: Cycles in which a total becomes a float.
FLOAT_STAGES = 2

#: Cycles from a total to its output: a float, times the column's scale, times 1 / S.
LANE_LATENCY = FLOAT_STAGES + 2 * RESCALE_LATENCY

#: Cycles from the sum of a row to its reciprocal: a digit in each.
RECIPROCAL_CYCLES = 27

#: Width of a command's number of queries.
QUERY_BITS = 24

#: Width of a command's number of columns.
COLUMN_BITS = 16


@dataclass(frozen=True, kw_only=True)
class ValuesParameters(BaseParameters):
    """Parameters of the unit for attention's second product (:mod:`golden.attention`).

    V is int8 with a float32 scale for each column, without zero points and without groups of
    tokens. C queries by R columns of V are summed at a time, L tokens in each cycle: each of the
    C·R elements has a sum of V for each of the 2**b codes.

    Parameters
    ----------
    name : str
        Name of the set, as it stands in the names of its Verilog modules.
    width : int
        W, codes in a word of their stream: the width of the softmax unit that sends them.
    words : int
        Words of codes in each cycle: L = words * W tokens, an even number.
    bits : int
        b, bits of a code.
    queries : int
        C, queries whose codes are kept side by side.
    columns : int
        R, columns of V in each cycle.
    products : int
        Codes whose sums a foot multiplies by their exponents in each cycle, a power of two of at
        most 2**b. More shorten ``full_rate_length``.
    max_length : int
        Tokens of the longest row.
    exp_bits : int
        F, fraction bits of the exponents.
    code_bits : int
        Bits of a code in its stream, 8 or 16: those of the softmax unit's output format.
    y : str
        Output format.
    sets : int
        Sets of exponents, one for each layer, that commands choose from.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    unit: ClassVar[str] = "values"

    width: int = 16
    words: int = 1
    bits: int = 2
    queries: int = 16
    columns: int = 4
    products: int = 1
    max_length: int = 8192
    exp_bits: int = 15
    code_bits: int = 8
    y: str = "fp16"
    sets: int = 4

    def __post_init__(self) -> None:
        self._check_values(VALUES_CHOICES, VALUES_RANGES)
        if self.tokens % 2:
            raise ValueError(f"Parameters width * words must be even, not {self.tokens}")
        if self.products not in (1, 2, 4, 8, 16) or self.products > self.levels:
            raise ValueError("Parameter products must be a power of two of at most "
                             f"{self.levels}, not {self.products}")
        if self.code_bits % 8:
            raise ValueError(f"Parameter code_bits must be 8 or 16, not {self.code_bits}")

    # Shapes

    @property
    def tokens(self) -> int:
        """L, tokens of each query in a cycle."""
        return self.width * self.words

    @property
    def levels(self) -> int:
        """Codes, 2**b."""
        return 1 << self.bits

    @property
    def peak(self) -> int:
        """Products of a probability and a value in each cycle, C·R·L."""
        return self.queries * self.columns * self.tokens

    def row_cycles(self, n: int) -> int:
        """Words of a row of n codes, ceil(n / W)."""
        return -(-n // self.width)

    def beats(self, n: int) -> int:
        """Cycles of n tokens, ceil(n / L)."""
        return -(-n // self.tokens)

    @property
    def query_cycles(self) -> int:
        """Cycles in which a foot takes the sums of one query."""
        return self.levels // self.products

    @property
    def drain_cycles(self) -> int:
        """Least distance between the last beats of two column blocks.

        In it the sums of C queries leave, and what belongs to them reaches the outputs.
        """
        return max(self.queries * self.query_cycles, self.query_cycles + FOOT_LATENCY)

    @property
    def full_rate_length(self) -> int:
        """Tokens from which on a column block lasts as long as the one before it drains."""
        return self.tokens * (self.drain_cycles - 1) + 1

    def full_rate_columns(self, n: int) -> int:
        """Columns from which on rows of n tokens come while those before them are used.

        When a half of the codes' buffer has been read come C rows, each as long as its words or as
        its reciprocal takes, and the last sum and its reciprocal. Meanwhile the other half is used
        for ceil(D / R) column blocks.
        """
        row  = max(self.words * self.beats(n), RECIPROCAL_CYCLES)
        last = self.levels + RECIPROCAL_CYCLES + 8
        return -(-(self.queries * row + last) // self.beats(n)) * self.columns

    @property
    def least_length(self) -> int:
        """Rows of this length and longer leave time for one product of their sum in each cycle."""
        return self.full_rate_length

    @property
    def lanes(self) -> int:
        """Outputs that are scaled in each cycle."""
        return -(-self.columns // self.query_cycles)

    @property
    def parts(self) -> int:
        """Cycles in which the outputs of a query are scaled."""
        return -(-self.columns // self.lanes)

    @property
    def output_depth(self) -> int:
        """Queries whose outputs may wait: those of a column block, and what is under way.

        What is under way when the next block ends has passed neither the lanes nor the queue.
        """
        under_way = self.query_cycles + FOOT_LATENCY + self.parts + LANE_LATENCY + 6
        return self.queries + -(-under_way // self.query_cycles) + 1

    # Widths

    @property
    def word_bits(self) -> int:
        """Width of a code with the bit above it that tells masked."""
        return self.bits + 1

    @property
    def count_bits(self) -> int:
        """Width of a number of tokens."""
        return self.max_length.bit_length()

    @property
    def sum_bits(self) -> int:
        """Width of S, the sum of a row's exponents, at most ``max_length * 2**exp_bits``."""
        return (self.max_length << self.exp_bits).bit_length()

    @property
    def value_sum_bits(self) -> int:
        """Width of a sum of values of one code, at least ``-128 * max_length``."""
        return (128 * self.max_length - 1).bit_length() + 1

    @property
    def total_bits(self) -> int:
        """Width of Σ_k E_k · (sum of values of code k), at least ``-128 * max_length * 2**F``."""
        return ((128 * self.max_length << self.exp_bits) - 1).bit_length() + 1

    @property
    def y_format(self) -> Format:
        """Output format."""
        return FORMATS[self.y]


VALUES_SETS = {parameters.name: parameters for parameters in (
    # Small enough for every test.
    ValuesParameters(name="attention_tiny_pv", width=4, queries=2, columns=2, max_length=64,
                     sets=2),
    # Beside the softmax unit of set attention: 1,024 products in each cycle.
    ValuesParameters(name="attention_pv", words=2, columns=2, products=2),
)}
