"""The worked examples: every system's numbers by hand, reached through the public models where they have a way in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recsys import ALS, EASE, ContentKNN, Dataset, ItemKNN, Popular, UserKNN
from recsys.kernels.als import solve_rows
from recsys.kernels.sgd import bpr_epoch, svd_epoch
from recsys.metrics import Rankings, classification, ranking, rating
from recsys.models.autoencoders.multvae import MultVAENet, kl_loss, multinomial_loss
from recsys.models.fields.deepfm import DeepFMNet
from recsys.models.neighbors.knn import baselines, row_means
from recsys.models.sequence.sasrec import SASRecNet
from recsys.nn.graph import normalized_adjacency, propagate
from recsys.nn.losses import bce_loss, bpr_loss, gbce_loss, softmax_loss

Golden = Callable[[str], dict[str, Any]]


def near(value: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(value, float), np.asarray(wanted, float), atol=tolerance, rtol=0)


def table(ratings: np.ndarray) -> Dataset:
    """Users x items with NaN where unknown, as a data set with ids u0.. and codes as item ids."""
    users, items = np.nonzero(~np.isnan(ratings))
    return Dataset(pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings[users, items]}))


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_01_the_articles_nearest_item(golden: Golden) -> None:
    g = golden("01_seed_euclidean")
    items = pd.DataFrame({"item_id": ["x1", "x2", "x3"], "vector": g["inputs"]["items"]})
    data = Dataset(pd.DataFrame({"user_id": [1], "item_id": ["x1"]}), item_features=items)
    for metric, column in (("euclidean", "distance"), ("dot", "similarity"), ("cosine", "similarity")):
        found = ContentKNN(metric=metric).fit(data).nearest(g["inputs"]["q"], k=3)
        ranking_ = g["expected"][f"ranking_{metric}"]
        assert list(found["item_id"]) == [f"x{i + 1}" for i in ranking_]
        near(found[column], [g["expected"][metric][i] for i in ranking_])


def similarity_matrix(model: Any, n: int, users: bool) -> np.ndarray:
    """All similarities that the model reports, the diagonal left out."""
    codes = np.arange(n)
    found = model._user_similarity(codes) if users else model._item_similarity(codes)
    return np.where(np.eye(n, dtype=bool), 0, found)


def positive(matrix: Any) -> np.ndarray:
    """A worked matrix as the models hold it: without a diagonal, undefined as 0, negative similarities left out."""
    values = np.nan_to_num(np.array(matrix, float))
    return np.maximum(np.where(np.eye(len(values), dtype=bool), 0, values), 0)


def test_02_similarities_of_the_articles_table(golden: Golden) -> None:
    g = golden("02_seed_cf_table")
    data = table(np.array(g["inputs"]["items_by_users_reading_A"], float).T)
    wanted = g["expected"]["reading_A"]
    user_cases = {
        "pearson": "user_pearson_corated_mean",
        "pearson_mean": "user_pearson_user_mean",
        "cosine": "user_cosine_corated",
    }
    for similarity, name in user_cases.items():
        model = UserKNN(similarity=similarity).fit(data)
        near(similarity_matrix(model, 3, users=True), positive(wanted[name]))
    item_cases = {
        "cosine": "item_cosine_corated",
        "pearson": "item_pearson_corated_mean",
        "adjusted_cosine": "item_adjusted_cosine",
    }
    for similarity, name in item_cases.items():
        model = ItemKNN(similarity=similarity).fit(data)
        near(similarity_matrix(model, 5, users=False), positive(wanted[name]))


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
    }
    for name, model in cases.items():
        near(model.fit(data).predict([2], [4]), [wanted[name]], 1e-5)


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


def test_07_one_step_of_biased_factorization(golden: Golden) -> None:
    g = golden("07_mf_svd")
    i, step = g["inputs"], g["expected"]["biased_step"]
    user_bias, item_bias = np.array(i["b_u"]), np.array(i["b_i"])
    p, q = np.array(i["P"]), np.array(i["Q"])
    u, v = np.array([i["user"]]), np.array([i["item"]])
    error = svd_epoch(
        np.array([0]), u, v, np.array([i["rating"]]), i["mu"], user_bias, item_bias, p, q, i["lr"], i["reg"]
    )
    near(error, g["expected"]["biased_error"] ** 2)
    near([user_bias[0], item_bias[1]], [step["b_u"], step["b_i"]])
    near(p[0], step["p_u"])
    near(q[1], step["q_i"])


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
        found = model._solve(row, v)
        near(found[0], wanted[name]["u"])
    u = np.array([wanted["nu1"]["u"]])
    fit = ALS(objective="unobserved", unobserved_weight=i["alpha0"], regularization=i["lam"])
    by_items = fit._penalty(row.T.tocsr()) @ v**2
    near(fit._objective(row, u, v) - by_items.sum(), wanted["nu1"]["loss"])
    near(v @ u[0], wanted["nu1"]["scores"])
    ratings = i["wmf_ratings"]
    weighted = sp.csr_matrix(([ratings["0"], ratings["2"]], ([0, 0], [0, 2])), shape=(1, 4))
    # The worked example writes confidence as 1 + alpha r.
    confidence = 1 + i["wmf_alpha"] * weighted.data
    near(
        solve_rows(weighted, confidence - 1, confidence, v.T @ v, np.array([i["wmf_lambda"]]), v)[0], wanted["wmf"]["u"]
    )


def test_09_one_step_of_bpr(golden: Golden) -> None:
    g = golden("09_bpr_warp")
    i, step = g["inputs"], g["expected"]["step"]
    p, q, bias = np.array([i["p_u"]]), np.array([i["q_i"], i["q_j"]]), np.zeros(2)
    none = [np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0)]
    loss, steps = bpr_epoch(
        np.array([0]), np.array([[0, 1]]), np.array([0]), np.array([0, 1]), np.array([0]), p, q, bias,
        i["lr"], i["reg"], i["reg"], False, *none,
    )  # fmt: skip
    assert steps == 1  # the first drawn negative was a positive and is passed over
    near(loss, g["expected"]["loss"])
    near(p[0], step["p_u"])
    near(q, [step["q_i"], step["q_j"]])


def test_13_deepfm(golden: Golden) -> None:
    g = golden("13_deepfm")
    i, wanted = g["inputs"], g["expected"]
    net = DeepFMNet((2, 3), (0, 1), 2, (3,), 0.0).double()
    with torch.no_grad():
        net.embedding.table.vectors.copy_(tensor([row for field in i["embeddings"] for row in field]))
        net.linear.table.vectors.copy_(tensor([[w] for field in i["linear"] for w in field]))
        net.bias.fill_(i["bias"])
        net.deep[0].weight.copy_(tensor(i["W1"]).T)
        net.deep[0].bias.copy_(tensor(i["b1"]))
        net.deep[2].weight.copy_(tensor([i["w_out"]]))
        net.deep[2].bias.fill_(i["b_out"])
        codes = torch.tensor([i["field_ids"]])
        logit = net(codes, torch.ones(1, 2))
    near(logit, [wanted["logit"]])
    near(torch.sigmoid(logit), [wanted["p"]])


def multvae(g: dict[str, Any]) -> MultVAENet:
    net = MultVAENet(4, 3, 2, 0.5).double().eval()
    i = g["inputs"]
    with torch.no_grad():
        net.first.table.vectors.copy_(tensor(i["enc_W1"]))
        net.first_bias.copy_(tensor(i["enc_b1"]))
        for layer, name in ((net.code, "enc_{}2"), (net.decoder[0], "dec_{}1"), (net.decoder[2], "dec_{}2")):
            layer.weight.copy_(tensor(i[name.format("W")]).T)
            layer.bias.copy_(tensor(i[name.format("b")]))
    return net


@pytest.mark.parametrize("mode", ["train", "test"])
def test_18_multvae(golden: Golden, mode: str) -> None:
    g = golden("18_multvae")
    x, wanted = np.array(g["inputs"]["x"]), g["expected"][mode]
    rows, columns = np.nonzero(x)
    items, lengths = torch.tensor(columns), torch.tensor(np.bincount(rows))
    net = multvae(g)
    with torch.no_grad():
        kept = (
            tensor(np.array(g["inputs"]["dropout_multiplier"])[rows, columns])
            if mode == "train"
            else torch.ones(len(items))
        )
        mean, log_variance = net.encode(items, lengths, kept)
        code = mean + (tensor(g["inputs"]["eps"]) * (0.5 * log_variance).exp() if mode == "train" else 0)
        logits = net.decoder(code)
        likelihood, kl = multinomial_loss(logits, items, lengths), kl_loss(mean, log_variance)
    near(mean, wanted["mu"])
    near(log_variance, wanted["logvar"])
    near(logits, wanted["logits"])
    near([likelihood, kl, likelihood + g["inputs"]["beta"] * kl], [wanted["nll"], wanted["kl"], wanted["loss"]])


def sasrec(g: dict[str, Any], n_heads: int, variant: Any) -> SASRecNet:
    net = SASRecNet(5, 3, 4, 1, n_heads, 0.0, variant).double().eval()
    i, block = g["inputs"], net.blocks[0]
    with torch.no_grad():
        net.table.weight.copy_(tensor(i["item_embedding"]))
        net.positions.copy_(tensor(i["position_embedding"]))
        layers = {"q": block.query, "k": block.key, "v": block.value, "1": block.inner, "2": block.outer}
        for name, layer in layers.items():
            layer.weight.copy_(tensor(i[f"W{name}"]).T)
            layer.bias.copy_(tensor(i[f"b{name}"]))
    return net


@pytest.mark.parametrize("name", ["official_1head", "preln_1head", "official_2heads"])
def test_23_states_of_real_positions(golden: Golden, name: str) -> None:
    g = golden("23_sasrec")
    net = sasrec(g, 2 if "2" in name else 1, name.split("_")[0])
    with torch.no_grad():
        states = net(torch.tensor([[1, 3, -1]]))  # items 2 and 4 of the example, padded on the right instead
    near(states[0, :2], g["expected"][name][1:])


def test_23_losses_and_causality(golden: Golden) -> None:
    g = golden("23_sasrec")
    wanted, net = g["expected"], sasrec(g, 1, "official")
    with torch.no_grad():
        states = net(torch.tensor([[1, 3]]))[0]
        scores = states @ net.items.T
        near(scores[1], wanted["scores_last_all_items_excluding_pad"])
        positive_, negative = scores[[0, 1], [3, 0]], scores[[0, 1], [2, 4]][:, None]
        near(bce_loss(positive_, negative), wanted["bce_loss"])
        near(softmax_loss(states[1:], net.items, torch.tensor([0])), wanted["ce_last_position_target_item1"])
        for key, last in (("a", 3), ("b", 4)):
            near(net(torch.tensor([[0, 1, last]]))[0], wanted["causality"][key])


def test_23_gbce(golden: Golden) -> None:
    g = golden("23_sasrec")
    net = sasrec(g, 1, "official")
    with torch.no_grad():
        scores = net(torch.tensor([[1, 3]]))[0, 1] @ net.items.T
        found = gbce_loss(scores[:1], scores[None, [2, 4]], g["inputs"]["gbce"]["n_items"], g["inputs"]["gbce"]["t"])
    near(found, g["expected"]["gbce_last_position"])


def test_33_lightgcn(golden: Golden) -> None:
    g = golden("33_lightgcn_ngcf")
    i, wanted = g["inputs"], g["expected"]
    adjacency = normalized_adjacency(sp.csr_matrix(np.array(i["R"])))
    near(adjacency.to_dense(), wanted["norm_adj"])
    final = propagate(adjacency, torch.tensor(i["E0"]), i["K"])
    near(final, wanted["final"])
    scores = final[:2] @ final[2:].T
    near(scores, wanted["scores"])
    u, a, b = i["triple"]
    near(bpr_loss(scores[u, a], scores[u, b]), wanted["bpr"])
    e0 = torch.tensor(i["E0"])
    near(e0[[u, 2 + a, 2 + b]].square().sum() / 2, wanted["reg_half_sq_norm"])


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
