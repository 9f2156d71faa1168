"""The worked example of Wide & Deep: crosses, the joint logit and a step of each part's optimizer."""

from typing import Any

import pytest
import torch
from tests.models.worked import Golden, near

from recsys import WideDeep
from recsys.models.fields.wide_deep import DeepPart, WideDeepNet, WidePart

SIZES = (2, 2, 2, 1, 1)
"""gender (female, other), item (0, 1), language (en, es), and two more, so that five vectors of one number are a0."""
FIELDS = range(5)
ROW = torch.tensor([[0, 1, 0, 0, 0]])
ENGLISH, SPANISH = torch.tensor([[0, 1, 0, 0, 0], [0, 1, 1, 0, 0]])


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def cross_row(wide: WidePart, codes: torch.Tensor) -> int:
    """Row of the table that a combination reads: the one with a gradient."""
    wide.zero_grad()
    wide.crossed(codes[None], torch.ones(1, 5)).sum().backward()
    return int(wide.crossed.table.table.weight.grad.to_dense().nonzero()[0, 0])  # type: ignore[union-attr]


@pytest.fixture
def net(golden: Golden) -> WideDeepNet:
    i = golden("12_wide_deep")["inputs"]
    wide = WidePart(SIZES, FIELDS, [(0, 2)], sparse=False).double()
    deep = DeepPart(SIZES, FIELDS, 1, (3, 2), sparse=False).double()
    rows = [cross_row(wide, codes) for codes in (ENGLISH, SPANISH)]
    with torch.no_grad():
        wide.crossed.table.table.weight[rows, 0] = tensor(i["wide_weights"][:2])
        wide.linear.table.vectors[[0, 3], 0] = tensor(i["wide_weights"][2:])  # female, item 1
        wide.bias.fill_(i["bias"])
        deep.embedding.table.vectors[[0, 3, 4, 6, 7], 0] = tensor(i["a0"])
        for layer, name in ((deep.network[0], "1"), (deep.network[2], "2")):
            layer.weight.copy_(tensor(i[f"W{name}"]).T)
            layer.bias.copy_(tensor(i[f"b{name}"]))
        deep.network[4].weight.copy_(tensor([i["w_out"]]))
        deep.network[4].bias.zero_()
    return WideDeepNet(wide, deep)


def test_12_the_joint_logit(golden: Golden, net: WideDeepNet) -> None:
    wanted, ones = golden("12_wide_deep")["expected"], torch.ones(1, 5)
    assert net.wide is not None
    assert net.deep is not None
    with torch.no_grad():
        wide = WideDeepNet(net.wide, None)(ROW, ones) - net.wide.bias
        x = net.deep.embedding(ROW, ones).flatten(1)
        near(wide, [wanted["wide"]])
        near(net.deep.network[:2](x), [wanted["h1"]])
        near(net.deep.network[:4](x), [wanted["h2"]])
        near(net.deep.network(x), [[wanted["deep"]]])
        logit = net(ROW, ones)
        near(logit, [wanted["logit"]])
        near(torch.sigmoid(logit), [wanted["p"]])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.ones(1).double())
        near(loss, wanted["bce_label1"])


def test_12_the_cross_is_the_product_of_its_columns(golden: Golden, net: WideDeepNet) -> None:
    wide = net.wide
    assert wide is not None
    crosses = [cross_row(wide, codes) for codes in (ENGLISH, SPANISH)]
    tables = wide.crossed.table.table.weight, wide.linear.table.weight
    crossed, linear = torch.autograd.grad(net(ROW, torch.ones(1, 5)).sum(), tables)
    # What a weight is multiplied by is the logit's derivative by it.
    phi = [*crossed.to_dense()[crosses, 0], *linear[[1, 4], 0]]
    near(phi, golden("12_wide_deep")["expected"]["wide_phi_computed"])


def test_12_a_step_of_each_part(golden: Golden, net: WideDeepNet) -> None:
    g = golden("12_wide_deep")
    ftrl, adagrad = g["inputs"]["ftrl"], g["inputs"]["adagrad"]
    model = WideDeep(
        batch_size=1,  # beta is one example
        wide_learning_rate=ftrl["alpha"], wide_l1=ftrl["l1"], wide_l2=ftrl["l2"], learning_rate=adagrad["lr"],
    )  # fmt: skip
    model.target_ = "label"
    deep, wide = model._optimizers(net)
    assert net.wide is not None
    assert net.deep is not None
    table, bias = net.wide.linear.table.weight, net.deep.network[2].bias
    before = bias.detach().clone()

    def padded(values: Any) -> torch.Tensor:
        return torch.cat([tensor(values), tensor([0.0] * (len(table) - 3))])[:, None]

    with torch.no_grad():
        table.copy_(padded(g["expected"]["ftrl"]["w_before"]))
    rate = tensor(wide.param_groups[0]["lr"])
    wide.state[table].update(z=padded(ftrl["z"]), n=padded(ftrl["n"]), rate=rate)
    deep.state[bias]["sum"] = tensor(adagrad["acc"])
    table.grad, bias.grad = padded(ftrl["g"]), tensor(adagrad["g"])
    deep.step()
    wide.step()
    near(table.detach()[:3, 0], g["expected"]["ftrl"]["w_after"])
    for name in ("z", "n"):
        near(wide.state[table][name][:3, 0], g["expected"]["ftrl"][name])
    near(bias.detach() - before, g["expected"]["adagrad"]["delta"])
    near(deep.state[bias]["sum"], g["expected"]["adagrad"]["acc"])
