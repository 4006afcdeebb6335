"""Factors of a fused multiply-add: codes of fp16 taken to pieces, once for all that share them."""

from amaranth import *
from amaranth.lib import data

from golden.formats import FORMATS
from hdl import float32
from hdl.float32 import named

__all__ = ["FP16", "SIGNIFICAND", "LOWEST", "factor_layout", "factor"]

FP16 = FORMATS["fp16"]

#: Width of a significand with its leading one.
SIGNIFICAND = FP16.man_bits + 1

#: What a normalised exponent has more than that of fp16, so that it is never negative.
LOWEST = FP16.man_bits


def factor_layout(normal: bool) -> data.StructLayout:
    """Layout of a factor.

    Members: ``sign``; ``exponent``, that of a subnormal number being 1, or if ``normal`` that of
    the leading one and ``LOWEST`` more; ``significand``, which if ``normal`` has its leading one
    at the top; whether the number is ``zero``, ``infinite`` or ``nan``, the exponent and the
    significand meaning nothing then.
    """
    return data.StructLayout({
        "sign": 1, "exponent": FP16.exp_bits + normal, "significand": SIGNIFICAND,
        "zero": 1, "infinite": 1, "nan": 1,
    })


def factor(m: Module, code: Value, normal: bool) -> Value:
    """Expression of :func:`factor_layout` for a code of fp16."""
    number = float32.unpack(m, code, FP16)
    exponent, significand = number.scale, number.significand
    if normal:
        zeros, _    = float32.leading_zeros(m, significand)
        exponent    = (exponent + LOWEST - zeros)[:FP16.exp_bits + 1]
        for level, bit in reversed(list(enumerate(zeros))):
            significand = named(m, "significand", Mux(
                bit, significand.shift_left(1 << level), significand)[:SIGNIFICAND])
    return Cat(number.sign, exponent, significand, ~number.significand.any(), number.infinite,
               number.nan)
