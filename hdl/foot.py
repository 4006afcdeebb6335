"""The foot of a column of tiles, where sums become float32 accumulators."""

from amaranth import *
from amaranth.lib import data, fifo
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.accumulators import Accumulators
from hdl.block import Block, Use
from hdl.dequantiser import Dequantiser
from hdl.row_sum import row_layout

__all__ = ["Foot", "scale_layout", "column_layout", "step_layout"]


def scale_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of a column's scale and, if the weights have one, zero point."""
    members = {"scale": parameters.scale_format.bits}
    if parameters.max_zero:
        members["zero"] = parameters.zero_bits
    return data.StructLayout(members)


def column_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of all that a column has in a group: also its sum, for zero points of activations."""
    members = dict(scale_layout(parameters).members)
    if parameters.x_zero:
        members["sum"] = signed(parameters.column_sum_bits)
    return data.StructLayout(members)


def step_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of what goes with one drained row.

    ``first`` and ``final`` mark the first and last group of an output tile, ``wide`` its 8-bit
    weights; ``end`` marks the last row of a group.
    """
    return data.StructLayout({
        "valid": 1, "end": 1, "first": 1, "final": 1, "bank": 1, "wide": 1,
        "row": range(max(2, parameters.band_rows)),
    })


class Foot(Block):
    """Dequantisers of the C columns of a tile, and the queue of their scales.

    Takes one row of sums in each cycle. What all columns share passes on to the next foot in the
    next cycle, as the mesh is skewed by one cycle from tile to tile. Sums of 8-bit weights are
    those of two columns, joined here.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    sums : In(ArrayLayout(signed(sum_bits), C))
        Drained row.
    row_i : In(row_layout(parameters))
        What else the row has; ``row_o`` passes it on. Only if there is anything.
    step_i : In(step_layout(parameters))
        What the row is; ``step_o`` passes it on.
    columns : In(ArrayLayout(column_layout(parameters), C))
        Scales and zero points of a group, queued in a cycle with ``columns_valid``; at most
        ``scale_queue`` groups, which whoever writes must see to.
    read_row, read_bank : In
        Accumulators to read; the bank must not be in use.
    result : Out(ArrayLayout(32, C))
        These accumulators, one cycle later.
    """

    def __init__(self, parameters: ArrayParameters):
        self._count = parameters.tile_columns
        # The second of two columns that are joined never takes their sum.
        self._accumulators = Accumulators(parameters, self._count)
        self._dequantisers = [Dequantiser(parameters)]
        if parameters.wide:
            self._dequantisers.append(Dequantiser(parameters, "narrow_"))
        row = row_layout(parameters)
        members = {
            "sums":          In(data.ArrayLayout(signed(parameters.sum_bits), self._count)),
            "step_i":        In(step_layout(parameters)),
            "step_o":        Out(step_layout(parameters)),
            "columns":       In(data.ArrayLayout(column_layout(parameters), self._count)),
            "columns_valid": In(1),
            "read_row":      In(range(max(2, parameters.band_rows))),
            "read_bank":     In(1),
            "result":        Out(data.ArrayLayout(32, self._count)),
        }
        if row.size:
            members |= {"row_i": In(row), "row_o": Out(row)}
        super().__init__(parameters, "foot", members,
                         uses=(*self._dequantisers, self._accumulators))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        columns, scales = self._queues(m)
        m.d.sync += self.step_o.eq(self.step_i)

        m.submodules.accumulators = accumulators = Use(self._accumulators)
        m.d.comb += [
            *(getattr(accumulators, name).eq(getattr(self.step_i, name))
              for name in ("valid", "first", "row", "bank")),
            accumulators.read_row.eq(self.read_row),
            accumulators.read_bank.eq(self.read_bank),
            self.result.eq(accumulators.result),
        ]

        if p.max_zero:
            row_sum = self.row_i.sums.sum
            triple  = Signal(signed(p.row_sum_bits + 2))
            m.d.comb += triple.eq(row_sum + row_sum.shift_left(1))
        for c in range(self._count):
            block = self._dequantisers[c % len(self._dequantisers)]
            m.submodules[f"dequantiser_{c}"] = dequantiser = Use(block)
            total = self.sums[c]
            if p.wide and c % 2 == 0:
                total = Mux(self.step_i.wide, total + (self.sums[c + 1] << 4), total)
            m.d.comb += [
                dequantiser.sum.eq(total),
                dequantiser.scale.eq(scales[c].scale),
                dequantiser.acc.eq(accumulators.acc[c]),
                accumulators.acc_next[c].eq(dequantiser.acc_next),
            ]
            if p.max_zero:
                m.d.comb += [
                    dequantiser.row_sum.eq(row_sum),
                    dequantiser.row_sum_triple.eq(triple),
                    dequantiser.zero.eq(columns[c].zero),
                ]
            if not p.x_format.is_integer:
                m.d.comb += dequantiser.bad.eq(self.row_i.sums.bad)
            if p.x_zero:
                m.d.comb += [
                    dequantiser.x_zero.eq(self.row_i.group.zero),
                    dequantiser.column_sum.eq(columns[c].sum),
                ]
            if p.x_scale_format:
                m.d.comb += dequantiser.x_scale.eq(self.row_o.group.scale)

        if row_layout(p).size:
            m.d.sync += self.row_o.eq(self.row_i)

        return m

    def _queues(self, m):
        """What the columns have in the group of the sums, and the scales, one cycle later.

        A queue of their own saves the scales a register in each dequantiser.
        """
        members = dict(column_layout(self.parameters).members)
        scale   = {"scale": members.pop("scale")}
        return (self._queue(m, "queue", members, self.step_i) if members else None,
                self._queue(m, "scales", scale, self.step_o))

    def _queue(self, m, name, members, step):
        """These members of the columns, from a queue that moves on when ``step`` ends a group."""
        layout = data.ArrayLayout(data.StructLayout(members), self._count)
        m.submodules[name] = queue = fifo.SyncFIFO(width=layout.size,
                                                   depth=self.parameters.scale_queue)
        m.d.comb += [
            queue.w_data.eq(Cat(column[member] for column in self.columns for member in members)),
            queue.w_en.eq(self.columns_valid),
            queue.r_en.eq(step.valid & step.end),
        ]
        return data.View(layout, queue.r_data)
