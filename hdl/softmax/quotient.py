"""Third pass over a row of the exact unit: an element's probability."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import BaselineParameters
from hdl.block import Block
from hdl.float32 import named
from hdl.softmax.division import rounded

__all__ = ["DEPTH", "Quotient", "quotient_digits", "quotient_stages", "remainder_bits"]

#: Digits of a quotient between registers, as many as in the EXAQ unit ``attention``.
DEPTH = 2


def quotient_digits(parameters: BaselineParameters) -> int:
    """Digits of a quotient: its fraction, and a half."""
    return parameters.quotient_bits + 1


def quotient_stages(parameters: BaselineParameters) -> int:
    """Cycles of a quotient."""
    return -(-quotient_digits(parameters) // DEPTH)


def remainder_bits(parameters: BaselineParameters, digit: int) -> int:
    """Width of twice what is left before a digit, counted from 0.

    It is at most ``a * 2**(digit + 1)`` and ``2 * sum``.
    """
    p = parameters
    return min(p.exp_bits + digit + 2, p.sum_bits + 1)


class Quotient(Block):
    """Probability of one element in each cycle: a / A, rounded once to the nearest, ties to even.

    Restoring division with ``DEPTH`` digits in each stage, and the rounding after the last. There
    is no digit for 1: if a equals A all others are ones and a remainder is left, which rounds up to
    1. Latency ``quotient_stages`` enabled cycles.

    Parameters
    ----------
    parameters : BaselineParameters

    Members
    -------
    enable : In(1)
        All stages move.
    exponent : In(exp_bits + 1)
        a, at most A.
    sums : In(ArrayLayout(sum_bits, quotient_stages))
        A, not 0, of the row that is in each stage.
    beyond : In(quotient_digits)
        Whether A of the row that is at a digit has more than its ``remainder_bits``.
    invalid : In(1)
        The row in the last stage has NaN in fp16, and 0 in integers if a is 0.
    probability : Out(y bits)
    """

    def __init__(self, parameters: BaselineParameters):
        p = parameters
        super().__init__(p, "quotient", {
            "enable": In(1),
            "exponent": In(p.exp_bits + 1),
            "sums": In(data.ArrayLayout(p.sum_bits, quotient_stages(p))),
            "beyond": In(quotient_digits(p)),
            "invalid": In(1),
            "probability": Out(p.y_format.bits),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        left, digits, count = self.exponent, C(0, 0), quotient_digits(p)
        for stage in range(quotient_stages(p)):
            if stage:
                kept, found = Signal.like(left, reset_less=True), Signal.like(digits, reset_less=True)
                with m.If(self.enable):
                    m.d.sync += [kept.eq(left), found.eq(digits)]
                left, digits = kept, found
            for digit in range(stage * DEPTH, min((stage + 1) * DEPTH, count)):
                one, left = self._digit(m, digit, left, self.sums[stage])
                digits = Cat(one, digits)

        # The highest digit of the rounding's quotient stands for 1.
        probability = rounded(m, Cat(digits, C(0)), left, p, count + 1)
        if not p.y_format.is_integer:
            probability = Mux(self.invalid, p.y_format.nan, probability)
        with m.If(self.enable):
            m.d.sync += self.probability.eq(probability)

        return m

    def _digit(self, m, digit, left, divisor):
        """A digit, and what is left after it."""
        p = self.parameters
        width = remainder_bits(p, digit)
        twice = Cat(C(0), left)[:width]
        difference = named(m, "difference", twice - divisor[:width])
        one  = named(m, "one", ~difference[-1] & ~self.beyond[digit])
        size = min(width, p.sum_bits)
        return one, named(m, "left", Mux(one, difference[:size], twice[:size]))
