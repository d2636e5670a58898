"""The same computation for many items, by several processes where that is quicker."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from fusionkit.errors import FusionkitError

R = TypeVar("R")
Item = tuple[Any, ...]
# What it costs to start workers, generously: each of them imports torch.
START_SECONDS = 6.0


def compute(function: Callable[..., R], items: Sequence[Item], jobs: int | None = None) -> Iterator[tuple[Item, R]]:
    """Call a function for each item; results come in any order, each with its item.

    The first calls are made in this process, and all the others too unless workers would save more time than their
    start costs. Torch computes with one thread either way, so that results do not depend on the number of processes.
    Closing the iterator, an exception or Ctrl-C ends the workers at once.

    Args:
        function: A function of a module, since workers import it.
        items: Positional arguments of each call.
        jobs: Most processes at a time; None for one per core.

    Raises:
        FusionkitError: Less than one job, or a worker that ended before its work did.
        Exception: What the function raised.
    """
    jobs = _cores() if jobs is None else jobs
    if jobs < 1:
        raise FusionkitError(f"{jobs} jobs; at least 1 is needed")
    return _compute(function, items, jobs)


def _compute(function: Callable[..., R], items: Sequence[Item], jobs: int) -> Iterator[tuple[Item, R]]:
    started = time.perf_counter()
    for done, item in enumerate(items):
        if done == 1:  # the first call also pays for imports
            started = time.perf_counter()
        if done > 1:
            rest = (time.perf_counter() - started) / (done - 1) * (len(items) - done)
            if rest * (1 - 1 / jobs) > START_SECONDS:
                yield from _by_workers(function, items[done:], jobs)
                return
        with _one_thread():
            result = function(*item)
        yield item, result


def _by_workers(function: Callable[..., R], items: Sequence[Item], jobs: int) -> Iterator[tuple[Item, R]]:
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(items)), context, _prepare_worker)
    try:
        with _interrupts_ignored():
            calls = {pool.submit(function, *item): item for item in items}
        for call in as_completed(calls):
            yield calls[call], call.result()
    except BaseException as error:
        for worker in set(multiprocessing.active_children()).difference(others):
            worker.terminate()
        if isinstance(error, BrokenProcessPool):
            advice = "use fewer jobs if memory is short; a script needs `if __name__ == '__main__':`"
            raise FusionkitError(f"a worker process ended unexpectedly; {advice}") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is gone, since a parent that is killed cannot say so."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that start in the meantime ignore Ctrl-C for good: the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
