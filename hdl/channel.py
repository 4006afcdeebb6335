"""An operand's way into the array: a ring buffer that is filled once and read several times."""

from amaranth import *
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block

__all__ = ["COUNT", "Channel", "after"]

#: Shape of counts of rows, columns, beats and passes.
COUNT = unsigned(24)


class Channel(Block):
    """Ring buffer for the operands of a command.

    A command brings ``outer`` rows of ``inner`` items each. ``rows`` of them form a block, which
    can be read side by side, item by item, once the block's last row has brought the item. What has
    come is sent in ``segments`` of ``length`` items, each ``repeats`` times; the last time frees
    it. Loading and sending keep their own place in the queue of commands, so that the next
    command's operands come while this one's are sent.

    One item is taken in each cycle while there is room, and one sent while there is any, from the
    second cycle after it was taken. Where the input ends is counted; ``last`` is only compared.

    Parameters
    ----------
    parameters : ArrayParameters
    name : str
        Name of the block.
    width : int
        Width of an item.
    depth : int
        Items of each row of a block that the buffer holds, at least 2.
    rows : int
        Rows of a block.

    Members
    -------
    i : In(stream.Signature(width))
        Items.
    last : In(1)
        The item is said to be the command's last.
    load_valid : In(1)
        There is a command to load: ``outer`` by ``inner`` items.
    outer, inner : In(COUNT)
    load_done : Out(1)
        The command has been loaded, with this cycle's item.
    unexpected, missing : Out(1)
        An item is said to be the last and is not; the last is not said to be.
    send_valid : In(1)
        There is a command to send; ``length`` must be at most ``depth`` if ``repeats`` is not 1.
    length, repeats, segments : In(COUNT)
    send_done : Out(1)
        The command has been read, in this cycle.
    o : Out(stream.Signature(rows * width))
        Items of all rows of a block, the first in the lowest bits.
    """

    def __init__(self, parameters: ArrayParameters, name: str, width: int, depth: int,
                 rows: int = 1):
        self._width, self._depth, self._rows = width, depth, rows
        super().__init__(parameters, name, {
            "i":          In(stream.Signature(width)),
            "last":       In(1),
            "load_valid": In(1),
            "outer":      In(COUNT),
            "inner":      In(COUNT),
            "load_done":  Out(1),
            "unexpected": Out(1),
            "missing":    Out(1),
            "send_valid": In(1),
            "length":     In(COUNT),
            "repeats":    In(COUNT),
            "segments":   In(COUNT),
            "send_done":  Out(1),
            "o":          Out(stream.Signature(rows * width)),
        })

    def elaborate(self, platform):
        m = Module()

        memories = []
        for row in range(self._rows):
            m.submodules[f"row_{row}"] = memory = Memory(
                shape=unsigned(self._width), depth=self._depth, init=[])
            memories.append((memory.write_port(), memory.read_port()))

        freed, complete = Signal(), Signal()
        filled = Signal(range(self._depth + 1))  # items that can be sent and are not yet freed
        m.d.sync += filled.eq(filled + complete - freed)
        self._load(m, [writer for writer, _ in memories], complete, freed)
        self._send(m, [reader for _, reader in memories], filled, freed)

        return m

    def _load(self, m, writers, complete, freed):
        """Take items; ``complete`` tells that an item of a block has come for all of its rows."""
        item, line = Signal(COUNT), Signal(COUNT)
        row     = Signal(range(max(2, self._rows)))  # of the block
        begun   = Signal(range(self._depth + 1))     # items that the first row has taken, not freed
        address = Signal(range(self._depth))
        start   = Signal(range(self._depth))         # of the block

        line_end = item == self.inner - 1
        end      = line == self.outer - 1
        closes   = end | (row == self._rows - 1)
        room     = (row != 0) | (begun != self._depth)
        taken    = Signal()
        m.d.comb += [
            self.i.ready.eq(self.load_valid & room),
            taken.eq(self.i.valid & self.i.ready),
            complete.eq(taken & closes),
            self.load_done.eq(taken & line_end & end),
            self.unexpected.eq(taken & self.last & ~(line_end & end)),
            self.missing.eq(self.load_done & ~self.last),
        ]
        m.d.sync += begun.eq(begun + (taken & (row == 0)) - freed)
        for index, writer in enumerate(writers):
            m.d.comb += [
                writer.addr.eq(address),
                writer.data.eq(self.i.payload),
                writer.en.eq(taken & (row == index)),
            ]
        with m.If(taken):
            m.d.sync += [item.eq(item + 1), address.eq(after(address, self._depth))]
            with m.If(line_end):
                m.d.sync += [item.eq(0), line.eq(Mux(end, 0, line + 1))]
                with m.If(closes):
                    m.d.sync += [row.eq(0), start.eq(after(address, self._depth))]
                with m.Else():
                    m.d.sync += [row.eq(row + 1), address.eq(start)]

    def _send(self, m, readers, filled, freed):
        """Read items; the memory's output register holds the one that is offered.

        It keeps the last one: what was never written is not read, not even where beats are padded.
        """
        item, repeat, segment = Signal(COUNT), Signal(COUNT), Signal(COUNT)
        address = Signal(range(self._depth))
        start   = Signal(range(self._depth))  # of the segment

        enable = ~self.o.valid | self.o.ready
        final  = repeat == self.repeats - 1   # items are freed as they are read
        end    = item == self.length - 1
        read   = Signal()
        m.d.comb += [
            read.eq(self.send_valid & enable & Mux(final, filled != 0, filled > item)),
            freed.eq(read & final),
            self.send_done.eq(read & end & final & (segment == self.segments - 1)),
            self.o.payload.eq(Cat(reader.data for reader in readers)),
        ]
        for reader in readers:
            m.d.comb += [reader.addr.eq(address), reader.en.eq(read)]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(read)
        with m.If(read):
            m.d.sync += [item.eq(item + 1), address.eq(after(address, self._depth))]
            with m.If(end):
                m.d.sync += [item.eq(0), repeat.eq(repeat + 1)]
                with m.If(final):
                    m.d.sync += [
                        repeat.eq(0),
                        start.eq(after(address, self._depth)),
                        segment.eq(Mux(self.send_done, 0, segment + 1)),
                    ]
                with m.Else():
                    m.d.sync += address.eq(start)


def after(address: Value, depth: int) -> Value:
    """Next address in a ring."""
    return Mux(address == depth - 1, 0, address + 1)
