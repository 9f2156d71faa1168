from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import SVD, Dataset


def low_rank(seed: int = 0, n_users: int = 80, n_items: int = 60, rank: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings 3 + p . q with a little noise, in two halves of the pairs."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n_users, rank)), rng.normal(size=(n_items, rank))
    ratings = 3 + 0.8 * p @ q.T + 0.05 * rng.normal(size=(n_users, n_items))
    users, items = np.indices(ratings.shape).reshape(2, -1)
    frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings.ravel()})
    train = rng.random(len(frame)) < 0.5
    return frame[train].reset_index(drop=True), frame[~train].reset_index(drop=True)


def quick(**parameters: Any) -> SVD:
    return SVD(verbose=0, **({"n_factors": 4, "epochs": 40, "learning_rate": 0.03} | parameters))


def error(model: SVD, frame: pd.DataFrame) -> float:
    return float(np.sqrt(np.mean((model.predict(frame) - frame["rating"]) ** 2)))


def test_vectors_explain_what_biases_cannot() -> None:
    train, test = low_rank()
    # Vectors that start at 0 stay there: what is left is mean and biases.
    biases = quick(init_std=0.0).fit(train)
    assert (biases.user_factors_ == 0).all()
    full = quick(epochs=100).fit(train)
    spread = float(test["rating"].std())
    assert error(biases, test) > 0.8 * spread
    assert error(full, test) < 0.25 * spread


def test_a_score_is_mean_plus_biases_plus_product_within_the_scale() -> None:
    train, _ = low_rank()
    model = quick().fit(train)
    assert model.mean_ == pytest.approx(train["rating"].mean(), abs=1e-6)
    wanted = (
        model.mean_
        + model.user_biases_[:, None]
        + model.item_biases_
        + model.user_factors_.astype(float) @ model.item_factors_.astype(float).T
    )
    low, high = train["rating"].min(), train["rating"].max()
    users, items = np.indices(wanted.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items), np.clip(wanted, low, high).ravel(), atol=1e-5)


def test_predictions_are_clipped_to_the_ratings_seen() -> None:
    # User 0 likes all and item 0 is liked by all: their sum is above the best rating there is.
    table = np.clip(np.add.outer([2.5, 0, 0, -2.5], [2.5, 0, 0, -2.5]) + 3, 1, 5)
    users, items = np.nonzero(np.ones((4, 4)) - np.diag([1, 0, 0, 1]))
    frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": table[users, items]})
    model = quick(regularization=0.0, epochs=300).fit(frame)
    found = model.predict([0, 3], [0, 3])
    assert found.tolist() == [5, 1]
    raw = model.mean_ + model.user_biases_ + model.item_biases_ + (model.user_factors_ * model.item_factors_).sum(1)
    assert raw[0] > 5
    assert raw[3] < 1
    assert model.recommend([0], k=1)["score"].tolist() == [5]


def test_unknown_users_and_items_leave_their_terms_out() -> None:
    train, _ = low_rank()
    model = quick().fit(train)
    found = model.predict([999, 7, 999], [5, 999, 999])
    wanted = [model.mean_ + model.item_biases_[5], model.mean_ + model.user_biases_[7], model.mean_]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_users_and_items_without_ratings_have_no_vector() -> None:
    train, _ = low_rank()
    more = {"user_features": pd.DataFrame({"user_id": [999]}), "item_features": pd.DataFrame({"item_id": [888]})}
    model = quick().fit(Dataset(train, **more))
    np.testing.assert_allclose(model.predict([999], [888]), model.mean_, atol=1e-6)
    assert (model.user_factors_[-1] == 0).all()
    assert (model.item_factors_[-1] == 0).all()


def test_ratings_are_visited_in_an_order_drawn_from_the_seed() -> None:
    train, _ = low_rank()
    # Biases start at 0 whatever the seed: only the order can tell these apart.
    one, same, other = (quick(init_std=0.0, epochs=1, random_state=seed).fit(train) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.user_biases_, same.user_biases_)
    assert np.abs(one.user_biases_ - other.user_biases_).max() > 1e-4


def test_a_small_data_set_is_learned_by_heart() -> None:
    train, _ = low_rank(n_users=8, n_items=8)
    model = quick(n_factors=8, regularization=0.0, epochs=600, learning_rate=0.05).fit(train)
    assert error(model, train) < 0.02
    log = model.training_log_["loss"]
    assert log.iloc[-1] < 0.01 * log.iloc[0]


def test_training_starts_at_biases_of_0_and_vectors_of_deviation_0_1() -> None:
    model = quick(n_factors=50, epochs=1, learning_rate=1e-12).fit(low_rank()[0])
    np.testing.assert_allclose([model.user_factors_.std(), model.item_factors_.std()], 0.1, rtol=0.1)
    np.testing.assert_allclose(model.user_biases_, 0, atol=1e-9)
    np.testing.assert_allclose(model.item_biases_, 0, atol=1e-9)


def test_threads_learn_what_one_thread_learns() -> None:
    train, test = low_rank()
    one, many = (quick(epochs=100, n_jobs=n).fit(train) for n in (1, 2))
    assert error(many, test) < 1.1 * error(one, test)
    assert many.training_log_["loss"].iloc[-1] < 0.02
