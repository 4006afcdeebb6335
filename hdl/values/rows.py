"""Rows of codes: their buffer, and the reciprocal of each row's sum of exponents."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.values_parameters import (
    COLUMN_BITS,
    QUERY_BITS,
    RECIPROCAL_CYCLES,
    ValuesParameters,
)
from hdl.block import Block, Use
from hdl.float32 import FP32
from hdl.values.exponent_sum import ExponentSum
from hdl.values.outputs import chosen_exponents, exponents_layout
from hdl.values.reciprocal import Reciprocal
from hdl.values.tile import codes_layout

__all__ = ["ValuesRows", "block_layout", "command_layout", "row_layout"]


def command_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of a command: M queries, N tokens, D columns, and the set of exponents."""
    p = parameters
    return data.StructLayout({"queries": QUERY_BITS, "tokens": p.count_bits,
                              "columns": COLUMN_BITS, "set": range(p.sets)})


def row_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of a word of a row: W codes, which there are, whether the row is invalid, its end."""
    p = parameters
    return data.StructLayout({"codes": data.ArrayLayout(p.word_bits, p.width), "keep": p.width,
                              "invalid": 1, "last": 1})


def block_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of what a half of the buffer holds.

    The beats of its rows but one, its queries, the columns of V, the set of exponents, and
    whether it is the command's last block.
    """
    p = parameters
    return data.StructLayout({
        "last_beat": range(p.beats(p.max_length)), "queries": range(p.queries + 1),
        "columns": COLUMN_BITS, "set": range(p.sets), "last": 1,
    })


class ValuesRows(Block):
    """Takes the rows of C queries at a time to one half of a buffer, while the other is in use.

    A row that is shorter than the command's tokens is filled up with masked codes, one that is
    longer is cut. Beside each word the elements that reach each code are counted; after the row
    follow S and fp32(1 / S), which is NaN for an invalid row. A word is taken in each cycle, and
    rows follow each other without a pause if they are not shorter than a reciprocal takes.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    command : In(stream.Signature(command_layout(parameters)))
        Is taken with its last row.
    codes : In(stream.Signature(row_layout(parameters)))
    exponents : In(ArrayLayout(exponents_layout(parameters), sets))
    ready : Out(2)
        Whether each half can be read.
    blocks : Out(ArrayLayout(block_layout(parameters), 2))
        What each half holds.
    finished : In(2)
        The codes of a half have been read, and it is filled again.
    half, beat : In
        Codes that are to be read; ``read`` has them one cycle later.
    read : Out(codes_layout(parameters))
    reciprocal_half, reciprocal_query : In
        Reciprocal that is to be read; comes one cycle later.
    reciprocal : Out(32)
    too_long, bad_exponents : Out(1)
        A row was cut; a command's set has an exponent above 2**F.
    busy : Out(1)
        A half is in use.
    """

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        self.exponent_sum, self.reciprocal_unit = ExponentSum(p), Reciprocal(p)
        super().__init__(p, "rows", {
            "command": In(stream.Signature(command_layout(p))),
            "codes": In(stream.Signature(row_layout(p))),
            "exponents": In(data.ArrayLayout(exponents_layout(p), p.sets)),
            "ready": Out(2), "blocks": Out(data.ArrayLayout(block_layout(p), 2)),
            "finished": In(2),
            "half": In(1), "beat": In(range(p.beats(p.max_length))), "read": Out(codes_layout(p)),
            "reciprocal_half": In(1), "reciprocal_query": In(range(p.queries)),
            "reciprocal": Out(FP32.bits),
            "too_long": Out(1), "bad_exponents": Out(1), "busy": Out(1),
        }, uses=(self.exponent_sum, self.reciprocal_unit))

    @property
    def first_reciprocal(self) -> int:
        """Cycles from ``finished`` to the first reciprocal of the rows that follow, at least.

        Those of the others follow at least ``RECIPROCAL_CYCLES`` apart.
        """
        return self.exponent_sum.steps + RECIPROCAL_CYCLES + 4

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        # Words of the row that is being filled
        self._half, self._query = Signal(), Signal(range(p.queries))
        self._beat = Signal(range(p.beats(p.max_length)))
        self._bank = Signal(range(p.words))
        self._left = Signal(p.count_bits)    # tokens of the row that have not come
        self._invalid = Signal()
        self._word, self._shown = Signal(data.ArrayLayout(p.word_bits, p.width)), Signal(p.width)
        self._write, self._row_end, self._block_end = Signal(), Signal(), Signal()
        self._waits = Signal()               # for the sum of the row before
        occupied = Signal(2)
        m.d.comb += self.busy.eq(occupied.any())

        began = self._fill(m, occupied)
        m.d.sync += occupied.eq((occupied | began) & ~self.finished)
        self._memory(m)
        self._sums(m)

        return m

    def _fill(self, m, occupied):
        """Take words, or fill up with masked ones; tell the half that begins to be filled."""
        p = self.parameters
        command, word = self.command.p, self.codes.p
        remaining, began = Signal(QUERY_BITS), Signal(2)
        taken, masked = Signal(), Signal()
        covers   = self._left <= p.width  # this word has the row's last tokens
        bank_end = self._bank == p.words - 1
        rest     = Signal(p.count_bits)
        m.d.comb += [
            rest.eq(Mux(covers, 0, self._left - p.width)),
            taken.eq(self.codes.valid & self.codes.ready),
            self._shown.eq(Cat(~self._word[lane][-1] for lane in range(p.width))),
        ]
        beyond = Signal(p.width)
        for lane in range(p.width):
            m.d.comb += beyond[lane].eq(word.keep[lane] & (self._left <= lane))
            absent = masked | ~word.keep[lane] | beyond[lane]
            m.d.comb += self._word[lane].eq(Mux(absent, p.levels, word.codes[lane]))

        set_ = chosen_exponents(self.exponents, command.set, p)
        bits = p.exp_bits + 1
        high = [set_[k * bits + p.exp_bits] & set_[k * bits:k * bits + p.exp_bits].any()
                for k in range(p.levels)]
        free = ~occupied.bit_select(self._half, 1)
        last_query = (self._query == p.queries - 1) | (remaining == 1)
        complete = bank_end & covers      # with the word that is written

        def follow():
            """Go on to where the end of a row leads."""
            with m.If(self._row_end):
                m.next = "row"
                with m.If(last_query):
                    m.next = "block"
                with m.If(self.command.ready):
                    m.next = "command"

        with m.FSM():
            with m.State("command"), m.If(self.command.valid):
                m.d.comb += self.bad_exponents.eq(Cat(high).any())
                m.d.sync += [remaining.eq(command.queries), self._left.eq(command.tokens)]
                m.next = "block"
            with m.State("block"), m.If(free):
                m.d.comb += began.eq(Cat(~self._half, self._half))
                m.next = "row"
            with m.State("row"):
                m.d.comb += [
                    self.codes.ready.eq(~(complete & word.last & self._waits)),
                    self._write.eq(taken),
                    self._row_end.eq(taken & complete & word.last),
                    self.too_long.eq(taken & covers & (~word.last | beyond.any())),
                ]
                with m.If(taken & word.last & ~complete):
                    m.next = "fill"
                with m.If(taken & covers & ~word.last):
                    m.next = "drop"
                follow()
            with m.State("drop"):
                # Words beyond the tokens; the row ends here if its last beat is full.
                full = self._bank == 0
                m.d.comb += [
                    self.codes.ready.eq(~(full & word.last & self._waits)),
                    self._row_end.eq(taken & full & word.last),
                ]
                with m.If(taken & word.last & ~full):
                    m.next = "fill"
                follow()
            with m.State("fill"):
                m.d.comb += [
                    masked.eq(1),
                    self._write.eq(~(complete & self._waits)),
                    self._row_end.eq(self._write & complete),
                ]
                follow()

        m.d.comb += [
            self._block_end.eq(self._row_end & last_query),
            self.command.ready.eq(self._row_end & (remaining == 1)),
        ]
        with m.If(self._write):
            m.d.sync += [self._left.eq(rest), self._bank.eq(Mux(bank_end, 0, self._bank + 1))]
            with m.If(bank_end & ~covers):
                m.d.sync += self._beat.eq(self._beat + 1)
        with m.If(self._row_end):
            m.d.sync += [
                self._left.eq(command.tokens), self._beat.eq(0),
                remaining.eq(remaining - 1),
                self._query.eq(Mux(last_query, 0, self._query + 1)),
            ]
        with m.If(self._block_end):
            m.d.sync += self._half.eq(~self._half)
        with m.If(taken):
            m.d.sync += self._invalid.eq(word.invalid)
        return began

    def _memory(self, m):
        """A buffer for each query and each bank of its words: a half behind the other."""
        p = self.parameters
        beats = p.beats(p.max_length)
        write, read = (Mux(half, beats, 0) + beat
                       for half, beat in ((self._half, self._beat), (self.half, self.beat)))
        for query in range(p.queries):
            for bank in range(p.words):
                m.submodules[f"buffer_{query}_{bank}"] = memory = Memory(
                    shape=unsigned(p.width * p.word_bits), depth=2 * beats, init=[])
                writer, reader = memory.write_port(), memory.read_port()
                here = (self._query == query) & (self._bank == bank)
                m.d.comb += [
                    writer.addr.eq(write),
                    writer.data.eq(self._word),
                    writer.en.eq(self._write & here),
                    reader.addr.eq(read),
                ]
                place = self.read[query].as_value().word_select(bank, p.width * p.word_bits)
                m.d.comb += place.eq(reader.data)

    def _sums(self, m):
        """Counts of a row's codes, its sum, its reciprocal."""
        p = self.parameters
        m.submodules.exponent_sum = exponent_sum = Use(self.exponent_sum)
        m.submodules.reciprocal   = reciprocal   = Use(self.reciprocal_unit)
        counts = Signal(data.ArrayLayout(p.count_bits, p.levels))
        first  = Signal(init=1)
        with m.If(self._write):
            m.d.sync += first.eq(0)
            for k in range(p.levels):
                reached = [shown & (code[:-1] >= k) if k else shown
                           for shown, code in zip(self._shown, self._word, strict=True)]
                m.d.sync += counts[k].eq(Mux(first, 0, counts[k]) + sum(reached))
        with m.If(self._row_end):
            m.d.sync += first.eq(1)

        # What accompanies the row that is summed and the one that is divided
        layout = data.StructLayout({"half": 1, "query": range(p.queries), "invalid": 1,
                                    "end": 1, "set": range(p.sets)})
        summed, divided = Signal(layout), Signal(layout)
        summing, dividing, start, waiting = Signal(), Signal(), Signal(), Signal()
        move = Signal()
        m.d.comb += [
            self._waits.eq(summing & ~move),
            exponent_sum.start.eq(start),
            exponent_sum.counts.eq(counts),
            Value.cast(exponent_sum.exponents).eq(chosen_exponents(self.exponents, summed.set, p)),
            move.eq(summing & (exponent_sum.done | waiting) & (~dividing | reciprocal.done)),
            reciprocal.start.eq(move),
            reciprocal.sum.eq(exponent_sum.sum),
        ]
        # The last word of a row tells whether it is invalid; a filled one has been taken before.
        invalid = Mux(self.codes.valid & self.codes.ready, self.codes.p.invalid, self._invalid)
        m.d.sync += start.eq(self._row_end)
        with m.If(reciprocal.done):
            m.d.sync += dividing.eq(0)
        with m.If(move):
            m.d.sync += [summing.eq(0), waiting.eq(0), dividing.eq(1), divided.eq(summed)]
        with m.Elif(exponent_sum.done):
            m.d.sync += waiting.eq(1)
        with m.If(self._row_end):
            m.d.sync += [
                summing.eq(1),
                summed.eq(Cat(self._half, self._query, invalid, self._block_end,
                              self.command.p.set)),
            ]

        m.submodules.reciprocals = memory = Memory(shape=unsigned(FP32.bits),
                                                   depth=2 * p.queries, init=[])
        writer, reader = memory.write_port(), memory.read_port()
        ended = reciprocal.done & divided.end
        m.d.comb += [
            writer.addr.eq(Mux(divided.half, p.queries, 0) + divided.query),
            writer.data.eq(Mux(divided.invalid, FP32.nan, reciprocal.code)),
            writer.en.eq(reciprocal.done),
            reader.addr.eq(Mux(self.reciprocal_half, p.queries, 0) + self.reciprocal_query),
            self.reciprocal.eq(reader.data),
        ]
        came = Mux(ended, Cat(~divided.half, divided.half), 0)
        m.d.sync += self.ready.eq((self.ready | came) & ~self.finished)
        with m.If(self._block_end):
            block = Signal(block_layout(p))
            m.d.comb += [
                block.last_beat.eq(self._beat),
                block.queries.eq(self._query + 1),
                block.columns.eq(self.command.p.columns),
                block.set.eq(self.command.p.set),
                block.last.eq(self.command.ready),
            ]
            m.d.sync += self.blocks[self._half].eq(block)
