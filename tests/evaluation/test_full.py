"""`evaluate` over the whole catalog against a loop over users, ids and scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recsys
from recsys import Dataset
from recsys.errors import DataError, UnsupportedError
from recsys.metrics import Catalog, Rankings, beyond_accuracy
from tests.evaluation.planted import ORACLES, RANKING, Given, by_user, loop, table
from tests.metrics import oracles

# -- ranking the catalog -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 10, 100])
def test_agrees_with_a_loop_over_users(planted: Any, model: Given, k: int) -> None:
    found = recsys.evaluate(model, planted[1], [f"{name}@{k}" for name in RANKING] + ["r_precision"])
    expected = loop(model, *planted)
    assert sorted(found.per_user.index) == sorted(expected)
    for name in RANKING:
        figures = {user: ORACLES[name](ranked, wanted, k) for user, (ranked, wanted, _) in expected.items()}
        column = found.per_user[f"{name}@{k}"]
        np.testing.assert_allclose([column[user] for user in figures], list(figures.values()), atol=1e-12)
        assert found[f"{name}@{k}"] == pytest.approx(np.mean(list(figures.values())))
    whole = [oracles.r_precision(ranked, wanted) for ranked, wanted, _ in expected.values()]
    assert found["r_precision"] == pytest.approx(np.mean(whole))


def test_counts_say_who_was_evaluated(planted: Any, model: Given) -> None:
    train, test = planted
    counts = recsys.evaluate(model, test).counts
    expected, seen = loop(model, train, test), by_user(train)
    distinct = {(user, item) for user, items in by_user(test).items() for item in items}
    assert counts == {
        "rows": len(test),
        "users": len(expected),
        "unknown users": len(set(expected) - set(seen)),
        "users without relevant items": test["user_id"].nunique() - len(expected),
        "seen pairs left out": sum(item in seen.get(user, ()) for user, item in distinct),
        "cold pairs": sum(item not in set(train["item_id"]) for _, item in distinct),
    }
    assert min(counts.values()) > 0


def test_users_that_only_features_name_are_not_counted(planted: Any, model: Given) -> None:
    everyone = pd.DataFrame({"user_id": [f"u{i}" for i in range(500)], "age": range(500)})
    plain = recsys.evaluate(model, planted[1])
    assert recsys.evaluate(model, Dataset(planted[1], user_features=everyone)).counts == plain.counts


def test_an_item_in_training_is_no_longer_wanted() -> None:
    model = Given().fit(table([("a", 1), ("a", 2), ("b", 3)]))
    found = recsys.evaluate(model, table([("a", 1), ("a", 3)]), "recall@3")
    assert found["recall@3"] == 1
    assert found.counts["seen pairs left out"] == 1


def test_unknown_items_lower_recall_unless_left_out(planted: Any, model: Given) -> None:
    known = set(planted[0]["item_id"])
    warm = planted[1][planted[1]["item_id"].isin(known)]
    with_cold, without = (
        recsys.evaluate(model, planted[1], "recall@10", exclude_cold_items=cold) for cold in (False, True)
    )
    assert with_cold["recall@10"] < without["recall@10"]
    pd.testing.assert_frame_equal(without.per_user, recsys.evaluate(model, warm, "recall@10").per_user)
    assert "cold pairs left out" in without.counts


def test_unknown_users_count_nothing_or_are_served_the_popular(planted: Any, model: Given) -> None:
    train, test = planted
    skipped, served = (recsys.evaluate(model, test, "recall@5", on_unknown=u) for u in ("skip", "popular"))  # type: ignore[arg-type]
    counts = train.drop_duplicates().groupby("item_id").size()
    best = sorted(counts.index, key=lambda item: (-counts[item], item))[:5]
    unknown = set(served.per_user.index) - set(train["user_id"])
    assert unknown
    for user in served.per_user.index:
        figure = served.per_user.loc[user, "recall@5"]
        if user in unknown:
            assert skipped.per_user.loc[user, "recall@5"] == 0
            assert figure == pytest.approx(oracles.recall(best, by_user(test)[user], 5))
        else:
            assert figure == skipped.per_user.loc[user, "recall@5"]


def test_nobody_known_is_an_answer_too(model: Given) -> None:
    strangers = pd.DataFrame({"user_id": list("vwxyz"), "item_id": range(5)})
    found = recsys.evaluate(model, strangers, ["recall@5", "r_precision", "ranking_auc", "coverage@5"])
    assert dict(found) == {"recall@5": 0, "r_precision": 0, "ranking_auc": 0, "coverage@5": 0}
    assert found.counts["unknown users"] == 5


def test_relevance_needs_a_high_enough_rating(planted: Any, model: Given) -> None:
    loved = planted[1][planted[1]["rating"] >= 4]
    found = recsys.evaluate(model, planted[1], relevance_threshold=4)
    pd.testing.assert_frame_equal(found.per_user, recsys.evaluate(model, loved).per_user)
    with pytest.raises(DataError, match="relevance_threshold=4"):
        recsys.evaluate(model, planted[1].drop(columns="rating"), relevance_threshold=4)


def test_rows_labeled_0_are_not_wanted(planted: Any, model: Given) -> None:
    labeled = planted[1].drop_duplicates(["user_id", "item_id"]).assign(label=lambda f: f.index % 2)
    found = recsys.evaluate(model, labeled)
    expected = recsys.evaluate(model, labeled[labeled["label"] == 1].drop(columns="label"))
    pd.testing.assert_frame_equal(found.per_user, expected.per_user)


def test_a_high_rating_does_not_make_up_for_a_label_of_0(planted: Any, model: Given) -> None:
    labeled = planted[1].drop_duplicates(["user_id", "item_id"]).assign(label=lambda f: f.index % 2)
    found = recsys.evaluate(model, labeled, relevance_threshold=3)
    expected = recsys.evaluate(model, labeled[(labeled["label"] == 1) & (labeled["rating"] >= 3)])
    pd.testing.assert_frame_equal(found.per_user, expected.per_user)


@pytest.mark.parametrize("gain", ["linear", "exp"])
def test_ratings_grade_the_gain(planted: Any, model: Given, gain: str) -> None:
    name = f"ndcg@7(gain={gain})"
    found = recsys.evaluate(model, planted[1], [name])
    mean = planted[1].groupby(["user_id", "item_id"])["rating"].mean()
    for user, (ranked, wanted, _) in loop(model, *planted).items():
        gains = {item: mean[user, item] for item in wanted}
        assert found.per_user.loc[user, name] == pytest.approx(oracles.ndcg(ranked, wanted, 7, gains, gain))


def test_graded_gains_need_ratings(planted: Any, model: Given) -> None:
    plain = planted[1].drop(columns="rating")
    with pytest.raises(UnsupportedError, match=r"ndcg@7\(gain=exp\) needs ratings"):
        recsys.evaluate(model, plain, "ndcg@7(gain=exp)")
    assert recsys.evaluate(model, plain, "ndcg@7(gain=binary)")["ndcg@7(gain=binary)"] > 0


@pytest.mark.parametrize("make", [pl.from_pandas, pa.Table.from_pandas, Dataset], ids=["polars", "pyarrow", "Dataset"])
def test_test_data_of_any_kind_gives_the_same(planted: Any, model: Given, make: Callable[..., Any]) -> None:
    expected, found = (recsys.evaluate(model, test, ["ndcg@5", "map@5"]) for test in (planted[1], make(planted[1])))
    pd.testing.assert_frame_equal(found.per_user, expected.per_user)


# -- equal scores ------------------------------------------------------------------------------------------------------


def test_average_over_ties_agrees_with_all_orders() -> None:
    rng = np.random.default_rng(5)
    train, test = table(rng.integers(0, [12, 8], (30, 2))), table(rng.integers(0, [14, 9], (60, 2)))
    model = Given().fit(train)
    model.scores_ = np.minimum(model.scores_, 3)
    names = [f"{name}@3" for name in RANKING]
    found = recsys.evaluate(model, test, names, ties="average")
    for user, (_, wanted, candidates) in loop(model, train, test).items():
        scores = [candidates.get(item, -np.inf) for item in range(9)]
        for name in RANKING:
            expected = (
                oracles.over_tie_orders(scores, lambda order, n=name, w=wanted: ORACLES[n](order, w, 3))
                if candidates
                else 0
            )
            assert found.per_user.loc[user, f"{name}@3"] == pytest.approx(expected)


def test_a_constant_scorer_hits_as_often_as_chance() -> None:
    model = Given().fit(table([(u, i) for u in range(3) for i in range(u, 40, 3)]))
    model.scores_ = np.zeros((3, 40), np.float32)
    test = table([(0, 1), (1, 2), (2, 0)])
    found = recsys.evaluate(model, test, ["hit@5", "ranking_auc"], ties="average")
    assert found["ranking_auc"] == 0.5
    free = [40 - len(range(u, 40, 3)) for u in range(3)]
    assert found["hit@5"] == pytest.approx(np.mean([5 / n for n in free]))


def test_ties_beyond_the_catalog_are_averaged_too(planted: Any, model: Given) -> None:
    found = recsys.evaluate(model, planted[1], ["recall@100", "hit@100"], ties="average")
    expected = recsys.evaluate(model, planted[1], ["recall@100", "hit@100"])
    pd.testing.assert_frame_equal(found.per_user, expected.per_user)


# -- scores and lists together -----------------------------------------------------------------------------------------


def test_ranking_auc_agrees_with_the_loop(planted: Any, model: Given) -> None:
    found = recsys.evaluate(model, planted[1], "ranking_auc")
    for user, (_, wanted, candidates) in loop(model, *planted).items():
        expected = oracles.auc(candidates, wanted) if candidates else 0
        assert found.per_user.loc[user, "ranking_auc"] == pytest.approx(expected)


def test_catalog_metrics_are_those_of_the_recommended_lists(planted: Any, model: Given) -> None:
    train, test = planted
    vectors = np.random.default_rng(0).normal(size=(len(model.items_), 4))
    stems = ("coverage", "gini", "entropy", "novelty", "avg_popularity", "ild", "serendipity", "personalization")
    found = recsys.evaluate(model, test, [f"{stem}@5" for stem in stems], item_vectors=vectors)
    expected = loop(model, train, test)
    codes = {item: code for code, item in enumerate(sorted(set(train["item_id"])))}
    lists = np.full((len(expected), 5), -1)
    for row, (ranked, _, _) in zip(lists, expected.values(), strict=True):
        row[: len(ranked[:5])] = [codes[item] for item in ranked[:5]]
    wanted = [sorted(codes.get(item, 99) for item in one) for _, one, _ in expected.values()]
    rankings = Rankings(lists, np.cumsum([0, *map(len, wanted)]), np.concatenate(wanted))
    counts = train.drop_duplicates().groupby("item_id").size().to_numpy()
    catalog = Catalog(counts, train["user_id"].nunique(), vectors)
    for stem in stems:
        name = {"avg_popularity": "average_popularity", "ild": "intra_list_distance"}.get(stem, stem)
        assert found[f"{stem}@5"] == pytest.approx(np.nanmean(getattr(beyond_accuracy, name)(rankings, 5, catalog)))


def test_distances_need_fitting_vectors(planted: Any, model: Given) -> None:
    with pytest.raises(DataError, match=r"pass item_vectors="):
        recsys.evaluate(model, planted[1], "ild@5")
    with pytest.raises(DataError, match=r"item_vectors must be finite and \(25, D\)"):
        recsys.evaluate(model, planted[1], "ild@5", item_vectors=np.ones((3, 2)))
