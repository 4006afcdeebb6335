"""First pass over a row: keys, their maximum, and what is wrong with the row."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.softmax.keys import key

__all__ = ["LEVELS", "Maximum", "logits_layout", "keys_layout", "row_layout"]

#: Comparisons of a tree between registers.
LEVELS = 2


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
    """Layout of a word of keys; masked elements have the key 0."""
    p = parameters
    return data.StructLayout({
        "keys": data.ArrayLayout(p.x_format.bits, p.width), "last": 1,
    })


def row_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of what a row needs in the second pass.

    Its maximum, flags, set of constants, and which elements its last word has.
    """
    p = parameters
    return data.StructLayout({
        "maximum": p.x_format.bits, "all_masked": 1, "invalid": 1, "set": range(p.sets),
        "keep": p.width,
    })


class Maximum(Block):
    """Keys of a row's elements, and the largest of those that are not masked.

    Never waits. Latency is one cycle to ``o``, and ``ceil(log2(W) / 2) + 2`` from the last word to
    ``row``. A masked element, -infinity among them, has the key 0, which no finite number has.
    A row with a NaN or +infinity that is not masked is invalid.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    i : In(logits_layout(parameters))
    i_valid : In(1)
    o : Out(keys_layout(parameters))
    o_valid : Out(1)
    row : Out(row_layout(parameters))
    row_valid : Out(1)
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        super().__init__(p, "maximum", {
            "i": In(logits_layout(p)), "i_valid": In(1),
            "o": Out(keys_layout(p)), "o_valid": Out(1),
            "row": Out(row_layout(p)), "row_valid": Out(1),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last word to ``row``."""
        return -(-(self.parameters.width - 1).bit_length() // LEVELS) + 2

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        fmt = p.x_format

        special = Signal()
        events  = []
        for lane in range(p.width):
            code    = self.i.x[lane]
            highest = code[fmt.man_bits:-1].all()
            minus   = highest & ~code[:fmt.man_bits].any() & code[-1]
            masked  = self.i.mask[lane] | ~self.i.keep[lane] | minus
            events.append(highest & ~masked)
            m.d.sync += self.o.keys[lane].eq(Mux(masked, 0, key(code, fmt)))
        m.d.sync += [
            self.o.last.eq(self.i.last),
            self.o_valid.eq(self.i_valid),
            special.eq(Cat(events).any()),
        ]

        # Sideband of the last word, and the tree, with registers now and then.
        keep, chosen = Signal(p.width), Signal(range(p.sets))
        m.d.sync += [keep.eq(self.i.keep), chosen.eq(self.i.set)]
        values = [self.o.keys[lane] for lane in range(p.width)]
        sideband = Cat(self.o_valid, self.o.last, special, keep, chosen)
        level = 0
        while len(values) > 1:
            if level and level % LEVELS == 0:
                values, sideband = self._registered(m, values, sideband)
            pairs = [Mux(a > b, a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
            values = pairs + values[2 * len(pairs):]
            level += 1
        if level:
            values, sideband = self._registered(m, values, sideband)
        valid, last, special = sideband[0], sideband[1], sideband[2]

        largest, found = Signal(fmt.bits), Signal(fmt.bits)
        invalid, seen  = Signal(), Signal()
        m.d.comb += [
            found.eq(Mux(values[0] > largest, values[0], largest)),
            seen.eq(invalid | special),
        ]
        with m.If(valid):
            m.d.sync += [largest.eq(Mux(last, 0, found)), invalid.eq(Mux(last, 0, seen))]
        m.d.sync += [
            self.row_valid.eq(valid & last),
            self.row.maximum.eq(found),
            self.row.invalid.eq(seen),
            self.row.all_masked.eq((found == 0) & ~seen),
            self.row.keep.eq(sideband[3:3 + p.width]),
            self.row.set.eq(sideband[3 + p.width:]),
        ]

        return m

    def _registered(self, m, values, sideband):
        """The same one cycle later."""
        later = [Signal.like(value, name="value") for value in values]
        side  = Signal.like(sideband, name="sideband")
        m.d.sync += [a.eq(b) for a, b in zip(later, values, strict=True)]
        m.d.sync += side.eq(sideband)
        return later, side
