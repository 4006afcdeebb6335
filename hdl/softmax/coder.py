"""Second pass over a row: codes."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.softmax.keys import at_least, is_masked
from hdl.softmax.maximum import keys_layout

__all__ = ["Coder", "codes_layout", "reached_layout"]


def codes_layout(parameters: SoftmaxParameters) -> data.StructLayout:
    """Layout of a word of codes: of each element the code, and above whether it is masked.

    The code of a masked element tells in bit 0 whether it is absent.
    """
    p = parameters
    return data.StructLayout({"codes": data.ArrayLayout(p.word_bits, p.width), "last": 1})


def reached_layout(parameters: SoftmaxParameters) -> data.ArrayLayout:
    """Layout of what a word's elements reach: for each code, the lanes with at least that code.

    For code 0 those that are not masked.
    """
    return data.ArrayLayout(parameters.width, parameters.levels)


class Coder(Block):
    """Codes of keys by comparison with a row's thresholds, combinational.

    An element's code is the number of thresholds that its key reaches.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    i : In(keys_layout(parameters))
    thresholds : In(ArrayLayout(16, levels - 1))
        Keys, that of code 1 first.
    o : Out(codes_layout(parameters))
    reached : Out(reached_layout(parameters))
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        super().__init__(p, "coder", {
            "i": In(keys_layout(p)),
            "thresholds": In(data.ArrayLayout(p.x_format.bits, p.levels - 1)),
            "o": Out(codes_layout(p)), "reached": Out(reached_layout(p)),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        m.d.comb += self.o.last.eq(self.i.last)
        for lane in range(p.width):
            value  = self.i.keys[lane]
            masked = Signal(name=f"masked_{lane}")
            reached = [~masked, *(at_least(value, bound) for bound in self.thresholds)]
            m.d.comb += [masked.eq(is_masked(value, p.x_format)),
                         *(self.reached[k][lane].eq(each) for k, each in enumerate(reached))]
            code = _encoded([self.reached[k][lane] for k in range(p.levels)])
            m.d.comb += self.o.codes[lane].eq(
                Cat(Mux(masked, value[0], code[0]), code[1:], masked))

        return m


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
