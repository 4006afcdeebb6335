"""Floating-point arithmetic in integers of any size, from the text of IEEE 754-2019.

A reference for hardware that shares nothing with numpy, with a C library or with golden: numbers
are taken to pieces by the definition of their format, an operation is exact, and :func:`rounded`
is its one rounding. It is written to be read beside the standard, one vector at a time.
"""

from dataclasses import dataclass

__all__ = ["Binary", "BINARY", "Datum", "datum", "rounded", "add", "multiply", "fused", "integer",
           "nearest_integer"]


@dataclass(frozen=True)
class Binary:
    """A binary format (clause 3.3), or one of those that OCP documents define.

    Attributes
    ----------
    precision : int
        p, digits of a significand.
    emax : int
        Largest exponent.
    bias : int
    exponent_bits : int
    signed : bool
    subnormals : bool
        Whether the exponent 0 is that of zero and the subnormal numbers.
    infinities : bool
        Whether the largest exponent is that of infinities and NaNs; otherwise only the code of
        ones is a NaN.
    """

    precision: int
    emax: int
    bias: int
    exponent_bits: int
    signed: bool = True
    subnormals: bool = True
    infinities: bool = True

    @property
    def emin(self) -> int:
        """Least exponent of a normal number."""
        return 1 - self.bias

    @property
    def nan(self) -> int:
        """The positive quiet NaN without payload (clause 6.2.1)."""
        return (2 ** (self.exponent_bits + 1) - 1) * 2 ** (self.precision - 2)


#: Table 3.5; bfloat16 has binary32's exponents; OCP 8-bit Floating Point 1.0 and OCP Microscaling
#: Formats 1.0.
BINARY = {
    "fp16": Binary(precision=11, emax=15, bias=15, exponent_bits=5),
    "fp32": Binary(precision=24, emax=127, bias=127, exponent_bits=8),
    "bf16": Binary(precision=8, emax=127, bias=127, exponent_bits=8),
    "e4m3": Binary(precision=4, emax=8, bias=7, exponent_bits=4, infinities=False),
    "e8m0": Binary(precision=1, emax=127, bias=127, exponent_bits=8, signed=False,
                   subnormals=False, infinities=False),
}


@dataclass(frozen=True)
class Datum:
    """What a code stands for (clause 3.3): ``(-1)**sign * integer * 2**exponent``, or no number."""

    sign: int
    integer: int
    exponent: int
    infinite: bool = False
    nan: bool = False


def datum(code: int, fmt: Binary) -> Datum:
    """Decode (clause 3.4)."""
    trailing_bits = fmt.precision - 1
    trailing = code % 2**trailing_bits
    biased   = code // 2**trailing_bits % 2**fmt.exponent_bits
    sign     = code // 2 ** (trailing_bits + fmt.exponent_bits) if fmt.signed else 0
    if biased == 2**fmt.exponent_bits - 1:
        if fmt.infinities:
            return Datum(sign, 0, 0, infinite=trailing == 0, nan=trailing != 0)
        if trailing == 2**trailing_bits - 1:
            return Datum(sign, 0, 0, nan=True)
    if biased == 0 and fmt.subnormals:
        return Datum(sign, trailing, fmt.emin - trailing_bits)
    return Datum(sign, 2**trailing_bits + trailing, biased - fmt.bias - trailing_bits)


def rounded(sign: int, integer: int, exponent: int, fmt: Binary) -> int:
    """Code of ``integer * 2**exponent`` by roundTiesToEven (clause 4.3.1).

    What would exceed the largest number with unbounded exponents is infinite (clause 7.4).
    """
    encoded_sign = sign * 2 ** (fmt.precision - 1 + fmt.exponent_bits)
    if integer == 0:
        return encoded_sign
    # Exponent of the last place: p digits, or fewer above the place of the subnormal numbers.
    last = max(integer.bit_length() - fmt.precision + exponent, fmt.emin - fmt.precision + 1)
    if last <= exponent:
        digits = integer * 2 ** (exponent - last)
    else:
        place = 2 ** (last - exponent)
        digits, rest = divmod(integer, place)
        if 2 * rest > place or (2 * rest == place and digits % 2 == 1):
            digits += 1
        if digits == 2**fmt.precision:
            digits, last = digits // 2, last + 1
    largest = fmt.emax - fmt.precision + 1
    if last > largest:
        return encoded_sign + (2**fmt.exponent_bits - 1) * 2 ** (fmt.precision - 1)
    if digits < 2 ** (fmt.precision - 1):
        return encoded_sign + digits
    biased = last + fmt.precision - 1 + fmt.bias
    return encoded_sign + (biased - 1) * 2 ** (fmt.precision - 1) + digits


def add(a: Datum, b: Datum, fmt: Binary) -> int:
    """Code of a + b (clause 5.4.1)."""
    if a.nan or b.nan or (a.infinite and b.infinite and a.sign != b.sign):
        return fmt.nan
    if a.infinite or b.infinite:
        return _infinity(a.sign if a.infinite else b.sign, fmt)
    least = min(a.exponent, b.exponent)
    total = sum((-1) ** each.sign * each.integer * 2 ** (each.exponent - least) for each in (a, b))
    if total == 0:
        # Clause 6.3: a sum of zero is +0 but for operands of the same sign, which zeros are then.
        return rounded(a.sign if a.sign == b.sign else 0, 0, 0, fmt)
    return rounded(int(total < 0), abs(total), least, fmt)


def multiply(a: Datum, b: Datum, fmt: Binary) -> int:
    """Code of a * b (clause 5.4.1)."""
    product = _product(a, b)
    if product.nan:
        return fmt.nan
    if product.infinite:
        return _infinity(product.sign, fmt)
    return rounded(product.sign, product.integer, product.exponent, fmt)


def fused(a: Datum, b: Datum, c: Datum, fmt: Binary) -> int:
    """Code of a * b + c, rounded once (clause 5.4.1, fusedMultiplyAdd)."""
    return add(_product(a, b), c, fmt)


def integer(value: int) -> Datum:
    """An integer."""
    return Datum(int(value < 0), abs(value), 0)


def nearest_integer(number: Datum) -> int:
    """Nearest integer of a finite number, ties to even (convertToIntegerTiesToEven, clause 5.8)."""
    if number.exponent >= 0:
        magnitude = number.integer * 2**number.exponent
    else:
        place = 2**-number.exponent
        magnitude, rest = divmod(number.integer, place)
        magnitude += 2 * rest > place or (2 * rest == place and magnitude % 2 == 1)
    return (-1) ** number.sign * magnitude


def _product(a: Datum, b: Datum) -> Datum:
    """Product, exact; of infinity and zero none (clause 7.2)."""
    zero = any(not each.integer and not each.infinite and not each.nan for each in (a, b))
    infinite = a.infinite or b.infinite
    return Datum(a.sign ^ b.sign, a.integer * b.integer, a.exponent + b.exponent,
                 infinite=infinite, nan=a.nan or b.nan or (infinite and zero))


def _infinity(sign: int, fmt: Binary) -> int:
    """Code of an infinity."""
    return (sign * 2**fmt.exponent_bits + 2**fmt.exponent_bits - 1) * 2 ** (fmt.precision - 1)
