"""Driver of the softmax units: rows of logits in, probabilities or codes out."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.softmax_parameters import (
    THRESHOLD_BITS,
    BaselineParameters,
    Constants,
    SoftmaxParameters,
)
from tb.settings import compared
from tb.stream import StreamSink, StreamSource, no_pauses, start_clock

__all__ = ["SoftmaxDriver", "fields"]


def fields(values, bits: int) -> int:
    """Integers side by side, the first lowest."""
    word = 0
    for index, value in enumerate(values):
        word |= int(value) << index * bits
    return word


class SoftmaxDriver:
    """Drivers of a unit's streams.

    Parameters
    ----------
    dut
        Handle of the unit.
    parameters : SoftmaxParameters or BaselineParameters
    constants : list of Constants
        Each set's; none for the exact unit.
    pause : callable
        Pause before each transfer, see :mod:`tb.stream`.
    """

    def __init__(self, dut, parameters: SoftmaxParameters | BaselineParameters,
                 constants: list[Constants], pause=no_pauses):
        start_clock(dut)
        self.dut, self.p = dut, parameters
        self.x = StreamSource(dut, "x", pause=pause)
        self.y = StreamSink(dut, "y", pause=pause)
        self.slowdown = 1 if pause is no_pauses else 12
        self.sets = []
        if constants:
            self.dut.codes.value = 0
            self.set_constants(constants)

    def set_constants(self, constants: list[Constants]):
        """Drive the constants, which only the EXAQ unit has, if there are any."""
        p, self.sets = self.p, constants
        if not constants:
            return
        each = THRESHOLD_BITS * (p.levels - 1) + (p.exp_bits + 1) * p.levels
        self.dut.constants.value = fields(
            (fields(chosen.thresholds, THRESHOLD_BITS)
             | fields(chosen.exponents, p.exp_bits + 1) << THRESHOLD_BITS * (p.levels - 1)
             for chosen in constants), each)

    def words(self, x: np.ndarray, mask: np.ndarray, chosen: int) -> list[int]:
        """Payloads of a row."""
        p, n = self.p, len(x)
        words = []
        for start in range(0, n, p.width):
            codes, bits = x[start:start + p.width], mask[start:start + p.width]
            place, word = p.x_format.bits * p.width, fields(codes, p.x_format.bits)
            keep = (1 << len(codes)) - 1
            select = (p.sets - 1).bit_length()
            for value, size in ((fields(bits, 1), p.width), (keep, p.width), (chosen, select),
                                (start + p.width >= n, 1)):
                word |= int(value) << place
                place += size
            words.append(word)
        return words

    def row(self, words: list[int], bits: int) -> tuple[np.ndarray, int, int]:
        """Outputs of a row, and its flags all_masked and invalid; checks TLAST and TKEEP."""
        p, size = self.p, self.p.y_format.bits * self.p.width
        values = []
        for index, word in enumerate(words):
            keep = word >> size & (1 << p.width) - 1
            last, all_masked, invalid = (word >> size + p.width + place & 1 for place in range(3))
            assert last == (index == len(words) - 1)
            count = keep.bit_count()
            assert keep == (1 << count) - 1
            assert count == p.width or last
            values += [word >> lane * p.y_format.bits & (1 << bits) - 1 for lane in range(count)]
        return np.array(values), all_masked, invalid

    async def run(self, rows: list[tuple[np.ndarray, np.ndarray, int]], *,
                  limit: int) -> list[list[int]]:
        """Payloads of each row's outputs."""
        payloads = [word for row in rows for word in self.words(*row)]
        sending = cocotb.start_soon(self.x.send(payloads))
        received = list(await self.y.receive(len(payloads), limit=limit * self.slowdown))
        await RisingEdge(self.dut.clk)
        assert sending.done(), "the outputs came without all of the inputs"
        self.y.received.clear()
        outputs = []
        compared(sum(len(x) for x, _, _ in rows))
        for x, _, _ in rows:
            count = self.p.row_cycles(len(x))
            outputs.append(received[:count])
            received = received[count:]
        assert not received
        return outputs

    async def idle(self, count: int = 0):
        """Assert that nothing more comes out than ``count`` payloads."""
        await ClockCycles(self.dut.clk, 300)
        assert len(self.y.received) == count, "outputs that nobody asked for"
        self.y.received.clear()
