"""What a drained row needs besides its sums."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block
from hdl.codes import code_shape, number, significand

__all__ = ["RowSum", "row_layout", "row_sum_layout", "x_group_layout"]


def row_sum_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of what a row's activations say of a group.

    ``sum`` is Σ x, if weights have zero points. ``bad`` tells that an activation is infinite or
    NaN, if there are such.
    """
    members = {}
    if parameters.max_zero:
        members["sum"] = signed(parameters.row_sum_bits)
    if not parameters.x_format.is_integer:
        members["bad"] = 1
    return data.StructLayout(members)


def x_group_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of the scale and the zero point that a row's activations have in a group."""
    members = {}
    if parameters.x_scale_format:
        members["scale"] = parameters.x_scale_format.bits
    if parameters.x_zero:
        members["zero"] = signed(parameters.x_format.bits)
    return data.StructLayout(members)


def row_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of all that goes with a drained row: ``sums`` and ``group``."""
    return data.StructLayout({"sums": row_sum_layout(parameters),
                              "group": x_group_layout(parameters)})


class RowSum(Block):
    """Σ x of each row of a tile over each group, and whether an activation is no number.

    Stands beside the first tile of a row of the mesh, keeps pace with its elements and drains as
    they do, so that a row's sum reaches the foot together with the row. All columns share it.

    Parameters
    ----------
    parameters : ArrayParameters
        Its :func:`row_sum_layout` has members.

    Members
    -------
    x : In(ArrayLayout(ArrayLayout(x_bits, L), R))
        Codes of the activations, as the tile passes them on.
    enable, last, move : In(1)
        As the tile passes them on: there are activations, they end a group, sums drain.
    drain_i : In(row_sum_layout(parameters))
        Sums of the rows above.
    drain_o : Out(row_sum_layout(parameters))
        Sums for below, bottom row first, from the second cycle after ``last``.
    """

    def __init__(self, parameters: ArrayParameters):
        row = data.ArrayLayout(code_shape(parameters.x_format), parameters.lanes)
        super().__init__(parameters, "row_sum", {
            "x":       In(data.ArrayLayout(row, parameters.tile_rows)),
            "enable":  In(1),
            "last":    In(1),
            "move":    In(1),
            "drain_i": In(row_sum_layout(parameters)),
            "drain_o": Out(row_sum_layout(parameters)),
        })

    def elaborate(self, platform):
        m = Module()
        layout, fmt = row_sum_layout(self.parameters), self.parameters.x_format

        above = Value.cast(self.drain_i)
        for r, row in enumerate(self.x):
            acc, shadow, total = (Signal(layout, name=f"{name}_{r}", reset_less=name != "total")
                                  for name in ("acc", "shadow", "total"))
            if "sum" in layout.members:
                m.d.comb += total.sum.eq(acc.sum + sum(number(code, fmt) for code in row))
            if "bad" in layout.members:
                m.d.comb += total.bad.eq(
                    acc.bad | Cat(significand(code, fmt)[2] for code in row).any())
            with m.If(self.enable):
                m.d.sync += Value.cast(acc).eq(Mux(self.last, 0, total))
            with m.If(self.move):
                m.d.sync += Value.cast(shadow).eq(Mux(self.last, total, above))
            above = Value.cast(shadow)

        drain = Signal(layout, reset_less=True)
        with m.If(self.move):
            m.d.sync += Value.cast(drain).eq(above)
        m.d.comb += self.drain_o.eq(drain)

        return m
