"""Baselines of ratings against plain loops, and what the models make of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.models.neighbors.oracle import (
    as_data,
    baseline_parts,
    beyond_baselines,
    corated,
    predictions,
    rating_table,
    rows_of,
    similarity_table,
)

from recsys import ItemKNN, UserKNN
from recsys.models.neighbors.baselines import Estimate, baselines, user_baselines

ESTIMATES: tuple[Estimate, ...] = ("decoupled", "als", "sgd")
TOLERANCE = {"decoupled": 1e-12, "als": 1e-12, "sgd": 1e-6}
"""Gradient steps are in single precision."""


def matrix_of(table: np.ndarray) -> Any:
    users, items = np.nonzero(~np.isnan(table))
    return sp.csr_matrix((table[users, items], (users, items)), shape=table.shape)


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_baselines_are_those_of_loops(estimate: Estimate) -> None:
    table = rating_table()
    table[:, 9] = table[11] = np.nan  # an item and a user without ratings
    mu, b_u, b_i = baseline_parts(table, estimate)
    items, users = baselines(matrix_of(table), mu, estimate)
    np.testing.assert_allclose(items, b_i, atol=TOLERANCE[estimate])
    np.testing.assert_allclose(users, b_u, atol=TOLERANCE[estimate])
    assert items[9] == users[11] == 0


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_a_users_baseline_follows_from_the_users_ratings_alone(estimate: Estimate) -> None:
    table = rating_table()
    ratings, mu = matrix_of(table), float(np.nanmean(table))
    items, users = baselines(ratings, mu, estimate)
    alone = [user_baselines(ratings[u], mu, items, estimate)[0] for u in range(len(table))]
    np.testing.assert_allclose(alone, users, atol=1e-12)


def test_als_settles_where_neither_side_would_move() -> None:
    rng = np.random.default_rng(0)
    table = 3 + rng.normal(0, 1, 60)[:, None] + rng.normal(0, 1, 40) + rng.normal(0, 0.1, (60, 40))
    table[rng.random(table.shape) < 0.3] = np.nan
    ratings, mu = matrix_of(table), float(np.nanmean(table))
    items, users = baselines(ratings, mu, "als")
    left = table - mu - users[:, None] - items
    # The penalized squared error is flat: what is left over of each side is its penalty.
    np.testing.assert_allclose(np.nansum(left, 1), 15 * users, atol=1e-9)
    np.testing.assert_allclose(np.nansum(left, 0), 10 * items, atol=1e-3)  # users moved last, and not quite to an end
    decoupled = table - mu - np.add.outer(*baselines(ratings, mu)[::-1])
    assert np.nanmean(left**2) < np.nanmean(decoupled**2)


def test_gradient_steps_bring_the_error_down() -> None:
    rng = np.random.default_rng(1)
    table = 3 + rng.normal(0, 1, 80)[:, None] + rng.normal(0, 1, 50) + rng.normal(0, 0.1, (80, 50))
    ratings, mu = matrix_of(table), float(table.mean())
    items, users = baselines(ratings, mu, "sgd")
    assert np.mean((table - mu - np.add.outer(users, items)) ** 2) < 0.1 * table.var()


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_models_predict_around_the_baselines_asked_for(model: Any, estimate: Estimate) -> None:
    table = rating_table()
    by_user = model is UserKNN
    one = model(prediction="baseline", similarity="pearson_baseline", baseline=estimate, n_neighbors=3, min_support=3)
    residuals = beyond_baselines(table, estimate)
    rows = rows_of(residuals if by_user else residuals.T)
    similarities = similarity_table(rows, corated("cosine", min_support=3))
    wanted = predictions(table, similarities, 3, "baseline", by_user=by_user, estimate=estimate)
    users, items = np.indices(table.shape).reshape(2, -1)
    found = one.fit(as_data(table)).predict(users, items).reshape(table.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    # Hyperparameters that are changed after the fit reach the baselines too.
    other = model(prediction="baseline", similarity="pearson_baseline", n_neighbors=3, min_support=3)
    other.fit(as_data(table)).predict(users, items)
    np.testing.assert_array_equal(other.set_params(baseline=estimate).predict(users, items), found.ravel())


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_someone_new_has_the_baseline_of_a_user_with_these_ratings(model: Any, estimate: Estimate) -> None:
    table = rating_table()
    one = model(baseline=estimate, prediction="baseline", min_support=13).fit(as_data(table))  # nobody is a neighbor
    mine = table[4]
    known = np.flatnonzero(~np.isnan(mine))
    history = pd.DataFrame({"item_id": known, "rating": mine[known]})
    found = one.recommend(history=history, k=12, filter_seen=False)
    mu, b_u, b_i = baseline_parts(table, estimate)
    wanted = np.clip(mu + b_u[4] + b_i, np.nanmin(table), np.nanmax(table))
    np.testing.assert_allclose(found["score"], wanted[found["item_id"]], atol=1e-5)
