"""Below a column: sums of values of each code times their exponents."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.values_parameters import FOOT_LATENCY, ValuesParameters
from hdl.block import Block
from hdl.values.tile import sums_layout

__all__ = ["ValuesFoot"]


class ValuesFoot(Block):
    """P = Σ_k E_k · (sum of values of code k), exact.

    Takes the sums of ``products`` codes in each cycle; ``total`` is there ``FOOT_LATENCY`` cycles
    after the last of them.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    sums : In(sums_layout(parameters))
    exponents : In(ArrayLayout(exp_bits + 1, products))
        E of the same codes.
    first : In(1)
        These are the first codes of an output.
    total : Out(signed(total_bits))
    """

    LATENCY = FOOT_LATENCY

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        super().__init__(p, "foot", {
            "sums":      In(sums_layout(p)),
            "exponents": In(data.ArrayLayout(p.exp_bits + 1, p.products)),
            "first":     In(1),
            "total":     Out(signed(p.total_bits)),
        })

    def elaborate(self, platform):
        m = Module()

        first = Signal(reset_less=True)
        m.d.sync += first.eq(self.first)
        added = []
        for k, (value, exponent) in enumerate(zip(self.sums, self.exponents, strict=True)):
            added.append(Signal(signed(len(value) + len(exponent)), name=f"product_{k}",
                                reset_less=True))
            m.d.sync += added[-1].eq(value * exponent)
        total = Signal.like(self.total, reset_less=True)
        m.d.sync += total.eq(Mux(first, 0, total) + sum(added))
        m.d.comb += self.total.eq(total)

        return m
