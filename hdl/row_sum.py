"""Sums of the activations, by which zero points are corrected."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block

__all__ = ["RowSum"]


class RowSum(Block):
    """Σ x of each row of a tile over each group.

    Stands beside the first tile of a row of the mesh, keeps pace with its elements and drains as
    they do, so that a row's sum reaches the foot together with the row. All columns share it.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    x : In(ArrayLayout(ArrayLayout(signed(x_bits), L), R))
        Activations, as the tile passes them on.
    last : In(1)
        The activations end a group.
    drain_i : In(signed(row_sum_bits))
        Sums of the rows above.
    drain_o : Out(signed(row_sum_bits))
        Sums for below, bottom row first, from the second cycle after ``last``.
    """

    def __init__(self, parameters: ArrayParameters):
        row = data.ArrayLayout(signed(parameters.x_format.bits), parameters.lanes)
        super().__init__(parameters, "row_sum", {
            "x":       In(data.ArrayLayout(row, parameters.tile_rows)),
            "last":    In(1),
            "drain_i": In(signed(parameters.row_sum_bits)),
            "drain_o": Out(signed(parameters.row_sum_bits)),
        })

    def elaborate(self, platform):
        m = Module()

        above = self.drain_i
        for r, row in enumerate(self.x):
            acc    = Signal(signed(self.parameters.row_sum_bits), name=f"acc_{r}", reset_less=True)
            shadow = Signal.like(acc, name=f"shadow_{r}")
            total  = Signal.like(acc, name=f"total_{r}")
            m.d.comb += total.eq(acc + sum(row))
            m.d.sync += [
                acc.eq(Mux(self.last, 0, total)),
                shadow.eq(Mux(self.last, total, above)),
            ]
            above = shadow

        drain = Signal.like(self.drain_o, name="drain", reset_less=True)
        m.d.sync += drain.eq(above)
        m.d.comb += self.drain_o.eq(drain)

        return m
