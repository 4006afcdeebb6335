"""Driver of the GEMM engine: registers over AXI4-Lite, operands and outputs over AXI4-Stream."""

import random

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights
from golden.registers import gemm_registers
from golden.stream import EngineStreams
from tb.axi_unit import UnitPorts
from tb.settings import compared

__all__ = ["GemmDriver"]


class GemmDriver(UnitPorts):
    """Drivers of all ports of ``mixpe_<set>_gemm``.

    Parameters
    ----------
    dut
        Handle of the engine.
    parameters : ArrayParameters
    """

    def __init__(self, dut, parameters: ArrayParameters):
        self.parameters = parameters
        super().__init__(dut, gemm_registers(parameters),
                         ["x", "w", "s", "sx", *["t"] * parameters.t_stream])
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """Check that an output stays as it is until it is taken, but for a reset."""
        ports = [getattr(self.dut, f"m_axis_y_{name}") for name in ("tdata", "tkeep", "tlast")]
        held = None
        while True:
            await RisingEdge(self.dut.aclk)
            if self.dut.aresetn.value == 0:
                held = None
                continue
            valid, ready = self.dut.m_axis_y_tvalid.value, self.dut.m_axis_y_tready.value
            shown = [int(port.value) for port in ports] if valid == 1 else None
            assert held is None or shown == held or self.restarts, "an output was withdrawn"
            held = shown if ready == 0 and not self.restarts else None

    def pause(self, generators: dict):
        """Pause streams, by name, as iterators of booleans say."""
        for name, generator in generators.items():
            port = self.y if name == "y" else self.sources[name]
            port.set_pause_generator(generator)

    async def start(self, m: int, k: int, n: int, *, wide: int = 0, group: int | None = None):
        """Queue a command."""
        shape = {"M": m, "K": k, "N": n, "WIDE": wide,
                 "GROUP": self.parameters.group if group is None else group}
        for name, value in shape.items():
            await self.write(name, value)
        await self.write("CONTROL", 1)

    async def offer(self, layer: EngineStreams):
        """Send a GEMM's operands, each stream on its own; what is past K is anything."""
        for name, items in (layer.payloads | self.garbled(layer)).items():
            await self.send(name, items)

    def garbled(self, layer: EngineStreams) -> dict[str, list[int]]:
        """Items of activations and weights with random bits in the lanes past K."""
        p = self.parameters
        k = layer.k
        beats, streams = -(-k // p.lanes), {}
        for name, bits, rows in (("x", p.x_input_format.bits, p.x_rows),
                                 ("w", p.w_format.bits, p.columns)):
            past = sum(((1 << bits) - 1) << bits * (row * p.lanes + lane) for row in range(rows)
                       for lane in range(k - (beats - 1) * p.lanes, p.lanes))
            streams[name] = [
                item | (past & random.getrandbits(bits * rows * p.lanes)
                        if index % beats == beats - 1 else 0)
                for index, item in enumerate(layer.payloads[name])]
        return streams

    async def send(self, name: str, items: list[int]):
        """Send items of a stream, the last one marked."""
        size = len(getattr(self.dut, f"s_axis_{name}_tdata")) // 8
        await self.sources[name].send(b"".join(item.to_bytes(size, "little") for item in items))

    async def outputs(self, layer: EngineStreams) -> np.ndarray:
        """Codes of a GEMM's outputs, shape (M, N)."""
        frame = await self.y.recv()
        size = self.parameters.y_format.bits // 8
        outputs = layer.outputs(np.frombuffer(bytes(frame.tdata), f"<u{size}").astype(np.int64))
        compared(outputs.size)
        return outputs

    async def run(self, x: Activations, weights: GroupedWeights | MixedWeights) -> np.ndarray:
        """Start a GEMM; return the codes of its outputs."""
        layer = EngineStreams(x, weights, self.parameters)
        await self.begin(x, weights, layer)
        return await self.outputs(layer)

    async def begin(self, x: Activations, weights: GroupedWeights | MixedWeights,
                    layer: EngineStreams):
        """Start a GEMM and send its operands."""
        wide = weights.wide.shape[1] if isinstance(weights, MixedWeights) else 0
        await self.start(*x.q.shape, weights.shape[1], group=weights.group, wide=wide)
        await self.offer(layer)

    async def idle(self):
        """Assert that all has been taken and nothing more comes."""
        await ClockCycles(self.dut.aclk, 300)
        assert all(source.empty() and source.idle() for source in self.sources.values())
        assert self.y.empty()
        assert self.y.idle()
        assert await self.read("STATUS") == 2, "idle and nothing else"
