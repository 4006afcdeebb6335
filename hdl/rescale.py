"""Accumulators times the activations' scales, in the output format."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.base_parameters import BaseParameters
from golden.formats import Format
from golden.parameters import RESCALE_LATENCY
from hdl import float32
from hdl.block import Block
from hdl.float32 import FP32, SIGNIFICAND, Exact, Float

__all__ = ["Rescale"]


class Rescale(Block):
    """One output lane: ``y = y_format(fp32(acc * scale))``.

    Both roundings are to the nearest, ties to even. A float format overflows to infinity and has
    one NaN; an integer saturates, and NaN becomes 0. The pipeline takes a number in each cycle
    that ``enable`` is high and stands still in others; ``y`` is valid ``LATENCY`` enabled cycles
    later.

    Parameters
    ----------
    parameters : BaseParameters
        Has the output format, ``y_format``.
    name : str
        Name of the block.
    y : Format, optional
        Output format, if another than the set's.

    Members
    -------
    enable : In(1)
        The pipeline moves.
    acc : In(32)
        Accumulator; any code of binary32.
    scale : In(32)
        Scale of the activations; any code of binary32.
    y : Out(y bits)
        Output code.
    """

    LATENCY = RESCALE_LATENCY

    def __init__(self, parameters: BaseParameters, name: str = "rescale", y: Format | None = None):
        self._format = y or parameters.y_format
        super().__init__(parameters, name, {
            "enable": In(1),
            "acc":    In(FP32.bits),
            "scale":  In(FP32.bits),
            "y":      Out(self._format.bits),
        })

    def elaborate(self, platform):
        m = Module()

        product, limit = self._multiply(m, *(float32.unpack(m, code, FP32)
                                             for code in (self.acc, self.scale)))
        number = float32.registered(m, float32.round_exact(m, product, limit=limit), self.enable)

        narrow = _to_integer if self._format.is_integer else _to_float
        y = Signal.like(self.y, reset_less=True)
        with m.If(self.enable):
            m.d.sync += y.eq(narrow(m, number, self._format))
        m.d.comb += self.y.eq(y)

        return m

    def _multiply(self, m, a, b):
        """Exact product, three stages later, and its exponent less one."""
        half  = SIGNIFICAND // 2
        parts = [Signal(SIGNIFICAND + half, name=name, reset_less=True)
                 for name in ("low", "high")]
        word  = Signal(2 * SIGNIFICAND, reset_less=True)
        with m.If(self.enable):
            m.d.sync += [
                parts[0].eq(a.significand * b.significand[:half]),
                parts[1].eq(a.significand * b.significand[half:]),
                word.eq(parts[0] + parts[1].shift_left(half)),
            ]

        # The word's highest bit weighs twice the product of the leading ones.
        pieces = Exact(sign=a.sign ^ b.sign, exponent=a.scale + b.scale - (FP32.bias - 1),
                       word=C(0), fill=C(0), cancelled=C(0), infinite=a.infinite | b.infinite,
                       nan=a.nan | b.nan | (a.infinite & ~b.significand.any())
                       | (b.infinite & ~a.significand.any()))
        pieces = float32.registered(m, float32.registered(m, pieces, self.enable), self.enable)

        pieces = float32.bounded(m, Exact(**vars(pieces) | {"word": word}))
        limit  = Signal(len(pieces.exponent), reset_less=True)
        with m.If(self.enable):
            m.d.sync += limit.eq(pieces.exponent - 1)
        return float32.registered(m, pieces, self.enable), limit


def _to_float(m: Module, number: Float, fmt: Format) -> Value:
    """Round to a float format of at most binary32's range and precision."""
    if fmt == FP32:
        return float32.pack(m, number)
    exponent = float32.named(m, "exponent", number.exponent - (FP32.bias - fmt.bias))
    word     = number.significand
    if fmt.bias < FP32.bias:
        small    = float32.named(m, "small", exponent < 1)
        word     = float32.shift_right(m, word, Mux(small, 1 - exponent, 0)[:FP32.exp_bits])
        exponent = Mux(small, 0, exponent)
    drop     = FP32.man_bits - fmt.man_bits
    body     = float32.named(m, "rounded", Cat(word[drop:-1], exponent[:FP32.exp_bits])
                     + float32.round_even(word, drop))
    infinite = number.infinite | (body >= fmt.infinity)
    magnitude = Mux(number.nan, fmt.nan, Mux(infinite, fmt.infinity, body))
    return Cat(magnitude[:fmt.bits - 1], number.sign & ~number.nan)


def _to_integer(m: Module, number: Float, fmt: Format) -> Value:
    """Round to a signed integer, saturate."""
    # The highest bit of the significand goes to the place that only the lowest integer needs.
    large     = number.exponent >= FP32.bias + fmt.man_bits
    amount    = FP32.bias + fmt.man_bits - number.exponent
    word      = float32.shift_right(m, number.significand, amount[:FP32.exp_bits])
    drop      = SIGNIFICAND - fmt.bits
    rounded   = float32.named(m, "rounded", word[drop:] + float32.round_even(word, drop))
    large     = float32.named(m, "large", number.infinite | large | rounded[fmt.man_bits])
    magnitude = Mux(large, fmt.high + number.sign, rounded)
    return Mux(number.nan, 0, Mux(number.sign, -magnitude, magnitude))[:fmt.bits]
