"""Numbers from their codes, in steps of their formats."""

from amaranth import *

from golden.formats import Format, signed_bits

__all__ = ["code_shape", "number_shape", "number", "significand"]


def code_shape(fmt: Format) -> Shape:
    """Shape of a code; that of an integer is its own."""
    return signed(fmt.bits) if fmt.is_integer and fmt.signed else unsigned(fmt.bits)


def number_shape(fmt: Format) -> Shape:
    """Shape of a number in steps."""
    return signed(signed_bits(fmt.low, fmt.high)) if fmt.low < 0 else unsigned(
        fmt.high.bit_length())


def significand(code: Value, fmt: Format) -> "tuple[Value, Value, Value]":
    """Signed significand of a float's code, its shift, and whether it is no number.

    The number is ``significand << shift`` steps; the significand is 0 if it is none.
    """
    code     = Value.cast(code)
    fraction = code[:fmt.man_bits]
    exponent = code[fmt.man_bits:fmt.man_bits + fmt.exp_bits]
    special  = {"ieee": exponent.all(), "nan": (fraction.all() & exponent.all()),
                "none": C(0)}[fmt.specials]
    normal    = exponent.any() if fmt.subnormals else C(1)
    magnitude = Cat(fraction, normal) & (~special).replicate(fmt.man_bits + 1)
    shift     = (exponent - normal)[:fmt.exp_bits] if fmt.subnormals else exponent
    signed    = Mux(code[-1], -magnitude, magnitude) if fmt.signed else magnitude
    return signed[:fmt.man_bits + 2].as_signed(), shift, special


def number(code: Value, fmt: Format) -> Value:
    """Number in steps, of :func:`number_shape`; infinities and NaN are 0."""
    if fmt.is_integer:
        return code
    signed, shift, _ = significand(code, fmt)
    shape = number_shape(fmt)
    value = (signed << shift)[:shape.width]
    return value.as_signed() if shape.signed else value
