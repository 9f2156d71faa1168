from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.autoencoders.tastes import taste_frame

from recsys import CDAE, Dataset, Popular
from recsys.models.autoencoders.cdae import CDAENet


def quick(**parameters: Any) -> CDAE:
    small = {"embedding_dim": 8, "epochs": 40, "batch_size": 20}
    return CDAE(verbose=0, device="cpu", **(small | parameters))


@pytest.fixture(autouse=True)
def _torch_seed_kept() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def one_row(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(items), torch.tensor([len(items)])


def test_users_of_one_history_differ_by_their_nodes_alone() -> None:
    frame = pd.concat([taste_frame(20), pd.DataFrame({"user_id": np.repeat([50, 51], 3), "item_id": [1, 2, 3] * 2})])
    model = quick(epochs=5).fit(frame)
    pair = model.predict(np.repeat([50, 51], 40), np.tile(np.arange(40), 2)).reshape(2, 40)
    assert not np.allclose(*pair)
    net: Any = model.module_
    with torch.no_grad():
        net.nodes.vectors.zero_()
    pair = model.predict(np.repeat([50, 51], 40), np.tile(np.arange(40), 2)).reshape(2, 40)
    np.testing.assert_allclose(*pair)


def test_a_stranger_has_the_scores_of_a_user_whose_node_is_zero() -> None:
    frame = taste_frame(20)
    model = quick(epochs=5).fit(frame)
    mine = frame.loc[frame["user_id"] == 3, "item_id"].tolist()
    stranger, known = model.recommend(history=mine, k=34), model.recommend([3], k=34)
    assert not np.allclose(stranger["score"], known["score"])
    net: Any = model.module_
    with torch.no_grad():
        net.nodes.vectors[3].zero_()
    pd.testing.assert_frame_equal(stranger.drop(columns="user_id"), model.recommend([3], k=34).drop(columns="user_id"))


def test_without_nodes_a_history_gives_the_list_of_the_user_who_has_it() -> None:
    frame = taste_frame(20)
    model = quick(epochs=5, user_node=False).fit(frame)
    mine = frame.loc[frame["user_id"] == 3, "item_id"].tolist()
    ours, theirs = model.recommend(history=mine, k=10), model.recommend([3], k=10)
    pd.testing.assert_frame_equal(ours.drop(columns="user_id"), theirs.drop(columns="user_id"))


def test_what_corruption_keeps_counts_for_what_it_takes() -> None:
    net = CDAENet(1, 4, 4, 0.75, user_node=False, tied=False)
    with torch.no_grad():
        net.first.table.vectors.copy_(torch.eye(4))
    drawn = torch.stack([net(*one_row([0, 1, 3]), torch.tensor([0])).detach()[0] for _ in range(800)])
    inputs = torch.logit(drawn)
    assert float(inputs[:, 2].abs().max()) < 1e-6
    kept = inputs[:, [0, 1, 3]]
    assert ((kept.abs() < 1e-5) | ((kept - 4).abs() < 1e-3)).all()  # nothing, or 1 / (1 - q)
    assert float((kept > 1).float().mean()) == pytest.approx(0.25, abs=0.05)
    net.eval()
    torch.testing.assert_close(
        torch.logit(net(*one_row([0, 1, 3]), torch.tensor([0]))[0]), torch.tensor([1.0, 1, 0, 1])
    )


def test_with_all_left_out_what_is_left_are_vectors_of_users() -> None:
    frame = taste_frame(40)
    model = quick(dropout=1.0, epochs=150, learning_rate=0.3).fit(frame)
    net: Any = model.module_
    code = torch.sigmoid(net.nodes.vectors + net.first.bias)
    wanted = (code @ net.items.T + net.bias).detach().numpy()
    found = model.predict(np.repeat(np.arange(40), 40), np.tile(np.arange(40), 40)).reshape(40, 40)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    lists = model.recommend(k=4)
    assert (lists["item_id"] // 10 == lists["user_id"] % 4).mean() > 0.75  # by chance a quarter


@pytest.mark.parametrize("loss", ["logistic", "square"])
def test_the_loss_reads_positives_and_drawn_negatives_and_nothing_else(loss: Any) -> None:
    frame = taste_frame(8)
    model = quick(loss=loss, epochs=1, dropout=0.0, n_negatives=3).fit(frame)
    net: Any = model.module_
    batch: Any = model._examples(Dataset(frame)).batch(torch.arange(8))
    drawn: list[torch.Tensor] = []
    draw = model._negatives.draw
    model._negatives.draw = lambda users, n: drawn.append(draw(users, n)) or drawn[0]  # type: ignore[method-assign]
    found = model._loss(net, batch)
    scores = model._logits(net, batch)
    rows, own = np.repeat(np.arange(8), batch.lengths), batch.items.split(batch.lengths.tolist())
    total = 0.0
    for row, item, negatives in zip(rows, batch.items.tolist(), drawn[0].tolist(), strict=True):
        assert not set(negatives) & set(own[row].tolist())
        assert len(negatives) == 3
        y, others = float(scores[row, item].detach()), scores[row, negatives].detach().numpy()
        if loss == "logistic":
            total += np.log1p(np.exp(-y)) + np.log1p(np.exp(others)).sum()
        else:
            total += 0.5 * ((1 - y) ** 2 + (others**2).sum())
    assert float(found.detach()) == pytest.approx(total / 8, rel=1e-5)
    gradient = torch.autograd.grad(found, net.bias)[0]
    touched = set(batch.items.tolist()) | set(drawn[0].flatten().tolist())
    assert set(torch.nonzero(gradient)[:, 0].tolist()) == touched < set(range(40)) | touched


def test_a_step_moves_the_nodes_of_its_users_alone() -> None:
    frame = taste_frame(20)
    model = quick(epochs=1, weight_decay=0.1)
    model.fit(frame)
    net: Any = model.module_
    batch: Any = model._examples(Dataset(frame)).batch(torch.tensor([2, 5]))
    before = net.nodes.vectors.detach().clone()
    optimizers = model._optimizers(net)
    model._loss(net, batch).backward()
    for optimizer in optimizers:
        optimizer.step()
    moved = torch.nonzero((net.nodes.vectors != before).any(1))[:, 0].tolist()
    assert moved == [2, 5]


@pytest.mark.parametrize("options", [{}, {"loss": "square", "epochs": 200}, {"tied": True}, {"user_node": False}])
def test_strangers_are_ranked_by_what_they_have(options: Any) -> None:
    train, others = taste_frame(80), taste_frame(40, first_user=1000, seed=1)
    given = others[others.groupby("user_id").cumcount() < 4]
    lists = [one.fit(train).recommend(history=given, k=6) for one in (quick(**options), Popular())]
    right, popular = ((found["item_id"] // 10 == found["user_id"] % 4).mean() for found in lists)
    assert right > 0.9
    assert popular < 0.5
