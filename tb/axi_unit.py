"""Ports that every unit has, as the benches use them: registers by name, packets of streams."""

from collections.abc import Iterable

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from golden.registers import RegisterTable
from tb.axi_lite import OKAY, AxiLiteMaster
from tb.stream import PERIOD_NS

__all__ = ["UnitPorts", "UnitRegisters", "stream_sink", "stream_source", "kept_bytes", "pauses"]


class UnitRegisters:
    """Registers of a unit behind AXI4-Lite, by name.

    Parameters
    ----------
    dut
        Handle of the unit.
    table : RegisterTable
    prefix : str
        What the names of the ports begin with.
    """

    def __init__(self, dut, table: RegisterTable, prefix: str = "s_axil"):
        self.registers = {register.name: register for register in table.registers}
        self.axil = AxiLiteMaster(dut, prefix, clock="aclk", reset="aresetn", active=0)

    async def read(self, name: str) -> int:
        """Word of a register."""
        response, word = await self.axil.read(self.registers[name].offset)
        assert response == OKAY
        return word

    async def write(self, name: str, word: int):
        """Write a register."""
        assert await self.axil.write(self.registers[name].offset, word) == OKAY

    async def check_registers(self):
        """Assert that every register answers, and that those to be written keep ones and zeros."""
        for name, register in self.registers.items():
            fields = {access: sum(each.mask for each in register.fields if each.access == access)
                      for access in ("rw", "const")}
            for word in (0xffffffff, 0) if fields["rw"] else ():
                await self.write(name, word)
                assert await self.read(name) & fields["rw"] == word & fields["rw"], name
            constant = sum(each.reset << each.low for each in register.fields
                           if each.access == "const")
            assert await self.read(name) & fields["const"] == constant, name

    def mask(self, register: str, field: str) -> int:
        """Bits of a field in its register."""
        return next(each.mask for each in self.registers[register].fields if each.name == field)


class UnitPorts(UnitRegisters):
    """All ports of a unit: registers, input streams by name, outputs ``y``; clock and reset.

    The unit is in reset until :meth:`reset`.

    Parameters
    ----------
    dut
        Handle of the unit.
    table : RegisterTable
    sources : iterable of str
        Names of the input streams.
    """

    def __init__(self, dut, table: RegisterTable, sources: Iterable[str]):
        self.dut = dut
        Clock(dut.aclk, PERIOD_NS, unit="ns").start()
        dut.aresetn.value = 0
        super().__init__(dut, table)
        self.sources = {name: stream_source(dut, f"s_axis_{name}") for name in sources}
        self.y = stream_sink(dut, "m_axis_y")
        self.streams = (*self.sources.values(), self.y)
        #: Whether a soft reset comes, by which an output may be withdrawn.
        self.restarts = False

    async def reset(self):
        """Hold the reset for two cycles."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 2)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)
        # A packet may have ended in the cycle before the reset.
        self.y.clear()

    async def restart(self):
        """Discard all that is under way by a soft reset."""
        for source in self.sources.values():
            source.clear()
        self.restarts = True
        await self.write("CONTROL", self.mask("CONTROL", "soft_reset"))
        for port in self.streams:
            port.assert_reset()  # the drivers do not see it
        await ClockCycles(self.dut.aclk, 2)
        self.y.clear()
        self.restarts = False
        idle = sum(field.mask for field in self.registers["STATUS"].fields if field.name == "idle")
        assert await self.read("STATUS") == idle, "idle after a soft reset, and nothing else"


def stream_source(dut, prefix: str) -> AxiStreamSource:
    """Driver of an input stream."""
    return _stream(dut, AxiStreamSource, prefix)


def stream_sink(dut, prefix: str) -> AxiStreamSink:
    """Driver of an output stream."""
    return _stream(dut, AxiStreamSink, prefix)


def _stream(dut, kind, prefix):
    port = kind(AxiStreamBus.from_prefix(dut, prefix), dut.aclk, dut.aresetn,
                reset_active_level=False)
    port.log.setLevel("WARNING")  # else it tells each frame
    return port


def kept_bytes(frame: AxiStreamFrame) -> bytes:
    """Bytes of a packet that was received without ``compact``, as far as TKEEP has them."""
    return bytes(byte for byte, keep in zip(frame.tdata, frame.tkeep, strict=True) if keep)


def pauses(rng, share: float):
    """Iterator of booleans that pauses a share of the cycles."""
    while True:
        yield bool(rng.random() < share)
