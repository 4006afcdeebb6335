"""Pieces of binary32 arithmetic, all combinational.

A :class:`Float` is a code taken to pieces; :func:`add` and multipliers make an :class:`Exact` of
it, which :func:`round_exact` turns into the next :class:`Float`. Roundings are to the nearest,
ties to even; subnormal numbers and signed zeros are kept.
"""

from dataclasses import dataclass

from amaranth import *

from golden.formats import FORMATS, Format

__all__ = ["FP32", "SIGNIFICAND", "named", "registered", "Float", "Exact", "unpack", "pack", "add",
           "round_exact", "round_even", "round_integer", "leading_zeros", "shift_right"]

FP32 = FORMATS["fp32"]

#: Width of a significand with its leading one.
SIGNIFICAND = FP32.man_bits + 1


def named(m: Module, name: str, value: Value) -> Signal:
    """Signal that equals ``value``; an expression used twice would be written twice."""
    signal = Signal.like(value, name=name)
    m.d.comb += signal.eq(value)
    return signal


def registered(m: Module, pieces: "Float | Exact", enable: Value = C(1)) -> "Float | Exact":
    """Same number one enabled cycle later."""
    later = {name: Signal.like(value, name=name, reset_less=True)
             for name, value in vars(pieces).items()}
    with m.If(enable):
        m.d.sync += [signal.eq(getattr(pieces, name)) for name, signal in later.items()]
    return type(pieces)(**later)


@dataclass(frozen=True)
class Float:
    """A floating-point number in pieces.

    Attributes
    ----------
    sign : unsigned(1)
    exponent : unsigned
        As encoded.
    significand : unsigned
        With the leading one, which only a normal number has.
    infinite, nan : unsigned(1)
        The other pieces but the sign mean nothing then; ``nan`` overrules ``infinite``.
    """

    sign: Value
    exponent: Value
    significand: Value
    infinite: Value
    nan: Value

    @property
    def scale(self) -> Value:
        """Exponent to calculate with: that of subnormal numbers is 1."""
        return Cat(self.exponent[0] | ~self.significand[-1], self.exponent[1:])


@dataclass(frozen=True)
class Exact:
    """A result before its rounding, ``word * 2**(exponent - bias - len(word) + 1)``.

    Attributes
    ----------
    sign : unsigned(1)
    exponent : unsigned
        That of the word's highest bit, at least 1.
    word : unsigned
        Magnitude; its lowest bit also stands for ones below it.
    fill : unsigned(1)
        Continues the word without end: with 1 the magnitude is ``word + 1``. Only where the three
        lowest bits are ones and the highest is not.
    cancelled : unsigned(1)
        Whether a zero is +0 whatever the sign.
    infinite, nan : unsigned(1)
        As in :class:`Float`.
    """

    sign: Value
    exponent: Value
    word: Value
    fill: Value
    cancelled: Value
    infinite: Value
    nan: Value


def unpack(m: Module, code: Value, fmt: Format) -> Float:
    """Take a code of an IEEE format to pieces."""
    fraction, exponent = code[:fmt.man_bits], code[fmt.man_bits:-1]
    special = named(m, "special", exponent.all())
    quiet   = named(m, "quiet", fraction.any())
    return Float(sign=code[-1], exponent=exponent, significand=Cat(fraction, exponent.any()),
                 infinite=special & ~quiet, nan=special & quiet)


def pack(m: Module, number: Float) -> Value:
    """Encode in binary32, NaN in the canonical way."""
    special = named(m, "special", number.infinite | number.nan)
    return Cat(Mux(special, number.nan.shift_left(FP32.man_bits - 1), number.significand[:FP32.man_bits]),
               number.exponent | special.replicate(FP32.exp_bits), number.sign & ~number.nan)


def add(m: Module, a: Float, b: Float) -> Exact:
    """Add two numbers of binary32.

    The number with the lower exponent is shifted. Where the exponents are equal a difference may
    be negative, and is then complemented without the carry, which :attr:`Exact.fill` stands for.
    """
    difference = named(m, "difference", a.scale - b.scale)
    swap       = difference[-1]
    subtract   = named(m, "subtract", a.sign ^ b.sign)
    big        = named(m, "big", Mux(swap, b.significand, a.significand))

    # If b is the bigger the distance is -difference = ~difference + 1. The word's three low bits
    # keep what rounding must know after a shift back by one: two bits, and the ones below them.
    small = named(m, "small", Mux(swap, Cat(C(0, 2), a.significand, C(0, 1)),
                                  Cat(C(0, 3), b.significand)))
    small = shift_right(m, small, difference[:-1] ^ swap.replicate(FP32.exp_bits))
    total    = named(m, "total", (Cat(C(1, 1), C(0, 3), big)
                                  + Cat(subtract, small ^ subtract.replicate(len(small))))[1:])
    negative = named(m, "negative", subtract & ~total[-1])
    word     = Cat(total[:-1] ^ negative.replicate(len(small)), total[-1] & ~subtract)

    infinite = named(m, "infinite", a.infinite | b.infinite)
    bigger   = Mux(a.infinite | ~(swap | b.infinite), a.sign, b.sign)
    return Exact(sign=bigger ^ (negative & ~infinite), word=word,
                 exponent=(Mux(swap, b.scale, a.scale) + 1)[:FP32.exp_bits],
                 fill=negative, cancelled=subtract & ~infinite, infinite=infinite,
                 nan=a.nan | b.nan | (a.infinite & b.infinite & subtract))


def round_exact(m: Module, exact: Exact, *, subnormal: bool = True,
                overflow: bool = True) -> Float:
    """Round to binary32.

    Parameters
    ----------
    exact : Exact
        At least ``SIGNIFICAND`` bits wide.
    subnormal, overflow : bool
        Whether the result can be subnormal, and too large. If not, logic is saved.
    """
    zeros, zero = leading_zeros(m, exact.word)
    if subnormal:
        limit = named(m, "limit", exact.exponent - 1)
        zeros = named(m, "shift", Mux(limit < zeros, limit, zeros)[:len(zeros)])
    word = exact.word
    for level, bit in reversed(list(enumerate(zeros))):
        step = 1 << level
        word = named(m, "shifted", Mux(bit, Cat(exact.fill.replicate(step), word[:-step]), word))

    # A carry out of the fraction moves to the next exponent, from subnormal to normal also.
    drop     = len(word) - SIGNIFICAND
    exponent = (exact.exponent - zeros)[:len(exact.exponent)] & word[-1].replicate(
        len(exact.exponent))
    body     = named(m, "body", Cat(word[drop:-1], exponent) + round_even(word, drop))
    exponent = body[FP32.man_bits:FP32.man_bits + FP32.exp_bits]
    too_big  = body[FP32.man_bits:] >= 2**FP32.exp_bits - 1 if overflow else C(0)
    return Float(sign=exact.sign & ~(zero & exact.cancelled), exponent=exponent,
                 significand=Cat(body[:FP32.man_bits], word[-1] | body[FP32.man_bits]),
                 infinite=exact.infinite | too_big, nan=exact.nan)


def round_even(word: Value, drop: int) -> Value:
    """Increment, 0 or 1, that rounds ``word >> drop`` to the nearest, ties to even."""
    return word[drop - 1] & (word[:drop - 1].any() | word[drop]) if drop else C(0)


def round_integer(m: Module, integer: Value) -> Value:
    """Round an unsigned integer to ``SIGNIFICAND`` significant bits.

    The result has the width of ``integer``, which must hold it.
    """
    rounded = named(m, "rounded", integer)
    for drop in range(1, len(integer) - SIGNIFICAND + 1):
        with m.If(integer[SIGNIFICAND + drop - 1]):
            m.d.comb += rounded.eq((integer[drop:] + round_even(integer, drop)).shift_left(drop))
    return rounded


def leading_zeros(m: Module, word: Value) -> "tuple[Value, Value]":
    """Count the zeros above the highest one, in a tree of logarithmic depth.

    Returns
    -------
    count : unsigned
        Means nothing if there is no one.
    zero : unsigned(1)
        Whether there is no one.
    """
    if len(word) == 1:
        return C(0, 0), ~word
    half = 1 << (len(word) - 1).bit_length() - 1
    low, low_zero   = leading_zeros(m, word[:-half])
    high, high_zero = leading_zeros(m, word[-half:])
    high_zero = named(m, "zero", high_zero)
    return named(m, "zeros", Cat(Mux(high_zero, low, high), high_zero)), high_zero & low_zero


def shift_right(m: Module, word: Value, amount: Value) -> Value:
    """Shift to the right by any amount; the lowest bit also stands for the ones that are lost."""
    levels = (len(word) - 1).bit_length()
    for level, bit in enumerate(amount[:levels]):
        step = 1 << level
        word = named(m, "shifted", Mux(bit, Cat(word[:step + 1].any(), word[step + 1:]), word))
    beyond = amount[levels:].any()
    return named(m, "shifted", Mux(beyond, word.any(), word))
