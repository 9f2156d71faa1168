"""The worked example of SVD++ and PMF; that of biased factorization stands in test_golden.py."""

import numpy as np
import pandas as pd
from tests.kernels.tables import as_table
from tests.models.worked import Golden, near

from recsys import PMF, Dataset, SVDpp
from recsys.kernels.rating_sgd import svdpp_epoch


def test_07_svdpp_predicts_from_the_sum_over_rated_items(golden: Golden) -> None:
    g = golden("07_mf_svd")
    i, wanted = g["inputs"], g["expected"]
    users, items = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])  # user 0 has rated items 0 and 1
    data = Dataset(pd.DataFrame({"user_id": users, "item_id": items, "rating": [1.0, 6.0, 3.0, 3.0]}))
    model = SVDpp(n_factors=2, epochs=1, verbose=0).fit(data)
    model._start(data, np.random.default_rng(0))
    model._p, model._y = as_table(i["P"]), as_table(i["Y"])
    model._settle()
    near(model.user_factors_[i["user"]], wanted["svdpp_user_vector"])
    model.mean_, model.user_biases_, model.item_biases_ = i["mu"], np.array(i["b_u"]), np.array(i["b_i"])
    model.item_factors_ = np.array(i["Q"])
    found = model.predict([i["user"]], [i["item"]])
    near(found, [wanted["svdpp_prediction"]])
    near(i["rating"] - found, [wanted["svdpp_error"]])


def test_07_one_step_of_svdpp_moves_all_that_the_user_has_rated(golden: Golden) -> None:
    g = golden("07_mf_svd")
    i, step = g["inputs"], g["expected"]["svdpp_step"]
    user_bias, item_bias = np.array(i["b_u"]), np.array(i["b_i"])
    p, q, y = (as_table(i[name]) for name in ("P", "Q", "Y"))
    ratings = np.array([0, 1]), np.array([i["item"]], np.int32), np.array([i["rating"]])
    own = np.array([0, 2], np.int32), np.array(i["rated_items_of_user"], np.int32)
    biased = i["mu"], user_bias, item_bias, p, q
    squares = svdpp_epoch(np.array([i["user"]]), np.uint64(0), *ratings, *biased, i["lr"], i["reg"], *own, y)
    near(squares, g["expected"]["svdpp_error"] ** 2)
    near([user_bias[0], item_bias[1]], [step["b_u"], step["b_i"]])
    near(p[0, 0, :2], step["p_u"])
    near(q[1, 0, :2], step["q_i"])
    near(y[:, 0, :2], [step["y"]["0"], step["y"]["1"], i["Y"][2]])


def test_07_the_objective_of_pmf(golden: Golden) -> None:
    g = golden("07_mf_svd")
    i = g["inputs"]
    users, items, ratings = np.array(i["pmf_observations"]).T
    model = PMF(n_factors=2, regularization=i["pmf_lambda_u"], item_regularization=i["pmf_lambda_v"])
    model._p, model._q = p, q = np.array(i["P"]), np.array(i["Q"])
    products = np.sum(p[users.astype(int)] * q[items.astype(int)], axis=1)
    near(model._objective(((ratings - products) ** 2).sum()), g["expected"]["pmf_objective"])
