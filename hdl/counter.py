"""Saturating counters of events."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.base_parameters import BaseParameters
from golden.registers import DATA_BITS
from hdl.block import Block

__all__ = ["Counter"]


class Counter(Block):
    """Number of cycles in which ``increment`` was high; stays at its largest value.

    ``count`` changes one cycle later; there can be an increment in every cycle.

    Parameters
    ----------
    parameters : BaseParameters
    width : int
        Width of the count, at least 1.

    Members
    -------
    clear : In(1)
        Count from 0 again; an increment in the same cycle is lost.
    increment : In(1)
        Count one.
    count : Out(width)
        Increments since the reset or the last ``clear``, at most ``2**width - 1``.
    """

    def __init__(self, parameters: BaseParameters, width: int = DATA_BITS):
        super().__init__(parameters, f"counter_{width}", {
            "clear":     In(1),
            "increment": In(1),
            "count":     Out(width),
        })

    def elaborate(self, platform):
        m = Module()

        with m.If(self.clear):
            m.d.sync += self.count.eq(0)
        with m.Elif(self.increment & ~self.count.all()):
            m.d.sync += self.count.eq(self.count + 1)

        return m
