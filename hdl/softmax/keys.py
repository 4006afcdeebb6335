"""Logits as keys: unsigned integers in the order of the numbers.

The two zeros have neighbouring keys. A key whose bits above the mantissa are all 0, below those of
the finite numbers, is that of a masked element; bit 0 tells whether there is an element at all.
"""

from amaranth import *

from golden.formats import Format

__all__ = ["key", "code", "hidden_key", "is_masked", "is_absent", "zero_key"]


def zero_key(fmt: Format) -> int:
    """Lower key of zero, that of the negative one."""
    return (1 << fmt.bits - 1) - 1


def key(code: Value) -> Value:
    """Key of a code."""
    magnitude, negative = code[:-1], code[-1]
    return Cat(magnitude ^ negative.replicate(len(magnitude)), ~negative)


def hidden_key(key: Value, fmt: Format, mask: Value, keep: Value) -> Value:
    """Key of an element that is masked or absent if its bits say so.

    -infinity and NaN with its sign have keys of masked elements, whatever the mask.
    """
    shown = keep & ~mask
    upper = key[fmt.man_bits:]
    return Cat(keep & (key[0] | mask | ~upper.any()), key[1:fmt.man_bits],
               upper & shown.replicate(len(upper)))


def is_masked(key: Value, fmt: Format) -> Value:
    """Whether a key is that of a masked or absent element."""
    return ~key[fmt.man_bits:].any()


def is_absent(key: Value, fmt: Format) -> Value:
    """Whether a key is that of an element that a row's last word does not have."""
    return is_masked(key, fmt) & ~key[0]


def code(key: Value) -> Value:
    """Code of a key."""
    negative = ~key[-1]
    return Cat(key[:-1] ^ negative.replicate(len(key) - 1), negative)
