"""Simulation of a mapped netlist in numpy, for its results and its switching activity."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from synth.liberty import Cell, Register
from synth.netlist import Instance, Netlist, NetlistError
from synth.power import Activity

__all__ = ["simulate"]


def simulate(netlist: Netlist, inputs: Mapping[str, NDArray[np.bool_]], *, measured: int,
             clock: str = "clk") -> tuple[dict[str, NDArray[np.bool_]], Activity]:
    """Run a netlist on many streams of inputs at once.

    Delays are zero, as in :func:`synth.mapping.simulation_model`, so that there are no glitches.
    Registers start at random, those of each stream apart. Inputs change with the clock. A register
    behind a clock gate takes its data in cycles in which the gate's enable is high.

    Parameters
    ----------
    netlist : Netlist
        Cells only: nothing outside, registers without asynchronous clear and preset.
    inputs : mapping of str to ndarray of bool, shape (cycles, streams, bits)
        Values of each input port but the clock, the lowest bit first.
    measured : int
        Cycles, the last ones, whose activity counts; with all of them no edge leads to the first.
    clock : str
        Port of the clock of all registers and clock gates.

    Returns
    -------
    outputs : dict of str to ndarray of bool, shape (cycles, streams, bits)
        Values of each output port before the edge that ends the cycle.
    activity : Activity
        Of all nets, over ``measured * streams`` cycles.

    Raises
    ------
    NetlistError
        If an instance is no such cell, or an input port has no values.
    """
    ports = [name for name, (direction, _) in netlist.ports.items()
             if direction == "input" and name != clock]
    if missing := sorted(set(ports) - inputs.keys()):
        raise NetlistError(f"Input {missing[0]} of {netlist.module} must have values")
    for outside in netlist.outside:
        raise NetlistError(f"Instance {outside.name} of {netlist.module} must be a cell, "
                           f"not {outside.module}")
    cycles, streams = inputs[ports[0]].shape[:2]
    model = _Model(netlist, streams)
    outputs = {name: np.empty((cycles, streams, len(bits)), dtype=bool)
               for name, (direction, bits) in netlist.ports.items() if direction == "output"}
    high, toggles = (np.zeros(len(model.values), dtype=np.int64) for _ in range(2))
    before = None
    for cycle in range(cycles):
        for name in ports:
            model.values[model.places(netlist.ports[name][1])] = inputs[name][cycle].T
        model.settle()
        if cycle >= cycles - measured:
            high += np.count_nonzero(model.values, axis=1)
            if before is not None:
                toggles += np.count_nonzero(model.values != before, axis=1)
        before = model.values.copy()
        for name, values in outputs.items():
            values[cycle] = model.values[model.places(netlist.ports[name][1])].T
        model.tick()
    run = measured * streams
    activity = Activity(
        {net: int(high[place]) / run for net, place in model.place.items()},
        {net: int(toggles[place]) for net, place in model.place.items()})
    clock_net, = netlist.ports[clock][1]
    activity.high[clock_net], activity.toggles[clock_net] = 0.5, 2 * run
    for net, place in model.enables.items():
        ticks = int(high[place])
        activity.high[net], activity.toggles[net] = 0.5 * ticks / run, 2 * ticks
    return outputs, activity


@dataclass(frozen=True)
class _Group:
    """Instances of one cell whose inputs are known at the same time; places of their nets.

    Those of ``enables`` are of their clocks' enables: the constant one, if there is no clock gate.
    """

    cell: Cell
    inputs: dict[str, NDArray[np.intp]]
    outputs: dict[str, NDArray[np.intp]]
    enables: NDArray[np.intp]


class _Model:
    """Values of all nets, shape (nets, streams), and of all registers.

    ``enables`` has the place of the enable of each gated clock, whose own value is not kept.
    """

    def __init__(self, netlist: Netlist, streams: int):
        nets = {net for instance in netlist.instances for net in instance.nets.values()}
        nets.update(netlist.port_nets("input"), netlist.port_nets("output"))
        self.place = {net: place for place, net in enumerate(sorted(nets))}
        # After the nets the constants, and a place for what nobody reads.
        self._zero, self._one, self._nowhere = (len(nets) + offset for offset in range(3))
        self.values = np.zeros((len(nets) + 3, streams), dtype=bool)
        self.values[self._one] = True
        self.enables = {net: self._pin(gate, gate.cell.clock_gate.enable)
                        for net, gate in netlist.gated.items()}
        registers = [instance for instance in netlist.instances if instance.cell.register]
        self._registers = [self._group(each) for each in _by_cell(registers)]
        self._logic = [self._group(each) for level in _levels(netlist) for each in _by_cell(level)]
        rng = np.random.default_rng(1)
        self._states = [rng.integers(0, 2, (len(next(iter(group.inputs.values()))), streams),
                                     dtype=bool) for group in self._registers]
        self._show()

    def places(self, bits: list) -> list[int]:
        """Places of the nets and constants of a port."""
        return [self._of(bit) for bit in bits]

    def settle(self):
        """Evaluate the cells between the registers."""
        for group in self._logic:
            values = {pin: self.values[places] for pin, places in group.inputs.items()}
            for pin, places in group.outputs.items():
                self.values[places] = group.cell.pins[pin].function.table(values)

    def tick(self):
        """A rising edge of the clock."""
        states = []
        for group, state in zip(self._registers, self._states, strict=True):
            register = group.cell.register
            values = {pin: self.values[places] for pin, places in group.inputs.items()}
            following = register.next.table(values | _state(register, state))
            states.append(np.where(self.values[group.enables], following, state))
        self._states = states
        self._show()

    def _show(self):
        """Outputs of the registers."""
        for group, state in zip(self._registers, self._states, strict=True):
            register = group.cell.register
            for pin, places in group.outputs.items():
                self.values[places] = group.cell.pins[pin].function.table(
                    _state(register, state))

    def _of(self, bit) -> int:
        """Place of a net, or of a constant; an undefined one is 0."""
        return self.place[bit] if isinstance(bit, int) else (
            self._one if bit == "1" else self._zero)

    def _pin(self, instance: Instance, pin: str) -> int:
        """Place of what is at a pin."""
        if pin in instance.nets or pin in instance.constants:
            return self._of(instance.nets.get(pin, instance.constants.get(pin)))
        return self._nowhere

    def _group(self, instances: list[Instance]) -> _Group:
        """Places of some instances of one cell."""
        cell = instances[0].cell
        inputs, outputs = ({pin: np.array([self._pin(instance, pin) for instance in instances])
                            for pin in pins} for pins in (cell.inputs, cell.outputs))
        clocks = cell.register.clock.names if cell.register else ()
        enables = [next((self.enables[instance.nets[pin]] for pin in clocks
                         if instance.nets.get(pin) in self.enables), self._one)
                   for instance in instances]
        return _Group(cell, inputs, outputs, np.array(enables))


def _state(register: Register, state: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Value of each name of a register's state."""
    return {register.state: state, register.complement: ~state}


def _by_cell(instances: list[Instance]) -> list[list[Instance]]:
    """Instances of each cell together."""
    groups = defaultdict(list)
    for instance in instances:
        groups[instance.cell.name].append(instance)
    return list(groups.values())


def _levels(netlist: Netlist) -> list[list[Instance]]:
    """Combinational cells, by the most cells on a way to them."""
    drivers, graph = {}, {}
    for index, instance in enumerate(netlist.instances):
        if instance.cell.clock_gate:
            continue
        register = instance.cell.register
        if (register and (register.clear or register.preset)) or any(
                instance.cell.pins[pin].function is None for pin in instance.cell.outputs):
            raise NetlistError(f"Cell {instance.cell.name} of instance {instance.name} must be "
                               "combinational or a flip-flop without clear and preset")
        if not register:
            graph[index] = instance
            drivers |= {instance.nets[pin]: index for pin in instance.cell.outputs
                        if pin in instance.nets}
    inputs = {index: {drivers[instance.nets[pin]] for pin in instance.cell.inputs
                      if instance.nets.get(pin) in drivers} for index, instance in graph.items()}
    depth = {}
    for index in TopologicalSorter(inputs).static_order():
        depth[index] = 1 + max((depth[source] for source in inputs[index]), default=-1)
    levels = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for index, level in depth.items():
        levels[level].append(graph[index])
    return levels
