"""Logits as keys: unsigned integers in the order of the numbers."""

from amaranth import *

from golden.formats import Format

__all__ = ["key", "code", "zero_key"]


def zero_key(fmt: Format) -> int:
    """Key of zero, of either sign."""
    return 1 << fmt.bits - 1


def key(code: Value, fmt: Format) -> Value:
    """Key of a code that is no NaN; all finite numbers have keys above 0."""
    magnitude, negative = code[:-1], code[-1]
    zero = ~magnitude.any()
    return Cat(magnitude ^ negative.replicate(len(magnitude)), ~negative) & Mux(
        zero & negative, zero_key(fmt), ~C(0, fmt.bits)) | Mux(zero, zero_key(fmt), 0)


def code(key: Value) -> Value:
    """Code of a key; zero has a positive one."""
    negative = ~key[-1]
    return Cat(key[:-1] ^ negative.replicate(len(key) - 1), negative)
