"""A softmax unit and one for codes times V in a chain, and heads that run through them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.quantise import Activations
from golden.softmax_parameters import Constants, SoftmaxParameters
from golden.values_parameters import ValuesParameters
from hdl.export import verilog
from hdl.softmax.unit import SoftmaxUnit
from hdl.values.unit import ValuesUnit
from tb import runner

__all__ = ["HeadRun", "run_head", "head_verilog", "chained"]

#: Streams of the two units that meet.
_MEET = {"softmax": "m_axis_y_", "values": "s_axis_codes_"}


@dataclass(frozen=True)
class HeadRun:
    """Outcome of a head.

    Parameters
    ----------
    y : ndarray of int64, shape (queries, columns)
        Codes of the outputs.
    cycles : int
        Cycles from the first logits to the last output.
    """

    y: np.ndarray
    cycles: int


def run_head(softmax: SoftmaxParameters, values: ValuesParameters, constants: Constants,
             scores: np.ndarray, v: Activations, *, seed: int,
             trace: Path | None = None) -> HeadRun:
    """Simulate a head in Verilog, from its scores to its outputs.

    Parameters
    ----------
    softmax, values : SoftmaxParameters, ValuesParameters
        Sets of the units, of the same width and bits.
    constants : Constants
        What the first set of both units holds.
    scores : ndarray of int64, shape (queries, tokens)
        Codes of the logits.
    v : Activations
        Vᵀ, columns by tokens, int8 with a scale for each column.
    seed : int
        Seed of what is beyond the edges of V.
    trace : Path, optional
        File that receives the ports in each cycle (:func:`tb.runner.run`).
    """
    top, source = head_verilog(softmax, values)
    folder = runner.build(source, top, trace=trace is not None)
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        head, result = (Path(directory) / name for name in ("head.npz", "result.npz"))
        np.savez(head, scores=scores, v=v.q, scales=v.scales)
        runner.run(folder, top, "tb.bench_attention", seed=seed, trace=trace, head=str(head),
                   result=str(result), softmax=softmax.to_dict(), values=values.to_dict(),
                   thresholds=constants.thresholds, exponents=constants.exponents)
        with np.load(result) as arrays:
            return HeadRun(arrays["y"], int(arrays["cycles"]))


def head_verilog(softmax: SoftmaxParameters, values: ValuesParameters) -> tuple[str, str]:
    """Name and Verilog of a module of both units."""
    units = SoftmaxUnit(softmax), ValuesUnit(values)
    top = f"mixpe_{softmax.name}_attention"
    return top, "\n".join([*map(verilog, units), chained(top, *units)])


def chained(top: str, softmax: SoftmaxUnit, values: ValuesUnit) -> str:
    """Verilog of a module in which codes go from one unit to the other.

    Its ports are theirs, with ``softmax_`` and ``values_`` before the names, and one clock and
    reset.
    """
    ports, wires = {"aclk": "input aclk;", "aresetn": "input aresetn;"}, {}
    instances = []
    for name, unit in (("softmax", softmax), ("values", values)):
        connections = []
        for port, member in unit.signature.members.items():
            width = f"[{member.shape - 1}:0] " if member.shape > 1 else ""
            if port in ports:
                outer = port
            elif port.startswith(_MEET[name]):
                outer = f"codes_{port.removeprefix(_MEET[name])}"
                wires[outer] = f"wire {width}{outer};"
            else:
                outer = f"{name}_{port}"
                direction = "input" if member.flow.name == "In" else "output"
                ports[outer] = f"{direction} {width}{outer};"
            connections.append(f".{port}({outer})")
        instances.append(f"{unit.module} {name} ({', '.join(connections)});")
    body = "\n".join(f"  {line}" for line in (*ports.values(), *wires.values(), *instances))
    return f"module {top}({', '.join(ports)});\n{body}\nendmodule\n"
