"""Between the passes: the least logits of each code."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import THRESHOLD_BITS, THRESHOLD_POINT, SoftmaxParameters
from hdl.block import Block
from hdl.float32 import later, named, shift_right
from hdl.softmax.keys import zero_key

__all__ = ["LATENCY", "Threshold"]

#: Cycles from a maximum and a magnitude to the key.
LATENCY = 1


class Threshold(Block):
    """Key of the least number x with ``x - m >= -θ``, the difference being exact.

    ``m - θ`` is formed in fixed point and rounded up to the logits' format. fp16 numbers and
    magnitudes are all multiples of 2**-24. A bf16 number is cut to 2**-34 and a bit that stands
    for what is below, which no rounding up can tell from it as a magnitude is 0 or at least 2**-24;
    from 2**14 on it exceeds its lower neighbour by more than any magnitude, so x is m itself.

    Latency is 1 cycle, throughput one in each.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    maximum : In(16)
        Key of m; must remain for the latency.
    magnitude : In(29)
        θ, in units of 2**-24.
    key : Out(16)
    """

    def __init__(self, parameters: SoftmaxParameters):
        bits = parameters.x_format.bits
        super().__init__(parameters, "threshold", {
            "maximum": In(bits), "magnitude": In(THRESHOLD_BITS), "key": Out(bits),
        })

    def elaborate(self, platform):
        m = Module()
        fmt  = self.parameters.x_format
        half = fmt.exp_bits == 5
        # Binary places, and the exponent field of the largest number that is not its own answer.
        point, top = (24, 30) if half else (35, fmt.bias + 13)

        # Magnitude of m in fixed point
        negative = self.maximum[-1]
        field    = self.maximum[fmt.man_bits:-1]
        exponent = Mux(field == 0, 1, field)
        significand = Cat(self.maximum[:fmt.man_bits], field != 0)
        lowest   = top - fmt.bias - fmt.man_bits + point  # places that the significand moves up
        wide     = Cat(C(0, lowest), significand)
        place    = named(m, "place", (top - exponent)[:fmt.exp_bits])
        fixed    = named(m, "fixed", wide >> place if half else shift_right(m, wide, place))

        # |m| + θ, or |m| - θ; if that is negative its complement, short of the magnitude by one.
        size  = len(wide) + 1
        drop  = Cat(C(0, point - THRESHOLD_POINT), self.magnitude,
                    C(0, size - len(self.magnitude) - point + THRESHOLD_POINT))
        minus = ~negative
        total = named(m, "total", (Cat(C(1, 1), fixed)
                                   + Cat(minus, drop ^ minus.replicate(size)))[1:1 + size])
        short = named(m, "short", minus & total[-1])
        word, short, below = later(m, "sum", (total ^ short.replicate(size), short,
                                              negative | short))

        # Normalised; what is cut is told apart by whether it has a one, and whether it has a zero.
        amount, some, every = [], C(0), C(1)
        for level in reversed(range((size - 1).bit_length() if not half else 5)):
            step = 1 << level
            zero = ~word[-step:].any()
            if half and not level:
                # The least step of fp16 is that of the fixed point: subnormal numbers stay.
                zero &= ~Cat(amount).all()
            zero = named(m, "zero", zero)
            cut  = len(word) - (step + fmt.man_bits)
            some, every = some | ~zero & word[:cut].any(), every & (zero | word[:cut].all())
            word = named(m, "word", Mux(zero, Cat(short.replicate(step), word[:-step]), word)[cut:])
            amount.insert(0, zero)

        # Away from zero, or to it, whichever is up
        base    = size - 1 - point + fmt.bias
        biased  = Mux(word[-1], base - Cat(amount), 0)[:fmt.exp_bits]
        up      = Mux(below, short & every, some)
        rounded = named(m, "rounded", (Cat(word[:-1], biased) + up)[:fmt.bits - 1])
        found   = Cat(rounded, below | ~rounded.any())
        if not half:
            itself, = later(m, "itself", ((field > top) | (self.magnitude == 0),))
            zero  = ~self.maximum[:-1].any()
            found = Mux(itself, Mux(zero, zero_key(fmt), self.maximum), found)
        m.d.comb += self.key.eq(found)

        return m
