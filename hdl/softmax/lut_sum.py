"""Beside the second pass: the sum of a row's exponents by EXAQ's table (arXiv 2410.03185)."""

from amaranth import *
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.float32 import later, named
from hdl.softmax.coder import codes_layout

__all__ = ["LutSum"]


class LutSum(Block):
    """S, by a table of the sums of ``lut_codes`` exponents; :func:`golden.lut_sum.lut_sum`.

    Each word looks up ``width / lut_codes`` sums, in as many copies of the table. A masked element
    has the index of code 0, so that E_0 is subtracted for each. The sum is there 3 cycles after the
    row's last word.

    The unit fills the table itself, an entry of all copies in each cycle, when a row comes whose
    exponents are not those that it was filled from, and takes ``fill_cycles`` for it. It keeps
    these exponents, so a table cannot differ from the constants.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    next : In(ArrayLayout(exp_bits + 1, levels))
        Exponents of the row whose words come next.
    load : In(1)
        Take them; not before the last word of the row before, but with it at the earliest.
    i : In(codes_layout(parameters))
    i_valid : In(1)
        Only if ``ready``.
    ready : Out(1)
        The word can come: the table is that of the exponents taken last, and if the word is a row's
        last there is room for its sum.
    closing : Out(1)
        The last word of a row comes.
    valid : Out(1)
        ``sum`` is that of a row, until ``taken``. Without meaning for an invalid row.
    taken : In(1)
    sum : Out(sum_bits)
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        exponents = data.ArrayLayout(p.exp_bits + 1, p.levels)
        super().__init__(p, "lut_sum", {
            "next": In(exponents), "load": In(1),
            "i": In(codes_layout(p)), "i_valid": In(1), "ready": Out(1), "closing": Out(1),
            "valid": Out(1), "taken": In(1), "sum": Out(p.sum_bits),
        })

    @property
    def fill_cycles(self) -> int:
        """Cycles that a row waits for the table of other exponents."""
        return self.parameters.lut_entries + 1

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        held = Signal.like(self.next)
        filling, port = self._fill(m, held)
        busy = Signal()  # a row's sum is on its way or there
        m.d.comb += [
            self.ready.eq(~filling & ~(self.i.last & busy & ~(self.valid & self.taken))),
            self.closing.eq(self.i_valid & self.i.last),
        ]
        with m.If(self.closing):
            m.d.sync += busy.eq(1)
        with m.Elif(self.valid & self.taken):
            m.d.sync += busy.eq(0)

        masked = [self.i.codes[lane][-1] for lane in range(p.width)]
        found  = []
        for first in range(0, p.width, p.lut_codes):
            index = Cat(self.i.codes[lane][:-1] & (~masked[lane]).replicate(p.bits)
                        for lane in range(first, first + p.lut_codes))
            found.append(self._look_up(m, f"table_{first}", index, port))
        extra, = later(m, "extra", (sum(masked) * held[0],))
        valid, last = Signal(2), Signal(2)
        m.d.sync += [valid.eq(Cat(self.i_valid, valid)), last.eq(Cat(self.i.last, last))]
        word = Signal(range((p.width << p.exp_bits) + 1), reset_less=True)
        m.d.sync += word.eq(sum(found) - extra)

        running = Signal(p.sum_bits)
        total   = named(m, "total", (running + word)[:p.sum_bits])
        with m.If(valid[1]):
            m.d.sync += running.eq(Mux(last[1], 0, total))
        with m.If(valid[1] & last[1]):
            m.d.sync += [self.sum.eq(total), self.valid.eq(1)]
        with m.Elif(self.taken):
            m.d.sync += self.valid.eq(0)

        return m

    def _fill(self, m, held):
        """Write the table for other exponents; whether it is being done, and what is written."""
        p = self.parameters
        filled, filling, write = Signal(), Signal(), Signal()
        index = Signal(p.bits * p.lut_codes)
        with m.If(self.load & ~(filled & (Value.cast(self.next) == Value.cast(held)))):
            m.d.sync += [held.eq(self.next), filled.eq(0), filling.eq(1)]
        with m.If(filling):
            m.d.sync += index.eq(index + 1)
            with m.If(index.all()):
                m.d.sync += [filling.eq(0), filled.eq(1)]
        # An entry is computed in the cycle before it is written.
        entry = sum(held[index.word_select(place, p.bits)] for place in range(p.lut_codes))
        entry, place = later(m, "write", (entry, index))
        m.d.sync += write.eq(filling)
        return filling | write, (write, place, entry)

    def _look_up(self, m, name, index, port):
        """Sum of an index, one cycle later, in a copy of the table."""
        p = self.parameters
        write, place, entry = port
        m.submodules[name] = table = memory.Memory(shape=p.lut_bits, depth=p.lut_entries, init=[])
        writing, reading = table.write_port(), table.read_port()
        m.d.comb += [
            writing.en.eq(write), writing.addr.eq(place), writing.data.eq(entry),
            reading.en.eq(1), reading.addr.eq(index),
        ]
        return reading.data
