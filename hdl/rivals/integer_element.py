"""The least int8 multiply-accumulate of a systolic array."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl.block import Block
from hdl.compressor import FullAdders, ripple
from hdl.exact import booth_digits

__all__ = ["IntegerElement"]


class IntegerElement(Block):
    """Output-stationary processing element: ``acc + x * w``, operands passed on.

    Radix-4 Booth digits of the weight select multiples of the activation, which chains of full
    adders add, the last of them to the accumulator: the smallest form, as it has no bit that is
    stored or added twice. Without a shadow whoever wants the sum takes it from ``drain_o`` in the
    one cycle in which it is there; shadows form a shift register, as in :class:`hdl.tile.PE`.

    Latency from operands to ``drain_o``: 2 cycles, 3 with a shadow. Operands are taken in each
    cycle. After a reset the first sum starts from 0.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``int8_pe``.

    Members
    -------
    x_i : In(signed(8))
        Activation; ``x_o`` passes it on.
    w_i : In(signed(8))
        Weight; ``w_o`` passes it on.
    last_i : In(1)
        The operands end a sum; ``last_o`` passes it on.
    drain_i : In(signed(sum_bits))
        Shadow of the element above; only with a shadow.
    drain_o : Out(signed(sum_bits))
        The accumulator, which holds the sum in the cycle after ``last_o``; or the shadow.
    """

    def __init__(self, parameters: RivalParameters):
        self._adders = FullAdders(parameters)
        x, w = signed(parameters.x_format.bits), signed(parameters.w_format.bits)
        total = signed(parameters.sum_bits)
        super().__init__(parameters, "", {
            "x_i": In(x), "x_o": Out(x),
            "w_i": In(w), "w_o": Out(w),
            "last_i": In(1), "last_o": Out(1, init=1),
            **({"drain_i": In(total)} if parameters.shadow else {}), "drain_o": Out(total),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()

        x, w, acc = (Signal.like(port, name=name, reset_less=True)
                     for port, name in ((self.x_o, "x"), (self.w_o, "w"), (self.drain_o, "acc")))
        restart = Signal(reset_less=True)
        m.d.sync += [
            x.eq(self.x_i),
            w.eq(self.w_i),
            self.last_o.eq(self.last_i),
            restart.eq(self.last_o),
        ]
        m.d.comb += [self.x_o.eq(x), self.w_o.eq(w)]
        if self.parameters.shadow:
            shadow = Signal.like(self.drain_o, name="shadow", reset_less=True)
            m.d.sync += shadow.eq(Mux(restart, acc, self.drain_i))
            m.d.comb += self.drain_o.eq(shadow)
        else:
            m.d.comb += self.drain_o.eq(acc)

        # A digit below 0 complements its row, which then lacks one: the carry of its chain. The
        # highest digit of w would undo the sign of a signed number and is left out.
        product, low = None, []
        for place, (single, double, minus) in enumerate(zip(*booth_digits(w.as_unsigned()),
                                                            strict=False)):
            row = Signal(signed(len(x) + 1), name=f"row_{place}")
            m.d.comb += row.eq((Mux(single, x, 0) | Mux(double, x.shift_left(1), 0))
                               ^ minus.replicate(len(row)))
            if place:
                low.append(product[:2])
                product = self._sum(m, f"sum_{place}", product[2:].as_signed(), row, minus,
                                    len(row) + 1)
            else:
                product, missing = row, minus
        product = Cat(*low, product).as_signed()
        m.d.sync += acc.eq(self._sum(m, "sum", Mux(restart, 0, acc), product, missing, len(acc)))

        return m

    def _sum(self, m, name, a, b, carry, width):
        """Sum of two signed values and a bit, in a chain of full adders."""
        a, b = (Cat(each, each[-1].replicate(width - len(each))) for each in (a, b))
        return ripple(m, self._adders, name, a, b, carry)[0].as_signed()
