"""Row ranges on threads."""

import os
import threading

import numpy as np
import pytest

from recsys.errors import ParameterError
from recsys.kernels.parallel import SMALL, n_threads, over_rows, ranges, run_all


def processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def ranges_of(n_rows, n_jobs, weights=None):
    """The ranges that are called, in order of their start."""
    calls = []
    over_rows(lambda start, stop: calls.append((start, stop)), n_rows, n_jobs, weights)
    return sorted(calls)


@pytest.mark.parametrize("n_jobs", [1, 2, 7, 1000])
def test_a_positive_number_is_that_many_threads(n_jobs):
    assert n_threads(n_jobs) == n_jobs


def test_negative_numbers_count_back_from_all_processors_and_stop_at_one():
    assert n_threads(-1) == processors()
    assert n_threads(-2) == max(1, processors() - 1)
    assert n_threads(-10_000) == 1


def test_no_thread_at_all_is_refused():
    with pytest.raises(ParameterError, match="n_jobs=0"):
        n_threads(0)


@pytest.mark.parametrize("n_jobs", [1, 2, 5])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 39, 40, 1001])
@pytest.mark.parametrize("weighted", [False, True])
def test_ranges_cover_every_row_once(n_rows, n_jobs, weighted):
    weights = np.random.default_rng(n_rows).integers(0, 50, n_rows) if weighted else None
    ranges = ranges_of(n_rows, n_jobs, weights)
    assert all(start < stop for start, stop in ranges)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(n_rows))


def test_no_rows_are_one_empty_range():
    assert ranges_of(0, 3) == [(0, 0)]
    assert ranges_of(0, 3, np.zeros(0, np.int64)) == [(0, 0)]


def test_one_thread_is_the_callers_own_and_gets_all_rows_at_once():
    seen = []
    over_rows(lambda start, stop: seen.append((start, stop, threading.get_ident())), 100, 1)
    assert seen == [(0, 100, threading.get_ident())]


def test_there_are_a_few_ranges_a_thread():
    assert len(ranges_of(10_000, 3)) == 24


def test_ranges_cost_about_the_same_however_the_weights_lie():
    weights = np.concatenate([np.full(100, 500), np.zeros(5000, np.int64), np.full(50, 20)])
    costs = [weights[start:stop].sum() + stop - start for start, stop in ranges_of(len(weights), 2, weights)]
    whole = weights.sum() + len(weights)
    assert max(costs) <= whole / 16 + 501


def test_a_row_heavier_than_all_others_does_not_take_along_what_follows():
    weights = np.ones(400, np.int64)
    weights[170] = 10**6
    assert ranges_of(400, 2, weights) == [(0, 171), (171, 400)]


def test_an_error_in_a_range_reaches_the_caller():
    def work(start, stop):
        if stop == 100:
            raise ZeroDivisionError("the last range")

    with pytest.raises(ZeroDivisionError, match="the last range"):
        over_rows(work, 100, 2)


@pytest.mark.parametrize("total, one", [(SMALL - 1, True), (SMALL, processors() == 1)])
def test_little_work_is_the_callers_own_unless_threads_are_asked_for(total, one):
    weights = np.full(100, total // 100)
    weights[-1] += total - weights.sum()
    assert (ranges_of(100, -1, weights) == [(0, 100)]) == one
    assert len(ranges_of(100, 2, weights)) > 1


def test_calls_that_make_calls_do_not_wait_for_each_other_forever():
    done = []

    def inner():
        run_all([lambda: done.append(1)] * 8, 4)

    run_all([inner] * 50, 8)
    assert len(done) == 400


def test_an_error_of_any_thread_is_raised_when_all_have_ended():
    ended = []

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_all([fail, *[lambda: ended.append(1)] * 20], 3)
    run_all([lambda: ended.append(2)], 3)
    assert ended[-1] == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_no_kind_of_error_of_a_call_is_taken_for_the_end_of_the_calls(threads):
    def fail():
        raise IndexError("of the call")

    with pytest.raises(IndexError, match="of the call"):
        run_all([fail] * 10, threads)


@pytest.mark.parametrize("threads", [1, 3, 50])
def test_results_come_in_the_order_of_the_calls(threads):
    assert run_all([lambda at=at: at * at for at in range(20)], threads) == [at * at for at in range(20)]
    assert run_all([], threads) == []


@pytest.mark.parametrize("n", [0, 1, 7, 64, 1000])
def test_ranges_cover_all_rows_once_in_whole_steps(n):
    found = ranges(n, 3, 8)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(n))
    assert all(start % 8 == 0 or start == n for start, _ in found)
