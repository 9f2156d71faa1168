from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import SVD, SVDpp


def quick(model: Any = SVDpp, **parameters: Any) -> Any:
    return model(**{"n_factors": 4, "epochs": 60, "learning_rate": 0.03, "verbose": 0} | parameters)


def frame_of(rows: list[tuple[int, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])


def repeated_ratings() -> pd.DataFrame:
    """200 ratings of 15 users and 10 items, many pairs more than once."""
    rng = np.random.default_rng(0)
    return frame_of([(u, i, r) for u, i, r in zip(*rng.integers((15, 10, 5), size=(200, 3)).T, strict=True)])


def test_what_a_user_rates_tells_how_even_where_the_ratings_do_not() -> None:
    # Either kind of user gives a 3 to six of its ten own items, and 5 or 1, by kind, to targets 20 to 25. The last
    # twenty users rated no target: which items they rated is all there is to know them by.
    rng = np.random.default_rng(0)
    own = [(u, 10 * (u % 2) + i, 3.0) for u in range(80) for i in rng.permutation(10)[:6]]
    targets = [(u, 20 + i, 5.0 if u % 2 == i % 2 else 1.0) for u in range(80) for i in range(6)]
    train, test = frame_of(own + [row for row in targets if row[0] < 60]), frame_of(targets[60 * 6 :])
    errors = [
        np.abs(quick(model, epochs=40).fit(train).predict(test) - test["rating"]).mean() for model in (SVDpp, SVD)
    ]
    assert errors[0] < 0.6
    assert errors[1] > 1.7


def test_a_users_vector_is_its_own_and_the_scaled_sum_over_the_items_it_rated() -> None:
    frame = repeated_ratings()
    # Without steps, the user's own vectors are those that SVD starts from.
    start, model = (quick(cls, epochs=1, learning_rate=1e-30).fit(frame) for cls in (SVD, SVDpp))
    wanted = start.user_factors_.astype(float)
    for u, rated in frame.groupby("user_id")["item_id"]:
        rated = rated.unique()
        wanted[u] += model.implicit_factors_[rated].astype(float).sum(0) / np.sqrt(len(rated))
    np.testing.assert_allclose(model.user_factors_, wanted, atol=1e-6)
    assert model.implicit_factors_.std() == pytest.approx(0.1, rel=0.3)


def test_a_score_is_mean_plus_biases_plus_product_within_the_scale() -> None:
    frame = repeated_ratings()
    model = quick().fit(frame)
    users, items = np.indices((15, 10)).reshape(2, -1)
    scores = (
        model.mean_ + model.user_biases_[:, None] + model.item_biases_ + model.user_factors_ @ model.item_factors_.T
    )
    np.testing.assert_allclose(model.predict(users, items), np.clip(scores, 0, 4).ravel(), atol=1e-5)
    found = model.predict([999, 7, 999], [5, 999, 999])
    np.testing.assert_allclose(
        found, [model.mean_ + model.item_biases_[5], model.mean_ + model.user_biases_[7], model.mean_], atol=1e-5
    )


def test_more_of_one_user_leaves_the_items_it_did_not_rate_where_they_are() -> None:
    frame = frame_of([(0, 0, 1.0), (0, 1, 5.0), (1, 2, 2.0), (1, 3, 4.0)])
    one, more = (quick(epochs=n).fit(frame) for n in (1, 30))
    assert (np.abs(more.implicit_factors_ - one.implicit_factors_).max(1) > 1e-3).all()
    alone, both = (quick(epochs=1).fit(part) for part in (frame, frame.assign(rating=[1.0, 5.0, 5.0, 1.0])))
    # Both have the mean 3; user 0's two items learn the same from it whatever user 1 says of others.
    np.testing.assert_array_equal(alone.implicit_factors_[:2], both.implicit_factors_[:2])
    assert (alone.implicit_factors_[2:] != both.implicit_factors_[2:]).any(1).all()


def test_a_small_data_set_is_learned_by_heart() -> None:
    frame = repeated_ratings().drop_duplicates(["user_id", "item_id"])
    model = quick(n_factors=10, regularization=0.0, epochs=500).fit(frame)
    assert np.sqrt(np.mean((model.predict(frame) - frame["rating"]) ** 2)) < 0.05
