"""The worked examples of factorization machines."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from tests.models.worked import Golden, near

from recsys.kernels.fm import N_SUMS, add_products, spread_steps, step_features, sum_rows
from recsys.models.fields.fm import FMNet
from recsys.nn.interactions import anova, anova_degrees, pairwise_interaction


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def machine(i: dict[str, Any], order: int = 2) -> FMNet:
    """Four numbers, each a field of its own."""
    net = FMNet((1, 1, 1, 1), (0, 1, 2, 3), 2, order=order, sparse=False).double()
    with torch.no_grad():
        net.bias.fill_(i["w0"])
        net.linear.table.vectors.copy_(tensor(i["w"])[:, None])
        net.embedding.table.vectors[:, :2].copy_(tensor(i["V"]))
        if order == 3:
            net.embedding.table.vectors[:, 2:].copy_(tensor(i["V3"]))
    return net


CODES = torch.zeros(1, 4, dtype=torch.long)


def test_10_two_way(golden: Golden) -> None:
    g = golden("10_fm")
    i, wanted = g["inputs"], g["expected"]
    net, x = machine(i), tensor([i["x"]])
    score = net(CODES, x)
    near(score.detach(), [wanted["y"]])
    near(torch.autograd.grad(score.sum(), net.embedding.table.weight)[0][1:], wanted["grad_V_of_y"])
    with torch.no_grad():
        linear, vectors = net.embed(CODES, x)
        near(net.bias + linear, [wanted["linear"]])
        near(pairwise_interaction(vectors), [wanted["pairwise"]])


def test_10_three_way(golden: Golden) -> None:
    g = golden("10_fm")
    i, wanted = g["inputs"], g["expected"]
    x = tensor([i["x3"]])
    e = tensor([i["V3"]]) * x[..., None]
    near(anova_degrees(e, 3)[0, 3], wanted["anova3_per_factor"])
    near(anova(e, 3), [wanted["anova3"]])
    two, three = machine(i), machine(i, order=3)
    near((three(CODES, x) - two(CODES, x)).detach(), [wanted["anova3"]])


def test_10_a_user_and_an_item_alone_are_biased_matrix_factorization(golden: Golden) -> None:
    g = golden("10_fm")
    i, wanted = g["inputs"], g["expected"]
    score = machine(i)(CODES, tensor([i["one_hot"]])).detach()
    near(score, [wanted["fm_one_hot"]])
    user, item = np.flatnonzero(i["one_hot"])
    near(score, [i["w0"] + i["w"][user] + i["w"][item] + np.dot(i["V"][user], i["V"][item])])
    near(score, [wanted["biased_mf"]])


def test_11_one_exact_coordinate(golden: Golden) -> None:
    g = golden("11_fm_als")
    i, wanted = g["inputs"], g["expected"]
    x, v = np.array(i["X"]), np.array(i["V"])[:, 0]
    j = i["coordinate"][0]
    rows, q = np.arange(3, dtype=np.int32), np.zeros(3)
    table = sp.csc_matrix(x.astype(np.float32))
    add_products(table.indptr.astype(np.int64), table.indices, table.data, v, q)
    near(x[:, j] * (q - x[:, j] * v[j]), wanted["h"])
    error = np.array(i["y"]) - i["w0"] - x @ np.array(i["w"]) - 0.5 * (q**2 - x**2 @ v**2)
    near(error, wanted["residual_before"])
    one, total, old = table[:, [j]], q.copy(), q.copy()
    sums, shift, nothing = np.empty((3, N_SUMS)), np.zeros(3), np.zeros(1)
    sum_rows(rows, np.ones(3), total, error, q, sums)
    step_features(
        one.indptr.astype(np.int64), one.indices, one.data, np.zeros(1, np.int64), nothing, np.array([i["lam"]]), 1.0,
        nothing, 1.0, v[j : j + 1], q, shift, sums,
    )  # fmt: skip
    spread_steps(rows, old, q, shift, total, error)
    near(v[j], wanted["v_new"])
    near(error, wanted["residual_after"])
