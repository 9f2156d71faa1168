"""The worked examples of GRU4Rec: the cell and the losses of a mini-batch."""

from typing import Any

import pytest
import torch
from tests.models.worked import Golden, near

from recsys.nn.recurrent import GRULayer
from recsys.nn.sampled_losses import bpr, bpr_max, cross_entropy, softmax_of_negatives, top1, top1_max


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def cell(g: dict[str, Any], **how: Any) -> GRULayer:
    i = g["inputs"]
    layer = GRULayer(2, 2, **how)
    with torch.no_grad():
        if not layer.reads_gates:
            layer.weight_ih_l0.copy_(tensor(i["W_ih"]))
        layer.weight_hh_l0.copy_(tensor(i["W_hh"]))
        layer.bias_ih_l0.copy_(tensor(i["b_ih"]))
        layer.bias_hh_l0.copy_(tensor(i["b_hh"]))
    return layer


def test_20_gru_cell(golden: Golden) -> None:
    g = golden("20_gru_cell")
    x, h = torch.tensor([g["inputs"]["x"]]), torch.tensor([g["inputs"]["h"]])
    layer = cell(g)
    with torch.no_grad():
        near(layer.step(x, h), [g["expected"]["h_new"]])
        # A sequence of one item is a step.
        near(layer(x[:, None], h[None])[0][:, 0], [g["expected"]["h_new"]])
        gates = x @ torch.tensor(g["inputs"]["W_ih"]).T
        near(cell(g, reads_gates=True).step(gates, h), [g["expected"]["h_new"]])


def test_20_gates(golden: Golden) -> None:
    g = golden("20_gru_cell")
    i, wanted = g["inputs"], g["expected"]
    of_input = tensor(i["W_ih"]) @ tensor(i["x"]) + tensor(i["b_ih"])
    of_state = tensor(i["W_hh"]) @ tensor(i["h"]) + tensor(i["b_hh"])
    # The order of the rows and the place of the reset gate: what the layer's weights mean.
    r, z = torch.sigmoid(of_input[:4] + of_state[:4]).chunk(2)
    n = torch.tanh(of_input[4:] + r * of_state[4:])
    near(r, wanted["r"])
    near(z, wanted["z"])
    near(n, wanted["n"])
    near((1 - z) * n + z * tensor(i["h"]), wanted["h_new"])


@pytest.fixture
def losses(golden: Golden) -> dict[str, Any]:
    return golden("21_gru4rec_losses")


def test_21_losses_of_a_mini_batch(losses: dict[str, Any]) -> None:
    i, wanted = losses["inputs"], losses["expected"]
    scores = tensor(i["O"])
    elu, regularization = i["elu_param"], i["bpreg"]
    found = {
        "cross_entropy": cross_entropy(scores),
        "bpr_max_linear_reg0": bpr_max(scores),
        "bpr_max_linear_reg1": bpr_max(scores, regularization=regularization),
        "bpr_max_elu05_reg1": bpr_max(scores, elu, regularization),
        "top1_code": top1(scores),
        "top1_max_code": top1_max(scores),
        "bpr_code_sum": bpr(scores),
    }
    assert losses["expected"]["batch_loss_is"] == "sum over rows / batch_size"
    for name, value in found.items():
        near(value, sum(wanted[name]) / len(wanted[name]))
    near(softmax_of_negatives(scores), wanted["softmax_neg"])


def test_21_cross_entropy_corrected_by_popularity(losses: dict[str, Any]) -> None:
    i, wanted = losses["inputs"], losses["expected"]
    popularity = tensor(i["popularity_of_columns"])
    # In-batch items are there as often as they are popular, drawn ones as the power says.
    powers = tensor([1.0, 1.0, i["sample_alpha"], i["sample_alpha"]])
    log_q = i["logq"] * powers * popularity.log()
    near(cross_entropy(tensor(i["O"]), log_q), sum(wanted["cross_entropy_logq"]) / 2)


def test_21_the_papers_equations_leave_the_target_out(losses: dict[str, Any]) -> None:
    wanted = losses["expected"]
    for row, values in enumerate(losses["inputs"]["O"]):
        # A row of its own, its target first.
        one = tensor([[values[row], *(x for j, x in enumerate(values) if j != row)]])
        n_negatives, paper = one.shape[1] - 1, wanted[f"paper_equations_row{row}"]
        near((top1(one) * one.shape[1] - 0.5) / n_negatives, paper["TOP1"])
        near((bpr(one) - torch.log(tensor(2.0))) / n_negatives, paper["BPR"])
