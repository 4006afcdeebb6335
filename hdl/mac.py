"""Micro-architectures of the multiply-accumulate, Σ x·q of the lanes of one element.

Each splits the work three ways: what the rows of a tile share, what its columns share, and what
every processing element does by itself.
"""

from amaranth import *
from amaranth.lib import data

from golden.parameters import ArrayParameters
from hdl.block import Use
from hdl.codes import code_shape, number, number_shape, significand
from hdl.compressor import BitHeap, FullAdders, halves
from hdl.select import Select, lines

__all__ = ["Mac", "Product", "ShiftAdd", "BitPlane", "Radix4", "PairSum", "Shift", "Float", "mac"]


class Mac:
    """Multiply-accumulate of ``lanes`` activations and weights.

    Parameters
    ----------
    parameters : ArrayParameters
        Formats, lanes and widths.

    Attributes
    ----------
    x, w : ArrayLayout
        Codes of a row's activations and of a column's weights, as they travel between tiles.
    row, column : Layout
        What a tile's row or column hands to its elements; the activations as they are, and the
        weights as integers, if a micro-architecture does not say otherwise.
    w_bits : int
        Width of a weight as an integer.
    inverted : bool
        Whether the accumulator holds the complement of the sum, −1 − Σ x·q, and so begins with −1.
    uses : tuple of Block
        Blocks that :meth:`total` has instantiated.
    """

    inverted = False
    uses = ()

    def __init__(self, parameters: ArrayParameters):
        p = self.parameters = parameters
        self.x = self.row = data.ArrayLayout(code_shape(p.x_format), p.lanes)
        self.w = data.ArrayLayout(code_shape(p.w_format), p.lanes)
        self.column = data.ArrayLayout(number_shape(p.w_format), p.lanes)
        self.w_bits = number_shape(p.w_format).width

    def share_row(self, x):
        """Expression of layout ``row`` for a row's activations."""
        return x

    def share_column(self, w):
        """Expression of layout ``column`` for a column's weights."""
        return Cat(self.weights(w))

    def weights(self, w):
        """Weights of a column as integers."""
        return [number(code, self.parameters.w_format) for code in w]

    def total(self, m: Module, row, column, acc) -> Value:
        """The accumulator's next value if the group goes on, modulo its width.

        ``acc + Σ x·q``, or ``acc − Σ x·q`` if ``inverted``.
        """
        raise NotImplementedError

    def negative(self, plane: int) -> bool:
        """Whether weight bit ``plane`` counts negatively."""
        return number_shape(self.parameters.w_format).signed and plane == self.w_bits - 1


class Product(Mac):
    """Baseline: ``acc + Σ_l x_l * q_l`` with a multiplier for each lane."""

    def total(self, m, row, column, acc):
        return halves([row[lane] * column[lane] for lane in range(self.parameters.lanes)]) + acc


class ShiftAdd(Mac):
    """MixPE's shift&add: ``acc + Σ_l Σ_b ±q_l[b] · (x_l << b)``, one addend for each weight bit.

    The top bit of a signed weight counts negatively.
    """

    def total(self, m, row, column, acc):
        positive, negative = [], []
        for lane in range(self.parameters.lanes):
            bits = Value.cast(column[lane])
            for plane, bit in enumerate(bits):
                addend = Mux(bit, row[lane], C(0, 1)).as_signed() << plane
                (negative if self.negative(plane) else positive).append(addend)
        total = halves(positive) + acc
        return total - halves(negative) if negative else total


class Tree(Mac):
    """Micro-architectures that add everything, the accumulator too, in one bit heap.

    The heap is a compressor tree with one carry-propagate adder at its end, or a tree of
    carry-propagate adders (parameter ``adders``).
    """

    def __init__(self, parameters):
        super().__init__(parameters)
        self.adders = FullAdders(parameters) if parameters.adders == "compressors" else None

    @property
    def uses(self):
        return tuple(self.adders.blocks.values()) if self.adders else ()

    def total(self, m, row, column, acc):
        heap = BitHeap(self.parameters.sum_bits)
        self.add(m, heap, row, column)
        heap.add(acc.as_unsigned())
        return heap.total(m, self.adders)

    def add(self, m: Module, heap: BitHeap, row, column):
        """Add ``Σ x·q`` to the heap, or subtract it if ``inverted``."""
        raise NotImplementedError

    def selected(self, m: Module, place: str, chosen: Value, values) -> Value:
        """The value of three that a line of ``chosen`` selects, or 0; signed."""
        m.submodules[f"select_{place}"] = select = Use(self.select)
        m.d.comb += select.lines.eq(chosen)
        m.d.comb += [port.eq(value) for port, value
                     in zip((select.a, select.b, select.c), values, strict=True)]
        return (~select.y).as_signed()


class BitPlane(Tree):
    """Bit planes first: ``acc − Σ_b ±2^b · (Σ_l q_l[b] · x_l)``, an addend for each weight bit.

    That of :class:`ShiftAdd` in a tree. Subtracting makes an inverted AND of each product bit.
    """

    inverted = True

    def add(self, m, heap, row, column):
        for lane in range(self.parameters.lanes):
            for plane, bit in enumerate(Value.cast(column[lane])):
                x = row[lane].as_unsigned()
                addend = (x & bit.replicate(len(x))).as_signed()
                heap.add(addend, shift=plane, negative=not self.negative(plane))


class Radix4(Tree):
    """Digits of two weight bits: ``acc − Σ_l Σ_j 4^j · (d_l[j] · x_l)``.

    A digit selects one of x, 2x and 3x or nothing; the top digit of a signed weight one of x, −2x
    and −x. The multiples are formed once for a row, the select lines once for a column. An odd
    bit at the top is a plane of its own.
    """

    inverted = True

    def __init__(self, parameters):
        super().__init__(parameters)
        bits, lanes = parameters.x_format.bits, parameters.lanes
        self.digits = range(0, self.w_bits - 1, 2)
        self.row = data.StructLayout({
            "x":      self.x,
            "triple": data.ArrayLayout(signed(bits + 2), lanes),
            "minus":  data.ArrayLayout(signed(bits + 1), lanes),
        })
        self.column = data.ArrayLayout(data.StructLayout({
            "lines": data.ArrayLayout(3, len(self.digits)), "odd": self.w_bits % 2}), lanes)
        self.select = Select(parameters, bits + 2)

    @property
    def uses(self):
        return (*super().uses, *([self.select] if self.digits else []))

    def share_row(self, x):
        triples = [(value + (value << 1))[:len(value) + 2] for value in x]
        return Cat(x, *triples, *((-value)[:len(value) + 1] for value in x))

    def share_column(self, w):
        found = []
        for weight in map(Value.cast, self.weights(w)):
            for low in self.digits:
                found += lines(weight[low], weight[low + 1])
            found += [weight[-1]] if self.w_bits % 2 else []
        return Cat(*found)

    def add(self, m, heap, row, column):
        for lane in range(self.parameters.lanes):
            x, minus = Value.cast(row.x[lane]).as_signed(), row.minus[lane]
            for chosen, low in zip(column[lane].lines, self.digits, strict=True):
                signed_top = self.negative(low + 1)
                multiples = (x, minus << 1, minus) if signed_top else (x, x << 1, row.triple[lane])
                addend = self.selected(m, f"{lane}_{low}", chosen, multiples)
                heap.add(addend, shift=low, negative=True)
            if self.w_bits % 2:
                top = self.w_bits - 1
                addend = (x.as_unsigned() & column[lane].odd.replicate(len(x))).as_signed()
                heap.add(addend, shift=top, negative=not self.negative(top))


class PairSum(Tree):
    """One addend for each weight bit of each *pair* of lanes.

    Two lanes and one weight bit ``b`` of each contribute ``x0·q0[b] + x1·q1[b]``, which is one of
    0, x0, x1 and x0 + x1. The sum x0 + x1 is formed once for a row of the tile, the three select
    lines once for a column, so an element selects and adds.
    """

    inverted = True

    def __init__(self, parameters):
        super().__init__(parameters)
        pairs, bits = parameters.lanes // 2, parameters.x_format.bits
        self.row = data.StructLayout({
            "x":    self.x,
            "pair": data.ArrayLayout(signed(bits + 1), pairs),
        })
        self.column = data.ArrayLayout(data.ArrayLayout(3, self.w_bits), pairs)
        self.select = Select(parameters, bits + 1)

    @property
    def uses(self):
        return (*super().uses, self.select)

    def share_row(self, x):
        pairs = range(0, self.parameters.lanes, 2)
        sums = [(x[lane] + x[lane + 1])[:len(x[lane]) + 1] for lane in pairs]
        return Cat(x, *sums)

    def share_column(self, w):
        found, weights = [], self.weights(w)
        for pair in zip(weights[::2], weights[1::2], strict=True):
            for first, second in zip(*map(Value.cast, pair), strict=True):
                found += lines(first, second)
        return Cat(*found)

    def add(self, m, heap, row, column):
        for pair, planes in enumerate(column):
            values = row.x[2 * pair], row.x[2 * pair + 1], row.pair[pair]
            for plane in range(self.w_bits):
                addend = self.selected(m, f"{pair}_{plane}", planes[plane], values)
                heap.add(addend, shift=plane, negative=not self.negative(plane))


class Shift(Tree):
    """DenseShift's: ``acc + Σ_l ±(x_l << s_l)``, a shift and a conditional negation for each lane.

    Weights are powers of two, never zero, so that one addend for each lane suffices. A negation is
    a complement, and one more. Source: DenseShift, arXiv 2208.09708.
    """

    def __init__(self, parameters):
        super().__init__(parameters)
        self.column = self.w

    def share_column(self, w):
        return w

    def add(self, m, heap, row, column):
        for lane in range(self.parameters.lanes):
            *shift, negate = Value.cast(column[lane])
            shifted = row[lane] << Cat(shift)
            addend = Signal(signed(len(shifted)), name=f"addend_{lane}")
            m.d.comb += addend.eq(shifted ^ negate.replicate(len(shifted)))
            heap.add(addend)
            heap.add(negate)


class Float(Mac):
    """MixPE's W4A16: ``acc + Σ_l (q_l · significand_l) << shift_l``, exact.

    The product of the significand and an integer is formed by shift and add; the exponent, which
    the product shares, shifts it to its place in a fixed-point accumulator that holds every group.
    Infinities and NaN add nothing here; :class:`hdl.row_sum.RowSum` finds them.
    """

    def __init__(self, parameters):
        super().__init__(parameters)
        fmt = parameters.x_format
        self.row = data.ArrayLayout(data.StructLayout({
            "significand": signed(fmt.man_bits + 2),
            "shift":       fmt.exp_bits,
        }), parameters.lanes)

    def share_row(self, x):
        return Cat(Cat(significand(code, self.parameters.x_format)[:2]) for code in x)

    def total(self, m, row, column, acc):
        addends = []
        for lane in range(self.parameters.lanes):
            x, weight = row[lane].significand, Value.cast(column[lane])
            planes = [Mux(bit, x, C(0, 1)).as_signed() << plane for plane, bit in enumerate(weight)]
            negative = [planes.pop()] if self.negative(self.w_bits - 1) else []
            product = Signal(signed(len(x) + self.w_bits), name=f"product_{lane}")
            m.d.comb += product.eq(halves([*planes, *(-plane for plane in negative)]))
            addends.append(product << row[lane].shift)
        return halves(addends) + acc


def mac(parameters: ArrayParameters) -> Mac:
    """Micro-architecture that the set names."""
    return {"product": Product, "shift_add": ShiftAdd, "bit_plane": BitPlane, "radix4": Radix4,
            "pair_sum": PairSum, "shift": Shift, "float": Float}[parameters.mac](parameters)
