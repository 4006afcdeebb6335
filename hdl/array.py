"""The array: bands of tiles behind ready/valid streams."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.band import Band, group_layout
from hdl.block import Block, Use
from hdl.foot import scale_layout
from hdl.output import Output, y_layout

__all__ = ["Array", "s_layout"]


def s_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of stream ``s``; ``last`` marks the last group of an output tile."""
    return data.StructLayout({
        "scales": data.ArrayLayout(scale_layout(parameters), parameters.columns),
        "last":   1,
    })


class Array(Block):
    """Output-stationary array for a grouped GEMM with dequantisation after each group.

    ``y[m, n] = sx[m] Σ_g s[g, n] Σ_{k∈g} x[m, k] (q[k, n] - z[g, n])``, rounded as
    :mod:`golden.gemm` says. Computes one output tile of ``rows`` by ``columns`` after the other.
    A group takes ``group / lanes`` beats of ``x`` and ``w`` and one of ``s``, which goes with the
    group's last beat and whose ``last`` ends the output tile. ``sx`` has one word and ``y`` has
    ``columns / y_lanes`` beats for each row of an output tile.

    Throughput is one beat in each cycle, without a bubble between groups or output tiles, while
    the streams deliver, ``y`` is taken and K is at least ``full_rate_length``. Inside nothing ever
    stalls: a group's last beat waits until there is room for what follows from it.

    The first output follows the last beat of its tile by ``parameters.latency`` cycles.

    Any of ``x``, ``w`` and ``s`` is ready only together with the others it goes with. A reset
    discards everything in flight.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    x : In(stream.Signature(ArrayLayout(ArrayLayout(signed(x_bits), L), rows)))
        Activations; rows beyond M must be sent, of any value.
    w : In(stream.Signature(ArrayLayout(ArrayLayout(w_bits, L), columns)))
        Weights.
    s : In(stream.Signature(s_layout(parameters)))
        Scales and zero points of each group.
    sx : In(stream.Signature(32))
        Scale of each row, float32.
    y : Out(stream.Signature(y_layout(parameters)))
        Outputs.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        self.band, self.output = Band(p), Output(p)
        mac = self.band.tile.pe.mac
        super().__init__(p, "", {
            "x":  In(stream.Signature(data.ArrayLayout(mac.x, p.rows))),
            "w":  In(stream.Signature(data.ArrayLayout(mac.w, p.columns))),
            "s":  In(stream.Signature(s_layout(p))),
            "sx": In(stream.Signature(32)),
            "y":  Out(stream.Signature(y_layout(p))),
        }, uses=(self.band, self.output))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        beat   = Signal(range(p.beats))
        end    = beat == p.beats - 1
        first  = Signal(init=1)  # group of its output tile
        bank   = Signal()
        held   = Signal(2)  # banks with results that have not all been read
        room   = Signal(range(p.scale_queue + 1), init=p.scale_queue)
        finish = Signal()  # this beat ends a group that may end
        go     = Signal()
        m.d.comb += [
            finish.eq(self.s.valid & (room != 0) & ~held.bit_select(bank, 1)),
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
            group.scales.eq(self.s.p.scales),
        ]

        m.submodules.output = output = Use(self.output)
        bands = [Use(self.band) for _ in range(p.bands)]
        row_bits = len(Value.cast(self.x.p)) // p.bands
        for index, band in enumerate(bands):
            m.submodules[f"band_{index}"] = band
            operand = Value.cast(self.x.p).word_select(index, row_bits)
            m.d.comb += [
                Value.cast(band.x).eq(operand & go.replicate(row_bits)),
                band.w.eq(self.w.p),
                band.last.eq(self.s.ready),
                band.group.eq(group),
                band.read_row.eq(output.read_row),
                band.read_bank.eq(output.read_bank),
            ]
        results = Cat(band.result for band in bands)
        m.d.comb += [
            output.finished.eq(bands[0].finished),
            output.result.eq(results.word_select(output.read_band, 32 * p.columns)),
            output.sx.payload.eq(self.sx.payload),
            output.sx.valid.eq(self.sx.valid),
            self.sx.ready.eq(output.sx.ready),
            self.y.payload.eq(output.y.payload),
            self.y.valid.eq(output.y.valid),
            output.y.ready.eq(self.y.ready),
        ]

        ended = self.s.ready  # all bands keep pace, so the first speaks for all
        m.d.sync += room.eq(room - ended + bands[0].freed)
        with m.If(go):
            m.d.sync += beat.eq(Mux(end, 0, beat + 1))
        with m.If(ended):
            m.d.sync += first.eq(self.s.p.last)
            with m.If(self.s.p.last):
                m.d.sync += bank.eq(~bank)
                m.d.sync += held.bit_select(bank, 1).eq(1)
        with m.If(output.freed):
            m.d.sync += held.bit_select(~output.read_bank, 1).eq(0)

        return m
