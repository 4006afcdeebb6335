"""A mapped netlist: cells of a library and the nets between them."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from synth.liberty import Cell, Library

__all__ = ["NetlistError", "Instance", "Outside", "Netlist"]


class NetlistError(ValueError):
    """A netlist cannot be analysed; one line says why."""


@dataclass(frozen=True)
class Instance:
    """A cell in the netlist, with the net or the constant at each connected pin."""

    name: str
    cell: Cell
    nets: dict[str, int]
    constants: dict[str, str]


@dataclass(frozen=True)
class Outside:
    """An instance of a module whose content is no part of the netlist.

    Parameters
    ----------
    name, module : str
        Instance and module.
    ports : dict of str to (str, list)
        As those of :class:`Netlist`; the direction is the module's.
    """

    name: str
    module: str
    ports: dict[str, tuple[str, list]]


@dataclass(frozen=True)
class Netlist:
    """Flat netlist of one module. A net is an integer; a constant is no net.

    Parameters
    ----------
    module : str
        Name of the module.
    ports : dict of str to (str, list)
        Direction, and the nets of the bits, the lowest first; ``"0"``, ``"1"`` or ``"x"`` for a
        constant bit.
    instances : list of Instance
        Cells.
    outside : tuple of Outside
        Instances that are no cells.
    """

    module: str
    ports: dict[str, tuple[str, list]]
    instances: list[Instance]
    outside: tuple[Outside, ...] = ()

    @classmethod
    def load(cls, path: Path, module: str, library: Library,
             outside: Collection[str] = ()) -> "Netlist":
        """Read the JSON that Yosys' ``write_json`` writes; see :meth:`of`."""
        return cls.of(json.loads(path.read_text())["modules"][module], module, library, outside)

    @classmethod
    def of(cls, description: dict, module: str, library: Library,
           outside: Collection[str] = ()) -> "Netlist":
        """Netlist of a flat mapped module as Yosys' ``write_json`` describes it.

        Instances of the modules ``outside`` are no part of it.

        Raises
        ------
        NetlistError
            If an instance is not a cell of ``library``.
        """
        ports = {name: (port["direction"], port["bits"])
                 for name, port in description["ports"].items()}
        instances, apart = [], []
        for name, cell in description["cells"].items():
            if cell["type"] in outside:
                apart.append(Outside(name, cell["type"], {
                    port: (cell["port_directions"][port], bits)
                    for port, bits in cell["connections"].items()}))
                continue
            if cell["type"] not in library.cells:
                raise NetlistError(f"Instance {name} of {module} must be a cell of {library.name}, "
                                   f"not {cell['type']}")
            pins = {pin: bits[0] for pin, bits in cell["connections"].items() if bits}
            nets = {pin: bit for pin, bit in pins.items() if isinstance(bit, int)}
            constants = {pin: bit for pin, bit in pins.items() if isinstance(bit, str)}
            instances.append(Instance(name, library.cells[cell["type"]], nets, constants))
        return cls(module, ports, instances, tuple(apart))

    @cached_property
    def boundary(self) -> dict[str, tuple[str, list]]:
        """The ports, and those of the instances outside: what such an instance gives is an input.

        The latter are named ``instance.port``.
        """
        turned = {"input": "output", "output": "input"}
        return self.ports | {f"{outside.name}.{port}": (turned[direction], bits)
                             for outside in self.outside
                             for port, (direction, bits) in outside.ports.items()}

    @cached_property
    def gated(self) -> dict[int, Instance]:
        """Gated clocks, each with the clock gate that drives it.

        Raises
        ------
        NetlistError
            If a clock is gated twice.
        """
        found = {instance.nets[instance.cell.clock_gate.output]: instance
                 for instance in self.instances if instance.cell.clock_gate}
        for instance in found.values():
            if instance.nets.get(instance.cell.clock_gate.clock) in found:
                raise NetlistError(f"Clock gate {instance.name} must take a clock that is not "
                                   "gated")
        return found

    @cached_property
    def loads(self) -> dict[int, float]:
        """Capacitance in fF of the input pins on each net; wires and ports add nothing."""
        loads = {}
        for instance in self.instances:
            for pin, net in instance.nets.items():
                loads.setdefault(net, 0.0)
                loads[net] += instance.cell.pins[pin].capacitance
        return loads

    def port_nets(self, direction: str) -> list[int]:
        """Nets of the boundary in a direction."""
        return [bit for way, bits in self.boundary.values() if way == direction
                for bit in bits if isinstance(bit, int)]
