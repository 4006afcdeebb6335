"""AXI4-Lite master of the benches, one object for each channel so that they can be told apart."""

import warnings
from itertools import repeat

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, axil_channels

__all__ = ["OKAY", "SLVERR", "AxiLiteMaster"]

OKAY, SLVERR = 0, 2

# Cocotbext-axi 0.1.28 also works with older releases of cocotb, so it still uses what 2.1 replaced:
# `Edge`, `Task.kill` and `setimmediatevalue`.
for message in ("Use `signal.value_change`", r"`task.kill\(\)` is deprecated",
                r"Use `handle.set\(Immediate"):
    warnings.filterwarnings("ignore", message, DeprecationWarning, r"cocotbext\.axi\.")


class AxiLiteMaster:
    """Master with a queue for each channel, which watches that responses stay until taken.

    Parameters
    ----------
    dut
        Handle of the design.
    prefix : str
        What the names of the channels' signals begin with.
    clock, reset : str
        Names of these ports.
    active : int
        Level of the reset that resets.
    """

    def __init__(self, dut, prefix: str = "s_axil", *, clock: str = "clk", reset: str = "rst",
                 active: int = 1):
        bus = AxiLiteBus.from_prefix(dut, prefix)
        self._clock, self._reset, self._active = getattr(dut, clock), getattr(dut, reset), active
        self.aw, self.w, self.b, self.ar, self.r = self.channels = [
            channel(signals, self._clock, self._reset, bool(active)) for channel, signals in (
                (axil_channels.AxiLiteAWSource, bus.write.aw),
                (axil_channels.AxiLiteWSource, bus.write.w),
                (axil_channels.AxiLiteBSink, bus.write.b),
                (axil_channels.AxiLiteARSource, bus.read.ar),
                (axil_channels.AxiLiteRSink, bus.read.r))]
        for valid, ready, payload in (("bvalid", "bready", ["bresp"]),
                                      ("rvalid", "rready", ["rresp", "rdata"])):
            signals = [getattr(dut, f"{prefix}_{name}") for name in (valid, ready, *payload)]
            cocotb.start_soon(self._watch(*signals))

    def pause(self, generators):
        """Stall AW, W, B, AR and R as five iterators of booleans say, or not at all for None."""
        for channel, generator in zip(self.channels, generators, strict=True):
            channel.set_pause_generator(generator)
            channel.pause = False

    def clear(self):
        """Forget what is to be sent or looked at, and stall no more."""
        for channel in self.channels:
            channel.clear()
        self.pause(repeat(None, len(self.channels)))

    def idle(self) -> bool:
        """Whether nothing is left to be sent or looked at."""
        return all(channel.empty() for channel in self.channels)

    async def address(self, address: int):
        """Offer the address of a write."""
        await self.aw.send(axil_channels.AxiLiteAWTransaction(awaddr=address, awprot=address % 8))

    async def data(self, word: int, strobes: int = 0xf):
        """Offer the data of a write."""
        await self.w.send(axil_channels.AxiLiteWTransaction(wdata=word, wstrb=strobes))

    async def response(self) -> int:
        """Response of the next write."""
        return int((await self.b.recv()).bresp)

    async def write(self, address: int, word: int, strobes: int = 0xf) -> int:
        """Write a word; return the response."""
        return (await self.writes([(address, word, strobes)]))[0]

    async def writes(self, requests: list[tuple[int, int, int]]) -> list[int]:
        """Write one after the other, as fast as can be; return the responses."""
        for address, word, strobes in requests:
            await self.address(address)
            await self.data(word, strobes)
        return [await self.response() for _ in requests]

    async def read(self, address: int) -> tuple[int, int]:
        """Read a word; return the response and the word."""
        return (await self.reads([address]))[0]

    async def reads(self, addresses: list[int]) -> list[tuple[int, int]]:
        """Read one after the other, as fast as can be; return responses and words."""
        for address in addresses:
            request = axil_channels.AxiLiteARTransaction(araddr=address, arprot=address % 8)
            await self.ar.send(request)
        words = [await self.r.recv() for _ in addresses]
        return [(int(word.rresp), int(word.rdata)) for word in words]

    async def _watch(self, valid, ready, *payload):
        held = None
        while True:
            await RisingEdge(self._clock)
            if self._reset.value == self._active:
                held = None
                continue
            shown = [int(signal.value) for signal in payload] if valid.value == 1 else None
            assert held is None or shown == held, f"{valid._name} must stay until it is taken"
            held = shown if ready.value == 0 else None
