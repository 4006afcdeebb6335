"""Sums of many addends in carry-save form."""

from itertools import groupby

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block, Use

__all__ = ["FullAdder", "BitHeap", "FullAdders"]


class FullAdder(Block):
    """Combinational 3:2 adders side by side, ``a + b + c = s + 2 * carry`` in each bit.

    A module of its own, so that synthesis can put the library's full-adder cells in its place.

    Parameters
    ----------
    parameters : ArrayParameters
    width : int
        Number of adders.

    Members
    -------
    a, b, c : In(width)
    s, carry : Out(width)
    """

    def __init__(self, parameters: ArrayParameters, width: int):
        super().__init__(parameters, f"full_adder_{width}", {
            "a": In(width), "b": In(width), "c": In(width), "s": Out(width), "carry": Out(width),
        })

    def elaborate(self, platform):
        m = Module()

        m.d.comb += [
            self.s.eq(self.a ^ self.b ^ self.c),
            self.carry.eq(self.a & self.b | self.c & (self.a ^ self.b)),
        ]

        return m


class BitHeap:
    """Addends of one sum modulo ``2**width``, as bits sorted by their weight.

    A sign bit is never extended: a bit of weight ``-2**i`` is the inverted bit of weight ``2**i``
    and the constant ``-2**i``, and all constants of the heap are added when the hardware is built.

    Parameters
    ----------
    width : int
        Width of the sum.
    """

    def __init__(self, width: int):
        self.width = width
        self.columns = [[] for _ in range(width)]
        self.constant = 0

    def add(self, value, *, shift: int = 0, negative: bool = False):
        """Add ``±value << shift``; the value's shape says whether its top bit is negative."""
        value = Value.cast(value)
        for position, bit in enumerate(value, start=shift):
            sign = value.shape().signed and position == shift + len(value) - 1
            if sign != negative:
                self.constant -= 1 << position
            if position < self.width:
                self.columns[position].append(~bit if sign != negative else bit)

    def total(self, m: Module, adders: "FullAdders") -> Value:
        """Reduce three bits of a weight to two, level by level, then add the two rows left.

        In each level the adders of neighbouring weights stand side by side in one block.
        """
        columns = [column + [C(1, 1)] * (self.constant >> position & 1)
                   for position, column in enumerate(self.columns)]
        level = 0
        while (highest := max(map(len, columns))) > 2:
            reduced = [[] for _ in range(self.width + 1)]
            carries = [[] for _ in range(self.width + 1)]
            for index in range(highest // 3):
                full = [position for position, column in enumerate(columns)
                        if len(column) >= 3 * index + 3]
                for _, run in groupby(enumerate(full), lambda pair: pair[1] - pair[0]):
                    positions = [position for _, position in run]
                    rows = [Cat(columns[position][3 * index + row] for position in positions)
                            for row in range(3)]
                    m.submodules[f"add_{level}_{index}_{positions[0]}"] = adder = (
                        adders.use(len(positions)))
                    m.d.comb += Cat(adder.a, adder.b, adder.c).eq(Cat(*rows))
                    for offset, position in enumerate(positions):
                        reduced[position].append(adder.s[offset])
                        carries[position + 1].append(adder.carry[offset])
            columns = [reduced[position] + carries[position] + column[len(column) // 3 * 3:]
                       for position, column in enumerate(columns)]
            level += 1
        rows = [Cat(column[row] if row < len(column) else C(0, 1) for column in columns)
                for row in range(2)]
        return (rows[0] + rows[1])[:self.width]


class FullAdders:
    """Full-adder blocks of every width that a design uses.

    Parameters
    ----------
    parameters : ArrayParameters
    """

    def __init__(self, parameters: ArrayParameters):
        self.parameters = parameters
        self.blocks = {}

    def use(self, width: int) -> Use:
        """Instance of the block of ``width`` adders."""
        if width not in self.blocks:
            self.blocks[width] = FullAdder(self.parameters, width)
        return Use(self.blocks[width])
