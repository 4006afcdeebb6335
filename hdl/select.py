"""Selection of one of three addends."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.base_parameters import BaseParameters
from hdl.block import Block

__all__ = ["Select", "lines"]


def lines(first: Value, second: Value) -> list[Value]:
    """Lines of a :class:`Select` from two bits: the first alone, the second alone, both."""
    return [first & ~second, second & ~first, first & second]


class Select(Block):
    """One of three values or none, inverted: ``y = ~(a·lines[0] | b·lines[1] | c·lines[2])``.

    A module of its own, so that synthesis can put the library's and-or-invert cells in its place.
    At most one line may be high.

    Parameters
    ----------
    parameters : BaseParameters
    width : int
        Width of the values.

    Members
    -------
    lines : In(3)
    a, b, c : In(width)
    y : Out(width)
    """

    def __init__(self, parameters: BaseParameters, width: int):
        super().__init__(parameters, f"select_{width}", {
            "lines": In(3), "a": In(width), "b": In(width), "c": In(width), "y": Out(width),
        })

    def elaborate(self, platform):
        m = Module()

        choice = (value & line.replicate(len(self.y))
                  for value, line in zip((self.a, self.b, self.c), self.lines, strict=True))
        first, second, third = choice
        m.d.comb += self.y.eq(~(first | second | third))

        return m
