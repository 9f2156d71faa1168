from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.fields.truth import as_data, log_loss, truth_table
from tests.models.worked import Golden

from recsys import DLRM, Dataset
from recsys.models.fields.dlrm import DLRMNet
from recsys.nn.interactions import pairwise_products


def quick(**parameters: Any) -> DLRM:
    small = {"embedding_dim": 4, "bottom_dims": (8,), "hidden_dims": (16,), "epochs": 60, "batch_size": 64}
    return DLRM(verbose=0, device="cpu", learning_rate=0.02, **(small | parameters))


def net(n_numbers: int, sizes: list[int], dim: int = 3, **options: Any) -> DLRMNet:
    """Numbers first, one slot each, then categories."""
    slots = range(n_numbers + len(sizes))
    return DLRMNet([1] * n_numbers + sizes, slots, slots[:n_numbers], dim, (5,), (6,), **options)


def test_26_dlrm(golden: Golden) -> None:
    g = golden("26_dlrm")
    i, wanted = g["inputs"], g["expected"]
    ours = DLRMNet((1, 1, 1, 1, 1, 1), range(6), range(3), 2, (), (3,)).double()
    with torch.no_grad():
        ours.bottom[0].weight.copy_(torch.tensor(i["Wb"]).T)
        ours.bottom[0].bias.copy_(torch.tensor(i["bb"]))
        ours.embedding.table.vectors.copy_(torch.tensor(i["embeddings"]))
        ours.top[0].weight.copy_(torch.tensor(i["W_top"]).T)
        ours.top[0].bias.zero_()
        ours.top[-1].weight.copy_(torch.tensor(i["w_out"])[None])
        ours.top[-1].bias.fill_(i["b_out"])
        values = torch.cat([torch.tensor(i["dense_raw"]).double().log1p(), torch.ones(3)])[None]
        numbers, vectors = ours.embed(torch.zeros(1, 6, dtype=torch.long), values)
        bottom = ours.bottom(numbers)
        np.testing.assert_allclose(bottom[0], wanted["bottom"], atol=1e-6)
        products = pairwise_products(torch.cat([bottom[:, None], vectors], 1))
        np.testing.assert_allclose(products[0], wanted["interactions"], atol=1e-6)
        assert torch.sigmoid(ours.head((numbers, vectors))).item() == pytest.approx(wanted["p"], abs=1e-6)


def test_products_are_those_of_every_pair_once_in_the_order_of_rows() -> None:
    e = torch.randn(4, 5, 3)
    wanted = [[(row[i] @ row[j]).item() for i in range(5) for j in range(i)] for row in e]
    np.testing.assert_allclose(pairwise_products(e), wanted, atol=1e-6)


def test_permuting_tables_permutes_products_alone() -> None:
    e = torch.randn(4, 5, 3)
    mixed = pairwise_products(e[:, [2, 0, 4, 1, 3]])
    torch.testing.assert_close(mixed.sort(1).values, pairwise_products(e).sort(1).values)


def test_parameters_are_those_of_the_paper_for_its_data() -> None:
    sizes = [10] * 26
    ours = DLRMNet([1] * 13 + sizes, range(39), range(13), 16, (512, 256, 64), (512, 256))
    count = {name: sum(one.numel() for one in part.parameters()) for name, part in ours.named_children()}
    assert count == {"embedding": 16 * 261, "bottom": 155_984, "top": 320_001}


def test_weights_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    ours = DLRMNet([1] * 40 + [100, 400], range(42), range(40), 32, (300,), (200,))
    assert ours.bottom[0].weight.std().item() == pytest.approx((2 / 340) ** 0.5, rel=0.05)
    assert ours.bottom[0].bias.std().item() == pytest.approx(300**-0.5, rel=0.15)
    rows = ours.embedding.table.vectors.detach()
    for part, size in ((rows[:100], 100), (rows[100:], 400)):
        assert part.abs().max().item() == pytest.approx(size**-0.5, rel=0.02)
        assert part.std().item() == pytest.approx((1 / 3 / size) ** 0.5, rel=0.05)


def test_numbers_meet_categories_in_products_only_of_their_vector() -> None:
    ours = net(2, [3, 4])
    assert ours.top[0].in_features == 3 + 3
    assert net(0, [3, 4, 5]).top[0].in_features == 3
    assert net(2, []).top[0].in_features == 3
    assert net(0, [7]).top[0].in_features == 3
    assert net(2, [3, 4], interaction="cat").top[0].in_features == 3 * 3


@pytest.mark.parametrize("n_numbers, sizes", [(2, [3, 4]), (0, [3, 4, 5]), (3, []), (0, [7])])
def test_gradients_reach_every_parameter(n_numbers: int, sizes: list[int]) -> None:
    torch.manual_seed(0)
    ours = net(n_numbers, sizes, sparse=False)
    slots = n_numbers + len(sizes)
    ours(torch.zeros(8, slots, dtype=torch.long), torch.rand(8, slots) + 0.5).sum().backward()
    assert all(one.grad is not None for one in ours.parameters() if one.numel() > 3)


@pytest.mark.parametrize("interaction", ["dot", "cat"])
def test_fields_together_decide(interaction: Any) -> None:
    frame = truth_table(2)
    assert log_loss(quick(interaction=interaction).fit(as_data(frame)), frame) < 0.1


def test_a_row_of_two_tags_reads_the_sum_of_their_vectors() -> None:
    one = DLRMNet([1, 2], [0, 1, 1], [0], 2, (), ())
    codes = torch.tensor([[0, 0, 1], [0, 0, -1], [0, 1, -1]])
    values = torch.tensor([[0.3, 0.5, 0.5], [0.3, 1.0, 0.0], [0.3, 1.0, 0.0]])
    vectors = one.embed(codes, values)[1][:, 0]
    torch.testing.assert_close(vectors[0], vectors[1] + vectors[2])


def numbers_and_categories() -> Dataset:
    rng = np.random.default_rng(0)
    n = 600
    frame = pd.DataFrame(
        {"user_id": rng.integers(20, size=n), "item_id": rng.integers(15, size=n), "price": rng.normal(size=n)}
    )
    frame["label"] = ((frame.price > 0) ^ (frame.item_id % 2 == 0)).astype(int)
    items = pd.DataFrame({"item_id": range(15), "weight": rng.normal(size=15), "tags": [["a"], ["a", "b"], []] * 5})
    return Dataset(frame, context_cols=["price"], item_features=items)


def test_a_number_and_a_category_together_decide() -> None:
    data = numbers_and_categories()
    model = quick(epochs=80).fit(data)
    assert np.mean((model.predict(data.to_frame()) > 0.5) == data.to_frame()["label"]) > 0.95


@pytest.mark.parametrize("interaction", ["dot", "cat"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_ranking_the_catalog_equals_predicting_every_pair(interaction: Any, batch_norm: bool) -> None:
    model = quick(epochs=2, interaction=interaction, batch_norm=batch_norm).fit(numbers_and_categories())
    lists = model.recommend(k=15, filter_seen=False, context={"price": 0.7})
    pairs = lists[["user_id", "item_id"]].assign(price=0.7)
    np.testing.assert_allclose(lists["score"], model.predict(pairs), atol=1e-5)
