from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.neighbors.oracle import (
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

from recsys import Dataset, UserKNN
from recsys.errors import DataError

FORMS = ("raw", "centered", "zscore", "baseline")
RATING_SIMILARITIES = ("cosine", "pearson", "pearson_mean", "pearson_baseline", "msd", "euclidean", "jaccard")
SEEN_SIMILARITIES = ("cosine", "asymmetric", "jaccard", "dice", "tversky")


def all_pairs(model: UserKNN, shape: tuple[int, int]) -> np.ndarray:
    users, items = np.indices(shape).reshape(2, -1)
    return model.predict(users, items).reshape(shape)


def reported(model: UserKNN, n: int) -> np.ndarray:
    """Similarities as `similar_users` tells them."""
    found = model.similar_users(np.arange(n), k=n)
    table = np.zeros((n, n))
    table[found["user_id"], found["similar_user_id"]] = found["score"]
    return table


def rating_similarities(table: np.ndarray, similarity: str, **damping: Any) -> np.ndarray:
    if similarity == "pearson_baseline":
        return similarity_table(rows_of(beyond_baselines(table)), corated("cosine", **damping))
    return similarity_table(rows_of(table), corated(similarity, **damping))


@pytest.mark.parametrize("similarity", RATING_SIMILARITIES)
@pytest.mark.parametrize("damping", [{}, {"shrinkage": 10.0}, {"significance": 6.0}, {"min_support": 4}])
def test_similarities_are_those_of_loops_over_common_items(similarity: str, damping: dict[str, Any]) -> None:
    table = rating_table()
    model = UserKNN(similarity=similarity, **damping).fit(as_data(table))
    wanted = np.maximum(rating_similarities(table, similarity, **damping), 0)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(reported(model, len(table)), wanted, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("similarity", RATING_SIMILARITIES)
def test_predictions_are_those_of_loops_over_neighbors(similarity: str, form: str) -> None:
    table = rating_table()
    # Jaccard's ties are broken by code, and Pearson of two entries is 1: neighbors are made to be told apart.
    k, support = (20 if similarity == "jaccard" else 3), 3
    model = UserKNN(similarity=similarity, prediction=form, n_neighbors=k, min_support=support).fit(as_data(table))
    similarities = rating_similarities(table, similarity, min_support=support)
    wanted = predictions(table, similarities, k, form, by_user=True)
    np.testing.assert_allclose(all_pairs(model, table.shape), wanted, atol=1e-5)
    found = model.recommend(k=table.shape[1], filter_seen=False)
    np.testing.assert_allclose(found["score"], wanted[found["user_id"], found["item_id"]], atol=1e-5)


def test_too_few_neighbors_leave_the_baseline() -> None:
    table = rating_table()
    model = UserKNN(similarity="pearson", min_k=3, n_neighbors=4, min_support=3).fit(as_data(table))
    similarities = similarity_table(rows_of(table), corated("pearson", min_support=3))
    wanted = predictions(table, similarities, 4, "centered", by_user=True, min_k=3)
    loose = predictions(table, similarities, 4, "centered", by_user=True)
    assert (np.abs(wanted - loose) > 0.01).any()  # the rule matters here
    np.testing.assert_allclose(all_pairs(model, table.shape), wanted, atol=1e-5)


def test_an_opposite_user_never_counts() -> None:
    # Users 0 and 1 have opposite tastes; only user 1 rated item 4.
    table = np.array([[5.0, 4.0, 2.0, 1.0, np.nan], [1.0, 2.0, 4.0, 5.0, 5.0]])
    mu, b_u, b_i = baseline_parts(table)
    for form in FORMS:
        model = UserKNN(similarity="pearson", prediction=form).fit(as_data(table))
        np.testing.assert_allclose(model.predict([0], [4]), mu + b_u[0] + b_i[4], atol=1e-6)


def test_users_without_variance_have_no_correlation_at_any_scale() -> None:
    for scale in (1e-6, 1e-3, 1.0, 314159.2, 7.7e7):
        flat, steep = np.full(61, 0.7317 * scale), scale * np.linspace(1, 5, 61)
        table = np.array([flat, steep, steep[::-1], 1.1 * flat, steep]).astype(np.float32).astype(float)
        for similarity in ("pearson", "pearson_mean"):
            found = reported(UserKNN(similarity=similarity).fit(as_data(table)), 5)
            assert np.argwhere(found != 0).tolist() == [[1, 4], [4, 1]]
            np.testing.assert_allclose(found[1, 4], 1, atol=1e-6)


def test_adding_a_constant_to_a_users_ratings_shifts_the_predictions() -> None:
    table = rating_table()
    table[np.nonzero(~np.isnan(table))] = np.round(table[~np.isnan(table)] * 4) / 4
    ends = np.array([[0.0, 10.0] + [np.nan] * 10])  # holds the scale, so that nothing is clipped
    moved = table.copy()
    moved[2] += 2
    one, other = (
        all_pairs(UserKNN(similarity="pearson", n_neighbors=50, min_support=3).fit(as_data(t)), (17, 12))
        for t in (np.vstack([table, ends]), np.vstack([moved, ends]))
    )
    # A pair without neighbors falls back on a baseline, which shifts by less.
    peer = similarity_table(rows_of(table), corated("pearson", min_support=3))
    reached = [
        any(peer[2, v] > 0 and v != 2 and not np.isnan(table[v, i]) for v in range(len(table))) for i in range(12)
    ]
    assert sum(reached) > 8
    np.testing.assert_allclose(other[2][reached], one[2][reached] + 2, atol=1e-4)


def test_repeated_ratings_count_as_their_mean() -> None:
    frame = pd.DataFrame({"user_id": [0, 0, 0, 1, 1], "item_id": [0, 0, 1, 0, 1], "rating": [2.0, 4.0, 5.0, 3.0, 1.0]})
    once = pd.DataFrame({"user_id": [0, 0, 1, 1], "item_id": [0, 1, 0, 1], "rating": [3.0, 5.0, 3.0, 1.0]})
    users, items = np.indices((2, 2)).reshape(2, -1)
    for form in FORMS:
        one, other = (UserKNN(prediction=form).fit(rows).predict(users, items) for rows in (frame, once))
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("similarity", SEEN_SIMILARITIES)
@pytest.mark.parametrize("shrinkage", [0.0, 3.0])
def test_implicit_scores_are_sums_over_the_nearest_users(similarity: str, shrinkage: float) -> None:
    x = seen_table()
    model = UserKNN(similarity=similarity, n_neighbors=4, shrinkage=shrinkage, alpha=0.3, beta=0.8).fit(as_seen(x))
    measure = overlap(similarity, shrinkage, 0.3, 0.8)
    rows = rows_of(x)
    wanted = np.zeros(x.shape)
    for u, row in enumerate(rows):
        near = {v: measure(row, rows[v]) for v in range(len(rows)) if v != u}
        for v in nearest(near, 4):
            wanted[u] += near[v] * x[v]
    np.testing.assert_allclose(all_pairs(model, x.shape), wanted, atol=1e-5)


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_weighted_similarities_favor_rare_items(weighting: str) -> None:
    x = seen_table()
    model = UserKNN(weighting=weighting, shrinkage=2.0).fit(as_seen(x))
    wanted = similarity_table(rows_of(tf_idf(x, bm25=weighting == "bm25")), overlap("cosine", 2.0))
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(reported(model, len(x)), wanted, atol=1e-5)
    # Two that share a rare item are nearer than two that share a common one.
    frame = pd.DataFrame({"user_id": [0, 0, 1, 1, 2, 2, 3, 4], "item_id": [0, 1, 0, 2, 1, 3, 0, 0]})
    found = reported(UserKNN(weighting=weighting).fit(frame), 5)
    assert found[0, 2] > found[0, 1]


def test_a_list_does_not_depend_on_who_else_is_asked() -> None:
    x = seen_table()
    model = UserKNN(weighting="bm25", shrinkage=5.0, similarity="asymmetric").fit(as_seen(x))
    alone, together = model.recommend([4], k=5), model.recommend(k=5)
    pd.testing.assert_frame_equal(alone, together[together["user_id"] == 4].reset_index(drop=True))


def test_the_neighbors_are_chosen_after_the_user_is_left_out() -> None:
    frame = pd.DataFrame({"user_id": [0, 0, 1, 1, 1, 2], "item_id": [0, 1, 0, 1, 2, 3]})
    found = UserKNN(n_neighbors=1).fit(frame).recommend([0], k=1)
    assert found["item_id"].tolist() == [2]
    np.testing.assert_allclose(found["score"], [2 / np.sqrt(6)], atol=1e-6)


def test_someone_new_is_served_like_a_user_with_that_history() -> None:
    table = rating_table()
    model = UserKNN(similarity="pearson", n_neighbors=3, min_support=3).fit(as_data(table))
    rng = np.random.default_rng(5)
    mine = np.where(rng.random(12) < 0.5, rng.uniform(1, 5, 12).astype(np.float32), np.nan)
    codes = np.flatnonzero(~np.isnan(mine))
    found = model.recommend(history=pd.DataFrame({"item_id": codes, "rating": mine[codes]}), k=12, filter_seen=False)
    # The newcomer is a 17th user whose ratings move no mean: biases and scale stay those of the training data.
    rows, similarity = rows_of(np.vstack([table, mine])), corated("pearson", min_support=3)
    mu, _, b_i = baseline_parts(table)
    b_new = sum(mine[i] - mu - b_i[i] for i in codes) / (10 + len(codes))
    for item, score in zip(found["item_id"], found["score"], strict=True):
        near = {v: similarity(rows[16], rows[v]) for v in range(16) if item in rows[v]}
        chosen = nearest(near, 3)
        wanted = mu + b_new + b_i[item]
        if chosen:
            parts = [near[v] * (rows[v][item] - np.mean(list(rows[v].values()))) for v in chosen]
            wanted = np.mean(mine[codes]) + sum(parts) / sum(near[v] for v in chosen)
        np.testing.assert_allclose(score, np.clip(wanted, np.nanmin(table), np.nanmax(table)), atol=1e-5)


@pytest.mark.parametrize("similarity", ["dice", "asymmetric", "tversky"])
def test_similarities_of_sets_are_refused_for_ratings(similarity: str) -> None:
    with pytest.raises(DataError, match=f"similarity='{similarity}' is for implicit data"):
        UserKNN(similarity=similarity).fit(as_data(rating_table()))


@pytest.mark.parametrize("similarity", ["pearson", "pearson_mean", "adjusted_cosine", "msd"])
def test_similarities_of_ratings_are_refused_for_sets(similarity: str) -> None:
    with pytest.raises(DataError, match=f"similarity='{similarity}' is for ratings"):
        UserKNN(similarity=similarity).fit(as_seen(seen_table()))


def test_explicit_feedback_needs_ratings() -> None:
    with pytest.raises(DataError, match="feedback='explicit' needs a rating column"):
        UserKNN(feedback="explicit").fit(as_seen(seen_table()))
    model = UserKNN().fit(as_data(rating_table()))
    with pytest.raises(DataError, match="give the history a 'rating' column"):
        model.recommend(history=[0, 1])


def test_feedback_can_overlook_ratings() -> None:
    table = rating_table()
    seen = Dataset(as_data(table).to_frame()[["user_id", "item_id"]])
    one, other = UserKNN(feedback="implicit").fit(as_data(table)), UserKNN().fit(seen)
    np.testing.assert_array_equal(all_pairs(one, table.shape), all_pairs(other, table.shape))


@pytest.mark.parametrize("change", [{"prediction": "zscore"}, {"prediction": "raw"}, {"similarity": "pearson_mean"}])
def test_a_change_of_hyperparameters_reaches_what_scoring_has_made(change: dict[str, Any]) -> None:
    table = rating_table()
    model = UserKNN(similarity="cosine", n_neighbors=3).fit(as_data(table))
    before = all_pairs(model, table.shape)
    after = all_pairs(model.set_params(**change), table.shape)
    anew = UserKNN(**({"similarity": "cosine", "n_neighbors": 3} | change)).fit(as_data(table))
    np.testing.assert_array_equal(after, all_pairs(anew, table.shape))
    assert np.abs(after - before).max() > 1e-3


def test_someone_unknown_is_given_the_items_level() -> None:
    table = rating_table()
    mu, _, b_i = baseline_parts(table)
    for similarity in ("cosine", "jaccard"):
        model = UserKNN(similarity=similarity).fit(as_data(table))
        np.testing.assert_allclose(model.predict([999] * 12, range(12)), mu + b_i, atol=1e-6)
        np.testing.assert_allclose(model.predict([999], [999]), mu, atol=1e-6)


def test_more_neighbors_than_there_are_is_all_of_them() -> None:
    x, table = seen_table(), rating_table()
    one, all_of_them = (UserKNN(n_neighbors=k).fit(as_seen(x)) for k in (10**9, 20))
    np.testing.assert_array_equal(all_pairs(one, x.shape), all_pairs(all_of_them, x.shape))
    one, all_of_them = (UserKNN(n_neighbors=k).fit(as_data(table)) for k in (10**9, 16))
    np.testing.assert_array_equal(all_pairs(one, table.shape), all_pairs(all_of_them, table.shape))
