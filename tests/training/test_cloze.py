from itertools import pairwise

import numpy as np
import pytest
import torch

import recsys.training.cloze
import recsys.training.examples
from recsys.data import Histories
from recsys.training import seeded
from recsys.training.cloze import MASK, ClozeExamples, masked_places, some_of
from recsys.training.distributed import n_terms

LENGTHS = [0, 1, 2, 3, 5, 8, 9, 20, 1, 13]


def histories(lengths: list[int] = LENGTHS) -> tuple[Histories, list[list[int]]]:
    """Histories of some lengths, and as lists; no item is there twice."""
    items = np.random.default_rng(0).permutation(sum(lengths))
    indptr = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return Histories(indptr, items), [items[start:stop].tolist() for start, stop in pairwise(indptr)]


def whole(batch: recsys.training.cloze.ClozeBatch) -> list[list[int]]:
    """The windows with the masked items in their places."""
    items = torch.where(batch.history == MASK, batch.targets, batch.history)
    return [row[row >= 0].tolist() for row in items]


@pytest.mark.parametrize("length, step", [(4, 2), (4, 4), (8, 3), (8, 1), (100, 50)])
def test_windows_are_those_of_a_loop_and_leave_no_item_out(length: int, step: int) -> None:
    history, lists = histories()
    examples = ClozeExamples(history, length, step, 0.2, 1)
    expected = []
    for items in lists:
        start = max(len(items) - length, 0)
        while len(items) > 1:
            expected.append(items[start : start + length])
            if start == 0:
                break
            start = max(start - step, 0)
    found = whole(examples.batch(torch.arange(len(expected))))
    assert sorted(found) == sorted(expected)
    assert {item for row in found for item in row} == {item for items in lists if len(items) > 1 for item in items}
    assert len(examples) == 2 * len(expected)


@pytest.mark.parametrize("length, masked", [(200, 40), (10, 2), (3, 1), (1, 1), (2, 1)])
def test_a_share_of_the_real_places_is_masked_and_at_least_one(length: int, masked: int) -> None:
    real = torch.arange(220) < torch.tensor([[length]] * 50)
    chosen = some_of(real, 0.2)
    assert (chosen.sum(1) == masked).all()
    assert not (chosen & ~real).any()


@pytest.mark.parametrize("length, masked", [(220, 40), (200, 40), (100, 40), (70, 35), (10, 5), (1, 1)])
def test_no_more_places_are_masked_than_the_most(length: int, masked: int) -> None:
    real = torch.arange(220) < torch.tensor([[length]] * 50)
    assert (some_of(real, 0.5, 40).sum(1) == masked).all()
    examples = ClozeExamples(histories([length, 2])[0], 220, 5, 0.5, 1, max_masked=40, mask_last=False)
    counts = (examples.batch(torch.arange(len(examples))).history == MASK).sum(1).tolist()
    assert counts == ([1, masked] if length > 1 else [1])


def test_every_place_is_masked_as_often_and_anew_each_time() -> None:
    history, _ = histories([10])
    examples = ClozeExamples(history, 10, 5, 0.2, 4)
    rows = torch.zeros(5000, dtype=torch.long)
    with seeded(1):
        masked = (examples.batch(rows).history == MASK).float()
    assert (masked.sum(1) == 2).all()
    np.testing.assert_allclose(masked.mean(0), 0.2, atol=0.03)


def test_one_example_of_each_window_masks_the_last_item_alone() -> None:
    history, lists = histories()
    examples = ClozeExamples(history, 8, 4, 0.3, 2)
    n_windows = len(examples) // 3
    batch = examples.batch(torch.arange(2 * n_windows, 3 * n_windows))
    for row, target in zip(batch.history.tolist(), batch.targets.tolist(), strict=True):
        real = [code for code in row if code != -1]
        assert real.count(MASK) == 1
        assert real[-1] == MASK
        assert [code for code in target if code != -1] == [target[len(real) - 1]]
    newest = {items[-1] for items in lists if len(items) > 1}
    assert newest <= set(batch.targets.max(1).values.tolist())


@pytest.mark.parametrize("n_maskings, mask_last, n_times", [(3, True, 4), (3, False, 3), (0, True, 1)])
def test_an_epoch_has_each_window_so_many_times(n_maskings: int, mask_last: bool, n_times: int) -> None:
    history, _ = histories([10, 9])
    examples = ClozeExamples(history, 10, 5, 0.5, n_maskings, mask_last=mask_last)
    assert len(examples) == 2 * n_times
    masked = (examples.batch(torch.arange(len(examples))).history == MASK).sum(1)
    assert int((masked == 1).sum()) == 2 * mask_last


def test_a_target_is_never_among_what_is_shown() -> None:
    history, _ = histories()
    examples = ClozeExamples(history, 8, 4, 0.5, 1)
    batch = examples.batch(torch.arange(len(examples)))
    assert torch.equal(batch.history == MASK, batch.targets >= 0)
    for shown, hidden in zip(batch.history.tolist(), batch.targets.tolist(), strict=True):
        assert not set(shown) & {item for item in hidden if item >= 0}


def test_contexts_of_masked_events_are_hidden_and_the_others_are_theirs() -> None:
    history, _ = histories()
    codes = torch.from_numpy(history.items)[:, None] * 2
    examples = ClozeExamples(history, 8, 4, 0.3, 1, (codes, torch.ones(codes.shape)))
    batch = examples.batch(torch.arange(len(examples)))
    masked, shown = batch.history == MASK, batch.history >= 0
    assert (batch.codes[masked] == -1).all()
    assert (batch.values[masked] == 0).all()
    assert torch.equal(batch.codes[shown][:, 0], 2 * batch.history[shown])
    assert (batch.values[shown] == 1).all()


def test_parts_hold_the_batch_and_no_column_of_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recsys.training.examples, "PART", 20)
    history, _ = histories()
    examples = ClozeExamples(history, 8, 4, 0.3, 1)
    batch = examples.batch(torch.arange(len(examples)))
    parts = list(batch.parts())
    assert len(parts) > 2
    assert all(part.history.numel() <= 20 for part in parts)
    assert sum(len(part.history) for part in parts) == len(examples)
    assert [row for part in parts for row in whole(part)] == whole(batch)
    assert all((part.history[:, -1] != -1).any() for part in parts)


def test_of_several_processes_each_counts_for_the_masked_places_that_it_saw() -> None:
    history, _ = histories([10, 2])
    examples = ClozeExamples(history, 10, 5, 0.5, 1)
    # Rows 0 and 1 mask half of ten and of two items, the others the last item alone.
    assert [n_terms(examples.batch(torch.tensor(rows)), len(rows)) for rows in ([0], [1], [0, 1, 2, 3])] == [5, 1, 8]


def test_a_history_of_one_item_has_no_example() -> None:
    history, _ = histories([1, 0, 1])
    assert len(ClozeExamples(history, 8, 4, 0.2, 3)) == 0


def test_masked_places_are_those_of_the_targets() -> None:
    targets = torch.tensor([[-1, 4, -1, 0], [7, -1, -1, -1], [-1, -1, -1, -1]])
    places, real = masked_places(targets)
    assert [row[one].tolist() for row, one in zip(places, real, strict=True)] == [[1, 3], [0], []]
    assert targets.gather(1, places)[real].tolist() == [4, 0, 7]
