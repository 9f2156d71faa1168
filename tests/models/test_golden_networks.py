"""The worked examples of the networks: every system's numbers by hand."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tests.models.worked import Golden, near

from recsys.models.fields.dcn import DCNNet
from recsys.models.fields.deepfm import DeepFMNet
from recsys.models.graph.lightgcn import LightGCNNet
from recsys.models.sequence.sasrec import SASRecNet
from recsys.nn.cross import MatrixCross, MixCross, VectorCross
from recsys.nn.graph import normalized_adjacency, propagate
from recsys.nn.interactions import pairwise_interaction
from recsys.nn.losses import bce_loss, bpr_loss, gbce_loss, softmax_loss


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_13_deepfm(golden: Golden) -> None:
    g = golden("13_deepfm")
    i, wanted = g["inputs"], g["expected"]
    net = DeepFMNet((2, 3), (0, 1), 2, (3,)).double()
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
        linear, vectors = net.embed(codes, torch.ones(1, 2))
        hidden = net.deep[:-1](vectors.flatten(1))
        near(linear, [wanted["fm_linear"]])
        near(pairwise_interaction(vectors), [wanted["fm_pairwise"]])
        near(hidden, [wanted["h"]])
        near(net.deep(vectors.flatten(1)), [[wanted["deep"]]])
    near(logit, [wanted["logit"]])
    near(torch.sigmoid(logit), [wanted["p"]])


def crossed(layers: Any, x: torch.Tensor, n_layers: int) -> Any:
    """Outputs of the first layer, of the first two, and so on."""
    return [layers(n).double()(x[None])[0] for n in range(1, n_layers + 1)]


def test_25_cross_layers_of_dcn(golden: Golden) -> None:
    g = golden("25_dcn")
    i, wanted = g["inputs"], g["expected"]
    x = tensor(i["x0"])

    def vector(n: int) -> VectorCross:
        net = VectorCross(3, n).double()
        net.weight.copy_(tensor(i["w"])[:n])
        net.bias.copy_(tensor(i["b"])[:n])
        return net

    def matrix(n: int) -> MatrixCross:
        net = MatrixCross(3, n).double()
        for layer, weight, bias in zip(net.layers, i["W"], i["b"], strict=False):
            layer.weight.copy_(tensor(weight))  # the worked example applies W from the left, as a linear layer does
            layer.bias.copy_(tensor(bias))
        return net

    def mix(n: int) -> MixCross:
        net = MixCross(3, n, 2, 2).double()
        for part, name in ((net.down, "V"), (net.core, "C"), (net.up, "U")):
            part.copy_(tensor(i[name])[None])
        net.bias.copy_(tensor(i["b"])[:n])
        net.gate[0].weight.copy_(tensor(i["gates"]))
        return net

    with torch.no_grad():
        near(crossed(vector, x, 2), wanted["v1_layers"])
        near(crossed(matrix, x, 2), wanted["v2_layers"])
        near(torch.softmax(mix(1).gate[0](x), 0), wanted["mix_gate"])
        near(crossed(mix, x, 1), [wanted["mix_layer1"]])


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_25_heads_of_dcn(golden: Golden, structure: str) -> None:
    g = golden("25_dcn")
    i, wanted = g["inputs"], g["expected"]
    cross = VectorCross(3, 2)
    net = DCNNet((1, 1, 1), (0, 1, 2), 1, cross, (2,), stacked=structure == "stacked").double()
    with torch.no_grad():
        cross.weight.copy_(tensor(i["w"]))
        cross.bias.copy_(tensor(i["b"]))
        net.deep[0].weight.copy_(tensor(i["deep_W"]).T)
        net.deep[0].bias.zero_()
        net.logit.weight.copy_(tensor([i[f"{structure}_logit_w"]]))
        net.logit.bias.zero_()
        vectors = tensor(i["x0"])[None, :, None]
        near(net.head((vectors,)), [wanted[f"{structure}_logit_v1"]])
        if structure == "parallel":
            near(net.deep(vectors.flatten(1)), [wanted["deep_hidden"]])


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
    assert wanted["causality"]["positions_0_1_equal"] == (wanted["causality"]["a"][:2] == wanted["causality"]["b"][:2])


def test_23_gbce(golden: Golden) -> None:
    g = golden("23_sasrec")
    net = sasrec(g, 1, "official")
    with torch.no_grad():
        scores = net(torch.tensor([[1, 3]]))[0, 1] @ net.items.T
        found = gbce_loss(scores[:1], scores[None, [2, 4]], g["inputs"]["gbce"]["n_items"], g["inputs"]["gbce"]["t"])
    near(found, g["expected"]["gbce_last_position"])
    # With negatives that cost nothing, what is left of K + 1 terms is beta ln 2.
    none = gbce_loss(tensor([0.0]), tensor([[-1e4, -1e4]]), g["inputs"]["gbce"]["n_items"], g["inputs"]["gbce"]["t"])
    near(3 * none / np.log(2), g["expected"]["gbce_beta"])
    near(g["inputs"]["gbce"]["k"] / (g["inputs"]["gbce"]["n_items"] - 1), g["expected"]["gbce_alpha"])


def test_33_lightgcn(golden: Golden) -> None:
    g = golden("33_lightgcn_ngcf")
    i, wanted = g["inputs"], g["expected"]
    adjacency = normalized_adjacency(sp.csr_matrix(np.array(i["R"])))
    near(adjacency.to_dense(), wanted["norm_adj"])
    final = propagate(adjacency, torch.tensor(i["E0"]), i["K"])
    near(final, wanted["final"])
    start = torch.tensor(i["E0"])
    first = 2 * propagate(adjacency, start, 1) - start
    near(first, wanted["layer1"])
    near(3 * propagate(adjacency, start, 2) - start - first, wanted["layer2"])
    net = LightGCNNet(adjacency, 2, 2, i["K"])
    with torch.no_grad():
        net.embedding.copy_(start)
        near(torch.cat(net()), wanted["final"])
    scores = final[:2] @ final[2:].T
    near(scores, wanted["scores"])
    u, a, b = i["triple"]
    near(bpr_loss(scores[u, a], scores[u, b]), wanted["bpr"])
    e0 = torch.tensor(i["E0"])
    near(e0[[u, 2 + a, 2 + b]].square().sum() / 2, wanted["reg_half_sq_norm"])
