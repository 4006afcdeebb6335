"""Sums of the weights, by which the activations' zero points are corrected."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block
from hdl.codes import code_shape, number

__all__ = ["ColumnSum"]


class ColumnSum(Block):
    """Σ (q − z) of each column over each group.

    Stands before the array, so that a group's sums are there with its last beat. All rows share
    them.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    w : In(ArrayLayout(ArrayLayout(w_bits, L), columns))
        Codes of the weights.
    go, last : In(1)
        The weights are taken; they end a group.
    wide : In(1)
        Whether each two columns have the nibbles of 8-bit weights; only if the set has these.
    zeros : In(ArrayLayout(zero_bits, columns))
        Zero points of the group, with ``last``; only if the weights have any.
    sums : Out(ArrayLayout(signed(column_sum_bits), columns))
        Sums of the group, in the cycle of ``last``; in the first column of wide weights.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        members = {
            "w":    In(data.ArrayLayout(data.ArrayLayout(code_shape(p.w_format), p.lanes),
                                        p.columns)),
            "go":   In(1),
            "last": In(1),
            "sums": Out(data.ArrayLayout(signed(p.column_sum_bits), p.columns)),
        }
        if p.wide:
            members["wide"] = In(1)
        if p.max_zero:
            members["zeros"] = In(data.ArrayLayout(p.zero_bits, p.columns))
        super().__init__(p, "column_sum", members)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        count = Signal(range(p.group + 1))  # weights of the group in each column, without the beat
        after = Signal.like(count)
        m.d.comb += after.eq(count + p.lanes)
        with m.If(self.go):
            m.d.sync += count.eq(Mux(self.last, 0, after))

        totals = []
        for c, column in enumerate(self.w):
            acc   = Signal(signed(p.column_sum_bits), name=f"acc_{c}")
            total = Signal.like(acc, name=f"total_{c}")
            m.d.comb += total.eq(acc + sum(number(code, p.w_format) for code in column))
            with m.If(self.go):
                m.d.sync += acc.eq(Mux(self.last, 0, total))
            totals.append(total)
        for c, total in enumerate(totals):
            if p.wide and c % 2 == 0:
                total = total + Mux(self.wide, totals[c + 1] << 4, 0)
            if p.max_zero:
                total -= sum(Mux(bit, after, 0) << place for place, bit in enumerate(self.zeros[c]))
            m.d.comb += self.sums[c].eq(total)

        return m
