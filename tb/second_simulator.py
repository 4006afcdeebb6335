"""Runs of benches once more, in another simulator: the inputs that Verilator saw, replayed.

A bench drives Verilator, which records all ports of the design. CXXRTL is then given the same
inputs in the same cycles, and must give the same outputs in each of them, whether anyone looks at
them or not. In both simulators registers and memories start at 0.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tb.cxxrtl import CLOCKS, Port, Simulation, ports, to_words

__all__ = ["Recording", "Outcome", "recorded", "replayed"]


@dataclass(frozen=True)
class Recording:
    """Ports of a design in each cycle, just before the edge that ends it.

    Attributes
    ----------
    inputs, outputs : ndarray of uint32, shape (cycles, words)
        As :mod:`tb.cxxrtl` has them.
    unknown : int
        How many cycles at the beginning have inputs alone: a reset in the first instant.
    """

    inputs: NDArray[np.uint32]
    outputs: NDArray[np.uint32]
    unknown: int = 0


@dataclass(frozen=True)
class Outcome:
    """A run in both simulators.

    Attributes
    ----------
    cycles : int
    hashes : tuple of str
        SHA-256 of all outputs in all cycles, of Verilator and of CXXRTL.
    streams : dict of str to tuple of str
        SHA-256 of what left through each stream, likewise.
    first : str
        The first output that differs, or nothing.
    """

    cycles: int
    hashes: tuple[str, str]
    streams: dict[str, tuple[str, str]]
    first: str

    @property
    def equal(self) -> bool:
        """Whether both simulators agree."""
        return len({*self.hashes}) == 1 and all(len({*each}) == 1
                                                for each in self.streams.values())


def recorded(path: Path, source: str, top: str) -> Recording:
    """Ports of a module from a VCD file of Verilator.

    Of an edge in the first instant the file has only what follows it. The benches reset then, so
    that this becomes a cycle with the reset and without outputs.

    Raises
    ------
    ValueError
        If the file lacks a port, or has no edge of the clock.
    """
    every = ports(source, top)
    (clock,) = [port.name for port in every if port.name in CLOCKS]
    names = {port.name: port for port in every}
    sides = {False: [port for port in every if not port.output and port.name != clock],
             True: [port for port in every if port.output]}
    places = {}
    for side in sides.values():
        start = 0
        for port in side:
            places[port.name] = start
            start += port.words
    now  = {output: np.zeros(sum(port.words for port in side), dtype=np.uint32)
            for output, side in sides.items()}
    rows = {output: [] for output in sides}
    with open(path, encoding="utf-8") as file:
        codes = _variables(file, names)
        high, first, unknown = False, True, 0
        last = {output: words.copy() for output, words in now.items()}
        for changes in _steps(file):
            level = high
            for code, value in changes:
                for name in codes.get(code, ()):
                    if name == clock:
                        level = value == 1
                    else:
                        port = names[name]
                        words = to_words([value], port.width)[0]
                        now[port.output][places[name]:places[name] + port.words] = words
            if level and not high:
                if first:
                    unknown = 1
                    if "rst" in places:
                        last[False][places["rst"]] = 1
                for output, words in last.items():
                    rows[output].append(words)
            high, first = level, first and not changes
            last = {output: words.copy() for output, words in now.items()}
    if not rows[False]:
        raise ValueError(f"{path} must have an edge of {clock}")
    return Recording(np.array(rows[False]), np.array(rows[True])[unknown:], unknown)


def _variables(lines: Iterator[str], names: dict[str, Port]) -> dict[str, set[str]]:
    """Ports by their code in a VCD file, whose head is read."""
    found = {}
    for line in lines:
        if match := re.match(r"\s*\$var \w+ +\d+ (\S+) (\w+)", line):
            code, name = match.groups()
            if name in names:
                found.setdefault(code, set()).add(name)
        elif line.startswith("$enddefinitions"):
            break
    if missing := names.keys() - set().union(*found.values()):
        raise ValueError(f"A recording must have all ports, not lack {', '.join(sorted(missing))}")
    return found


def _steps(lines: Iterator[str]) -> Iterator[list[tuple[str, int]]]:
    """Codes and new values, by time."""
    changes = []
    for line in lines:
        if line[0] == "#":
            yield changes
            changes = []
        elif line[0] == "b":
            value, code = line[1:].split()
            changes.append((code, int(value, 2)))
        elif line[0] in "01":
            changes.append((line[1:].strip(), int(line[0])))
    yield changes


def replayed(recording: Recording, source: str, top: str, *, changes: str = "") -> Outcome:
    """Run the recorded inputs in CXXRTL and compare.

    Parameters
    ----------
    recording : Recording
        What :func:`recorded` gave.
    source, top : str
        Verilog, and the module.
    changes : str
        Commands of Yosys that break the design.
    """
    simulation = Simulation(source, top, changes=changes)
    outputs = simulation.run(recording.inputs)[recording.unknown:]
    inputs  = recording.inputs[recording.unknown:]
    both = recording.outputs, outputs
    first = ""
    if len(places := np.argwhere(both[0] != both[1])):
        cycle, word = places[0].tolist()
        owners = [port.name for port in simulation.outputs for _ in range(port.words)]
        first = (f"{owners[word]} of {top} in cycle {cycle} must be as in Verilator, "
                 f"{both[0][cycle, word]:#x}, not {both[1][cycle, word]:#x}")
    streams = {}
    for name, masks in _streams(simulation, inputs, both).items():
        streams[name] = tuple(_digest(part) for part in masks)
    return Outcome(len(outputs), tuple(_digest(each) for each in both), streams, first)


def _streams(simulation: Simulation, inputs, both) -> dict[str, list[NDArray[np.uint32]]]:
    """Payloads of each stream that leaves, in the cycles of its transfers, of both simulators."""
    place = _places(simulation.outputs)
    taken = _places(simulation.inputs)
    found = {}
    for name in place:
        for valid, ready, parts in ((r"(\w+)__valid", "__ready", ("__payload",)),
                                    (r"(\w+)_tvalid", "_tready", ("_tdata", "_tkeep", "_tlast",
                                                                  "_tuser"))):
            if not (match := re.fullmatch(valid, name)) or match[1] + ready not in taken:
                continue
            readies = inputs[:, taken[match[1] + ready]][:, 0]
            words = [place[match[1] + part] for part in parts if match[1] + part in place]
            found[match[1]] = [np.concatenate([each[:, part] for part in words], axis=1)[
                (each[:, place[name]][:, 0] & readies) == 1] for each in both]
    return found


def _places(every: list[Port]) -> dict[str, slice]:
    """Words of each port."""
    places, start = {}, 0
    for port in every:
        places[port.name] = slice(start, start + port.words)
        start += port.words
    return places


def _digest(words: NDArray[np.uint32]) -> str:
    """SHA-256 of words, the lowest byte first."""
    return sha256(np.ascontiguousarray(words).astype("<u4").tobytes()).hexdigest()
