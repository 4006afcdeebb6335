"""Static timing of a mapped netlist against its library's NLDM tables."""

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from math import inf

from synth.netlist import Instance, Netlist, NetlistError

__all__ = ["Step", "Path", "Timing", "analyse"]

_LAUNCHES = ("register", "input")
_FALL, _RISE = 0, 1


@dataclass(frozen=True)
class Step:
    """A point of a path: an output pin of a cell, or a port with no cell.

    Parameters
    ----------
    instance, cell, pin : str
        Where; the instance and the cell are empty for a port's net.
    edge : str
        ``rise`` or ``fall``.
    arrival, slew : float
        Time since the clock edge and transition time, ns.
    load : float
        Capacitance on the net, fF.
    """

    instance: str
    cell: str
    pin: str
    edge: str
    arrival: float
    slew: float
    load: float


@dataclass(frozen=True)
class Path:
    """The slowest path of its kind.

    Parameters
    ----------
    launch, capture : str
        ``register`` or ``input``; ``register`` or ``output``.
    delay : float
        Clock period that the path needs, ns: arrival and setup time.
    setup : float
        Setup time of the register at the end, ns; 0 for an output.
    endpoint : str
        ``instance.pin`` or output port.
    steps : tuple of Step
        From the launch to the last net.
    """

    launch: str
    capture: str
    delay: float
    setup: float
    endpoint: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Timing:
    """Result of :func:`analyse`.

    Parameters
    ----------
    paths : dict of (str, str) to Path
        The slowest path of each kind that exists, by launch and capture.
    slews : dict of int to (float, float)
        Largest transition time of each net, falling and rising, ns.
    """

    paths: dict[tuple[str, str], Path]
    slews: dict[int, tuple[float, float]]

    @property
    def period(self) -> float:
        """Least clock period in ns if inputs change with the clock and outputs are registered."""
        return max((path.delay for path in self.paths.values()), default=0.0)

    @property
    def critical(self) -> Path | None:
        """The path that sets the period."""
        return max(self.paths.values(), key=lambda path: path.delay, default=None)


def analyse(netlist: Netlist) -> Timing:
    """Propagate the latest arrivals and the largest transition times through a netlist.

    Delay and transition time are those of every timing arc, whatever its condition, at the largest
    transition time of its input and the capacitance of the pins on its output. The clock is ideal:
    it reaches every register and every clock gate at 0 with a transition time of 0, also behind a
    clock gate, whose enable is an endpoint like a register's data. Inputs arrive at 0 with a
    transition time of 0, and so does what instances outside the netlist give. Wires have no
    capacitance and no resistance.

    Raises
    ------
    NetlistError
        If there is a combinational loop, a latch or a register that captures on a falling edge.
    """
    return _Analysis(netlist).result()


class _Analysis:
    """Arrivals are lists of four: falling and rising from registers, then from inputs."""

    def __init__(self, netlist: Netlist):
        self.netlist = netlist
        self.arrivals, self.slews, self.origins = {}, {}, {}
        for net in netlist.port_nets("input"):
            self._net(net)
            self.arrivals[net][2:] = [0.0, 0.0]
        for net in netlist.gated:
            self._net(net)
        for instance, pin in self._ordered():
            self._propagate(instance, pin)

    def result(self):
        ends = [end for instance in self.netlist.instances for end in self._setups(instance)]
        ends += [(f"{name}[{index}]", net, (0.0, 0.0))
                 for name, (direction, bits) in self.netlist.boundary.items()
                 if direction == "output"
                 for index, net in enumerate(bits) if net in self.arrivals]
        worst = {}
        for endpoint, net, setups in ends:
            capture = "output" if endpoint.endswith("]") else "register"
            for key, arrival in enumerate(self.arrivals[net]):
                delay = arrival + setups[key % 2]
                kind = _LAUNCHES[key // 2], capture
                if delay > worst.get(kind, (-inf,))[0]:
                    worst[kind] = delay, setups[key % 2], endpoint, net, key
        paths = {kind: Path(*kind, delay, setup, endpoint, self._trace(net, key))
                 for kind, (delay, setup, endpoint, net, key) in worst.items()}
        return Timing(paths, {net: tuple(slews) for net, slews in self.slews.items()})

    def _net(self, net):
        if net not in self.arrivals:
            self.arrivals[net] = [-inf] * 4
            self.slews[net] = [0.0, 0.0]
            self.origins[net] = [None] * 4

    def _ordered(self):
        """Output pins as (instance, pin), each after those that its arcs start from."""
        drivers = {instance.nets[pin]: (instance, pin) for instance in self.netlist.instances
                   if not instance.cell.clock_gate
                   for pin in instance.cell.outputs if pin in instance.nets}
        graph = {net: {instance.nets[related] for arc in instance.cell.pins[pin].arcs
                       if not _launches(arc, instance) for related in arc.related
                       if related in instance.nets}
                 for net, (instance, pin) in drivers.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            names = " to ".join(drivers[net][0].name for net in reversed(error.args[1]))
            raise NetlistError(f"Module {self.netlist.module} must have no combinational loop, "
                               f"not {names}") from None
        return [drivers[net] for net in order if net in drivers]

    def _propagate(self, instance: Instance, pin: str):
        """Set the arrivals and slews of an output pin from those of the cell's inputs."""
        net = instance.nets[pin]
        self._net(net)
        load = self.netlist.loads.get(net, 0.0)
        for arc in instance.cell.pins[pin].arcs:
            launches = _launches(arc, instance)
            for related in arc.related:
                source = instance.nets.get(related)
                if source not in self.arrivals:
                    continue
                arrivals = [-inf, 0.0, -inf, -inf] if launches else self.arrivals[source]
                slews = [0.0, 0.0] if launches else self.slews[source]
                self._edges(net, arc, load, arrivals, slews, None if launches else source)

    def _edges(self, net, arc, load, arrivals, slews, source):
        for edge in (_FALL, _RISE):
            if arc.delay[edge] is None:
                continue
            for before in _inputs(arc.sense, edge):
                if arrivals[before] == arrivals[before + 2] == -inf:
                    continue
                delay = arc.delay[edge](slews[before], load)
                slew = arc.transition[edge](slews[before], load)
                self.slews[net][edge] = max(self.slews[net][edge], slew)
                for launch in (0, 2):
                    arrival = arrivals[before + launch] + delay
                    if arrival > self.arrivals[net][edge + launch]:
                        self.arrivals[net][edge + launch] = arrival
                        self.origins[net][edge + launch] = source, before + launch

    def _setups(self, instance):
        """Endpoints of a register: name, net and setup times for a fall and a rise."""
        for pin in instance.cell.inputs:
            net = instance.nets.get(pin)
            for arc in instance.cell.pins[pin].arcs:
                if arc.kind == "setup_falling":
                    raise NetlistError(f"Register {instance.name} must capture on the rising edge, "
                                       f"not as cell {instance.cell.name}")
                if arc.kind == "setup_rising" and net in self.arrivals:
                    yield f"{instance.name}.{pin}", net, [
                        table(slew, 0.0) if table else -inf
                        for table, slew in zip(arc.constraint, self.slews[net], strict=True)]

    def _trace(self, net, key):
        """Steps of the path to an arrival."""
        drivers = {instance.nets[pin]: (instance.name, instance.cell.name, pin)
                   for instance in self.netlist.instances
                   for pin in instance.cell.outputs if pin in instance.nets}
        ports = {bit: name for name, (direction, bits) in self.netlist.boundary.items()
                 if direction == "input" for bit in bits}
        steps = []
        while net is not None:
            place = drivers.get(net, ("", "", ports.get(net, "")))
            steps.append(Step(*place, "rise" if key % 2 else "fall", self.arrivals[net][key],
                              self.slews[net][key % 2], self.netlist.loads.get(net, 0.0)))
            net, key = self.origins[net][key] or (None, key)
        return tuple(reversed(steps))


def _launches(arc, instance):
    """Whether an arc starts at the clock; a latch is refused."""
    if arc.kind == "falling_edge":
        raise NetlistError(f"Register {instance.name} must launch on the rising edge, "
                           f"not as cell {instance.cell.name}")
    return arc.kind == "rising_edge"


def _inputs(sense, edge):
    """Input edges that cause an output edge."""
    return {"positive_unate": (edge,), "negative_unate": (1 - edge,)}.get(sense, (_FALL, _RISE))
