"""Row ranges on threads: kernels release the GIL, so plain threads are enough and nothing is compiled for them."""

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from recsys.errors import ParameterError

T = TypeVar("T")

# Sums in any order and divisions without a check for 0: without these LLVM leaves the loops over D scalar.
FAST: dict[str, Any] = {"fastmath": {"reassoc", "contract"}, "error_model": "numpy"}
"""How kernels of single steps are compiled."""


@functools.cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """BLAS keeps to the thread that calls it, for as long as the block lasts.

    Many small calls on several threads spend their time waiting for each other, seconds of it on a busy machine; and
    threads over rows need no others below them.
    """
    return _pools().limit(limits=1, user_api="blas")


def n_threads(n_jobs: int) -> int:
    """Threads that `n_jobs` stands for: itself, or all processors for -1 (one fewer for -2, and so on)."""
    if n_jobs == 0:
        raise ParameterError("n_jobs=0 is not allowed; give a number of threads, or -1 for all processors")
    if n_jobs >= 1:
        return n_jobs
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available + 1 + n_jobs)


SMALL = 4096
"""Summed weights below which all processors are no faster than one: threads cost more to start and to wait for."""
HELPERS = 256
"""Threads beside the calling ones that may work at a time, over all calls; they are started as they are needed."""


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(HELPERS, thread_name_prefix="recsys")


if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads.
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def over_rows(
    function: Callable[[int, int], None], n_rows: int, n_jobs: int = -1, weights: NDArray[np.integer] | None = None
) -> None:
    """Call `function(start, stop)` on contiguous ranges that cover all rows, a few ranges a thread.

    `weights` (n_rows,) is the cost of each row, for ranges of equal cost; without it rows cost the same. Where `n_jobs`
    is negative and the weights are few, the calling thread does it all. It always does its share.
    """
    few = n_jobs < 0 and weights is not None and weights.sum() < SMALL
    threads = 1 if few else min(n_threads(n_jobs), max(n_rows, 1))
    if threads == 1:
        function(0, n_rows)
        return
    n_ranges = min(n_rows, 8 * threads)
    if weights is None:
        edges = np.linspace(0, n_rows, n_ranges + 1).astype(np.int64)
    else:
        # One more than its weight, so that empty rows are spread too.
        cost = np.concatenate([[0], np.cumsum(weights.astype(np.float64) + 1)])
        edges = np.searchsorted(cost, np.linspace(0, cost[-1], n_ranges + 1)).astype(np.int64)
    run_all([functools.partial(function, a, b) for a, b in itertools.pairwise(edges.tolist()) if b > a], threads)


def ranges(n: int, threads: int, step: int = 1) -> list[tuple[int, int]]:
    """Ranges of rows, one a thread, that whole steps fit into."""
    edges = [min(-(-(n * part // threads) // step) * step, n) for part in range(threads + 1)]
    return list(itertools.pairwise(edges))


def run_all(calls: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """What all calls return, made on so many threads, of which the calling one is the first. An error is raised."""
    left, results = deque(enumerate(calls)), {}

    def work() -> None:
        while True:
            try:
                at, call = left.popleft()
            except IndexError:
                return
            results[at] = call()

    helpers = [_helpers().submit(work) for _ in range(min(threads, len(calls)) - 1)]
    try:
        work()
    finally:
        # None is waited for that has not begun: all threads may be waiting so, where calls make calls.
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
    return [results[at] for at in range(len(calls))]
