from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from recsys import PMF, Dataset
from recsys.testing import checks
from recsys.testing.contract import Check

LINKS: list[Any] = ["identity", "sigmoid"]
SIGMOID = PMF(link="sigmoid")


def quick(**parameters: Any) -> PMF:
    return PMF(
        **{"n_factors": 3, "epochs": 40, "learning_rate": 0.02, "regularization": 1.0, "verbose": 0} | parameters
    )


def ratings(n_users: int = 40, n_items: int = 30, seed: int = 0) -> pd.DataFrame:
    """Ratings from 1 to 5 of a logistic model of rank 2; users rate from 3 to all of the items."""
    rng = np.random.default_rng(seed)
    table = 1 + 4 * expit(rng.normal(size=(n_users, 2)) @ rng.normal(size=(2, n_items)) * 1.5)
    seen = rng.random(table.shape) < np.linspace(0.1, 1, n_users)[:, None]
    users, items = np.nonzero(seen)
    return pd.DataFrame({"user_id": users, "item_id": items, "rating": table[users, items]})


def products(model: PMF) -> np.ndarray:
    return model.user_factors_.astype(float) @ model.item_factors_.astype(float).T


def guess(model: PMF, frame: pd.DataFrame) -> np.ndarray:
    """Predictions by the equation, not clipped."""
    x = products(model)[frame["user_id"], frame["item_id"]]
    return x if model.link == "identity" else model.low_ + (model.high_ - model.low_) * expit(x)


@pytest.mark.parametrize("name, check", checks(SIGMOID))
def test_the_logistic_link_keeps_the_contract(name: str, check: Check) -> None:
    check(SIGMOID)


@pytest.mark.parametrize("link", LINKS)
def test_a_prediction_is_the_product_through_the_link_within_the_scale(link: Any) -> None:
    frame = ratings()
    model = quick(link=link).fit(frame)
    wanted = np.clip(guess(model, frame), frame["rating"].min(), frame["rating"].max())
    np.testing.assert_allclose(model.predict(frame), wanted, atol=1e-5)


@pytest.mark.parametrize("link", LINKS)
def test_steps_lead_to_where_the_objectives_gradient_is_zero(link: Any) -> None:
    """Penalties count once a row, whether it has 3 ratings or 30."""
    frame, strengths = ratings(), (0.5, 2.0)
    parts = {"regularization": strengths[0], "item_regularization": strengths[1]}
    model = quick(link=link, epochs=1500, learning_rate=0.05, learning_rate_decay=0.995, **parts).fit(frame)
    error, x = frame["rating"] - guess(model, frame), products(model)[frame["user_id"], frame["item_id"]]
    slope = 1.0 if link == "identity" else (model.high_ - model.low_) * expit(x) * expit(-x)
    pull = np.zeros((len(model.users_), len(model.items_)))
    pull[frame["user_id"], frame["item_id"]] = error * slope
    for ours, others, pulls, strength in (
        (model.user_factors_, model.item_factors_, pull, strengths[0]),
        (model.item_factors_, model.user_factors_, pull.T, strengths[1]),
    ):
        assert np.linalg.norm(strength * ours) > 1
        assert np.linalg.norm(pulls @ others - strength * ours) < 0.02 * np.linalg.norm(strength * ours)


@pytest.mark.parametrize("link", LINKS)
def test_the_log_holds_the_objective_over_the_number_of_ratings(link: Any) -> None:
    frame = ratings()
    model = quick(link=link, epochs=1, learning_rate=1e-30, regularization=2.0, item_regularization=7.0).fit(frame)
    squares = ((frame["rating"] - guess(model, frame)) ** 2).sum()
    norms = (model.user_factors_.astype(float) ** 2).sum(), (model.item_factors_.astype(float) ** 2).sum()
    wanted = squares / 2 + 2.0 / 2 * norms[0] + 7.0 / 2 * norms[1]
    assert model.training_log_["loss"].item() == pytest.approx(wanted / len(frame), rel=1e-5)


@pytest.mark.parametrize("link", LINKS)
def test_planted_vectors_are_found(link: Any) -> None:
    frame = ratings(60, 50)
    test = np.random.default_rng(1).random(len(frame)) < 0.2
    model = quick(link=link, epochs=200).fit(frame[~test])
    found = model.predict(frame[test])
    assert np.sqrt(np.mean((found - frame["rating"][test]) ** 2)) < 0.5 * frame["rating"].std()


@pytest.mark.parametrize("link", LINKS)
def test_the_mean_stands_in_for_what_is_unknown(link: Any) -> None:
    frame = ratings()
    more = {"user_features": pd.DataFrame({"user_id": [999]}), "item_features": pd.DataFrame({"item_id": [888]})}
    model = quick(link=link).fit(Dataset(frame, **more))
    # 999 and 888 are known by name alone, 1000 and 1001 not at all.
    found = model.predict([0, 999, 999, 0, 1000, 1000], [888, 0, 888, 1001, 0, 1001])
    np.testing.assert_allclose(found, frame["rating"].mean(), atol=1e-5)
    listed = model.recommend([0], k=40).set_index("item_id")["score"]
    assert listed[888] == pytest.approx(frame["rating"].mean(), abs=1e-5)


def test_the_logistic_link_spreads_over_the_scale_and_needs_no_clip() -> None:
    frame = ratings()
    model = quick(link="sigmoid", regularization=0.0, epochs=300).fit(frame)
    users, items = np.indices((40, 30)).reshape(2, -1)
    found = model.predict(users, items)
    assert frame["rating"].min() <= found.min() < 1.5
    assert 4.5 < found.max() <= frame["rating"].max()
    # The plain product leaves the scale, so that clipped predictions pile up at its ends.
    clipped = quick(regularization=0.0, epochs=300).fit(frame).predict(users, items)
    ends = [np.isin(part, [part.min(), part.max()]).mean() for part in (found, clipped)]
    assert ends[0] < 0.02 < ends[1]


@pytest.mark.parametrize("link", LINKS)
def test_one_value_for_all_ratings_is_what_is_predicted(link: Any) -> None:
    frame = ratings().assign(rating=4.0)
    model = quick(link=link, epochs=3).fit(frame)
    np.testing.assert_array_equal(model.predict([0, 0, 999], [1, 999, 999]), 4)


def test_items_have_a_penalty_of_their_own_where_it_is_given() -> None:
    frame = ratings()
    shared, same, strict = (quick(item_regularization=penalty, epochs=100).fit(frame) for penalty in (None, 1.0, 20.0))
    np.testing.assert_array_equal(shared.item_factors_, same.item_factors_)
    assert np.linalg.norm(strict.item_factors_) < 0.7 * np.linalg.norm(shared.item_factors_)
    assert np.linalg.norm(strict.user_factors_) > np.linalg.norm(shared.user_factors_)
