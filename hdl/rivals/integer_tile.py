"""Tile that dequantises its weights to int8 before it multiplies."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.rival_parameters import RivalParameters
from hdl.block import Block, Use
from hdl.rivals.integer_dequantiser import IntegerDequantiser
from hdl.tile import Tile

__all__ = ["IntegerTile"]


class IntegerTile(Block):
    """A tile of int8 multipliers behind one dequantiser for each weight of a beat.

    The dequantisers stand before the register of the weights, so that nothing is registered twice
    and no cycle is longer; the tiles below take the weights from ``w_o`` and need none. Sums go on
    through the groups, whose scales are in the weights; those of the columns are left to whoever
    takes the sums. Ports, latency and order of the sums are those of :class:`hdl.tile.Tile`.

    Parameters
    ----------
    parameters : RivalParameters
        Of kind ``int8_first``.

    Members
    -------
    x_i : In(ArrayLayout(ArrayLayout(signed(8), L), R))
        Activations of the rows; ``x_o`` passes them on.
    w_i : In(ArrayLayout(ArrayLayout(4, L), C))
        Codes of the columns' weights.
    w_o : Out(ArrayLayout(ArrayLayout(signed(8), L), C))
        The weights.
    zero_i : In(ArrayLayout(5, C))
        Zero points of the columns, taken with each beat's codes.
    scale_i : In(ArrayLayout(8, C))
        Scales of the columns' groups, unsigned integers, taken with each beat's codes.
    last_i : In(1)
        The operands end a sum; ``last_o`` passes it on.
    drain_i : In(ArrayLayout(signed(sum_bits), C))
        Sums from the tile above.
    drain_o : Out(ArrayLayout(signed(sum_bits), C))
        Sums for the tile below.
    """

    def __init__(self, parameters: RivalParameters):
        p = parameters
        self._tile, self._dequantiser = Tile(p.array), IntegerDequantiser(p)
        ports = self._tile.signature.members
        super().__init__(parameters, "", {
            "x_i": ports["x_i"], "x_o": ports["x_o"],
            "w_i": In(data.ArrayLayout(data.ArrayLayout(p.w_format.bits, p.lanes),
                                       p.tile_columns)),
            "w_o": ports["w_o"],
            "zero_i": In(data.ArrayLayout(p.w_format.zero_bits, p.tile_columns)),
            "scale_i": In(data.ArrayLayout(p.scale_format.bits, p.tile_columns)),
            "last_i": In(1), "last_o": Out(1),
            "drain_i": ports["drain_i"], "drain_o": ports["drain_o"],
        }, uses=(self._tile, self._dequantiser))

    def elaborate(self, platform):
        m = Module()

        m.submodules.tile = tile = Use(self._tile)
        for column in range(self.parameters.tile_columns):
            m.submodules[f"dequantiser_{column}"] = dequantiser = Use(self._dequantiser)
            m.d.comb += [
                Value.cast(dequantiser.code).eq(self.w_i[column]),
                dequantiser.zero.eq(self.zero_i[column]),
                dequantiser.scale.eq(self.scale_i[column]),
                Value.cast(tile.w_i[column]).eq(dequantiser.w),
            ]
        m.d.comb += [Value.cast(getattr(tile, port)).eq(getattr(self, port))
                     for port in ("x_i", "last_i", "drain_i")]
        m.d.comb += [tile.enable_i.eq(1), tile.move_i.eq(1)]
        m.d.comb += [Value.cast(getattr(self, port)).eq(getattr(tile, port))
                     for port in ("x_o", "w_o", "last_o", "drain_o")]

        return m
