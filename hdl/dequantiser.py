"""Exact sums of a column become steps of a binary32 accumulator."""

from math import log2

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.formats import Format
from golden.parameters import FLOAT_LATENCY, SCALE_LATENCY, ArrayParameters
from hdl import float32
from hdl.block import Block, Use
from hdl.exact import Correction, Product, booth_digits
from hdl.float32 import FP32, ROUNDED, SIGNIFICAND, Exact
from hdl.scale import Scale

__all__ = ["Dequantiser"]


class Dequantiser(Block):
    """Dequantiser of a column.

    For each group of a row, with every rounding to the nearest, ties to even::

        exact = sum - zero * row_sum - x_zero * column_sum
        t     = fp32(exact)                  in units of one; NaN if ``bad``
        s     = fp32(scale * x_scale)
        p     = fp32(t * s)
        acc_next = fp32(acc + p)

    A pipeline that takes a sum in each cycle. ``scale`` and ``x_scale`` follow one cycle after
    their sum, ``acc`` ``parameters.dequantise_latency - 2`` cycles, and ``acc_next`` leaves in the
    cycle after that.

    Parameters
    ----------
    parameters : ArrayParameters
        Formats and group size.
    prefix : str
        Begins the names of a dequantiser of narrow weights only, in a set that also has wide ones.

    Members
    -------
    sum : In(signed(parameters.joined_bits))
        Σ x·q over the group.
    row_sum : In(signed(parameters.row_sum_bits))
        Σ x over the group; only if the weights have zero points, as the next two.
    row_sum_triple : In(signed(parameters.row_sum_bits + 2))
        3 · Σ x, which the columns share.
    zero : In(parameters.zero_bits)
        Zero point of the group.
    x_zero : In(signed(parameters.x_format.bits))
        Zero point of the activations; only if they have any, as ``column_sum``.
    column_sum : In(signed(parameters.column_sum_bits))
        Σ (q − zero) over the group.
    bad : In(1)
        An activation is infinite or NaN; only if they are floats.
    scale : In(parameters.scale_format.bits)
        Scale of the group; any code.
    x_scale : In(parameters.x_scale_format.bits)
        Scale of the activations; any code. Only if they have one by group.
    acc : In(32)
        Accumulator to add to, a code of binary32; not -0.
    acc_next : Out(32)
        Its successor.
    """

    def __init__(self, parameters: ArrayParameters, prefix: str = ""):
        self._p = p = parameters.replace(wide=False) if prefix else parameters
        members = {"sum": In(signed(p.joined_bits))}
        if p.max_zero:
            members |= {"row_sum": In(signed(p.row_sum_bits)),
                        "row_sum_triple": In(signed(p.row_sum_bits + 2)),
                        "zero": In(p.zero_bits)}
        if p.x_zero:
            members |= {"x_zero": In(signed(p.x_format.bits)),
                        "column_sum": In(signed(p.column_sum_bits))}
        if not p.x_format.is_integer:
            members["bad"] = In(1)
        members["scale"] = In(p.scale_format.bits)
        if p.x_scale_format:
            members["x_scale"] = In(p.x_scale_format.bits)
        members |= {"acc": In(FP32.bits), "acc_next": Out(FP32.bits)}

        self._correction = Correction(p, prefix) if p.max_zero or p.x_zero else None
        self._scale      = Scale(p) if p.x_scale_format else None
        # A power of two is no factor but an exponent.
        self._product    = Product(p, self._value_bits + 1, self._factor.man_bits + 1,
                                   prefix) if self._factor.man_bits else None
        used = (self._correction, self._scale, self._product)
        super().__init__(parameters, f"{prefix}dequantiser", members,
                         uses=tuple(block for block in used if block))

    @property
    def _factor(self) -> Format:
        """Format of what a group's sum is multiplied by."""
        return FP32 if self._p.x_scale_format else self._p.scale_format

    @property
    def _magnitude_bits(self) -> int:
        """Width of the magnitude of the greatest corrected sum."""
        x, low, high = self._p.x_format, *self._p.weight_range
        spread = x.high - x.low if self._p.x_zero else max(-x.low, x.high)
        return (self._p.group * spread * max(-low, high)).bit_length()

    @property
    def _value_bits(self) -> int:
        """Width of the magnitude that is multiplied."""
        return SIGNIFICAND if self._p.float_sums else self._magnitude_bits

    @property
    def _unit(self) -> int:
        """Logarithm of what a sum counts."""
        return int(log2(self._p.x_format.step) + log2(self._p.w_format.step))

    def elaborate(self, platform):
        m = Module()

        inputs = {name: getattr(self, name) for name in self.signature.members
                  if name not in ("scale", "x_scale", "acc", "acc_next")}
        scale = self.scale
        if self._scale:
            m.submodules.scale = product = Use(self._scale)
            m.d.comb += [product.scale.eq(scale), product.x_scale.eq(self.x_scale)]
            scale  = product.product
            inputs = self._delayed(m, inputs, SCALE_LATENCY)

        # Stage 0: the exact sum. A wide one becomes a number of binary32.
        exact = float32.named(m, "exact", self._corrected(m, inputs))
        if self._p.float_sums:
            value, pieces = self._float(m, exact, inputs["bad"])
            scale = self._delayed(m, {"later_scale": scale}, FLOAT_LATENCY)["later_scale"]
        else:
            value, pieces = self._integer(m, exact)
        value, *pieces = float32.later(m, "value", (value, *pieces))

        # Stages 1 and 2: multiply, then round.
        product = self._multiply(m, value, pieces, float32.unpack(m, scale, self._factor))
        if self._p.float_sums:
            product = float32.bounded(m, product)
        subnormal, overflow = self._extremes
        addend  = float32.registered(m, float32.round_exact(m, product, subnormal=subnormal,
                                                            overflow=overflow))

        # Stages 3 and 4: align and add; round.
        aligned = float32.align(m, addend, float32.unpack(m, self.acc, FP32))
        total   = float32.magnitude(m, float32.registered(m, float32.add(m, aligned)))
        total   = float32.round_exact(m, total, subnormal=subnormal, overflow=overflow)
        m.d.comb += self.acc_next.eq(float32.pack(m, total))

        return m

    @property
    def _extremes(self) -> "tuple[bool, bool]":
        """Whether a product or an accumulator can be subnormal, and too large for binary32.

        All are multiples of the smallest scale. An accumulator stays below ``2**25`` times the
        bound of the products: from there on a product is less than half its last place.
        """
        fmt = self._factor
        smallest = log2(fmt.step) + self._unit
        bound    = self._magnitude_bits + self._unit + fmt.high.bit_length() + log2(fmt.step)
        return smallest < 1 - FP32.bias, bound + SIGNIFICAND + 1 > FP32.bias + 1

    def _delayed(self, m, values, cycles):
        """Same values, by name, some cycles later."""
        for cycle in range(cycles):
            later = {name: Signal.like(value, name=f"{name}_{cycle + 1}", reset_less=True)
                     for name, value in values.items()}
            m.d.sync += [later[name].eq(value) for name, value in values.items()]
            values = later
        return values

    def _corrected(self, m, inputs):
        """Sum less what the zero points have added."""
        if not self._correction:
            return inputs["sum"]
        m.submodules.correction = correction = Use(self._correction)
        m.d.comb += [getattr(correction, name).eq(value) for name, value in inputs.items()
                     if name in correction.signature.members]
        return correction.exact

    def _integer(self, m, exact):
        """Sum with at most 24 significant bits, and its sign."""
        number = exact
        if (bits := self._magnitude_bits) > SIGNIFICAND:
            magnitude = float32.named(m, "magnitude", Mux(exact < 0, -exact, exact)[:bits])
            number    = float32.round_integer(m, magnitude)
        return number, [exact < 0]

    def _float(self, m, exact, bad):
        """Significand of the sum in binary32, two stages later, and its other pieces."""
        bits = max(self._magnitude_bits, SIGNIFICAND)
        magnitude = Signal(bits, reset_less=True)
        sign, nan = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            magnitude.eq(Mux(exact < 0, -exact, exact)),
            sign.eq(exact < 0),
            nan.eq(bad),
        ]
        top = bits - 1 + self._unit + FP32.bias
        number = float32.registered(m, float32.round_exact(m, Exact(
            sign=sign, exponent=C(top), word=magnitude, fill=C(0), cancelled=C(1),
            infinite=C(0), nan=nan)))
        return number.significand, [number.sign, number.scale, number.infinite, number.nan]

    def _multiply(self, m, value, pieces, scale):
        """Exact product of a number, whose magnitude is the value's, and its scale, a cycle later.

        The exponent is that of the scale until then.
        """
        word   = self._word(m, value, scale)
        least  = ROUNDED if self._p.float_sums else SIGNIFICAND
        word   = Cat(C(0, max(0, least - len(word))), word)
        fmt    = self._factor
        absent = value == 0
        if self._p.float_sums:
            negative, exponent, infinite, nan = pieces
            undefined = Mux(infinite, ~scale.significand.any(), scale.infinite & absent)
            # The word's highest bit weighs twice the product of the leading ones.
            return float32.registered(m, Exact(
                sign=negative ^ scale.sign, word=word,
                exponent=exponent + scale.scale - (fmt.bias - 1), fill=C(0), cancelled=C(0),
                infinite=scale.infinite | infinite, nan=scale.nan | nan | undefined))
        product = float32.registered(m, Exact(
            sign=pieces[0] ^ scale.sign, word=word, exponent=scale.scale, fill=C(0),
            cancelled=C(0), infinite=scale.infinite, nan=scale.nan | (scale.infinite & absent)))
        # The word's highest bit weighs 2**(scale.scale - fmt.bias + bits of the magnitude).
        offset  = self._magnitude_bits + self._unit - fmt.bias + FP32.bias
        largest = 2**fmt.exp_bits - (2 if fmt.specials == "ieee" else 1) + offset
        return Exact(**vars(product) | {
            "exponent": (product.exponent + offset)[:largest.bit_length()]})

    def _word(self, m, value, scale):
        """Magnitude of the value times the significand of the scale."""
        if not self._product:
            return Cat(Mux(value < 0, -value, value)[:self._value_bits], C(0, 1))
        m.submodules.product = product = Use(self._product)
        m.d.comb += [
            product.value.eq(value),
            Cat(product.single, product.double, product.minus).eq(
                Cat(*booth_digits(scale.significand))),
        ]
        return product.product
