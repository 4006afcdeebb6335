"""Examples, with a stand-in for LiteX, which the tests do without."""

import importlib.util
import json
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from hdl.export import description
from hdl.gemm import Gemm
from tb.engines import ENGINES

EXAMPLE = Path(__file__).parent.parent / "examples" / "litex_gemm.py"


class Signal:
    """Signal that knows its name and which of its bits are taken."""

    def __init__(self, name="interrupt"):
        self.name = name

    def __getitem__(self, bits):
        return self.name, bits.stop


class Channel:
    """Endpoint with signals of any name."""

    def __init__(self, name=""):
        self._name = name

    def __getattr__(self, signal):
        return Signal(f"{self._name}{signal}")


class Module:
    """LiteXModule that collects its instances."""

    def __new__(cls, *_):
        module = super().__new__(cls)
        module.specials = []
        return module


@pytest.fixture
def example(monkeypatch):
    """The module, with what it imports replaced."""
    names = defaultdict(lambda: object)
    names |= {
        "LiteXModule": Module, "SoCMini": Module, "Signal": Signal,
        "SoCRegion": lambda **region: region, "Pins": int, "Subsignal": lambda *parts: parts,
        "ClockSignal": lambda: "clock", "ResetSignal": lambda: 0,
        "Instance": lambda module, **ports: [(module, ports)],
        "AXILiteInterface": lambda **widths: SimpleNamespace(
            **{channel: Channel(channel) for channel in ("aw", "w", "b", "ar", "r")}),
        "AXIStreamInterface": lambda width, name: Channel(),
    }
    for name in ("litex", "litex.build", "litex.build.generic_platform", "litex.gen", "litex.soc",
                 "litex.soc.integration", "litex.soc.integration.soc",
                 "litex.soc.integration.soc_core", "litex.soc.interconnect",
                 "litex.soc.interconnect.axi", "migen", "migen.genlib", "migen.genlib.io"):
        stand_in = ModuleType(name)
        stand_in.__path__ = []
        stand_in.__getattr__ = names.__getitem__
        monkeypatch.setitem(sys.modules, name, stand_in)
    spec = importlib.util.spec_from_file_location("litex_gemm", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("parameters", ENGINES, ids=lambda parameters: parameters.name)
def test_every_port_is_connected(example, parameters, tmp_path):
    told = description(Gemm(parameters), "")
    path = tmp_path / "engine.json"
    path.write_text(json.dumps(told))
    sources = []
    gemm = example.Gemm(SimpleNamespace(add_source=sources.append), path)
    ((module, ports),) = gemm.specials
    assert module == told["module"]
    assert sources == [str(tmp_path / "engine.v")]
    assert sorted(ports) == sorted(f"{port['direction'][0]}_{name}"
                                   for name, port in told["ports"].items())
    assert ports["i_aclk"] == "clock"
    assert ports["i_aresetn"] == ~0
    assert ports["o_interrupt"] is gemm.interrupt
    for name, connected in ports.items():
        port = name[2:]
        if port.startswith("s_axil_"):
            assert connected == (port.removeprefix("s_axil_"), told["ports"][port]["width"])
        elif "axis" in port:
            assert connected == (port.rpartition("_t")[2], told["ports"][port]["width"])
    assert set(gemm.streams) == set(told["interfaces"]) - {"s_axil"}
