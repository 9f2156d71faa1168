"""Bounds of dot products against their formula in NumPy, and against the scores that they must not be below."""

import numpy as np
import pytest

from recsys.kernels.bounds import LARGEST, LEAST, LEAST_REACH, TILE, bound_block, catalog_of, round_user, user_top
from recsys.kernels.topk import top_k_dot


def whole(vectors, top):
    """Whole numbers and steps of vectors (n, D), each vector's largest number being `top`."""
    steps = (np.abs(vectors).max(1, initial=0) / top).astype(np.float32)
    safe = np.where(steps > 0, steps, np.inf).astype(np.float64)[:, None]
    return np.clip(np.rint(vectors / safe), -top, top), steps


def plain_bounds(users, items):
    """Bounds (U, I) from their definition, in float64, the items in their own order."""
    users, items = users.astype(np.float64), items.astype(np.float64)
    depth, top = users.shape[1], min(32767, (2**31 - 1) // (127 * users.shape[1]))
    (p, steps), (q, scales) = whole(users, top), whole(items, 127)
    norms, errors = (np.linalg.norm(a, axis=1) for a in (items, items - q * scales[:, None]))
    of_user, of_sums = 0.505 * depth**0.5 / top, (2 * depth + 32) * 2.0**-24
    reach = (1 + of_user) * errors + (of_user + of_sums) * norms + LEAST_REACH
    return (p * steps[:, None]) @ (q * scales[:, None]).T + np.linalg.norm(users, axis=1)[:, None] * reach


def bounds_of(users, items):
    """Bounds (U, I) from the kernels, the items in their own order; NaN for a user who has none."""
    catalog = catalog_of(items)
    n_items = len(catalog.codes)
    coarse = np.zeros(2 * catalog.coarse.shape[1], np.int16)
    block = np.full((1, -(-n_items // TILE) * TILE), np.nan, np.float32)
    found = np.full((len(users), n_items), np.nan, np.float32)
    for row, user in enumerate(users):
        step, norm = round_user(user, catalog.largest, coarse)
        if norm > 0:
            bound_block(coarse, step, norm, catalog, 0, n_items, block)
            found[row, catalog.codes] = block[0, :n_items]
            assert (block[0, n_items:] == -np.inf).all()
    return found


def scores_of(users, items):
    """All scores as the kernels of the top-k sum them."""
    codes, scores = top_k_dot(users, items, len(items))
    found = np.full((len(users), len(items)), np.nan, np.float32)
    np.put_along_axis(found, codes, scores, 1)
    return found


def vectors(rng, n, depth, spread=1.0):
    """Vectors of many lengths, whose dimensions matter unequally."""
    dimensions, lengths = np.exp(rng.normal(0, spread, depth)), np.exp(rng.normal(0, spread, (n, 1)))
    return (rng.normal(size=(n, depth)) * dimensions * lengths).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 33, 64, 600])
@pytest.mark.parametrize("n_items", [1, 31, 32, 33, 500])
def test_bounds_are_those_of_the_formula(rng, depth, n_items):
    users, items = vectors(rng, 6, depth), vectors(rng, n_items, depth)
    room = np.linalg.norm(users, axis=1)[:, None] * np.linalg.norm(items, axis=1)
    np.testing.assert_array_less(np.abs(bounds_of(users, items) - plain_bounds(users, items)), 2e-6 * room)


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 33, 64, 600])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_no_score_is_above_its_bound_nor_far_below(rng, depth, spread):
    users, items = vectors(rng, 20, depth, spread), vectors(rng, 400, depth, spread)
    items[7], items[8], items[9] = users[0], -users[1], users[2] * 1e-3
    bounds, scores = bounds_of(users, items), scores_of(users, items)
    assert (bounds > scores).all()
    room = np.linalg.norm(users.astype(float), axis=1)[:, None] * np.linalg.norm(items.astype(float), axis=1)
    # Twice the largest error of 8 bits in every dimension, and what a sum over D may lose.
    assert ((bounds - scores) <= (1.02 * depth**0.5 / 127 + 1e-3) * room).all()


@pytest.mark.parametrize("of_users", [1e-14, 1.0, 1e10])
@pytest.mark.parametrize("of_items", [1e-44, 1e-38, 1e-20, 1e9])
def test_bounds_hold_for_tiny_and_for_huge_vectors(rng, of_users, of_items):
    users = (rng.normal(size=(10, 24)) * of_users).astype(np.float32)
    items = (rng.normal(size=(200, 24)) * of_items * np.exp(rng.normal(0, 2, (200, 1)))).astype(np.float32)
    assert (bounds_of(users, items) > scores_of(users, items)).all()


def test_the_bound_of_a_vector_of_zeros_is_above_zero_but_above_no_other_score(rng):
    users, items = vectors(rng, 5, 9), vectors(rng, 50, 9)
    items[[3, 40]] = 0
    bounds, scores = bounds_of(users, items)[:, [3, 40]], scores_of(users, items)
    assert (bounds > 0).all()
    assert bounds.max() < scores[scores > 0].min() / 1e6


def test_users_whose_scores_float32_cannot_hold_get_no_bounds(rng):
    items = vectors(rng, 50, 3)
    largest = np.linalg.norm(items.astype(float), axis=1).max()
    ones = np.ones((1, 3), np.float32) / 3**0.5
    for scale in (0, LEAST / 2, 2 * LARGEST, 2 * LARGEST / largest, np.inf, np.nan):
        assert np.isnan(bounds_of(ones * np.float32(scale), items)).all()
    for scale in (2 * LEAST, 0.5 * LARGEST / largest):
        assert np.isfinite(bounds_of(ones * np.float32(scale), items)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_item_that_is_no_number_leaves_nobody_bounds(rng, value):
    items = vectors(rng, 50, 3)
    items[20, 1] = value
    assert catalog_of(items).largest == np.inf
    assert np.isnan(bounds_of(vectors(rng, 4, 3), items)).all()


def test_items_stand_by_falling_norm_and_no_later_score_is_longer(rng):
    users, items = vectors(rng, 30, 12), vectors(rng, 300, 12)
    catalog = catalog_of(items)
    norms = np.linalg.norm(items.astype(float), axis=1)[catalog.codes]
    assert sorted(catalog.codes.tolist()) == list(range(300))
    assert (np.diff(norms) <= 0).all()
    scores = scores_of(users, items)[:, catalog.codes]
    for tile, length in enumerate(catalog.length):
        assert (scores[:, tile * TILE :] <= np.linalg.norm(users, axis=1)[:, None] * length).all()
        assert length == pytest.approx(norms[tile * TILE], rel=1e-5)


def test_equal_norms_stand_by_code():
    np.testing.assert_array_equal(catalog_of(np.ones((70, 4))).codes, np.arange(70))


@pytest.mark.parametrize("depth", [1, 64, 516, 517, 1000, 5000])
def test_no_sum_of_whole_numbers_overflows(depth):
    assert 127 * depth * user_top(depth) < 2**31
    ones = np.ones((1, depth), np.float32)
    for signs in (ones, -ones):
        assert bounds_of(ones, signs)[0, 0] == pytest.approx(signs.sum(), abs=0.02 * depth)


def test_the_vectors_themselves_are_kept(rng):
    items = vectors(rng, 40, 5)
    assert catalog_of(items).vectors is items
    assert catalog_of(items.astype(float)).vectors.dtype == np.float32


@pytest.mark.parametrize(("n_items", "depth"), [(0, 3), (5, 0)])
def test_a_catalog_may_hold_nothing(n_items, depth):
    catalog = catalog_of(np.ones((n_items, depth)))
    assert len(catalog.codes) == n_items
    assert catalog.largest == 0 or n_items
