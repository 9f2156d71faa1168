"""`evaluate_lists`: figures of lists that somebody else made."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recsys
from recsys import Dataset, Popular
from recsys.errors import DataError, ParameterError, UnsupportedError
from recsys.metrics import Rankings
from tests.evaluation.planted import RANKING, table
from tests.metrics import oracles


@pytest.fixture(scope="module")
def served(planted: Any) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Lists of a model, the test pairs that nobody has seen, and what `evaluate` finds."""
    train, test = planted
    model = Popular().fit(train)
    keys = set(zip(train["user_id"], train["item_id"], strict=True))
    fresh = test[[pair not in keys for pair in zip(test["user_id"], test["item_id"], strict=True)]]
    names = [*(f"{name}@{k}" for name in RANKING for k in (3, 10)), "r_precision"]
    return model.recommend(k=25), fresh, dict(recsys.evaluate(model, test, names))


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "arrow"]
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_given_lists_have_the_figures_of_their_model(served: Any, make: Callable[..., Any], shuffled: bool) -> None:
    lists, test, expected = served
    if shuffled:
        lists, test = (frame.sample(frac=1, random_state=0).reset_index(drop=True) for frame in (lists, test))
    assert dict(recsys.evaluate_lists(make(lists), make(test), list(expected))) == pytest.approx(expected)


IDS: dict[str, Callable[[int], Any]] = {
    "small": lambda code: code,
    "negative": lambda code: code - 20,
    "huge": lambda code: 2**60 + 1000 * code,
    "strings": lambda code: f"id{code:02d}",
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_any_kind_give_the_same(kind: str) -> None:
    rng = np.random.default_rng(1)
    lists = pd.DataFrame(
        {
            "who": np.repeat(np.arange(30), 5),
            "what": np.concatenate([rng.permutation(20)[:5] for _ in range(30)]),
            "place": np.tile(np.arange(1, 6), 30),
        }
    )
    test = pd.DataFrame(rng.integers(0, [35, 25], (120, 2)), columns=["who", "what"])
    columns: dict[str, Any] = {
        "user_col": "who",
        "item_col": "what",
        "rank_col": "place",
        "metrics": ["ndcg@5", "map@3"],
    }
    expected = recsys.evaluate_lists(lists, test, **columns)
    renamed = [frame.assign(**{c: frame[c].map(IDS[kind]) for c in ("who", "what")}) for frame in (lists, test)]
    found = recsys.evaluate_lists(*renamed, **columns)
    assert found.per_user.index.tolist() == [IDS[kind](code) for code in expected.per_user.index]
    np.testing.assert_array_equal(found.per_user, expected.per_user)
    wanted = {user: set(rows) for user, rows in test.groupby("who")["what"]}
    for user, figure in expected.per_user["ndcg@5"].items():
        items = lists.loc[lists["who"] == user, "what"].tolist()
        assert figure == pytest.approx(oracles.ndcg(items, wanted[user], 5))


def test_users_without_a_list_count_nothing_and_lists_without_truth_are_not_read() -> None:
    lists = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [7, 8, 7], "rank": [1, 2, 1]})
    found = recsys.evaluate_lists(lists, table([(1, 8), (3, 7)]), ["recall@5", "mrr@5"])
    assert dict(found) == {"recall@5": 0.5, "mrr@5": 0.25}
    assert found.per_user["mrr@5"].to_dict() == {1: 0.5, 3: 0}
    assert found.counts == {"users": 2, "users without a list": 1, "lists without relevant items": 1}


def test_no_list_at_all_counts_nothing() -> None:
    empty = pd.DataFrame({"user_id": [], "item_id": [], "rank": []}, dtype=np.int64)
    for lists in (empty, empty.astype(object)):
        assert recsys.evaluate_lists(lists, table([(1, 8)]), "recall@5")["recall@5"] == 0


def test_labels_ratings_and_thresholds_are_read_as_evaluate_reads_them() -> None:
    lists = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [7, 8, 9], "rank": [1, 2, 3]})
    test = table([(1, 7), (1, 8), (1, 9)], rating=[1.0, 5.0, 3.0], label=[0, 1, 1])
    for frame in (test, Dataset(test)):
        assert recsys.evaluate_lists(lists, frame, "mrr@3")["mrr@3"] == 0.5
        assert recsys.evaluate_lists(lists, frame, "recall@2", relevance_threshold=4)["recall@2"] == 1
        graded = recsys.evaluate_lists(lists, frame, "ndcg@3(gain=linear)")["ndcg@3(gain=linear)"]
        assert graded == pytest.approx(oracles.ndcg([7, 8, 9], {8, 9}, 3, {8: 5.0, 9: 3.0}, "linear"))
    with pytest.raises(UnsupportedError, match="needs ratings"):
        recsys.evaluate_lists(lists, test.drop(columns="rating"), "ndcg@3(gain=exp)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": [7, 7]}, "1 lists hold an item more than once"),
        ({"rank": [1, 1]}, "the user and the rank of another row"),
        ({"rank": [0, 1]}, "whole numbers from 1"),
        ({"rank": [0.5, 1.0]}, "whole numbers from 1"),
        ({"user_id": ["a", "b"]}, "integers in one place and strings in another"),
        ({"user_id": [1.0, np.nan]}, "column 'user_id' holds floats"),
    ],
)
def test_lists_that_are_none_are_refused(change: dict[str, Any], message: str) -> None:
    lists = pd.DataFrame({"user_id": [1, 1], "item_id": [7, 8], "rank": [1, 2]} | change)
    with pytest.raises(DataError, match=message):
        recsys.evaluate_lists(lists, table([(1, 8)]), "recall@5")


def test_missing_columns_are_named() -> None:
    lists = pd.DataFrame({"user_id": [1], "item_id": [7], "rank": [1]})
    with pytest.raises(DataError, match="no column 'rank' for the lists"):
        recsys.evaluate_lists(lists.drop(columns="rank"), table([(1, 8)]))
    with pytest.raises(DataError, match="no column 'item' for the test data"):
        recsys.evaluate_lists(lists.rename(columns={"item_id": "item"}), table([(1, 8)]), item_col="item")


@pytest.mark.parametrize("name", ["coverage@10", "rmse", "auc", "ranking_auc"])
def test_lists_alone_have_ranking_figures_only(name: str) -> None:
    lists = pd.DataFrame({"user_id": [1], "item_id": [7], "rank": [1]})
    with pytest.raises(ParameterError, match=f"{name} is no metric of lists alone"):
        recsys.evaluate_lists(lists, table([(1, 8)]), name)


def test_nothing_wanted_is_refused() -> None:
    lists = pd.DataFrame({"user_id": [1], "item_id": [7], "rank": [1]})
    with pytest.raises(DataError, match="no test user has a relevant item"):
        recsys.evaluate_lists(lists, table([(1, 8)], label=[0]))


def test_metric_rows_of_one_user_do_not_reach_another() -> None:
    """Keys of (user, item) must not run into the next user's, whatever the codes."""
    lists = pd.DataFrame({"user_id": [0, 1], "item_id": [50, 0], "rank": [1, 1]})
    test = table([(0, 1), (1, 49)])
    assert recsys.evaluate_lists(lists, test, "hit@1")["hit@1"] == 0
    rankings = Rankings(np.array([[-1], [0]]), np.array([0, 1, 2]), np.array([9, 5]))
    assert [rankings.relevant[a:b].tolist() for a, b in pairwise(rankings.indptr)] == [[9], [5]]
    assert not rankings.hits.any()
