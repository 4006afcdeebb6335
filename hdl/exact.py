"""Exact integer arithmetic of the dequantiser, in compressor trees."""

from itertools import zip_longest

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block
from hdl.compressor import BitHeap, FullAdders

__all__ = ["Correction", "booth_digits", "Product"]


class Correction(Block):
    """Combinational ``exact = sum - zero * row_sum - x_zero * column_sum``, by shift and add.

    Parameters
    ----------
    parameters : ArrayParameters
        Its weights or activations have zero points.
    prefix : str
        Begins the block's name.

    Members
    -------
    sum : In(signed(parameters.joined_bits))
    row_sum : In(signed(parameters.row_sum_bits))
        Σ x; only if the weights have zero points, as the next two.
    row_sum_triple : In(signed(parameters.row_sum_bits + 2))
        3 · Σ x.
    zero : In(parameters.zero_bits)
        At most ``parameters.max_zero``.
    x_zero : In(signed(parameters.x_format.bits))
        Only if the activations have zero points, as ``column_sum``.
    column_sum : In(signed(parameters.column_sum_bits))
        Σ (q − zero).
    exact : Out(signed(parameters.corrected_bits))
    """

    def __init__(self, parameters: ArrayParameters, prefix: str = ""):
        self._adders = FullAdders(parameters)
        members = {"sum": In(signed(parameters.joined_bits))}
        if parameters.max_zero:
            members |= {"row_sum": In(signed(parameters.row_sum_bits)),
                        "row_sum_triple": In(signed(parameters.row_sum_bits + 2)),
                        "zero": In(parameters.zero_bits)}
        if parameters.x_zero:
            members |= {"x_zero": In(signed(parameters.x_format.bits)),
                        "column_sum": In(signed(parameters.column_sum_bits))}
        super().__init__(parameters, f"{prefix}correction", members | {
            "exact": Out(signed(parameters.corrected_bits))})

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        heap = BitHeap(len(self.exact))
        heap.add(self.sum)
        if self.parameters.max_zero:
            for place, multiple in self._multiples():
                heap.add(multiple, shift=place, negative=True)
        if self.parameters.x_zero:
            for place, bit in enumerate(Value.cast(self.x_zero)):
                addend = Mux(bit, self.column_sum, 0)
                heap.add(addend, shift=place, negative=place < len(self.x_zero) - 1)
        # There is time enough for the smallest adder.
        m.d.comb += self.exact.eq(heap.total(m, self._adders, rippled=len(self.exact)))

        return m


    def _multiples(self):
        """Multiples of the row sum that add up to its product with the zero point, and shifts.

        Each is of two bits of the zero point. A highest bit that excludes all others, as in 16,
        goes with the two before.
        """
        multiples = []
        bits = list(self.zero)
        alone = bits.pop() if self.parameters.max_zero == 1 << len(bits) - 1 else None
        for place in range(0, len(bits), 2):
            low, high = Cat(bits[place:place + 2], C(0, 1))[:2]
            multiples.append((place, (Mux(low & ~high, self.row_sum, 0)
                                      | Mux(high & ~low, self.row_sum.shift_left(1), 0)
                                      | Mux(low & high, self.row_sum_triple, 0))))
        if alone is not None:
            place, multiple = multiples.pop()
            whole = Mux(alone, self.row_sum.shift_left(len(bits) - place), 0)
            multiples.append((place, multiple | whole))
        return multiples


def booth_digits(factor: Value) -> "tuple[Value, Value, Value]":
    """Radix-4 Booth digits ``-2·f[i+1] + f[i] + f[i-1]`` of an unsigned factor.

    Returns
    -------
    single, double, minus : unsigned
        Whether each digit is ±1, is ±2, and negative if not 0; the lowest digit first. The highest
        digit is never negative, and never 2 if the factor's width is even: no bits for that.
    """
    single, double, minus = [], [], []
    bits = Cat(C(0, 1), factor, C(0, 2))
    for place in range(0, len(factor) + 1, 2):
        below, here, above = bits[place:place + 3]
        single.append(below ^ here)
        double.append((above & ~here & ~below) | (~above & here & below))
        minus.append(above)
    return Cat(*single), Cat(*double)[:(len(factor) + 1) // 2], Cat(*minus)[:len(factor) // 2]


class Product(Block):
    """Combinational ``product = abs(value) * factor``.

    Each Booth digit of the factor selects the value, its double or nothing. A negative value
    changes the sign of all digits, which saves the adder that its magnitude would take.

    Parameters
    ----------
    parameters : ArrayParameters
    value_bits, factor_bits : int
        Widths; ``-2**(value_bits - 1)`` is not served.
    prefix : str
        Begins the block's name.

    Members
    -------
    value : In(signed(value_bits))
    single : In(factor_bits // 2 + 1)
    double : In((factor_bits + 1) // 2)
    minus : In(factor_bits // 2)
        The factor: :func:`booth_digits`.
    product : Out(value_bits - 1 + factor_bits)
    """

    def __init__(self, parameters: ArrayParameters, value_bits: int, factor_bits: int,
                 prefix: str = ""):
        self._adders = FullAdders(parameters)
        super().__init__(parameters, f"{prefix}product", {
            "value":   In(signed(value_bits)),
            "single":  In(factor_bits // 2 + 1),
            "double":  In((factor_bits + 1) // 2),
            "minus":   In(factor_bits // 2),
            "product": Out(value_bits - 1 + factor_bits),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        heap = BitHeap(len(self.product))
        digits = zip_longest(self.single, self.double, self.minus, fillvalue=C(0))
        for i, (single, double, minus) in enumerate(digits):
            minus ^= self.value[-1]
            row = Signal(signed(len(self.value) + 1), name=f"row_{i}")
            m.d.comb += row.eq(
                (Mux(single, self.value, 0) | Mux(double, self.value.shift_left(1), 0))
                ^ minus.replicate(len(row)))
            # The complement lacks one.
            heap.add(row, shift=2 * i)
            heap.add(minus, shift=2 * i)
        # The lower half of the rows is there first and may take longer.
        m.d.comb += self.product.eq(heap.total(m, self._adders, rippled=len(self.product) // 2))

        return m
