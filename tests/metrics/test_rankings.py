"""Rankings made from lists, pairs and scores."""

from typing import Any

import numpy as np
import pytest

from recsys.errors import DataError, ParameterError
from recsys.metrics import Rankings, TiedRankings


def wanted_sets(rankings: Rankings) -> list[set[int]]:
    return [
        set(rankings.relevant[a:b].tolist()) for a, b in zip(rankings.indptr[:-1], rankings.indptr[1:], strict=True)
    ]


def test_lists_and_wanted_ids_share_one_numbering() -> None:
    rankings = Rankings.from_lists([["a", "b"], ["c"]], [["b"], ["a", "z"]])
    assert rankings.hits.tolist() == [[False, True], [False, False]]
    assert rankings.n_relevant.tolist() == [1, 2]


def test_an_item_wanted_twice_counts_once() -> None:
    assert Rankings.from_lists([["a"]], [["a", "a", "b"]]).n_relevant.tolist() == [2]


def test_a_list_that_repeats_an_item_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 lists hold an item more than once, first list 1"):
        Rankings.from_lists([["a", "b"], ["c", "c"]], [["a"], ["c"]])


def test_lists_and_users_must_match() -> None:
    with pytest.raises(DataError, match="1 lists but 2 users"):
        Rankings.from_lists([["a"]], [["a"], ["b"]])


def test_positions_point_at_the_relevant_items() -> None:
    rng = np.random.default_rng(0)
    lists = np.array([rng.permutation(500)[:20] for _ in range(200)])
    lists[rng.random(lists.shape) < 0.1] = -1
    wanted = [np.sort(rng.permutation(500)[: rng.integers(0, 40)]) for _ in lists]
    rankings = Rankings(lists, np.cumsum([0, *(len(one) for one in wanted)]), np.concatenate(wanted))
    for row, (items, one) in enumerate(zip(lists, wanted, strict=True)):
        for place, item in enumerate(items):
            at = rankings.positions[row, place]
            assert (at >= 0) == (item >= 0 and item in one)
            if at >= 0:
                assert rankings.indptr[row] <= at < rankings.indptr[row + 1]
                assert rankings.relevant[at] == item


def pairs(seed: int, shuffled: bool) -> dict[str, Any]:
    """Lists of 40 users with gaps in the numbering, and what other 40 users wanted, some pairs of it twice."""
    rng = np.random.default_rng(seed)
    list_users = np.repeat(np.arange(0, 80, 2), 6)
    wanted = rng.integers(0, 30, (300, 2)) * [3, 1]
    given = {
        "list_users": list_users,
        "list_items": np.concatenate([rng.permutation(30)[:6] for _ in range(40)]),
        "list_ranks": np.tile(np.arange(1, 7), 40),
        "relevant_users": wanted[:, 0],
        "relevant_items": wanted[:, 1],
    }
    if shuffled:
        order = rng.permutation(len(list_users))
        given |= {name: given[name][order] for name in ("list_users", "list_items", "list_ranks")}
    else:
        order = np.lexsort((wanted[:, 1], wanted[:, 0]))
        given |= {name: given[name][order] for name in ("relevant_users", "relevant_items")}
    return given


@pytest.mark.parametrize("shuffled", [False, True])
def test_pairs_become_the_lists_of_users_who_wanted_something(shuffled: bool) -> None:
    given = pairs(1, shuffled)
    rankings = Rankings.from_pairs(**given)
    users = sorted(set(given["relevant_users"].tolist()))
    assert len(rankings) == len(users)
    for row, user in enumerate(users):
        mine = given["list_users"] == user
        order = np.argsort(given["list_ranks"][mine])
        listed = rankings.items[row][rankings.items[row] >= 0]
        assert listed.tolist() == given["list_items"][mine][order].tolist()
        assert wanted_sets(rankings)[row] == set(given["relevant_items"][given["relevant_users"] == user].tolist())
    assert all(
        np.all(np.diff(rankings.relevant[a:b]) > 0) for a, b in zip(rankings.indptr, rankings.indptr[1:], strict=False)
    )


def test_ranks_beyond_the_width_are_left_out() -> None:
    given = pairs(2, shuffled=True)
    whole, part = Rankings.from_pairs(**given), Rankings.from_pairs(**given, width=4)
    np.testing.assert_array_equal(part.items, whole.items[:, :4])


def test_gains_follow_their_pairs() -> None:
    rankings = Rankings.from_pairs(
        np.array([0]),
        np.array([7]),
        np.array([1]),
        relevant_users=np.array([1, 0, 0, 1]),
        relevant_items=np.array([5, 7, 2, 5]),
        gains=np.array([3.0, 4.0, 1.0, 9.0]),
    )
    assert rankings.relevant.tolist() == [2, 7, 5]
    assert rankings.gains is not None
    assert rankings.gains.tolist() == [1, 4, 3]


@pytest.mark.parametrize(
    ("ranks", "message"),
    [([0, 1], "whole numbers from 1"), ([1.0, 2.0], "whole numbers from 1"), ([1, 1], "1 rows of the lists have")],
)
def test_ranks_that_are_none_are_refused(ranks: list[float], message: str) -> None:
    users, items = np.array([0, 0]), np.array([1, 2])
    with pytest.raises(DataError, match=message):
        Rankings.from_pairs(users, items, np.array(ranks), users, items)


# -- from scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Rankings, TiedRankings])
def test_scores_rank_best_first_and_equals_by_code(kind: type[Rankings]) -> None:
    scores = np.array([[0.1, 0.9, 0.9, -np.inf, 0.5]])
    rankings = kind.from_scores(scores, 4, np.array([0, 1]), np.array([2]))
    assert rankings.items.tolist() == [[1, 2, 4, 0]]


@pytest.mark.parametrize("kind", [Rankings, TiedRankings])
def test_lists_of_few_candidates_are_padded(kind: type[Rankings]) -> None:
    rankings = kind.from_scores(np.array([[1.0, -np.inf, 2.0]]), 5, np.array([0, 1]), np.array([0]))
    assert rankings.items.tolist() == [[2, 0, -1, -1, -1]]
    assert rankings.n_hits.tolist() == [[0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize("kind", [Rankings, TiedRankings])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_nan_or_infinite_are_refused(kind: type[Rankings], wrong: float) -> None:
    with pytest.raises(DataError, match=r"1 scores are NaN or infinite, first that of item code 1 in row 0"):
        kind.from_scores(np.array([[1.0, wrong]]), 1, np.array([0, 1]), np.array([0]))


@pytest.mark.parametrize("kind", [Rankings, TiedRankings])
def test_scores_are_cut_at_a_positive_integer(kind: type[Rankings]) -> None:
    with pytest.raises(ParameterError, match="k=0"):
        kind.from_scores(np.ones((1, 2)), 0, np.array([0, 1]), np.array([0]))
