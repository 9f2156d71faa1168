"""Worked examples of pairwise ranking losses and of what is learned by them."""

from typing import Any

import numpy as np
import pandas as pd
from tests.models.worked import Golden, near

from recsys import FPMC
from recsys.kernels.ranking_sgd import bpr_epoch, warp_epoch
from recsys.kernels.rows import new_table
from recsys.models.factorization.warp import rank_weights


def table(rows: list[list[float]]) -> np.ndarray:
    found = new_table(len(rows), len(rows[0]), 1)
    found[:, 0, : len(rows[0])] = rows
    return found


def one_step(kernel: Any, inputs: dict[str, Any], last: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """The user's vector, those of items i and j, and the loss, after the step of the triple."""
    p, q = table([inputs["p_u"]]), table([inputs["q_i"], inputs["q_j"]])
    plain = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    zero = np.zeros(1, np.int32)
    loss, steps = kernel(
        0, 1, np.uint64(0), zero[:0], zero, np.arange(2), zero, zero + 1, 2, p, *plain, q, *plain, -1,
        np.float32(inputs["lr"]), np.float32(inputs["reg"]), np.float32(inputs["reg"]), last,
    )  # fmt: skip
    assert steps == 1
    return p[0, 0, :2], q[:, 0, :2], loss


def test_09_one_step_of_bpr(golden: Golden) -> None:
    g = golden("09_bpr_warp")
    i, wanted = g["inputs"], g["expected"]
    p, q, loss = one_step(bpr_epoch, i, 1)
    near(loss, wanted["loss"])
    near(-np.log(np.expm1(loss)), wanted["x_uij"])
    near(p, wanted["step"]["p_u"])
    near(q, [wanted["step"]["q_i"], wanted["step"]["q_j"]])
    pull = (p - np.array(i["p_u"])) / i["lr"] + i["reg"] * np.array(i["p_u"])
    near(pull, wanted["sigma_minus_x"] * (np.array(i["q_i"]) - np.array(i["q_j"])), 1e-5)


def test_09_rank_and_weights_of_warp(golden: Golden) -> None:
    g = golden("09_bpr_warp")
    i, wanted = g["inputs"], g["expected"]
    trials = np.array(i["warp_trials"]) - 1
    log = rank_weights(i["warp_n_items"], 10, "log")[trials]
    near(np.round(np.exp(log)), wanted["warp_rank"])
    near(log, wanted["warp_weight_log"])
    near(rank_weights(i["warp_n_items"], 10, "harmonic")[trials], wanted["warp_weight_harmonic"])


def test_09_one_step_of_warp_is_that_of_bpr_with_its_own_weight(golden: Golden) -> None:
    g = golden("09_bpr_warp")
    i, margin = g["inputs"], g["inputs"]["warp_margin"]
    # The example's scores are 2 apart, which is no violation; here they are 0 apart.
    i = {**i, "q_i": i["q_j"]}
    weight = np.float32(g["expected"]["warp_weight_log"][2])
    p, q, loss = one_step(warp_epoch, i, np.array([weight]))
    near(loss, weight * margin)
    near(p, (1 - i["lr"] * i["reg"]) * np.array(i["p_u"]))
    shrunk = (1 - i["lr"] * i["reg"]) * np.array(i["q_j"])
    pull = i["lr"] * weight * np.array(i["p_u"])
    near(q, [shrunk + pull, shrunk - pull])


def test_43_scores_of_fpmc(golden: Golden) -> None:
    g = golden("43_hybrid_sequence_cf")
    i, wanted = g["inputs"]["fpmc"], g["expected"]["fpmc_scores"]
    # The last item, number 4, is none of those that are scored.
    frame = pd.DataFrame({"user_id": 0, "item_id": range(5)})
    model = FPMC(n_factors=2, epochs=1, verbose=0).fit(frame)
    model.user_factors_ = np.array([i["p_u"]], np.float32)
    tables = {
        "item": i["item_factors_user"] + [[0, 0]],
        "next": i["item_factors_last"] + [[0, 0]],
        "basket": [[0, 0]] * 4 + [i["last_item_vector"]],
    }
    for name, rows in tables.items():
        setattr(model, f"{name}_factors_", np.array(rows, np.float32))
    near(model.predict([0] * 4, range(4)), wanted)
    lists = model.recommend([0], k=4, items=range(4), filter_seen=False)
    near(lists["score"], sorted(wanted, reverse=True))
