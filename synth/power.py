"""Energy of a mapped netlist from the switching activity of a simulation."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synth.boolean import states
from synth.mapping import Mapping
from synth.netlist import NetlistError
from synth.timing import Timing

__all__ = ["KINDS", "Activity", "Share", "Power", "estimate", "estimates"]

#: What energy is split by: nets and cells of logic, of registers, the clock pins of registers
#: with their capacitance and the clock gates, and the input capacitance that the surroundings
#: charge.
KINDS = ("combinational", "sequential", "clock", "inputs")

_NET = re.compile(r"\(n(\d+) \(T0 (\d+)\) \(T1 (\d+)\).*?\(TC (\d+)\)\)")


@dataclass(frozen=True)
class Activity:
    """Activity of nets: ``high``, share of the time at one, and ``toggles``, edges in the run."""

    high: dict[int, float]
    toggles: dict[int, int]

    @classmethod
    def load(cls, path: Path) -> "Activity":
        """Read the SAIF file of a run of :func:`synth.mapping.simulation_model`.

        Raises
        ------
        NetlistError
            If the file has no net.
        """
        high, toggles = {}, {}
        for match in _NET.finditer(path.read_text()):
            net, low_time, high_time, count = map(int, match.groups())
            high[net] = high_time / max(1, low_time + high_time)
            toggles[net] = count
        if not high:
            raise NetlistError(f"Activity {path} must be that of a simulation model")
        return cls(high, toggles)


@dataclass(frozen=True)
class Share:
    """Part of the power: energies in fJ in a clock cycle, leakage in nW."""

    switching: float = 0.0
    internal: float = 0.0
    leakage: float = 0.0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.switching + other.switching, self.internal + other.internal,
                     self.leakage + other.leakage)

    @property
    def dynamic(self) -> float:
        """Energy without leakage, fJ in a cycle."""
        return self.switching + self.internal

    def energy(self, period: float) -> float:
        """Energy of a cycle in fJ for a clock period in ns."""
        return self.dynamic + self.leakage * period * 1e-3

    def power(self, period: float) -> float:
        """Power in mW for a clock period in ns."""
        return self.energy(period) / period * 1e-3


@dataclass(frozen=True)
class Power:
    """Result of :func:`estimates`.

    Parameters
    ----------
    cycles : float
        Clock cycles of the run.
    shares : dict of (str, str) to Share
        By the path of the block that contains the cell, and kind, of :data:`KINDS`. The top is the
        empty path, and has the inputs too.
    """

    cycles: float
    shares: dict[tuple[str, str], Share]

    @property
    def kinds(self) -> dict[str, Share]:
        """By kind, all :data:`KINDS`."""
        return dict.fromkeys(KINDS, Share()) | self.parts(lambda _, kind: kind)

    @property
    def blocks(self) -> dict[str, Share]:
        """By the path of the block; input capacitance belongs to no block."""
        parts = self.parts(lambda path, kind: None if kind == "inputs" else path)
        return {path: share for path, share in parts.items() if path is not None}

    def parts(self, part: Callable[[str, str], Hashable]) -> dict:
        """By what ``part`` makes of path and kind; the sum of all is the total."""
        parts = defaultdict(Share)
        for (path, kind), share in self.shares.items():
            parts[part(path, kind)] += share
        return dict(parts)

    @property
    def total(self) -> Share:
        """Sum of all."""
        return sum(self.shares.values(), Share())

    def operation(self, period: float, operations: float) -> float:
        """Energy in fJ of an operation, of which a cycle has ``operations``, period in ns."""
        return self.total.energy(period) / operations


def estimate(mapping: Mapping, activity: Activity, timing: Timing, clock: str = "clk") -> Power:
    """Sum the energy of every net and cell; :func:`estimates` of one run."""
    return estimates(mapping, {"": activity}, timing, clock)[""]


def estimates(mapping: Mapping, activities: dict[str, Activity], timing: Timing,
              clock: str = "clk") -> dict[str, Power]:
    """Sum the energy of every net and cell for each of several runs.

    Switching is ½ C V² for each edge of a net, C that of the pins on it. Internal energy is
    interpolated in the ``internal_power`` tables for each edge of a pin; conditional tables are
    weighted by the share of the time in their states, those of an output also by the activity of
    the input that causes the edge. Leakage is weighted by the share of the time in each state.
    The pins of a cell are taken as independent; rising and falling edges as equally many.

    Parameters
    ----------
    mapping : Mapping
        Design.
    activities : dict of str to Activity
        Of runs on its simulation model, or of :func:`synth.simulation.simulate`. Delays are zero
        there: glitches are left out.
    timing : Timing
        Gives the transition times.
    clock : str
        Port of the clock; its edges count the cycles.

    Raises
    ------
    NetlistError
        If the clock does not tick, or a net is not in an activity.
    """
    netlist = mapping.netlist
    if clock not in netlist.ports:
        raise NetlistError(f"Clock must be a port of {netlist.module}, not {clock}")
    clock_net, = netlist.ports[clock][1]
    groups = defaultdict(list)
    for instance in netlist.instances:
        groups[instance.cell.name].append(instance)
    nets = {net for instance in netlist.instances for net in instance.nets.values()}
    edges, found = {}, {}
    for name, activity in activities.items():
        cycles = activity.toggles.get(clock_net, 0) / 2
        if not cycles:
            raise NetlistError(f"Clock {clock} must tick in the run")
        if missing := sorted(nets - activity.toggles.keys()):
            raise NetlistError(f"Net n{missing[0]} must be in the activity of {netlist.module}")
        model = _Model(mapping, activity, timing, cycles, clock_net, edges)
        shares = defaultdict(Share)
        for instances in groups.values():
            for instance, parts in zip(instances, model.shares(instances), strict=True):
                for kind, share in parts:
                    shares[instance.name.rpartition(".")[0], kind] += share
        for net in set(netlist.port_nets("input")) - {clock_net}:
            shares["", "inputs"] += Share(switching=model.switching(net))
        found[name] = Power(cycles, dict(shares))
    return found


class _Model:
    """Energies of a run; ``edges`` keeps what does not depend on it, for other runs."""

    def __init__(self, mapping, activity, timing, cycles, clock_net, edges):
        self.netlist, self.library = mapping.netlist, mapping.library
        self.activity, self.timing, self.cycles = activity, timing, cycles
        self.clock_net, self.edges = clock_net, edges

    def switching(self, net):
        """Energy of a net in a cycle, fJ."""
        return self._charge(self.netlist.loads.get(net, 0.0), net)

    def shares(self, instances):
        """Pairs of kind and share for each of some instances of one cell."""
        cell = instances[0].cell
        probability = self._states(cell, instances)
        leakage = self._leakage(cell, probability)
        internal, clocked = np.zeros(len(instances)), np.zeros(len(instances))
        gate = cell.clock_gate
        for pin in cell.pins:
            # The output of a clock gate has edges only in cycles that it lets through.
            passing = gate and pin == gate.output
            energy = self._internal(cell, pin, instances, self._states(
                cell, instances, {gate.enable: 1.0}) if passing else probability)
            if cell.pins[pin].clock:
                clocked += energy
            else:
                internal += energy
        logic = "sequential" if cell.register else "clock" if gate else "combinational"
        for place, instance in enumerate(instances):
            switching = sum(self.switching(instance.nets[pin]) for pin in cell.outputs
                            if pin in instance.nets)
            charge = sum(self._charge(cell.pins[pin].capacitance, instance.nets[pin])
                         for pin in cell.inputs if instance.nets.get(pin) == self.clock_net)
            yield ((logic, Share(switching, float(internal[place]), float(leakage[place]))),
                   ("clock", Share(charge, float(clocked[place]))))

    def _charge(self, capacitance, net):
        return 0.5 * capacitance * self.library.voltage ** 2 * self._toggles(net)

    def _toggles(self, net):
        """Edges of a net in a cycle."""
        return self.activity.toggles.get(net, 0) / self.cycles

    def _states(self, cell, instances, given=None):
        """Share of the time in each state of a cell's :func:`_values`, for each instance.

        ``given`` has shares of the time at one of some inputs in place of those of the run.
        """
        names = [*cell.inputs, *([cell.register.state] if cell.register else [])]
        given = given or {}
        result = np.ones((1, len(instances)))
        for name in names:
            high = np.array([given[name] if name in given else self._high(instance, name)
                             for instance in instances])
            result = np.concatenate([result * (1 - high), result * high])
        return result

    def _high(self, instance, name):
        """Share of the time that an input or the state of a register is one."""
        if name in instance.cell.pins:
            if name in instance.nets:
                return self.activity.high[instance.nets[name]]
            return float(instance.constants.get(name) == "1")
        register = instance.cell.register
        for pin, net in instance.nets.items():
            function = instance.cell.pins[pin].function
            if function and function.symbol in (register.state, register.complement):
                high = self.activity.high[net]
                return high if function.symbol == register.state else 1 - high
        return 0.5

    @staticmethod
    def _leakage(cell, probability):
        """Mean leakage, nW; states that no condition names leak as the cell does in general."""
        values, rest, general = _values(cell), 1.0, 0.0
        total = np.zeros(probability.shape[1])
        for when, leakage in cell.leakage:
            if when is None:
                general = leakage
            else:
                share = when.table(values) @ probability
                total += leakage * share
                rest = rest - share
        return total + general * np.maximum(rest, 0)

    def _internal(self, cell, pin, instances, probability):
        """Energy in a cycle of the edges at a pin, fJ."""
        energies = cell.pins[pin].energies
        toggles = np.array([self._toggles(instance.nets[pin]) if pin in instance.nets else 0.0
                            for instance in instances])
        if not energies or not toggles.any():
            return np.zeros(len(instances))
        values = _values(cell)
        output = cell.pins[pin].direction == "output"
        weights, results = [], []
        for energy in energies:
            for related in energy.related or (pin,):
                mask = energy.when.table(values) if energy.when else np.bool_(True)
                weight = np.broadcast_to(mask, len(probability)) @ probability
                if output:
                    weight = weight * [max(self._toggles(instance.nets[related]), 1e-9)
                                       if related in instance.nets else 0.0
                                       for instance in instances]
                weights.append(weight)
                key = cell.name, pin, related, len(results)
                if key not in self.edges:
                    self.edges[key] = [self._edge(energy, instance, pin, related)
                                       for instance in instances]
                results.append(self.edges[key])
        weights, results = np.array(weights), np.array(results)
        total = (weights * results).sum(axis=0)
        if output:
            # One of the inputs caused each edge.
            total /= np.maximum(weights.sum(axis=0), 1e-30)
        return toggles * total

    def _edge(self, energy, instance, pin, related):
        """Energy of an edge, the mean of a rise and a fall, fJ."""
        slews = self.timing.slews.get(instance.nets.get(related), (0.0, 0.0))
        load = self.netlist.loads.get(instance.nets[pin], 0.0) if pin in instance.nets else 0.0
        return sum(table(slew, load) for table, slew in zip(energy.edges, slews, strict=True)
                   if table) / 2


def _values(cell):
    """Value of each name that a condition may use, in each state of a cell."""
    names = [*cell.inputs, *([cell.register.state] if cell.register else [])]
    values = states(names)
    if cell.register:
        values[cell.register.complement] = ~values[cell.register.state]
    for pin in cell.outputs:
        if cell.pins[pin].function:
            values[pin] = cell.pins[pin].function.table(values)
    if gate := cell.clock_gate:
        values[gate.output] = values[gate.clock] & values[gate.enable]
    return values
