"""The softmax unit: two passes over each row, with rows close behind each other."""

from amaranth import *
from amaranth.lib import data, fifo, stream
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import THRESHOLD_BITS, SoftmaxParameters
from hdl.block import Block, Use
from hdl.softmax.coder import Coder, codes_layout
from hdl.softmax.division import Division
from hdl.softmax.exponent_sum import ExponentSum
from hdl.softmax.first_pass import ROWS, first_pass
from hdl.softmax.lut_sum import LutSum
from hdl.softmax.maximum import Maximum, keys_layout, logits_layout, row_layout
from hdl.softmax.thresholds import LATENCY, Threshold

__all__ = ["Softmax", "constants_layout", "outputs_layout"]


#: Cycles that a word waits for its row besides those of the row and of two steps between passes.
SLACK = 16


def constants_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of a set of constants, :class:`golden.softmax_parameters.Constants`."""
    p = parameters
    return data.StructLayout({
        "thresholds": data.ArrayLayout(THRESHOLD_BITS, p.levels - 1),
        "exponents":  data.ArrayLayout(p.exp_bits + 1, p.levels),
    })


def outputs_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of a word of outputs, which of them there are, and what the row was."""
    p = parameters
    return data.StructLayout({
        "y": data.ArrayLayout(p.y_format.bits, p.width), "keep": p.width, "last": 1,
        "all_masked": 1, "invalid": 1,
    })


class Softmax(Block):
    """Probabilities, or codes, of rows of logits; :func:`golden.softmax.softmax` to the bit.

    A row's keys wait in a buffer until its maximum is known, and with that its thresholds; its
    codes wait in another until its sum is, and with that the probabilities. Each buffer holds two
    of the longest rows, and more if these are short. Each step between the passes works on a row of
    its own and takes no longer than ``row_cycles(least_length)``. With ``accumulate="lut"`` a row
    whose exponents are not those of the row before waits for its table,
    :class:`hdl.softmax.lut_sum.LutSum`.

    Throughput is a word in each cycle for rows of at least ``least_length``. The first word of a
    row's output follows its last input word, in an idle unit, by the row's words and a latency that
    the parameters fix.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    x : In(stream.Signature(logits_layout(parameters)))
        Words of rows. A row of more than ``max_length`` elements is cut there.
    constants : In(ArrayLayout(constants_layout(parameters), sets))
        Must remain as they are while a row uses them.
    codes : In(1)
        Outputs are codes, with a bit above them for masked elements; must remain as it is.
    y : Out(stream.Signature(outputs_layout(parameters)))
    too_long, bad_constants : Out(1)
        A row was cut; a row's constants are not in order.
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        self.maximum, self.threshold, self.coder = Maximum(p), Threshold(p), Coder(p)
        self.exponent_sum = LutSum(p) if p.accumulate == "lut" else ExponentSum(p)
        self.division = Division(p)
        cycles = p.row_cycles(p.least_length)
        #: Thresholds at a time, and rows whose thresholds are under way or wait.
        self.slots = 1 if p.levels - 1 + LATENCY + 2 <= cycles else 2
        self.units = -(-(p.levels - 1) // max(1, cycles - 2 if self.slots == 2 else cycles))
        super().__init__(p, "softmax_core", {
            "x": In(stream.Signature(logits_layout(p))),
            "constants": In(data.ArrayLayout(constants_layout(p), p.sets)),
            "codes": In(1),
            "y": Out(stream.Signature(outputs_layout(p))),
            "too_long": Out(1), "bad_constants": Out(1),
        }, uses=(self.maximum, self.threshold, self.coder, self.exponent_sum, self.division))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        depth = p.words + max(p.words, SLACK + 2 * p.row_cycles(p.least_length))
        m.submodules.rows  = rows  = fifo.SyncFIFOBuffered(width=row_layout(p).size, depth=ROWS)
        m.submodules.keys  = keys  = fifo.SyncFIFOBuffered(width=keys_layout(p).size, depth=depth)
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=codes_layout(p).size, depth=depth)
        thresholds = data.ArrayLayout(p.x_format.bits, p.levels - 1)
        m.submodules.ready = ready = fifo.SyncFIFO(
            width=thresholds.size + row_layout(p).size, depth=self.slots)

        first_pass(m, self, rows, keys)
        self._bound(m, rows, ready)
        self._code(m, ready, keys, words)
        self._send(m, words)

        return m

    def _constants(self, row):
        """Constants that a row has chosen."""
        layout = constants_layout(self.parameters)
        chosen = Value.cast(self.constants).word_select(row.set, layout.size)
        return data.View(layout, chosen)

    def _bound(self, m, rows, ready):
        """Between the passes: a row's thresholds, ``units`` in a cycle."""
        p = self.parameters
        row = data.View(row_layout(p), rows.r_data)
        constants = self._constants(row)
        issues = -(-(p.levels - 1) // self.units)
        issue  = Signal(range(issues))
        end    = issue == issues - 1
        under_way = Signal(range(self.slots + 1))
        begin  = Signal()
        m.d.comb += [
            begin.eq(rows.r_rdy & (under_way != self.slots)),
            rows.r_en.eq(begin & end),
        ]
        m.d.sync += under_way.eq(under_way + (begin & end) - (ready.r_en & ready.r_rdy))
        with m.If(begin):
            m.d.sync += issue.eq(Mux(end, 0, issue + 1))

        # Magnitudes leave lowest first; keys come in at the top and move down.
        magnitudes = Signal(THRESHOLD_BITS * issues * self.units)
        bits = THRESHOLD_BITS * self.units
        m.d.comb += magnitudes.eq(Value.cast(constants.thresholds))
        before = Signal(THRESHOLD_BITS)
        keys   = Signal(p.x_format.bits * issues * self.units)
        found, disorder = [], []
        now = magnitudes.word_select(issue, bits)
        for unit in range(self.units):
            m.submodules[f"threshold_{unit}"] = threshold = Use(self.threshold)
            magnitude = now.word_select(unit, THRESHOLD_BITS)
            m.d.comb += [threshold.maximum.eq(row.maximum), threshold.magnitude.eq(magnitude)]
            previous = now.word_select(unit - 1, THRESHOLD_BITS) if unit else before
            first = (issue == 0) if unit == 0 else C(0)
            past  = issue * self.units + unit >= p.levels - 1
            disorder.append(~first & ~past & (magnitude >= previous))
            found.append(threshold.key)
        with m.If(begin):
            m.d.sync += before.eq(now.word_select(self.units - 1, THRESHOLD_BITS))
        last_exponent = constants.exponents[p.levels - 1] != 1 << p.exp_bits
        m.d.comb += self.bad_constants.eq(begin & (Cat(disorder).any() | last_exponent))

        moving = Cat(begin, begin & end, rows.r_data)
        for _ in range(LATENCY):
            later = Signal.like(moving, name="moving")
            m.d.sync += later.eq(moving)
            moving = later
        following = Cat(keys, *found)[p.x_format.bits * self.units:]
        with m.If(moving[0]):
            m.d.sync += keys.eq(following)
        m.d.comb += [
            ready.w_en.eq(moving[1]),
            ready.w_data.eq(Cat(following[:p.x_format.bits * (p.levels - 1)], moving[2:])),
        ]

    def _code(self, m, ready, keys, words):
        """Second pass: codes to their buffer, then the sum and the quotients of a row."""
        p = self.parameters
        m.submodules.coder        = coder        = Use(self.coder)
        m.submodules.exponent_sum = exponent_sum = Use(self.exponent_sum)
        m.submodules.division     = division     = Use(self.division)
        size   = p.x_format.bits * (p.levels - 1)
        active, summed, divided = Signal(), Signal(), Signal()  # a row is there
        bounds = Signal(size)
        row, sum_row, division_row = (Signal(row_layout(p), name=name)
                                      for name in ("row", "sum_row", "division_row"))
        room   = Signal(range(words.depth + 1), init=words.depth)
        word   = data.View(keys_layout(p), keys.r_data)

        # A row's last word waits until its counts can be taken.
        taken, end, move = Signal(), Signal(), Signal()
        coded  = self._sum(m, coder, exponent_sum, sum_row, ready)
        coming = coder.o_valid & coder.o.last
        m.d.comb += [
            taken.eq(active & keys.r_rdy & (room != 0) & coded
                     & ~(word.last & ((summed & ~move) | coming))),
            end.eq(taken & word.last),
            keys.r_en.eq(taken),
            ready.r_en.eq(~active | end),
            coder.i.eq(word),
            coder.i_valid.eq(taken),
            coder.thresholds.eq(bounds),
            coder.invalid.eq(row.invalid),
            words.w_data.eq(coder.o),
            words.w_en.eq(coder.o_valid),
        ]
        m.d.sync += room.eq(room - taken + (words.r_en & words.r_rdy))
        with m.If(ready.r_en):
            m.d.sync += [
                active.eq(ready.r_rdy),
                bounds.eq(ready.r_data[:size]),
                row.eq(ready.r_data[size:]),
            ]

        # The row that is summed, and the one that is divided.
        self._taken = Signal()  # the probabilities have been taken
        ready_sum = Signal()
        with m.If(end):
            m.d.sync += sum_row.eq(row)
        m.d.comb += [
            move.eq(summed & (exponent_sum.done | ready_sum) & (~divided | self._taken)),
            division.start.eq(move),
            division.sum.eq(exponent_sum.sum),
            division.exponents.eq(self._constants(sum_row).exponents),
        ]
        with m.If(move):
            m.d.sync += [summed.eq(0), ready_sum.eq(0), division_row.eq(sum_row)]
        with m.Elif(exponent_sum.done):
            m.d.sync += ready_sum.eq(1)
        with m.If(coming):
            m.d.sync += summed.eq(1)
        with m.If(move):
            m.d.sync += divided.eq(1)
        with m.Elif(self._taken):
            m.d.sync += divided.eq(0)

        # Probabilities that are there.
        self._offered = Signal()
        finished = Signal()
        m.d.comb += self._offered.eq(divided & (division.done | finished))
        with m.If(self._taken):
            m.d.sync += finished.eq(0)
        with m.Elif(division.done):
            m.d.sync += finished.eq(1)
        self._probabilities, self._row = division.probabilities, division_row

    def _sum(self, m, coder, exponent_sum, row, ready):
        """Feed the unit that sums; whether it is ready for words of the row that has come."""
        if self.parameters.accumulate == "counters":
            m.d.comb += [
                exponent_sum.start.eq(coder.o_valid & coder.o.last),
                exponent_sum.counts.eq(coder.counts),
                exponent_sum.exponents.eq(self._constants(row).exponents),
            ]
            return C(1)
        layout = row_layout(self.parameters)
        coming = data.View(layout, ready.r_data[-layout.size:])
        m.d.comb += [
            exponent_sum.next.eq(self._constants(coming).exponents),
            exponent_sum.load.eq(ready.r_en & ready.r_rdy),
            exponent_sum.i.eq(coder.o),
            exponent_sum.i_valid.eq(coder.o_valid),
        ]
        return exponent_sum.ready

    def _send(self, m, words):
        """Look up each code's probability."""
        p = self.parameters
        active = Signal()
        table  = Signal(data.ArrayLayout(p.y_format.bits, p.levels))
        row    = Signal(row_layout(p), name="output_row")
        word   = data.View(codes_layout(p), words.r_data)
        sent   = Signal()
        m.d.comb += [
            self.y.valid.eq(active & words.r_rdy),
            sent.eq(self.y.valid & self.y.ready),
            words.r_en.eq(sent),
            self._taken.eq(self._offered & (~active | (sent & word.last))),
            self.y.p.last.eq(word.last),
            self.y.p.keep.eq(Mux(word.last, row.keep, ~C(0, p.width))),
            self.y.p.all_masked.eq(row.all_masked),
            self.y.p.invalid.eq(row.invalid),
        ]
        with m.If(~active | (sent & word.last)):
            m.d.sync += [active.eq(self._offered), table.eq(self._probabilities),
                         row.eq(self._row)]
        nan = 0 if p.y_format.is_integer else p.y_format.nan
        for lane in range(p.width):
            code, masked = word.codes[lane][:-1], word.codes[lane][-1]
            found = Mux(row.invalid, nan, Mux(masked, 0, table[code]))
            m.d.comb += self.y.p.y[lane].eq(Mux(self.codes, word.codes[lane], found))
