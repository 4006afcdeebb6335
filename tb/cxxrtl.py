"""Simulation of Verilog by Yosys' CXXRTL, beside Verilator: compiled, and driven without cocotb.

Values of all cycles go in at once, as a matrix of 32-bit words, and all outputs come back as
another. A port takes as many words as it needs, the lowest bits first; the ports are in the order
of the module.
"""

import ctypes
import fcntl
import os
import re
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyosys
from numpy.typing import ArrayLike, NDArray

from hdl import yosys
from tb.runner import SimulationError

__all__ = ["BUILD", "CLOCKS", "Port", "Simulation", "ports", "to_words", "from_words"]

BUILD = Path(__file__).parent.parent / "build" / "cxxrtl"

#: Names of the clock, which is no input of the matrix.
CLOCKS = "clk", "aclk"

_RUNTIME = Path(pyosys.__file__).parent / "share" / "include" / "backends" / "cxxrtl" / "runtime"

# Without flattening a module is compiled once, however often it is used.
_SCRIPT = """
read_verilog -sv design.v
hierarchy -check -top {top}
{changes}
write_cxxrtl -g0 -noflatten -namespace design design.cc
"""

# The runtime wants every call inlined, for which a compiler takes from ten minutes on if registers
# have thousands of bits; it may choose instead.
_COMPILE = "-std=c++17 -O1 -D__always_inline__=__unused__ -shared -fPIC -w"

_WORD = 32

# A cycle ends with the rising edge; outputs are what stands before it.
_DRIVER = """
#include "design.cc"

using Top = design::{top};

template<size_t Bits> static void put(cxxrtl::value<Bits> &port, const uint32_t *&from) {{
    for (size_t i = 0; i < cxxrtl::value<Bits>::chunks; i++) port.data[i] = *from++;
}}

template<size_t Bits> static void get(const cxxrtl::value<Bits> &port, uint32_t *&to) {{
    for (size_t i = 0; i < cxxrtl::value<Bits>::chunks; i++) *to++ = port.data[i];
}}

template<size_t Bits> static void get(const cxxrtl::wire<Bits> &port, uint32_t *&to) {{
    get(port.curr, to);
}}

extern "C" void run(const uint32_t *inputs, uint32_t *outputs, uint64_t cycles) {{
    Top *top = new Top;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {{
{inputs}
{low}
        top->step();
{outputs}
{high}
    }}
    delete top;
}}
"""


@dataclass(frozen=True)
class Port:
    """A port of a module.

    Attributes
    ----------
    name : str
    width : int
    output : bool
    """

    name: str
    width: int
    output: bool

    @property
    def words(self) -> int:
        """How many words a value takes."""
        return -(-self.width // _WORD)


def ports(source: str, top: str) -> list[Port]:
    """Ports of a module of Verilog text as :func:`hdl.export.verilog` writes it."""
    (body,) = re.findall(rf"^module {top}\b(.*?)^endmodule", source, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);$", body,
                       re.MULTILINE)
    return [Port(name, int(high or 0) + 1, direction == "output")
            for direction, high, name in found]


class Simulation:
    """A module, compiled.

    Registers, memories and whatever is undriven start at 0.

    Parameters
    ----------
    source : str
        Verilog; what was compiled before is taken from ``build/cxxrtl``.
    top : str
        Module to simulate.
    changes : str
        Commands of Yosys that change the module before it is written.

    Raises
    ------
    SimulationError
        If it does not compile.
    """

    def __init__(self, source: str, top: str, *, changes: str = ""):
        every = ports(source, top)
        self.inputs  = [port for port in every if not port.output and port.name not in CLOCKS]
        self.outputs = [port for port in every if port.output]
        self._clock  = next((port.name for port in every if port.name in CLOCKS), None)
        self._run    = ctypes.CDLL(str(self._library(source, top, changes))).run
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
        self._run.restype  = None

    def run(self, inputs: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Outputs of each cycle, from the beginning.

        Parameters
        ----------
        inputs : ndarray of uint32, shape (cycles, words of the inputs)
            As they are before the edge that ends each cycle.

        Returns
        -------
        ndarray of uint32, shape (cycles, words of the outputs)
            As they are before the edge that ends the cycle.
        """
        inputs = np.ascontiguousarray(inputs, dtype=np.uint32)
        width  = sum(port.words for port in self.inputs)
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise ValueError(f"Inputs must have shape (cycles, {width}), not {inputs.shape}")
        outputs = np.zeros((len(inputs), sum(port.words for port in self.outputs)), np.uint32)
        self._run(inputs.ctypes.data, outputs.ctypes.data, len(inputs))
        return outputs

    def _library(self, source: str, top: str, changes: str) -> Path:
        """Shared library, compiled if it is not there."""
        texts  = [source, top, changes, version("pyosys"), Path(__file__).read_text()]
        digest = sha256("\0".join(texts).encode()).hexdigest()[:12]
        folder = BUILD / f"{top}-{digest}"
        library = folder / "design.so"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not library.exists():
                (folder / "design.v").write_text(source)
                (folder / "driver.cc").write_text(self._driver(top))
                yosys.run(_SCRIPT.format(top=top, changes=changes), directory=folder,
                          log=folder / "yosys.log")
                self._compile(folder, top)
        return library

    def _compile(self, folder: Path, top: str) -> None:
        command = [os.environ.get("CXX", "c++"), *_COMPILE.split(), f"-I{_RUNTIME}",
                   "-o", "design.part", "driver.cc"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            (folder / "build.log").write_text(done.stderr)
            raise SimulationError(f"{top} does not compile; see {folder / 'build.log'}")
        (folder / "design.part").replace(folder / "design.so")

    def _driver(self, top: str) -> str:
        """C++ that moves words to and from the ports."""
        clock = f"        top->{_mangled(self._clock)}.set<bool>(%s);" if self._clock else ""
        return _DRIVER.format(
            top=_mangled(top),
            inputs="\n".join(f"        put(top->{_mangled(port.name)}, inputs);"
                             for port in self.inputs),
            outputs="\n".join(f"        get(top->{_mangled(port.name)}, outputs);"
                              for port in self.outputs),
            low=clock % "false" if clock else "",
            high=f"{clock % 'true'}\n        top->step();" if clock else "")


def _mangled(name: str) -> str:
    """What CXXRTL calls a thing."""
    return f"p_{name.replace('_', '__')}"


def to_words(values: ArrayLike, width: int) -> NDArray[np.uint32]:
    """Words of integers, two's complement if negative.

    Parameters
    ----------
    values : array_like of int, shape (n,)
        Of any size; bits above ``width`` are dropped.
    width : int
        Bits of the port.

    Returns
    -------
    ndarray of uint32, shape (n, words)

    Examples
    --------
    >>> to_words([-1, 1 << 32], 40).tolist()
    [[4294967295, 255], [0, 1]]
    """
    size, values = -(-width // _WORD), np.asarray(values)
    if width <= 63 and values.dtype != object:
        values = values.astype(np.int64) & ((1 << width) - 1)
        return np.stack([values >> _WORD * word & 0xffff_ffff for word in range(size)],
                        axis=1).astype(np.uint32)
    mask = (1 << width) - 1
    data = b"".join((int(value) & mask).to_bytes(4 * size, "little") for value in values)
    return np.frombuffer(data, "<u4").reshape(len(values), size)


def from_words(words: NDArray[np.uint32], width: int) -> NDArray[np.int64]:
    """Unsigned integers of at most 63 bits, shape (n,)."""
    assert width < 64
    values = np.zeros(len(words), dtype=np.int64)
    for word in range(-(-width // _WORD)):
        values |= words[:, word].astype(np.int64) << _WORD * word
    return values
