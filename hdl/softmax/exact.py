"""The exact-exponent softmax unit: the rival that the EXAQ unit is measured against."""

from amaranth import *
from amaranth.lib import data, fifo, stream
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import BaselineParameters
from hdl.block import Block, Use
from hdl.codes import number, number_shape
from hdl.float32 import leading_zeros, named
from hdl.softmax.core import outputs_layout
from hdl.softmax.exponent import LATENCY, Exponent, ExponentTotal, element_layout
from hdl.softmax.first_pass import first_pass, waiting_rows
from hdl.softmax.keys import is_absent
from hdl.softmax.maximum import Maximum, keys_layout, logits_layout, row_layout
from hdl.softmax.quotient import (
    DEPTH,
    Quotient,
    quotient_digits,
    quotient_stages,
    remainder_bits,
    scale_shape,
)
from hdl.softmax.row_buffer import RowBuffer

__all__ = ["ExactSoftmax", "elements_layout"]

#: Cycles from a row's last key to the reading of its sum.
SUM_LATENCY = LATENCY + 3

#: Least number of words that a buffer has besides those of the longest row. What comes while a
#: maximum or a sum is on its way needs 8.
SLACK = 8


def elements_layout(parameters: BaselineParameters) -> data.StructLayout:
    """Layout of a word of exponents, as the division takes them, and which of them there are."""
    p = parameters
    return data.StructLayout({
        "elements": data.ArrayLayout(element_layout(p), p.width), "keep": p.width, "last": 1,
    })


class ExactSoftmax(Block):
    """Probabilities of rows of fp16 logits; :func:`golden.exact_softmax.exact_softmax` to the bit.

    The frame is that of :class:`hdl.softmax.core.Softmax`: a row's keys wait in a buffer until its
    maximum is known, its exponents in another until their sum is. Each buffer holds two of the
    longest rows, and at least ``SLACK`` words more than one. Each of the W lanes has an exponent
    unit and a divider.

    Throughput is a word in each cycle for rows of at least ``least_length``. The first word of a
    row's output is offered, in an idle unit, ``latency`` cycles and the row's words after its last
    input word was taken.

    Parameters
    ----------
    parameters : BaselineParameters

    Members
    -------
    x : In(stream.Signature(logits_layout(parameters)))
        Words of rows, of at most ``max_length`` elements. A row of more words is cut there.
    y : Out(stream.Signature(outputs_layout(parameters)))
    too_long : Out(1)
        A row was cut.
    """

    def __init__(self, parameters: BaselineParameters):
        p = parameters
        self.maximum, self.exponent = Maximum(p), Exponent(p)
        self.total, self.quotient = ExponentTotal(p), Quotient(p)
        #: Rows that may be between their last key and the reading of their sum.
        self.slots = -(-SUM_LATENCY // p.row_cycles(p.least_length)) + 1
        # One of the words is in the register behind the memory.
        depth = p.words + max(p.words, SLACK) + 1
        self.keys  = RowBuffer(p, "keys", keys_layout(p).size, depth)
        self.words = RowBuffer(p, "words", elements_layout(p).size, depth)
        super().__init__(p, "softmax_core", {
            "x": In(stream.Signature(logits_layout(p))),
            "y": Out(stream.Signature(outputs_layout(p))),
            "too_long": Out(1),
        }, uses=(self.keys, self.words, self.maximum, self.exponent, self.total,
                 self.quotient))

    @property
    def latency(self) -> int:
        """Cycles from a row's last input word to its first output, without those of its words."""
        # Besides: the queue of rows and a register, the sum, its queue and its register.
        return self.maximum.latency + 2 + LATENCY + 2 + 2 + quotient_stages(self.parameters)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        m.submodules.rows  = rows  = fifo.SyncFIFO(width=row_layout(p).size,
                                                     depth=waiting_rows(self.maximum, 1))
        m.submodules.keys  = keys  = Use(self.keys)
        m.submodules.words = words = Use(self.words)
        m.submodules.sums  = sums  = fifo.SyncFIFO(width=p.sum_bits, depth=self.slots)
        m.submodules.ended = ended = fifo.SyncFIFO(width=row_layout(p).size, depth=self.slots)

        first_pass(m, self, rows, keys)
        self._exponents(m, rows, keys, words, sums, ended)
        self._divide(m, words, sums, ended)

        return m

    def _exponents(self, m, rows, keys, words, sums, ended):
        """Second pass: exponents to their buffer, their sum to the queue of sums."""
        p = self.parameters
        active  = Signal()  # a row is there
        row     = Signal(row_layout(p))
        maximum = Signal(number_shape(p.x_format))
        coming  = data.View(row_layout(p), rows.r_data)
        word    = data.View(keys_layout(p), keys.r_data)
        room    = Signal(range(self.words.depth + 1), init=self.words.depth)
        queue   = Signal(range(self.slots + 1))  # rows whose sum is under way or waits
        taken, end = Signal(), Signal()
        m.d.comb += [
            taken.eq(active & keys.r_rdy & (room != 0) & (~word.last | (queue != self.slots))),
            end.eq(taken & word.last),
            keys.r_en.eq(taken),
            rows.r_en.eq(~active | end),
            ended.w_en.eq(end),
            ended.w_data.eq(row),
        ]
        m.d.sync += [
            room.eq(room - taken + (words.r_en & words.r_rdy)),
            queue.eq(queue + end - (sums.r_en & sums.r_rdy)),
        ]
        with m.If(rows.r_en):
            m.d.sync += [
                active.eq(rows.r_rdy),
                row.eq(coming),
                maximum.eq(number(coming.maximum, p.x_format)),
            ]

        elements  = Signal(elements_layout(p))
        exponents = Signal(data.ArrayLayout(p.exp_bits + 1, p.width))
        keep = Cat(~is_absent(word.keys[lane], p.x_format) for lane in range(p.width))
        valid, before = _delayed(m, "exponent", LATENCY, taken, Cat(word.last, keep))
        last = before[0]
        for lane in range(p.width):
            m.submodules[f"exponent_{lane}"] = exponent = Use(self.exponent)
            m.d.comb += [
                exponent.key.eq(word.keys[lane]),
                exponent.maximum.eq(maximum),
                exponent.invalid.eq(row.invalid),
                exponents[lane].eq(exponent.exponent),
                elements.elements[lane].eq(exponent.element),
            ]
        m.submodules.total = total = Use(self.total)
        m.d.comb += [
            elements.last.eq(last),
            elements.keep.eq(before[1:]),
            words.w_data.eq(elements),
            words.w_en.eq(valid),
            total.i.eq(exponents),
            total.i_valid.eq(valid),
            total.i_last.eq(last),
            sums.w_data.eq(total.o),
            sums.w_en.eq(total.o_valid),
        ]

    def _divide(self, m, words, sums, ended):
        """Third pass: probabilities, in a pipeline that waits as one."""
        p = self.parameters
        active = Signal()
        row    = Signal(row_layout(p), name="output_row")
        coming = data.View(row_layout(p), ended.r_data)
        word   = data.View(elements_layout(p), words.r_data)
        stages = quotient_stages(p)
        chain  = Signal(data.ArrayLayout(p.sum_bits, stages))
        enable, taken = Signal(), Signal()
        m.d.comb += [
            enable.eq(~self.y.valid | self.y.ready),
            taken.eq(active & words.r_rdy & enable),
            words.r_en.eq(taken),
            sums.r_en.eq(~active | (taken & word.last)),
            ended.r_en.eq(sums.r_en & sums.r_rdy),
        ]
        divisor, scale = sums.r_data, Signal(scale_shape(p))
        if not p.y_format.is_integer:
            zeros, _ = leading_zeros(m, divisor)
            divisor = named(m, "normalised", (divisor << zeros)[:p.sum_bits])
            with m.If(sums.r_en):
                m.d.sync += scale.eq(p.sum_bits - 1 - p.exp_bits - zeros)
        # A row without elements gets a sum that is not 0.
        empty = coming.all_masked | coming.invalid
        with m.If(sums.r_en):
            m.d.sync += [
                active.eq(sums.r_rdy),
                row.eq(coming),
                chain[0].eq(divisor | empty << p.sum_bits - 1),
            ]
        with m.If(enable):
            m.d.sync += [chain[stage].eq(chain[stage - 1]) for stage in range(1, stages)]

        last_word = Cat(word.last, row.all_masked, row.invalid, word.keep)
        valid, before = _delayed(m, "divided", stages - 1, taken, last_word, enable)
        with m.If(enable):
            m.d.sync += [
                self.y.valid.eq(valid),
                Cat(self.y.p.last, self.y.p.all_masked, self.y.p.invalid,
                    self.y.p.keep).eq(before),
            ]
        beyond = Cat(chain[digit // DEPTH][remainder_bits(p, digit):].any()
                     for digit in range(quotient_digits(p)))
        for lane in range(p.width):
            m.submodules[f"quotient_{lane}"] = quotient = Use(self.quotient)
            m.d.comb += [
                quotient.enable.eq(enable),
                quotient.element.eq(word.elements[lane]),
                quotient.sums.eq(chain),
                quotient.beyond.eq(beyond),
                self.y.p.y[lane].eq(quotient.probability),
            ]
            if not p.y_format.is_integer:
                m.d.comb += [quotient.scale.eq(scale), quotient.invalid.eq(before[2])]


def _delayed(m, name, cycles, valid, value, enable=None):
    """A valid bit and what goes with it, some cycles or enabled cycles later."""
    for stage in range(cycles):
        later_valid = Signal(name=f"{name}_valid_{stage}")
        later = Signal.like(Value.cast(value), name=f"{name}_{stage}", reset_less=True)
        with m.If(C(1) if enable is None else enable):
            m.d.sync += [later_valid.eq(valid), later.eq(value)]
        valid, value = later_valid, later
    return valid, value
