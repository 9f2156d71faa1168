"""What lists are like, apart from being right, against plain loops."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.metrics import Catalog, Rankings, beyond_accuracy

N_ITEMS, N_USERS, WIDTH = 30, 50, 8
ALL: list[Callable[..., Any]] = [
    beyond_accuracy.coverage,
    beyond_accuracy.gini,
    beyond_accuracy.entropy,
    beyond_accuracy.personalization,
    beyond_accuracy.novelty,
    beyond_accuracy.average_popularity,
    beyond_accuracy.intra_list_distance,
    beyond_accuracy.serendipity,
]


def lists_of(lists: list[list[int]], wanted: list[list[int]] | None = None) -> Rankings:
    table = np.full((len(lists), max(len(one) for one in lists)), -1)
    for row, one in zip(table, lists, strict=True):
        row[: len(one)] = one
    given = wanted or [[] for _ in lists]
    flat = np.array([item for one in given for item in sorted(one)], np.int64)
    return Rankings(table, np.cumsum([0, *(len(one) for one in given)]), flat)


@pytest.fixture(scope="module")
def planted() -> tuple[list[list[int]], list[list[int]], Rankings, Catalog]:
    """Lists of 0 to 8 items that favor small codes, 4 relevant items a user; the last 3 items have no training user."""
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, N_ITEMS + 1)
    lists = [rng.choice(N_ITEMS, rng.integers(WIDTH + 1), False, p / p.sum()).tolist() for _ in range(N_USERS)]
    wanted = [rng.choice(N_ITEMS, 4, False).tolist() for _ in range(N_USERS)]
    counts = np.append(rng.integers(1, 20, N_ITEMS - 3), [0, 0, 0])
    vectors = rng.normal(size=(N_ITEMS, 5))
    vectors[4] = 0
    return lists, wanted, lists_of(lists, wanted), Catalog(counts, 40, vectors)


@pytest.mark.parametrize("k", [1, 3, WIDTH, 50])
def test_coverage_is_the_share_of_the_training_items(planted: Any, k: int) -> None:
    lists, _, rankings, catalog = planted
    recommended = {item for one in lists for item in one[:k] if catalog.item_counts[item] > 0}
    assert beyond_accuracy.coverage(rankings, k, catalog) == pytest.approx(len(recommended) / (N_ITEMS - 3))


@pytest.mark.parametrize("k", [1, 3, WIDTH, 50])
def test_gini_agrees_with_the_loop(planted: Any, k: int) -> None:
    lists, _, rankings, catalog = planted
    known = [item for item in range(N_ITEMS) if catalog.item_counts[item] > 0]
    x = sorted(sum(item in one[:k] for one in lists) for item in known)
    n = len(x)
    expected = sum((2 * j - n - 1) * value for j, value in enumerate(x, 1)) / (n * sum(x))
    assert beyond_accuracy.gini(rankings, k, catalog) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 3, WIDTH, 50])
def test_entropy_agrees_with_the_loop(planted: Any, k: int) -> None:
    lists, _, rankings, catalog = planted
    slots = [item for one in lists for item in one[:k]]
    shares = [slots.count(item) / len(slots) for item in set(slots)]
    assert beyond_accuracy.entropy(rankings, k, catalog) == pytest.approx(-sum(p * math.log2(p) for p in shares))


@pytest.mark.parametrize("k", [1, 3, WIDTH, 50])
def test_personalization_agrees_with_the_loop(planted: Any, k: int) -> None:
    lists, _, rankings, catalog = planted
    shown = [set(one[:k]) for one in lists if one]
    overlaps = [len(a & b) / math.sqrt(len(a) * len(b)) for a, b in combinations(shown, 2)]
    assert beyond_accuracy.personalization(rankings, k, catalog) == pytest.approx(1 - np.mean(overlaps))


@pytest.mark.parametrize("k", [1, 3, WIDTH, 50])
def test_figures_of_a_list_agree_with_the_loop(planted: Any, k: int) -> None:
    lists, wanted, rankings, catalog = planted
    counts, n_items = catalog.item_counts, N_ITEMS - 3
    levels = sorted({count for count in counts if count > 0}, reverse=True)
    found = {metric.__name__: metric(rankings, k, catalog) for metric in ALL[4:]}
    shares = beyond_accuracy.average_popularity(rankings, k, catalog, normalized=True)
    for row, (one, want) in enumerate(zip(lists, wanted, strict=True)):
        top = one[:k]
        surprise = 0.0
        for place, item in enumerate(top, 1):
            popular = (n_items + 1 - (levels.index(counts[item]) + 1)) / n_items if counts[item] else 0.0
            surprise += (item in want) * max(0.0, (n_items + 1 - place) / n_items - popular)
        assert found["serendipity"][row] == pytest.approx(surprise / k)
        if not top:
            assert np.isnan([found["novelty"][row], found["average_popularity"][row], shares[row]]).all()
        else:
            rarity = [-math.log2(max(counts[item], 1) / 40) for item in top]
            assert found["novelty"][row] == pytest.approx(np.mean(rarity))
            assert found["average_popularity"][row] == pytest.approx(np.mean(counts[top]))
            assert shares[row] == pytest.approx(np.mean(counts[top]) / 40)
        if len(top) < 2:
            assert np.isnan(found["intra_list_distance"][row])
        else:
            distances = [1 - cosine(catalog.vectors[a], catalog.vectors[b]) for a, b in combinations(top, 2)]
            assert found["intra_list_distance"][row] == pytest.approx(np.mean(distances))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


# -- answers known by construction -----------------------------------------------------------------------------------


def test_equal_exposure_has_no_gini_and_most_entropy() -> None:
    catalog = Catalog(np.ones(8, np.int64), 8)
    equal = lists_of([[0, 1], [2, 3], [4, 5], [6, 7]])
    assert beyond_accuracy.gini(equal, 2, catalog) == 0
    assert beyond_accuracy.entropy(equal, 2, catalog) == 3
    assert beyond_accuracy.coverage(equal, 2, catalog) == 1
    assert beyond_accuracy.personalization(equal, 2, catalog) == 1


def test_one_list_for_all_is_most_unequal() -> None:
    catalog = Catalog(np.ones(10, np.int64), 8)
    same = lists_of([[3]] * 5)
    assert beyond_accuracy.gini(same, 1, catalog) == pytest.approx(0.9)
    assert beyond_accuracy.entropy(same, 1, catalog) == 0
    assert beyond_accuracy.coverage(same, 1, catalog) == 0.1
    assert beyond_accuracy.personalization(same, 1, catalog) == 0


def test_novelty_is_in_bits() -> None:
    catalog = Catalog(np.array([16, 4, 1, 0]), 16)
    found = beyond_accuracy.novelty(lists_of([[0], [1], [2], [3], [0, 1]]), 2, catalog)
    assert found.tolist() == [0, 2, 4, 4, 1]


def test_items_of_one_direction_have_no_distance_and_opposite_ones_two() -> None:
    catalog = Catalog(np.ones(3, np.int64), 1, np.array([[1.0, 2.0], [2.0, 4.0], [-3.0, -6.0]]))
    found = beyond_accuracy.intra_list_distance(lists_of([[0, 1], [0, 2]]), 2, catalog)
    np.testing.assert_allclose(found, [0, 2], atol=1e-12)


def test_a_popular_hit_at_the_top_is_no_surprise() -> None:
    catalog = Catalog(np.array([9, 5, 5, 1]), 9)
    lists = [[0, 1], [3, 0], [1, 0]]
    found = beyond_accuracy.serendipity(lists_of(lists, [[0], [3], [2]]), 2, catalog)
    # Levels of popularity are 1, 2, 2 and 3: the rarest item at rank 1 gains 1 - 2/4, over two places.
    assert found.tolist() == [0, 0.25, 0]


def test_empty_lists_have_no_figures_but_cover_nothing() -> None:
    catalog = Catalog(np.ones(4, np.int64), 4, np.eye(4))
    empty = lists_of([[], [], [1]])
    nothing = Rankings(np.full((2, 3), -1), np.zeros(3, np.int64), np.empty(0, np.int64))
    assert beyond_accuracy.coverage(nothing, 3, catalog) == 0
    for metric in ALL[1:4]:
        assert np.isnan(metric(nothing, 3, catalog))
    assert np.isnan(beyond_accuracy.personalization(empty, 3, catalog))
    assert np.isnan(beyond_accuracy.novelty(empty, 3, catalog)).tolist() == [True, True, False]


def test_distance_needs_vectors() -> None:
    with pytest.raises(DataError, match="item_vectors="):
        beyond_accuracy.intra_list_distance(lists_of([[0, 1]]), 2, Catalog(np.ones(2, np.int64), 2))


@pytest.mark.parametrize("metric", ALL)
def test_a_cut_off_is_one_positive_integer(metric: Callable[..., Any]) -> None:
    catalog = Catalog(np.ones(4, np.int64), 4, np.eye(4))
    for k in (0, [1, 2]):
        with pytest.raises(ValueError, match="k="):
            metric(lists_of([[0, 1]], [[1]]), k, catalog)
