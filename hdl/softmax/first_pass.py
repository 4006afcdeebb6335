"""First pass over a row, in any softmax unit: its keys to their buffer, its maximum to a queue."""

from amaranth import *
from amaranth.lib import fifo

from hdl.block import Block, Use
from hdl.softmax.maximum import Maximum

__all__ = ["first_pass", "waiting_rows"]


def waiting_rows(maximum: Maximum, cycles: int) -> int:
    """Rows that may have ended and wait, so that those of ``least_length`` need not.

    Parameters
    ----------
    maximum : Maximum
        Of the unit.
    cycles : int
        From a row's maximum to where the row is taken.
    """
    p = maximum.parameters
    return -(-(maximum.latency + 1 + cycles) // p.row_cycles(p.least_length))


def first_pass(m: Module, unit: Block, rows: fifo.SyncFIFO, keys: Use):
    """Take words of the stream ``x`` while there is room for their keys and their row.

    Parameters
    ----------
    m : Module
        Of the unit.
    unit : Block
        Has ``x``, ``too_long`` and a block ``maximum``, :class:`hdl.softmax.maximum.Maximum`.
    rows : SyncFIFO
        Receives what the second pass needs, once the row has ended.
    keys : Use of RowBuffer
        Receives words of keys.
    """
    p = unit.parameters
    m.submodules.maximum = maximum = Use(unit.maximum)
    queue = Signal(range(rows.depth + 1))  # rows that have ended and wait
    word  = Signal(range(p.words))
    cut   = word == p.words - 1
    taken, last = Signal(), Signal()
    # Lanes of the last word that the longest row does not have.
    rest   = p.max_length % p.width or p.width
    beyond = Signal(p.width)
    m.d.comb += [
        beyond.eq(Mux(cut, (1 << p.width) - (1 << rest), 0)),
        unit.x.ready.eq(keys.w_rdy & ~(last & (queue == rows.depth))),
        taken.eq(unit.x.valid & unit.x.ready),
        maximum.i_valid.eq(taken),
        maximum.i.eq(unit.x.p),
        maximum.i.keep.eq(unit.x.p.keep & ~beyond),
        last.eq(unit.x.p.last | cut),
        maximum.i.last.eq(last),
        unit.too_long.eq(taken & cut & (~unit.x.p.last | (unit.x.p.keep & beyond).any())),
        keys.w_data.eq(maximum.o),
        keys.w_en.eq(taken),
        rows.w_data.eq(maximum.row),
        rows.w_en.eq(maximum.row_valid),
    ]
    end = taken & last
    m.d.sync += queue.eq(queue + end - (rows.r_en & rows.r_rdy))
    with m.If(taken):
        m.d.sync += word.eq(Mux(end, 0, word + 1))
