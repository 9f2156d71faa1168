import tracemalloc

import numpy as np
import pandas as pd
import pytest

from recsys import EASE, Dataset
from recsys.errors import DataError


def table(seed: int = 0, n_users: int = 40, n_items: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = (rng.random((n_users, n_items)) < rng.uniform(0.1, 0.6, n_items)).astype(float)
    x[np.arange(n_users), np.arange(n_users) % n_items] = 1
    return x


def as_frame(x: np.ndarray) -> pd.DataFrame:
    users, items = np.nonzero(x)
    return pd.DataFrame({"user_id": users, "item_id": items})


@pytest.mark.parametrize("regularization", [0.5, 10.0, 300.0])
def test_weights_are_stationary_with_a_zero_diagonal(regularization: float) -> None:
    x = table()
    b = EASE(regularization=regularization).fit(as_frame(x)).weights_.astype(float)
    assert (np.diag(b) == 0).all()
    # Half the gradient of ||X - X B||^2 + regularization ||B||^2; the diagonal is held by its constraint.
    gradient = -x.T @ (x - x @ b) + regularization * b
    np.fill_diagonal(gradient, 0)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_each_column_is_a_ridge_regression_on_the_other_items() -> None:
    x, penalty = table(), 3.0
    b = EASE(regularization=penalty).fit(as_frame(x)).weights_
    for j in range(x.shape[1]):
        others = [i for i in range(x.shape[1]) if i != j]
        z = x[:, others]
        wanted = np.linalg.solve(z.T @ z + penalty * np.eye(len(others)), z.T @ x[:, j])
        np.testing.assert_allclose(b[others, j], wanted, atol=1e-6)
    assert np.abs(b - b.T).max() > 0.05  # rows divided in place of columns would be seen


def test_scores_are_the_history_times_the_weights() -> None:
    x = table()
    model = EASE(regularization=3.0).fit(as_frame(x))
    users, items = np.indices(x.shape).reshape(2, -1)
    wanted = x @ model.weights_
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), wanted, atol=1e-5)
    found = model.recommend(history=[2, 5, 7], k=12, filter_seen=False)
    np.testing.assert_allclose(found["score"], model.weights_[[2, 5, 7]].sum(0)[found["item_id"]], atol=1e-6)


def test_a_large_penalty_leaves_weights_in_proportion_to_common_users() -> None:
    x = table()
    b = EASE(regularization=1e7).fit(as_frame(x)).weights_
    gram = x.T @ x
    np.fill_diagonal(gram, 0)
    np.testing.assert_allclose(b, gram / 1e7, rtol=1e-4, atol=1e-10)


def test_repeated_interactions_count_once() -> None:
    frame = as_frame(table())
    twice = pd.concat([frame, frame.iloc[::3]])
    np.testing.assert_array_equal(EASE().fit(twice).weights_, EASE().fit(frame).weights_)


def test_an_explanation_adds_up_to_the_score() -> None:
    x = table()
    model = EASE(regularization=3.0).fit(as_frame(x))
    for item in range(x.shape[1]):
        parts = model.explain(4, item, k=12)
        assert set(parts["item_id"]) == set(np.flatnonzero(x[4]))
        np.testing.assert_allclose(parts["contribution"].sum(), model.predict([4], [item])[0], atol=1e-5)


def test_a_catalog_that_cannot_fit_is_refused_before_anything_is_allocated() -> None:
    items = pd.DataFrame({"item_id": np.arange(3_000_000)})
    data = Dataset(pd.DataFrame({"user_id": [0], "item_id": [0]}), item_features=items)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"EASE needs 150874 GiB for 3,000,000 items and this machine has \d+"):
        EASE().fit(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500 * 2**20  # the smallest of the refused arrays has 9 * 10**12 numbers


def test_items_that_cannot_be_told_apart_need_a_penalty() -> None:
    frame = pd.DataFrame({"user_id": [0, 0], "item_id": [0, 1]})
    with pytest.raises(DataError, match="cannot be inverted with regularization=1e-300; raise it"):
        EASE(regularization=1e-300).fit(frame)
    np.testing.assert_allclose(EASE(regularization=1.0).fit(frame).weights_, [[0, 0.5], [0.5, 0]], atol=1e-6)
