"""Sums of values of equal codes: processing elements, and the tile of them."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.values_parameters import ValuesParameters
from hdl.block import Block, Use
from hdl.compressor import BitHeap, FullAdders

__all__ = ["ValuesPE", "ValuesTile", "codes_layout", "sums_layout", "values_layout"]


def codes_layout(parameters: ValuesParameters) -> data.ArrayLayout:
    """Layout of L codes of each query, each with the bit above it that tells masked."""
    p = parameters
    return data.ArrayLayout(data.ArrayLayout(p.word_bits, p.tokens), p.queries)


def values_layout(parameters: ValuesParameters) -> data.ArrayLayout:
    """Layout of L values of each column."""
    return data.ArrayLayout(data.ArrayLayout(signed(8), parameters.tokens), parameters.columns)


def sums_layout(parameters: ValuesParameters) -> data.ArrayLayout:
    """Layout of the sums of values of ``products`` codes, the lowest code first."""
    return data.ArrayLayout(signed(parameters.value_sum_bits), parameters.products)


def _selects_layout(parameters: ValuesParameters) -> data.ArrayLayout:
    """Layout of a query's select lines, for each pair of tokens and each code."""
    lines = data.StructLayout({"first": 1, "second": 1, "both": 1})
    return data.ArrayLayout(data.ArrayLayout(lines, parameters.levels), parameters.tokens // 2)


def _column_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of a column's values and of the sums of pairs of them."""
    p = parameters
    return data.StructLayout({"v": data.ArrayLayout(signed(8), p.tokens),
                              "pair": data.ArrayLayout(signed(9), p.tokens // 2)})


class ValuesPE(Block):
    """Output-stationary element of one query and one column: a sum of values for each code.

    A pair of tokens adds to the sum of a code one of 0, v0, v1 and v0 + v1. Each sum has one
    compressor tree with a single carry-propagate adder. In a cycle with ``last`` the sums go to
    shadows and the next ones start from 0. The shadows form a shift register, ``products`` at a
    time, that moves in every other cycle; the lowest codes leave first.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    selects, column : In
        What the tile's query and its column share.
    last : In(1)
        This cycle's tokens are the last.
    drain_i : In(sums_layout(parameters))
        Shadows of the next query.
    drain_o : Out(sums_layout(parameters))
        This element's lowest shadows.
    """

    def __init__(self, parameters: ValuesParameters):
        self._adders = FullAdders(parameters)
        super().__init__(parameters, "pe", {
            "selects": In(_selects_layout(parameters)),
            "column":  In(_column_layout(parameters)),
            "last":    In(1),
            "drain_i": In(sums_layout(parameters)),
            "drain_o": Out(sums_layout(parameters)),
        })

    @property
    def uses(self) -> "tuple[Block, ...]":
        """Adders."""
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        shape = signed(p.value_sum_bits)

        shadows = [Signal(shape, name=f"shadow_{k}", reset_less=True) for k in range(p.levels)]
        above   = [*shadows[p.products:], *self.drain_i]
        for k, shadow in enumerate(shadows):
            acc   = Signal(shape, name=f"acc_{k}", reset_less=True)
            total = Signal(shape, name=f"total_{k}")
            m.d.comb += total.eq(self._total(m, k, acc))
            m.d.sync += [
                acc.eq(Mux(self.last, 0, total)),
                shadow.eq(Mux(self.last, total, above[k])),
            ]
        m.d.comb += [port.eq(shadow)
                     for port, shadow in zip(self.drain_o, shadows[:p.products], strict=True)]

        return m

    def _total(self, m, k, acc):
        """The accumulator plus this cycle's values of code k."""
        heap = BitHeap(len(acc))
        for pair, codes in enumerate(self.selects):
            lines  = codes[k]
            v0, v1 = (Value.cast(self.column.v[2 * pair + token]) for token in range(2))
            addend = Signal(signed(9), name=f"addend_{k}_{pair}")
            m.d.comb += addend.eq(
                Cat(v0, v0[-1]) & lines.first.replicate(9)
                | Cat(v1, v1[-1]) & lines.second.replicate(9)
                | Value.cast(self.column.pair[pair]) & lines.both.replicate(9))
            heap.add(addend)
        heap.add(acc.as_unsigned())
        return heap.total(m, self._adders, f"add_{k}")


class ValuesTile(Block):
    """C queries by R columns of elements.

    Operands enter through registers. The select lines are formed once for each query, the sums of
    pairs once for each column. Sums leave from the second cycle after one with ``last``, query 0
    first, ``products`` codes of each column in a cycle; the cycles of another ``last`` must be at
    least ``queries * query_cycles`` later. After a reset the first cycle clears what was there.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    codes : In(codes_layout(parameters))
        Masked in cycles without tokens.
    values : In(values_layout(parameters))
    last : In(1)
        The tokens are the last.
    sums : Out(ArrayLayout(sums_layout(parameters), columns))
    """

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        self.pe = ValuesPE(p)
        super().__init__(p, "tile", {
            "codes":  In(codes_layout(p)),
            "values": In(values_layout(p)),
            "last":   In(1),
            "sums":   Out(data.ArrayLayout(sums_layout(p), p.columns)),
        }, uses=(self.pe,))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        codes, values = (Signal.like(port, name=name, reset_less=True)
                         for port, name in ((self.codes, "codes_"), (self.values, "values_")))
        last = Signal(init=1)
        m.d.sync += [codes.eq(self.codes), values.eq(self.values), last.eq(self.last)]

        selects = []
        for query in range(p.queries):
            selects.append(Signal(_selects_layout(p), name=f"selects_{query}"))
            m.d.comb += Value.cast(selects[-1]).eq(_selects(p, codes[query]))
        for c in range(p.columns):
            column = Signal(_column_layout(p), name=f"column_{c}")
            m.d.comb += [column.v.eq(values[c])]
            m.d.comb += [column.pair[pair].eq(values[c][2 * pair] + values[c][2 * pair + 1])
                         for pair in range(p.tokens // 2)]
            following = Const(0, Value.cast(self.sums[c]).shape())
            for query in reversed(range(p.queries)):
                m.submodules[f"pe_{query}_{c}"] = pe = Use(self.pe)
                m.d.comb += [
                    pe.selects.eq(selects[query]),
                    pe.column.eq(column),
                    pe.last.eq(last),
                    Value.cast(pe.drain_i).eq(following),
                ]
                following = Value.cast(pe.drain_o)
            m.d.comb += Value.cast(self.sums[c]).eq(following)

        return m


def _selects(p, codes):
    """Select lines of a query's codes; a masked code, 2**b, has none."""
    lines = []
    for pair in range(p.tokens // 2):
        for k in range(p.levels):
            first, second = (codes[2 * pair + token] == k for token in range(2))
            lines += [first & ~second, second & ~first, first & second]
    return Cat(*lines)
