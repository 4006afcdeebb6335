"""Processes that commands work with."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread

__all__ = ["processes"]


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh, leave Ctrl-C to this one, and end with it if it is killed.

    If the block raises, what has not begun is never begun.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker holds both ends of its queue, so that it would wait for ever."""
    parent_process().join()
    os._exit(1)
