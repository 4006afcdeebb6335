"""The foot of a column of tiles, where sums become float32 accumulators."""

from amaranth import *
from amaranth.lib import data, fifo
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block, Use
from hdl.dequantiser import Dequantiser

__all__ = ["Foot", "scale_layout", "step_layout"]


def scale_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of a column's scale and, if the format has one, zero point."""
    members = {"scale": parameters.scale_format.bits}
    if parameters.w_format.max_zero:
        members["zero"] = parameters.w_format.zero_bits
    return data.StructLayout(members)


def step_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of what goes with one drained row.

    ``first`` and ``final`` mark the first and last group of an output tile; ``end`` marks the
    last row of a group.
    """
    return data.StructLayout({
        "valid": 1, "end": 1, "first": 1, "final": 1, "bank": 1,
        "row": range(max(2, parameters.band_rows)),
    })


class Foot(Block):
    """Dequantisers of the C columns of a tile, and the queue of their scales.

    Takes one row of sums in each cycle. What all columns share passes on to the next foot in the
    next cycle, as the mesh is skewed by one cycle from tile to tile.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    sums : In(ArrayLayout(signed(sum_bits), C))
        Drained row.
    row_sum_i : In(signed(row_sum_bits))
        Σ x of the row; ``row_sum_o`` passes it on. Only if weights have zero points.
    step_i : In(step_layout(parameters))
        What the row is; ``step_o`` passes it on.
    scales : In(ArrayLayout(scale_layout(parameters), C))
        Scales and zero points of a group, queued in a cycle with ``scales_valid``; at most
        ``scale_queue`` groups, which whoever writes must see to.
    read_row, read_bank : In
        Accumulators to read; the bank must not be in use.
    result : Out(ArrayLayout(32, C))
        These accumulators, one cycle later.
    """

    def __init__(self, parameters: ArrayParameters):
        self.dequantiser = Dequantiser(parameters)
        self._columns = parameters.tile_columns
        row_sum = signed(parameters.row_sum_bits)
        members = {
            "sums":         In(data.ArrayLayout(signed(parameters.sum_bits), self._columns)),
            "step_i":       In(step_layout(parameters)),
            "step_o":       Out(step_layout(parameters)),
            "scales":       In(data.ArrayLayout(scale_layout(parameters), self._columns)),
            "scales_valid": In(1),
            "read_row":     In(range(max(2, parameters.band_rows))),
            "read_bank":    In(1),
            "result":       Out(data.ArrayLayout(32, self._columns)),
        }
        if parameters.w_format.max_zero:
            members |= {"row_sum_i": In(row_sum), "row_sum_o": Out(row_sum)}
        super().__init__(parameters, "foot", members, uses=(self.dequantiser,))

    def elaborate(self, platform):
        m = Module()

        scales_shape = self.scales.shape()
        m.submodules.queue = queue = fifo.SyncFIFO(width=scales_shape.size,
                                                   depth=self.parameters.scale_queue)
        scales = data.View(scales_shape, queue.r_data)
        m.d.comb += [
            queue.w_data.eq(self.scales),
            queue.w_en.eq(self.scales_valid),
            queue.r_en.eq(self.step_i.valid & self.step_i.end),
        ]
        m.d.sync += self.step_o.eq(self.step_i)

        for c in range(self._columns):
            m.submodules[f"dequantiser_{c}"] = dequantiser = Use(self.dequantiser)
            m.d.comb += [
                dequantiser.valid.eq(self.step_i.valid),
                dequantiser.sum.eq(self.sums[c]),
                dequantiser.scale.eq(scales[c].scale),
                dequantiser.first.eq(self.step_i.first),
                dequantiser.row.eq(self.step_i.row),
                dequantiser.bank.eq(self.step_i.bank),
                dequantiser.read_row.eq(self.read_row),
                dequantiser.read_bank.eq(self.read_bank),
                self.result[c].eq(dequantiser.result),
            ]
            if self.parameters.w_format.max_zero:
                m.d.comb += [
                    dequantiser.row_sum.eq(self.row_sum_i),
                    dequantiser.zero.eq(scales[c].zero),
                ]

        if self.parameters.w_format.max_zero:
            m.d.sync += self.row_sum_o.eq(self.row_sum_i)

        return m
