from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tests.models.fields.truth import as_data, log_loss, truth_table

from recsys import Dataset, DeepFM
from recsys.errors import UnsupportedError
from recsys.models.fields.deepfm import DeepFMNet
from recsys.nn.interactions import pairwise_interaction


def quick(**parameters: Any) -> DeepFM:
    small = {"embedding_dim": 4, "hidden_dims": (16,), "dropout": 0.0, "epochs": 30, "batch_size": 64}
    return DeepFM(verbose=0, device="cpu", **(small | {"learning_rate": 0.01} | parameters))


def net(sizes: tuple[int, ...] = (3, 4, 2, 5), dim: int = 3, hidden: tuple[int, ...] = (7,)) -> DeepFMNet:
    torch.manual_seed(0)
    one = DeepFMNet(sizes, range(len(sizes)), dim, hidden)
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        one.linear.table.weight[0] = one.embedding.table.weight[0] = 0  # what is unknown
    return one


@pytest.fixture(autouse=True)
def _torch_seed_kept() -> Any:
    with torch.random.fork_rng():
        yield


def test_the_identity_equals_the_double_loop_over_fields() -> None:
    e = torch.randn(6, 5, 3, dtype=torch.float64)
    wanted = sum((e[:, i] * e[:, j]).sum(1) for i in range(5) for j in range(i + 1, 5))
    torch.testing.assert_close(pairwise_interaction(e), wanted)


def test_both_parts_read_one_table_and_its_gradient_is_their_sum() -> None:
    one = net()
    codes, values = torch.tensor([[1, 2, 0, 4], [0, 3, 1, 1]]), torch.ones(2, 4)
    table = one.embedding.table.weight

    def gradient(logit: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(logit.sum(), table)[0].to_dense()

    vectors = one.embedding(codes, values)
    pairs, deep = gradient(pairwise_interaction(vectors)), gradient(one.deep(one.embedding(codes).flatten(1)))
    torch.testing.assert_close(gradient(one(codes, values)), pairs + deep)
    assert pairs.abs().sum() > 0
    assert deep.abs().sum() > 0


def test_parameters_are_one_table_a_linear_table_and_a_network() -> None:
    one = net(dim=3, hidden=(7, 5))
    # One spare row a table, for what is unknown.
    tables = (1 + 14) + 3 * (1 + 14)
    assert sum(p.numel() for p in one.parameters()) == tables + 1 + (12 * 7 + 7) + (7 * 5 + 5) + (5 + 1)


def test_numbers_multiply_their_vector_in_every_part() -> None:
    one = net(sizes=(1, 4), dim=3)
    codes = torch.tensor([[0, 2]])
    for value in (0.0, 2.5, -1.0):
        linear, vectors = one.embed(codes, torch.tensor([[value, 1.0]]))
        e, w = one.embedding.table.vectors, one.linear.table.vectors[:, 0]
        torch.testing.assert_close(vectors, torch.stack([value * e[0], e[1 + 2]])[None])
        torch.testing.assert_close(linear, (value * w[0] + w[1 + 2])[None])
        wanted = one.bias + linear + value * (e[0] @ e[3])
        wanted = wanted + one.deep(torch.cat([value * e[0], e[3]])[None]).squeeze(1)
        torch.testing.assert_close(one(codes, torch.tensor([[value, 1.0]])), wanted)


def test_an_unknown_code_adds_nothing_to_the_machine() -> None:
    one = net()
    linear, vectors = one.embed(torch.tensor([[1, -1, 0, -1]]), torch.ones(1, 4))
    e, w = one.embedding.table.vectors, one.linear.table.vectors[:, 0]
    torch.testing.assert_close(vectors[0, [1, 3]], torch.zeros(2, 3))
    torch.testing.assert_close(linear, (w[1] + w[7])[None])
    torch.testing.assert_close(pairwise_interaction(vectors), (e[1] @ e[7])[None])


def test_permuting_fields_leaves_the_machine_alone() -> None:
    one = net()
    linear, vectors = one.embed(torch.tensor([[1, 2, 0, 4]]), torch.ones(1, 4))
    turned = vectors[:, [2, 0, 3, 1]]
    torch.testing.assert_close(pairwise_interaction(turned), pairwise_interaction(vectors))
    assert not torch.allclose(one.head((linear, turned)), one.head((linear, vectors)))


def test_an_interaction_that_no_linear_model_sees_is_learned() -> None:
    frame = truth_table(2)
    # Without a hidden layer the deep part is linear: what is left to learn it is the factorization machine.
    for hidden in ((), (16,)):
        model = quick(hidden_dims=hidden, epochs=60, learning_rate=0.03).fit(as_data(frame))
        assert log_loss(model, frame) < 0.1
    # Least squares on the fields, the best of linear models, gives one half everywhere.
    x = np.column_stack([np.ones(len(frame)), frame[["field0", "field1"]]])
    fitted = x @ np.linalg.lstsq(x, frame["label"].to_numpy(float), rcond=None)[0]
    np.testing.assert_allclose(fitted, 0.5, atol=1e-9)


def test_an_interaction_of_three_fields_needs_the_deep_part() -> None:
    frame = truth_table(3)
    pairs_alone = quick(hidden_dims=(), epochs=60, learning_rate=0.03).fit(as_data(frame))
    full = quick(hidden_dims=(32,), epochs=120, learning_rate=0.03).fit(as_data(frame))
    assert log_loss(pairs_alone, frame) > 0.68
    assert log_loss(full, frame) < 0.1


def test_a_field_that_says_nothing_leaves_the_share_of_clicks() -> None:
    frame = pd.DataFrame({"kind": ["a"] * 400, "label": [1] * 60 + [0] * 340})
    model = quick(epochs=80).fit(as_data(frame))
    assert model.predict(frame[:1])[0] == pytest.approx(0.15, abs=0.02)
    # A weight counts a row as often.
    heavy = frame.assign(weight=np.where(frame["label"] == 1, 3.0, 1.0))
    weighed = quick(epochs=80).fit(as_data(heavy)).predict(frame[:1])[0]
    assert weighed == pytest.approx(180 / 520, abs=0.02)


def test_numeric_columns_are_read_as_numbers() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(50, 10, size=(600, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": (x[:, 0] > 50).astype(int) ^ (x[:, 1] > 50)})
    # The sign of a product of two numbers: the pair's interaction.
    model = quick(hidden_dims=(), epochs=60, learning_rate=0.03).fit(as_data(frame[:400]))
    right = (model.predict(frame[400:]) > 0.5) == frame["label"][400:]
    assert right.mean() > 0.9


def people_and_things() -> tuple[pd.DataFrame, Dataset]:
    """Clicks with features of every kind on both sides, and a context."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({"user_id": range(12), "age": rng.uniform(20, 60, 12), "town": list("abcabcabcabc")})
    items = pd.DataFrame(
        {
            "item_id": range(9),
            "tags": [[f"t{j}" for j in range(i % 4)] for i in range(9)],
            "vector": rng.normal(size=(9, 3)).tolist(),
            "price": rng.uniform(1, 9, 9),
        }
    )
    rows = pd.DataFrame({"user_id": rng.integers(12, size=200), "item_id": rng.integers(9, size=200)})
    rows["hour"], rows["device"] = rng.uniform(0, 24, 200), rng.choice(["phone", "desk"], 200)
    rows["label"] = rng.integers(2, size=200)
    return rows, Dataset(rows, context_cols=("hour", "device"), user_features=users, item_features=items)


def test_ranking_the_catalog_equals_predicting_every_pair() -> None:
    rows, data = people_and_things()
    model = quick(epochs=5).fit(data)
    users, items = np.indices((12, 9)).reshape(2, -1)
    context = {"hour": 7.5, "device": "phone"}
    pairs = pd.DataFrame({"user_id": users, "item_id": items} | context)
    found = model.recommend(k=9, filter_seen=False, context=context)
    table = model.predict(pairs).reshape(12, 9)
    np.testing.assert_allclose(found["score"], table[found["user_id"], found["item_id"]], atol=1e-5)
    assert (found.groupby("user_id").size() == 9).all()
    # Without a context it is unknown, as it is to predict(users, items).
    found = model.recommend(k=9, filter_seen=False)
    bare = model.predict(users, items).reshape(12, 9)
    np.testing.assert_allclose(found["score"], bare[found["user_id"], found["item_id"]], atol=1e-5)
    assert np.abs(bare - table).max() > 1e-3
    assert rows["label"].isin([0, 1]).all()


def test_predictions_are_probabilities_and_dropout_is_off() -> None:
    rows, data = people_and_things()
    model = quick(dropout=0.5, epochs=5).fit(data)
    first, second = model.predict(rows), model.predict(rows)
    np.testing.assert_array_equal(first, second)
    assert first.min() > 0
    assert first.max() < 1


def test_clicks_are_fitted_by_log_loss() -> None:
    rows, data = people_and_things()
    model = quick(epochs=1).fit(data)
    model.module_.train()
    batch = model._examples(data).batch(torch.arange(len(rows)))
    logits = model.module_(batch.codes, batch.values)
    p, y = torch.sigmoid(logits), batch.targets
    wanted = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(model._loss(model.module_, batch), wanted)
    torch.testing.assert_close(F.softplus(torch.where(y == 1, -logits, logits)).mean(), wanted)


def test_ratings_are_predicted_within_their_scale() -> None:
    rng = np.random.default_rng(0)
    level = rng.integers(2, 11, 9) / 2
    rows = pd.DataFrame({"user_id": rng.integers(12, size=300), "item_id": rng.integers(9, size=300)})
    rows["rating"] = level[rows["item_id"]]
    model = quick(epochs=60).fit(rows)
    found = model.predict(np.zeros(9, int), np.arange(9))
    np.testing.assert_allclose(found, level, atol=0.3)
    assert found.min() >= rows["rating"].min()
    assert found.max() <= rows["rating"].max()


def test_field_data_predicts_and_says_why_it_cannot_recommend() -> None:
    frame = truth_table(2)
    model = quick(epochs=1).fit(as_data(frame))
    assert model.predict(frame).shape == (len(frame),)
    with pytest.raises(UnsupportedError, match="without users and items"):
        model.recommend()
