"""The unit for probabilities times V: rows of codes and columns of values in, outputs out."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from golden.values_parameters import COLUMN_BITS, RECIPROCAL_CYCLES, ValuesParameters
from hdl.block import Block, Use
from hdl.float32 import FP32
from hdl.values.outputs import ValuesOutputs, exponents_layout, results_layout
from hdl.values.rows import ValuesRows, block_layout, command_layout, row_layout
from hdl.values.tile import ValuesTile, values_layout

__all__ = ["Values", "items_layout", "scales_layout"]


def items_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of an item of V, L tokens of each of R columns, and the command's end."""
    return data.StructLayout({"v": values_layout(parameters), "last": 1})


def scales_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of the scales of R columns, and the command's end."""
    return data.StructLayout({"s": data.ArrayLayout(FP32.bits, parameters.columns), "last": 1})


class Values(Block):
    """Attention's second product; :func:`golden.attention.weighted_values` to the bit.

    A command is M rows of codes times V of N tokens and D columns. Rows come one after the other.
    For each C of them V is needed once: column block after column block of R columns, each in
    items of L tokens, from the first on; and the scales once, an item for each column block. What
    is beyond N, D or M is ignored. Outputs leave in words of R columns, for each column block
    query by query.

    C·R·L products are done in each cycle, without a pause from one column block, block of queries
    or command to the next, for N of at least ``full_rate_length`` and D of at least
    ``full_rate_columns`` as soon as the first block's codes are there, while the streams deliver
    and outputs are taken. With fewer tokens the unit is right and slower.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    command : In(stream.Signature(command_layout(parameters)))
        M, N and D are not 0, N is at most ``max_length``.
    codes : In(stream.Signature(row_layout(parameters)))
    v : In(stream.Signature(items_layout(parameters)))
    s : In(stream.Signature(scales_layout(parameters)))
    exponents : In(ArrayLayout(exponents_layout(parameters), sets))
        Must remain as they are while a command uses them.
    y : Out(stream.Signature(results_layout(parameters)))
    too_long, bad_exponents : Out(1)
        A row was cut; a command's set has an exponent above 2**F.
    v_last_unexpected, v_last_missing, s_last_unexpected, s_last_missing : Out(1)
        Events of the streams' ends.
    busy : Out(1)
        A command waits or runs.
    beat : Out(1)
        Tokens enter the tile.
    stall_codes, stall_v, stall_s, stall_y : Out(1)
        No tokens enter because that stream does not deliver, or because the column block before
        has not drained or is not taken.
    """

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        self.rows, self.tile, self.outputs = ValuesRows(p), ValuesTile(p), ValuesOutputs(p)
        # The rows' next reciprocals come only when these have been read; see there.
        assert self.rows.first_reciprocal > self.outputs.last_reciprocal
        assert RECIPROCAL_CYCLES >= p.query_cycles
        names = ("too_long", "bad_exponents", "v_last_unexpected", "v_last_missing",
                 "s_last_unexpected", "s_last_missing", "busy", "beat", "stall_codes", "stall_v",
                 "stall_s", "stall_y")
        super().__init__(p, "values_core", {
            "command": In(stream.Signature(command_layout(p))),
            "codes": In(stream.Signature(row_layout(p))),
            "v": In(stream.Signature(items_layout(p))),
            "s": In(stream.Signature(scales_layout(p))),
            "exponents": In(data.ArrayLayout(exponents_layout(p), p.sets)),
            "y": Out(stream.Signature(results_layout(p))),
        } | dict.fromkeys(names, Out(1)), uses=(self.rows, self.tile, self.outputs))

    def elaborate(self, platform):
        m = Module()

        m.submodules.rows    = rows    = Use(self.rows)
        m.submodules.tile    = tile    = Use(self.tile)
        m.submodules.outputs = outputs = Use(self.outputs)
        self._connect(m, rows, outputs)
        self._sequence(m, rows, tile, outputs)

        return m

    def _connect(self, m, rows, outputs):
        """Lead streams and constants to where they are used."""
        for name in ("command", "codes"):
            source, sink = getattr(self, name), getattr(rows, name)
            m.d.comb += [
                Value.cast(sink.payload).eq(Value.cast(source.payload)),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        m.d.comb += [
            Value.cast(rows.exponents).eq(Value.cast(self.exponents)),
            Value.cast(outputs.exponents).eq(Value.cast(self.exponents)),
            rows.reciprocal_half.eq(outputs.half),
            rows.reciprocal_query.eq(outputs.query),
            outputs.reciprocal.eq(rows.reciprocal),
            self.too_long.eq(rows.too_long),
            self.bad_exponents.eq(rows.bad_exponents),
            Value.cast(self.y.payload).eq(Value.cast(outputs.y.payload)),
            self.y.valid.eq(outputs.y.valid),
            outputs.y.ready.eq(self.y.ready),
        ]

    def _sequence(self, m, rows, tile, outputs):
        """Feed the tile: halves of the codes, column blocks, beats."""
        p = self.parameters
        half, beat = Signal(), Signal.like(rows.beat)
        column = Signal(COLUMN_BITS)          # first of the block
        block  = Signal(block_layout(p))
        ready  = rows.ready.bit_select(half, 1)
        m.d.comb += block.eq(Mux(half, rows.blocks[1], rows.blocks[0]))

        # A column block ends when the one before has drained and there is room for its outputs.
        wait = Signal(range(p.drain_cycles))
        room = Signal(range(p.output_depth + 1), init=p.output_depth)
        left = Signal(COLUMN_BITS)            # columns from the block's first on
        beat_end, end, go, take = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            left.eq(block.columns - column),
            beat_end.eq(beat == block.last_beat),
            end.eq(left <= p.columns),
            go.eq((wait == 0) & (room >= p.queries)),
            take.eq(ready & self.v.valid & (~beat_end | (go & self.s.valid))),
            self.v.ready.eq(take),
            self.s.ready.eq(take & beat_end),
        ]
        drained = Mux(self.s.ready, p.queries, 0)
        m.d.sync += [
            wait.eq(Mux(self.s.ready, p.drain_cycles - 1, Mux(wait == 0, 0, wait - 1))),
            room.eq(room - drained + outputs.returned),
        ]

        # The memory answers one cycle after the address, which therefore is the next beat's.
        m.d.comb += [
            rows.half.eq(half ^ (take & beat_end & end)),
            rows.beat.eq(Mux(take, Mux(beat_end, 0, beat + 1), beat)),
            rows.finished.eq(Mux(take & beat_end & end, Cat(~half, half), 0)),
        ]
        m.d.sync += [half.eq(rows.half), beat.eq(rows.beat)]
        with m.If(take & beat_end):
            m.d.sync += column.eq(Mux(end, 0, column + p.columns))

        masked = Const(p.levels, p.word_bits).replicate(p.tokens * p.queries)
        m.d.comb += [
            Value.cast(tile.codes).eq(Mux(take, Value.cast(rows.read), masked)),
            Value.cast(tile.values).eq(Value.cast(self.v.p.v)),
            tile.last.eq(take & beat_end),
            Value.cast(outputs.sums).eq(Value.cast(tile.sums)),
        ]
        m.d.sync += [
            outputs.start.eq(take & beat_end),
            Value.cast(outputs.block.scales).eq(Value.cast(self.s.p.s)),
            outputs.block.keep.eq(Cat(left > c for c in range(p.columns))),
            outputs.block.queries.eq(block.queries),
            outputs.block.half.eq(half),
            outputs.block.set.eq(block.set),
            outputs.block.last.eq(end & block.last),
        ]
        self._watch(m, rows, take, beat_end, end & block.last, room, ready)

    def _watch(self, m, rows, take, beat_end, last, room, ready):
        """Ends of the streams, and why there is no beat."""
        p = self.parameters
        v_end = take & beat_end & last
        m.d.comb += [
            self.v_last_unexpected.eq(take & self.v.p.last & ~(beat_end & last)),
            self.v_last_missing.eq(v_end & ~self.v.p.last),
            self.s_last_unexpected.eq(self.s.ready & self.s.p.last & ~last),
            self.s_last_missing.eq(v_end & ~self.s.p.last),
            self.busy.eq(self.command.valid | rows.busy | (room != p.output_depth)),
            self.beat.eq(take),
        ]
        # The first cause that applies.
        others = self.busy & ~take
        for name, cause in (("codes", ~ready & (self.command.valid | rows.busy)),
                            ("v", ready & ~self.v.valid),
                            ("s", ready & beat_end & ~self.s.valid), ("y", C(1))):
            m.d.comb += getattr(self, f"stall_{name}").eq(others & cause)
            others = others & ~cause
