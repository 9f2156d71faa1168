"""`partial_fit` gives what a fit on all data gives, for both models and both forms."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.neighbors.oracle import as_data, as_seen, rating_table, seen_table

import recsys
from recsys import ItemKNN, UserKNN

SEEN = (
    {},
    {"similarity": "jaccard", "min_support": 2},
    {"similarity": "tversky", "alpha": 0.2, "beta": 0.9, "shrinkage": 2.0},
    {"similarity": "asymmetric", "alpha": 0.9, "significance": 3.0, "popularity_discount": 0.7},
    {"weighting": "tfidf"},
    {"weighting": "bm25", "shrinkage": 1.0},
)
RATINGS = (
    {},
    {"similarity": "pearson_baseline", "prediction": "baseline", "baseline": "als"},
    {"similarity": "adjusted_cosine", "prediction": "zscore"},
)


def parts_of(frame: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """The rows in three parts; users and items from 10 on are in the last alone, all others in the first already.

    So codes come in the order of ids, as they do where all rows are there at once: ties go by code.
    """
    early = (frame["user_id"] < 10) & (frame["item_id"] < 10)
    part = np.where(early, np.random.default_rng(seed).integers(0, 3, len(frame)), 2)
    for column in ("user_id", "item_id"):
        part[early & ~frame[column].where(early).duplicated()] = 0
    return [frame[part == n] for n in range(3)]


def all_scores(model: Any) -> np.ndarray:
    users, items = np.meshgrid(model.users_.ids, model.items_.ids, indexing="ij")
    order = np.argsort(model.users_.ids), np.argsort(model.items_.ids)
    return model.predict(users.ravel(), items.ravel()).reshape(users.shape)[order[0]][:, order[1]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", SEEN)
@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_interactions_that_come_later_count_as_if_they_had_been_there(
    model: Any, how: dict[str, Any], seed: int
) -> None:
    frame = as_seen(seen_table(seed, 40, 25)).to_frame()
    first, *more = parts_of(frame, seed)
    one = model(n_neighbors=4, **how).fit(first)
    before = all_scores(one)
    for part in more:
        one.partial_fit(part)
    whole = model(n_neighbors=4, **how).fit(frame)
    np.testing.assert_allclose(all_scores(one), all_scores(whole), atol=1e-5)
    assert one.recommend(k=5)["score"].tolist() == pytest.approx(
        whole.recommend(one.users_.ids, k=5)["score"].tolist(), abs=1e-5
    )
    assert before.shape < all_scores(one).shape


@pytest.mark.parametrize("how", RATINGS)
@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_ratings_that_come_later_count_as_if_they_had_been_there(model: Any, how: dict[str, Any]) -> None:
    frame = as_data(rating_table(2, 16, 14)).to_frame()
    first, *more = parts_of(frame, 1)
    one = model(n_neighbors=3, min_support=2, **how).fit(first)
    for part in more:
        one.partial_fit(part)
    whole = model(n_neighbors=3, min_support=2, **how).fit(frame)
    np.testing.assert_allclose(all_scores(one), all_scores(whole), atol=1e-5)
    assert (one.mean_, one.low_, one.high_) == pytest.approx((whole.mean_, whole.low_, whole.high_))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", SEEN[:4])
def test_a_few_new_interactions_move_the_lists_of_many_items_as_a_fit_would(how: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    popular = rng.exponential(1, 80) / 12
    frame = as_seen((rng.random((150, 80)) < np.clip(popular, 0.02, 0.6)).astype(float)).to_frame()
    late = rng.random(len(frame)) < 0.01
    late &= frame.duplicated("user_id") & frame.duplicated("item_id")
    assert 0 < late.sum() < 15
    one, whole = ItemKNN(n_neighbors=5, **how).fit(frame[~late]), ItemKNN(n_neighbors=5, **how).fit(frame)
    assert np.abs(one.weights_ - whole.weights_).max() > 1e-3
    one.partial_fit(frame[late])
    np.testing.assert_allclose(one.weights_.toarray(), whole.weights_.toarray(), atol=1e-6)
    assert one.weights_.has_sorted_indices


def test_a_users_order_of_ids_is_all_that_gradient_steps_depend_on() -> None:
    frame = as_data(rating_table(2, 16, 14)).to_frame()
    late = frame["user_id"] >= 10
    how: dict[str, Any] = {"prediction": "baseline", "baseline": "sgd"}
    one = ItemKNN(**how).fit(frame[~late]).partial_fit(frame[late])
    np.testing.assert_allclose(all_scores(one), all_scores(ItemKNN(**how).fit(frame)), atol=1e-5)


def test_only_columns_that_the_new_interactions_reach_are_made_anew() -> None:
    # Twenty groups of six items that share users with each other alone.
    rng = np.random.default_rng(0)
    rows = [(20 * u + g, 10 * g + i) for g in range(20) for u in range(8) for i in rng.permutation(6)[:4]]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"])
    more = pd.DataFrame({"user_id": [0, 999], "item_id": [5, 5]})
    model, whole = ItemKNN(n_neighbors=3).fit(frame), ItemKNN(n_neighbors=3).fit(pd.concat([frame, more]))
    model.weights_ *= 2  # tells what was there from what is new
    model.partial_fit(more)
    reached = model.items_.ids < 6
    np.testing.assert_allclose(model.weights_.toarray()[:, reached], whole.weights_.toarray()[:, reached], atol=1e-6)
    np.testing.assert_allclose(
        model.weights_.toarray()[:, ~reached], 2 * whole.weights_.toarray()[:, ~reached], atol=1e-6
    )


@pytest.mark.parametrize("change", [{"similarity": "jaccard"}, {"n_neighbors": 2}, {"popularity_discount": 1.0}])
def test_hyperparameters_changed_in_between_hold_for_every_item(change: dict[str, Any]) -> None:
    frame = as_seen(seen_table(0, 40, 25)).to_frame()
    model = ItemKNN(n_neighbors=4).fit(frame).set_params(**change)
    more = pd.DataFrame(
        {"user_id": [3], "item_id": [np.setdiff1d(range(25), frame.query("user_id == 3")["item_id"])[0]]}
    )
    model.partial_fit(more)
    whole = ItemKNN(**{"n_neighbors": 4, **change}).fit(pd.concat([frame, more]))
    np.testing.assert_allclose(model.weights_.toarray(), whole.weights_.toarray(), atol=1e-6)


def test_a_saved_model_learns_on(tmp_path: Any) -> None:
    frame = as_seen(seen_table(0, 40, 25)).to_frame()
    first, *more = parts_of(frame, 0)
    ItemKNN(n_neighbors=4).fit(first).save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    for part in more:
        loaded.partial_fit(part)
    np.testing.assert_allclose(all_scores(loaded), all_scores(ItemKNN(n_neighbors=4).fit(frame)), atol=1e-5)
