"""The worked examples: every system's numbers by hand, reached through the public models where they have a way in."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.kernels.tables import as_table
from tests.models.worked import Golden, near

import recsys
from recsys import ALS, EASE, SVD, ContentKNN, Dataset, ItemKNN, Popular, UserKNN
from recsys.kernels.als import solve_rows
from recsys.kernels.rating_sgd import svd_epoch
from recsys.metrics import Rankings, classification, ranking, rating
from recsys.models.neighbors.knn import baselines, row_means


def table(ratings: np.ndarray) -> Dataset:
    """Users x items with NaN where unknown, as a data set with ids u0.. and codes as item ids."""
    users, items = np.nonzero(~np.isnan(ratings))
    return Dataset(pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings[users, items]}))


def test_01_the_articles_nearest_item(golden: Golden) -> None:
    g = golden("01_seed_euclidean")
    items = pd.DataFrame({"item_id": ["x1", "x2", "x3"], "vector": g["inputs"]["items"]})
    data = Dataset(pd.DataFrame({"user_id": [1], "item_id": ["x1"]}), item_features=items)
    for metric, column in (("euclidean", "distance"), ("dot", "similarity"), ("cosine", "similarity")):
        found = ContentKNN(metric=metric).fit(data).nearest(g["inputs"]["q"], k=3)
        ranking_ = g["expected"][f"ranking_{metric}"]
        assert list(found["item_id"]) == [f"x{i + 1}" for i in ranking_]
        near(found[column], [g["expected"][metric][i] for i in ranking_])
        if metric == "euclidean":
            # A distance is no similarity: the smallest comes first, and what falls with it is another number.
            near(found[column] ** 2, [g["expected"]["squared_distance"][i] for i in ranking_])
            near(1 / (1 + found[column]), [g["expected"]["similarity_1_over_1_plus_d"][i] for i in ranking_])
            assert found["item_id"][0] == f"x{g['expected']['recommended_by_euclidean'] + 1}"


def similarity_matrix(model: Any, n: int, users: bool) -> np.ndarray:
    """All similarities that the model reports, the diagonal left out."""
    codes = np.arange(n)
    found = model._user_similarity(codes) if users else model._item_similarity(codes)
    return np.where(np.eye(n, dtype=bool), 0, found)


def positive(matrix: Any) -> np.ndarray:
    """A worked matrix as the models hold it: without a diagonal, undefined as 0, negative similarities left out."""
    values = np.nan_to_num(np.array(matrix, float))
    return np.maximum(np.where(np.eye(len(values), dtype=bool), 0, values), 0)


@pytest.mark.parametrize("reading", ["reading_A", "reading_B"])
def test_02_similarities_of_the_articles_table(golden: Golden, reading: str) -> None:
    g = golden("02_seed_cf_table")
    ratings = np.array(g["inputs"][f"items_by_users_{reading}"], float).T
    data, wanted = table(ratings), g["expected"][reading]
    user_cases = {
        "pearson": "user_pearson_corated_mean",
        "pearson_mean": "user_pearson_user_mean",
        "cosine": "user_cosine_corated",
    }
    for similarity, name in user_cases.items():
        model = UserKNN(similarity=similarity).fit(data)
        if name in wanted:
            near(similarity_matrix(model, 3, users=True), positive(wanted[name]))
    item_cases = {
        "cosine": "item_cosine_corated",
        "pearson": "item_pearson_corated_mean",
        "adjusted_cosine": "item_adjusted_cosine",
    }
    for similarity, name in item_cases.items():
        model = ItemKNN(similarity=similarity).fit(data)
        if name in wanted:
            near(similarity_matrix(model, 5, users=False), positive(wanted[name]))
    rated = (~np.isnan(ratings)).astype(float)
    near(rated @ rated.T, wanted["user_co_counts"])
    # "msd" is 1 / (1 + squared distance / common entries).
    users = similarity_matrix(UserKNN(similarity="msd").fit(data), 3, users=True)
    items = similarity_matrix(ItemKNN(similarity="msd").fit(data), 5, users=False)
    for found, name, common in (
        (users, "user_euclid_corated", rated @ rated.T),
        (items, "item_euclid_corated", rated.T @ rated),
    ):
        if name in wanted:
            distances = np.array(wanted[name], float)
            near(found, positive(1 / (1 + distances**2 / np.maximum(common, 1))))
    matrix = data.to_csr("rating").astype(np.float64)
    near(row_means(matrix, 0.0), wanted["user_mean"])
    if "item_mean" in wanted:
        near(row_means(matrix.T.tocsr(), 0.0), wanted["item_mean"])
        near(SVD(epochs=1, verbose=0).fit(data).mean_, wanted["global_mean"])


def test_02_shrunk_similarities_of_user_3(golden: Golden) -> None:
    g = golden("02_seed_cf_table")
    data = table(np.array(g["inputs"]["items_by_users_reading_A"], float).T)
    wanted = g["expected"]["reading_A"]["predictions_user3_item5"]
    cases = {
        "user_pearson_shrunk_beta10": UserKNN(similarity="pearson", shrinkage=10.0),
        "user_pearson_significance_gamma50": UserKNN(similarity="pearson", significance=50.0),
    }
    for name, model in cases.items():
        near(similarity_matrix(model.fit(data), 3, users=True)[2, :2], np.maximum(wanted[name], 0))


def test_02_predictions_for_user_3_and_item_5(golden: Golden) -> None:
    g = golden("02_seed_cf_table")
    data = table(np.array(g["inputs"]["items_by_users_reading_A"], float).T)
    wanted = g["expected"]["reading_A"]["predictions_user3_item5"]
    cases = {
        "user_knn_k2_cosine_raw": UserKNN(n_neighbors=2, similarity="cosine", prediction="raw"),
        "user_knn_k1_cosine_raw": UserKNN(n_neighbors=1, similarity="cosine", prediction="raw"),
        "user_knn_positive_pearson_mean_centred": UserKNN(n_neighbors=2, similarity="pearson"),
        "user_knn_k1_pearson_mean_centred": UserKNN(n_neighbors=1, similarity="pearson"),
        "item_knn_k3_cosine_raw": ItemKNN(n_neighbors=3, similarity="cosine", prediction="raw"),
        "item_knn_k1_cosine_raw": ItemKNN(n_neighbors=1, similarity="cosine", prediction="raw"),
        "item_knn_k1_euclid": ItemKNN(n_neighbors=1, similarity="msd", prediction="raw"),
    }
    for name, model in cases.items():
        near(model.fit(data).predict([2], [4]), [wanted[name]], 1e-5)


def test_02_opposite_neighbors_count_where_they_are_asked_for(golden: Golden) -> None:
    g = golden("02_seed_cf_table")
    data = table(np.array(g["inputs"]["items_by_users_reading_A"], float).T)
    wanted = g["expected"]["reading_A"]["predictions_user3_item5"]
    opposite = {"negative_neighbors": True}
    users = {
        "user_knn_k2_pearson_mean_centred": UserKNN(n_neighbors=2, similarity="pearson", **opposite),
        "user_knn_k2_pearson_raw_abs_weights": UserKNN(
            n_neighbors=2, similarity="pearson", prediction="raw", **opposite
        ),
    }
    for name, model in users.items():
        near(model.fit(data).predict([2], [4]), [wanted[name]], 1e-5)
    model = ItemKNN(n_neighbors=3, similarity="adjusted_cosine", prediction="raw", **opposite).fit(data)
    near(model.score_codes(np.array([2]), np.array([4])), [wanted["item_knn_adjusted_cosine_k3_abs_weights"]], 1e-5)
    assert model.predict([2], [4])[0] == 1  # what is shown is clipped to the scale


def test_02_negative_neighbors_never_take_a_prediction_off_the_scale(golden: Golden) -> None:
    g = golden("02_seed_cf_table")
    data = table(np.array(g["inputs"]["items_by_users_reading_A"], float).T)
    wanted = g["expected"]["reading_A"]["predictions_user3_item5"]
    # What is left of the neighbors without the opposite ones is user 1, who gave 5, and item 1, which was given 4.
    users = UserKNN(n_neighbors=2, similarity="pearson", prediction="raw").fit(data).predict([2], [4])
    items = ItemKNN(n_neighbors=3, similarity="adjusted_cosine", prediction="raw").fit(data).predict([2], [4])
    near([users[0], items[0]], [wanted["user_knn_k1_cosine_raw"], wanted["item_knn_k1_cosine_raw"]], 1e-5)
    assert wanted["item_knn_adjusted_cosine_k3_abs_weights"] < 1  # the mistake
    assert wanted["user_knn_k2_pearson_raw_abs_weights"] < users[0] - 3
    assert wanted["user_knn_k2_pearson_mean_centred"] < wanted["user_knn_positive_pearson_mean_centred"]


@pytest.mark.parametrize("model", [UserKNN, ItemKNN])
def test_02_both_forms_answer_item_5_for_user_3(golden: Golden, model: Any) -> None:
    data = table(np.array(golden("02_seed_cf_table")["inputs"]["items_by_users_reading_A"], float).T)
    # Item 4 has one rating in all: any cosine over one common entry is 1, so two are asked for.
    found = model(similarity="cosine", prediction="raw", n_neighbors=1, min_support=2).fit(data).recommend([2], k=1)
    assert list(found["item_id"]) == [4]


def test_03_similarities_with_shrinkage_and_baselines(golden: Golden) -> None:
    g = golden("03_knn_details")
    ratings = np.array(g["inputs"]["ratings"], float)
    data, wanted = table(ratings), g["expected"]
    rating_cases = {"adjusted_cosine": 0.0, "adjusted_cosine_shrunk": 5.0}
    for name, shrinkage in rating_cases.items():
        model = ItemKNN(similarity="adjusted_cosine", shrinkage=shrinkage).fit(data)
        near(similarity_matrix(model, 5, users=False), positive(wanted[name]))
    implicit = {
        "binary_cosine": ItemKNN(feedback="implicit", similarity="cosine"),
        "jaccard": ItemKNN(feedback="implicit", similarity="jaccard"),
        "cosine_shrunk_denominator": ItemKNN(feedback="implicit", similarity="cosine", shrinkage=2.0),
        "asymmetric_cosine": ItemKNN(feedback="implicit", similarity="asymmetric", alpha=0.7),
    }
    for name, model in implicit.items():
        near(similarity_matrix(model.fit(data), 5, users=False), positive(wanted[name]))
    matrix = data.to_csr("rating").astype(np.float64)
    b_item, b_user = baselines(matrix, matrix.data.mean())
    near(b_item, wanted["b_item"])
    near(b_user, wanted["b_user"])
    near(row_means(matrix, 0.0), wanted["user_mean"])
    near(row_means(matrix.T.tocsr(), 0.0), wanted["item_mean"])
    near(matrix.data.mean(), wanted["global_mean"])
    rated = (~np.isnan(ratings)).astype(float)
    near(rated.T @ rated, wanted["co_counts"])


def test_03_a_prediction_from_baselines(golden: Golden) -> None:
    g = golden("03_knn_details")
    i, wanted = g["inputs"], g["expected"]
    ratings = np.array(i["ratings"], float)
    (user, item), mu = i["predict"], wanted["global_mean"]
    base = mu + np.add.outer(wanted["b_user"], wanted["b_item"])
    weights = np.array(wanted["adjusted_cosine_shrunk"])[item]
    model = ItemKNN(similarity="adjusted_cosine", shrinkage=float(i["shrinkage"]), prediction="baseline")
    found = model.clone(negative_neighbors=True).fit(table(ratings)).predict([user], [item])
    near(found, [wanted["prediction_knn_baseline"]], 1e-5)
    # By default the one item alike counts: the prediction is its user's deviation from the baseline, whatever the weight.
    (alike,) = (j for j in range(5) if weights[j] > 0 and not np.isnan(ratings[user, j]))
    near(
        model.fit(table(ratings)).predict([user], [item]),
        [base[user, item] + ratings[user, alike] - base[user, alike]],
        1e-5,
    )


def test_04_counts_and_lists(golden: Golden) -> None:
    g = golden("04_popularity")
    frame = pd.DataFrame(g["inputs"]["interactions"], columns=["user_id", "item_id"])
    data = Dataset(frame, item_features=pd.DataFrame({"item_id": range(5), "kind": ["a"] * 5}))
    model = Popular().fit(data)
    near(model.item_scores_, g["expected"]["counts"])
    assert list(model.recommend([0], k=3)["item_id"]) == g["expected"]["recommend_user0_exclude_seen"]
    assert list(model.recommend([99], k=3, on_unknown="popular")["item_id"]) == g["expected"]["recommend_unknown_user"]
    assert list(model.recommend([0], k=5, filter_seen=False)["item_id"]) == g["expected"]["ranking"]


def test_06_ease(golden: Golden) -> None:
    g = golden("06_ease")
    x = np.array(g["inputs"]["X"])
    users, items = np.nonzero(x)
    model = EASE(regularization=g["inputs"]["lam"]).fit(pd.DataFrame({"user_id": users, "item_id": items}))
    near(model.weights_, g["expected"]["B"])
    found = model.predict(np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)).reshape(6, 4)
    near(found, g["expected"]["scores"])
    near(x.T @ x, g["expected"]["G"])


def test_07_a_prediction_of_biased_factorization(golden: Golden) -> None:
    g = golden("07_mf_svd")
    i = g["inputs"]
    users, items = np.indices((2, 3)).reshape(2, -1)
    model = SVD(n_factors=2, epochs=1, verbose=0)
    model.fit(pd.DataFrame({"user_id": users, "item_id": items, "rating": [1.0, 5.0, 3.0, 3.0, 3.0, 3.0]}))
    model.mean_, model.user_biases_, model.item_biases_ = i["mu"], np.array(i["b_u"]), np.array(i["b_i"])
    model.user_factors_, model.item_factors_ = np.array(i["P"]), np.array(i["Q"])
    near(model.predict([i["user"]], [i["item"]]), [g["expected"]["biased_prediction"]])
    near(i["rating"] - model.predict([i["user"]], [i["item"]]), [g["expected"]["biased_error"]])


def test_07_one_step_of_biased_factorization(golden: Golden) -> None:
    g = golden("07_mf_svd")
    i, step = g["inputs"], g["expected"]["biased_step"]
    user_bias, item_bias = np.array(i["b_u"]), np.array(i["b_i"])
    p, q = as_table(i["P"]), as_table(i["Q"])
    ratings = np.array([0, 1]), np.array([i["item"]], np.int32), np.array([i["rating"]])
    error = svd_epoch(
        np.array([i["user"]]), np.uint64(0), *ratings, i["mu"], user_bias, item_bias, p, q, i["lr"], i["reg"]
    )
    near(error, g["expected"]["biased_error"] ** 2)
    near([user_bias[0], item_bias[1]], [step["b_u"], step["b_i"]])
    near(p[0, 0, :2], step["p_u"])
    near(q[1, 0, :2], step["q_i"])


def test_08_half_steps_of_both_objectives(golden: Golden) -> None:
    g = golden("08_ials")
    i, wanted = g["inputs"], g["expected"]
    v = np.array(i["V"])
    row = sp.csr_matrix((np.ones(2), ([0, 0], i["user_items"])), shape=(1, 4))
    near(v.T @ v, wanted["gramian"])
    for nu, name in ((1.0, "nu1"), (0.0, "nu0")):
        model = ALS(
            objective="unobserved", unobserved_weight=i["alpha0"], regularization=i["lam"], frequency_scaling=nu
        )
        half = model._half(row)
        found = half.exact(v)
        near(found[0], wanted[name]["u"])
        near(half.penalty, [wanted[name]["reg"]])
        if "A" in wanted[name]:
            near(np.array(wanted[name]["A"]) @ found[0], wanted[name]["b"])
            # All coordinates in one block are the exact solve, to which blocks of one lead here.
            near(found[0], wanted["ialspp_after_each_block"][-1])
            start = np.array([i["ialspp_start"]], np.float32)
            near(half.by_blocks(v, start, 1)[0], wanted["ialspp_after_each_block"][-1])
            near(half.by_blocks(v, start, 2)[0], wanted[name]["u"])
    u = np.array([wanted["nu1"]["u"]])
    fit = ALS(objective="unobserved", unobserved_weight=i["alpha0"], regularization=i["lam"])
    near(fit._half(row).value(u, v), wanted["nu1"]["loss"])
    near(v @ u[0], wanted["nu1"]["scores"])
    ratings = i["wmf_ratings"]
    weighted = sp.csr_matrix(([ratings["0"], ratings["2"]], ([0, 0], [0, 2])), shape=(1, 4))
    # The worked example writes confidence as 1 + alpha r.
    confidence = 1 + i["wmf_alpha"] * weighted.data
    found = solve_rows(weighted, confidence - 1, confidence, v.T @ v, np.array([i["wmf_lambda"]]), v)[0]
    near(found, wanted["wmf"]["u"])
    near(np.array(wanted["wmf"]["A"]) @ found, wanted["wmf"]["b"])
    # The model takes the confidences themselves as weights.
    weighted.data = confidence
    model = ALS(objective="confidence", alpha=1.0, regularization=i["wmf_lambda"])
    near(model._half(weighted).exact(v)[0], wanted["wmf"]["u"])


def test_44_metrics(golden: Golden) -> None:
    g = golden("44_metrics")
    i, wanted = g["inputs"], g["expected"]
    k = i["K"]
    lists = Rankings.from_lists(
        [np.argsort(-np.array(i["scores"])).tolist()], [np.flatnonzero(i["relevance"]).tolist()]
    )
    found = {
        "precision3": ranking.precision(lists, k),
        "recall3_plain": ranking.recall(lists, k),
        "recall3_liang_min_denominator": ranking.recall(lists, k, cap=True),
        "hit3": ranking.hit(lists, k),
        "mrr": ranking.mrr(lists, 6),
        "ap3": ranking.average_precision(lists, k),
        "ndcg3": ranking.ndcg(lists, k),
    }
    for name, value in found.items():
        near(value, [wanted[name]])
    one = Rankings.from_lists([list("abcdefghij")], [["abcdefghij"[i["loo_rank"] - 1]]])
    near(
        [ranking.hit(one, 10)[0], ranking.ndcg(one, 10)[0], ranking.mrr(one, 10)[0]],
        [wanted[f"loo_{m}"] for m in ("hit10", "ndcg10", "mrr")],
    )
    near(classification.auc(i["ctr_labels"], i["ctr_probs"]), wanted["auc"])
    near(classification.logloss(i["ctr_labels"], i["ctr_probs"]), wanted["logloss"])
    near(rating.rmse(i["ratings_true"], i["ratings_pred"]), wanted["rmse"])
    near(rating.mae(i["ratings_true"], i["ratings_pred"]), wanted["mae"])


def test_44_a_constant_scorer_hits_no_more_than_chance() -> None:
    constant = Popular().fit(pd.DataFrame({"user_id": range(40), "item_id": range(40)}))
    target = pd.DataFrame({"user_id": range(40), "item_id": (np.arange(40) + 20) % 40})
    full = recsys.evaluate(constant, target, metrics=["hit@10"])["hit@10"]
    assert full <= 10 / 39
    sampled = recsys.evaluate(constant, target, metrics=["hit@10"], candidates=("sampled", 38))
    assert list(sampled.values()) == [0]  # ties count against the target
