"""Pieces of binary32 arithmetic, all combinational.

A :class:`Float` is a code taken to pieces. Multipliers, or :func:`align`, :func:`add` and
:func:`magnitude`, make an :class:`Exact` of it, which :func:`round_exact` turns into the next
:class:`Float`; :func:`registered` goes between. Roundings are to the nearest, ties to even;
subnormal numbers and signed zeros are kept.
"""

from dataclasses import dataclass

from amaranth import *

from golden.formats import FORMATS, Format

__all__ = ["FP32", "SIGNIFICAND", "ROUNDED", "named", "later", "registered", "Float", "Aligned",
           "Sum", "Exact", "unpack", "pack", "align", "add", "magnitude", "round_exact", "bounded",
           "round_even", "round_integer", "leading_zeros", "shift_right"]

FP32 = FORMATS["fp32"]

#: Width of a significand with its leading one.
SIGNIFICAND = FP32.man_bits + 1

#: Width of a word that :func:`bounded` may shift: a half and a bit for less than it below.
ROUNDED = SIGNIFICAND + 2


# Bits of the smaller addend below the last place of the bigger.
_BELOW = 3


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


@dataclass(frozen=True)
class Sum:
    """What :func:`add` makes of :class:`Aligned`.

    Attributes
    ----------
    sign, subtract, exponent, infinite, nan : unsigned
        As in :class:`Aligned`.
    total : unsigned
        Sum of the significands, or difference less one; the highest bit is the carry.
    below : unsigned
        What continues the sum. The difference, too, but if it is zero one is missing.
    """

    sign: Value
    subtract: Value
    exponent: Value
    total: Value
    below: Value
    infinite: Value
    nan: Value


Pieces = Float | Aligned | Sum | Exact


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


def add(m: Module, aligned: Aligned) -> Sum:
    """Add, or subtract without the carry that makes a complement a negative number."""
    subtract = aligned.subtract
    below, small = aligned.small[:_BELOW], aligned.small[_BELOW:]
    return Sum(sign=aligned.sign, subtract=subtract, exponent=aligned.exponent,
               total=named(m, "total", aligned.big + (small ^ subtract.replicate(len(small)))),
               below=named(m, "below", Mux(subtract, -below, below)[:_BELOW]),
               infinite=aligned.infinite, nan=aligned.nan)


def magnitude(m: Module, result: Sum) -> Exact:
    """Make a sum positive.

    The difference of numbers with the same exponent may be negative; its complement is its
    magnitude. To any other the carry, which was not added, is due if nothing is below; the carry
    is part of the rounding, since 0.111... is 1.
    """
    subtract, total = result.subtract, result.total
    negative = named(m, "negative", subtract & ~total[-1])
    fill     = named(m, "fill", subtract & total[-1] & ~result.below.any())
    return Exact(sign=result.sign ^ negative,
                 exponent=(result.exponent + 1)[:FP32.exp_bits],
                 word=Cat(result.below | fill.replicate(_BELOW),
                          total[:-1] ^ negative.replicate(SIGNIFICAND), total[-1] & ~subtract),
                 fill=fill, cancelled=subtract, infinite=result.infinite, nan=result.nan)


def round_exact(m: Module, exact: Exact, *, subnormal: bool = True, overflow: bool = True,
                limit: "Value | None" = None) -> Float:
    """Round to binary32; the word must have at least ``SIGNIFICAND`` bits.

    ``limit`` is the exponent less one, for whoever has it already.

    Without ``subnormal`` or ``overflow`` the result cannot be subnormal, or too large, and logic
    is saved.
    """
    zeros, zero = leading_zeros(m, exact.word)
    if subnormal:
        # A one where the shift of a subnormal number ends, which need not be compared then.
        limit    = named(m, "limit", exact.exponent - 1) if limit is None else limit
        ends     = Cat(limit == place for place in reversed(range(len(exact.word))))
        zeros, _ = leading_zeros(m, named(m, "counted", exact.word | ends))
    word = exact.word
    for level, bit in reversed(list(enumerate(zeros))):
        step = 1 << level
        word = named(m, "shifted", Mux(bit, Cat(exact.fill.replicate(step), word[:-step]), word))

    # A carry out of the fraction raises the exponent.
    drop     = len(word) - SIGNIFICAND
    fraction = named(m, "fraction", word[drop:-1] + round_even(word, drop))
    carry    = fraction[FP32.man_bits]
    # The difference of the exponent and the zeros, with the carry in one addition.
    above    = (exact.exponent + 1)[:len(exact.exponent) + 1]
    lowered  = named(m, "lowered", (Cat(C(1, 1), above) + Cat(
        carry, ~zeros, C(-1, len(above) - len(zeros))))[1:len(above) + 1])
    normal   = carry if subnormal else C(0)  # a subnormal number that becomes normal
    exponent = Mux(word[-1], lowered, normal)
    too_big  = word[-1] & (lowered >= 2**FP32.exp_bits - 1) if overflow else C(0)
    return Float(sign=exact.sign & ~(zero & exact.cancelled), exponent=exponent[:FP32.exp_bits],
                 significand=Cat(fraction[:FP32.man_bits], word[-1] | normal),
                 infinite=exact.infinite | too_big, nan=exact.nan)


def bounded(m: Module, exact: Exact) -> Exact:
    """Same result with an exponent of at least 1: a lower one, signed, shifts the word.

    Below the normal numbers the word goes down to the place of the subnormal ones. It must have at
    least ``ROUNDED`` bits.
    """
    assert len(exact.word) >= ROUNDED
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
    beyond = named(m, "beyond", amount[levels:].any())
    for level, bit in enumerate(amount[:levels - 1]):
        step = 1 << level
        word = named(m, "shifted", Mux(bit, Cat(word[:step + 1].any(), word[step + 1:]), word))
    # The last level shifts beyond the word, too.
    step, bit = 1 << levels - 1, amount[levels - 1:levels].any()
    keep, move = named(m, "keep", ~(bit | beyond)), named(m, "move", bit & ~beyond)
    lost = Mux(beyond, word.any(), Mux(bit, word[:step + 1].any(), word[0]))
    return named(m, "shifted", Cat(lost, Mux(keep, word[1:], 0) | Mux(move, word[step + 1:], 0)))
