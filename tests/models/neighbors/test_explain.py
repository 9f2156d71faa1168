"""What `explain` names adds up to the score, for both models and both forms."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.neighbors.oracle import as_data, as_seen, baseline_parts, rating_table, seen_table

from recsys import ItemKNN, UserKNN

SEEN = ({}, {"similarity": "jaccard"}, {"similarity": "asymmetric", "alpha": 0.8}, {"weighting": "bm25"})


def explained(model: Any, user: int, item: int) -> dict[int, float]:
    found = model.explain(user, item, k=100)
    return dict(zip(found["item_id"].tolist(), found["contribution"].tolist(), strict=True))


def unclipped(model: Any, user: int, item: int) -> float:
    return float(model.score_codes(np.array([user]), np.array([item]))[0])


def level(model: Any, table: np.ndarray, user: int, item: int) -> float:
    """What a rating is before neighbors are asked."""
    if model.prediction == "raw":
        return 0.0
    if model.prediction == "baseline":
        mu, b_u, b_i = baseline_parts(table)
        return mu + b_u[user] + b_i[item]
    return float(np.nanmean(table[user] if isinstance(model, UserKNN) else table[:, item]))


@pytest.mark.parametrize("how", SEEN)
@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_contributions_add_up_to_an_implicit_score(model: Any, how: dict[str, Any]) -> None:
    x = seen_table()
    one = model(n_neighbors=6, popularity_discount=0.4, **how).fit(as_seen(x))
    for user in range(len(x)):
        for item in range(x.shape[1]):
            parts = explained(one, user, item)
            assert set(parts) == set(np.flatnonzero(x[user]))
            np.testing.assert_allclose(sum(parts.values()), unclipped(one, user, item), atol=1e-5)
            assert min(parts.values()) >= 0


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("form", ["raw", "centered", "zscore", "baseline"])
@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_contributions_add_up_to_what_neighbors_move_a_rating_by(model: Any, form: str, negative: bool) -> None:
    table = rating_table()
    one = model(similarity="pearson", prediction=form, n_neighbors=4, min_support=3, negative_neighbors=negative)
    one.fit(as_data(table))
    moved = 0
    for user in range(len(table)):
        for item in range(table.shape[1]):
            parts = explained(one, user, item)
            assert set(parts) == set(np.flatnonzero(~np.isnan(table[user])))
            if any(parts.values()):
                wanted = unclipped(one, user, item) - level(one, table, user, item)
                np.testing.assert_allclose(sum(parts.values()), wanted, atol=1e-5)
                moved += 1
    assert moved > 50


def test_an_items_part_is_its_similarity_to_the_target() -> None:
    x = seen_table()
    model = ItemKNN(n_neighbors=20).fit(as_seen(x))
    similar = model.similar_items([3], k=20).set_index("similar_item_id")["score"]
    parts = explained(model, 0, 3)
    for item, part in parts.items():
        np.testing.assert_allclose(part, 0 if item == 3 else similar[item], atol=1e-6)


def test_a_users_part_is_what_the_items_have_in_common_with_the_neighbors() -> None:
    # Neighbor 1 shares items 0 and 1 with user 0, neighbor 2 item 2; only these two have item 9.
    rows = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 9), (2, 2), (2, 9), (3, 0), (3, 5)]
    model = UserKNN(similarity="cosine").fit(pd.DataFrame(rows, columns=["user_id", "item_id"]))
    parts = explained(model, 0, 9)
    np.testing.assert_allclose([parts[0], parts[1]], 1 / 3, atol=1e-6)  # each half of 2 / sqrt(3 * 3)
    np.testing.assert_allclose(parts[2], 1 / np.sqrt(3 * 2), atol=1e-6)


def test_with_weights_the_rarer_common_item_has_the_larger_part() -> None:
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), *((u, 0) for u in range(2, 9))]
    model = UserKNN(weighting="tfidf").fit(pd.DataFrame(rows, columns=["user_id", "item_id"]))
    parts = explained(model, 0, 2)
    assert parts[1] > 2 * parts[0] > 0


@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_nobody_to_ask_and_too_few_to_ask_explain_nothing(model: Any) -> None:
    table = rating_table()
    lonely = model(min_support=20).fit(as_data(table))
    assert not any(explained(lonely, 0, 0).values())
    few = model(min_k=17).fit(as_data(table))
    assert not any(explained(few, 0, 0).values())
    empty = model().fit(pd.DataFrame({"user_id": [0, 0, 1], "item_id": [0, 1, 2]}))
    assert not any(explained(empty, 0, 2).values())
