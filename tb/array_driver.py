"""Driver of an array: layers in, output matrices out."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights
from golden.stream import LayerStreams
from tb.settings import compared
from tb.stream import StreamSink, StreamSource, no_pauses, start_clock

__all__ = ["ArrayDriver"]


class ArrayDriver:
    """Drivers of the array's streams.

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
                        for name in ("x", "w", "s", "sx", *["t"] * parameters.x_groups)}
        self.y = StreamSink(dut, "y", pause=pause)
        self.slowdown = 1 if pause is no_pauses else 12
        self.total = 0  # beats of y that the layer being run has

    def offer(self, layer: LayerStreams):
        """Begin to send a layer; return the tasks that do."""
        return [cocotb.start_soon(self.sources[name].send(beats))
                for name, beats in layer.payloads.items()]

    async def run(self, x: Activations, weights: GroupedWeights | MixedWeights) -> np.ndarray:
        """Codes of the outputs of a layer."""
        layer = LayerStreams(x, weights, self.parameters)
        self.total = layer.output_beats
        sending = self.offer(layer)
        limit = 200 + (len(layer.payloads["x"]) + self.total) * self.slowdown
        beats = await self.y.receive(self.total, limit=limit)
        await RisingEdge(self.dut.clk)
        assert all(task.done() for task in sending), "the outputs came without all of the inputs"
        outputs = layer.outputs(beats)
        compared(outputs.size)
        self.y.received.clear()
        return outputs

    async def idle(self):
        """Assert that nothing more comes out."""
        await ClockCycles(self.dut.clk, 100)
        assert not self.y.received, "outputs that nobody asked for"
