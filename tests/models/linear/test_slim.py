import logging
from functools import partial

import numpy as np
import pytest
from tests.models import tables
from tests.models.tables import as_frame

from recsys import SLIM
from recsys.models.linear import slim

TIGHT = {"tolerance": 1e-8, "max_iterations": 10_000}

table = partial(tables.table, n_users=60, n_items=16)


def objective(x: np.ndarray, w: np.ndarray, l1: float, l2: float) -> float:
    return 0.5 * ((x - x @ w) ** 2).sum() + 0.5 * l2 * (w**2).sum() + l1 * np.abs(w).sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_no_feasible_step_lowers_the_objective(weighted: bool) -> None:
    x = table()
    if weighted:
        x *= np.random.default_rng(1).integers(1, 5, x.shape) / 2
    w = SLIM(l1_regularization=1.5, regularization=2.0, **TIGHT).fit(as_frame(x)).weights_.toarray().astype(float)
    assert (w >= 0).all()
    assert (np.diag(w) == 0).all()
    assert 0.1 < (w > 0).mean() < 0.9
    best = objective(x, w, 1.5, 2.0)
    rng = np.random.default_rng(2)
    for size in (0.3, 0.03, 0.003):
        for _ in range(40):
            other = np.maximum(w + size * rng.normal(size=w.shape) * (rng.random(w.shape) < 0.1), 0)
            np.fill_diagonal(other, 0)
            assert objective(x, other, 1.5, 2.0) >= best - 1e-6


def test_weights_of_interactions_are_read_unless_switched_off() -> None:
    x = table()
    weighted = as_frame(x * np.random.default_rng(1).integers(1, 5, x.shape))
    plain = SLIM().fit(as_frame(x)).weights_.toarray()
    np.testing.assert_array_equal(SLIM(use_weights=False).fit(weighted).weights_.toarray(), plain)
    assert np.abs(SLIM().fit(weighted).weights_.toarray() - plain).max() > 0.1


def test_items_with_no_more_common_users_than_the_l1_penalty_have_no_weight() -> None:
    x = table()
    common = x.T @ x
    w = SLIM(l1_regularization=6.0, regularization=0.1).fit(as_frame(x)).weights_.toarray()
    assert (common <= 6).any()
    assert not w[common <= 6].any()
    assert w[common > 6].any()


def test_neighbors_are_the_nearest_by_cosine_and_the_fit_is_the_best_among_them() -> None:
    x = table()
    norms = np.linalg.norm(x, axis=0)
    cosine = x.T @ x / np.outer(norms, norms)
    np.fill_diagonal(cosine, -1)
    few = SLIM(n_neighbors=4, l1_regularization=0.1, **TIGHT).fit(as_frame(x)).weights_.toarray().astype(float)
    for j in range(16):
        near = np.argsort(-cosine[:, j], kind="stable")[:4]
        assert set(np.flatnonzero(few[:, j])) <= set(near)
        gradient = x[:, near].T @ (x @ few[:, j] - x[:, j]) + 10 * few[near, j] + 0.1
        np.testing.assert_allclose(np.where(few[near, j] > 0, gradient, np.minimum(gradient, 0)), 0, atol=1e-5)
    every = SLIM(n_neighbors=15, **TIGHT).fit(as_frame(x)).weights_.toarray()
    np.testing.assert_allclose(every, SLIM(**TIGHT).fit(as_frame(x)).weights_.toarray(), atol=1e-7)


def test_a_gram_matrix_too_large_to_keep_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = as_frame(table())
    kept = SLIM().fit(frame).weights_.toarray()
    monkeypatch.setattr(slim, "GRAM_BYTES", 100)
    np.testing.assert_array_equal(SLIM().fit(frame).weights_.toarray(), kept)


def test_an_explanation_adds_up_to_the_score() -> None:
    x = table()
    model = SLIM().fit(as_frame(x))
    for item in range(16):
        parts = model.explain(4, item, k=16)
        assert set(parts["item_id"]) == set(np.flatnonzero(x[4]))
        np.testing.assert_allclose(parts["contribution"].sum(), model.predict([4], [item])[0], rtol=1e-5, atol=1e-7)


def test_more_data_gives_what_a_fit_on_everything_gives() -> None:
    x = table(n_users=80)
    x[:50, 12:] = 0
    frame = as_frame(x)
    early = frame["user_id"] < 50
    grown = SLIM(n_neighbors=6).fit(frame[early]).partial_fit(frame[~early])
    whole = SLIM(n_neighbors=6).fit(frame)
    np.testing.assert_array_equal(grown.items_.ids, whole.items_.ids)
    np.testing.assert_array_equal(grown.weights_.toarray(), whole.weights_.toarray())


def test_a_fit_that_was_stopped_says_so_and_one_that_was_not_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    frame = as_frame(table())
    with caplog.at_level(logging.INFO):
        done = SLIM(l1_regularization=0.1).fit(frame)
        assert not caplog.records
        stopped = SLIM(l1_regularization=0.1, max_iterations=2).fit(frame)
    assert done.n_iterations_.max() <= done.max_iterations
    n = int((stopped.n_iterations_ == 3).sum())
    assert n > 0
    assert f"SLIM: {n} of 16 items were stopped by max_iterations=2" in caplog.text
