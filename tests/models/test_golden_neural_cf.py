"""The worked example of neural collaborative filtering: one pair, by each of the three networks."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.models.worked import Golden, near

from recsys.embedding import Embedding
from recsys.models.neural_cf.gmf import GMFNet
from recsys.models.neural_cf.mlp import NCFMLPNet
from recsys.models.neural_cf.neumf import NeuMFNet

USER, ITEM = torch.tensor([0]), torch.tensor([0])


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gmf_net(n_users: int, n_items: int, dim: int) -> GMFNet:
    return GMFNet(Embedding(n_users, dim), Embedding(n_items, dim))


def mlp_net(n_users: int, n_items: int, dim: int, hidden_dims: tuple[int, ...]) -> NCFMLPNet:
    return NCFMLPNet(Embedding(n_users, dim), Embedding(n_items, dim), hidden_dims)


def gmf(i: dict[str, Any]) -> GMFNet:
    net = gmf_net(1, 1, 2).double()
    with torch.no_grad():
        net.users.vectors.copy_(tensor([i["p_gmf"]]))
        net.items.vectors.copy_(tensor([i["q_gmf"]]))
        net.head.weight.copy_(tensor([i["h_gmf"]]))
        net.head.bias.fill_(i["b_gmf"])
    return net


def mlp(i: dict[str, Any]) -> NCFMLPNet:
    net = mlp_net(1, 1, 3, (4, 2)).double()
    with torch.no_grad():
        net.users.vectors.copy_(tensor([i["p_mlp"]]))
        net.items.vectors.copy_(tensor([i["q_mlp"]]))
        for layer, name in zip(net.hidden, "12", strict=True):
            layer.weight.copy_(tensor(i[f"W{name}"]).T)
            layer.bias.copy_(tensor(i[f"b{name}"]))
        net.head.weight.copy_(tensor([i["h_mlp"]]))
        net.head.bias.fill_(i["b_mlp"])
    return net


@torch.no_grad()
def test_14_gmf(golden: Golden) -> None:
    g = golden("14_ncf")
    net, wanted = gmf(g["inputs"]), g["expected"]
    near(net.users(USER) * net.items(ITEM), [wanted["gmf_vector"]])
    near(net(USER, ITEM), [wanted["gmf_logit"]])
    near(torch.sigmoid(net(USER, ITEM)), [wanted["gmf"]])


@torch.no_grad()
def test_14_the_tower_layer_by_layer(golden: Golden) -> None:
    g = golden("14_ncf")
    net, wanted = mlp(g["inputs"]), g["expected"]
    first = torch.relu(net.user_side(USER) + net.item_side(ITEM))
    near(first, [wanted["mlp_z1"]])
    near(torch.relu(net.hidden[1](first)), [wanted["mlp_z2"]])
    near(net(USER, ITEM), [wanted["mlp_logit"]])
    near(torch.sigmoid(net(USER, ITEM)), [wanted["mlp"]])


@torch.no_grad()
def test_14_neumf_starts_as_the_mean_of_its_parts(golden: Golden) -> None:
    g = golden("14_ncf")
    net, wanted = NeuMFNet(gmf_net(1, 1, 2), mlp_net(1, 1, 3, (4, 2))).double(), g["expected"]
    net.fuse(gmf(g["inputs"]), mlp(g["inputs"]), g["inputs"]["alpha"])
    near(torch.cat([net.gmf.head.weight, net.mlp.head.weight], 1), [wanted["neumf_h"]])
    logit = net(USER, ITEM)
    near(logit, [wanted["neumf_logit"]])
    near(torch.sigmoid(logit), [wanted["neumf"]])


@torch.no_grad()
def test_14_loss_of_a_pair_as_the_users_own_and_as_a_drawn_one(golden: Golden) -> None:
    g = golden("14_ncf")
    net, wanted = NeuMFNet(gmf_net(1, 1, 2), mlp_net(1, 1, 3, (4, 2))).double(), g["expected"]
    net.fuse(gmf(g["inputs"]), mlp(g["inputs"]), g["inputs"]["alpha"])
    near(net.loss(USER, ITEM[:, None]), wanted["bce_pos"])
    near(net.loss(USER, ITEM[:, None].expand(1, 2)), wanted["bce_pos"] + wanted["bce_neg"])


@pytest.mark.parametrize(
    "network, wanted",
    [
        (lambda: gmf_net(6040, 3706, 8), 77_977),
        (lambda: mlp_net(6040, 3706, 32, (32, 16, 8)), 314_625),
        (lambda: NeuMFNet(gmf_net(6040, 3706, 8), mlp_net(6040, 3706, 32, (32, 16, 8))), 392_601),
    ],
    ids=["GMF", "MLP", "NeuMF"],
)
def test_14_number_of_weights_on_movielens(golden: Golden, network: Any, wanted: int) -> None:
    assert str(wanted) in golden("14_ncf")["notes"]["parameter_count"]
    net = network()
    # Each table has one spare row, which stays zero.
    spare = sum(m.weight.shape[1] for m in net.modules() if hasattr(m, "vectors"))
    assert sum(int(np.prod(one.shape)) for one in net.parameters()) - spare == wanted
