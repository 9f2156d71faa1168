"""`evaluate` for users that the model knows by a history alone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import EASE, Dataset
from recsys.errors import DataError, UnsupportedError
from tests.evaluation.planted import FromHistory, Given, by_user, table


@pytest.fixture(scope="module")
def strangers() -> tuple[FromHistory, pd.DataFrame, pd.DataFrame]:
    """A model, histories and targets of users that it never saw; one target user has no history."""
    rng = np.random.default_rng(7)
    model = FromHistory().fit(table(rng.integers(0, [30, 40], (600, 2))))
    history = table(rng.integers([100, 0], [120, 40], (80, 2)))
    targets = table(rng.integers([100, 0], [121, 40], (90, 2)))
    return model, history, pd.concat([targets, table([(999, 5)])])


def test_strong_generalization_agrees_with_recommending_from_histories(strangers: Any) -> None:
    model, history, targets = strangers
    found = recsys.evaluate(model, targets, ["recall@5", "ndcg@5"], history=history)
    lists = model.recommend(history=history, k=5)
    seen = by_user(history)
    new = [item not in seen.get(user, ()) for user, item in zip(targets["user_id"], targets["item_id"], strict=True)]
    expected = recsys.evaluate_lists(lists, targets[new], ["recall@5", "ndcg@5"])
    pd.testing.assert_frame_equal(found.per_user, expected.per_user)
    assert found.per_user.loc[999].tolist() == [0, 0]
    assert found.counts["unknown users"] == len(set(targets["user_id"]) - set(history["user_id"]))
    assert found["recall@5"] > 0
    both = (Dataset(history), Dataset(targets))
    assert dict(recsys.evaluate(model, both[1], ["recall@5", "ndcg@5"], history=both[0])) == dict(found)


def test_sampled_candidates_are_scored_from_histories(strangers: Any) -> None:
    model, history, targets = strangers
    ranked = recsys.evaluate(model, targets, "mrr@50", history=history, candidates=("sampled", 50), ties="average")
    seen, wanted = by_user(history), by_user(targets)
    for user in set(ranked.per_user.index) & set(seen):
        scores = np.zeros(40)
        for item in seen[user]:
            scores[(item + 1) % 40] += 2
            scores[(item + 2) % 40] += 1
        others = [scores[i] for i in range(40) if i not in seen[user] | wanted[user]]
        figures = []
        for one in wanted[user] - seen[user]:
            greater, equal = sum(o > scores[one] for o in others), sum(o == scores[one] for o in others)
            figures.append(np.mean([1 / (place + 1) for place in range(greater, greater + equal + 1)]))
        assert ranked.per_user.loc[user, "mrr@50(sampled-50)"] == pytest.approx(np.mean(figures))


def test_a_history_needs_a_model_that_reads_it_and_a_column_of_users(
    planted: Any, model: Given, strangers: Any
) -> None:
    with pytest.raises(UnsupportedError, match="Given has no meaning for history"):
        recsys.evaluate(model, planted[1], history=planted[0])
    with pytest.raises(DataError, match="no column 'user_id'"):
        recsys.evaluate(strangers[0], strangers[2], history=strangers[1][["item_id"]])


def test_by_user_splits_are_evaluated_from_their_histories() -> None:
    rng = np.random.default_rng(3)
    # Each user walks a stretch of a circle of items, so that a stranger's stretch tells what is missing in it.
    walks = [(u, (start + step) % 60) for u in range(120) for start in [rng.integers(60)] for step in range(12)]
    train, history, targets = recsys.split.by_user(table(walks), 0.25, random_state=0)
    found = recsys.evaluate(EASE(regularization=5.0).fit(train), targets, "recall@10", history=history)
    assert found["recall@10"] > 0.8
    assert found.counts["unknown users"] == 0
