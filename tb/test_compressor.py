"""Compressor trees against integer sums, in Amaranth's own simulator."""

import re

import pytest
from amaranth import *
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

from golden.parameters import SETS
from hdl import yosys
from hdl.block import Block
from hdl.compressor import BitHeap, FullAdder, FullAdders, ripple
from hdl.export import verilog

P = SETS["tiny"]


class Adders:
    """Full adders as components instead of references to modules, so that they simulate."""

    def __init__(self):
        self.widths = []

    def use(self, width: int) -> FullAdder:
        """Another block of ``width`` adders."""
        self.widths.append(width)
        return FullAdder(P, width)


def sums(width, addends, values, rippled=0):
    """Totals of a heap for each row of ``values``, and the widths of its blocks of adders.

    Parameters
    ----------
    width : int
        Width of the sum.
    addends : list of (int, bool, int, bool)
        Width, whether it is signed, shift, and whether it is subtracted, of each addend.
    values : list of list of int
        Values of the addends.
    rippled : int
        Lowest bits that are added by full adders.
    """
    m, adders, heap = Module(), Adders(), BitHeap(width)
    inputs = [Signal(Shape(bits, is_signed), name=f"i{index}")
              for index, (bits, is_signed, _, _) in enumerate(addends)]
    for signal, (_, _, shift, negative) in zip(inputs, addends, strict=True):
        heap.add(signal, shift=shift, negative=negative)
    output = Signal(width)
    m.d.comb += output.eq(heap.total(m, adders, rippled=rippled))
    totals = []

    async def drive(ctx):
        for row in values:
            for signal, value in zip(inputs, row, strict=True):
                ctx.set(signal, value)
            await ctx.delay(1e-9)
            totals.append(ctx.get(output))

    simulator = Simulator(m)
    simulator.add_testbench(drive)
    simulator.run()
    return totals, adders.widths


def expected(width, addends, row):
    """The sum in Python's integers."""
    return sum((-value if negative else value) << shift
               for value, (_, _, shift, negative) in zip(row, addends, strict=True)) % (1 << width)


def limits(bits, is_signed):
    """Lowest and highest value of an addend."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)


@st.composite
def heaps(draw):
    """Width, addends, and rows of values with the extremes of every addend."""
    width = draw(st.integers(1, 20))
    addends = draw(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(0, 14),
                                      st.booleans()), min_size=1, max_size=12))
    ends = [limits(bits, is_signed) for bits, is_signed, _, _ in addends]
    rows = draw(st.lists(st.tuples(*(st.integers(*pair) for pair in ends)), min_size=4, max_size=4))
    return width, addends, [[low for low, _ in ends], [high for _, high in ends], *map(list, rows)]


@given(heaps(), st.integers(0, 20))
def test_totals_are_sums(case, rippled):
    width, addends, values = case
    totals, _ = sums(width, addends, values, min(rippled, width))
    assert totals == [expected(width, addends, row) for row in values]


def test_every_value_of_a_small_heap():
    addends = [(2, True, 0, False), (2, False, 1, True), (2, True, 1, True), (1, False, 0, False),
               (1, True, 2, False)]
    values = [[]]
    for bits, is_signed, _, _ in addends:
        low, high = limits(bits, is_signed)
        values = [[*row, value] for row in values for value in range(low, high + 1)]
    assert len(values) == 256
    totals, _ = sums(5, addends, values)
    assert totals == [expected(5, addends, row) for row in values]


def adders_of_wallace(width, addends):
    """Full adders of a tree that takes three bits of a weight wherever there are three.

    Each takes three bits and leaves two, so that their number is that of the bits that go in less
    those that come out, the carries past the width included.
    """
    constant, heights = 0, [0] * width
    for bits, is_signed, shift, negative in addends:
        for position in range(shift, shift + bits):
            top = is_signed and position == shift + bits - 1
            constant -= (top != negative) << position
            if position < width:
                heights[position] += 1
    heights = [height + (constant >> position & 1) for position, height in enumerate(heights)]
    bits_in, dropped, count = sum(heights), 0, 0
    while max(heights) > 2:
        adders = [height // 3 for height in heights]
        dropped += adders[-1]
        count += sum(adders)
        heights = [height - 2 * own + below
                   for height, own, below in zip(heights, adders, [0, *adders], strict=False)]
    assert count == bits_in - sum(heights) - dropped
    return count


@given(heaps())
def test_number_of_adders(case):
    width, addends, _ = case
    _, widths = sums(width, addends, [])
    assert sum(widths) <= adders_of_wallace(width, addends)
    assert all(size <= width for size in widths)


@pytest.mark.parametrize("count", range(1, 13))
def test_bits_in_less_bits_out(count):
    """An adder makes two bits of three, until no weight has more than two bits.

    Twelve rows take five stages, each of which carries into one more column; none is dropped.
    """
    _, widths = sums(16, [(8, False, 0, False)] * count, [])
    assert max(0, 8 * count - 2 * (8 + 5)) <= sum(widths) <= 8 * (count - 1)
    assert (sum(widths) == 0) == (count < 3)


class Sum(Block):
    """``3 * (a - 2 * b) + c - d``, of signed ``a`` and ``d``."""

    def __init__(self):
        self.adders = FullAdders(P)
        super().__init__(P, "sum", {"a": In(signed(4)), "b": In(4), "c": In(6), "d": In(signed(3)),
                                    "total": Out(9)})

    @property
    def uses(self):
        return tuple(self.adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        heap = BitHeap(len(self.total))
        for shift in range(2):
            heap.add(self.a, shift=shift)
            heap.add(self.b, shift=shift + 1, negative=True)
        heap.add(self.c)
        heap.add(self.d, negative=True)
        m.d.comb += self.total.eq(heap.total(m, self.adders))

        return m


CHECK = """
module check(input signed [3:0] a, input [3:0] b, input [5:0] c, input signed [2:0] d, output ok);
  wire [8:0] total;
  mixpe_tiny_sum dut (.a(a), .b(b), .c(c), .d(d), .total(total));
  wire signed [31:0] wide_b = b, wide_c = c, wanted = 3 * (a - 2 * wide_b) + wide_c - d;
  assign ok = total == wanted[8:0];
endmodule
"""


def test_exported_sum(tmp_path, monkeypatch):
    """As Verilog a heap is proved for every input, and each width of adders is made once."""
    made = []

    class Counted(FullAdder):
        def __init__(self, parameters, width):
            made.append(width)
            super().__init__(parameters, width)

    monkeypatch.setattr("hdl.compressor.FullAdder", Counted)
    block = Sum()
    text = verilog(block)
    (tmp_path / "check.v").write_text(text + CHECK)
    yosys.run("read_verilog check.v\nhierarchy -check -top check\nproc\nflatten\n"
              "sat -verify -prove ok 1", directory=tmp_path)
    with pytest.raises(yosys.YosysError, match="proof did fail"):
        yosys.run("read_verilog check.v\nhierarchy -check -top check\nproc\nflatten\n"
                  "sat -verify -prove ok 0", directory=tmp_path)
    modules = re.findall(r"^module (\w+)", text, re.MULTILINE)
    assert sorted(modules) == sorted(block.closure()) == sorted(set(modules))
    widths = [int(width) for width in re.findall(r"^  mixpe_tiny_full_adder_(\d+) \w+ \(", text,
                                                 re.MULTILINE)]
    addends = [(4, True, 0, False), (4, True, 1, False), (4, False, 1, True), (4, False, 2, True),
               (6, False, 0, False), (3, True, 0, True)]
    assert 0 < sum(widths) <= adders_of_wallace(9, addends)
    assert sorted(set(widths)) == sorted(made)
    assert len(widths) > len(made)


def test_ripple():
    """Every pair of 4 bits, with and without a carry."""
    m, adders = Module(), Adders()
    a, b, carry = Signal(4), Signal(4), Signal()
    total, out = ripple(m, adders, "add", a, b, carry)
    found = []

    async def drive(ctx):
        for value in range(1 << 9):
            ctx.set(Cat(a, b, carry), value)
            await ctx.delay(1e-9)
            found.append(ctx.get(Cat(total, out)))

    simulator = Simulator(m)
    simulator.add_testbench(drive)
    simulator.run()
    assert found == [(value & 15) + (value >> 4 & 15) + (value >> 8) for value in range(1 << 9)]
    assert adders.widths == [1] * 4
