"""Expected metrics over the order of equal scores, against an average over all orders."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recsys.errors import ParameterError
from recsys.metrics import Rankings, TiedRankings, ranking
from tests.metrics import oracles

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("precision", {}),
    ("precision", {"divide_by": "list"}),
    ("recall", {}),
    ("recall", {"cap": True}),
    ("hit", {}),
    ("f1", {}),
    ("mrr", {}),
    *(("average_precision", {"norm": norm}) for norm in ("min", "relevant", "k")),
    *(
        ("ndcg", {"gain": gain, "ideal": ideal, "discount": discount})
        for gain in ("binary", "linear", "exp")
        for ideal in ("relevant", "k")
        for discount in ("log2", "lenskit")
    ),
]
SCORES = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [3, 2, 2, 2, 1, 1],
        [5, 4, 3, 2, 1, 0],
        [2, 2, 1, 1, 1, -np.inf],
        [1, 1, -np.inf, -np.inf, -np.inf, -np.inf],
        [0, 1, 0, 1, 0, 1],
    ]
)
WANTED: list[dict[int, float]] = [
    {0: 1.0, 4: 3.0},
    {2: 2.0, 3: 1.0, 5: 0.0},
    {1: 1.0},
    {1: 2.0, 5: 1.0},
    {0: 1.0, 3: 2.0, 9: 1.0},
    {1: 3.0, 3: -1.0, 5: 1.0, 0: 2.0},
]


def tied(kind: type[Rankings], k: int) -> Any:
    indptr = np.cumsum([0, *(len(one) for one in WANTED)])
    relevant = np.array([item for one in WANTED for item in sorted(one)])
    gains = np.array([one[item] for one in WANTED for item in sorted(one)])
    return kind.from_scores(SCORES, k, indptr, relevant, gains)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 9])
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_is_the_mean_over_all_orders_of_equals(name: str, options: dict[str, Any], k: int) -> None:
    def figure(wanted: dict[int, float]) -> Callable[[oracles.Ids], float]:
        extra = {"gains": wanted} if name == "ndcg" else {}
        return lambda order: getattr(oracles, name)(order, set(wanted), k, **options, **extra)

    expected = [oracles.over_tie_orders(row.tolist(), figure(one)) for row, one in zip(SCORES, WANTED, strict=True)]
    found = getattr(ranking, name)(tied(TiedRankings, k), k, **options)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_r_precision_is_the_mean_over_all_orders_of_equals() -> None:
    expected = [
        oracles.over_tie_orders(row.tolist(), lambda order, one=one: oracles.r_precision(order, set(one)))
        for row, one in zip(SCORES, WANTED, strict=True)
    ]
    np.testing.assert_allclose(ranking.r_precision(tied(TiedRankings, 6)), expected)


def test_a_cut_off_below_the_lists_reads_their_first_places() -> None:
    for name, options in OPTIONS:
        short, long = (getattr(ranking, name)(tied(TiedRankings, width), 2, **options) for width in (2, 6))
        np.testing.assert_allclose(short, long)


def test_without_equal_scores_nothing_is_averaged() -> None:
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(40.0), (20, 1)), axis=1)
    indptr, relevant = np.arange(0, 101, 5), np.concatenate([np.sort(rng.permutation(40)[:5]) for _ in scores])
    plain, averaged = (kind.from_scores(scores, 10, indptr, relevant) for kind in (Rankings, TiedRankings))
    for name, options in OPTIONS:
        np.testing.assert_allclose(
            getattr(ranking, name)(averaged, 10, **options), getattr(ranking, name)(plain, 10, **options)
        )


@pytest.mark.parametrize("k", [1, 10, 100])
def test_a_constant_scorer_hits_as_often_as_chance(k: int) -> None:
    rankings = TiedRankings.from_scores(np.zeros((1, 100)), k, np.array([0, 1]), np.array([7]))
    assert ranking.hit(rankings, k)[0] == pytest.approx(k / 100)
    assert ranking.mrr(rankings, k)[0] == pytest.approx(sum(1 / i for i in range(1, k + 1)) / 100)


def test_chance_of_a_hit_is_hypergeometric_in_a_large_group() -> None:
    rankings = TiedRankings.from_scores(np.zeros((1, 1000)), 20, np.array([0, 30]), np.arange(30))
    assert ranking.hit(rankings, 20)[0] == pytest.approx(1 - math.comb(970, 20) / math.comb(1000, 20))


@pytest.mark.parametrize(
    ("metric", "options"), [(ranking.average_precision, {"norm": "hits"}), (ranking.ndcg, {"ideal": "list"})]
)
def test_what_has_no_average_is_refused(metric: Callable[..., Any], options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="no average over ties"):
        metric(tied(TiedRankings, 3), 3, **options)
