"""Tile that dequantises its weights to fp16 before it multiplies."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl.block import Block, Use
from hdl.rivals.factor import factor, factor_layout
from hdl.rivals.float_dequantiser import FloatDequantiser
from hdl.rivals.fma import FusedMultiplyAdd

__all__ = ["ShadowedElement", "FloatTile"]


class ShadowedElement(Block):
    """Element of a tile: ``acc + x * w`` rounded once, and a shadow as :class:`hdl.tile.PE` has.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``fp16_first``.

    Members
    -------
    row, column : In(factor_layout(parameters.acc == "fp32"))
        Operands.
    last : In(1)
        This cycle's operands end a sum.
    drain_i : In(acc bits)
        Shadow of the element above.
    drain_o : Out(acc bits)
        This element's shadow.
    """

    def __init__(self, parameters: RivalParameters):
        self._fma = FusedMultiplyAdd(parameters)
        operand = factor_layout(parameters.acc == "fp32")
        super().__init__(parameters, "pe", {
            "row":     In(operand),
            "column":  In(operand),
            "last":    In(1),
            "drain_i": In(parameters.sum_bits),
            "drain_o": Out(parameters.sum_bits),
        }, uses=(self._fma,))

    def elaborate(self, platform):
        m = Module()

        acc, shadow = (Signal(self.parameters.sum_bits, name=name, reset_less=True)
                       for name in ("acc", "shadow"))
        m.submodules.fma = fma = Use(self._fma)
        m.d.comb += [
            Value.cast(fma.x).eq(self.row),
            Value.cast(fma.w).eq(self.column),
            fma.acc.eq(acc),
            self.drain_o.eq(shadow),
        ]
        m.d.sync += [
            acc.eq(Mux(self.last, 0, fma.total)),
            shadow.eq(Mux(self.last, fma.total, self.drain_i)),
        ]

        return m


class FloatTile(Block):
    """R by C fused multiply-adds that share their operands, behind C dequantisers.

    One lane: each product of an element has a rounding and an accumulator of its own, so that L
    lanes would be L elements. The dequantisers stand before the register of the weights; what a
    multiply-add wants of an operand is formed once for a row or a column. Ports, latency and order
    of the sums are those of :class:`hdl.tile.Tile`; zero activations leave a sum as it is.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``fp16_first``.

    Members
    -------
    x_i : In(ArrayLayout(16, R))
        Codes of the rows' activations; ``x_o`` passes them on.
    w_i : In(ArrayLayout(4, C))
        Codes of the columns' weights.
    w_o : Out(ArrayLayout(16, C))
        The weights, codes of fp16.
    zero_i : In(ArrayLayout(5, C))
        Zero points of the columns, taken with each beat's codes.
    scale_i : In(ArrayLayout(16, C))
        Scales of the columns' groups, codes of fp16, taken with each beat's codes.
    last_i : In(1)
        The operands end a sum; ``last_o`` passes it on.
    drain_i : In(ArrayLayout(acc bits, C))
        Sums from the tile above.
    drain_o : Out(ArrayLayout(acc bits, C))
        Sums for the tile below.
    """

    def __init__(self, parameters: RivalParameters):
        p = parameters
        self._element, self._dequantiser = ShadowedElement(p), FloatDequantiser(p)
        layout = data.ArrayLayout
        x = layout(p.x_format.bits, p.tile_rows)
        drain = layout(p.sum_bits, p.tile_columns)
        super().__init__(parameters, "", {
            "x_i": In(x), "x_o": Out(x),
            "w_i": In(layout(p.w_format.bits, p.tile_columns)),
            "w_o": Out(layout(p.factor_format.bits, p.tile_columns)),
            "zero_i": In(layout(p.w_format.zero_bits, p.tile_columns)),
            "scale_i": In(layout(p.scale_format.bits, p.tile_columns)),
            "last_i": In(1), "last_o": Out(1, init=1),
            "drain_i": In(drain), "drain_o": Out(drain),
        }, uses=(self._element, self._dequantiser))

    def elaborate(self, platform):
        m = Module()

        x, w, drain = (Signal.like(port, name=name, reset_less=True) for port, name in (
            (self.x_o, "x"), (self.w_o, "w"), (self.drain_o, "drain")))
        m.d.sync += [x.eq(self.x_i), self.last_o.eq(self.last_i)]
        m.d.comb += [self.x_o.eq(x), self.w_o.eq(w), self.drain_o.eq(drain)]
        for column in range(self.parameters.tile_columns):
            m.submodules[f"dequantiser_{column}"] = dequantiser = Use(self._dequantiser)
            m.d.comb += [
                dequantiser.code.eq(self.w_i[column]),
                dequantiser.zero.eq(self.zero_i[column]),
                dequantiser.scale.eq(self.scale_i[column]),
            ]
            m.d.sync += w[column].eq(dequantiser.w)

        rows, columns = (
            [self._factor(m, f"{name}_{index}", code) for index, code in enumerate(operands)]
            for name, operands in (("row", x), ("column", w)))
        for c, column in enumerate(columns):
            above = self.drain_i[c]
            for r, row in enumerate(rows):
                m.submodules[f"pe_{r}_{c}"] = pe = Use(self._element)
                m.d.comb += [
                    pe.row.eq(row),
                    pe.column.eq(column),
                    pe.last.eq(self.last_o),
                    pe.drain_i.eq(above),
                ]
                above = pe.drain_o
            m.d.sync += drain[c].eq(above)

        return m

    def _factor(self, m, name, code):
        """Pieces of an operand."""
        normal  = self.parameters.acc == "fp32"
        operand = Signal(factor_layout(normal), name=name)
        m.d.comb += operand.eq(factor(m, code, normal))
        return operand
