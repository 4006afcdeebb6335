"""Pieces of binary32 arithmetic: unpack, add, round, pack. All combinational."""

from dataclasses import dataclass

from amaranth import *

from golden.formats import FORMATS, Format

__all__ = ["FP32", "SIGNIFICAND", "Float", "Sum", "unpack", "leading_zeros", "shift_right",
           "round_even", "round_integer", "normalise", "add", "pack"]

FP32 = FORMATS["fp32"]

#: Width of a significand with its leading one.
SIGNIFICAND = FP32.man_bits + 1


@dataclass(frozen=True)
class Float:
    """A number in pieces, ``(-1)**sign * significand * 2**(exponent - bias - man_bits)``.

    Attributes
    ----------
    sign : unsigned(1)
    exponent : unsigned
        As encoded, but 1 for a subnormal number; at most 1 for zero, so that no other number is
        aligned to it.
    significand : unsigned
        With the leading one.
    infinite, nan : unsigned(1)
        Exclude each other; the other pieces but the sign mean nothing then.
    """

    sign: Value
    exponent: Value
    significand: Value
    infinite: Value
    nan: Value

    def register(self, m: Module) -> "Float":
        """Same number one cycle later."""
        later = {}
        for name, value in vars(self).items():
            later[name] = Signal.like(value, name=name, reset_less=True)
            m.d.sync += later[name].eq(value)
        return Float(**later)


def _named(m, name, value):
    """Signal that equals ``value``: an expression used twice would be written twice."""
    signal = Signal.like(value, name=name)
    m.d.comb += signal.eq(value)
    return signal


def unpack(m: Module, code: Value, fmt: Format) -> Float:
    """Take a code of an IEEE format to pieces."""
    fraction, exponent = code[:fmt.man_bits], code[fmt.man_bits:-1]
    normal  = _named(m, "normal", exponent.any())
    special = _named(m, "special", exponent.all())
    quiet   = _named(m, "quiet", fraction.any())
    return Float(code[-1], Cat(exponent[0] | ~normal, exponent[1:]), Cat(fraction, normal),
                 special & ~quiet, special & quiet)


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
    low, low_zero   = leading_zeros(m, word[:-half]) if len(word) > half else (C(0, 0), C(1))
    high, high_zero = leading_zeros(m, word[-half:])
    high_zero = _named(m, "zero", high_zero)
    count = _named(m, "zeros", Cat(Mux(high_zero, low, high), high_zero))
    return count, high_zero & low_zero


def shift_right(m: Module, word: Value, amount: Value) -> Value:
    """Shift to the right; the lowest bit also keeps whether a one was lost.

    Any amount is served; from ``len(word)`` on only that bit is left.
    """
    levels = (len(word) - 1).bit_length()
    for level, bit in enumerate(amount[:levels]):
        step = 1 << level
        lost = word[:step + 1].any()
        word = _named(m, "shifted", Mux(bit, Cat(lost, word[step + 1:]), word))
    if len(amount) > levels:
        word = _named(m, "shifted", Mux(amount[levels:].any(), word.any(), word))
    return word


def round_even(word: Value, drop: int) -> Value:
    """Increment, 0 or 1, that rounds ``word >> drop`` to the nearest, ties to even."""
    if drop == 0:
        return C(0)
    return word[drop - 1] & (word[:drop - 1].any() | word[drop])


def round_integer(m: Module, integer: Value) -> Value:
    """Round an unsigned integer to ``SIGNIFICAND`` significant bits.

    The result has the width of ``integer``, which must hold it.
    """
    rounded = Signal.like(integer, name="rounded")
    m.d.comb += rounded.eq(integer)
    for drop in range(1, len(integer) - SIGNIFICAND + 1):
        with m.If(integer[SIGNIFICAND + drop - 1]):
            m.d.comb += rounded.eq((integer[drop:] + round_even(integer, drop)) << drop)
    return rounded


def normalise(m: Module, word: Value, exponent: Value, *, fill: Value = C(0),
              subnormal: bool = True) -> "tuple[Value, Value, Value]":
    """Shift a word up to its leading one and round it to binary32.

    The word's value is ``word * 2**(exponent - bias - len(word) + 1)``: ``exponent`` is that of a
    number with the highest bit set.

    Parameters
    ----------
    word : unsigned
    exponent : unsigned
        At least 1.
    fill : unsigned(1)
        What is shifted in from below.
    subnormal : bool
        Whether the result may be subnormal. If not, logic is saved.

    Returns
    -------
    exponent : unsigned
        As encoded, with room for overflow.
    fraction : unsigned(FP32.man_bits)
    zero : unsigned(1)
        Whether ``word`` is zero.
    """
    zeros, zero = leading_zeros(m, word)
    if subnormal:
        zeros = _named(m, "shift", Mux(zeros < exponent, zeros, (exponent - 1)[:len(zeros)]))
    word = Cat(fill.replicate(len(word)), word)
    for level in reversed(range(len(zeros))):
        step = 1 << level
        word = _named(m, "shifted", Mux(zeros[level], word << step, word)[:len(word)])
    word = word[len(word) // 2:]
    return word, zero
