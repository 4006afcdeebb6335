"""A dequantiser with its accumulators."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.accumulators import Accumulators
from hdl.block import Block, Use
from hdl.dequantiser import Dequantiser

__all__ = ["Column"]

#: Inputs of a dequantiser that come a cycle after the others.
LATE = ("scale", "x_scale")


class Column(Block):
    """A :class:`Dequantiser` and :class:`Accumulators`, as in a foot of one column.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    All inputs of both but ``acc``, ``acc_next`` and ``row_sum_triple``, in the cycle of the sum;
    ``result`` : Out(32).
    """

    def __init__(self, parameters: ArrayParameters):
        self._dequantiser, self._accumulators = Dequantiser(parameters), Accumulators(parameters, 1)
        members = {name: member for block in (self._dequantiser, self._accumulators)
                   for name, member in block.signature.members.items()
                   if member.flow == In and name not in ("acc", "acc_next", "row_sum_triple")}
        super().__init__(parameters, "column", members | {"result": Out(32)},
                         uses=(self._dequantiser, self._accumulators))

    def elaborate(self, platform):
        m = Module()

        m.submodules.dequantiser  = dequantiser  = Use(self._dequantiser)
        m.submodules.accumulators = accumulators = Use(self._accumulators)
        for block in (dequantiser, accumulators):
            for name in block.signature.members:
                if name in self.signature.members and name != "result":
                    domain = m.d.sync if name in LATE else m.d.comb
                    domain += getattr(block, name).eq(getattr(self, name))
        if self.parameters.max_zero:
            m.d.comb += dequantiser.row_sum_triple.eq(3 * self.row_sum)
        m.d.comb += [
            dequantiser.acc.eq(accumulators.acc[0]),
            accumulators.acc_next[0].eq(dequantiser.acc_next),
            self.result.eq(accumulators.result[0]),
        ]

        return m
