"""Ranking metrics against the worked table, against plain loops, and at their edges."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys.errors import DataError, ParameterError
from recsys.metrics import Rankings, ranking
from tests.metrics import oracles


def case(places: list[int], n_relevant: int, k: int = 5) -> Rankings:
    """A list of k items with hits at some places (from 1) and so many relevant items in all."""
    items = list(range(100, 100 + k))
    missed = list(range(n_relevant - len(places)))
    return Rankings.from_lists([items], [[*(items[place - 1] for place in places), *missed]])


CASES = {
    "A": case([2, 4], 3),
    "B": case([1], 4),
    "C": case([1, 3], 8),
    "D": case([2], 1),
}
K = 5
CONVENTIONS: dict[str, tuple[Callable[[Rankings], Any], dict[str, float]]] = {
    "recall": (lambda r: ranking.recall(r, K), {"A": 0.6667, "B": 0.25, "C": 0.25, "D": 1}),
    "capped recall": (lambda r: ranking.recall(r, K, cap=True), {"A": 0.6667, "B": 0.25, "C": 0.4, "D": 1}),
    "precision": (lambda r: ranking.precision(r, K), {"A": 0.4, "B": 0.2, "C": 0.4, "D": 0.2}),
    # implicit's precision is the sum of hits over the sum of min(k, |R|): of one user, capped recall.
    "precision of implicit": (lambda r: ranking.recall(r, K, cap=True), {"A": 0.6667, "B": 0.25, "C": 0.4, "D": 1}),
    "ndcg": (lambda r: ranking.ndcg(r, K), {"A": 0.4982, "B": 0.3904, "C": 0.5087, "D": 0.6309}),
    "ndcg of RecTools": (
        lambda r: ranking.ndcg(r, K, ideal="k"),
        {"A": 0.3601, "B": 0.3392, "C": 0.5087, "D": 0.2140},
    ),
    "ndcg of LensKit": (
        lambda r: ranking.ndcg(r, K, discount="lenskit"),
        {"A": 0.5701, "B": 0.3194, "C": 0.4579, "D": 1},
    ),
    "ndcg of LibRecommender": (
        lambda r: ranking.ndcg(r, K, ideal="list"),
        {"A": 0.6509, "B": 1, "C": 0.9197, "D": 0.6309},
    ),
    "map": (lambda r: ranking.average_precision(r, K), {"A": 0.3333, "B": 0.25, "C": 0.3333, "D": 0.5}),
    "map over relevant": (
        lambda r: ranking.average_precision(r, K, norm="relevant"),
        {"A": 0.3333, "B": 0.25, "C": 0.2083, "D": 0.5},
    ),
    "map over k": (
        lambda r: ranking.average_precision(r, K, norm="k"),
        {"A": 0.2, "B": 0.2, "C": 0.3333, "D": 0.1},
    ),
    "map over hits": (
        lambda r: ranking.average_precision(r, K, norm="hits"),
        {"A": 0.5, "B": 1, "C": 0.8333, "D": 0.5},
    ),
    # Elliot's is the mean of P@1 to P@k over all places.
    "map of Elliot": (
        lambda r: np.mean([ranking.precision(r, k) for k in range(1, K + 1)], axis=0),
        {"A": 0.3467, "B": 0.4567, "C": 0.6133, "D": 0.2567},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_one_list_under_each_convention(name: str, convention: str) -> None:
    figure, wanted = CONVENTIONS[convention]
    assert round(float(figure(CASES[name])[0]), 4) == wanted[name]


# -- against plain loops -----------------------------------------------------------------------------------------------


def planted(seed: int) -> tuple[list[list[int]], list[set[int]], list[dict[int, float]], Rankings]:
    """Lists of 0 to 12 of 30 items, 1 to 10 relevant items a user, and their gains, some of them negative."""
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(30)[: rng.integers(13)].tolist() for _ in range(60)]
    wanted = [set(rng.permutation(30)[: rng.integers(1, 11)].tolist()) for _ in range(60)]
    gains = [{item: float(rng.integers(-2, 4)) for item in sorted(one)} for one in wanted]
    table = np.full((60, 12), -1)
    for row, one in zip(table, lists, strict=True):
        row[: len(one)] = one
    indptr = np.cumsum([0, *(len(one) for one in wanted)])
    flat = np.array([item for one in wanted for item in sorted(one)])
    graded = np.array([one[item] for one in gains for item in sorted(one)])
    return lists, wanted, gains, Rankings(table, indptr, flat, graded)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("precision", {}),
    ("recall", {}),
    ("recall", {"cap": True}),
    ("hit", {}),
    ("f1", {}),
    ("mrr", {}),
    *(("average_precision", {"norm": norm}) for norm in ("min", "relevant", "k", "hits")),
    *(
        ("ndcg", {"gain": gain, "ideal": ideal, "discount": discount})
        for gain in ("binary", "linear", "exp")
        for ideal in ("relevant", "k", "list")
        for discount in ("log2", "lenskit")
    ),
]


@pytest.mark.parametrize("k", [1, 3, 10, 12, 40])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_agrees_with_the_loop(name: str, options: dict[str, Any], k: int) -> None:
    lists, wanted, gains, rankings = planted(k)
    extra = [{"gains": one} if name == "ndcg" else {} for one in gains]
    oracle = getattr(oracles, name)
    expected = [oracle(one, want, k, **options, **more) for one, want, more in zip(lists, wanted, extra, strict=True)]
    np.testing.assert_allclose(getattr(ranking, name)(rankings, k, **options), expected, atol=1e-12)


def test_precision_divided_by_the_list_is_undefined_for_an_empty_one() -> None:
    lists, wanted, _, rankings = planted(0)
    found = ranking.precision(rankings, 5, divide_by="list")
    for value, one, want in zip(found, lists, wanted, strict=True):
        if one:
            assert value == pytest.approx(oracles.precision(one, want, 5, "list"))
        else:
            assert np.isnan(value)


def test_r_precision_agrees_with_the_loop() -> None:
    lists, wanted, _, rankings = planted(1)
    expected = [oracles.r_precision(one, want) for one, want in zip(lists, wanted, strict=True)]
    np.testing.assert_allclose(ranking.r_precision(rankings), expected)


@pytest.mark.parametrize("gain", ["linear", "exp"])
@pytest.mark.parametrize("k", [3, 20])
def test_graded_ndcg_of_full_rankings_agrees_with_sklearn(gain: str, k: int) -> None:
    rng = np.random.default_rng(2)
    relevance, scores = rng.integers(0, 4, (25, 20)).astype(float), rng.random((25, 20))
    relevance[:, 0] = 1
    user, item = np.nonzero(relevance)
    indptr = np.append(0, np.cumsum(np.bincount(user)))
    rankings = Rankings.from_scores(scores, 20, indptr, item, relevance[user, item])
    gains = relevance if gain == "linear" else 2**relevance - 1
    assert ranking.ndcg(rankings, k, gain=gain).mean() == pytest.approx(ndcg_score(gains, scores, k=k))  # type: ignore[arg-type]


# -- the ranking's AUC ---------------------------------------------------------------------------------------------


def test_ranking_auc_agrees_with_the_loop_and_with_sklearn() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, (30, 25)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    wanted = [np.flatnonzero(rng.random(25) < 0.3) for _ in scores]
    wanted[0] = np.empty(0, np.int64)
    wanted[1] = np.append(wanted[1], [25, 31])
    indptr = np.cumsum([0, *(len(one) for one in wanted)])
    found = ranking.ranking_auc(scores, indptr, np.concatenate(wanted))
    for row, items, value in zip(scores, wanted, found, strict=True):
        candidates = {item: float(score) for item, score in enumerate(row) if score > -np.inf}
        expected = oracles.auc(candidates, set(items.tolist()))
        np.testing.assert_allclose(value, expected)
        if len(items) and set(items) <= set(candidates):
            labels = [item in set(items.tolist()) for item in candidates]
            assert value == pytest.approx(roc_auc_score(labels, list(candidates.values())))
    assert np.isnan(found[0])


def test_ranking_auc_of_equal_scores_is_a_half() -> None:
    assert ranking.ranking_auc(np.ones((1, 9)), np.array([0, 2]), np.array([3, 4]))[0] == 0.5


def test_ranking_auc_is_undefined_without_anything_else_to_rank() -> None:
    found = ranking.ranking_auc(np.array([[1.0, -np.inf]]), np.array([0, 1]), np.array([0]))
    assert np.isnan(found[0])


# -- edges -------------------------------------------------------------------------------------------------------------

NAMED = ("precision", "recall", "hit", "f1", "mrr", "average_precision", "ndcg")


def every(rankings: Rankings, k: int) -> dict[str, float]:
    return {name: float(getattr(ranking, name)(rankings, k)[0]) for name in NAMED}


def test_k_beyond_the_catalog_reads_what_is_there() -> None:
    found = every(Rankings.from_lists([[1, 2]], [[1, 2]]), 100)
    assert found == pytest.approx(
        {"precision": 0.02, "recall": 1, "hit": 1, "f1": 4 / 102, "mrr": 1, "average_precision": 1, "ndcg": 1}
    )


def test_an_empty_list_counts_nothing() -> None:
    assert set(every(Rankings.from_lists([[]], [[1, 2]]), 5).values()) == {0.0}
    assert ranking.r_precision(Rankings.from_lists([[]], [[1, 2]]))[0] == 0


def test_users_without_relevant_items_have_no_figure() -> None:
    rankings = Rankings.from_lists([[1, 2], [3]], [[], [3]])
    for name in NAMED:
        assert np.isnan(getattr(ranking, name)(rankings, 2)).tolist() == [True, False]
    assert np.isnan(ranking.r_precision(rankings)).tolist() == [True, False]


def test_more_relevant_items_than_places() -> None:
    found = every(Rankings.from_lists([[1, 2, 3]], [list(range(10))]), 3)
    assert found["recall"] == pytest.approx(0.3)
    assert found["precision"] == found["ndcg"] == found["average_precision"] == 1


def test_what_is_wanted_beyond_the_model_lowers_recall_alone() -> None:
    known = every(Rankings.from_lists([[1, 2]], [[1]]), 2)
    cold = every(Rankings.from_lists([[1, 2]], [[1, "unknown"]]), 2)
    assert cold["recall"] == known["recall"] / 2
    assert cold["precision"] == known["precision"]


def test_negative_relevance_gains_nothing() -> None:
    one = Rankings(np.array([[0, 1, 2]]), np.array([0, 3]), np.array([0, 1, 2]), np.array([-3.0, 2.0, 1.0]))
    clipped = Rankings(np.array([[0, 1, 2]]), np.array([0, 3]), np.array([0, 1, 2]), np.array([0.0, 2.0, 1.0]))
    for gain in ("linear", "exp"):
        assert ranking.ndcg(one, 3, gain=gain)[0] == ranking.ndcg(clipped, 3, gain=gain)[0]
    worthless = Rankings(one.items, one.indptr, one.relevant, np.full(3, -1.0))
    assert ranking.ndcg(worthless, 3, gain="linear")[0] == 0


@pytest.mark.parametrize("k", [0, -1, 2.0, True, [5, 10], None, "5"], ids=repr)
def test_a_cut_off_is_one_positive_integer(k: Any) -> None:
    rankings = Rankings.from_lists([[1]], [[1]])
    for name in NAMED:
        with pytest.raises(ParameterError, match=r"k=.*integer of at least 1"):
            getattr(ranking, name)(rankings, k)


# -- the rank of one -----------------------------------------------------------------------------------------------


def test_ties_count_against_the_target_or_half() -> None:
    others = [0.9, 0.5, 0.5, 0.1]
    assert ranking.rank_of(0.5, others) == 4
    assert ranking.rank_of(0.5, others, ties="average") == 3
    assert ranking.rank_of(1.0, others) == 1


def test_a_constant_scorer_comes_last_and_on_average_in_the_middle() -> None:
    assert ranking.rank_of(0.0, np.zeros(99)) == 100
    assert ranking.rank_of(0.0, np.zeros(99), ties="average") == 50.5


@pytest.mark.parametrize(("target", "others"), [(np.nan, [1.0]), (1.0, [np.nan]), (np.inf, [1.0])])
def test_nan_has_no_rank(target: float, others: list[float]) -> None:
    with pytest.raises(DataError, match="NaN"):
        ranking.rank_of(target, others)


def test_figures_do_not_depend_on_the_order_of_calls() -> None:
    _, _, _, rankings = planted(4)
    calls = list(itertools.product(NAMED, (3, 10)))
    first = {call: getattr(ranking, call[0])(rankings, call[1]) for call in calls}
    _, _, _, fresh = planted(4)
    for name, k in reversed(calls):
        np.testing.assert_array_equal(getattr(ranking, name)(fresh, k), first[name, k])
