"""Sums of many addends in carry-save form."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block, Use

__all__ = ["FullAdder", "BitHeap"]


class FullAdder(Block):
    """Combinational 3:2 adder of three bits, ``a + b + c = s + 2 * carry``.

    A module of its own, so that synthesis can put the library's full-adder cell in its place.

    Members
    -------
    a, b, c : In(1)
    s, carry : Out(1)
    """

    def __init__(self, parameters: ArrayParameters):
        super().__init__(parameters, "full_adder", {
            "a": In(1), "b": In(1), "c": In(1), "s": Out(1), "carry": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.d.comb += [
            self.s.eq(self.a ^ self.b ^ self.c),
            self.carry.eq(self.a & self.b | self.c & (self.a ^ self.b)),
        ]

        return m


class BitHeap:
    """Addends of one sum modulo ``2**width``, sorted by the weight of their bits.

    A sign bit is never extended: a bit of weight ``-2**i`` is the inverted bit of weight ``2**i``
    and the constant ``-2**i``, and all constants of the heap are added when the hardware is built.

    Parameters
    ----------
    width : int
        Width of the sum.
    adder : FullAdder
        Block that reduces three bits to two.
    """

    def __init__(self, width: int, adder: FullAdder):
        self.width = width
        self.adder = adder
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
                self.columns[position].append((0, ~bit if sign != negative else bit))

    def total(self, m: Module) -> Value:
        """Reduce the heap to two numbers, earliest bits first, and add these."""
        columns = [list(column) for column in self.columns] + [[]]
        for position in range(self.width):
            if self.constant >> position & 1:
                columns[position].append((0, None))
        for position, column in enumerate(columns[:-1]):
            while len(column) > 2:
                column.sort(key=lambda entry: entry[0])
                depths, bits = zip(*column[:3], strict=True)
                s, carry = self._reduce(m, f"{position}_{len(column)}", bits)
                column[:3] = [(max(depths) + 2, s)]
                columns[position + 1].append((max(depths) + 1, carry))
        rows = [Cat(self._bit(column, row) for column in columns[:-1]) for row in range(2)]
        return (rows[0] + rows[1])[:self.width]

    @staticmethod
    def _bit(column: list, row: int):
        if row >= len(column):
            return C(0, 1)
        return C(1, 1) if column[row][1] is None else column[row][1]

    def _reduce(self, m: Module, name: str, bits: tuple) -> tuple:
        """Sum and carry of three bits, of which one may be the constant 1."""
        variables = [bit for bit in bits if bit is not None]
        if len(variables) == 3:
            m.submodules[f"add_{name}"] = adder = Use(self.adder)
            m.d.comb += Cat(adder.a, adder.b, adder.c).eq(Cat(*variables))
            return adder.s, adder.carry
        a, b = variables
        s, carry = Signal(name=f"s_{name}"), Signal(name=f"carry_{name}")
        m.d.comb += [s.eq(~(a ^ b)), carry.eq(a | b)]
        return s, carry
