"""Sums of many addends in carry-save form."""

from functools import reduce
from itertools import groupby
from operator import add

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.base_parameters import BaseParameters
from hdl.block import Block, Use

__all__ = ["FullAdder", "BitHeap", "FullAdders", "halves", "ripple"]


class FullAdder(Block):
    """Combinational 3:2 adders side by side, ``a + b + c = s + 2 * carry`` in each bit.

    A module of its own, so that synthesis can put the library's full-adder cells in its place.

    Parameters
    ----------
    parameters : BaseParameters
    width : int
        Number of adders.

    Members
    -------
    a, b, c : In(width)
    s, carry : Out(width)
    """

    def __init__(self, parameters: BaseParameters, width: int):
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
        self._addends = {False: [], True: []}

    def add(self, value, *, shift: int = 0, negative: bool = False):
        """Add ``±value << shift``; the value's shape says whether its top bit is negative."""
        value = Value.cast(value)
        self._addends[negative].append(value << shift)
        for position, bit in enumerate(value, start=shift):
            sign = value.shape().signed and position == shift + len(value) - 1
            if sign != negative:
                self.constant -= 1 << position
            if position < self.width:
                self.columns[position].append(~bit if sign != negative else bit)

    def total(self, m: Module, adders: "FullAdders | None", name: str = "add") -> Value:
        """Reduce the heap to two rows in Dadda's stages, then add these.

        Without ``adders`` the addends are added by halves, as suits the carry chains of FPGAs.

        Each stage lowers the highest column by a third, with as few adders as will do; a carry
        counts in the column that it goes to, so that none ripples. Adders of neighbouring columns
        stand side by side in one block; submodules begin with ``name``.
        L. Dadda, "Some schemes for parallel multipliers", Alta Frequenza 34, 1965.
        """
        if adders is None:
            positive, negative = self._addends[False], self._addends[True]
            total = halves(positive or [C(0)])
            return (total - halves(negative) if negative else total)[:self.width]
        columns = [column + [C(1, 1)] * (self.constant >> position & 1)
                   for position, column in enumerate(self.columns)]
        targets = [2]
        while targets[-1] < max(map(len, columns)):
            targets.append(targets[-1] * 3 // 2)
        for stage, target in enumerate(reversed(targets[:-1])):
            columns = self._stage(m, adders, f"{name}_{stage}", columns, target)
        rows = [Cat(column[row] if row < len(column) else C(0, 1) for column in columns)
                for row in range(2)]
        return (rows[0] + rows[1])[:self.width]

    def _stage(self, m, adders, name, columns, target):
        """Columns of at most ``target`` bits, those first that have waited longest.

        A column with one bit too many gets a half adder.
        """
        full, half, carries = [], [], 0
        for column in columns:
            excess = len(column) + carries - target
            full.append(max(excess, 0) // 2)
            half.append(max(excess, 0) % 2)
            carries = full[-1] + half[-1]

        sums = [[] for _ in range(self.width + 1)]
        ups  = [[] for _ in range(self.width + 1)]
        rest = []
        for index in range(max(full, default=0)):
            wanted = [position for position, count in enumerate(full) if count > index]
            for positions in _runs(wanted):
                m.submodules[f"{name}_{index}_{positions[0]}"] = adder = adders.use(len(positions))
                rows = [Cat(columns[position][3 * index + row] for position in positions)
                        for row in range(3)]
                m.d.comb += Cat(adder.a, adder.b, adder.c).eq(Cat(*rows))
                for offset, position in enumerate(positions):
                    sums[position].append(adder.s[offset])
                    ups[position + 1].append(adder.carry[offset])
        for position, column in enumerate(columns):
            used = 3 * full[position]
            if half[position]:
                a, b = column[used:used + 2]
                sums[position].append(a ^ b)
                ups[position + 1].append(a & b)
                used += 2
            rest.append(column[used:])
        return [rest[position] + ups[position] + sums[position] for position in range(self.width)]


def _runs(numbers: list[int]) -> list[list[int]]:
    """Runs of consecutive numbers."""
    return [[number for _, number in run]
            for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]


def halves(addends: list) -> Value:
    """Sum by halves, so that the depth grows with the logarithm."""
    while len(addends) > 1:
        addends = [reduce(add, addends[i:i + 2]) for i in range(0, len(addends), 2)]
    return addends[0]


class FullAdders:
    """Full-adder blocks of every width that a design uses.

    Parameters
    ----------
    parameters : BaseParameters
    """

    def __init__(self, parameters: BaseParameters):
        self.parameters = parameters
        self.blocks = {}

    def use(self, width: int) -> Use:
        """Instance of the block of ``width`` adders."""
        if width not in self.blocks:
            self.blocks[width] = FullAdder(self.parameters, width)
        return Use(self.blocks[width])


def ripple(m: Module, adders: FullAdders, name: str, a: Value, b: Value,
           carry: Value) -> "tuple[Value, Value]":
    """Sum and carry of two values of the same width and a bit, in a chain of full adders.

    Smaller and slower than what synthesis makes of ``+``; submodules begin with ``name``.
    """
    total = []
    for position, (x, y) in enumerate(zip(a, b, strict=True)):
        m.submodules[f"{name}_{position}"] = adder = adders.use(1)
        m.d.comb += Cat(adder.a, adder.b, adder.c).eq(Cat(x, y, carry))
        total.append(adder.s)
        carry = adder.carry
    return Cat(total), carry
