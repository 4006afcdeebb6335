"""Layers through the exported Verilog of an array."""

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights
from tb import runner

__all__ = ["LayerRun", "load_layer", "run_layer"]


@dataclass(frozen=True)
class LayerRun:
    """Outcome of a layer.

    Parameters
    ----------
    y : ndarray of int64, shape (M, N)
        Codes of the outputs.
    beats : int
        Beats of activations and weights.
    busy : int
        Cycles from the first beat to the last.
    cycles : int
        Cycles from the first beat to the last output.
    """

    y: np.ndarray
    beats: int
    busy: int
    cycles: int


def run_layer(source: str, top: str, parameters: ArrayParameters, x: Activations,
              weights: GroupedWeights, *, stalls: bool, seed: int,
              progress: Callable[[float], None] = lambda share: None,
              trace: Path | None = None) -> LayerRun:
    """Simulate a layer.

    Parameters
    ----------
    source, top : str
        Verilog of an array, RTL or netlist, and its top module.
    parameters : ArrayParameters
        Set of the array.
    x, weights : Activations, GroupedWeights
        The layer, in the formats of the set.
    stalls : bool
        Whether every stream pauses at random.
    seed : int
        Seed of the pauses.
    progress : callable
        Is called with the share that is done, from 0 to 1.
    trace : Path, optional
        File that receives the ports in each cycle (:func:`tb.runner.run`).
    """
    folder = runner.build(source, top, trace=trace is not None)
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        paths = {name: Path(directory) / name for name in ("layer.npz", "result.npz", "progress")}
        arrays, scalars = _parts(x, weights)
        np.savez(paths["layer.npz"], **arrays)
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(paths["progress"], done, progress))
        watcher.start()
        try:
            runner.run(folder, top, "tb.bench_layer", seed=seed, trace=trace, stalls=stalls,
                       parameters=parameters.to_dict(), layer=str(paths["layer.npz"]),
                       scalars=scalars,
                       result=str(paths["result.npz"]), progress=str(paths["progress"]))
        finally:
            done.set()
            watcher.join()
        with np.load(paths["result.npz"]) as result:
            return LayerRun(result["y"], *(int(result[key]) for key in ("beats", "busy", "cycles")))


def _parts(x: Activations, weights: GroupedWeights) -> tuple[dict, dict]:
    """Fields of a layer, ``x.q`` and so on: arrays, and what JSON can tell."""
    parts = {f"{name}.{field.name}": getattr(matrix, field.name)
             for name, matrix in (("x", x), ("w", weights)) for field in fields(matrix)}
    arrays = {name: part for name, part in parts.items()
              if isinstance(part, np.generic | np.ndarray)}
    return arrays, {name: part for name, part in parts.items()
                    if isinstance(part, str | int)}


def load_layer(path: str, scalars: dict, parameters: ArrayParameters
               ) -> tuple[Activations, GroupedWeights]:
    """The layer that :func:`run_layer` has written, in a simulation."""
    with np.load(path) as arrays:
        parts = {name: arrays[name] for name in arrays.files} | scalars
    x, w = ({name.partition(".")[2]: part for name, part in parts.items()
             if name.startswith(matrix)} for matrix in ("x.", "w."))
    return Activations(**x, fmt=parameters.x_format), GroupedWeights(**w)


def _watch(path: Path, done: threading.Event, progress: Callable[[float], None]):
    """Pass on what the bench writes until it is done."""
    while not done.wait(0.2):
        text = path.read_text() if path.exists() else ""
        if text:
            progress(float(text))
    progress(1.0)
