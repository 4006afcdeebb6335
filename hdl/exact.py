"""Exact integer arithmetic of the dequantiser, in compressor trees."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block
from hdl.compressor import BitHeap, FullAdders

__all__ = ["Correction", "Product"]


class Correction(Block):
    """Combinational ``exact = sum - zero * row_sum``, by shift and add.

    Parameters
    ----------
    parameters : ArrayParameters
        Its weights have zero points.

    Members
    -------
    sum : In(signed(parameters.sum_bits))
    row_sum : In(signed(parameters.row_sum_bits))
    zero : In(parameters.w_format.zero_bits)
        At most ``w_format.max_zero``.
    exact : Out(signed(parameters.corrected_bits))
    """

    def __init__(self, parameters: ArrayParameters):
        # The highest bit excludes the next, so that the two share an addend.
        assert parameters.w_format.max_zero == 1 << parameters.w_format.zero_bits - 1
        self._adders = FullAdders(parameters)
        super().__init__(parameters, "correction", {
            "sum":     In(signed(parameters.sum_bits)),
            "row_sum": In(signed(parameters.row_sum_bits)),
            "zero":    In(parameters.w_format.zero_bits),
            "exact":   Out(signed(parameters.corrected_bits)),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        *low, high, top = (Mux(bit, self.row_sum, 0).shift_left(place)
                           for place, bit in enumerate(self.zero))
        heap = BitHeap(len(self.exact))
        heap.add(self.sum)
        for addend in (*low, high | top):
            heap.add(addend, negative=True)
        m.d.comb += self.exact.eq(heap.total(m, self._adders))

        return m


class Product(Block):
    """Combinational ``product = abs(value) * factor``.

    The factor's radix-4 Booth digits, ``-2·f[i+1] + f[i] + f[i-1]``, select the value, its
    double or nothing. A negative value changes the sign of all digits, which saves the adder
    that its magnitude would take.

    Parameters
    ----------
    parameters : ArrayParameters
    value_bits, factor_bits : int
        Widths; ``-2**(value_bits - 1)`` is not served.

    Members
    -------
    value : In(signed(value_bits))
    factor : In(factor_bits)
    product : Out(value_bits - 1 + factor_bits)
    """

    def __init__(self, parameters: ArrayParameters, value_bits: int, factor_bits: int):
        self._adders = FullAdders(parameters)
        super().__init__(parameters, "product", {
            "value":   In(signed(value_bits)),
            "factor":  In(factor_bits),
            "product": Out(value_bits - 1 + factor_bits),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        heap = BitHeap(len(self.product))
        bits = Cat(C(0, 1), self.factor, C(0, 2))
        for place in range(0, len(self.factor) + 1, 2):
            below, here, above = bits[place:place + 3]
            digit  = Signal(signed(len(self.value) + 1), name=f"digit_{place}")
            minus  = Signal(name=f"minus_{place}")
            single = below ^ here
            double = (above & ~here & ~below) | (~above & here & below)
            m.d.comb += [
                minus.eq(above ^ self.value[-1]),
                digit.eq((Mux(single, self.value, 0) | Mux(double, self.value.shift_left(1), 0))
                         ^ minus.replicate(len(digit))),
            ]
            # The complement lacks one.
            heap.add(digit, shift=place)
            heap.add(minus, shift=place)
        m.d.comb += self.product.eq(heap.total(m, self._adders))

        return m
