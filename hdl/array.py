"""The array: bands of tiles behind ready/valid streams."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.band import Band, group_layout
from hdl.block import Block, Use
from hdl.codes import code_shape
from hdl.column_sum import ColumnSum
from hdl.foot import scale_layout
from hdl.output import Output, y_layout
from hdl.row_sum import x_group_layout

__all__ = ["Array", "s_layout", "t_layout", "w_layout", "x_layout"]


def x_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of stream ``x``; ``last`` marks the last beat of a group."""
    p = parameters
    return data.StructLayout({
        "x":    data.ArrayLayout(data.ArrayLayout(code_shape(p.x_format), p.lanes), p.rows),
        "last": 1,
    })


def w_layout(parameters: ArrayParameters) -> data.ArrayLayout:
    """Layout of stream ``w``."""
    p = parameters
    return data.ArrayLayout(data.ArrayLayout(code_shape(p.w_format), p.lanes), p.columns)


def s_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of stream ``s``.

    ``wide`` marks 8-bit weights, if the set has these; ``last`` the last group of an output tile.
    """
    wide = {"wide": 1} if parameters.wide else {}
    return data.StructLayout({
        "columns": data.ArrayLayout(scale_layout(parameters), parameters.columns),
        **wide, "last": 1,
    })


def t_layout(parameters: ArrayParameters) -> data.ArrayLayout:
    """Layout of stream ``t``, without bits if activations have no scale or zero point by group."""
    return data.ArrayLayout(x_group_layout(parameters), parameters.rows)


class Array(Block):
    """Output-stationary array for a grouped GEMM with dequantisation after each group.

    Computes what :func:`golden.gemm.gemm` says, one output tile of ``rows`` by ``columns`` after
    the other. A group takes ``least_beats`` to ``beats`` beats of ``x`` and ``w``, of which the
    last is marked in ``x``, and one of ``s`` and ``t``, which go with that last beat; ``last`` of
    ``s`` ends the output tile. ``sx`` has one word and ``y`` has ``columns / y_lanes`` beats for
    each row of an output tile; half of that if its weights are wide.

    Throughput is one beat in each cycle, without a bubble between groups or output tiles, while
    the streams deliver, ``y`` is taken and K is at least ``full_rate_length``. Inside nothing ever
    stalls: a group's last beat waits until there is room for what follows from it.

    The first output follows the last beat of its tile by ``parameters.latency`` cycles.

    Any of ``x``, ``w``, ``s`` and ``t`` is ready only together with the others it goes with. A
    reset discards everything in flight.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    x : In(stream.Signature(x_layout(parameters)))
        Codes of activations; rows beyond M must be sent, of any value.
    w : In(stream.Signature(w_layout(parameters)))
        Codes of weights. Wide ones have their low nibble in the first of two columns.
    s : In(stream.Signature(s_layout(parameters)))
        Scales and zero points that the columns have in each group.
    t : In(stream.Signature(t_layout(parameters)))
        Scales and zero points that the rows have in each group; only if they have any.
    sx : In(stream.Signature(32))
        Scale of each row, float32.
    y : Out(stream.Signature(y_layout(parameters)))
        Outputs.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        self.band, self.output = Band(p), Output(p)
        self.column_sum = ColumnSum(p) if p.x_zero else None
        members = {
            "x":  In(stream.Signature(x_layout(p))),
            "w":  In(stream.Signature(w_layout(p))),
            "s":  In(stream.Signature(s_layout(p))),
            "sx": In(stream.Signature(32)),
            "y":  Out(stream.Signature(y_layout(p))),
        }
        if p.x_groups:
            members["t"] = In(stream.Signature(t_layout(p)))
        uses = (self.band, self.output) + ((self.column_sum,) if self.column_sum else ())
        super().__init__(p, "", members, uses=uses)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        end    = self.x.p.last
        first  = Signal(init=1)  # group of its output tile
        bank   = Signal()
        held   = Signal(2)  # banks with results that have not all been read
        wide   = Signal(2)  # banks with results of wide weights
        room   = Signal(range(p.scale_queue + 1), init=p.scale_queue)
        finish = Signal()  # this beat ends a group that may end
        go     = Signal()
        m.d.comb += [
            finish.eq(self.s.valid & (self.t.valid if p.x_groups else 1) & (room != 0)
                      & ~held.bit_select(bank, 1)),
            go.eq(self.x.valid & self.w.valid & (~end | finish)),
            self.x.ready.eq(self.w.valid & (~end | finish)),
            self.w.ready.eq(self.x.valid & (~end | finish)),
            self.s.ready.eq(go & end),
        ]

        group = Signal(group_layout(p))
        m.d.comb += [
            group.first.eq(first),
            group.final.eq(self.s.p.last),
            group.bank.eq(bank),
            group.wide.eq(self.s.p.wide if p.wide else 0),
        ]
        for column, scales in zip(group.columns, self.s.p.columns, strict=True):
            m.d.comb += Value.cast(column).eq(scales)
        if p.x_groups:
            m.d.comb += self.t.ready.eq(self.s.ready)
        if self.column_sum:
            m.submodules.column_sum = column_sum = Use(self.column_sum)
            m.d.comb += [
                column_sum.w.eq(self.w.p),
                column_sum.go.eq(go),
                column_sum.last.eq(end),
            ]
            if p.wide:
                m.d.comb += column_sum.wide.eq(self.s.p.wide)
            for c, (column, scales) in enumerate(zip(group.columns, self.s.p.columns,
                                                     strict=True)):
                m.d.comb += column.sum.eq(column_sum.sums[c])
                if p.max_zero:
                    m.d.comb += column_sum.zeros[c].eq(scales.zero)

        m.submodules.output = output = Use(self.output)
        bands = [Use(self.band) for _ in range(p.bands)]
        row_bits = len(Value.cast(self.x.p.x)) // p.bands
        rows = Value.cast(self.t.p) if p.x_groups else C(0, 1)
        for index, band in enumerate(bands):
            m.submodules[f"band_{index}"] = band
            m.d.comb += [
                Value.cast(band.x).eq(Value.cast(self.x.p.x).word_select(index, row_bits)),
                band.w.eq(self.w.p),
                band.enable.eq(go),
                band.last.eq(self.s.ready),
                band.group.rows.eq(rows.word_select(index, len(band.group.rows.as_value()))),
                *(getattr(band.group, name).eq(getattr(group, name))
                  for name in ("first", "final", "bank", "wide", "columns")),
                band.read_row.eq(output.read_row),
                band.read_bank.eq(output.read_bank),
            ]
        results = Cat(band.result for band in bands)
        m.d.comb += [
            output.finished.eq(bands[0].finished),
            output.result.eq(results.word_select(output.read_band, 32 * p.columns)),
            output.wide.eq(wide),
            output.sx.payload.eq(self.sx.payload),
            output.sx.valid.eq(self.sx.valid),
            self.sx.ready.eq(output.sx.ready),
            self.y.payload.eq(output.y.payload),
            self.y.valid.eq(output.y.valid),
            output.y.ready.eq(self.y.ready),
        ]

        ended = self.s.ready  # all bands keep pace, so the first speaks for all
        m.d.sync += room.eq(room - ended + bands[0].freed)
        with m.If(ended):
            m.d.sync += first.eq(self.s.p.last)
            with m.If(self.s.p.last):
                m.d.sync += bank.eq(~bank)
                m.d.sync += held.bit_select(bank, 1).eq(1)
                m.d.sync += wide.bit_select(bank, 1).eq(group.wide)
        with m.If(output.freed):
            m.d.sync += held.bit_select(~output.read_bank, 1).eq(0)

        return m
