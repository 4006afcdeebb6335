"""Processing element with a fused multiply-add of fp16 numbers."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl.block import Block, Use
from hdl.rivals.factor import factor
from hdl.rivals.fma import FusedMultiplyAdd

__all__ = ["FloatElement"]


class FloatElement(Block):
    """Output-stationary processing element: ``acc + x * w`` rounded once, operands passed on.

    As :class:`hdl.rivals.integer_element.IntegerElement`, with the same latency: no shadow, the sum
    stands in ``drain_o`` for one cycle, and after a reset the first one starts from +0.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``fp16_fma``.

    Members
    -------
    x_i : In(16)
        Code of the activation; ``x_o`` passes it on.
    w_i : In(16)
        Code of the weight; ``w_o`` passes it on.
    last_i : In(1)
        The operands end a sum; ``last_o`` passes it on.
    drain_o : Out(acc bits)
        The accumulator, which holds the sum in the cycle after ``last_o``.
    """

    def __init__(self, parameters: RivalParameters):
        self._fma = FusedMultiplyAdd(parameters)
        x, w = parameters.x_format.bits, parameters.w_format.bits
        super().__init__(parameters, "", {
            "x_i": In(x), "x_o": Out(x),
            "w_i": In(w), "w_o": Out(w),
            "last_i": In(1), "last_o": Out(1, init=1),
            "drain_o": Out(parameters.sum_bits),
        }, uses=(self._fma,))

    def elaborate(self, platform):
        m = Module()

        x, w, acc = (Signal.like(port, name=name, reset_less=True)
                     for port, name in ((self.x_o, "x"), (self.w_o, "w"), (self.drain_o, "acc")))
        restart = Signal(reset_less=True)
        m.submodules.fma = fma = Use(self._fma)
        normal = self.parameters.acc == "fp32"
        m.d.comb += [
            fma.x.eq(factor(m, x, normal)),
            fma.w.eq(factor(m, w, normal)),
            fma.acc.eq(Mux(restart, 0, acc)),
            self.x_o.eq(x),
            self.w_o.eq(w),
            self.drain_o.eq(acc),
        ]
        m.d.sync += [
            x.eq(self.x_i),
            w.eq(self.w_i),
            self.last_o.eq(self.last_i),
            restart.eq(self.last_o),
            acc.eq(fma.total),
        ]

        return m
