"""Group scales of weights times those of activations."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import SCALE_LATENCY, ArrayParameters
from hdl import float32
from hdl.block import Block
from hdl.float32 import FP32, SIGNIFICAND, Exact

__all__ = ["Scale"]


class Scale(Block):
    """``product = fp32(scale * x_scale)``, rounded to the nearest, ties to even.

    Latency ``LATENCY`` cycles; takes factors in each cycle.

    Parameters
    ----------
    parameters : ArrayParameters
        Its activations have scales by group.

    Members
    -------
    scale : In(parameters.scale_format.bits)
        Scale of the weights; any code.
    x_scale : In(parameters.x_scale_format.bits)
        Scale of the activations; any code.
    product : Out(32)
        Code of binary32.
    """

    LATENCY = SCALE_LATENCY

    def __init__(self, parameters: ArrayParameters):
        super().__init__(parameters, "scale", {
            "scale":   In(parameters.scale_format.bits),
            "x_scale": In(parameters.x_scale_format.bits),
            "product": Out(FP32.bits),
        })

    def elaborate(self, platform):
        m = Module()
        formats = self.parameters.scale_format, self.parameters.x_scale_format

        a, b = (float32.unpack(m, code, fmt)
                for code, fmt in zip((self.scale, self.x_scale), formats, strict=True))
        word = a.significand * b.significand
        # The word's highest bit weighs twice the product of the leading ones.
        bias = sum(fmt.bias for fmt in formats) - FP32.bias - 1
        zero = ~a.significand.any(), ~b.significand.any()
        exact = Exact(
            sign=a.sign ^ b.sign, exponent=(a.scale + b.scale - bias).as_signed(),
            word=Cat(C(0, max(0, SIGNIFICAND - len(word))), word), fill=C(0), cancelled=C(0),
            infinite=a.infinite | b.infinite,
            nan=a.nan | b.nan | (a.infinite & zero[1]) | (b.infinite & zero[0]))
        exact   = float32.bounded(m, float32.registered(m, exact))
        product = Signal.like(self.product, reset_less=True)
        m.d.sync += product.eq(float32.pack(m, float32.round_exact(m, exact)))
        m.d.comb += self.product.eq(product)

        return m
