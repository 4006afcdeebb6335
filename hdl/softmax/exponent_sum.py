"""Beside the second pass: the sum of a row's exponents from counters of its codes."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.compressor import BitHeap, FullAdders
from hdl.float32 import named
from hdl.softmax.coder import codes_layout, reached_layout

__all__ = ["ExponentSum"]


class ExponentSum(Block):
    """S = Σ_k n_k·E_k, exact.

    Elements of each code are counted for ``block_words`` words, in a row's first block up to one
    less than twice as many, so that its last ends with the row. While the next block is counted the
    counts are multiplied, ``digits`` bits of each at a time from the lowest on: the sum rotates,
    and its low part takes the products. It takes ``steps`` cycles, ``block_words`` at most.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    i : In(codes_layout(parameters))
    reached : In(reached_layout(parameters))
    i_valid : In(1)
        Only if ``ready``.
    rest : In(range(block_words))
        Words of the row modulo ``block_words``.
    ready : Out(1)
        The word can come, for no block ends or its counts can be taken.
    closing : Out(1)
        Counts of the row of ``i`` are taken.
    exponents : In(ArrayLayout(exp_bits + 1, levels))
        Those of the row for which ``closing`` was high last, from the next cycle on.
    valid : Out(1)
        ``sum`` is that of a row, until ``taken``.
    taken : In(1)
    sum : Out(sum_bits)
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        #: Bits of a count in a cycle, and cycles.
        self.digits = -(-p.block_count_bits // p.block_words)
        self.steps = -(-p.block_count_bits // self.digits)
        self._adders = FullAdders(p)
        super().__init__(p, "exponent_sum", {
            "i": In(codes_layout(p)), "reached": In(reached_layout(p)), "i_valid": In(1),
            "rest": In(range(p.block_words)), "ready": Out(1), "closing": Out(1),
            "exponents": In(data.ArrayLayout(p.exp_bits + 1, p.levels)),
            "valid": Out(1), "taken": In(1), "sum": Out(p.sum_bits),
        })

    @property
    def uses(self):
        return tuple(self._adders.blocks.values())

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        running, free = Signal(), Signal()
        first, final  = Signal(), Signal()  # the block is a row's first, its last
        step = Signal(range(self.steps))
        last_step = step == self.steps - 1
        move = Signal()
        m.d.comb += [
            self.valid.eq(running & last_step & final),
            move.eq(running & (~self.valid | self.taken)),
            free.eq(~running | (move & last_step)),
        ]
        early  = Signal(init=1)  # no block of the row has ended
        counts = self._count(m, free, early)

        # Counts move down as they are multiplied.
        left = [Signal(self.steps * self.digits, name=f"left_{k}", reset_less=True)
                for k in range(p.levels)]
        # The digits that are done stand at the top. No carry reaches them: what is below them is
        # never more than the same part of S, which fits.
        summed = Signal(p.sum_bits, reset_less=True)
        heap = BitHeap(p.sum_bits)
        heap.add(summed & (~first).replicate(p.sum_bits))
        for place in range(self.digits):
            for k in range(p.levels - 1):
                heap.add(self.exponents[k] & left[k][place].replicate(p.exp_bits + 1), shift=place)
        heap.add(left[-1][:self.digits], shift=p.exp_bits)
        total = named(m, "total", heap.total(m, self._adders, "product"))
        # Back to its place with the last step
        m.d.comb += self.sum.eq(total.rotate_left((self.steps - 1) * self.digits))
        with m.If(move):
            m.d.sync += [
                *(each.eq(each >> self.digits) for each in left),
                step.eq(Mux(last_step, 0, step + 1)),
                running.eq(~last_step),
                first.eq(0),
                summed.eq(Mux(last_step, self.sum, total.rotate_right(self.digits))),
            ]
        with m.If(self.closing):
            m.d.sync += [*(a.eq(b) for a, b in zip(left, counts, strict=True)), running.eq(1),
                         first.eq(early), final.eq(self.i.last)]

        return m

    def _count(self, m, free, early):
        """Counts of each code with the word that comes, for ``closing``."""
        p = self.parameters
        words = Signal(range(2 * p.block_words))  # in the block before this one
        limit = p.block_words + Mux(early, self.rest, 0)
        edge  = named(m, "edge", self.i.last | (words + 1 == limit))
        m.d.comb += [self.ready.eq(free | ~edge), self.closing.eq(self.i_valid & edge)]
        with m.If(self.i_valid):
            m.d.sync += words.eq(Mux(edge, 0, words + 1))
            with m.If(edge):
                m.d.sync += early.eq(self.i.last)

        counts = []
        for k in range(p.levels):
            above = self.reached[k + 1] if k + 1 < p.levels else C(0, p.width)
            found = self.reached[k] & ~above & self.i_valid.replicate(p.width)
            count = Signal(p.block_count_bits, name=f"count_{k}")
            heap  = BitHeap(len(count))
            heap.add(count)
            for bit in found:
                heap.add(bit)
            counts.append(named(m, f"counted_{k}", heap.total(m, self._adders, f"count_{k}")))
            m.d.sync += count.eq(Mux(self.closing, 0, counts[-1]))
        return counts
