"""Elements: each micro-architecture is integer multiplication, for all inputs."""

import numpy as np
from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.formats import FORMATS
from golden.parameters import SETS
from hdl.block import Block
from hdl.codes import code_shape, number_shape
from hdl.tile import PE
from tb.formal.algebra import Identity, plus, times, word
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES", "Dot"]


class Dot(Block):
    """What a processing element adds up, from the activations' codes and the weights as integers.

    The three parts of a micro-architecture in a row: what a row shares, what a column shares, and
    the element's total.

    Parameters
    ----------
    micro : Mac
    """

    def __init__(self, micro):
        p = micro.parameters
        self._micro = micro
        weight = micro.w if p.mac == "shift" else data.ArrayLayout(number_shape(p.w_format),
                                                                   p.lanes)
        row = micro.row if p.mac == "float" else micro.x
        super().__init__(p, "dot", {"x": In(row), "w": In(weight), "acc": In(signed(p.sum_bits)),
                                    "total": Out(p.sum_bits)})

    @property
    def uses(self):
        return self._micro.uses

    def elaborate(self, platform):
        m = Module()
        micro, p = self._micro, self.parameters

        # Codes have been decoded: weights as integers go the way of decoded ones.
        micro.weights = list
        row, column = Signal(micro.row), Signal(micro.column)
        shared = self.x if p.mac == "float" else micro.share_row(self.x)
        m.d.comb += [
            Value.cast(row).eq(Value.cast(shared)),
            Value.cast(column).eq(Value.cast(micro.share_column(self.w))),
            self.total.eq(micro.total(m, row, column, self.acc)),
        ]

        return m


def dot(module, p):
    """A micro-architecture of a set, and Σ x·q with the accumulator."""
    micro = module.mac(p)
    block = Dot(micro)

    def wanted(port):
        products = []
        x_bits, w_bits = (len(port(name)) // p.lanes for name in "xw")
        for lane in range(p.lanes):
            x, w = port("x")[lane * x_bits:][:x_bits], port("w")[lane * w_bits:][:w_bits]
            if p.mac == "float":
                significand = p.x_format.man_bits + 2
                value = _shifted(word(x[:significand], True), x[significand:])
            else:
                value = word(x, True)
            if p.mac == "shift":
                sign = plus({frozenset(): 1}, times(word(w[-1:]), -2))
                products.append(times(_shifted(value, w[:-1]), sign))
            else:
                products.append(times(value, word(w, p.w_format.low < 0)))
        total = plus(*products)
        return plus(word(port("acc"), True), times(total, -1 if micro.inverted else 1))

    return Identity(block, wanted, PE(p))


def _shifted(value, amount):
    """``value << amount``."""
    for place, bit in enumerate(amount):
        value = times(value, plus({frozenset(): 1}, times(word([bit]), (1 << (1 << place)) - 1)))
    return value


_SMALL = SETS["tiny"]

#: Weight formats of the integer micro-architectures.
_WEIGHTS = ("int2", "int3", "int4", "uint4", "int8", "ternary", "e2m1")


def _cases(mac):
    """The sets that take a micro-architecture, and a small one for each pair of formats."""
    cases = {name: p for name, p in SETS.items() if p.mac == mac}
    if mac == "shift":
        formats = [(f"shift{bits}", {}) for bits in (2, 3, 4)]
    elif mac == "float":
        return cases | {f"fp16 {w}": SETS["w4a16"].replace(w=w, lanes=2, tile_columns=2)
                        for w in ("int3", "int4", "ternary")}
    else:
        formats = [(w, {}) for w in _WEIGHTS]
    for w, changes in formats:
        cases[f"int8 {w}"] = _SMALL.replace(mac=mac, w=w, **changes)
    first = formats[0][0] if mac == "shift" else "uint4"
    cases[f"fp16 aligned to 12 bits {first}"] = _SMALL.replace(
        mac=mac, w=first, x="fp16", x_align=12, x_scale="e8m0")
    if mac in ("bit_plane", "radix4", "pair_sum", "shift"):
        cases[f"carry chains, int8 {first}"] = _SMALL.replace(
            mac=mac, w=first, adders="carry_chains")
    return cases


_BROKEN = {
    "product": [Broken("row[lane] * column[lane]", "row[lane] * column[0]")],
    "shift_add": [Broken("(negative if self.negative(plane) else positive)", "positive",
                         "int8 int4")],
    "bit_plane": [Broken("addend = (x & bit.replicate(len(x))).as_signed()\n                heap",
                         "addend = x & bit.replicate(len(x))\n                heap")],
    "radix4": [Broken("(x, x << 1, row.triple[lane])", "(x, x << 1, x)", "int8 uint4"),
               Broken("(x, minus << 1, minus) if signed_top", "(x, minus << 1, x) if signed_top",
                      "int8 int4")],
    "pair_sum": [Broken("values = row.x[2 * pair], row.x[2 * pair + 1]",
                        "values = row.x[2 * pair + 1], row.x[2 * pair]"),
                 Broken("heap.add(addend, shift=plane, negative=not self.negative(plane))\n\n\n"
                        "class Shift", "heap.add(addend, shift=plane, negative=True)\n\n\n"
                        "class Shift", "int8 int4")],
    "shift": [Broken("            heap.add(negate)\n", "")],
    "float": [Broken("addends.append(product << row[lane].shift)",
                     "addends.append(product << row[lane].shift[:-1])")],
}

_TEXTS = {
    "product": "acc + Σ x·q of all lanes", "shift_add": "acc + Σ x·q of all lanes",
    "bit_plane": "acc - Σ x·q of all lanes", "radix4": "acc - Σ x·q of all lanes",
    "pair_sum": "acc - Σ x·q of all lanes",
    "shift": "acc + Σ ±(x << s) of all lanes",
    "float": "acc + Σ (q · significand) << shift of all lanes",
}


class Decoded(Harness):
    """Every code of a weight format, and its number in steps as golden has it."""

    def __init__(self, module, fmt):
        self._number, self._format = module.number, fmt
        super().__init__(None, {"code": In(code_shape(fmt))}, parameters=SETS["tiny"])

    def state(self, m):
        fmt = self._format
        values = fmt.decode(np.arange(1 << fmt.bits)) / fmt.step
        found = self._number(self.code, fmt)
        for code, value in enumerate(values):
            self.claim(m, (Value.cast(self.code) != code)
                       | (found == (int(value) if np.isfinite(value) else 0)))


class Significand(Harness):
    """Every code of a float activation: significand, shift, and whether it is no number."""

    def __init__(self, module, fmt):
        self._significand, self._format = module.significand, fmt
        super().__init__(None, {"code": In(fmt.bits)}, parameters=SETS["tiny"])

    def state(self, m):
        fmt = self._format
        fraction, exponent, sign = (self.code[:fmt.man_bits], self.code[fmt.man_bits:-1],
                                    self.code[-1])
        value, shift, special = self._significand(self.code, fmt)
        least   = exponent == 0
        number  = Mux(least, fraction, fraction + (1 << fmt.man_bits))
        wanted  = Mux(special, 0, Mux(sign, -number, number))
        self.claim(m, special == (exponent == (1 << fmt.exp_bits) - 1))
        self.claim(m, value == wanted)
        self.claim(m, shift == Mux(least, 0, exponent - 1))


class Aligned(Harness):
    """An activation, the largest exponent of its group, and the aligned integer."""

    def __init__(self, module, p):
        fmt = p.x_input_format
        self._module, aligner = module, module.Aligner(p)
        super().__init__(None, {"code": In(fmt.bits), "largest": In(fmt.exp_bits)}, parameters=p,
                         subject=aligner)

    def state(self, m):
        p = self.parameters
        fmt = p.x_input_format
        aligner = self.subject
        exponent = Mux(self.largest == 0, 1, self.largest)
        magnitude, negative = aligner._shift(m, self.code, exponent, C(0), C(1))
        found = self._module._round(magnitude, negative, p.x_align)

        own = self.code[fmt.man_bits:-1]
        self.assume(m, (own <= self.largest) & (self.largest != (1 << fmt.exp_bits) - 1))
        distance = exponent - Mux(own == 0, 1, own)
        full   = self.code[:fmt.man_bits] + Mux(own == 0, 0, 1 << fmt.man_bits)
        places = max(0, p.x_align - 2 - fmt.man_bits)
        drop   = max(0, fmt.man_bits + 2 - p.x_align)
        # Past so many places nothing is left.
        most   = fmt.man_bits + 2 + places
        shift  = Mux(distance > most, most, distance[:most.bit_length()]) + drop
        wide   = Signal(fmt.man_bits + 1 + places + most + drop + 1)
        m.d.comb += wide.eq(full << places)
        floor  = wide >> shift
        rest   = wide - (floor << shift)[:len(wide)]
        twice  = rest << 1
        unit   = C(1, 1) << shift
        up     = (twice > unit) | ((twice == unit) & floor[0])
        near   = floor + up
        high   = (1 << p.x_align - 1) - 1
        wanted = Mux(self.code[-1], -near, Mux(near > high, high, near))
        was    = self.past(m, wanted[:p.x_align], "wanted")
        self.claim(m, ~self.follows | (Value.cast(found) == was))


class FullAdders(Harness):
    """Every bit of a block of full adders."""

    def __init__(self, module, width):
        super().__init__(module.FullAdder(SETS["tiny"], width))

    def state(self, m):
        for a, b, c, s, carry in zip(self.a, self.b, self.c, self.s, self.carry, strict=True):
            self.claim(m, a + b + c == s + (carry << 1))


class Selected(Harness):
    """A selection with its lines as they are formed."""

    def __init__(self, module, width):
        self._lines = module.lines
        super().__init__(module.Select(SETS["tiny"], width), {"first": In(1), "second": In(1)})

    def state(self, m):
        self.assume(m, self.lines == Cat(self._lines(self.first, self.second)))
        self.claim(m, ~self.y == Mux(self.first, Mux(self.second, self.c, self.a),
                                     Mux(self.second, self.b, 0)))


PROPERTIES = [
    Property(
        name=f"element-{mac.replace('_', '-')}", family="elements", module="hdl.mac",
        claim=f"The total of an element is {_TEXTS[mac]}, modulo 2 to the accumulator's width, for "
              "all activations, weights and accumulators; any integer of the weights' width is a "
              "weight.",
        cases=_cases(mac), build=dot, method="algebra", broken=tuple(_BROKEN[mac]),
        short=mac in ("pair_sum", "product"))
    for mac in _TEXTS
] + [
    Property(
        name="full-adder", family="elements", module="hdl.compressor",
        claim="Each bit of a block of full adders satisfies a + b + c = s + 2·carry, the equation "
              "by which the trees vanish.",
        cases={f"{width} bits": width for width in (1, 20)}, build=FullAdders,
        method="combinational", short=True,
        broken=(Broken("self.c & (self.a ^ self.b)", "self.c & self.a & self.b"),)),
    Property(
        name="select", family="elements", module="hdl.select",
        claim="A selection by the lines of two bits is the complement of 0, a, b or c.",
        cases={"9 bits": 9}, build=Selected, method="combinational",
        broken=(Broken("second & ~first", "second"),)),
    Property(
        name="weight-codes", family="elements", module="hdl.codes",
        claim="The integer of every code of a weight format is its number in golden, in steps.",
        cases={name: FORMATS[name] for name in ("e2m1", *_WEIGHTS[:-1])}, build=Decoded,
        method="combinational",
        broken=(Broken("shift     = (exponent - normal)", "shift     = (exponent)"),)),
    Property(
        name="float-codes", family="elements", module="hdl.codes",
        claim="Of every code of a float activation the significand, shifted, is its number in "
              "steps, and 0 for infinities and NaN, which are told.",
        cases={name: FORMATS[name] for name in ("fp16", "bf16")}, build=Significand,
        method="combinational",
        broken=(Broken("Cat(fraction, normal) & (~special)", "Cat(fraction, 1) & (~special)"),)),
    Property(
        name="aligned-integers", family="elements", module="hdl.aligner",
        claim="Every finite float is aligned to x / 2**E in steps of 2**(2 - A), rounded to the "
              "nearest, ties to even, and saturated, for every largest exponent E of its group "
              "that is not below its own.",
        cases={name: SETS[name] for name in ("w4a16_aligned", "mxfp4")}, build=Aligned,
        method="induction", depth=3,
        broken=(Broken("kept[:start].any()", "kept[start - 1]"),
                Broken("Mux(above[bits - 1], highest, above)", "above", "mxfp4"))),
]
