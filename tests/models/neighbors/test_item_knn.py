from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.neighbors.oracle import (
    Row,
    as_data,
    as_seen,
    baseline_parts,
    beyond_baselines,
    corated,
    nearest,
    overlap,
    predictions,
    rating_table,
    rows_of,
    seen_table,
    similarity_table,
    tf_idf,
)

from recsys import ItemKNN

FORMS = ("raw", "centered", "zscore", "baseline")
RATING_SIMILARITIES = (
    "cosine",
    "pearson",
    "pearson_mean",
    "pearson_baseline",
    "adjusted_cosine",
    "msd",
    "euclidean",
    "jaccard",
)
SEEN_SIMILARITIES = ("cosine", "asymmetric", "jaccard", "dice", "tversky")


def all_pairs(model: ItemKNN, shape: tuple[int, int]) -> np.ndarray:
    users, items = np.indices(shape).reshape(2, -1)
    return model.predict(users, items).reshape(shape)


def reported(model: ItemKNN, n: int) -> np.ndarray:
    """Similarities as `similar_items` tells them."""
    found = model.similar_items(np.arange(n), k=n)
    table = np.zeros((n, n))
    table[found["item_id"], found["similar_item_id"]] = found["score"]
    return table


def item_rows(table: np.ndarray, similarity: str) -> list[Row]:
    """Items as they are compared: less the users' means for the adjusted cosine, or less the baselines."""
    if similarity not in ("adjusted_cosine", "pearson_baseline"):
        return rows_of(table.T)
    by_mean = table - np.nanmean(table, axis=1, keepdims=True)
    centered = by_mean if similarity == "adjusted_cosine" else beyond_baselines(table)
    return [{u: value for u, value in enumerate(row) if not np.isnan(value)} for row in centered.T]


def rating_similarities(table: np.ndarray, similarity: str, **damping: Any) -> np.ndarray:
    name = "cosine" if similarity in ("adjusted_cosine", "pearson_baseline") else similarity
    return similarity_table(item_rows(table, similarity), corated(name, **damping))


@pytest.mark.parametrize("similarity", RATING_SIMILARITIES)
@pytest.mark.parametrize("damping", [{}, {"shrinkage": 10.0}, {"significance": 6.0}, {"min_support": 4}])
def test_similarities_are_those_of_loops_over_common_users(similarity: str, damping: dict[str, Any]) -> None:
    table = rating_table()
    model = ItemKNN(similarity=similarity, **damping).fit(as_data(table))
    wanted = np.maximum(rating_similarities(table, similarity, **damping), 0)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(reported(model, table.shape[1]), wanted, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("similarity", RATING_SIMILARITIES)
def test_predictions_are_those_of_loops_over_neighbors(similarity: str, form: str) -> None:
    table = rating_table()
    k, support = (20 if similarity == "jaccard" else 3), 3
    model = ItemKNN(similarity=similarity, prediction=form, n_neighbors=k, min_support=support).fit(as_data(table))
    similarities = rating_similarities(table, similarity, min_support=support)
    wanted = predictions(table, similarities, k, form, by_user=False)
    np.testing.assert_allclose(all_pairs(model, table.shape), wanted, atol=1e-5)
    found = model.recommend(k=table.shape[1], filter_seen=False)
    np.testing.assert_allclose(found["score"], wanted[found["user_id"], found["item_id"]], atol=1e-5)


def test_too_few_neighbors_leave_the_baseline() -> None:
    table = rating_table()
    model = ItemKNN(similarity="pearson", min_k=3, n_neighbors=4, min_support=3).fit(as_data(table))
    similarities = rating_similarities(table, "pearson", min_support=3)
    wanted = predictions(table, similarities, 4, "centered", by_user=False, min_k=3)
    loose = predictions(table, similarities, 4, "centered", by_user=False)
    assert (np.abs(wanted - loose) > 0.01).any()
    np.testing.assert_allclose(all_pairs(model, table.shape), wanted, atol=1e-5)


def test_opposite_items_never_take_a_rating_off_the_scale() -> None:
    # Item 1 is loved where item 0 is hated: a negative neighbor would turn the rating of 5 into one of -5.
    table = np.array([[5.0, 1.0], [1.0, 5.0], [4.0, 2.0], [np.nan, 5.0]])
    mu, b_u, b_i = baseline_parts(table)
    model = ItemKNN(similarity="adjusted_cosine", prediction="raw").fit(as_data(table))
    np.testing.assert_allclose(model.predict([3], [0]), mu + b_u[3] + b_i[0], atol=1e-6)


def seen_similarities(x: np.ndarray, similarity: str, shrinkage: float) -> np.ndarray:
    return similarity_table(rows_of(x.T), overlap(similarity, shrinkage, 0.3, 0.8))


@pytest.mark.parametrize("similarity", SEEN_SIMILARITIES)
@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
def test_implicit_scores_are_x_times_s_with_the_best_of_each_column(similarity: str, shrinkage: float) -> None:
    x, k = seen_table(), 4
    n_items = x.shape[1]
    model = ItemKNN(similarity=similarity, n_neighbors=k, shrinkage=shrinkage, alpha=0.3, beta=0.8).fit(as_seen(x))
    full = seen_similarities(x, similarity, shrinkage)
    # S[i, j] is the similarity of i in the history to the target j.
    kept = np.zeros_like(full)
    for j in range(n_items):
        for i in nearest({i: full[i, j] for i in range(n_items) if i != j}, k):
            kept[i, j] = full[i, j]
    np.testing.assert_allclose(all_pairs(model, x.shape), x @ kept, atol=1e-5)
    np.fill_diagonal(full, 0)
    np.testing.assert_allclose(reported(model, n_items), full, atol=1e-6)


def test_every_item_keeps_its_own_neighbors() -> None:
    # Item 0 is in everyone's history; the 30 others go in pairs. Kept by rows, item 0 would reach one of them alone.
    rows = [(u, i) for u in range(60) for i in (0, 1 + 2 * (u % 15), 2 + 2 * (u % 15))]
    rows += [(60, 0)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"])
    model = ItemKNN(n_neighbors=2).fit(frame)
    scores = model.predict(np.full(30, 60), np.arange(1, 31))
    np.testing.assert_allclose(scores, 4 / np.sqrt(4 * 61), atol=1e-6)


def test_an_item_is_no_neighbor_of_itself() -> None:
    model = ItemKNN(n_neighbors=1).fit(as_seen(seen_table()))
    assert (model.weights_.diagonal() == 0).all()
    assert (np.diff(model.weights_.tocsc().indptr) == 1).all()  # and takes no place among its neighbors
    found = model.similar_items(np.arange(13), k=13)
    assert (found["item_id"] != found["similar_item_id"]).all()


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_weighted_similarities_favor_users_with_short_histories(weighting: str) -> None:
    x = seen_table()
    model = ItemKNN(weighting=weighting, shrinkage=2.0).fit(as_seen(x))
    wanted = similarity_table(rows_of(tf_idf(x.T, bm25=weighting == "bm25")), overlap("cosine", 2.0))
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(reported(model, x.shape[1]), wanted, atol=1e-5)
    # Items 1 and 2 each share one user with item 0; the one shared with item 2 has nothing else.
    rows = [
        (0, 0),
        (0, 1),
        *((0, i) for i in range(3, 12)),
        (1, 0),
        (1, 2),
        (2, 1),
        (3, 2),
        *((2, i) for i in range(3, 12)),
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"])
    plain, weighed = (ItemKNN(weighting=w).fit(frame).similar_items([0], k=12) for w in ("none", weighting))
    scores = [found.set_index("similar_item_id")["score"] for found in (plain, weighed)]
    np.testing.assert_allclose(scores[0][1], scores[0][2], atol=1e-6)
    assert scores[1][2] > scores[1][1]


def test_permuting_items_permutes_similarities_and_scores() -> None:
    table = rating_table()
    order = np.random.default_rng(1).permutation(table.shape[1])
    one, other = (
        ItemKNN(similarity="pearson", n_neighbors=3, min_support=3).fit(as_data(t)) for t in (table, table[:, order])
    )
    n = table.shape[1]
    np.testing.assert_allclose(reported(other, n), reported(one, n)[np.ix_(order, order)], atol=1e-6)
    np.testing.assert_allclose(all_pairs(other, table.shape), all_pairs(one, table.shape)[:, order], atol=1e-5)


def test_seen_items_are_not_recommended() -> None:
    # The article recommends to user 3 an item that the user has rated.
    table = np.array([[5.0, 2, 4], [3, 4, 3], [1, 4, 1], [2, np.nan, np.nan], [5, 2, np.nan]]).T
    found = ItemKNN(similarity="cosine").fit(as_data(table)).recommend([2], k=5)
    assert set(found["item_id"]) == {3, 4}


def test_a_history_in_ratings_is_scored_as_the_users_own() -> None:
    table = rating_table()
    data = as_data(table)
    model = ItemKNN(similarity="pearson", n_neighbors=3, min_support=3, prediction="baseline").fit(data)
    history = data.to_frame().query("user_id == 4")
    mine, theirs = model.recommend([4], k=12), model.recommend(history=history, k=12)
    assert mine["item_id"].tolist() == theirs["item_id"].tolist()
    np.testing.assert_allclose(mine["score"], theirs["score"], atol=1e-6)


@pytest.mark.parametrize("change", [{"prediction": "zscore"}, {"prediction": "raw"}, {"similarity": "pearson_mean"}])
def test_a_change_of_hyperparameters_reaches_what_scoring_has_made(change: dict[str, Any]) -> None:
    table = rating_table()
    model = ItemKNN(similarity="cosine", n_neighbors=3).fit(as_data(table))
    before = all_pairs(model, table.shape)
    after = all_pairs(model.set_params(**change), table.shape)
    anew = ItemKNN(**({"similarity": "cosine", "n_neighbors": 3} | change)).fit(as_data(table))
    np.testing.assert_array_equal(after, all_pairs(anew, table.shape))
    assert np.abs(after - before).max() > 1e-3


def test_someone_unknown_is_given_the_items_level() -> None:
    table = rating_table()
    mu, _, b_i = baseline_parts(table)
    for similarity in ("cosine", "jaccard"):
        model = ItemKNN(similarity=similarity).fit(as_data(table))
        np.testing.assert_allclose(model.predict([999] * 12, range(12)), mu + b_i, atol=1e-6)
        np.testing.assert_allclose(model.predict([999], [999]), mu, atol=1e-6)


def test_more_neighbors_than_there_are_is_all_of_them() -> None:
    x, table = seen_table(), rating_table()
    one, all_of_them = (ItemKNN(n_neighbors=k).fit(as_seen(x)) for k in (10**9, 20))
    np.testing.assert_array_equal(all_pairs(one, x.shape), all_pairs(all_of_them, x.shape))
    one, all_of_them = (ItemKNN(n_neighbors=k).fit(as_data(table)) for k in (10**9, 16))
    np.testing.assert_array_equal(all_pairs(one, table.shape), all_pairs(all_of_them, table.shape))
