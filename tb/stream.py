"""Drivers for Amaranth streams as they appear in Verilog: ``<name>__{payload,valid,ready}``.

All sampling happens at the rising edge of the clock, before the registers it triggers change; all
driving happens right after it.
"""

from collections.abc import Callable, Iterable

import cocotb
from cocotb.clock import Clock
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, RisingEdge

__all__ = ["cycle", "StreamSource", "StreamSink", "no_pauses", "random_pauses", "reset",
           "start_clock"]

PERIOD_NS = 10


def no_pauses() -> int:
    """Pause of a stream that is always ready or valid."""
    return 0


def random_pauses(rng, *, share: float = 0.5, longest: int = 6) -> Callable[[], int]:
    """Pauses of 1 to ``longest`` cycles before a ``share`` of the transfers."""
    return lambda: int(rng.integers(1, longest + 1)) if rng.random() < share else 0


def cycle() -> int:
    """Clock cycles since the simulation began."""
    return int(get_sim_time("ns")) // PERIOD_NS


class _Stream:
    def __init__(self, dut, name: str, pause: Callable[[], int]):
        self.name    = name
        self.clk     = dut.clk
        self.payload = getattr(dut, f"{name}__payload")
        self.valid   = getattr(dut, f"{name}__valid")
        self.ready   = getattr(dut, f"{name}__ready")
        self.pause   = pause

    async def _transfer(self):
        while True:
            await RisingEdge(self.clk)
            if self.valid.value == 1 and self.ready.value == 1:
                return


class StreamSource(_Stream):
    """Producer of payloads, pausing for ``pause()`` cycles before each.

    While it pauses the payload is all ones: a design that looks at it is found out. ``began`` and
    ``ended`` are the cycles of the first and the last transfer.
    """

    def __init__(self, dut, name: str, *, pause: Callable[[], int] = no_pauses):
        super().__init__(dut, name, pause)
        self.sent = 0
        self.began = self.ended = 0
        self.valid.value = 0

    async def send(self, payloads: Iterable[int]):
        """Transfer every payload, in order."""
        junk = (1 << len(self.payload)) - 1
        for payload in payloads:
            if pause := self.pause():
                self.payload.value = junk
                self.valid.value = 0
                await ClockCycles(self.clk, pause)
            self.payload.value = payload
            self.valid.value = 1
            await self._transfer()
            self.ended = cycle()
            self.began = self.began or self.ended
            self.sent += 1
        self.payload.value = junk
        self.valid.value = 0


class StreamSink(_Stream):
    """Consumer of payloads, pausing for ``pause()`` cycles before each.

    Checks in every cycle that an offer which was not taken is still made. A reset empties
    ``received``.
    """

    def __init__(self, dut, name: str, *, pause: Callable[[], int] = no_pauses):
        super().__init__(dut, name, pause)
        self.rst = dut.rst
        self.received = []
        self.ready.value = 0
        self._held = None
        cocotb.start_soon(self._take())

    async def _take(self):
        pause = self.pause()
        while True:
            self.ready.value = ready = int(pause == 0)
            await RisingEdge(self.clk)
            if self.rst.value == 1:
                self.received.clear()
                self._held = None
                continue
            offer = int(self.payload.value) if self.valid.value == 1 else None
            if self._held is not None:
                assert offer == self._held, f"{self.name}: an offer was withdrawn or changed"
            self._held = offer if not ready else None
            if not ready:
                pause -= 1
            elif offer is not None:
                self.received.append(offer)
                pause = self.pause()

    async def receive(self, count: int, *, limit: int) -> list[int]:
        """Wait until ``count`` payloads have come, for ``limit`` cycles at most; return them."""
        for _ in range(limit):
            if len(self.received) >= count:
                return self.received
            await RisingEdge(self.clk)
        raise AssertionError(f"{self.name}: {len(self.received)} of {count} payloads "
                             f"after {limit} cycles")


async def reset(dut, cycles: int = 1):
    """Hold reset for ``cycles`` rising edges."""
    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    dut.rst.value = 0
    await RisingEdge(dut.clk)  # drivers have seen the reset


def start_clock(dut):
    """Start the clock."""
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
