"""Processing elements, and tiles of them."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block, Use
from hdl.mac import mac

__all__ = ["PE", "Tile"]


class PE(Block):
    """Output-stationary processing element: one accumulator and its shadow.

    Adds Σ x·q of its lanes in each cycle with ``enable``. In a cycle with ``last`` the sum goes to
    the shadow and the next one begins, without a bubble. The shadows of a column form a shift
    register that goes on in other cycles with ``move``. In cycles with neither nothing changes.
    The accumulator needs no reset: ``last`` clears it.

    Sums are complements if the micro-architecture is ``inverted``.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    row, column : In
        Operands, in the layouts of the set's micro-architecture (:mod:`hdl.mac`).
    enable : In(1)
        This cycle has operands.
    last : In(1)
        They end a group; only with ``enable`` and ``move``.
    move : In(1)
        The shadow takes a sum.
    drain_i : In(signed(sum_bits))
        Shadow of the element above.
    drain_o : Out(signed(sum_bits))
        This element's shadow.
    """

    def __init__(self, parameters: ArrayParameters):
        self.mac = mac(parameters)
        super().__init__(parameters, "pe", {
            "row":     In(self.mac.row),
            "column":  In(self.mac.column),
            "enable":  In(1),
            "last":    In(1),
            "move":    In(1),
            "drain_i": In(signed(parameters.sum_bits)),
            "drain_o": Out(signed(parameters.sum_bits)),
        })

    @property
    def uses(self):
        return self.mac.uses

    def elaborate(self, platform):
        m = Module()

        acc    = Signal(signed(self.parameters.sum_bits), reset_less=True)
        shadow = Signal(signed(self.parameters.sum_bits), reset_less=True)
        total  = Signal(signed(self.parameters.sum_bits))
        m.d.comb += [
            total.eq(self.mac.total(m, self.row, self.column, acc)),
            self.drain_o.eq(shadow),
        ]
        with m.If(self.move):
            m.d.sync += shadow.eq(Mux(self.last, total, self.drain_i))
        with m.If(self.enable):
            m.d.sync += acc.eq(Mux(self.last, -1 if self.mac.inverted else 0, total))

        return m


class Tile(Block):
    """R by C elements that share their operands combinationally.

    Operands arrive through registers, which pass them on to the next tile in the next cycle. Sums
    leave below, bottom row first, one row in each cycle from the second after ``last_o``; those
    of the tiles above follow without a gap, for a lower tile works one cycle later.

    Latency from operands to ``drain_o``: 3 cycles for the bottom row. No operand is ever refused.
    In a cycle without operands their registers and the accumulators keep what they have, so that
    nothing switches but the registers of the control, whatever ``x_i`` and ``w_i`` are.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    x_i : In(ArrayLayout(ArrayLayout(signed(x_bits), L), R))
        Activations of the rows; ``x_o`` passes them on.
    w_i : In(ArrayLayout(ArrayLayout(w_bits, L), C))
        Weights of the columns; ``w_o`` passes them on.
    enable_i : In(1)
        This cycle has operands; ``enable_o`` passes it on.
    last_i : In(1)
        They end a group; only with ``enable_i`` and ``move_i``. ``last_o`` passes it on.
    move_i : In(1)
        Sums drain, in the cycle with ``last_i`` and, while rows are left, in those after it;
        ``move_o`` passes it on.
    drain_i : In(ArrayLayout(signed(sum_bits), C))
        Sums from the tile above.
    drain_o : Out(ArrayLayout(signed(sum_bits), C))
        Sums for the tile below or the column's foot.
    """

    def __init__(self, parameters: ArrayParameters):
        self.pe = PE(parameters)
        x = data.ArrayLayout(self.pe.mac.x, parameters.tile_rows)
        w = data.ArrayLayout(self.pe.mac.w, parameters.tile_columns)
        drain = data.ArrayLayout(signed(parameters.sum_bits), parameters.tile_columns)
        super().__init__(parameters, "tile", {
            "x_i": In(x), "x_o": Out(x),
            "w_i": In(w), "w_o": Out(w),
            "enable_i": In(1), "enable_o": Out(1, init=1),
            "last_i": In(1), "last_o": Out(1, init=1),
            "move_i": In(1), "move_o": Out(1),
            "drain_i": In(drain), "drain_o": Out(drain),
        }, uses=(self.pe,))

    def elaborate(self, platform):
        m = Module()

        # After a reset, a wave of `last` clears the accumulators behind whatever was in flight.
        x, w = (Signal.like(port, name=name, reset_less=True)
                for port, name in ((self.x_i, "x"), (self.w_i, "w")))
        drain = Signal.like(self.drain_o, name="drain", reset_less=True)
        m.d.sync += [
            self.enable_o.eq(self.enable_i),
            self.last_o.eq(self.last_i),
            self.move_o.eq(self.move_i),
        ]
        with m.If(self.enable_i):
            m.d.sync += [x.eq(self.x_i), w.eq(self.w_i)]
        m.d.comb += [self.x_o.eq(x), self.w_o.eq(w), self.drain_o.eq(drain)]

        rows, columns = [], []
        early = self.parameters.cut == "shared"
        for name, layout, share, operands, shared in (
                ("row", self.pe.mac.row, self.pe.mac.share_row, self.x_i if early else x, rows),
                ("column", self.pe.mac.column, self.pe.mac.share_column,
                 self.w_i if early else w, columns)):
            for index, operand in enumerate(operands):
                shared.append(Signal(layout, name=f"{name}_{index}", reset_less=True))
                form = Value.cast(shared[-1]).eq(share(operand))
                if early:
                    with m.If(self.enable_i):
                        m.d.sync += form
                else:
                    m.d.comb += form

        def upright(total):
            """Sum of an element from its complement and back, if it is one."""
            return ~total if self.pe.mac.inverted else total

        for c, column in enumerate(columns):
            above = upright(self.drain_i[c])
            for r, row in enumerate(rows):
                m.submodules[f"pe_{r}_{c}"] = pe = Use(self.pe)
                m.d.comb += [
                    pe.row.eq(row),
                    pe.column.eq(column),
                    pe.enable.eq(self.enable_o),
                    pe.last.eq(self.last_o),
                    pe.move.eq(self.move_o),
                    pe.drain_i.eq(above),
                ]
                above = pe.drain_o
            with m.If(self.move_o):
                m.d.sync += drain[c].eq(upright(above))

        return m
