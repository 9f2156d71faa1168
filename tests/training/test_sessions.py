"""Session-parallel batches against a schedule kept lane by lane, in plain Python."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from recsys.data import Histories
from recsys.kernels.lanes import assign_lanes
from recsys.training import sessions as module
from recsys.training.sessions import SessionExamples, session_parallel
from tests.models.worked import Golden


def histories(sessions: list[list[int]], times: list[int] | None = None) -> Histories:
    """Sessions as histories; `times` are those of their first items."""
    rows = np.repeat(np.arange(len(sessions)), [len(one) for one in sessions])
    clicks = None if times is None else np.array([start + step for start, one in zip(times, sessions, strict=True)
                                                  for step in range(len(one))])  # fmt: skip
    return Histories.from_rows(rows, np.array([item for one in sessions for item in one]), len(sessions), times=clicks)


def examples(sessions: list[list[int]], **options: Any) -> SessionExamples:
    return SessionExamples(histories(sessions), 100, **({"n_negatives": 3, "alpha": 0.5} | options))


def twin(sessions: list[list[int]], n_lanes: int) -> list[list[tuple[int, int, bool]]]:
    """Input, target and whether the session goes on, of each lane at each step: lanes are kept in a list."""
    waiting = [one for one in sessions if len(one) > 1]
    lanes: list[tuple[list[int], int] | None] = [None] * n_lanes
    steps = []
    while True:
        for n, lane in enumerate(lanes):
            if lane is None and waiting:
                lanes[n] = (waiting.pop(0), 0)
        if not any(lanes):
            return steps
        steps.append([(one[at], one[at + 1], at > 0) for lane in lanes if lane for one, at in [lane]])
        lanes = [None if lane is None or lane[1] + 2 == len(lane[0]) else (lane[0], lane[1] + 1) for lane in lanes]


def random_sessions(n: int = 200, longest: int = 12) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(100, size=rng.integers(1, longest)).tolist() for _ in range(n)]


@pytest.mark.parametrize("n_lanes", [1, 2, 7, 64, 500])
def test_a_schedule_is_that_of_lanes_kept_one_by_one(n_lanes: int) -> None:
    sessions = random_sessions()
    found = [
        sorted(zip(batch.items.tolist(), batch.targets.tolist(), batch.goes_on.tolist(), strict=True))
        for batch in examples(sessions).batches(n_lanes)
    ]
    assert found == [sorted(step) for step in twin(sessions, n_lanes)]


@pytest.mark.parametrize("order", ["time", "random"])
def test_every_pair_of_every_session_occurs_once(order: Any) -> None:
    sessions = random_sessions()
    batches = list(examples(sessions, order=order).batches(16))
    found = Counter(
        (a, b) for batch in batches for a, b in zip(batch.items.tolist(), batch.targets.tolist(), strict=True)
    )
    assert found == Counter(pair for one in sessions for pair in pairwise(one))
    assert sum(len(batch.items) for batch in batches) == len(examples(sessions))


def test_a_lane_that_goes_on_holds_the_item_that_was_its_target() -> None:
    before: list[int] = []
    for batch in examples(random_sessions()).batches(16):
        assert not before or len(batch.items) <= len(before)
        for lane, (item, goes_on) in enumerate(zip(batch.items.tolist(), batch.goes_on.tolist(), strict=True)):
            assert not goes_on or before[lane] == item
        before = batch.targets.tolist()


def test_22_session_parallel(golden: Golden) -> None:
    g = golden("22_session_parallel")
    batches = list(examples(g["inputs"]["sessions"]).batches(g["inputs"]["batch_size"]))
    wanted = g["expected"]["steps"]
    assert len(batches) == len(wanted)
    for number, (batch, step) in enumerate(zip(batches, wanted, strict=True)):
        assert batch.items.tolist() == step["input"]
        assert batch.targets.tolist() == step["target"]
        # A lane that was reset after the step before begins a session.
        reset = wanted[number - 1].get("lanes_reset_after", []) if number else [0, 1]
        assert [lane for lane, goes_on in enumerate(batch.goes_on.tolist()) if not goes_on] == reset


def test_lanes_are_taken_in_the_order_in_which_they_become_free() -> None:
    lanes, begins = assign_lanes(np.array([3, 1, 2, 1, 5]), 2)
    assert lanes.tolist() == [0, 1, 1, 0, 1]
    assert begins.tolist() == [0, 0, 1, 3, 3]


def test_sessions_are_in_the_order_of_their_first_item() -> None:
    sessions = [[1, 2], [3, 4], [5, 6], [7, 8]]
    one = SessionExamples(histories(sessions, times=[30, 10, 40, 10]), 100, 0, 0.5)
    assert [batch.items.tolist() for batch in one.batches(1)] == [[3], [7], [1], [5]]


def test_a_random_order_is_another_one_each_epoch_and_follows_from_the_seed() -> None:
    one = examples(random_sessions(), order="random")

    def epoch() -> list[int]:
        return [item for batch in one.batches(8) for item in batch.items.tolist()]

    torch.manual_seed(1)
    first, second = epoch(), epoch()
    torch.manual_seed(1)
    assert epoch() == first
    assert first != second


def test_processes_share_the_sessions() -> None:
    sessions = random_sessions()
    whole = Counter(pair for one in sessions for pair in pairwise(one))
    parts = [examples(sessions, part=(rank, 3)) for rank in range(3)]
    found = [
        (a, b)
        for part in parts
        for batch in part.batches(8)
        for a, b in zip(batch.items.tolist(), batch.targets.tolist(), strict=True)
    ]
    assert Counter(found) == whole
    assert sum(map(len, parts)) == len(found)


def test_sessions_of_one_item_make_no_batch() -> None:
    one = examples([[1], [2], [3]])
    assert len(one) == 0
    assert list(one.batches(4)) == []
    assert session_parallel(np.array([0]), np.empty(0, np.int64), 2).offsets.tolist() == [0]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_negatives_are_drawn_in_proportion_to_a_power_of_popularity(alpha: float) -> None:
    sessions = [[0] * 16, [1] * 4, [2, 2, 2, 2], [4]]
    one = SessionExamples(histories(sessions), 5, 3, alpha)
    drawn = torch.bincount(one.draw((40, 1000)).flatten(), minlength=5) / 40_000
    weights = torch.tensor([16.0, 4, 4, 0, 1]) ** alpha
    torch.testing.assert_close(drawn, weights / weights.sum(), atol=0.015, rtol=0)
    # An item that was never clicked is drawn where popularity does not count, and never else.
    assert (drawn[3] == 0) == (alpha > 0)


def test_every_step_has_negatives_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = random_sessions()
    torch.manual_seed(1)
    drawn = [batch.negatives for batch in examples(sessions, n_negatives=50).batches(8)]
    assert all(one.shape == (50,) for one in drawn)
    assert len({tuple(one.tolist()) for one in drawn}) == len(drawn)
    # How many steps are drawn for at a time changes no draw: the numbers come in the same order.
    monkeypatch.setattr(module, "DRAWN_AT_A_TIME", 170)
    torch.manual_seed(1)
    again = [batch.negatives for batch in examples(sessions, n_negatives=50).batches(8)]
    assert torch.equal(torch.stack(again), torch.stack(drawn))
    assert all(batch.negatives.shape == (0,) for batch in examples(sessions, n_negatives=0).batches(8))
