"""Driver of an array: layers in, output matrices out."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights
from golden.stream import output_tiles, s_beats, sx_beats, w_beats, x_beats, y_matrix
from tb.stream import StreamSink, StreamSource, no_pauses, start_clock

__all__ = ["ArrayDriver"]


class ArrayDriver:
    """Drivers of the array's five streams.

    Parameters
    ----------
    dut
        Handle of the array.
    parameters : ArrayParameters
    pause : callable
        Pause before each transfer, see :mod:`tb.stream`.
    """

    def __init__(self, dut, parameters: ArrayParameters, pause=no_pauses):
        start_clock(dut)
        self.dut = dut
        self.parameters = parameters
        self.sources = {name: StreamSource(dut, name, pause=pause)
                        for name in ("x", "w", "s", "sx")}
        self.y = StreamSink(dut, "y", pause=pause)
        self.slowdown = 1 if pause is no_pauses else 12
        self.total = 0  # beats of y that the layer being run has

    def offer(self, x: Activations, weights: GroupedWeights):
        """Begin to send a layer; return the tasks that do."""
        m, n = len(x.q), weights.q.shape[1]
        p = self.parameters
        payloads = {"x": x_beats(x, n, p), "w": w_beats(weights, m, p),
                    "s": s_beats(weights, m, p), "sx": sx_beats(x, n, p)}
        return [cocotb.start_soon(self.sources[name].send(beats))
                for name, beats in payloads.items()]

    async def run(self, x: Activations, weights: GroupedWeights) -> np.ndarray:
        """Codes of the outputs of a layer."""
        p = self.parameters
        (m, k), n = x.q.shape, weights.q.shape[1]
        tiles = len(list(output_tiles(m, n, p)))
        words = p.rows * p.columns // p.y_lanes
        self.total = tiles * words
        sending = self.offer(x, weights)
        limit = 200 + tiles * (k // p.lanes + words) * self.slowdown
        beats = await self.y.receive(self.total, limit=limit)
        await RisingEdge(self.dut.clk)
        assert all(task.done() for task in sending), "the outputs came without all of the inputs"
        outputs = y_matrix(beats, m, n, p)
        self.y.received.clear()
        return outputs

    async def idle(self):
        """Assert that nothing more comes out."""
        await ClockCycles(self.dut.clk, 100)
        assert not self.y.received, "outputs that nobody asked for"
