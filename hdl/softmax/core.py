"""The softmax unit: two passes over each row, with rows close behind each other."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, fifo, stream
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import THRESHOLD_BITS, SoftmaxParameters
from hdl.block import Block, Use
from hdl.float32 import named
from hdl.softmax.coder import Coder, codes_layout
from hdl.softmax.division import Division
from hdl.softmax.exponent_sum import ExponentSum
from hdl.softmax.first_pass import first_pass, waiting_rows
from hdl.softmax.lut_sum import LutSum
from hdl.softmax.maximum import Maximum, keys_layout, logits_layout, row_layout
from hdl.softmax.row_buffer import RowBuffer
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


class _Bounded:
    """A row whose thresholds are known, and whether the second pass takes it."""

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        self.valid, self.taken = Signal(name="bounded"), Signal(name="bounded_taken")
        self.row = Signal(row_layout(p), name="bounded_row", reset_less=True)
        self.thresholds = Signal(data.ArrayLayout(p.x_format.bits, p.levels - 1), name="bounds")


class _Result:
    """Probabilities of a row, and whether they have been taken."""

    def __init__(self, division: Use):
        self.valid, self.taken = division.valid, division.taken
        self.probabilities = division.probabilities
        self.all_masked, self.invalid = Signal(name="all_masked"), Signal(name="invalid")


class Softmax(Block):
    """Probabilities, or codes, of rows of logits; :func:`golden.softmax.softmax` to the bit.

    A row's keys wait in a buffer until its maximum is known, and with that its thresholds; its
    codes wait in another until its sum is, and with that the probabilities. Each buffer holds two
    of the longest rows, and more if these are short. Each step between the passes works on a row of
    its own and takes no longer than ``row_cycles(least_length)``. With ``accumulate="lut"`` a row
    whose exponents are not those of the row before waits for its table,
    :class:`hdl.softmax.lut_sum.LutSum`.

    Throughput is a word in each cycle for rows of at least ``least_length`` and four words. The
    first word of a row's output follows its last input word, in an idle unit, by the row's words
    and a latency that the parameters fix.

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
        #: Thresholds at a time, and one after the other.
        self.units  = -(-(p.levels - 1) // max(1, p.row_cycles(p.least_length) - LATENCY))
        self.issues = -(-(p.levels - 1) // self.units)
        # One of the words is in the register behind the memory.
        depth = p.words + max(p.words, SLACK + 2 * p.row_cycles(p.least_length)) + 1
        self.keys  = RowBuffer(p, "keys", keys_layout(p).size, depth)
        self.words = RowBuffer(p, "words", codes_layout(p).size, depth)
        super().__init__(p, "softmax_core", {
            "x": In(stream.Signature(logits_layout(p))),
            "constants": In(data.ArrayLayout(constants_layout(p), p.sets)),
            "codes": In(1),
            "y": Out(stream.Signature(outputs_layout(p))),
            "too_long": Out(1), "bad_constants": Out(1),
        }, uses=(self.keys, self.words, self.maximum, self.threshold, self.coder,
                 self.exponent_sum, self.division))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        m.submodules.rows  = rows  = fifo.SyncFIFO(
            width=row_layout(p).size,
            depth=waiting_rows(self.maximum, self.issues + LATENCY + 1))
        m.submodules.keys  = keys  = Use(self.keys)
        m.submodules.words = words = Use(self.words)

        first_pass(m, self, rows, keys)
        bounded = self._bound(m, rows)
        row, exponent_sum = self._code(m, bounded, keys, words)
        result = self._divide(m, row, exponent_sum)
        self._send(m, words, result)

        return m

    def _constants(self, row):
        """Constants that a row has chosen."""
        layout = constants_layout(self.parameters)
        chosen = Value.cast(self.constants).word_select(row.set, layout.size)
        return data.View(layout, chosen)

    def _bound(self, m, rows):
        """Between the passes: a row's thresholds, ``units`` in a cycle."""
        p = self.parameters
        row = data.View(row_layout(p), rows.r_data)
        constants = self._constants(row)
        issue  = Signal(range(self.issues))
        end    = issue == self.issues - 1
        begin, begun, ended = Signal(), Signal(), Signal()
        bounded = _Bounded(p)
        m.d.comb += [
            begin.eq(rows.r_rdy & ~ended & (~bounded.valid | bounded.taken)),
            rows.r_en.eq(ended),
        ]
        m.d.sync += [begun.eq(begin), ended.eq(begin & end)]
        with m.If(begin):
            m.d.sync += issue.eq(Mux(end, 0, issue + 1))
        with m.If(ended):
            m.d.sync += [bounded.valid.eq(1), bounded.row.eq(row)]
        with m.Elif(bounded.taken):
            m.d.sync += bounded.valid.eq(0)

        # Magnitudes leave lowest first; keys come in at the top and move down.
        magnitudes = Signal(THRESHOLD_BITS * self.issues * self.units)
        m.d.comb += magnitudes.eq(Value.cast(constants.thresholds))
        before = Signal(THRESHOLD_BITS, reset_less=True)
        found, disorder = [], []
        now = magnitudes.word_select(issue, THRESHOLD_BITS * self.units)
        for unit in range(self.units):
            m.submodules[f"threshold_{unit}"] = threshold = Use(self.threshold)
            magnitude = now.word_select(unit, THRESHOLD_BITS)
            m.d.comb += [threshold.maximum.eq(row.maximum), threshold.magnitude.eq(magnitude)]
            previous = now.word_select(unit - 1, THRESHOLD_BITS) if unit else before
            first = (issue == 0) if unit == 0 else C(0)
            past  = issue * self.units + unit >= p.levels - 1
            disorder.append(~first & ~past & (magnitude >= previous))
            found.append(threshold.key)
        m.d.sync += before.eq(now.word_select(self.units - 1, THRESHOLD_BITS))
        wrong = Cat(each.exponents[p.levels - 1] != 1 << p.exp_bits for each in self.constants)
        m.d.comb += self.bad_constants.eq(
            begin & (Cat(disorder).any() | wrong.bit_select(row.set, 1)))

        keys = Signal(p.x_format.bits * self.issues * self.units, reset_less=True)
        with m.If(begun):
            m.d.sync += keys.eq(Cat(keys, *found)[p.x_format.bits * self.units:])
        m.d.comb += bounded.thresholds.eq(keys)
        return bounded

    def _code(self, m, bounded, keys, words):
        """Second pass: codes to their buffer and to what sums; the row, and what sums."""
        p = self.parameters
        m.submodules.coder        = coder        = Use(self.coder)
        m.submodules.exponent_sum = exponent_sum = Use(self.exponent_sum)
        active, taken = Signal(), Signal()
        row    = Signal(row_layout(p), reset_less=True)
        bounds = Signal.like(bounded.thresholds, reset_less=True)
        word   = data.View(keys_layout(p), keys.r_data)
        m.d.comb += [
            taken.eq(active & keys.r_rdy & words.w_rdy & exponent_sum.ready),
            keys.r_en.eq(taken),
            coder.i.eq(word),
            coder.thresholds.eq(bounds),
            words.w_data.eq(coder.o),
            words.w_en.eq(taken),
            exponent_sum.i.eq(coder.o),
            exponent_sum.i_valid.eq(taken),
            bounded.taken.eq(bounded.valid & (~active | (taken & word.last))),
        ]
        with m.If(bounded.taken):
            m.d.sync += [active.eq(1), row.eq(bounded.row), bounds.eq(bounded.thresholds)]
        with m.Elif(taken & word.last):
            m.d.sync += active.eq(0)
        if p.accumulate == "counters":
            m.d.comb += [exponent_sum.reached.eq(coder.reached), exponent_sum.rest.eq(row.rest)]
        else:
            m.d.comb += [exponent_sum.next.eq(self._constants(bounded.row).exponents),
                         exponent_sum.load.eq(bounded.taken)]
        return row, exponent_sum

    def _divide(self, m, row, exponent_sum):
        """Probabilities of a row's codes from its sum."""
        p = self.parameters
        m.submodules.division = division = Use(self.division)
        sum_row, divided_row = (Signal(row_layout(p), name=name, reset_less=True)
                                for name in ("sum_row", "divided_row"))
        result, start = _Result(division), Signal()
        exponents = self._constants(sum_row).exponents
        m.d.comb += [
            start.eq(exponent_sum.valid & division.ready),
            exponent_sum.taken.eq(start),
            division.start.eq(start),
            division.sum.eq(exponent_sum.sum),
            division.exponents.eq(exponents),
        ]
        if p.accumulate == "counters":
            m.d.comb += exponent_sum.exponents.eq(exponents)
        with m.If(exponent_sum.closing):
            m.d.sync += sum_row.eq(row)
        with m.If(start):
            m.d.sync += divided_row.eq(sum_row)
        with m.If(division.finishing):
            m.d.sync += [result.all_masked.eq(divided_row.all_masked),
                         result.invalid.eq(divided_row.invalid)]
        return result

    def _send(self, m, words, result):
        """Look up each code's output."""
        p = self.parameters
        active = Signal()
        all_masked, invalid = Signal(reset_less=True), Signal(reset_less=True)
        table = Signal(data.ArrayLayout(p.y_format.bits, p.levels), reset_less=True)
        word  = data.View(codes_layout(p), words.r_data)
        sent  = Signal()
        m.d.comb += [
            self.y.valid.eq(active & words.r_rdy),
            sent.eq(self.y.valid & self.y.ready),
            words.r_en.eq(sent),
            result.taken.eq(result.valid & (~active | (sent & word.last))),
            self.y.p.last.eq(word.last),
            self.y.p.all_masked.eq(all_masked),
            self.y.p.invalid.eq(invalid),
        ]
        nan = 0 if p.y_format.is_integer else p.y_format.nan
        with m.If(result.taken):
            m.d.sync += [active.eq(1), all_masked.eq(result.all_masked),
                         invalid.eq(result.invalid)]
            for k in range(p.levels):
                m.d.sync += table[k].eq(Mux(result.invalid, Mux(self.codes, 0, nan),
                                            Mux(self.codes, k, result.probabilities[k])))
        with m.Elif(sent & word.last):
            m.d.sync += active.eq(0)

        for lane in range(p.width):
            code, masked = word.codes[lane][:-1], word.codes[lane][-1]
            hidden = named(m, "hidden", masked & ~invalid)
            found  = [table[k] & (~hidden & (code == k)).replicate(p.y_format.bits)
                      for k in range(p.levels)]
            m.d.comb += [
                self.y.p.y[lane].eq(
                    reduce(or_, found) | (hidden & self.codes).shift_left(p.bits)),
                self.y.p.keep[lane].eq(~(masked & code[0])),
            ]
