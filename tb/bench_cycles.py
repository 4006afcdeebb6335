"""Cocotb test of the engine's counters against the cycle model; run by :mod:`tb.test_cycles`."""

import cocotb
from cocotb.clock import Clock
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, Timer

from golden.cycles import GemmShape, commands_cycles
from golden.registers import gemm_registers
from tb.axi_unit import UnitRegisters
from tb.settings import SETTINGS, parameters
from tb.stream import PERIOD_NS

P = parameters()

#: Bits of STATUS.
IDLE, QUEUE_FULL = 2, 4


class StreamingUnit(UnitRegisters):
    """Engine whose input streams offer an item in every cycle, and whose outputs are taken."""

    def __init__(self, dut):
        self.dut = dut
        Clock(dut.aclk, PERIOD_NS, unit="ns").start()
        dut.aresetn.value = 0
        super().__init__(dut, gemm_registers(P))
        for name in ("x", "w", "s", "sx", *["t"] * P.t_stream):
            getattr(dut, f"s_axis_{name}_tdata").value = 0
            getattr(dut, f"s_axis_{name}_tlast").value = 0
            getattr(dut, f"s_axis_{name}_tvalid").value = 1
        dut.m_axis_y_tready.value = 1

    async def begin(self):
        """Reset."""
        await ClockCycles(self.dut.aclk, 2)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    async def start(self, shape: GemmShape) -> int:
        """Queue a command as soon as may be; return the cycle, but for a constant."""
        words = {"M": shape.m, "K": shape.k, "N": shape.n, "WIDE": shape.wide,
                 "GROUP": P.group if shape.group is None else shape.group}
        for name, word in words.items():
            if self.written.get(name) != word:
                await self.write(name, word)
        self.written = words
        while await self.read("STATUS") & QUEUE_FULL:
            pass
        await self.write("CONTROL", 1)
        return int(get_sim_time("ns")) // PERIOD_NS

    async def run(self, shapes: list[GemmShape]) -> None:
        """Run commands one behind the other; compare the counters with the model."""
        await self.write("CONTROL", 4)
        self.written: dict[str, int] = {}
        cycles = [await self.start(shape) for shape in shapes]
        starts = [cycle - cycles[0] for cycle in cycles]
        expected = commands_cycles(P, shapes, starts)
        await Timer((expected.total + 100) * PERIOD_NS, "ns")
        assert await self.read("STATUS") == IDLE, shapes
        assert await self.read("DONE") == len(shapes)
        assert await self.read("ERROR") & self.mask("ERROR", "bad_shape") == 0
        assert await self.read("ERROR") & self.mask("ERROR", "start_refused") == 0
        actual = {name: await self.read(f"STALL_{name.upper()}") for name in expected.stalls}
        assert (await self.read("CYCLES"), await self.read("BUSY"), actual) == (
            expected.total, expected.busy, expected.stalls), (P.name, starts, shapes)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def counters(dut):
    """Every counter is the model's, for commands alone and for some in the queue."""
    unit = StreamingUnit(dut)
    await unit.begin()
    for shapes in SETTINGS["runs"]:
        await unit.run([GemmShape(**shape) for shape in shapes])
