"""After a row: the probability of each code."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.float32 import round_even

__all__ = ["Division", "rounded"]


class Division(Block):
    """p_k = E_k / S, rounded once to the nearest, ties to even, for all codes.

    Digits come by restoring division, one bit of ``units`` quotients in each step and ``depth``
    steps in each cycle, down to the bit below the quotient's; the remainder tells a tie. The
    probabilities come ``rounds * ceil((quotient_bits + 2) / depth) + 1`` cycles after ``start``,
    with ``done``.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    start : In(1)
    sum : In(sum_bits)
        S, at least the last exponent; is taken with ``start``.
    exponents : In(ArrayLayout(exp_bits + 1, levels))
        Must remain as they are until ``done``.
    done : Out(1)
    probabilities : Out(ArrayLayout(y bits, levels))
        Change until ``done`` and remain then until the next ``start``.
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        #: Bits of a quotient: 1, its fraction, and a half.
        self.digits = p.quotient_bits + 2
        self.units, self.depth = _smallest(p.levels, self.digits,
                                           p.row_cycles(p.least_length) - 1)
        #: Cycles of a quotient, and quotients one after the other.
        self.cycles, self.rounds = -(-self.digits // self.depth), p.levels // self.units
        super().__init__(p, "division", {
            "start": In(1),
            "sum": In(p.sum_bits),
            "exponents": In(data.ArrayLayout(p.exp_bits + 1, p.levels)),
            "done": Out(1),
            "probabilities": Out(data.ArrayLayout(p.y_format.bits, p.levels)),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        divisor = Signal(p.sum_bits)
        running = Signal()
        step    = Signal(range(self.cycles))
        round_  = Signal(range(self.rounds))
        numerators = Signal(data.ArrayLayout(p.exp_bits + 1, p.levels))  # the next ones lowest
        m.d.sync += self.done.eq(0)

        step_end, values = step == self.cycles - 1, []
        with m.If(running):
            m.d.sync += step.eq(Mux(step_end, 0, step + 1))
        for unit in range(self.units):
            quotient  = Signal(self.cycles * self.depth, name=f"quotient_{unit}")
            remainder = Signal(p.sum_bits + 1, name=f"remainder_{unit}")
            digits, left = self._digits(m, quotient, Mux(
                step == 0, numerators[unit], remainder), divisor)
            m.d.sync += [quotient.eq(digits), remainder.eq(left)]
            values.append(rounded(m, digits, left, p, self.cycles * self.depth))
        # Probabilities come in at the top and move down, round after round.
        width = p.y_format.bits * self.units
        with m.If(running & step_end):
            m.d.sync += [
                Value.cast(self.probabilities).eq(
                    Cat(Value.cast(self.probabilities)[width:], *values)),
                Value.cast(numerators).eq(
                    Value.cast(numerators) >> (p.exp_bits + 1) * self.units),
                round_.eq(round_ + 1),
            ]
            with m.If(round_ == self.rounds - 1):
                m.d.sync += [running.eq(0), round_.eq(0), self.done.eq(1)]
        with m.If(self.start):
            m.d.sync += [divisor.eq(self.sum), numerators.eq(self.exponents), running.eq(1)]

        return m

    def _digits(self, m, quotient, left, divisor):
        """Quotient with the digits of a cycle, and twice what is left."""
        digits = []
        for _ in range(self.depth):
            difference = Signal(signed(len(divisor) + 2))
            m.d.comb += difference.eq(left - divisor)
            digit = ~difference[-1]
            left  = Mux(digit, difference[:len(divisor)], left[:len(divisor)]) << 1
            digits.append(digit)
        return Cat(*reversed(digits), quotient)[:len(quotient)], left[:len(divisor) + 1]


def _smallest(levels: int, digits: int, cycles: int) -> tuple[int, int]:
    """Units and depth with the fewest digits at a time that do all in some cycles.

    If none does, the shallowest units, one for each level.
    """
    choices = [(units * depth, depth, units)
               for units in (1 << power for power in range(levels.bit_length()))
               for depth in range(1, digits + 1)
               if levels // units * -(-digits // depth) <= cycles]
    _, depth, units = min(choices, default=(0, digits, levels))
    return units, depth


def rounded(m, digits, left, p, count):
    """Probability of a quotient that has at least a half below its lowest bit."""
    fmt   = p.y_format
    extra = count - p.quotient_bits - 2      # digits below the half
    # Sticky bit, half, 1 and its fraction
    word = Cat(digits[:extra].any() | left.any(), digits[extra:])
    if fmt.is_integer:
        up = word[2:] + round_even(word, 2)
        return Mux(up > fmt.high, fmt.high, up)[:fmt.bits]
    # Units of fp16's least step: those of more bits than a mantissa and its one are rounded.
    result = Signal(fmt.bits)
    m.d.comb += result.eq(word[2:] + round_even(word, 2))
    for drop in range(3, len(word) - fmt.man_bits):
        with m.If(word[fmt.man_bits + drop]):
            kept = word[drop:drop + fmt.man_bits + 1]
            m.d.comb += result.eq((drop - 2 << fmt.man_bits) + kept + round_even(word, drop))
    return result
