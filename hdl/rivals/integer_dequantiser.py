"""Weights from codes to int8, before they are multiplied."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.formats import signed_bits
from golden.rival_parameters import RivalParameters
from hdl.block import Block
from hdl.compressor import FullAdders, ripple
from hdl.float32 import named

__all__ = ["IntegerDequantiser"]

#: Bits of a code that choose one of the shared multiples of the scale.
_DIGIT = 2


class IntegerDequantiser(Block):
    """Combinational ``w = clamp((code - zero) * scale, -128, 127)`` for the lanes of one column.

    What a column shares is formed once: ``-zero * scale`` and the multiples of the scale by 0 to 3.
    A lane chooses one multiple for each half of its code and adds; of the upper ones and
    ``-zero * scale`` the sums are shared too.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``int8_first``.

    Members
    -------
    code : In(ArrayLayout(4, L))
    zero : In(5)
        At most ``w_format.max_zero``.
    scale : In(8)
    w : Out(ArrayLayout(signed(8), L))
    """

    def __init__(self, parameters: RivalParameters):
        self._adders = FullAdders(parameters)
        p, lanes = parameters, parameters.lanes
        super().__init__(parameters, "dequantiser", {
            "code":  In(data.ArrayLayout(p.w_format.bits, lanes)),
            "zero":  In(p.w_format.zero_bits),
            "scale": In(p.scale_format.bits),
            "w":     Out(data.ArrayLayout(signed(p.factor_format.bits), lanes)),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()
        p, fmt = self.parameters, self.parameters.w_format

        width  = signed_bits(-fmt.max_zero * p.scale_format.high, fmt.high * p.scale_format.high)
        offset = named(m, "offset", -(self.zero * self.scale))
        lower  = [named(m, f"lower_{digit}", self.scale * digit) for digit in range(1 << _DIGIT)]
        upper  = [named(m, f"upper_{digit}", (multiple.shift_left(_DIGIT) + offset)[:width])
                  for digit, multiple in enumerate(lower)]
        size   = len(lower[-1])
        for lane, code in enumerate(self.code):
            high = named(m, f"high_{lane}", Array(upper)[code[_DIGIT:]])
            low  = named(m, f"low_{lane}", Array(lower)[code[:_DIGIT]])
            total, carry = ripple(m, self._adders, f"add_{lane}", high[:size], low[:size], C(0, 1))
            value = named(m, f"value_{lane}", Cat(total, high[size:] + carry)[:width])
            m.d.comb += self.w[lane].eq(_clamped(value, p.factor_format.bits))

        return m


def _clamped(value: Value, bits: int) -> Value:
    """Two's complement number in fewer bits, the nearest one if it does not fit."""
    above = value[bits - 1:]
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(above.all() | ~above.any(), value[:bits], limit)
