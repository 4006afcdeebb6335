"""Third pass over a row of the exact unit: an element's probability."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import BaselineParameters
from hdl.block import Block
from hdl.float32 import named, round_even, shift_right
from hdl.softmax.division import rounded
from hdl.softmax.exponent import element_layout

__all__ = ["DEPTH", "Quotient", "quotient_digits", "quotient_stages", "remainder_bits",
           "scale_shape"]

#: Digits of a quotient between registers.
DEPTH = 2


def quotient_digits(parameters: BaselineParameters) -> int:
    """Digits of a quotient below 1.

    For integers their fraction and a half; for fp16 a mantissa, its one, a half and another, since
    the quotient of what has been normalised is above a quarter.
    """
    p = parameters
    return p.quotient_bits + 1 if p.y_format.is_integer else p.y_format.man_bits + 3


def quotient_stages(parameters: BaselineParameters) -> int:
    """Cycles of a quotient."""
    return -(-quotient_digits(parameters) // DEPTH)


def remainder_bits(parameters: BaselineParameters, digit: int) -> int:
    """Width of twice what is left before a digit, counted from 0.

    It is at most twice the sum, and for integers ``exponent * 2**(digit + 1)``.
    """
    p = parameters
    most = p.sum_bits + 1
    return min(p.exp_bits + digit + 2, most) if p.y_format.is_integer else most


def scale_shape(parameters: BaselineParameters) -> Shape:
    """Shape of floor(log2(sum)) - exp_bits, which is not negative."""
    p = parameters
    return Shape.cast(range(p.sum_bits - p.exp_bits))


class Quotient(Block):
    """Probability of one element in each cycle: a / A, rounded once to the nearest, ties to even.

    Restoring division with ``DEPTH`` digits in each stage, and the rounding after the last. There
    is no digit for 1: if a equals A all others are ones and a remainder is left, which rounds up to
    1. For fp16 sums come normalised, and the rounding finds the place of the quotient's leading
    one. Latency ``quotient_stages`` enabled cycles.

    Parameters
    ----------
    parameters : BaselineParameters

    Members
    -------
    enable : In(1)
        All stages move.
    element : In(element_layout(parameters))
        a, at most A.
    sums : In(ArrayLayout(sum_bits, quotient_stages))
        A, not 0, of the row that is in each stage; for fp16 shifted so that the highest bit is 1.
    beyond : In(quotient_digits)
        Whether A of the row that is at a digit has more than its ``remainder_bits``.
    scale : In(scale_shape(parameters))
        Of the row in the first stage; for fp16 only.
    invalid : In(1)
        The row in the last stage gives NaN; for fp16 only. In integers its elements are 0.
    probability : Out(y bits)
    """

    def __init__(self, parameters: BaselineParameters):
        p = parameters
        members = {
            "enable": In(1),
            "element": In(element_layout(p)),
            "sums": In(data.ArrayLayout(p.sum_bits, quotient_stages(p))),
            "beyond": In(quotient_digits(p)),
            "probability": Out(p.y_format.bits),
        }
        if not p.y_format.is_integer:
            members |= {"scale": In(scale_shape(p)), "invalid": In(1)}
        super().__init__(p, "quotient", members)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        if p.y_format.is_integer:
            left, place = self.element.exponent, C(0, 0)
        else:
            # a / A = left / sum * 2**-place
            left  = Cat(C(0, p.sum_bits - 1 - p.value_bits), self.element.value)
            place = self.element.shift + self.scale
        digits = C(0, 0)
        for stage in range(quotient_stages(p)):
            if stage:
                left, digits, place = self._registered(m, left, digits, place)
            for digit in range(stage * DEPTH, min((stage + 1) * DEPTH, quotient_digits(p))):
                one, left = self._digit(m, digit, left, self.sums[stage])
                digits = Cat(one, digits)

        if p.y_format.is_integer:
            # The highest digit of the rounding's quotient stands for 1.
            probability = rounded(m, Cat(digits, C(0)), left, p, len(digits) + 1)
        else:
            probability = Mux(self.invalid, p.y_format.nan,
                              self._float(m, digits, left.any(), place))
        with m.If(self.enable):
            m.d.sync += self.probability.eq(probability)

        return m

    def _registered(self, m, *values):
        """The same one enabled cycle later."""
        later = [Signal.like(value, name="kept", reset_less=True) for value in values]
        with m.If(self.enable):
            m.d.sync += [a.eq(b) for a, b in zip(later, values, strict=True)]
        return later

    def _digit(self, m, digit, left, divisor):
        """A digit, and what is left after it."""
        p = self.parameters
        width = remainder_bits(p, digit)
        twice = Cat(C(0), left)[:width]
        difference = named(m, "difference", twice - divisor[:width])
        one  = named(m, "one", ~difference[-1] & ~self.beyond[digit])
        size = min(width, p.sum_bits)
        return one, named(m, "left", Mux(one, difference[:size], twice[:size]))

    def _float(self, m, digits, sticky, place):
        """Code of a quotient of which one of the two highest digits is 1, or which is 0."""
        fmt  = self.parameters.y_format
        high = digits[-1]
        word = Mux(high, Cat(sticky | digits[0], digits[1:]), Cat(sticky, digits[:-1]))
        # The leading one is worth 2**-(place + 1) or half of that; in fp16 at least 2**-14.
        below  = named(m, "below", (place + 2 - high) - (fmt.bias - 1))
        normal = below <= 0
        word   = shift_right(m, word, Mux(normal, 0, below)[:len(below) - 1])
        field  = Mux(normal & digits[-2:].any(), -below, 0)[:fmt.exp_bits]
        kept   = word[2:]
        # The leading one adds 1 to the exponent field, and so does a carry out.
        return ((field << fmt.man_bits) + kept + round_even(word, 2))[:fmt.bits]
