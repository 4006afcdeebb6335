"""Float activations on their way into the engine: aligned to their group's largest exponent."""

from amaranth import *
from amaranth.lib import fifo, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.formats import FORMATS
from golden.parameters import ArrayParameters
from hdl.block import Block
from hdl.channel import COUNT, after
from hdl.float32 import round_even

__all__ = ["Aligner"]

#: Groups that may wait to be sent, so that the shortest do not hold up each other.
_GROUPS = 4


class Aligner(Block):
    """Fixed-point fractions, and the power of two that is a group's scale.

    Computes :func:`golden.align.align`: with E the largest exponent of a row's group, each
    activation is divided by ``2**E`` and rounded, ties to even, to A bits with two before the
    point; a group with an infinity or NaN has the scale NaN and activations 0.

    A group waits in a ring buffer until its largest exponent is known; the ring holds two, so that
    an item enters and one leaves in each cycle. Latency is a group and four cycles.

    Parameters
    ----------
    parameters : ArrayParameters
        Set with ``x_align``.

    Members
    -------
    i : In(stream.Signature(lanes * width of x))
        L activations of a row, row by row.
    i_last : In(1)
        Is passed on with the item.
    valid : In(1)
        There is a command: ``rows`` of ``beats`` items, a group being ``group_beats`` of these or
        the rest of a row, and a row's last item having ``tail`` activations.
    rows, beats, group_beats, tail : In
    done : Out(1)
        The command's items have been taken, with this cycle's.
    o : Out(stream.Signature(lanes * A))
        Activations in the same order.
    o_last : Out(1)
    scale : Out(stream.Signature(8))
        Code of each row's and group's scale in e8m0, offered with the group's last item.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        super().__init__(p, "aligner", {
            "i":           In(stream.Signature(FORMATS[p.x].bits * p.lanes)),
            "i_last":      In(1),
            "valid":       In(1),
            "rows":        In(COUNT),
            "beats":       In(COUNT),
            "group_beats": In(COUNT),
            "tail":        In(range(p.lanes + 1)),
            "done":        Out(1),
            "o":           Out(stream.Signature(p.x_align * p.lanes)),
            "o_last":      Out(1),
            "scale":       Out(stream.Signature(FORMATS["e8m0"].bits)),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        fmt = FORMATS[p.x]
        depth = 2 * p.beats

        m.submodules.ring = ring = Memory(shape=unsigned(len(self.i.payload) + 2), depth=depth,
                                          init=[])
        m.submodules.groups = groups = fifo.SyncFIFOBuffered(width=fmt.exp_bits + 1,
                                                             depth=_GROUPS)
        # A group can be read when it is complete.
        level, readable, length = Signal(range(depth + 1)), Signal(range(depth + 1)), Signal(
            range(p.beats + 1))
        taken, end, read = Signal(), Signal(), Signal()
        m.d.sync += [
            level.eq(level + taken - read),
            readable.eq(readable + Mux(taken & end, length + 1, 0) - read),
        ]
        self._take(m, ring.write_port(), groups, level != depth, length, taken, end)
        self._send(m, ring.read_port(), groups, readable != 0, read)

        return m

    def _take(self, m, writer, groups, room, length, taken, end):
        """Store items, and find the largest exponent of each group."""
        p = self.parameters
        fmt = FORMATS[p.x]
        item, row = Signal(COUNT), Signal(COUNT)
        row_end   = item == self.beats - 1
        largest, found = Signal(fmt.exp_bits), Signal(fmt.exp_bits)
        special, seen  = Signal(), Signal()  # an infinity or NaN

        exponents = []
        for lane in range(p.lanes):
            exponent = self.i.payload.word_select(lane, fmt.bits)[fmt.man_bits:-1]
            present  = ~row_end | (lane < self.tail)
            exponents.append(Mux(present, exponent, 0))
        m.d.comb += [
            self.i.ready.eq(self.valid & room & groups.w_rdy),
            taken.eq(self.i.valid & self.i.ready),
            end.eq(row_end | (length == self.group_beats - 1)),
            found.eq(_largest([largest, *exponents])),
            seen.eq(special | Cat(each.all() for each in exponents).any()),
            writer.data.eq(Cat(self.i.payload, self.i_last, end)),
            writer.en.eq(taken),
            groups.w_data.eq(Cat(found, seen)),
            groups.w_en.eq(taken & end),
            self.done.eq(taken & row_end & (row == self.rows - 1)),
        ]
        with m.If(taken):
            m.d.sync += [
                writer.addr.eq(after(writer.addr, 2 * p.beats)),
                item.eq(Mux(row_end, 0, item + 1)),
                length.eq(Mux(end, 0, length + 1)),
                largest.eq(Mux(end, 0, found)),
                special.eq(Mux(end, 0, seen)),
            ]
            with m.If(row_end):
                m.d.sync += row.eq(Mux(self.done, 0, row + 1))

    def _send(self, m, reader, groups, readable, read):
        """Read items, shift them to their group's exponent, round."""
        p = self.parameters
        fmt, scale = FORMATS[p.x], FORMATS["e8m0"]
        stored, stored_last, end = (reader.data[:-2], reader.data[-2], reader.data[-1])
        valid, leave = Signal(), Signal()             # of the item that has been read
        shifted_valid, shifted_leave = Signal(), Signal()
        m.d.comb += [
            reader.en.eq(~valid | leave),
            read.eq(readable & reader.en),
            shifted_leave.eq(~self.o.valid | self.o.ready),
            self.scale.valid.eq(valid & end & groups.r_rdy & (~shifted_valid | shifted_leave)),
            leave.eq(valid & groups.r_rdy & (~shifted_valid | shifted_leave)
                     & (~end | self.scale.ready)),
            groups.r_en.eq(leave & end),
        ]
        with m.If(read):
            m.d.sync += reader.addr.eq(after(reader.addr, 2 * p.beats))
        with m.If(reader.en):
            m.d.sync += valid.eq(read)

        # Zeros and subnormal numbers have the exponent of the least normal ones.
        largest, special = groups.r_data[:-1], groups.r_data[-1]
        exponent = Mux(largest == 0, 1, largest)
        m.d.comb += self.scale.payload.eq(
            Mux(special, scale.nan, exponent + (scale.bias - fmt.bias)))

        shifted_last = Signal()
        with m.If(leave):
            m.d.sync += shifted_last.eq(stored_last)
        with m.If(leave | shifted_leave):
            m.d.sync += shifted_valid.eq(leave)
        with m.If(shifted_leave):
            m.d.sync += [self.o.valid.eq(shifted_valid), self.o_last.eq(shifted_last)]
        for lane in range(p.lanes):
            magnitude, negative = self._shift(
                m, stored.word_select(lane, fmt.bits), exponent, special, leave)
            rounded = _round(magnitude, negative, p.x_align)
            with m.If(shifted_leave):
                m.d.sync += self.o.payload.word_select(lane, p.x_align).eq(rounded)

    def _shift(self, m, code, exponent, special, enable):
        """Registered sign, and magnitude in half steps above a sticky bit."""
        p = self.parameters
        fmt = FORMATS[p.x]
        own  = code[fmt.man_bits:-1]
        full = Cat(code[:fmt.man_bits], own != 0)  # the hidden bit
        distance = Signal(fmt.exp_bits)
        m.d.comb += distance.eq(exponent - Mux(own == 0, 1, own))
        # Two bits before the point, the sign's among them, and the half below A bits.
        wide = Cat(C(0, max(0, p.x_align - 1 - fmt.man_bits)), full)
        most = len(wide)  # a shift by more leaves but the sticky bit
        amount = Mux(distance > most, most, distance)[:most.bit_length()]
        kept = Cat(C(0, most), wide) >> amount
        start = most + len(wide) - p.x_align  # of the half
        magnitude, negative = Signal(p.x_align + 1), Signal()
        with m.If(enable):
            m.d.sync += [
                magnitude.eq(Mux(special, 0, Cat(kept[:start].any(), kept[start:]))),
                negative.eq(code[-1]),
            ]
        return magnitude, negative


def _largest(values):
    """Largest of some numbers, by a tree."""
    while len(values) > 1:
        pairs = [Mux(a > b, a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs):]
    return values[0]


def _round(magnitude, negative, bits):
    """Nearest number of A bits, ties to even, of a magnitude with half and sticky bit."""
    above = magnitude[2:] + round_even(magnitude, 2)   # up to 2**(A - 1)
    highest = (1 << bits - 1) - 1
    return Mux(negative, -above, Mux(above[bits - 1], highest, above))[:bits]
