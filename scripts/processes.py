"""Processes that commands work with."""

import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

__all__ = ["processes"]


def processes(workers: int) -> ProcessPoolExecutor:
    """Processes that start afresh and leave Ctrl-C to this one."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=signal.signal,
                               initargs=(signal.SIGINT, signal.SIG_IGN))
