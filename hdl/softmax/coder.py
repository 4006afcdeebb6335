"""Second pass over a row: codes, and how many elements reach each of them."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.softmax.maximum import keys_layout

__all__ = ["Coder", "codes_layout"]


def codes_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of a word of codes: of each element the code and whether it is masked."""
    p = parameters
    return data.StructLayout({"codes": data.ArrayLayout(p.word_bits, p.width), "last": 1})


class Coder(Block):
    """Codes of a row's keys by comparison with its thresholds, and counts.

    An element's code is the number of thresholds that its key reaches. Counts are of the elements
    that reach each code, the first of all that are not masked. Never waits; latency one cycle.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    i : In(keys_layout(parameters))
    i_valid : In(1)
    thresholds : In(ArrayLayout(16, levels - 1))
        Keys, that of code 1 first; must remain as they are during a row.
    invalid : In(1)
        The row's elements have code 0 and are not counted.
    o : Out(codes_layout(parameters))
    o_valid : Out(1)
    counts : Out(ArrayLayout(count_bits, levels))
        Elements of the row up to and with ``o``, with a code of at least k; with counters only.
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        members = {
            "i": In(keys_layout(p)), "i_valid": In(1),
            "thresholds": In(data.ArrayLayout(p.x_format.bits, p.levels - 1)),
            "invalid": In(1),
            "o": Out(codes_layout(p)), "o_valid": Out(1),
        }
        if p.accumulate == "counters":
            members["counts"] = Out(data.ArrayLayout(p.count_bits, p.levels))
        super().__init__(p, "coder", members)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        reached = [Signal(p.width, name=f"reached_{k}") for k in range(p.levels)]
        codes   = Signal(data.ArrayLayout(p.word_bits, p.width))
        for lane in range(p.width):
            value = self.i.keys[lane]
            shown = value.any() & ~self.invalid
            m.d.comb += reached[0][lane].eq(shown)
            for k in range(1, p.levels):
                m.d.comb += reached[k][lane].eq(shown & (value >= self.thresholds[k - 1]))
            masked = ~value.any() & ~self.invalid
            m.d.comb += codes[lane].eq(Cat(_encoded([each[lane] for each in reached]), masked))

        m.d.sync += [self.o.codes.eq(codes), self.o.last.eq(self.i.last),
                     self.o_valid.eq(self.i_valid)]
        if p.accumulate == "counters":
            self._count(m, reached)

        return m

    def _count(self, m, reached):
        """Count what reaches each code, from a row's first word on."""
        first = Signal(init=1)
        with m.If(self.i_valid):
            m.d.sync += first.eq(self.i.last)
            for count, lanes in zip(self.counts, reached, strict=True):
                m.d.sync += count.eq(Mux(first, 0, count) + _ones(lanes))


def _encoded(reached):
    """Code of a lane: a thermometer as a number, its lowest bit standing for code 0."""
    bits = []
    for bit in range((len(reached) - 1).bit_length()):
        step = 1 << bit
        # A bit is set in every other run of ``step`` codes: reached, and the next run not.
        runs = [reached[k] & ~(reached[k + step] if k + step < len(reached) else C(0))
                for k in range(step, len(reached), 2 * step)]
        bits.append(Cat(runs).any())
    return Cat(bits)


def _ones(bits):
    """Number of ones."""
    values = list(bits)
    while len(values) > 1:
        pairs = [a + b for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs):]
    return values[0]
