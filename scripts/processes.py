"""Processes that commands work with."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread

__all__ = ["processes"]


def processes(workers: int) -> ProcessPoolExecutor:
    """Processes that start afresh, leave Ctrl-C to this one, and end with it if it is killed."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker holds both ends of its queue, so that it would wait for ever."""
    parent_process().join()
    os._exit(1)
