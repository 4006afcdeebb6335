"""Keys: what the units keep of a logit.

A key is the logit's code, in sign and magnitude. Masked and absent elements have the sign and the
exponent of -infinity, and so compare below all finite numbers; bit 0 tells which of the two.
"""

from amaranth import *

from golden.formats import Format

__all__ = ["key", "is_masked", "is_absent", "at_least", "zero_key"]


def zero_key(fmt: Format) -> int:
    """Lower key of zero, that with a sign."""
    return 1 << fmt.bits - 1


def key(code: Value, fmt: Format, mask: Value, keep: Value) -> Value:
    """Key of an element with a code, its mask bit, and whether it exists.

    -infinity and NaN with its sign have keys of masked elements, whatever the mask.
    """
    hidden = mask | ~keep
    upper  = code[fmt.man_bits:]
    return Cat(~keep | (code[0] & ~mask & ~upper.all()), code[1:fmt.man_bits],
               upper | hidden.replicate(len(upper)))


def is_masked(key: Value, fmt: Format) -> Value:
    """Whether a key is that of a masked or absent element."""
    return key[fmt.man_bits:].all()


def is_absent(key: Value, fmt: Format) -> Value:
    """Whether a key is that of an element that a row's last word does not have."""
    return is_masked(key, fmt) & key[0]


def at_least(a: Value, b: Value) -> Value:
    """Whether key a >= key b, -0 being less than +0.

    The highest bit that differs decides, in a chain of one multiplexer for each bit, which is
    smaller and slower than a subtraction.
    """
    result = ~b[-1]
    for x, y in zip(a[:-1], b[:-1], strict=True):
        result = Mux(x ^ y, x, result)
    return Mux(a[-1] ^ b[-1], b[-1], result ^ a[-1])
