"""From accumulators to the output stream."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block, Use
from hdl.rescale import Rescale

__all__ = ["Output", "y_layout"]


def y_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of stream ``y``; ``last`` marks the last beat of an output tile."""
    return data.StructLayout({
        "y":    data.ArrayLayout(parameters.y_format.bits, parameters.y_lanes),
        "last": 1,
    })


class Output(Block):
    """Reads finished output tiles, multiplies each row by its token's scale and rounds.

    Rows leave in ascending order, ``y_lanes`` columns in a cycle; banks alternate. Sustains one
    beat in each cycle in which ``y`` and ``sx`` let it, also from tile to tile.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    finished : In(1)
        Another output tile can be read, by addresses from this cycle on.
    freed : Out(1)
        The tile in bank ``read_bank`` has been read.
    read_row, read_bank : Out
        Accumulators to read.
    read_band : Out
        Band whose accumulators ``result`` must be, in this cycle.
    wide : In(2)
        Whether the tile in each bank has wide weights, and results in every other column.
    result : In(ArrayLayout(32, columns))
        Accumulators that were addressed one cycle ago.
    sx : In(stream.Signature(32))
        Scale of each row.
    y : Out(stream.Signature(y_layout(parameters)))
        Outputs.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        self.rescale = Rescale(p)
        super().__init__(p, "output", {
            "finished":  In(1),
            "freed":     Out(1),
            "read_band": Out(range(max(2, p.bands))),
            "read_row":  Out(range(max(2, p.band_rows))),
            "read_bank": Out(1),
            "wide":      In(2),
            "result":    In(data.ArrayLayout(32, p.columns)),
            "sx":        In(stream.Signature(32)),
            "y":         Out(stream.Signature(y_layout(p))),
        }, uses=(self.rescale,))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        parts = p.columns // p.y_lanes

        # Tiles that wait, the one being read included; there are two banks.
        waiting = Signal(range(3))
        part = Signal(range(parts))
        row, band, bank = map(Signal.like, (self.read_row, self.read_band, self.read_bank))
        wide = self.wide.bit_select(bank, 1) if p.wide else C(0)
        part_end = part == (Mux(wide, parts // 2, parts) - 1 if p.wide else parts - 1)
        row_end, band_end = row == p.band_rows - 1, band == p.bands - 1

        enable = Signal()
        take   = Signal()
        m.d.comb += [
            enable.eq(~self.y.valid | self.y.ready),
            take.eq(enable & (waiting != 0) & self.sx.valid),
            self.sx.ready.eq(enable & (waiting != 0) & part_end),
            self.freed.eq(take & part_end & row_end & band_end),
        ]
        m.d.sync += waiting.eq(waiting + self.finished - self.freed)

        # The accumulators answer one cycle after the address, which therefore is the next row's.
        row_next, band_next = Signal.like(row), Signal.like(band)
        m.d.comb += [row_next.eq(row), band_next.eq(band)]
        with m.If(take):
            m.d.sync += part.eq(Mux(part_end, 0, part + 1))
            with m.If(part_end):
                m.d.comb += row_next.eq(Mux(row_end, 0, row + 1))
                with m.If(row_end):
                    m.d.comb += band_next.eq(Mux(band_end, 0, band + 1))
        m.d.sync += [row.eq(row_next), band.eq(band_next), bank.eq(self.read_bank)]
        m.d.comb += [
            self.read_row.eq(row_next),
            self.read_band.eq(band),
            self.read_bank.eq(bank ^ self.freed),
        ]

        results = Mux(wide, Cat(list(self.result)[::2]), self.result) if p.wide else self.result
        words = Value.cast(results).word_select(part, 32 * p.y_lanes)
        for lane in range(p.y_lanes):
            m.submodules[f"rescale_{lane}"] = rescale = Use(self.rescale)
            m.d.comb += [
                rescale.enable.eq(enable),
                rescale.acc.eq(words.word_select(lane, 32)),
                rescale.scale.eq(self.sx.payload),
                self.y.p.y[lane].eq(rescale.y),
            ]

        flow = Cat(take, self.freed)
        for stage in range(self.rescale.LATENCY):
            register = Signal(2, name=f"flow_{stage}")
            with m.If(enable):
                m.d.sync += register.eq(flow)
            flow = register
        m.d.comb += Cat(self.y.valid, self.y.p.last).eq(flow)

        return m
