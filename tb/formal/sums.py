"""Sums: no accumulator overflows within the bounds of its parameter set."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In

from golden.formats import signed_bits
from golden.parameters import SETS
from golden.values_parameters import VALUES_SETS
from hdl.mac import mac
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES"]


class _Any:
    """A micro-architecture that adds any number d, which the row's and column's bits are.

    That the real ones add Σ x·q is proved in family elements.
    """

    uses = ()

    def __init__(self, real, bits):
        self._real, self._bits = real, bits
        self.row, self.column, self.inverted = real.row, real.column, real.inverted

    def total(self, m, row, column, acc):
        d = Cat(row, column)[:self._bits].as_signed()
        return acc - d if self.inverted else acc + d


class Group(Harness):
    """An element with any sums of its lanes, beside a sum that is wide enough for anything."""

    def __init__(self, module, p):
        x, w = p.x_format, p.w_format
        products = [a * b for a in (x.low, x.high) for b in (w.low, w.high)]
        self.low, self.high = p.lanes * min(products), p.lanes * max(products)
        pe = module.PE(p)
        pe.mac = _Any(mac(p), signed_bits(self.low, self.high))
        super().__init__(pe, probes={"seen": ("acc", signed(p.sum_bits))}, subject=module.PE(p))

    def state(self, m):
        p = self.parameters
        inverted = self.dut.mac.inverted
        d = Cat(self.row, self.column)[:signed_bits(self.low, self.high)].as_signed()
        known = Signal()                    # a group has begun
        beats = Signal(range(p.beats + 1))  # of it that have come
        true  = Signal(signed(p.sum_bits + 8))
        total = Signal.like(true)
        m.d.comb += total.eq(true + d)
        self.assume(m, (d >= self.low) & (d <= self.high))
        self.assume(m, ~self.last | (self.enable & self.move))
        self.assume(m, ~(self.enable & known) | (beats < p.beats))
        with m.If(self.enable):
            m.d.sync += [known.eq(known | self.last), beats.eq(Mux(self.last, 0, beats + 1)),
                         true.eq(Mux(self.last, 0, total))]
        with m.If(~known):
            m.d.sync += beats.eq(0)

        def upright(value):
            return ~value if inverted else value

        # What makes the induction close.
        self.claim(m, beats <= p.beats)
        self.claim(m, ~known | ((true >= beats * self.low) & (true <= beats * self.high)))
        self.claim(m, ~known | (upright(self.seen.as_signed()) == true))
        # What is wanted.
        ended = self.past(m, self.last & known, "ended")
        was   = self.past(m, total, "total").as_signed()
        self.claim(m, ~ended | (upright(self.drain_o) == was))


class Rows(Harness):
    """Sums of a row's activations."""

    def __init__(self, module, p):
        p = p.replace(tile_rows=1, mesh_rows=1, x_rows=1)
        super().__init__(module.RowSum(p), probes={"seen": ("acc_0", signed(p.row_sum_bits))})

    def state(self, m):
        p = self.parameters
        low, high = p.lanes * p.x_format.low, p.lanes * p.x_format.high
        known, beats = Signal(), Signal(range(p.beats + 1))
        true, total  = (Signal(signed(p.row_sum_bits + 4), name=name) for name in ("true", "new"))
        m.d.comb += total.eq(true + sum(self.x[0]))
        self.assume(m, ~self.last | (self.enable & self.move))
        self.assume(m, ~(self.enable & known) | (beats < p.beats))
        with m.If(self.enable):
            m.d.sync += [known.eq(known | self.last), beats.eq(Mux(self.last, 0, beats + 1)),
                         true.eq(Mux(self.last, 0, total))]
        with m.If(~known):
            m.d.sync += beats.eq(0)
        self.claim(m, beats <= p.beats)
        self.claim(m, ~known | ((true >= beats * low) & (true <= beats * high)))
        self.claim(m, ~known | (self.seen.as_signed() == true))
        ended = self.past(m, self.last & known & self.move, "ended")
        after = self.past(m, ended, "after")
        moved = self.past(m, self.move, "moved")
        was   = self.past(m, self.past(m, total, "total"), "total_before").as_signed()
        self.claim(m, ~(after & moved) | (self.drain_o.sum == was))


class Values(Harness):
    """Sums of the values of each code, in an element of the unit for codes times V."""

    def __init__(self, module, p):
        self._selects = module._selects
        codes = data.ArrayLayout(p.word_bits, p.tokens)
        super().__init__(module.ValuesPE(p), {"codes": In(codes)}, probes={
            f"seen_{k}": (f"acc_{k}", signed(p.value_sum_bits)) for k in range(p.levels)})

    def state(self, m):
        p = self.parameters
        most = -(-p.max_length // p.tokens)
        known, beats = Signal(), Signal(range(most + 1))
        v = self.column.v
        self.assume(m, Value.cast(self.selects) == self._selects(p, self.codes))
        for pair, value in enumerate(self.column.pair):
            self.assume(m, value == v[2 * pair] + v[2 * pair + 1])
        # A masked element has the code 2**b and nothing below.
        for code in self.codes:
            self.assume(m, ~code[-1] | (code[:-1] == 0))
        tokens = Signal()
        m.d.comb += tokens.eq(Cat(~code[-1] for code in self.codes).any())
        self.assume(m, ~(known & tokens) | (beats < most))
        m.d.sync += [known.eq(known | self.last),
                     beats.eq(Mux(self.last | ~known, 0, beats + tokens))]
        self.claim(m, beats <= most)
        ended = self.past(m, self.last & known, "ended")
        for k in range(p.levels):
            true, total = (Signal(signed(p.value_sum_bits + 4), name=f"{name}_{k}")
                           for name in ("true", "new"))
            own = sum(Mux(code == k, value, 0) for code, value in zip(self.codes, v, strict=True))
            m.d.comb += total.eq(true + own)
            m.d.sync += true.eq(Mux(self.last, 0, total))
            low, high = -128 * p.tokens, 127 * p.tokens
            self.claim(m, ~known | ((true >= beats * low) & (true <= beats * high)))
            self.claim(m, ~known | (getattr(self, f"seen_{k}").as_signed() == true))
            was = self.past(m, total, f"total_{k}").as_signed()
            if k < p.products:
                self.claim(m, ~ended | (self.drain_o[k] == was))


class Heap(Harness):
    """A compressor tree of some addends beside their sum."""

    def __init__(self, module, case):
        self._module, (self._width, self._addends, self._rippled) = module, case
        extra = {f"i{index}": In(Shape(bits, is_signed))
                 for index, (bits, is_signed, _, _) in enumerate(self._addends)}
        super().__init__(None, extra, parameters=SETS["tiny"])

    def state(self, m):
        heap, wanted = self._module.BitHeap(self._width), 0
        for index, (_, _, shift, negative) in enumerate(self._addends):
            value = getattr(self, f"i{index}")
            heap.add(value, shift=shift, negative=negative)
            wanted += -(value << shift) if negative else value << shift
        total = heap.total(m, _Adders(self._module), rippled=self._rippled)
        self.claim(m, total == wanted[:self._width])


class _Adders:
    """Full adders as components instead of references to modules."""

    def __init__(self, module):
        self._module = module

    def use(self, width):
        return self._module.FullAdder(SETS["tiny"], width)


def _row_sums():
    return {name: p for name, p in SETS.items() if p.max_zero and p.x_format.is_integer}


PROPERTIES = [
    Property(
        name="group-sum", family="sums", module="hdl.tile",
        claim="Of a group of up to G / L beats whose lanes add up to anything that the formats "
              "allow, the drained sum of an element is the sum over the integers: no accumulator "
              "overflows.",
        cases=dict(SETS), build=Group, method="induction", depth=4, short=True,
        broken=(Broken("total  = Signal(signed(self.parameters.sum_bits))",
                       "total  = Signal(signed(self.parameters.sum_bits - 2))", "nvfp4", 10),
                Broken("Mux(self.last, -1 if self.mac.inverted else 0, total)",
                       "Mux(self.last, 0, total)", depth=6))),
    Property(
        name="row-sum", family="sums", module="hdl.row_sum",
        claim="The drained sum of a row's activations over a group of up to G / L beats is the sum "
              "over the integers, for all activations.",
        cases=_row_sums(), build=Rows, method="induction", depth=4,
        broken=(Broken("Mux(self.last, 0, total)", "total", depth=6),)),
    Property(
        name="value-sums", family="sums", module="hdl.values.tile",
        claim="The drained sum of the values of each code is the sum over the integers, for all "
              "codes and values of rows of up to the longest row's tokens.",
        cases={"attention_tiny_pv": VALUES_SETS["attention_tiny_pv"]}, build=Values,
        method="induction", depth=4,
        broken=(Broken("acc.eq(Mux(self.last, 0, total))", "acc.eq(total)", depth=6),
                Broken("Cat(v1, v1[-1]) & lines.second", "Cat(v1, C(0)) & lines.second",
                       depth=6))),
    Property(
        name="compressor-tree", family="sums", module="hdl.compressor",
        claim="A tree adds signed and unsigned addends, shifted and negated, modulo 2 to its "
              "width, for all values, with and without a ripple of full adders below.",
        cases={
            "4 addends of 3 bits": (6, [(3, True, 0, False), (3, False, 1, True),
                                        (3, True, 2, False), (3, True, 0, True)], 0),
            "6 addends of 2 bits": (5, [(2, True, 0, False), (2, False, 1, True),
                                        (2, True, 0, False), (2, False, 0, False),
                                        (2, True, 2, True), (2, False, 1, False)], 0),
            "ripple": (6, [(4, True, 0, False), (4, False, 1, True), (3, True, 2, False)], 6)},
        build=Heap, method="combinational", short=True,
        broken=(Broken("if sign != negative:\n                self.constant",
                       "if sign:\n                self.constant"),
                Broken("sums[position].append(a ^ b)", "sums[position].append(a | b)"))),
]
