"""The engine in a LiteX system: registers on its bus, streams as pads. Writes Verilog.

::

    make verilog SET=fpga
    pip install litex==2024.12
    python examples/litex_gemm.py build/verilog/mixpe_fpga_gemm.json --output build/litex
"""

import argparse
import json
from pathlib import Path

from litex.build.generic_platform import GenericPlatform, Pins, Subsignal
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCMini
from litex.soc.interconnect.axi import AXILiteInterface, AXIStreamInterface
from migen import ClockSignal, Instance, ResetSignal, Signal
from migen.genlib.io import CRG

__all__ = ["Gemm", "System"]

#: Where the registers lie on the system's bus, and how much they take.
REGION = SoCRegion(origin=0x3000_0000, size=0x1000, cached=False)

#: Pads of a system but for the streams'.
PADS = [
    ("clk", 0, Pins(1)),
    ("rst", 0, Pins(1)),
    ("serial", 0, Subsignal("tx", Pins(1)), Subsignal("rx", Pins(1))),
    ("interrupt", 0, Pins(1)),
]


class Gemm(LiteXModule):
    """Engine of a description, the JSON file, beside which its Verilog lies.

    Attributes
    ----------
    bus : AXILiteInterface
        Registers.
    streams : dict of str to AXIStreamInterface
        By the prefix of their ports: ``s_axis_x`` and the other operands, ``m_axis_y``.
    interrupt : Signal
    """

    def __init__(self, platform, description: Path):
        told = json.loads(description.read_text())
        self.bus = AXILiteInterface(data_width=32, address_width=32)
        self.streams = {}
        self.interrupt = Signal()
        ports = {"i_aclk": ClockSignal(), "i_aresetn": ~ResetSignal(),
                 "o_interrupt": self.interrupt}
        for prefix, interface in told["interfaces"].items():
            signals = interface["signals"]
            if "tdata" in signals:
                width = told["ports"][signals["tdata"]]["width"]
                self.streams[prefix] = AXIStreamInterface(width, name=prefix)
            for signal, port in signals.items():
                direction = "i" if told["ports"][port]["direction"] == "input" else "o"
                ours = self._signal(prefix, signal)
                ports[f"{direction}_{port}"] = ours[:told["ports"][port]["width"]]
        self.specials += Instance(told["module"], **ports)
        platform.add_source(str(description.with_suffix(".v").resolve()))

    def _signal(self, prefix: str, signal: str) -> Signal:
        """Signal of an interface by its AXI name, ``awaddr`` or ``tdata``."""
        if prefix in self.streams:
            return getattr(self.streams[prefix], signal.removeprefix("t"))
        channel = next(name for name in ("aw", "ar", "w", "b", "r") if signal.startswith(name))
        return getattr(getattr(self.bus, channel), signal.removeprefix(channel))


class System(SoCMini):
    """A bus whose master is a UART, and the engine on it."""

    def __init__(self, description: Path, frequency: float):
        platform = GenericPlatform(device="", io=PADS)
        super().__init__(platform, frequency, bus_standard="axi-lite", ident="mixpe")
        self.crg = CRG(clk=platform.request("clk"), rst=platform.request("rst"))
        self.add_uartbone()
        self.gemm = Gemm(platform, description)
        self.bus.add_slave("gemm", self.gemm.bus, REGION)
        self.comb += platform.request("interrupt").eq(self.gemm.interrupt)
        for prefix, stream in self.gemm.streams.items():
            names = ["data", "valid", "ready", "last", *["keep"] * prefix.startswith("m_")]
            platform.add_extension([(prefix, 0, *(
                Subsignal(f"t{name}", Pins(len(getattr(stream, name)))) for name in names))])
            pads = platform.request(prefix)
            for name in names:
                pad, signal = getattr(pads, f"t{name}"), getattr(stream, name)
                outward = prefix.startswith("m_") != (name == "ready")
                self.comb += pad.eq(signal) if outward else signal.eq(pad)


def main():
    """Write a system's Verilog to a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("description", type=Path, help="mixpe_<set>_gemm.json")
    parser.add_argument("--output", "-o", type=Path, default=Path("build/litex"))
    parser.add_argument("--frequency", type=float, default=50e6, help="of the clock, in Hz")
    arguments = parser.parse_args()
    system = System(arguments.description, arguments.frequency)
    system.finalize()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "system.v"
    system.platform.get_verilog(system, name="system").write(str(path))
    print(path)


if __name__ == "__main__":
    main()
