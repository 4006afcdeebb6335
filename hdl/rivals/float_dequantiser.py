"""Weights from codes to fp16, before they are multiplied."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl import float32
from hdl.block import Block
from hdl.compressor import BitHeap, FullAdders
from hdl.float32 import named
from hdl.rivals.factor import FP16, SIGNIFICAND

__all__ = ["FloatDequantiser"]


class FloatDequantiser(Block):
    """Combinational ``w = fp16((code - zero) * scale)``, rounded to the nearest, ties to even.

    As IEEE 754 has it, with any code of fp16 as the scale; one NaN. The integer is at least 1
    unless it is 0, so that a product never becomes subnormal if its scale was not.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``fp16_first``.

    Members
    -------
    code : In(4)
    zero : In(5)
        At most ``w_format.max_zero``.
    scale : In(16)
        Code of fp16.
    w : Out(16)
        Code of fp16.
    """

    def __init__(self, parameters: RivalParameters):
        self._adders = FullAdders(parameters)
        p = parameters
        super().__init__(parameters, "dequantiser", {
            "code":  In(p.w_format.bits),
            "zero":  In(p.w_format.zero_bits),
            "scale": In(p.scale_format.bits),
            "w":     Out(p.factor_format.bits),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()
        fmt = self.parameters.w_format

        scale     = float32.unpack(m, self.scale, FP16)
        offset    = named(m, "offset", (self.code - self.zero).as_signed())
        negative  = offset[-1]
        magnitude = named(m, "magnitude", Mux(negative, -offset, offset)[:fmt.zero_bits])
        product   = named(m, "product", self._product(m, magnitude, scale.significand))

        # The product's leading one goes to the top; not further than a subnormal number's place.
        levels = len(product) - SIGNIFICAND
        word, exponent = Signal.like(product, name="word"), Signal(FP16.exp_bits + 1)
        m.d.comb += [word.eq(product.shift_left(levels)), exponent.eq(scale.scale)]
        for shift in reversed(range(levels)):
            with m.If(product[len(product) - 1 - shift]):
                m.d.comb += [
                    word.eq(product.shift_left(shift)),
                    exponent.eq(scale.scale + levels - shift),
                ]
        body = named(m, "body", (Cat(word[levels:-1], Mux(word[-1], exponent, 0))
                                 + float32.round_even(word, levels))[:FP16.man_bits + 6])

        nan      = named(m, "nan", scale.nan | (scale.infinite & (offset == 0)))
        too_big  = body[FP16.man_bits:] >= 2**FP16.exp_bits - 1
        special  = named(m, "special", nan | scale.infinite | too_big)
        fraction = Mux(special, nan.shift_left(FP16.man_bits - 1), body[:FP16.man_bits])
        m.d.comb += self.w.eq(Cat(
            fraction[:FP16.man_bits],
            body[FP16.man_bits:FP16.man_bits + FP16.exp_bits] | special.replicate(FP16.exp_bits),
            (negative ^ scale.sign) & ~nan))

        return m

    def _product(self, m, magnitude, significand):
        """Product by shift and add; the magnitude's highest bit excludes all others."""
        largest = self.parameters.w_format.max_zero
        heap = BitHeap((largest * ((1 << SIGNIFICAND) - 1)).bit_length())
        *rows, top = [Mux(bit, significand, 0).shift_left(place)
                      for place, bit in enumerate(magnitude)]
        for row in (*rows[:-1], rows[-1] | top):
            heap.add(row)
        return heap.total(m, self._adders)
