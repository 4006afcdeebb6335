"""Buffers for the nets of a mapped netlist that drive much.

A hierarchical mapping does not know what a block's output drives, and the mapper does not see the
pins of cells that it was told to keep. So buffers come last, when every load is known, into every
design by the same rule.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from synth.liberty import Cell, Library

__all__ = ["LOADS", "Buffer", "buffers", "insert"]

#: Loads of a NAND2 that the smallest buffer may drive, and any cell without a buffer.
LOADS = 16


@dataclass(frozen=True)
class Buffer:
    """A buffer cell.

    Parameters
    ----------
    cell : Cell
        Its cell.
    capacity : float
        Load in fF that it drives as fast as the smallest buffer drives :data:`LOADS`.
    """

    cell: Cell
    capacity: float

    @property
    def load(self) -> float:
        """Input capacitance, fF."""
        return self.cell.pins[self.cell.inputs[0]].capacitance


def buffers(library: Library) -> list[Buffer]:
    """Buffers of a library that drive more than they load; none if it has no buffer."""
    if library.buffer is None:
        return []
    smallest = library.cells[library.buffer]
    limit = LOADS * library.nand2_load
    slew = _slowest(smallest, "transition", 0.0, limit)
    delay = _slowest(smallest, "delay", slew, limit)
    found = []
    for cell in library.buffers:
        loads = [limit * step / 8 for step in range(1, 8 * 32 + 1)]
        fits = bisect_right(loads, delay, key=lambda load: _slowest(cell, "delay", slew, load))
        if fits:
            found.append(Buffer(cell, loads[fits - 1]))
    return [buffer for buffer in found if buffer.capacity > 2 * buffer.load]


def _slowest(cell, quantity, slew, load):
    """Larger of the values for a fall and a rise of a buffer's output."""
    return max(table(slew, load) for arc in cell.pins[cell.outputs[0]].arcs
               for table in getattr(arc, quantity) if table)


def insert(module: dict, library: Library) -> Counter:
    """Buffer the nets of a flat module that drive more than :data:`LOADS` NAND2 inputs.

    Of the buffers of the library those are taken that drive the load with the least area; loads
    whose instances have neighbouring names share one. Clocks, gated or not, are ideal
    and stay as they are.

    Parameters
    ----------
    module : dict
        Module as Yosys' ``write_json`` writes it; gets the new cells, named like the instance
        that drives the net, with ``fanout_`` and a number.
    library : Library
        Its cells.

    Returns
    -------
    Counter
        Area in um2 of the new cells by the path of the block that drives them.
    """
    choice, limit = buffers(library), LOADS * library.nand2_load
    areas = Counter()
    if not choice:
        return areas
    drivers, loads, clocks = _pins(module, library)
    fresh = 1 + max((bit for bits in _bits(module) for bit in bits if isinstance(bit, int)),
                    default=1)
    for net in sorted(loads.keys() - clocks):
        path = drivers.get(net, "").rpartition(".")[0]
        pins = sorted(loads[net])
        while len(pins) > 1 and sum(load for _, _, load in pins) > limit:
            shared = []
            buffer, groups = _groups(pins, choice)
            for group in groups:
                name = f"{path}.fanout_{fresh}".lstrip(".")
                source, target = buffer.cell.inputs[0], buffer.cell.outputs[0]
                module["cells"][name] = {
                    "hide_name": 0, "type": buffer.cell.name, "parameters": {}, "attributes": {},
                    "port_directions": {source: "input", target: "output"},
                    "connections": {source: [net], target: [fresh]}}
                for instance, pin, _ in group:
                    module["cells"][instance]["connections"][pin] = [fresh]
                shared.append((name, source, buffer.load))
                areas[path] += buffer.cell.area
                fresh += 1
            pins = shared
    return areas


def _groups(pins: list, choice: list[Buffer]) -> "tuple[Buffer, Iterator[list]]":
    """The buffer that drives all pins with the least area, and the pins that each drives."""
    total = sum(load for _, _, load in pins)

    def count(buffer):
        return min(len(pins) - 1, ceil(total / buffer.capacity))

    best = min(choice, key=lambda buffer: (count(buffer) * buffer.cell.area, count(buffer)))
    share = total / count(best)
    groups, done = defaultdict(list), 0.0
    for pin in pins:
        groups[min(int(done / share), count(best) - 1)].append(pin)
        done += pin[2]
    return best, groups.values()


def _pins(module, library):
    """Instance that drives each net, pins as (instance, pin, load) on each, and nets of clocks."""
    drivers, loads, clocks = {}, defaultdict(list), set()
    for name, instance in module["cells"].items():
        cell = library.cells.get(instance["type"])
        if cell is None:
            continue
        for pin, bits in instance["connections"].items():
            if not bits or not isinstance(bits[0], int):
                continue
            if cell.pins[pin].direction == "output":
                drivers[bits[0]] = name
            else:
                loads[bits[0]].append((name, pin, cell.pins[pin].capacitance))
                if cell.pins[pin].clock:
                    clocks.add(bits[0])
    return drivers, loads, clocks


def _bits(module):
    """Every list of bits in a module."""
    for port in module["ports"].values():
        yield port["bits"]
    for cell in module["cells"].values():
        yield from cell["connections"].values()
