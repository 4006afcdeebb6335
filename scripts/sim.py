"""``mixpe sim``: layers of a checkpoint through the exported Verilog, compared with golden."""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich import box
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from golden.align import align
from golden.formats import FORMATS
from golden.gemm import gemm
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights, quantise_activations, quantise_weights
from golden.stream import group_beats
from golden.synthetic import activations
from scripts import checkpoint
from scripts.console import console
from tb.layer import LayerRun, run_layer

__all__ = ["main", "fitted", "labels", "quantised_activations"]

#: Layers that are all run when none is asked for.
FEW = 4

#: K of the measurement at a steady rate.
STEADY_LENGTH = 1024


@dataclass(frozen=True)
class Job:
    """A layer to run, and how."""

    name: str
    x: np.ndarray  # activations before quantisation, shape (M, K)
    activations: Activations
    weights: GroupedWeights
    stalls: bool


@dataclass(frozen=True)
class Outcome:
    """A layer that has been run, beside golden and the product of real numbers."""

    job: Job
    run: LayerRun
    golden: np.ndarray
    y: str

    @property
    def mismatches(self) -> int:
        """Output words that differ from golden."""
        return int(np.count_nonzero(self.run.y != self.golden))

    @property
    def rate(self) -> float:
        """Multiply-accumulates of the layer in each cycle in which the array was fed."""
        (m, k), n = self.job.x.shape, self.job.weights.q.shape[1]
        return m * k * n / self.run.busy

    def error(self, x: np.ndarray) -> float:
        """Root mean square of golden's error, relative to the float product of ``x``."""
        exact = x.astype(np.float64) @ self.job.weights.dequantise()
        actual = FORMATS[self.y].decode(self.golden)
        return float(np.sqrt(np.mean((actual - exact)**2) / np.mean(exact**2)))


def main(parameters: ArrayParameters, path: Path, layer: str | None, tokens: int,
         seed: int, requantise: bool) -> None:
    """Run the layers without and with stalls, and one long enough for the steady rate.

    Raises
    ------
    click.ClickException
        Exit status 2 if a layer does not fit the set, 1 if an output differs from golden.
    """
    from hdl.array import Array
    from hdl.export import verilog

    names = _names(path, layer)
    rng = np.random.default_rng(seed)
    jobs = []
    for name in names:
        weights = fitted(checkpoint.load(path, name), parameters, requantise)
        x = activations(rng, tokens, len(weights.q))
        quantised = quantised_activations(x, parameters, weights.group)
        jobs += [Job(name, x, quantised, weights, stalls) for stalls in (False, True)]
    jobs.append(steady_job(rng, parameters))

    array = Array(parameters)
    outcomes = []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
               TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        building = progress.add_task("generating and compiling the array", total=None)
        source = verilog(array)
        for job in jobs:
            task = progress.add_task(f"{job.name}{', stalls' * job.stalls}", total=1.0)
            run = run_layer(
                source, array.module, parameters, job.activations, job.weights,
                stalls=job.stalls, seed=seed, progress=lambda share, task=task: (
                    progress.update(building, visible=False),
                    progress.update(task, completed=share)))
            outcomes.append(Outcome(job, run, gemm(job.activations, job.weights, y=parameters.y),
                                    parameters.y))
    console.print(_table(parameters, outcomes))
    console.print(f"Verilog {array.module}, {path}, seed {seed}")
    _judge(parameters, outcomes)


def steady_job(rng: np.random.Generator, parameters: ArrayParameters) -> Job:
    """Random layer of several output tiles with K of at least :data:`STEADY_LENGTH`."""
    p = parameters
    k = -(-max(STEADY_LENGTH, p.full_rate_length) // p.group) * p.group
    weights = quantise_weights(rng.normal(size=(k, 4 * p.columns)), w=p.w, group=p.group,
                               scale=p.scale)
    x = activations(rng, p.rows, k)
    return Job(f"steady state, K = {k}", x, quantised_activations(x, p, p.group), weights,
               stalls=False)


def quantised_activations(x: np.ndarray, parameters: ArrayParameters, group: int) -> Activations:
    """Activations in the format of a set, with scales and zero points as it has these."""
    p = parameters
    if p.x_align:
        return align(FORMATS[p.x].encode(x), fmt=p.x, bits=p.x_align, group=group)
    scale = None if p.x_scale == "token" else p.x_scale
    return quantise_activations(x, fmt=p.x, group=group, group_scale=scale, zero=p.x_zero)


def fitted(weights: GroupedWeights, parameters: ArrayParameters,
           requantise: bool = False) -> GroupedWeights:
    """Weights of a checkpoint in the formats of a set.

    They must be held exactly, or ``requantise`` rounds them anew, in groups of the set's size if
    their own are larger.
    """
    p = parameters
    if requantise:
        return quantise_weights(weights.dequantise(), w=p.w, group=min(weights.group, p.group),
                                scale=p.scale)
    try:
        group_beats(len(weights.q), weights.group, p)
        return weights.with_format(p.w).with_scale(p.scale)
    except ValueError as error:
        raise click.UsageError(f"Layer does not fit set {p.name}: {error}; use --requantise to "
                               "round its weights anew") from None


def _names(path: Path, layer: str | None) -> list[str]:
    """Layers to run."""
    if layer is not None:
        return [layer]
    names = checkpoint.layers(path)
    if len(names) > FEW:
        raise click.UsageError(f"Layer must be given, one of the {len(names)} of {path}: "
                               f"{', '.join(names[:FEW])}, ...")
    return names


def labels(names: set[str]) -> dict[str, str]:
    """Ends of names, of two components or as many more as tell them apart."""
    for length in range(2, 2 + max(name.count(".") for name in names)):
        ends = {name: ".".join(name.split(".")[-length:]) for name in names}
        if len(set(ends.values())) == len(names):
            return ends
    return {name: name for name in names}


def _table(parameters: ArrayParameters, outcomes: list[Outcome]) -> Table:
    table = Table(title=f"Set {parameters.name}: peak {parameters.peak:,} MAC per cycle",
                  title_justify="left", box=box.SIMPLE)
    for heading in ("layer", "M x K x N", "stalls"):
        table.add_column(heading, overflow="fold")
    for heading in ("cycles", "MAC per\ncycle", "of\npeak", "mis-\nmatches",
                    "error,\nrounding", f"error,\n{parameters.x} too"):
        table.add_column(heading, justify="right")
    ends = labels({outcome.job.name for outcome in outcomes})
    for outcome in outcomes:
        job, run = outcome.job, outcome.run
        shape = *job.x.shape, job.weights.q.shape[1]
        table.add_row(
            ends[job.name], " x ".join(map(str, shape)),
            "random" if job.stalls else "none", f"{run.cycles:,}", f"{outcome.rate:,.1f}",
            f"{outcome.rate / parameters.peak:.2%}", str(outcome.mismatches),
            f"{outcome.error(job.activations.dequantise()):.1e}",
            f"{outcome.error(job.x):.1e}")
    return table


def _judge(parameters: ArrayParameters, outcomes: list[Outcome]) -> None:
    """Fail if an output differs from golden, or golden from the float product by too much."""
    fmt = parameters.y_format
    for outcome in outcomes:
        name = outcome.job.name
        if outcome.mismatches:
            raise click.ClickException(f"{outcome.mismatches} of {outcome.golden.size} outputs of "
                                       f"{name} differ from golden")
        if fmt.is_integer:
            continue  # saturates: it has no scale that would make it comparable
        exact = outcome.job.activations.dequantise() @ outcome.job.weights.dequantise()
        actual = fmt.decode(outcome.golden)
        finite = np.isfinite(actual)  # others have overflowed
        error = np.abs(actual - exact, where=finite, out=np.zeros_like(exact)).max()
        bound = 2.0**-fmt.man_bits * np.abs(exact).max() + 2.0**(1 - fmt.bias - fmt.man_bits)
        if error > bound:
            raise click.ClickException(f"Golden must be within {bound:.1e} of the float product "
                                       f"of {name}, not {error:.1e}")
