"""Pieces of binary32 arithmetic, all combinational.

A :class:`Float` is a code taken to pieces. Multipliers, or :func:`align` and :func:`add`, make an
:class:`Exact` of it, which :func:`round_exact` turns into the next :class:`Float`;
:func:`registered` goes between. Roundings are to the nearest, ties to even; subnormal numbers and
signed zeros are kept.
"""

from dataclasses import dataclass

from amaranth import *

from golden.formats import FORMATS, Format

__all__ = ["FP32", "SIGNIFICAND", "named", "later", "registered", "Float", "Aligned", "Exact",
           "unpack", "pack", "align", "add", "round_exact", "bounded", "round_even",
           "round_integer", "leading_zeros", "shift_right"]

FP32 = FORMATS["fp32"]

#: Width of a significand with its leading one.
SIGNIFICAND = FP32.man_bits + 1


def named(m: Module, name: str, value: Value) -> Signal:
    """Signal that equals ``value``; an expression used twice would be written twice."""
    signal = Signal.like(value, name=name)
    m.d.comb += signal.eq(value)
    return signal


def later(m: Module, name: str, values: "tuple[Value, ...]") -> "tuple[Signal, ...]":
    """Same values one cycle later."""
    signals = tuple(Signal.like(value, name=name, reset_less=True) for value in values)
    m.d.sync += [signal.eq(value) for signal, value in zip(signals, values, strict=True)]
    return signals


def registered(m: Module, pieces: "Pieces", enable: Value | None = None) -> "Pieces":
    """Same pieces one cycle later, or one enabled cycle."""
    signals = {name: Signal.like(value, name=name, reset_less=True)
               for name, value in vars(pieces).items()}
    with m.If(C(1) if enable is None else enable):
        m.d.sync += [signal.eq(getattr(pieces, name)) for name, signal in signals.items()]
    return type(pieces)(**signals)


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


@dataclass(frozen=True)
class Aligned:
    """Two numbers with a common exponent.

    Attributes
    ----------
    sign : unsigned(1)
        That of ``big``.
    subtract : unsigned(1)
        Whether the signs differ.
    exponent : unsigned
        That of ``big``.
    big, small : unsigned
        Significands; ``small`` has three more bits below, the last of which also stands for ones
        that were lost, and exceeds ``big`` only if these are zero.
    infinite, nan : unsigned(1)
        As in :class:`Float`, for the sum.
    """

    sign: Value
    subtract: Value
    exponent: Value
    big: Value
    small: Value
    infinite: Value
    nan: Value


Pieces = Float | Aligned | Exact


def unpack(m: Module, code: Value, fmt: Format) -> Float:
    """Take a code of a float format to pieces."""
    fraction, exponent = code[:fmt.man_bits], code[fmt.man_bits:fmt.man_bits + fmt.exp_bits]
    special = named(m, "special", exponent.all())
    quiet   = named(m, "quiet", fraction.any())
    infinite, nan = {"ieee": (special & ~quiet, special & quiet),
                     "nan":  (C(0), special & fraction.all()),
                     "none": (C(0), C(0))}[fmt.specials]
    return Float(sign=code[-1] if fmt.signed else C(0), exponent=exponent,
                 significand=Cat(fraction, exponent.any() if fmt.subnormals else C(1)),
                 infinite=infinite, nan=nan)


def pack(m: Module, number: Float) -> Value:
    """Encode in binary32, NaN in the canonical way."""
    special = named(m, "special", number.infinite | number.nan)
    quiet   = number.nan.shift_left(FP32.man_bits - 1)
    return Cat(Mux(special, quiet, number.significand[:FP32.man_bits]),
               number.exponent | special.replicate(FP32.exp_bits), number.sign & ~number.nan)


def align(m: Module, a: Float, b: Float) -> Aligned:
    """Shift the number of binary32 with the lower exponent to that of the other."""
    difference = named(m, "difference", a.scale - b.scale)
    swap       = difference[-1]
    subtract   = named(m, "subtract", a.sign ^ b.sign)
    infinite   = named(m, "infinite", a.infinite | b.infinite)

    # If b is the bigger the distance is -difference = ~difference + 1.
    small = named(m, "small", Mux(swap, Cat(C(0, 2), a.significand), Cat(C(0, 3), b.significand)))
    small = shift_right(m, small, difference[:-1] ^ swap.replicate(FP32.exp_bits))
    return Aligned(sign=Mux(a.infinite | ~(swap | b.infinite), a.sign, b.sign),
                   # A difference of infinities is NaN; otherwise an infinity keeps its sign.
                   subtract=subtract & ~infinite,
                   exponent=Mux(swap, b.scale, a.scale),
                   big=Mux(swap, b.significand, a.significand), small=small, infinite=infinite,
                   nan=a.nan | b.nan | (a.infinite & b.infinite & subtract))


def add(m: Module, aligned: Aligned) -> Exact:
    """Add or subtract.

    The difference of numbers with the same exponent may be negative, and is then complemented
    without a carry, which :attr:`Exact.fill` stands for.
    """
    subtract, small = aligned.subtract, aligned.small
    total    = named(m, "total", (Cat(C(1, 1), C(0, 3), aligned.big)
                                  + Cat(subtract, small ^ subtract.replicate(len(small))))[1:])
    negative = named(m, "negative", subtract & ~total[-1])
    return Exact(sign=aligned.sign ^ negative,
                 exponent=(aligned.exponent + 1)[:FP32.exp_bits],
                 word=Cat(total[:-1] ^ negative.replicate(len(small)), total[-1] & ~subtract),
                 fill=negative, cancelled=subtract, infinite=aligned.infinite, nan=aligned.nan)


def round_exact(m: Module, exact: Exact, zeros: "tuple[Value, Value] | None" = None, *,
                subnormal: bool = True, overflow: bool = True) -> Float:
    """Round to binary32; the word must have at least ``SIGNIFICAND`` bits.

    ``zeros`` are the word's :func:`leading_zeros`, if they have been counted before.
    Without ``subnormal`` or ``overflow`` the result cannot be subnormal, or too large, and logic
    is saved.
    """
    zeros, zero = zeros or leading_zeros(m, exact.word)
    if subnormal:
        limit = named(m, "limit", exact.exponent - 1)
        zeros = named(m, "shift", Mux(limit < zeros, limit, zeros)[:len(zeros)])
    word = exact.word
    for level, bit in reversed(list(enumerate(zeros))):
        step = 1 << level
        word = named(m, "shifted", Mux(bit, Cat(exact.fill.replicate(step), word[:-step]), word))

    # A carry out of the fraction moves to the next exponent, from subnormal to normal also.
    drop     = len(word) - SIGNIFICAND
    exponent = Mux(word[-1], (exact.exponent - zeros)[:len(exact.exponent)], 0)
    body     = named(m, "body", Cat(word[drop:-1], exponent) + round_even(word, drop))
    exponent = body[FP32.man_bits:FP32.man_bits + FP32.exp_bits]
    too_big  = body[FP32.man_bits:] >= 2**FP32.exp_bits - 1 if overflow else C(0)
    return Float(sign=exact.sign & ~(zero & exact.cancelled), exponent=exponent,
                 significand=Cat(body[:FP32.man_bits], word[-1] | body[FP32.man_bits]),
                 infinite=exact.infinite | too_big, nan=exact.nan)


def bounded(m: Module, exact: Exact) -> Exact:
    """Same result with an exponent of at least 1: a lower one, signed, shifts the word.

    Below the normal numbers the word goes down to the place of the subnormal ones.
    """
    exponent = named(m, "exponent", exact.exponent)
    small    = named(m, "small", exponent < 1)
    amount   = named(m, "amount", Mux(small, 1 - exponent, 0)[:len(exponent)])
    return Exact(**vars(exact) | {
        "word":     shift_right(m, exact.word, amount),
        "exponent": Mux(small, 1, exponent)[:len(exponent) - 1],
    })


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
