"""Between the passes: the least logits of each code."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import THRESHOLD_BITS, THRESHOLD_POINT, SoftmaxParameters
from hdl.block import Block
from hdl.float32 import later, leading_zeros, named, shift_right
from hdl.softmax.keys import zero_key

__all__ = ["Threshold"]

#: Cycles from a maximum and a magnitude to the key.
LATENCY = 3


class Threshold(Block):
    """Key of the least number x with ``x - m >= -θ``, the difference being exact.

    ``m - θ`` is formed in fixed point and rounded up to the logits' format. fp16 numbers and
    magnitudes are all multiples of 2**-24. A bf16 number is cut to 2**-34 and a bit that stands
    for what is below, which no rounding up can tell from it as a magnitude is 0 or at least 2**-24;
    from 2**14 on it exceeds its lower neighbour by more than any magnitude, so x is m itself.

    Latency is 3 cycles, throughput one in each.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    maximum : In(16)
        Key of m.
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
        fmt = self.parameters.x_format
        # Binary places, and the exponent field of the largest number that is not its own answer.
        point, top = (24, 30) if fmt.exp_bits == 5 else (35, fmt.bias + 13)

        # Sum in fixed point
        negative = ~self.maximum[-1]
        code     = self.maximum[:-1] ^ negative.replicate(fmt.bits - 1)
        field    = code[fmt.man_bits:]
        exponent = Mux(field == 0, 1, field)
        significand = Cat(code[:fmt.man_bits], field != 0)
        itself   = (field > top) | (self.magnitude == 0)
        lowest   = top - fmt.bias - fmt.man_bits + point  # places that the significand moves up
        wide     = Cat(C(0, lowest), significand)
        place    = Signal(fmt.exp_bits)
        m.d.comb += place.eq(top - exponent)
        fixed    = named(m, "fixed", shift_right(m, wide, place))
        drop     = Cat(C(0, point - THRESHOLD_POINT), self.magnitude)
        total    = Signal(signed(len(wide) + 2), reset_less=True)
        m.d.sync += total.eq(Mux(negative, -fixed, fixed) - drop)

        # Magnitude, normalised
        below = total < 0
        size  = named(m, "size", Mux(below, -total, total)[:len(wide) + 1])
        zeros, none = leading_zeros(m, size)
        # The least step of fp16 is that of the fixed point: its subnormal numbers stay as they are.
        most  = len(size) - 1 - (fmt.man_bits if fmt.exp_bits == 5 else 0)
        shift = named(m, "shift", Mux(none | (zeros > most), most, zeros)[:most.bit_length()])
        word, amount = Signal(len(size), reset_less=True), Signal.like(shift, reset_less=True)
        sign  = Signal(reset_less=True)
        m.d.sync += [word.eq(size << shift), amount.eq(shift), sign.eq(below)]

        # Away from or to zero, whichever is up
        base  = len(size) - 1 - point + fmt.bias
        biased = Mux(word[-1], base - amount, 0)[:fmt.exp_bits]
        mantissa = word[-1 - fmt.man_bits:-1]
        rest  = word[:-1 - fmt.man_bits].any()
        up    = Cat(mantissa, biased) + (rest & ~sign)
        rounded = Cat(up[:fmt.bits - 1] ^ sign.replicate(fmt.bits - 1), ~sign)
        zero  = ~word.any()
        own, kept = itself, self.maximum
        for _ in range(LATENCY - 1):
            own, kept = later(m, "kept", (own, kept))
        m.d.sync += self.key.eq(Mux(own, kept, Mux(zero, zero_key(fmt), rounded)))

        return m
