"""Queues: nothing is lost, doubled or out of order."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import SETS
from hdl.block import Block
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES"]


class PlainQueue(Block):
    """A queue of the library without a register at its output, as a block."""

    def __init__(self, module, width, depth):
        self._make = lambda: module.SyncFIFO(width=width, depth=depth)
        super().__init__(SETS["tiny"], "plain_queue", {
            "w_data": In(width), "w_en": In(1), "w_rdy": Out(1),
            "r_data": Out(width), "r_en": In(1), "r_rdy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = self._make()
        m.d.comb += [getattr(queue, name).eq(getattr(self, name))
                     for name in ("w_data", "w_en", "r_en")]
        m.d.comb += [getattr(self, name).eq(getattr(queue, name))
                     for name in ("w_rdy", "r_data", "r_rdy")]

        return m


class Queue(Harness):
    """A queue beside a count of its words and any one word that is written.

    ``stored`` words are in its memory; if it is ``buffered``, one more waits at its output, and
    words need a cycle more.
    """

    def __init__(self, queue, width, stored, *, buffered):
        self._stored, self._buffered = stored, buffered
        probes = {f"word_{place}": (f"queue.storage[{place}]", unsigned(width))
                  for place in range(stored)}
        if stored > 1:
            probes |= {name: (f"queue.{name}", Shape.cast(range(stored)))
                       for name in ("produce", "consume")}
        probes |= {"filled": (f"queue.{'inner_level' if buffered else 'level'}",
                              Shape.cast(range(stored + 1)))}
        super().__init__(queue, {"mark": In(1)}, probes)

    def state(self, m):
        stored = self._stored
        depth  = stored + self._buffered
        front  = self.r_rdy if self._buffered else C(0)
        level, ahead = Signal(range(depth + 2)), Signal(range(depth + 1))
        held, seen, old = Signal(), Signal(), Signal()
        kept = Signal.like(self.w_data)
        push, pop, ours, leaves = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            push.eq(self.w_en & self.w_rdy),
            pop.eq(self.r_en & self.r_rdy),
            ours.eq(push & self.mark & ~seen),
            leaves.eq(held & pop & (ahead == 0)),
        ]
        m.d.sync += [level.eq(level + push - pop), old.eq(held)]
        with m.If(ours):
            m.d.sync += [seen.eq(1), held.eq(1), kept.eq(self.w_data), ahead.eq(level - pop)]
        with m.Elif(leaves):
            m.d.sync += held.eq(0)
        with m.Elif(held & pop):
            m.d.sync += ahead.eq(ahead - 1)

        self.claim(m, level <= depth)
        self.claim(m, ~self.r_rdy | (level != 0))
        self.claim(m, self.w_rdy | (level >= stored))
        self.claim(m, ~leaves | (self.r_data == kept))
        late = held & old if self._buffered else held
        self.claim(m, ~(late & (ahead == 0)) | self.r_rdy)
        self.claim(m, self.stays(m, "r", self.r_rdy, self.r_en, self.r_data))
        # What makes the induction close.
        self.claim(m, level == self.filled + front)
        self.claim(m, self.filled <= stored)
        consume, produce = (self.consume, self.produce) if stored > 1 else (C(0), C(0))
        self.claim(m, (consume < stored) & (produce < stored))
        around = consume + self.filled
        self.claim(m, produce == Mux(around >= stored, around - stored, around))
        self.claim(m, ~held | (seen & (ahead < level)))
        waits = held & ~(front & (ahead == 0))
        place = consume + ahead - front
        place = Mux(place >= stored, place - stored, place)
        for index in range(stored):
            self.claim(m, ~(waits & (place == index)) | (getattr(self, f"word_{index}") == kept))
        self.claim(m, ~(held & front & (ahead == 0)) | (self.r_data == kept))


def _row_buffer(module, case):
    """A row buffer of a width and a depth."""
    return Queue(module.RowBuffer(SETS["tiny"], "words", *case), case[0], case[1] - 1,
                 buffered=True)


def _plain_queue(module, case):
    """A queue without a register at its output."""
    return Queue(PlainQueue(module, *case), *case, buffered=False)


PROPERTIES = [
    Property(
        name="queue", family="streams", module="hdl.softmax.row_buffer", short=True,
        claim="Any word that is written to a row buffer, or another queue with a register at its "
              "output, leaves once, after those before it and unchanged, is offered from the "
              "second cycle after it was written on if none is ahead, and stays until it is taken; "
              "a queue of N words refuses one only if it has N - 1 or more.",
        cases={f"{width} bits, {depth} words": (width, depth)
               for width, depth in ((2, 4), (2, 2), (2, 5), (3, 9), (2, 10), (2, 29), (2, 33),
                                    (2, 49))},
        build=_row_buffer, method="induction", depth=4,
        broken=(Broken("queue.w_en.eq(self.w_en)", "queue.w_en.eq(self.w_en & ~self.r_en)",
                       depth=6),
                Broken("queue.r_en.eq(self.r_en)", "queue.r_en.eq(1)", depth=6))),
    Property(
        name="plain-queue", family="streams", module="amaranth.lib.fifo", short=True,
        claim="Any word that is written to a queue without a register at its output leaves once, "
              "after those before it and unchanged, is offered from the cycle after it was "
              "written on if none is ahead, and stays until it is taken; a queue refuses one only "
              "if it is full.",
        cases={f"2 bits, {depth} {'words' if depth > 1 else 'word'}": (2, depth)
               for depth in (3, 1, 2, 4)},
        build=_plain_queue, method="induction", depth=4,
        broken=(Broken("self.w_rdy.eq(self.level != self.depth),",
                       "self.w_rdy.eq(1),", depth=8),
                Broken("with m.If(do_read & ~do_write):\n            m.d.sync += self.level",
                       "with m.If(do_read):\n            m.d.sync += self.level", depth=8))),
]
