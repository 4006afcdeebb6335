"""Second pass over a row of the exact unit: an element's exponent, and the sum of all."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import BaselineParameters
from hdl.block import Block
from hdl.codes import number, number_shape
from hdl.compressor import BitHeap, FullAdders
from hdl.float32 import named
from hdl.softmax.keys import is_masked

__all__ = ["LATENCY", "Exponent", "ExponentTotal", "element_layout"]

#: Cycles from a key to its exponent.
LATENCY = 2

#: Binary places of the difference of two fp16 numbers, and those above its point that count.
_X_POINT, _WHOLE_BITS = 24, 5


def element_layout(parameters: BaselineParameters) -> data.StructLayout:
    """Layout of what an element keeps of its exponent for the division.

    For an integer output that is the exponent. For fp16, whose quotients need few digits but begin
    anywhere, it is ``value * 2**(exp_bits - value_bits - shift)``, the bits of ``value`` that the
    shift cuts being 0; ``value`` is 0 or at least ``2**(value_bits - 1)``, less those bits.
    """
    p = parameters
    if p.y_format.is_integer:
        return data.StructLayout({"exponent": p.exp_bits + 1})
    return data.StructLayout({"value": p.value_bits + 1, "shift": range(p.exp_bits + 1)})


class Exponent(Block):
    """Exponent of one element in each cycle, :func:`golden.exact_softmax.exponents` to the bit.

    First the exact distance from the maximum and its product with log2 e, of whose constant each
    signed digit adds or subtracts once; after a register the table's entry less the interpolation,
    in one compressor tree, and the shift. Never waits; latency 2 cycles.

    Parameters
    ----------
    parameters : BaselineParameters

    Members
    -------
    key : In(16)
        Of the logit; that of a masked element has the exponent 0.
    maximum : In(signed(41))
        The row's, in units of 2**-24; at least the key's number.
    invalid : In(1)
        The exponent is 0.
    exponent : Out(exp_bits + 1)
    element : Out(element_layout(parameters))
        Equal to ``exponent``.
    """

    def __init__(self, parameters: BaselineParameters):
        p = parameters
        self._adders = FullAdders(p)
        super().__init__(p, "exponent", {
            "key": In(p.x_format.bits), "maximum": In(number_shape(p.x_format)), "invalid": In(1),
            "exponent": Out(p.exp_bits + 1), "element": Out(element_layout(p)),
        })

    @property
    def uses(self):
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        # From 32 on the exponent is 0.
        opposite = self.key ^ (1 << p.x_format.bits - 1)
        distance = named(m, "distance", (self.maximum + number(opposite, p.x_format))[:-1])
        near     = ~distance[_X_POINT + _WHOLE_BITS:].any()
        shown    = near & ~is_masked(self.key, p.x_format) & ~self.invalid
        u        = distance[_X_POINT - p.distance_point:_X_POINT + _WHOLE_BITS]
        heap     = BitHeap(len(u) + p.log2_e.bit_length())
        for shift, negative in _signed_digits(p.log2_e):
            heap.add(u, shift=shift, negative=negative)
        product  = heap.total(m, self._adders, "product")
        v, v_shown = Signal(len(product) - p.log2_e_point, reset_less=True), Signal(reset_less=True)
        m.d.sync += [v.eq(product[p.log2_e_point:]), v_shown.eq(shown)]

        power  = self._power(m, v[:p.distance_point])
        value  = named(m, "value", power & v_shown.replicate(len(power)))
        shift  = v[p.distance_point:]
        places = p.exp_bits - p.value_bits
        m.d.sync += self.exponent.eq(Cat(C(0, places), value) >> shift)
        if p.y_format.is_integer:
            m.d.comb += self.element.exponent.eq(self.exponent)
        else:
            left = Cat(shift <= places + bit for bit in range(len(value)))  # after the shift
            m.d.sync += [self.element.value.eq(value & left), self.element.shift.eq(shift)]

        return m

    def _power(self, m, fraction):
        """2**-fraction by interpolation."""
        p = self.parameters
        steps = [high - low for high, low in zip(p.table, p.table[1:], strict=False)]
        width = max(steps).bit_length()
        entries = [high << width | step for high, step in zip(p.table, steps, strict=False)]
        rest  = fraction[:p.rest_bits]
        entry = named(m, "entry", _chosen(entries, fraction[p.rest_bits:],
                                          width + p.value_bits + 1))

        # The product is cut before it is subtracted, so that the difference is rounded up.
        heap = BitHeap(p.value_bits + 1 + p.rest_bits)
        heap.constant += (1 << p.rest_bits) - 1
        heap.add(entry[width:], shift=p.rest_bits)
        for place, bit in enumerate(rest):
            heap.add(entry[:width] & bit.replicate(width), shift=place, negative=True)
        return heap.total(m, self._adders, "power")[p.rest_bits:]


def _chosen(entries, address, width):
    """Entry at an address of a table, as a tree of choices."""
    if len(entries) == 1:
        return C(entries[0], width)
    half = len(entries) // 2
    return Mux(address[-1], _chosen(entries[half:], address[:-1], width),
               _chosen(entries[:half], address[:-1], width))


def _signed_digits(factor: int) -> list[tuple[int, bool]]:
    """Places of the digits of a factor that are not 0, and whether they are -1; no two adjacent."""
    digits, place = [], 0
    while factor:
        if factor & 1:
            negative = factor & 3 == 3
            digits.append((place, negative))
            factor += 1 if negative else -1
        factor, place = factor >> 1, place + 1
    return digits


class ExponentTotal(Block):
    """Sum of a row's exponents, W of them in each cycle. Exact; never waits; latency 2 cycles.

    Parameters
    ----------
    parameters : BaselineParameters

    Members
    -------
    i : In(ArrayLayout(exp_bits + 1, W))
    i_valid, i_last : In(1)
    o : Out(sum_bits)
    o_valid : Out(1)
        The row's last exponents are in the sum.
    """

    def __init__(self, parameters: BaselineParameters):
        p = parameters
        self._adders = FullAdders(p)
        super().__init__(p, "exponent_total", {
            "i": In(data.ArrayLayout(p.exp_bits + 1, p.width)), "i_valid": In(1), "i_last": In(1),
            "o": Out(p.sum_bits), "o_valid": Out(1),
        })

    @property
    def uses(self):
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        heap = BitHeap(p.exp_bits + 1 + (p.width - 1).bit_length())
        for lane in range(p.width):
            heap.add(self.i[lane])
        word = Signal(heap.width, reset_less=True)
        valid, last, first = Signal(), Signal(), Signal(init=1)
        m.d.sync += [
            word.eq(heap.total(m, self._adders)),
            valid.eq(self.i_valid),
            last.eq(self.i_last),
            self.o_valid.eq(valid & last),
        ]
        with m.If(valid):
            m.d.sync += [self.o.eq(Mux(first, 0, self.o) + word), first.eq(last)]

        return m
