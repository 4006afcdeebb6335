"""Where the jobs of a sweep run: processes of this machine, a Dask scheduler, or a cluster."""

import inspect
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from distributed import Client, LocalCluster, as_completed

from scripts.console import progress

__all__ = ["CLUSTERS", "local", "remote", "queue", "outcomes"]

#: Clusters by the classes of dask_jobqueue that submit their jobs.
CLUSTERS = {"slurm": "SLURMCluster", "lsf": "LSFCluster"}

#: What submits a job there.
_SUBMIT = {"slurm": "sbatch", "lsf": "bsub"}

#: Options of a job unless others are given: a worker needs one core, and netlists memory.
_JOB = {"cores": 1, "memory": "4GB"}

#: Seconds in which a scheduler must answer.
_PATIENCE = 10

#: No dashboard; the page that a scheduler serves all the same takes a port that is free.
_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


@contextmanager
def local(workers: int | None, scratch: Path) -> Iterator[Client]:
    """Client of ``workers`` processes on this machine, as many as cores if absent.

    ``scratch`` is a folder for their files.
    """
    count = workers or len(os.sched_getaffinity(0))
    scratch.mkdir(parents=True, exist_ok=True)
    with _interrupts_ignored():
        cluster = LocalCluster(n_workers=count, threads_per_worker=1, processes=True,
                               scheduler_kwargs=_NO_DASHBOARD, local_directory=str(scratch),
                               silence_logs=logging.ERROR)  # jobs tell what goes wrong
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that start meanwhile leave Ctrl-C to this one, which ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def remote(address: str) -> Iterator[Client]:
    """Client of the scheduler at an address such as ``tcp://host:8786``.

    Raises
    ------
    OSError
        If it does not answer.
    click.UsageError
        If the address is none.
    """
    try:
        client = Client(address, timeout=_PATIENCE)
    except ValueError as error:
        raise click.UsageError(f"Scheduler must be an address such as tcp://host:8786, "
                               f"not {address!r}: {error}") from None
    with client:
        yield client


@contextmanager
def queue(kind: str, workers: int, options: Mapping[str, str]) -> Iterator[Client]:
    """Client of workers that are jobs of a cluster's queue.

    Parameters
    ----------
    kind : str
        Key of :data:`CLUSTERS`.
    workers : int
        Worker processes, each of one thread.
    options : mapping of str to str
        Arguments of the class in :data:`CLUSTERS`; values are JSON, or words as they are. A job
        has one worker process for each of its ``cores`` unless ``processes`` says otherwise.

    Raises
    ------
    click.UsageError
        If dask_jobqueue or the cluster's own command is missing, or an option is refused.
    """
    try:
        import dask_jobqueue
    except ImportError:
        raise click.UsageError(f"Option '--cluster {kind}' needs the package dask-jobqueue: "
                               "pip install mixpe[cluster]") from None
    arguments = _JOB | {name: _value(text) for name, text in options.items()}
    arguments.setdefault("processes", arguments["cores"])
    arguments["scheduler_options"] = _NO_DASHBOARD | arguments.get("scheduler_options", {})
    cluster_class = getattr(dask_jobqueue, CLUSTERS[kind])
    own = inspect.signature(dask_jobqueue.JobQueueCluster.__init__).parameters
    try:
        # A cluster that refuses its options would complain once more when it is deleted.
        cluster_class.job_cls("tcp://host:8786", name="job", **{
            name: value for name, value in arguments.items() if name not in own})
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"Cluster {kind} refuses its options: {error}") from None
    if shutil.which(_SUBMIT[kind]) is None:
        raise click.UsageError(f"Option '--cluster {kind}' needs the command {_SUBMIT[kind]}, "
                               "which this machine has not")
    with cluster_class(**arguments) as cluster, Client(cluster) as client:
        cluster.scale(workers)
        yield client


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def outcomes(client: Client, function: Callable, jobs: Mapping[Hashable, tuple],
             title: str) -> Iterator[tuple[Hashable, Any, str | None]]:
    """Run ``function`` for each of some jobs; show how far they are and how long it will take.

    Parameters
    ----------
    client : Client
        Engine.
    function : callable
        What a worker calls; a name in a module, so that the worker finds it.
    jobs : mapping of hashable to tuple
        Arguments of each call.
    title : str
        What is being done.

    Yields
    ------
    tuple
        Name, result and None of a job, or its name, None and what went wrong in one line; in the
        order in which they end.
    """
    futures = {client.submit(function, *arguments, pure=False): name
               for name, arguments in jobs.items()}
    with progress(len(futures), title, estimate=True) as step:
        for future in as_completed(futures):
            step(title)
            if future.status == "finished":
                yield futures[future], future.result(), None
            else:
                yield futures[future], None, _reason(future)


def _reason(future) -> str:
    """Why a job has no result, in one line."""
    if future.status != "error":
        return "cancelled, its scheduler has gone"
    error = future.exception()
    return " ".join(f"{type(error).__name__}: {error}".split())
