from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recsys import Dataset, LightGCN
from recsys.data import Histories
from recsys.models.graph.lightgcn import LightGCNNet
from recsys.nn.graph import normalized_adjacency
from recsys.training.examples import PairBatch, UserPairExamples


def taste_frame(n_users: int = 30, seed: int = 0) -> pd.DataFrame:
    """User u likes some of the ten items of group u % 3; some have many more than others."""
    rng = np.random.default_rng(seed)
    rows = [(u, 10 * (u % 3) + i) for u in range(n_users) for i in rng.permutation(10)[: rng.integers(2, 9)]]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


def quick(**parameters: Any) -> LightGCN:
    small = {"embedding_dim": 8, "epochs": 3, "batch_size": 32, "learning_rate": 0.01}
    return LightGCN(verbose=0, device="cpu", **(small | parameters))


def dense_adjacency(x: np.ndarray) -> np.ndarray:
    """A_ui / sqrt(n_u n_i), by loops."""
    n_users, n_items = x.shape
    a = np.zeros((n_users + n_items,) * 2)
    for u in range(n_users):
        for i in range(n_items):
            if x[u, i]:
                a[u, n_users + i] = a[n_users + i, u] = 1 / np.sqrt(x[u].sum() * x[:, i].sum())
    return a


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_vectors_are_the_mean_over_layers_of_neighbors_without_self_loops(n_layers: int) -> None:
    frame = taste_frame()
    model = quick(n_layers=n_layers).fit(frame)
    x = Dataset(frame).to_csr().toarray()
    a, e = dense_adjacency(x), model.module_.embedding.detach().numpy().astype(float)
    assert (np.diag(model.module_.adjacency.to_dense().numpy()) == 0).all()
    wanted = sum(np.linalg.matrix_power(a, k) @ e for k in range(n_layers + 1)) / (n_layers + 1)
    np.testing.assert_allclose(model.user_factors_, wanted[: len(x)], atol=1e-5)
    np.testing.assert_allclose(model.item_factors_, wanted[len(x) :], atol=1e-5)


def test_repeated_interactions_are_one_edge() -> None:
    frame = taste_frame()
    model = quick(epochs=1).fit(pd.concat([frame, frame.iloc[:20]]))
    wanted = dense_adjacency(Dataset(frame).to_csr().toarray())
    np.testing.assert_allclose(model.module_.adjacency.to_dense(), wanted, atol=1e-6)


def test_parameters_are_one_vector_a_node() -> None:
    model = quick().fit(taste_frame())
    assert [name for name, _ in model.module_.named_parameters()] == ["embedding"]
    assert model.module_.embedding.shape == (30 + 30, 8)
    start = LightGCNNet(model.module_.adjacency, 30, 64, 3).embedding
    assert float(start.detach().std()) == pytest.approx(0.1, rel=0.1)
    assert set(model.module_.state_dict()) == {"embedding"}


def batch_loss(model: LightGCN, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a batch with the same negatives each time, and its gradient."""
    torch.manual_seed(7)
    loss = model._loss(model.module_, batch)
    return loss, torch.autograd.grad(loss, model.module_.embedding)[0]


def test_the_penalty_is_on_the_first_layer_of_the_sampled_triples_alone() -> None:
    data = Dataset(taste_frame())
    model = quick(regularization=0.5).fit(data)
    model._examples(data)
    batch = PairBatch(torch.tensor([0, 4, 4]), torch.tensor([0, 11, 13]))
    loss, gradient = batch_loss(model, batch)
    bare, bare_gradient = batch_loss(model.set_params(regularization=0.0), batch)
    torch.manual_seed(7)
    negatives = model._negatives.draw(batch.users, 1)[:, 0]
    e = model.module_.embedding.detach()
    rows = torch.cat([batch.users, 30 + batch.items, 30 + negatives])
    torch.testing.assert_close(loss - bare, 0.5 * e[rows].square().sum() / 2 / 3)
    wanted = torch.zeros_like(e).index_add(0, rows, 0.5 * e[rows] / 3)
    torch.testing.assert_close(gradient - bare_gradient, wanted, atol=1e-6, rtol=1e-4)
    assert (wanted.abs().sum(1) > 0).sum() < 10  # of 60 rows


def test_without_layers_it_is_matrix_factorization_by_bpr() -> None:
    data = Dataset(taste_frame())
    model = quick(n_layers=0, regularization=0.1).fit(data)
    model._examples(data)
    batch = PairBatch(torch.tensor([0, 4, 5]), torch.tensor([0, 11, 21]))
    loss, gradient = batch_loss(model, batch)
    torch.manual_seed(7)
    negatives = model._negatives.draw(batch.users, 1)[:, 0]
    e = model.module_.embedding.detach().double().numpy()
    total, wanted = 0.0, np.zeros_like(e)
    for u, i, j in zip(batch.users, 30 + batch.items, 30 + negatives, strict=True):
        difference = e[u] @ (e[i] - e[j])
        total += np.log1p(np.exp(-difference)) + 0.05 * (e[u] @ e[u] + e[i] @ e[i] + e[j] @ e[j])
        slope = -1 / (1 + np.exp(difference))
        for row, part in ((u, e[i] - e[j]), (i, e[u]), (j, -e[u])):
            wanted[row] += slope * part + 0.1 * e[row]
    assert float(loss.detach()) == pytest.approx(total / 3, abs=1e-6)
    np.testing.assert_allclose(gradient, wanted / 3, atol=1e-6)


def test_gradients_pass_through_all_layers() -> None:
    adjacency = normalized_adjacency(Dataset(taste_frame()).to_csr())
    net = LightGCNNet(adjacency, 30, 4, 2).double()
    a = adjacency.to_dense().double()
    direction = torch.randn(60, 4).double()
    found = torch.autograd.grad((torch.cat(net()) * direction).sum(), net.embedding)[0]
    torch.testing.assert_close(found, (direction + a @ direction + a @ a @ direction) / 3)


def test_a_step_draws_users_evenly_and_one_of_each_ones_items() -> None:
    # User 0 has eight items, user 1 none, user 2 one, user 3 three.
    history = Histories(np.array([0, 8, 8, 9, 12]), np.array([*range(8), 3, 0, 5, 9]))
    examples = UserPairExamples(history)
    assert len(examples) == 12
    batch = examples.batch(torch.arange(30_000) % 12)
    users, items = batch.users.numpy(), batch.items.numpy()
    share = np.bincount(users, minlength=4) / len(users)
    np.testing.assert_allclose(share, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.015)
    for user, own in ((0, range(8)), (2, [3]), (3, [0, 5, 9])):
        drawn = np.bincount(items[users == user], minlength=10) / (users == user).sum()
        np.testing.assert_allclose(drawn[list(own)], 1 / len(own), atol=0.02)
        assert drawn.sum() == pytest.approx(drawn[list(own)].sum())


def test_training_draws_as_the_authors_do() -> None:
    data = Dataset(taste_frame())
    examples = quick().fit(data)._examples(data)
    assert isinstance(examples, UserPairExamples)
    assert len(examples) == len(data)


def test_a_node_without_edges_keeps_its_share_of_the_first_layer() -> None:
    data = Dataset(taste_frame(), item_features=pd.DataFrame({"item_id": [500]}))
    model = quick(n_layers=3, epochs=1).fit(data)
    wanted = model.module_.embedding.detach().numpy()[-1] / 4
    np.testing.assert_allclose(model.item_factors_[-1], wanted, atol=1e-6)


def test_items_of_the_own_group_come_first() -> None:
    frame = taste_frame()
    model = quick(epochs=40, n_layers=2).fit(frame)
    found = model.recommend(k=2)
    assert (found["item_id"] // 10 == found["user_id"] % 3).mean() > 0.95
    losses = model.training_log_["loss"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]


def test_a_saved_model_makes_its_graph_anew(tmp_path: Any) -> None:
    import recsys  # noqa: PLC0415

    model = quick().fit(taste_frame())
    model.save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    torch.testing.assert_close(loaded.module_.adjacency.to_dense(), model.module_.adjacency.to_dense())
    pd.testing.assert_frame_equal(loaded.recommend(k=5), model.recommend(k=5))
