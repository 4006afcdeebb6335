"""The reciprocal of a row's sum."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.values_parameters import RECIPROCAL_CYCLES, ValuesParameters
from hdl.block import Block
from hdl.float32 import FP32, SIGNIFICAND, leading_zeros

__all__ = ["Reciprocal"]

#: Digits of 1 / m for m from 1 to below 2: the place of 1, a significand, and a half.
DIGITS = SIGNIFICAND + 2


class Reciprocal(Block):
    """fp32(1 / sum), rounded to the nearest, ties to even; 0 for 0.

    Restoring division, a digit in each cycle: ``done`` comes ``RECIPROCAL_CYCLES`` after
    ``start``.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    start : In(1)
    sum : In(sum_bits)
        Is taken with ``start``.
    done : Out(1)
    code : Out(32)
        Code of binary32; from ``done`` to the next ``start``.
    """

    def __init__(self, parameters: ValuesParameters):
        assert RECIPROCAL_CYCLES == DIGITS + 1
        super().__init__(parameters, "reciprocal", {
            "start": In(1), "sum": In(parameters.sum_bits), "done": Out(1), "code": Out(FP32.bits),
        })

    def elaborate(self, platform):
        m = Module()
        bits = len(self.sum)

        # The sum is m * 2**exponent; 1 stands at the place of m's leading one.
        zeros, none = leading_zeros(m, self.sum)
        divisor, zero = Signal(bits), Signal()
        exponent  = Signal(range(bits))
        remainder = Signal(bits + 1)
        quotient  = Signal(DIGITS)
        left      = Signal(range(DIGITS + 1))
        fits      = remainder >= divisor
        with m.If(left != 0):
            m.d.sync += [
                remainder.eq(Mux(fits, remainder - divisor, remainder) << 1),
                quotient.eq(Cat(fits, quotient)),
                left.eq(left - 1),
            ]
        m.d.sync += self.done.eq(left == 1)
        with m.If(self.start):
            m.d.sync += [
                divisor.eq(self.sum << zeros),
                exponent.eq(bits - 1 - zeros),
                zero.eq(none),
                remainder.eq(1 << bits - 1),
                left.eq(DIGITS),
            ]

        # 1 / m is 1, or its leading one is a half. In that case it goes on without end: no ties.
        field   = (FP32.bias - 1 + quotient[-1] - exponent)[:FP32.exp_bits]
        rounded = Cat(quotient[1:SIGNIFICAND], field) + quotient[0]
        m.d.comb += self.code.eq(Mux(zero, 0, rounded))

        return m
