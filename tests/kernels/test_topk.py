"""Exact top-k against a plain stable sort."""

import tracemalloc

import numpy as np
import pytest
from numba import njit

from recsys.errors import DataError, ParameterError
from recsys.kernels import topk
from recsys.kernels.bounds import catalog_of
from recsys.kernels.tile import TILE_ITEMS, any_above
from recsys.kernels.topk import ITEMS_IN_BLOCK, USERS_IN_BLOCK, _rows_in_block, top_k_dot, top_k_few, top_k_scores


def oracle(scores, k, seen=None):
    """The definition: remove what is seen or no number, sort stably by falling score, cut and pad."""
    items = np.full((len(scores), k), -1, np.int64)
    best = np.full((len(scores), k), -np.inf, np.float32)
    for row, values in enumerate(np.asarray(scores, np.float32)):
        order = np.argsort(-values, kind="stable")
        hidden = set() if seen is None else set(seen[row])
        listed = [i for i in order if i not in hidden and not np.isnan(values[i]) and values[i] != -np.inf][:k]
        items[row, : len(listed)] = listed
        best[row, : len(listed)] = values[listed]
    return items, best


def as_rows(seen):
    """Lists of item codes as (seen_indptr, seen_items)."""
    lengths = [len(row) for row in seen]
    flat = np.array([item for row in seen for item in sorted(row)], np.int64)
    return {"seen_indptr": np.concatenate([[0], np.cumsum(lengths)]), "seen_items": flat}


def random_seen(rng, n_rows, n_items, most):
    counts = rng.integers(0, most + 1, n_rows)
    return [rng.choice(n_items, min(count, n_items), replace=False).tolist() for count in counts]


def assert_same(actual, expected):
    np.testing.assert_array_equal(actual[0], expected[0])
    np.testing.assert_array_equal(actual[1], expected[1])


def whole_vectors(rng, n, depth, largest=3):
    """Vectors of small whole numbers: every sum is exact, whatever its order, and ties abound."""
    return rng.integers(-largest, largest + 1, (n, depth)).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("n_items", [1, 2, 31, 32, 33, 64, 257, 1000])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_scores_are_listed_as_by_a_stable_sort(rng, n_items, k):
    scores = rng.normal(size=(9, n_items))
    seen = random_seen(rng, 9, n_items, 20)
    assert_same(top_k_scores(scores, k), oracle(scores, k))
    assert_same(top_k_scores(scores, k, **as_rows(seen)), oracle(scores, k, seen))


@pytest.mark.parametrize("n_users", [1, 2, 6, 7, 24, 25, 200])
@pytest.mark.parametrize(("n_items", "depth"), [(1, 1), (15, 1), (16, 8), (17, 9), (300, 7), (530, 16), (777, 21)])
def test_dot_products_are_listed_as_by_a_stable_sort(rng, n_users, n_items, depth):
    users, items = whole_vectors(rng, n_users, depth), whole_vectors(rng, n_items, depth)
    seen = random_seen(rng, n_users, n_items, 30)
    scores = users @ items.T
    assert_same(top_k_dot(users, items, 12), oracle(scores, 12))
    assert_same(top_k_dot(users, items, 12, **as_rows(seen)), oracle(scores, 12, seen))


def test_both_functions_agree(rng):
    users, items = whole_vectors(rng, 50, 32), whole_vectors(rng, 600, 32)
    seen = as_rows(random_seen(rng, 50, 600, 100))
    assert_same(top_k_dot(users, items, 25, **seen), top_k_scores(users @ items.T, 25, **seen))


def test_scores_of_real_vectors_are_their_dot_products(rng):
    users, items = rng.normal(size=(40, 64)), rng.normal(size=(2000, 64))
    codes, scores = top_k_dot(users, items, 10)
    exact = users @ items.T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, codes, 1), rtol=1e-4, atol=1e-4)
    assert np.mean(codes == oracle(exact, 10)[0]) > 0.99


def test_a_full_ranking_is_a_sort(rng):
    scores = rng.integers(0, 50, (3, 2000)).astype(np.float32)
    assert_same(top_k_scores(scores, 2000), oracle(scores, 2000))


@pytest.mark.parametrize("value", [0.0, -5.0, np.inf])
def test_all_equal_scores_list_the_smallest_codes(value):
    scores = np.full((2, 500), value, np.float32)
    codes, best = top_k_scores(scores, 7)
    np.testing.assert_array_equal(codes, [np.arange(7)] * 2)
    assert (best == value).all()


def test_ties_across_blocks_go_to_the_smaller_code():
    items = np.zeros((3 * ITEMS_IN_BLOCK + 5, 4), np.float32)
    winners = [3, ITEMS_IN_BLOCK - 1, ITEMS_IN_BLOCK, 2 * ITEMS_IN_BLOCK + 9, len(items) - 1]
    items[winners] = 1
    codes, scores = top_k_dot(np.ones((8, 4), np.float32), items, 7)
    np.testing.assert_array_equal(codes, [[*winners, 0, 1]] * 8)
    np.testing.assert_array_equal(scores, [[4.0] * 5 + [0.0] * 2] * 8)


def test_equal_item_vectors_tie_exactly_wherever_they_stand(rng):
    items = np.repeat(rng.normal(size=(1, 37)), 999, axis=0)
    codes, scores = top_k_dot(rng.normal(size=(5, 37)), items, 999)
    np.testing.assert_array_equal(codes, [np.arange(999)] * 5)
    assert (scores == scores[:, :1]).all()


def test_an_increasing_row_keeps_the_last_items():
    codes, _ = top_k_scores(np.arange(1000, dtype=np.float32)[None], 4)
    np.testing.assert_array_equal(codes, [[999, 998, 997, 996]])


def test_negative_zero_ties_with_zero():
    np.testing.assert_array_equal(top_k_scores([[-0.0, 0.0, -0.0]], 3)[0], [[0, 1, 2]])


def test_a_user_who_has_seen_everything_gets_nothing(rng):
    users, items = rng.normal(size=(3, 8)), rng.normal(size=(400, 8))
    seen = as_rows([range(400), [], range(399)])
    for codes, scores in (top_k_dot(users, items, 5, **seen), top_k_scores(users @ items.T, 5, **seen)):
        assert (codes[0] == -1).all()
        assert (scores[0] == -np.inf).all()
        assert (codes[1] >= 0).all()
        np.testing.assert_array_equal(codes[2], [399, -1, -1, -1, -1])


def test_k_beyond_the_catalog_is_padded(rng):
    scores = rng.normal(size=(2, 3)).astype(np.float32)
    codes, best = top_k_scores(scores, 6)
    assert_same((codes, best), oracle(scores, 6))
    assert (codes[:, 3:] == -1).all()
    assert (best[:, 3:] == -np.inf).all()


def test_minus_infinity_and_nan_are_never_listed():
    scores = np.array([[np.nan, 1, -np.inf, 2, np.nan], [np.nan] * 5, [-np.inf] * 5], np.float32)
    codes, best = top_k_scores(scores, 3)
    np.testing.assert_array_equal(codes, [[3, 1, -1], [-1] * 3, [-1] * 3])
    assert not np.isnan(best).any()
    assert_same(top_k_scores(np.tile(scores, 20), 3), oracle(np.tile(scores, 20), 3))


def test_a_nan_vector_spoils_its_own_scores_only(rng):
    users, items = whole_vectors(rng, 7, 9), whole_vectors(rng, 40, 9)
    clean, scores = users.copy(), users @ items.T
    users[3], items[11], scores[3], scores[:, 11] = np.nan, np.nan, np.nan, np.nan
    assert_same(top_k_dot(users, items, 40), oracle(scores, 40))
    assert (clean[3] != users[3]).all()


@pytest.mark.parametrize("users, items, k", [((0, 4), (5, 4), 3), ((2, 4), (0, 4), 3), ((2, 4), (5, 4), 0)])
def test_nothing_asked_is_nothing_listed(users, items, k):
    codes, scores = top_k_dot(np.ones(users), np.ones(items), k)
    assert codes.shape == scores.shape == (users[0], k)
    assert (codes == -1).all()
    assert_same((codes, scores), top_k_scores(np.ones((users[0], items[0])), k))


def test_vectors_of_no_dimension_score_zero():
    codes, scores = top_k_dot(np.ones((3, 0)), np.ones((5, 0)), 2)
    np.testing.assert_array_equal(codes, [[0, 1]] * 3)
    assert (scores == 0).all()


def test_lists_do_not_depend_on_threads(rng):
    users, items = rng.normal(size=(450, 24)), rng.normal(size=(700, 24))
    seen = as_rows(random_seen(rng, 450, 700, 60))
    expected = top_k_dot(users, items, 15, n_jobs=1, **seen)
    for n_jobs in (2, 3, -1):
        assert_same(top_k_dot(users, items, 15, n_jobs=n_jobs, **seen), expected)
    table = users @ items.T
    assert_same(top_k_scores(table, 15, n_jobs=2, **seen), top_k_scores(table, 15, **seen))


@pytest.mark.parametrize("size", [1, 5, 100, 193])
def test_lists_do_not_depend_on_the_batch(rng, size):
    users, items = rng.normal(size=(386, 33)), rng.normal(size=(300, 33))
    codes, scores = top_k_dot(users, items, 10)
    for start in (0, 192, 386 - size):
        rows = slice(start, start + size)
        assert_same(top_k_dot(users[rows], items, 10), (codes[rows], scores[rows]))


def test_a_score_does_not_depend_on_the_place_of_its_item(rng):
    users, items = rng.normal(size=(8, 20)), rng.normal(size=(333, 20))
    _, scores = top_k_dot(users, items, 333)
    _, shuffled = top_k_dot(users, items[rng.permutation(333)], 333)
    np.testing.assert_array_equal(scores, shuffled)


def test_memory_stays_far_below_the_score_table(rng):
    users, items = rng.normal(size=(3000, 8)).astype(np.float32), rng.normal(size=(4000, 8)).astype(np.float32)
    top_k_dot(users[:2], items, 5)
    tracemalloc.start()
    top_k_dot(users, items, 5, n_jobs=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lists = 3000 * 5 * (8 + 4)
    buffers = 2 * USERS_IN_BLOCK * ITEMS_IN_BLOCK * 4
    assert peak < lists + buffers + 500_000
    assert peak < 3000 * 4000 * 4 / 30


@pytest.mark.parametrize(("n_users", "threads"), [(1, 2), (25, 2), (100, 2), (1000, 2), (30_000, 64)])
def test_blocks_fit_a_second_level_cache_and_hold_whole_tiles(n_users, threads):
    rows = _rows_in_block(n_users, threads)
    assert rows % 6 == 0
    assert rows * ITEMS_IN_BLOCK * 4 <= 256 * 1024
    assert ITEMS_IN_BLOCK % TILE_ITEMS == 0


def test_any_above_is_strict_and_deaf_to_nan():
    table = np.zeros((2, 40), np.float32)
    assert not any_above_from_numba(table, 1, 8, np.float32(0))
    table[1, 39] = np.nan
    assert not any_above_from_numba(table, 1, 8, np.float32(0))
    for column in (8, 23, 24, 39):
        table[:] = 0
        table[1, column] = 1e-30
        assert any_above_from_numba(table, 1, 8, np.float32(0))
        assert not any_above_from_numba(table, 0, 8, np.float32(0))
    table[1] = 0
    table[1, 7] = 1
    assert not any_above_from_numba(table, 1, 8, np.float32(0))


@njit
def any_above_from_numba(table, row, column, bound):
    return any_above(table, row, column, bound)


def test_inputs_of_any_layout_are_read_and_left_alone(rng):
    users, items = whole_vectors(rng, 30, 12), whole_vectors(rng, 90, 12)
    expected = oracle(users @ items.T, 6)
    frozen = items.copy()
    frozen.flags.writeable = False
    for odd in (np.asfortranarray(items), items.astype(np.float64), frozen, np.repeat(items, 2, axis=0)[::2]):
        assert_same(top_k_dot(users, odd, 6), expected)
    table = users @ items.T
    before = table.copy()
    seen = as_rows([[0, 1]] * 30)
    starts = seen["seen_indptr"].copy()
    top_k_scores(table, 6, **seen)
    np.testing.assert_array_equal(table, before)
    np.testing.assert_array_equal(seen["seen_indptr"], starts)


def test_duplicate_seen_items_are_one():
    seen = {"seen_indptr": [0, 3], "seen_items": [0, 0, 2]}
    codes, _ = top_k_scores([[3.0, 2.0, 1.0]], 3, **seen)
    np.testing.assert_array_equal(codes, [[1, -1, -1]])
    codes, _ = top_k_few([[1.0]], catalog_of([[3.0], [2.0], [1.0]]), 3, **seen)
    np.testing.assert_array_equal(codes, [[1, -1, -1]])


def test_rows_of_a_larger_seen_table_need_not_start_at_zero():
    codes, _ = top_k_scores([[3.0, 2.0, 1.0]], 3, seen_indptr=[2, 3], seen_items=[0, 1, 2])
    np.testing.assert_array_equal(codes, [[0, 1, -1]])


def test_malformed_arguments_are_refused():
    with pytest.raises(ParameterError, match="k must be"):
        top_k_scores(np.ones((2, 3)), -1)
    with pytest.raises(DataError, match="two dimensions"):
        top_k_scores(np.ones(3), 1)
    with pytest.raises(DataError, match="one length"):
        top_k_dot(np.ones((2, 3)), np.ones((4, 5)), 1)
    with pytest.raises(ParameterError, match="go together"):
        top_k_scores(np.ones((2, 3)), 1, seen_items=[0])
    with pytest.raises(DataError, match="3 entries for 2 rows"):
        top_k_scores(np.ones((2, 3)), 1, seen_indptr=[0, 1], seen_items=[0])
    for indptr in ([0, 2, 1], [0, 0, 2], [-1, 0, 0]):
        with pytest.raises(DataError, match="ascend"):
            top_k_scores(np.ones((2, 3)), 1, seen_indptr=indptr, seen_items=[0])


# -- few users, by bounds ----------------------------------------------------------------------------------------------


@pytest.fixture
def by_bounds(monkeypatch):
    """Fails where a list is not made by bounds alone."""

    def refused(*_, **__):
        raise AssertionError("bounds were given up")

    monkeypatch.setattr(topk, "top_k_dot", refused)


def uneven_vectors(rng, n, depth):
    """Vectors whose lengths and dimensions differ, as learned ones do."""
    return (rng.normal(size=(n, depth)) * np.exp(rng.normal(0, 0.5, (n, 1)) - np.arange(depth) / 8)).astype(np.float32)


@pytest.mark.parametrize("depth", [1, 3, 8, 17, 64])
@pytest.mark.parametrize("k", [1, 20, 300])
@pytest.mark.usefixtures("by_bounds")
def test_lists_by_bounds_are_bitwise_those_by_all_scores(rng, depth, k):
    users, items = uneven_vectors(rng, 12, depth), uneven_vectors(rng, 5000, depth)
    seen = as_rows(random_seen(rng, 12, 5000, 400))
    catalog = catalog_of(items)
    assert_same(top_k_few(users, catalog, k), top_k_dot(users, items, k))
    assert_same(top_k_few(users, catalog, k, **seen), top_k_dot(users, items, k, **seen))
    assert_same(top_k_few(users[5:6], catalog, k), top_k_dot(users[5:6], items, k))


@pytest.mark.parametrize("n_items", [1, 2, 15, 31, 32, 33, 255, 256, 257, 3000])
def test_lists_by_bounds_are_those_of_a_stable_sort(rng, n_items):
    users, items = whole_vectors(rng, 8, 6), whole_vectors(rng, n_items, 6)
    seen = random_seen(rng, 8, n_items, 30)
    assert_same(top_k_few(users, catalog_of(items), 12, **as_rows(seen)), oracle(users @ items.T, 12, seen))


@pytest.mark.usefixtures("by_bounds")
def test_ties_go_to_the_smaller_code_though_longer_vectors_come_first(rng):
    # All score 1; the vectors of larger codes are longer.
    items = np.stack([np.ones(900), np.arange(900)], axis=1)
    codes, scores = top_k_few([[1, 0]], catalog_of(items), 30, seen_indptr=[0, 2], seen_items=[0, 4])
    np.testing.assert_array_equal(codes, [[1, 2, 3, *range(5, 32)]])
    assert (scores == 1).all()


@pytest.mark.usefixtures("by_bounds")
def test_an_item_of_zeros_is_above_those_of_negative_scores(rng):
    items = -np.abs(uneven_vectors(rng, 700, 5))
    items[[600, 650]] = 0
    users = np.abs(uneven_vectors(rng, 3, 5)) + 0.1
    codes, scores = top_k_few(users, catalog_of(items), 4)
    np.testing.assert_array_equal(codes[:, :2], [[600, 650]] * 3)
    assert_same((codes, scores), top_k_dot(users, items, 4))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e-30, 1e30])
def test_a_user_without_bounds_is_listed_as_ever(rng, value):
    users, items = uneven_vectors(rng, 4, 9), uneven_vectors(rng, 3000, 9)
    users[2] = value
    items[5] = 0
    assert_same(top_k_few(users, catalog_of(items), 10), top_k_dot(users, items, 10))


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_items_beyond_numbers_are_listed_as_ever(rng, value):
    users, items = uneven_vectors(rng, 4, 9), uneven_vectors(rng, 3000, 9)
    items[11, 3], items[2000] = value, value
    with np.errstate(all="ignore"):
        assert_same(top_k_few(users, catalog_of(items), 10), top_k_dot(users, items, 10))


def test_equal_vectors_which_no_bound_tells_apart_are_listed_as_ever(rng):
    users, items = uneven_vectors(rng, 5, 24), np.repeat(uneven_vectors(rng, 1, 24), 9000, axis=0)
    seen = as_rows(random_seen(rng, 5, 9000, 40))
    assert_same(top_k_few(users, catalog_of(items), 20, **seen), top_k_dot(users, items, 20, **seen))


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e20])
def test_lists_by_bounds_of_tiny_and_huge_vectors_are_the_same(rng, scale):
    users, items = uneven_vectors(rng, 6, 16), (uneven_vectors(rng, 2000, 16) * scale).astype(np.float32)
    assert_same(top_k_few(users, catalog_of(items), 25), top_k_dot(users, items, 25))


@pytest.mark.parametrize("users, items, k", [((0, 4), (5, 4), 3), ((2, 4), (0, 4), 3), ((2, 4), (5, 4), 0)])
def test_nothing_asked_by_bounds_is_nothing_listed(users, items, k):
    assert_same(top_k_few(np.ones(users), catalog_of(np.ones(items)), k), top_k_dot(np.ones(users), np.ones(items), k))


def test_vectors_of_another_length_than_the_catalogs_are_refused():
    with pytest.raises(DataError, match="one length"):
        top_k_few(np.ones((2, 3)), catalog_of(np.ones((4, 5))), 1)
