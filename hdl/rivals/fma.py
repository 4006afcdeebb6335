"""Fused multiply-add of fp16 factors."""

from itertools import zip_longest

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl import float32
from hdl.block import Block
from hdl.compressor import BitHeap, FullAdders
from hdl.exact import booth_digits
from hdl.float32 import named
from hdl.rivals.factor import FP16, LOWEST, SIGNIFICAND, factor_layout

__all__ = ["FusedMultiplyAdd"]


class FusedMultiplyAdd(Block):
    """Combinational ``total = acc + x * w``, rounded once, to the nearest, ties to even.

    As IEEE 754 has it: subnormal numbers and signed zeros are kept, a total that is too large is
    infinite, and there is one NaN. The addend with the lower exponent is shifted to the other,
    whatever leaves the word below being one bit that stands for it; one adder, one count of
    leading zeros, one shift back, one increment.

    * To fp16, factors enter as they are.
    * To fp32, factors enter normalised, or words would be wider. A sum that starts from 0 is a
      multiple of 2**-48 and below 2**58: it is never subnormal and never overflows, and only such
      ones are served.

    Parameters
    ----------
    parameters : RivalParameters
        Has float accumulators.

    Members
    -------
    x, w : In(factor_layout(parameters.acc == "fp32"))
        Factors (:func:`hdl.rivals.factor.factor`).
    acc : In(acc bits)
        Code of the addend.
    total : Out(acc bits)
        Code of the sum.
    """

    def __init__(self, parameters: RivalParameters):
        self._adders = FullAdders(parameters)
        self._format = parameters.acc_format
        self._normal = parameters.acc == "fp32"
        super().__init__(parameters, "fma", {
            "x":     In(factor_layout(self._normal)),
            "w":     In(factor_layout(self._normal)),
            "acc":   In(self._format.bits),
            "total": Out(self._format.bits),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        acc      = float32.unpack(m, self.acc, self._format)
        infinite = named(m, "infinite", self.x.infinite | self.w.infinite)
        sign     = named(m, "sign", self.x.sign ^ self.w.sign)
        subtract = named(m, "subtract", sign ^ acc.sign)
        absent   = named(m, "absent", self.x.zero | self.w.zero)

        exponent, swap, big, small = self._aligned(m, acc, absent)
        # Two's complement if it is negative.
        total    = named(m, "total", (Cat(C(1, 1), big)
                                      + Cat(subtract, small ^ subtract.replicate(len(small))))[1:])
        negative = named(m, "negative", subtract & ~total[-1])
        word     = named(m, "word", Cat(total[:-1], total[-1] ^ subtract))
        body, none = self._rounded(m, word, negative, exponent)

        nan  = named(m, "nan", self.x.nan | self.w.nan | acc.nan
                     | (infinite & absent) | (infinite & acc.infinite & subtract))
        zero = none & ~negative
        sign = Mux(infinite | acc.infinite, Mux(infinite, sign, acc.sign),
                   (Mux(swap, acc.sign, sign) ^ negative) & ~(zero & subtract))
        self._pack(m, body, sign, infinite | acc.infinite, nan)

        return m

    def _aligned(self, m, acc, absent):
        """Exponent of the higher addend's top bit, whether that is acc, and both as words."""
        fmt, below = self._format, self._below
        product    = named(m, "product", self._product(m))
        width      = len(product) + below
        # The product's highest bit weighs twice the product of the leading ones.
        offset   = fmt.bias - 2 * (FP16.bias + LOWEST * self._normal) + 1
        exponent = named(m, "exponent", self.x.exponent + self.w.exponent + offset)
        distance = named(m, "distance", exponent - acc.scale)
        # A product of 0 has no exponent.
        swap = named(m, "swap", distance[-1] | absent)

        # If acc is the higher the distance is -distance = ~distance + 1.
        addend = Cat(C(0, width - len(acc.significand)), acc.significand)
        big    = named(m, "big", Mux(swap, addend, Cat(C(0, below), product)))
        small  = named(m, "small", Mux(swap, Cat(C(0, below - 1), product, C(0, 1)), addend))
        small  = float32.shift_right(m, small, distance[:-1] ^ swap.replicate(len(distance) - 1))

        highest = max(2**fmt.exp_bits, 2 * (2**FP16.exp_bits + LOWEST * self._normal) + offset) - 1
        higher  = named(m, "higher", Mux(swap, acc.scale, exponent)[:highest.bit_length()])
        return higher, swap, big, small

    @property
    def _below(self):
        """Bits of a word below the product's lowest.

        A difference that loses more than one leading bit is exact. Any other has its leading one
        at most one place below the product's, then come the rest of the significand, a half of its
        last place, and a bit for all below. Two subnormal factors never set the exponent.
        """
        product = FP16.man_bits * (1 + self._normal)  # least place of the leading one
        return self._format.man_bits + 1 + 2 - product

    def _product(self, m):
        """Product of the significands; Booth digits of one select multiples of the other."""
        heap = BitHeap(2 * SIGNIFICAND)
        x, digits = self.x.significand, booth_digits(self.w.significand)
        for place, digit in enumerate(zip_longest(*digits, fillvalue=C(0))):
            single, double, minus = digit
            row = Signal(signed(SIGNIFICAND + 2), name=f"row_{place}")
            m.d.comb += row.eq((Mux(single, x, 0) | Mux(double, x.shift_left(1), 0))
                               ^ minus.replicate(len(row)))
            # The complement lacks one.
            heap.add(row, shift=2 * place)
            heap.add(minus, shift=2 * place)
        return heap.total(m, self._adders)

    def _rounded(self, m, word, negative, exponent):
        """Code without its sign, not yet infinite, and whether the word is 0 or -1.

        The magnitude of a negative word is its complement and one. The complement is rounded, and
        the one increments it where rounding the word itself would not, for rounding to the nearest
        even number is the same on both sides of 0.
        """
        zeros, none = float32.leading_zeros(m, named(m, "magnitude",
                                                     word ^ negative.replicate(len(word))))
        shift = zeros
        if not self._normal:
            # The lowest exponent, 1, is not passed.
            shift = named(m, "shift", Mux(exponent < zeros, exponent, zeros)[:len(zeros)])
        for level, bit in reversed(list(enumerate(shift))):
            word = named(m, "shifted", Mux(bit, word.shift_left(1 << level), word)[:len(word)])

        drop     = len(word) - self._format.man_bits - 1
        kept     = named(m, "kept", word[drop:] ^ negative.replicate(len(word) - drop))
        exponent = Mux(kept[-1], exponent + 1 - shift, 0)[:len(exponent)]
        body     = Cat(kept[:-1], exponent) + (float32.round_even(word, drop) ^ negative)
        return named(m, "body", body[:len(kept) - 1 + len(exponent)]), none

    def _pack(self, m, body, sign, infinite, nan):
        """Encode, NaN in the canonical way."""
        fmt      = self._format
        too_big  = body[fmt.man_bits:] >= 2**fmt.exp_bits - 1
        special  = named(m, "special", infinite | nan | (C(0) if self._normal else too_big))
        fraction = Mux(special, nan.shift_left(fmt.man_bits - 1), body[:fmt.man_bits])
        m.d.comb += self.total.eq(Cat(
            fraction[:fmt.man_bits],
            body[fmt.man_bits:fmt.man_bits + fmt.exp_bits] | special.replicate(fmt.exp_bits),
            sign & ~nan))
