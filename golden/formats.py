"""Number formats as data: the only place where a bit width or a bias is written down."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Format", "FORMATS", "aligned", "signed_bits"]


def signed_bits(low: int, high: int) -> int:
    """Width of the narrowest two's complement integer that holds both ``low`` and ``high``.

    Examples
    --------
    >>> [signed_bits(-8, 7), signed_bits(-8, 8), signed_bits(0, 0)]
    [4, 5, 1]
    """
    return 1 + max((~low if low < 0 else low).bit_length(),
                   (~high if high < 0 else high).bit_length())


@dataclass(frozen=True)
class Format:
    """A number format of at most 32 bits.

    Without an exponent field a code is an integer, in two's complement if the format is signed,
    times ``2**-point``. With one it is a float,
    ``(-1)**sign * 2**(exponent - bias) * (1 + mantissa / 2**man_bits)``; with ``subnormals`` the
    lowest exponent drops the leading one, as in IEEE 754.

    Every finite number is an integer of ``low`` to ``high`` times ``step``.

    Parameters
    ----------
    name : str
        Lower-case name, as used on the command line.
    man_bits : int
        Width of the trailing significand, or of an integer without its sign.
    exp_bits : int
        Width of the exponent field; 0 for an integer.
    bias : int
        Exponent bias of a float.
    signed : bool
        Whether the format has a sign bit.
    subnormals : bool
        Whether a float has zero and subnormal numbers.
    specials : str
        What the highest exponent of a float encodes: ``"ieee"``: infinities and NaNs;
        ``"nan"``: NaN where all other bits are one, numbers elsewhere; ``"none"``: numbers.
    max_zero : int
        Largest zero point that accompanies an integer code; 0 for a symmetric format.
    point : int
        Binary places of an integer.
    """

    name: str
    man_bits: int
    exp_bits: int = 0
    bias: int = 0
    signed: bool = True
    subnormals: bool = True
    specials: str = "none"
    max_zero: int = 0
    point: int = 0

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.signed + self.exp_bits + self.man_bits

    @property
    def is_integer(self) -> bool:
        """Whether codes are integers."""
        return self.exp_bits == 0

    @property
    def step(self) -> float:
        """Power of two of which every finite number is a multiple."""
        if self.is_integer:
            return 2.0**-self.point
        return 2.0**(self.subnormals - self.bias - self.man_bits)

    @property
    def low(self) -> int:
        """Lowest finite number in steps, zero point not subtracted."""
        if self.is_integer:
            return -(1 << self.man_bits) if self.signed else 0
        return -self.high if self.signed else 1 - self.subnormals

    @property
    def high(self) -> int:
        """Highest finite number in steps, zero point not subtracted."""
        if self.is_integer:
            return (1 << self.man_bits) - 1
        code = self.max_finite
        fraction, exponent = code & (1 << self.man_bits) - 1, code >> self.man_bits
        if not exponent and self.subnormals:
            return fraction
        return (1 << self.man_bits | fraction) << exponent - self.subnormals

    @property
    def max_finite(self) -> int:
        """Code of the highest finite number of a float."""
        assert not self.is_integer
        top = (1 << self.exp_bits + self.man_bits) - 1
        return {"none": top, "nan": top - 1, "ieee": top - (1 << self.man_bits)}[self.specials]

    @property
    def zero_bits(self) -> int:
        """Width of a zero point."""
        return self.max_zero.bit_length()

    @property
    def nan(self) -> int:
        """Canonical NaN: positive, quiet, no payload."""
        assert self.specials != "none"
        ones = (1 << self.exp_bits) - 1 << self.man_bits
        return ones | (1 << self.man_bits >> 1 if self.specials == "ieee"
                       else (1 << self.man_bits) - 1)

    @property
    def infinity(self) -> int:
        """Code of positive infinity."""
        assert self.specials == "ieee"
        return (1 << self.exp_bits) - 1 << self.man_bits

    def decode(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Values of codes, exact.

        Parameters
        ----------
        codes : array_like of int
            Each in ``range(2**bits)``.

        Returns
        -------
        ndarray of float64, same shape as ``codes``

        Raises
        ------
        ValueError
            If a code is out of range.

        Examples
        --------
        >>> FORMATS["int4"].decode([0b0111, 0b1000]).tolist()
        [7.0, -8.0]
        >>> FORMATS["bf16"].decode([0x3f80, 0xff80]).tolist()
        [1.0, -inf]
        """
        codes = np.asarray(codes, dtype=np.int64)
        if codes.size and not (0 <= codes.min() and codes.max() < 2**self.bits):
            raise ValueError(f"Codes of {self.name} must be in range({2**self.bits}), "
                             f"not {codes.min()} to {codes.max()}")
        if self.is_integer:
            sign = codes >> self.man_bits & 1 if self.signed else 0
            return (codes - (sign << self.bits)) * self.step
        return _table(self)[codes] if self.bits <= 8 else self._decode_float(codes)

    def _decode_float(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values of codes of a float."""
        mantissa = codes & (1 << self.man_bits) - 1
        exponent = codes >> self.man_bits & (1 << self.exp_bits) - 1
        leading = np.where(self.subnormals & (exponent == 0), 0, 1)
        exponent += 1 - leading
        value = np.ldexp((leading << self.man_bits | mantissa).astype(np.float64),
                         exponent - self.bias - self.man_bits)
        top, ones = (1 << self.exp_bits) - 1, (1 << self.man_bits) - 1
        if self.specials == "ieee":
            value = np.where(exponent == top, np.where(mantissa, np.nan, np.inf), value)
        elif self.specials == "nan":
            value = np.where((exponent == top) & (mantissa == ones), np.nan, value)
        return np.where(codes >> self.bits - 1, -value, value) if self.signed else value

    def encode(self, values: ArrayLike) -> NDArray[np.int64]:
        """Codes of the nearest numbers, ties to the even code.

        An IEEE float overflows to infinity and has one NaN. Another format saturates; NaN becomes
        the code of NaN if it has one, else 0.

        Parameters
        ----------
        values : array_like of float
            Real numbers, rounded once.

        Returns
        -------
        ndarray of int64, same shape as ``values``

        Raises
        ------
        ValueError
            If a value is NaN and the format has neither NaN nor zero.

        Examples
        --------
        >>> [hex(code) for code in FORMATS["fp16"].encode([0, 1, -1e-7, 65520, np.nan])]
        ['0x0', '0x3c00', '0x8002', '0x7c00', '0x7e00']
        >>> FORMATS["int8"].encode([0.5, 1.5, -300]).tolist()
        [0, 2, 128]
        >>> FORMATS["e2m1"].decode(FORMATS["e2m1"].encode([0.25, 2.5, 5, -7])).tolist()
        [0.0, 2.0, 4.0, -6.0]
        """
        values = np.asarray(values, dtype=np.float64)
        if self.is_integer:
            finite = np.nan_to_num(values / self.step, nan=0.0, posinf=self.high, neginf=self.low)
            codes = np.clip(np.rint(finite), self.low, self.high).astype(np.int64)
            return codes & (1 << self.bits) - 1
        if self.specials == "ieee":
            return self._encode_ieee(values)

        zero_free = not self.subnormals
        if self.specials == "none" and zero_free and np.isnan(values).any():
            raise ValueError(f"Values must be numbers for {self.name}, which has no NaN, not nan")
        numbers = self.decode(np.arange(self.max_finite + 1))
        magnitude = np.nan_to_num(np.abs(values), nan=0.0, posinf=numbers[-1])
        middles = (numbers[1:] + numbers[:-1]) / 2
        below = np.searchsorted(middles, magnitude).astype(np.int64)
        tie   = magnitude == middles[np.minimum(below, len(middles) - 1)]
        codes = below + (tie & (below % 2 == 1))
        if self.signed:
            codes |= np.signbit(values).astype(np.int64) << self.bits - 1
        else:
            codes = np.where(np.signbit(values), 0, codes)
        nan = self.nan if self.specials == "nan" else 0
        return np.where(np.isnan(values), nan, codes)

    def _encode_ieee(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Codes of the nearest numbers of an IEEE format."""
        magnitude = np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
        exponent = np.where(magnitude > 0, np.frexp(magnitude)[1] - 1 + self.bias, 1)
        exponent = np.maximum(exponent, 1)
        steps = np.rint(np.ldexp(magnitude, self.bias + self.man_bits - exponent)).astype(np.int64)
        codes = (exponent - 1 << self.man_bits) + steps  # a carry out moves to the next exponent
        codes = np.where(np.isinf(values), self.infinity, np.minimum(codes, self.infinity))
        codes |= np.signbit(values).astype(np.int64) << self.bits - 1
        return np.where(np.isnan(values), self.nan, codes)


@cache
def _table(fmt: Format) -> NDArray[np.float64]:
    """Values of all codes of a float of few bits."""
    return fmt._decode_float(np.arange(1 << fmt.bits))


FORMATS = {fmt.name: fmt for fmt in (
    Format("int2", 1),
    Format("int3", 2),
    Format("int4", 3),
    Format("uint4", 4, signed=False, max_zero=16),  # GPTQ reaches a zero point of 16
    Format("int8", 7),
    Format("uint8", 8, signed=False, max_zero=255),
    Format("ternary", 0, exp_bits=1, bias=1),  # sign and magnitude: 0, 1, -0, -1
    # DenseShift, arXiv 2208.09708: (-1)**sign * 2**shift, zero-free.
    Format("shift2", 0, exp_bits=1, subnormals=False),
    Format("shift3", 0, exp_bits=2, subnormals=False),
    Format("shift4", 0, exp_bits=3, subnormals=False),
    # OCP Microscaling Formats 1.0, and OCP 8-bit Floating Point 1.0.
    Format("e2m1", 1, exp_bits=2, bias=1),
    Format("e4m3", 3, exp_bits=4, bias=7, specials="nan"),
    Format("e8m0", 0, exp_bits=8, bias=127, signed=False, subnormals=False, specials="nan"),
    Format("fp16", 10, exp_bits=5, bias=15, specials="ieee"),
    Format("bf16", 7, exp_bits=8, bias=127, specials="ieee"),
    Format("fp32", 23, exp_bits=8, bias=127, specials="ieee"),
)}


def aligned(bits: int) -> Format:
    """Fixed-point fractions of a group's largest power of two, in ``bits`` bits.

    The lowest is -2, so that every significand of the largest exponent fits.
    """
    return Format(f"aligned{bits}", bits - 1, point=bits - 2)
