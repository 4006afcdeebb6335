"""After a row: the sum of its exponents."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.values_parameters import ValuesParameters
from hdl.block import Block

__all__ = ["ExponentSum"]


class ExponentSum(Block):
    """S = Σ_k n_k·E_k, from counts of elements that reach each code.

    With ``start`` the counts are taken; ``sum`` is there, with ``done``, after ``steps + 1``
    cycles, in each of which ``ceil(levels / steps)`` products are added. Exact.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    start : In(1)
    counts : In(ArrayLayout(count_bits, levels))
    exponents : In(ArrayLayout(exp_bits + 1, levels))
        Must remain as they are until ``done``.
    done : Out(1)
    sum : Out(sum_bits)
        Remains until the next ``start``.
    """

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        #: Cycles of the products; no more than a row of the least length takes.
        self.steps = -(-p.levels // -(-p.levels // max(1, p.row_cycles(p.least_length) - 2)))
        super().__init__(p, "exponent_sum", {
            "start": In(1),
            "counts": In(data.ArrayLayout(p.count_bits, p.levels)),
            "exponents": In(data.ArrayLayout(p.exp_bits + 1, p.levels)),
            "done": Out(1),
            "sum": Out(p.sum_bits),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        each = -(-p.levels // self.steps)  # products in a cycle

        # Counts of each code, which move down to where they are multiplied.
        own  = Signal(data.ArrayLayout(p.count_bits, p.levels))
        step, running = Signal(range(self.steps)), Signal()
        end   = step == self.steps - 1
        total = Signal(p.sum_bits)
        width = p.exp_bits + 1
        exponents = Signal(width * each * self.steps)
        m.d.comb += exponents.eq(Value.cast(self.exponents))
        now   = exponents.word_select(step, width * each)
        added = sum(own[index] * now.word_select(index, width) for index in range(each))
        m.d.sync += self.done.eq(running & end)
        with m.If(running):
            m.d.sync += [
                total.eq(total + added),
                Value.cast(own).eq(Value.cast(own)[each * p.count_bits:]),
                step.eq(Mux(end, 0, step + 1)),
                running.eq(~end),
            ]
        with m.If(self.start):
            m.d.sync += [total.eq(0), running.eq(1)]
            for k in range(p.levels):
                above = self.counts[k + 1] if k + 1 < p.levels else 0
                m.d.sync += own[k].eq(self.counts[k] - above)
        m.d.comb += self.sum.eq(total)

        return m
