"""What a GEMM engine is sent, command by command, as its ports show it: samples for the crosses."""

from collections import deque
from dataclasses import dataclass, field
from itertools import product

import cocotb
from cocotb.triggers import RisingEdge

from golden.parameters import ArrayParameters
from golden.quantise import groups
from tb.crosses import Collector

__all__ = ["EngineSampler", "Transfer", "group_kind", "rest_of", "sample"]

#: Payload and TLAST of what passed a stream, and whether one side kept the other waiting.
Transfer = tuple[int, bool, bool]


def group_kind(p: ArrayParameters, k: int, group: int) -> str:
    """Value on the axis ``group``."""
    if group >= k:
        return "one"
    return {p.group: "most", p.least_group: "least"}.get(group, "between")


def rest_of(p: ArrayParameters, k: int, group: int) -> str:
    """Value on the axis ``k``."""
    if k % p.lanes:
        return "lanes"
    return "beats" if k % group else "whole"


@dataclass
class _Port:
    """Signals of a stream, and its transfers that no command has claimed yet."""

    data: object
    valid: object
    ready: object
    last: object
    transfers: deque = field(default_factory=deque)
    late: bool = False


class EngineSampler:
    """Watches the streams of an engine and samples the crosses :data:`tb.crosses.GEMM`.

    Parameters
    ----------
    dut
        Handle of the engine.
    parameters : ArrayParameters
    streams : iterable of str
        Names of the input streams.
    collector : Collector
    """

    def __init__(self, dut, parameters: ArrayParameters, streams, collector: Collector):
        self._clk, self._p, self._collector = dut.aclk, parameters, collector
        self._ports = {name: self._port(dut, f"s_axis_{name}") for name in streams}
        self._y = self._port(dut, "m_axis_y")
        self._commands = deque()
        cocotb.start_soon(self._watch())

    @staticmethod
    def _port(dut, prefix: str) -> _Port:
        return _Port(*(getattr(dut, f"{prefix}_{name}")
                       for name in ("tdata", "tvalid", "tready", "tlast")))

    def command(self, m: int, k: int, n: int, wide: int, group: int):
        """Tell that a command was written to the registers and started."""
        self._commands.append((m, k, n, wide, group))

    async def _watch(self):
        while True:
            await RisingEdge(self._clk)
            for port in (*self._ports.values(), self._y):
                valid, ready = port.valid.value == 1, port.ready.value == 1
                if valid and ready:
                    port.transfers.append((int(port.data.value), port.last.value == 1, port.late))
                    port.late = False
                elif valid if port is self._y else ready:
                    port.late = True
            if self._y.transfers and self._y.transfers[-1][1]:
                self._claim(self._commands.popleft())

    def _claim(self, shape: tuple[int, ...]):
        """Sample the command whose last output has just been taken."""
        counts = _items(self._p, *shape)
        taken  = {name: [port.transfers.popleft() for _ in range(counts[name])]
                  for name, port in self._ports.items()}
        outputs = list(self._y.transfers)
        self._y.transfers.clear()
        sample(self._collector, self._p, shape, taken, outputs)


def _passes(p: ArrayParameters, n: int, wide: int) -> list[tuple[int, bool]]:
    """Features of each pass over the columns, and whether they are wide."""
    size = p.columns // (1 + p.wide)
    return [*((min(size, wide - start), True) for start in range(0, wide, size)),
            *((min(p.columns, n - wide - start), False)
              for start in range(0, n - wide, p.columns))]


def _items(p: ArrayParameters, m: int, k: int, n: int, wide: int, group: int) -> dict[str, int]:
    """Items of each stream of a command."""
    passes, beats, count = len(_passes(p, n, wide)), -(-k // p.lanes), groups(k, group)
    return {"x": -(-m // p.x_rows) * beats, "w": passes * beats, "s": passes * count, "sx": m,
            "t": m * count}


def sample(collector: Collector, p: ArrayParameters, shape: tuple[int, ...],
           taken: dict[str, list[Transfer]], outputs: list[Transfer]) -> None:
    """Sample a command.

    Parameters
    ----------
    collector : Collector
        What counts its bins.
    p : ArrayParameters
        Set of the engine.
    shape : tuple of int
        M, K, N, WIDE and GROUP.
    taken : dict of str to list of tuple
        Payload, TLAST and whether it was late of each item of each input stream.
    outputs : list of tuple
        The same of the outputs; late is what was not taken at once.
    """
    m, k, n, wide, group = shape
    count = groups(k, group)
    # What comes before a command's first item is no stall of it.
    source = any(late for items in taken.values() for _, _, late in items[1:])
    sink   = any(late for _, _, late in outputs)
    stalls = {(0, 0): "none", (1, 0): "source", (0, 1): "sink", (1, 1): "both"}[source, sink]
    lasts  = {name: _lasts(items) for name, items in taken.items()}
    for name, found in lasts.items():
        for last in found:
            collector.sample("ends of streams", stream=name, last=last, stalls=stalls)
    wrong = set().union(*lasts.values()) - {"right"}

    common = {"group": group_kind(p, k, group)}
    places = {"m": "rest" if m % p.rows else "whole", "k": rest_of(p, k, group)}
    x_zeros = _x_zeros(p, taken, count)
    bins, pairs = set(), set()
    for index, (features, is_wide) in enumerate(_passes(p, n, wide)):
        weights = "uint8" if is_wide else p.w
        whole = wide % (p.columns // 2) == 0 if is_wide else (n - wide) % p.columns == 0
        for g in range(count):
            word = taken["s"][index * count + g][0]
            for zero, scale in _entries(p, word, features, is_wide):
                bins.add((weights, zero, scale, "whole" if whole else "rest"))
                pairs |= {(weights, zero, scale, x_zero) for x_zero in x_zeros[g]}
    for (weights, zero, scale, rest), last in product(bins, wrong or {"right"}):
        collector.sample("operands", weights=weights, zero=zero, scale=scale, n=rest,
                         stalls=stalls, last=last, **common, **places)
    for weights, zero, scale, x_zero in pairs:
        collector.sample("zero points", weights=weights, zero=zero, scale=scale,
                         x_zero=x_zero, **common)


def _lasts(items) -> set[str]:
    """Where TLAST was among the items of a command."""
    ends  = [last for _, last, _ in items]
    found = ({"early"} if any(ends[:-1]) else set()) | (set() if ends[-1] else {"missing"})
    return found or {"right"}


def _entries(p: ArrayParameters, word: int, features: int, wide: bool) -> set[tuple[str, str]]:
    """Zero point and sign of the scale of the columns that are features."""
    found = set()
    bits = p.scale_format.bits
    for feature in range(features):
        entry = word >> feature * (1 + wide) * (bits + p.zero_bits)
        zero  = entry >> bits & (1 << p.zero_bits) - 1
        found.add((("positive" if zero else "0") if p.max_zero else "none",
                   "negative" if p.scale_format.signed and entry >> bits - 1 & 1
                   else "positive"))
    return found


def _x_zeros(p: ArrayParameters, taken, count: int) -> list[set[str]]:
    """Signs of the activations' zero points of each group."""
    if not p.x_zero:
        return [{"none"}] * count
    bits = p.x_scale_format.bits if p.x_scale_format else 0
    found = [set() for _ in range(count)]
    for index, (entry, _, _) in enumerate(taken["t"]):
        zero = entry >> bits & (1 << p.x_format.bits) - 1
        sign = "negative" if zero >> p.x_format.bits - 1 else "positive" if zero else "0"
        found[index % count].add(sign)
    return found
