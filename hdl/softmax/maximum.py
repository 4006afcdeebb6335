"""First pass over a row: keys, their maximum, and what is wrong with the row."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.float32 import named
from hdl.softmax.keys import at_least, is_masked, key

__all__ = ["LEVELS", "Maximum", "logits_layout", "keys_layout", "row_layout"]

#: Comparisons in a row between registers.
LEVELS = 3


def logits_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of a word of a row.

    W logits, their mask bits, which there are, the row's set of constants, and its end.
    """
    p = parameters
    return data.StructLayout({
        "x": data.ArrayLayout(p.x_format.bits, p.width), "mask": p.width, "keep": p.width,
        "set": range(p.sets), "last": 1,
    })


def keys_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of a word of keys, which tell of masked and absent elements too."""
    p = parameters
    return data.StructLayout({
        "keys": data.ArrayLayout(p.x_format.bits, p.width), "last": 1,
    })


def row_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of what a row needs in the second pass: maximum, flags, set of constants.

    For counters of codes also the number of its words modulo ``block_words``.
    """
    p = parameters
    members = {"maximum": p.x_format.bits, "all_masked": 1, "invalid": 1, "set": range(p.sets)}
    if isinstance(p, SoftmaxParameters) and p.accumulate == "counters":
        members["rest"] = range(p.block_words)
    return data.StructLayout(members)


class Maximum(Block):
    """Keys of a row's elements, and the largest of those that are not masked.

    Never waits. ``o`` comes in the same cycle, ``row`` with the row's last word after ``latency``
    cycles. A row with a NaN or +infinity that is not masked is invalid.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    i : In(logits_layout(parameters))
    i_valid : In(1)
    o : Out(keys_layout(parameters))
    row : Out(row_layout(parameters))
    row_valid : Out(1)
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        super().__init__(p, "maximum", {
            "i": In(logits_layout(p)), "i_valid": In(1), "o": Out(keys_layout(p)),
            "row": Out(row_layout(p)), "row_valid": Out(1),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to ``row``."""
        return (self.parameters.width - 1).bit_length() // LEVELS

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        fmt = p.x_format

        # Positive infinity and NaN compare above all numbers and show in the maximum.
        negative_nan = []
        for lane in range(p.width):
            code, mask, keep = self.i.x[lane], self.i.mask[lane], self.i.keep[lane]
            negative_nan.append(is_masked(code, fmt) & code[:fmt.man_bits].any() & ~mask & keep)
            m.d.comb += self.o.keys[lane].eq(key(code, fmt, mask, keep))
        m.d.comb += self.o.last.eq(self.i.last)

        # The tree, with registers now and then.
        values   = [self.o.keys[lane] for lane in range(p.width)]
        sideband = Cat(self.i_valid, self.i.last, Cat(negative_nan).any(), self.i.set)
        level = 0
        while len(values) > 1:
            pairs = [named(m, "larger", Mux(at_least(a, b), a, b))
                     for a, b in zip(values[::2], values[1::2], strict=False)]
            values = pairs + values[2 * len(pairs):]
            level += 1
            if level % LEVELS == 0:
                values, sideband = self._registered(m, values, sideband)
        valid, last, special = sideband[0], sideband[1], sideband[2]

        lowest = (1 << fmt.bits) - 1
        largest, found = Signal(fmt.bits, init=lowest), Signal(fmt.bits)
        invalid, seen  = Signal(), Signal()
        m.d.comb += [
            found.eq(Mux(at_least(values[0], largest), values[0], largest)),
            seen.eq(invalid | special),
            self.row_valid.eq(valid & last),
            self.row.maximum.eq(found),
            self.row.invalid.eq(seen | (found[fmt.man_bits:-1].all() & ~found[-1])),
            self.row.all_masked.eq(is_masked(found, fmt) & ~seen),
            self.row.set.eq(sideband[3:]),
        ]
        with m.If(valid):
            m.d.sync += [largest.eq(Mux(last, lowest, found)), invalid.eq(Mux(last, 0, seen))]
            if "rest" in row_layout(p).members:
                words = Signal(range(p.block_words))
                m.d.comb += self.row.rest.eq(
                    Mux(words == p.block_words - 1, 0, words + 1)[:len(words)])
                m.d.sync += words.eq(Mux(last, 0, self.row.rest))

        return m

    def _registered(self, m, values, sideband):
        """The same one cycle later."""
        later = [Signal.like(value, name="value", reset_less=True) for value in values]
        side  = Signal.like(sideband, name="sideband")
        m.d.sync += [a.eq(b) for a, b in zip(later, values, strict=True)]
        m.d.sync += side.eq(sideband)
        return later, side
