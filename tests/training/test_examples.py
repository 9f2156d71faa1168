from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import recsys.training.examples
from recsys.data import Histories
from recsys.training import (
    PairExamples,
    ProfileExamples,
    RatingProfileExamples,
    SequenceExamples,
    WholeExamples,
    seeded,
)
from recsys.training.examples import UserPairExamples, ragged_positions, rows_of_batches, shuffled

LENGTHS = [0, 1, 2, 3, 5, 6, 7, 11, 0, 12]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]),
]


def histories(lengths: list[int] | None = None) -> tuple[Histories, list[list[int]]]:
    """Histories of some lengths, and as lists; no item is there twice, so that each step can be told from the others."""
    sizes = LENGTHS if lengths is None else lengths
    items = np.random.default_rng(0).permutation(sum(sizes))
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    lists = [items[start:stop].tolist() for start, stop in pairwise(indptr)]
    return Histories(indptr, items), lists


def rated(history: Histories) -> Histories:
    """The same with a rating that tells each item."""
    return Histories(history.indptr, history.items, (history.items / 2).astype(np.float32))


def every(examples: object, size: int = 4) -> list[Tensor]:
    """Numbers of all examples, a batch at a time, in another order."""
    generator = torch.Generator().manual_seed(1)
    return list(torch.randperm(len(examples), generator=generator).split(size))  # type: ignore[arg-type]


def test_pairs_are_the_rows_asked_for() -> None:
    examples = PairExamples(np.array([3, 1, 2]), np.array([30, 10, 20]))
    batch = examples.batch(torch.tensor([2, 0, 0]))
    assert batch.users.tolist() == [2, 3, 3]
    assert batch.items.tolist() == [20, 30, 30]
    assert len(examples) == 3
    assert batch.users.dtype == batch.items.dtype == torch.int64


@pytest.mark.parametrize("ahead", [1, 7, 1 << 14])
def test_pairs_that_are_made_ahead_come_in_the_same_batches(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recsys.training.examples, "PAIRS_AHEAD", ahead)
    examples = PairExamples(np.arange(20), np.arange(20) * 10)
    with seeded(1):
        found = list(shuffled(examples, 3, torch.device("cpu")))
    with seeded(1):
        wanted = [examples.batch(rows) for rows in torch.randperm(20).split(3)]
    assert [len(batch.users) for batch in found] == [3] * 6 + [2]
    for one, other in zip(found, wanted, strict=True):
        assert all(torch.equal(*both) for both in zip(one, other, strict=True))


def test_narrow_codes_become_indices() -> None:
    examples = PairExamples(np.array([3], np.int32), np.array([30], np.int16))
    assert examples.batch(torch.tensor([0])).items.dtype == torch.int64


@pytest.mark.parametrize("device", DEVICES)
def test_examples_go_to_a_device_and_give_the_same_there(device: str) -> None:
    history, _ = histories()
    make = (
        lambda: PairExamples(np.arange(5), np.arange(5)),
        lambda: ProfileExamples(history),
        lambda: RatingProfileExamples(rated(history)),
        lambda: WholeExamples(ProfileExamples(history)),
        lambda: SequenceExamples(history, 3),
    )
    for one in make:
        rows = torch.tensor([2, 0, 3])
        there = one().to(torch.device(device)).batch(rows.to(device))
        for moved, here in zip(there, one().batch(rows), strict=True):
            assert moved.device.type == device
            assert torch.equal(moved.cpu(), here)


# -- profiles ----------------------------------------------------------------------------------------------------------


def test_profiles_are_the_rows_that_have_items() -> None:
    history, lists = histories()
    examples = ProfileExamples(history)
    assert len(examples) == sum(length > 0 for length in LENGTHS)
    found = {}
    for rows in every(examples):
        batch = examples.batch(rows)
        parts = batch.items.split(batch.lengths.tolist())
        found |= {int(row): part.tolist() for row, part in zip(batch.rows, parts, strict=True)}
    assert found == {row: items for row, items in enumerate(lists) if items}


def test_ratings_come_beside_their_items() -> None:
    history, lists = histories()
    examples = RatingProfileExamples(rated(history))
    for rows in every(examples):
        batch = examples.batch(rows)
        assert batch.items.tolist() == [item for row in batch.rows.tolist() for item in lists[row]]
        assert torch.equal(batch.ratings, batch.items.float() / 2)


def test_whole_examples_are_one_batch_of_all() -> None:
    history, lists = histories()
    examples = WholeExamples(ProfileExamples(history))
    (rows,) = rows_of_batches(examples, 3, torch.device("cpu"))
    batch = examples.batch(rows)
    assert batch.items.tolist() == [item for items in lists for item in items]
    assert len(WholeExamples(ProfileExamples(Histories.empty(3)))) == 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_batch_of_profiles_does_not_wait_for_the_device() -> None:
    examples = RatingProfileExamples(rated(histories()[0])).to(torch.device("cuda"))
    batches = rows_of_batches(examples, 4, torch.device("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [examples.batch(rows) for rows in batches]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum(len(batch.items) for batch in found) == sum(LENGTHS)


def test_ragged_positions_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    for n_runs in (1, 2, 7):
        starts, lengths = rng.integers(0, 50, n_runs), rng.integers(0, 5, n_runs)
        expected = [start + step for start, length in zip(starts, lengths, strict=True) for step in range(length)]
        assert ragged_positions(torch.from_numpy(starts), torch.from_numpy(lengths)).tolist() == expected
        given = ragged_positions(torch.from_numpy(starts), torch.from_numpy(lengths), len(expected))
        assert given.tolist() == expected


def test_no_runs_have_no_positions() -> None:
    nothing = torch.empty(0, dtype=torch.int64)
    assert ragged_positions(nothing, nothing).shape == (0,)


# -- sequences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3, 5, 11, 100])
def test_every_step_of_every_history_is_a_target_once(length: int) -> None:
    history, lists = histories()
    examples = SequenceExamples(history, length)
    steps = []
    for rows in every(examples):
        batch = examples.batch(rows)
        real = batch.history >= 0
        assert torch.equal(real, batch.targets >= 0)
        users = batch.users[:, None].expand_as(real)[real]
        steps += zip(users.tolist(), batch.history[real].tolist(), batch.targets[real].tolist(), strict=True)
    expected = [(user, *pair) for user, items in enumerate(lists) for pair in pairwise(items)]
    assert sorted(steps) == sorted(expected)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 11, 100])
def test_windows_end_at_the_last_step_and_only_a_first_one_is_short(length: int) -> None:
    history, lists = histories()
    examples = SequenceExamples(history, length)
    windows: dict[int, list[list[int]]] = {}
    for number in range(len(examples)):
        batch = examples.batch(torch.tensor([number]))
        windows.setdefault(int(batch.users[0]), []).append([*batch.history[0].tolist(), int(batch.targets[0, -1])])
    assert sorted(windows) == [user for user, items in enumerate(lists) if len(items) > 1]
    for user, found in windows.items():
        items, stop = lists[user], len(lists[user])
        for window in reversed(found):
            start = max(stop - 1 - length, 0)
            assert window == items[start:stop]
            stop = start + 1
        assert stop == 1


def test_a_batch_is_as_wide_as_its_longest_window_and_padded_on_the_right() -> None:
    history, lists = histories()
    examples = SequenceExamples(history, 5)
    short, long = (next(n for n in range(len(examples)) if int(examples.lengths[n]) == size) for size in (2, 4))
    batch = examples.batch(torch.tensor([short, long]))
    assert batch.history.shape == batch.targets.shape == (2, 4)
    first = lists[int(batch.users[0])]
    assert batch.history[0].tolist() == [*first[:2], -1, -1]
    assert batch.targets[0].tolist() == [*first[1:3], -1, -1]


def test_histories_of_one_item_are_no_examples() -> None:
    assert len(SequenceExamples(histories([1, 0, 1])[0], 5)) == 0
    assert len(SequenceExamples(Histories.empty(3), 5)) == 0


# -- draws by user -----------------------------------------------------------------------------------------------------


def test_draws_by_user_are_even_over_users_and_over_the_items_of_each() -> None:
    history, lists = histories([1, 4, 0, 2])
    examples = UserPairExamples(history)
    assert len(examples) == 7
    with seeded(0):
        batch = examples.batch(torch.arange(60_000) % 7)
    drawn = np.bincount(batch.users.numpy(), minlength=4)
    assert drawn[2] == 0
    np.testing.assert_allclose(drawn[[0, 1, 3]], 20_000, atol=500)
    for user, items in enumerate(lists):
        counts = np.bincount(batch.items[batch.users == user].numpy(), minlength=7)
        assert set(np.flatnonzero(counts)) == set(items)
        if items:
            np.testing.assert_allclose(counts[items], drawn[user] / len(items), atol=500)


def test_a_batch_of_windows_has_the_short_ones_first_and_comes_in_parts_as_wide_as_their_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recsys.training.examples, "PART", 11)
    history, _ = histories()
    examples = SequenceExamples(history, 5)
    batch = examples.batch(torch.arange(len(examples)))
    lengths = (batch.history >= 0).sum(1)
    assert lengths.tolist() == sorted(lengths.tolist())
    parts = list(batch.parts())
    # As many rows of the longest as have eleven places, or one.
    assert all(part.history.numel() <= 11 for part in parts)
    assert all(len(part.users) == max(1, 11 // part.history.shape[1]) for part in parts[1:])
    start = 0
    for part in parts:
        rows = slice(start, start + len(part.users))
        width = int(lengths[rows].max())
        assert part.history.shape[1] == part.targets.shape[1] == width
        assert torch.equal(part.history, batch.history[rows, :width])
        assert torch.equal(part.targets, batch.targets[rows, :width])
        assert torch.equal(part.users, batch.users[rows])
        start += len(part.users)
    assert start == len(examples)
