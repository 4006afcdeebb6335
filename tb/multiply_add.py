"""A fused multiply-add behind codes."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl.block import Block, Use
from hdl.rivals.factor import factor
from hdl.rivals.fma import FusedMultiplyAdd

__all__ = ["MultiplyAdd"]


class MultiplyAdd(Block):
    """Combinational :class:`FusedMultiplyAdd` with its factors, as in an element.

    Parameters
    ----------
    parameters : RivalParameters
        Has float accumulators.

    Members
    -------
    x, w : In(16)
        Codes of fp16.
    acc : In(acc bits)
    total : Out(acc bits)
    """

    def __init__(self, parameters: RivalParameters):
        self._fma = FusedMultiplyAdd(parameters)
        width = parameters.acc_format.bits
        super().__init__(parameters, "multiply_add", {
            "x": In(16), "w": In(16), "acc": In(width), "total": Out(width),
        }, uses=(self._fma,))

    def elaborate(self, platform):
        m = Module()

        m.submodules.fma = fma = Use(self._fma)
        normal = self.parameters.acc == "fp32"
        m.d.comb += [
            fma.x.eq(factor(m, self.x, normal)),
            fma.w.eq(factor(m, self.w, normal)),
            fma.acc.eq(self.acc),
            self.total.eq(fma.total),
        ]

        return m
