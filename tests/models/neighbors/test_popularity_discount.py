"""Implicit scores divided by a power of how many users an item has."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.neighbors.oracle import as_data, as_seen, nearest, rating_table, seen_table

from recsys import ItemKNN, UserKNN


def all_pairs(model: Any, shape: tuple[int, int]) -> np.ndarray:
    users, items = np.indices(shape).reshape(2, -1)
    return model.predict(users, items).reshape(shape)


@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_scores_are_divided_by_a_power_of_the_targets_popularity(model: Any) -> None:
    x = seen_table()
    plain, discounted = (model(popularity_discount=d, n_neighbors=4).fit(as_seen(x)) for d in (0.0, 0.7))
    np.testing.assert_allclose(all_pairs(discounted, x.shape), all_pairs(plain, x.shape) / x.sum(0) ** 0.7, atol=1e-6)
    listed = discounted.recommend(k=13, filter_seen=False)
    wanted = all_pairs(discounted, x.shape)[listed["user_id"], listed["item_id"]]
    np.testing.assert_allclose(listed["score"], wanted, atol=1e-6)


def test_with_conditional_probabilities_it_is_the_published_measure() -> None:
    # Deshpande & Karypis: sim(i, j) = Freq(ij) / (Freq(i) Freq(j)^alpha) of the item i had and the item j offered.
    x, k = seen_table(), 5
    model = ItemKNN(similarity="asymmetric", alpha=1.0, popularity_discount=0.3, n_neighbors=k).fit(as_seen(x))
    n = x.sum(0)
    published = x.T @ x / (n[:, None] * n**0.3)
    kept = np.zeros_like(published)
    for j in range(len(n)):
        for i in nearest({i: published[i, j] for i in range(len(n)) if i != j}, k):
            kept[i, j] = published[i, j]
    np.testing.assert_allclose(model.weights_.toarray(), kept, atol=1e-6)


@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_it_leaves_similarities_and_ratings_alone(model: Any) -> None:
    x, table = seen_table(), rating_table()
    plain, discounted = (model(popularity_discount=d).fit(as_seen(x)) for d in (0.0, 1.0))
    for one, other in zip(similar(plain), similar(discounted), strict=True):
        np.testing.assert_array_equal(one, other)
    plain, discounted = (model(popularity_discount=d).fit(as_data(table)) for d in (0.0, 1.0))
    np.testing.assert_array_equal(all_pairs(plain, table.shape), all_pairs(discounted, table.shape))


def similar(model: Any) -> list[np.ndarray]:
    found = model.similar_users([0, 1]) if isinstance(model, UserKNN) else model.similar_items([0, 1])
    return [np.asarray(found[column]) for column in found]


@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_a_rare_item_as_near_as_a_popular_one_comes_first(model: Any) -> None:
    # Both go with item 0 for the same users; item 2 has 20 more users who have nothing else.
    rows = [(u, i) for u in range(4) for i in (0, 1, 2)] + [(u, 2) for u in range(10, 30)] + [(50, 0)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"])
    how = {"similarity": "asymmetric", "alpha": 1.0}
    plain, discounted = (model(popularity_discount=d, **how).fit(frame) for d in (0.0, 0.5))
    scores = plain.predict([50, 50], [1, 2])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    assert discounted.recommend([50], k=1)["item_id"].tolist() == [1]
