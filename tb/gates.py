"""Simulation of Verilog as gates, a vector in each bit of a word: millions of vectors in seconds.

Yosys writes a block as gates of two inputs and registers. Each net is an array of 64-bit words, in
which every bit is a copy of the block of its own, and each gate is one operation of numpy on such
arrays. Of the vectors each copy takes one in each cycle, one after the other.
"""

import json
import tempfile
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdl import yosys
from tb.cxxrtl import from_words, to_words

__all__ = ["Gates"]

# Registers have no enable and no reset of their own, gates no more than two inputs but `mux`.
_SCRIPT = """
read_verilog -sv design.v
hierarchy -check -top {top}
{changes}
proc
flatten -noscopeinfo
opt -fast
techmap
opt -fast
dfflegalize -cell $_DFF_P_ x
simplemap
opt_clean
write_json gates.json
"""

_WORD = 64

_PAIRS = {"$_AND_": np.bitwise_and, "$_OR_": np.bitwise_or, "$_XOR_": np.bitwise_xor}

_REGISTER = "$_DFF_P_"


class Gates:
    """A block with one clock, as gates.

    Parameters
    ----------
    source : str
        Verilog.
    top : str
        Module.
    changes : str
        Commands of Yosys that break it.
    """

    def __init__(self, source: str, top: str, *, changes: str = ""):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            (folder / "design.v").write_text(source)
            yosys.run(_SCRIPT.format(top=top, changes=changes), directory=folder)
            module = json.loads((folder / "gates.json").read_text())["modules"][top]
        self.inputs  = {name: port["bits"] for name, port in module["ports"].items()
                        if port["direction"] == "input"}
        self.outputs = {name: port["bits"] for name, port in module["ports"].items()
                        if port["direction"] == "output"}
        cells = [(cell["type"], {pin: bits[0] for pin, bits in cell["connections"].items()})
                 for cell in module["cells"].values()]
        self._registers = [(pins["D"], pins["Q"]) for kind, pins in cells if kind == _REGISTER]
        self._gates = _sorted([cell for cell in cells if cell[0] != _REGISTER])

    def run(self, values: "dict[str, NDArray]", delays: "dict[str, int]", output: str,
            latency: int, copies: int, *, high: "tuple[str, ...]" = ()) -> NDArray[np.int64]:
        """Results of vectors, unsigned.

        Parameters
        ----------
        values : dict of str to ndarray of int, shape (n,)
            Values of inputs; the others are 0.
        delays : dict of str to int
            Cycles that an input comes after the first.
        output : str
            Port of at most 63 bits.
        latency : int
            Cycles from a vector's first input to its result.
        copies : int
            Copies of the block that share the vectors; a multiple of 64.
        high : tuple of str
            Inputs that are all ones, always.

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        count  = len(next(iter(values.values())))
        cycles = -(-count // copies)
        nets, step = self._compiled(copies // _WORD)
        for net in (net for name in high for net in self.inputs[name]):
            nets[net][:] = nets["1"]
        results = []
        for cycle in range(cycles + latency):
            for name, numbers in values.items():
                begin = (cycle - delays.get(name, 0)) * copies
                part  = numbers[max(0, begin):max(0, begin + copies)]
                for net, words in zip(self.inputs[name],
                                      _spread(part, len(self.inputs[name]), copies), strict=True):
                    nets[net][:] = words
            step()
            if cycle >= latency:
                results.append(_gathered([nets[bit] for bit in self.outputs[output]]))
            # All registers change at once.
            for (_, q), words in zip(self._registers, [nets[d].copy() for d, _ in self._registers],
                                     strict=True):
                nets[q][:] = words
        return np.concatenate(results)[:count]

    def _compiled(self, size: int):
        """Nets, and a function that computes all gates."""
        nets = {"0": np.zeros(size, np.uint64), "1": ~np.zeros(size, np.uint64),
                "x": np.zeros(size, np.uint64)}
        every = [*(bit for bits in (*self.inputs.values(), *self.outputs.values()) for bit in bits),
                 *(bit for pair in self._registers for bit in pair),
                 *(bit for _, pins in self._gates for bit in pins.values())]
        for bit in every:
            nets.setdefault(bit, np.zeros(size, np.uint64))
        ones, spare = nets["1"], np.zeros(size, np.uint64)
        calls = []
        for kind, pins in self._gates:
            a, y = nets[pins["A"]], nets[pins["Y"]]
            if kind == "$_NOT_":
                calls.append((np.bitwise_xor, a, ones, y))
            elif kind == "$_BUF_":
                calls.append((np.bitwise_or, a, a, y))
            elif kind == "$_MUX_":
                b, s = nets[pins["B"]], nets[pins["S"]]
                calls += [(np.bitwise_xor, a, b, spare), (np.bitwise_and, spare, s, spare),
                          (np.bitwise_xor, spare, a, y)]
            else:
                calls.append((_PAIRS[kind], a, nets[pins["B"]], y))

        def step():
            for operation, first, second, result in calls:
                operation(first, second, result)

        return nets, step


def _sorted(cells: "list[tuple[str, dict]]") -> "list[tuple[str, dict]]":
    """Gates, each after those that drive it."""
    drivers = {pins["Y"]: index for index, (_, pins) in enumerate(cells)}
    graph = {index: [drivers[net] for pin, net in pins.items() if pin != "Y" and net in drivers]
             for index, (_, pins) in enumerate(cells)}
    return [cells[index] for index in TopologicalSorter(graph).static_order()]


def _spread(values: NDArray, width: int, copies: int) -> NDArray[np.uint64]:
    """Words of each bit of up to ``copies`` values, shape (width, copies / 64)."""
    bits = np.zeros((copies, width), dtype=np.uint8)
    if len(values):
        data = to_words(values, width).astype("<u4").view(np.uint8)
        bits[:len(values)] = np.unpackbits(data, axis=1, bitorder="little")[:, :width]
    packed = np.packbits(np.ascontiguousarray(bits.T), axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


def _gathered(nets: "list[NDArray[np.uint64]]") -> NDArray[np.int64]:
    """Values whose bits are in words, the lowest first."""
    data = np.stack(nets).astype("<u8").view(np.uint8)
    bits = np.unpackbits(data, axis=1, bitorder="little").T
    size = -(-len(nets) // 32) * 32
    wide = np.zeros((len(bits), size), dtype=np.uint8)
    wide[:, :len(nets)] = bits
    words = np.packbits(wide, axis=1, bitorder="little").view("<u4").astype(np.uint32)
    return from_words(words, len(nets))
