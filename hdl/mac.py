"""Micro-architectures of the multiply-accumulate, Σ x·q of the lanes of one element.

Each splits the work three ways: what the rows of a tile share, what its columns share, and what
every processing element does by itself.
"""

from functools import reduce
from operator import add

from amaranth import *
from amaranth.lib import data

from golden.parameters import ArrayParameters
from hdl.codes import code_shape, number, number_shape, significand
from hdl.compressor import BitHeap, FullAdders

__all__ = ["Mac", "Product", "ShiftAdd", "PairSum", "Shift", "Float", "mac"]


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
    uses : tuple of Block
        Blocks that :meth:`total` has instantiated.
    """

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
        """``acc + Σ x·q``, modulo the accumulator's width."""
        raise NotImplementedError

    def negative(self, plane: int) -> bool:
        """Whether weight bit ``plane`` counts negatively."""
        return number_shape(self.parameters.w_format).signed and plane == self.w_bits - 1


class Product(Mac):
    """Baseline: ``acc + Σ_l x_l * q_l`` with a multiplier for each lane."""

    def total(self, m, row, column, acc):
        return _tree([row[lane] * column[lane] for lane in range(self.parameters.lanes)]) + acc


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
        total = _tree(positive) + acc
        return total - _tree(negative) if negative else total


class PairSum(Mac):
    """One addend for each weight bit of each *pair* of lanes.

    Two lanes and one weight bit ``b`` of each contribute ``x0·q0[b] + x1·q1[b]``, which is one of
    0, x0, x1 and x0 + x1. The sum x0 + x1 is formed once for a row of the tile, the three select
    lines once for a column, so an element selects and adds. It adds in one compressor tree that
    takes the accumulator as one more addend, with a single carry-propagate adder at its end.
    """

    def __init__(self, parameters):
        super().__init__(parameters)
        pairs = parameters.lanes // 2
        self.row = data.StructLayout({
            "x":    self.x,
            "pair": data.ArrayLayout(signed(parameters.x_format.bits + 1), pairs),
        })
        self.column = data.ArrayLayout(data.ArrayLayout(data.StructLayout(
            {"first": 1, "second": 1, "both": 1}), self.w_bits), pairs)
        self.adders = FullAdders(parameters)

    @property
    def uses(self):
        return tuple(self.adders.blocks.values())

    def share_row(self, x):
        pairs = range(0, self.parameters.lanes, 2)
        sums = [(x[lane] + x[lane + 1])[:len(x[lane]) + 1] for lane in pairs]
        return Cat(x, *sums)

    def share_column(self, w):
        selects, weights = [], self.weights(w)
        for pair in zip(weights[::2], weights[1::2], strict=True):
            for first, second in zip(*map(Value.cast, pair), strict=True):
                selects += [first & ~second, second & ~first, first & second]
        return Cat(*selects)

    def total(self, m, row, column, acc):
        heap = BitHeap(self.parameters.sum_bits)
        for plane in range(self.w_bits):
            for pair, planes in enumerate(column):
                first, second, both = row.x[2 * pair], row.x[2 * pair + 1], row.pair[pair]
                wide = [Value.cast(x) for x in (first, second)]
                select = planes[plane]
                addend = Signal(signed(len(both)), name=f"addend_{pair}_{plane}")
                m.d.comb += addend.eq(
                    Cat(*wide[0], wide[0][-1]) & select.first.replicate(len(addend))
                    | Cat(*wide[1], wide[1][-1]) & select.second.replicate(len(addend))
                    | Value.cast(both) & select.both.replicate(len(addend)))
                heap.add(addend, shift=plane, negative=self.negative(plane))
        heap.add(acc.as_unsigned())
        return heap.total(m, self.adders)


class Shift(Mac):
    """DenseShift's: ``acc + Σ_l ±(x_l << s_l)``, a shift and a conditional negation for each lane.

    Weights are powers of two, never zero, so that one addend for each lane suffices. A negation is
    a complement, and one more, in a compressor tree with the accumulator. Source: DenseShift,
    arXiv 2208.09708.
    """

    def __init__(self, parameters):
        super().__init__(parameters)
        self.column = self.w
        self.adders = FullAdders(parameters)

    @property
    def uses(self):
        return tuple(self.adders.blocks.values())

    def share_column(self, w):
        return w

    def total(self, m, row, column, acc):
        heap = BitHeap(self.parameters.sum_bits)
        for lane in range(self.parameters.lanes):
            *shift, negate = Value.cast(column[lane])
            shifted = row[lane] << Cat(shift)
            addend = Signal(signed(len(shifted)), name=f"addend_{lane}")
            m.d.comb += addend.eq(shifted ^ negate.replicate(len(shifted)))
            heap.add(addend)
            heap.add(negate)
        heap.add(acc.as_unsigned())
        return heap.total(m, self.adders)


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
            m.d.comb += product.eq(_tree([*planes, *(-plane for plane in negative)]))
            addends.append(product << row[lane].shift)
        return _tree(addends) + acc


def _tree(addends: list) -> Value:
    """Sum by halves, so that the depth grows with the logarithm."""
    while len(addends) > 1:
        addends = [reduce(add, addends[i:i + 2]) for i in range(0, len(addends), 2)]
    return addends[0]


def mac(parameters: ArrayParameters) -> Mac:
    """Micro-architecture that the set names."""
    return {"product": Product, "shift_add": ShiftAdd, "pair_sum": PairSum, "shift": Shift,
            "float": Float}[parameters.mac](parameters)
