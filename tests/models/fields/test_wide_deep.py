from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.fields.truth import as_data, log_loss, truth_table

from recsys import Dataset, WideDeep, load
from recsys.embedding import FTRL
from recsys.errors import DataError, ParameterError
from recsys.models.fields.wide_deep import WideDeepNet
from recsys.testing import checks
from recsys.training.adam import Adam

PAIR = (("field0", "field1"),)


def quick(**parameters: Any) -> WideDeep:
    small = {"embedding_dim": 4, "hidden_dims": (16,), "epochs": 40, "batch_size": 64, "learning_rate": 0.05}
    return WideDeep(verbose=0, device="cpu", **(small | {"wide_learning_rate": 0.5} | parameters))


def clicks() -> tuple[pd.DataFrame, Dataset]:
    """Clicks with features on both sides, tags among them, and contexts."""
    rng = np.random.default_rng(0)
    users = pd.DataFrame({"user_id": range(12), "age": rng.uniform(20, 60, 12), "town": list("abcabcabcabc")})
    items = pd.DataFrame({"item_id": range(9), "tags": [[f"t{j}" for j in range(i % 4)] for i in range(9)]})
    rows = pd.DataFrame({"user_id": rng.integers(12, size=300), "item_id": rng.integers(9, size=300)})
    rows["hour"], rows["device"] = rng.uniform(0, 24, 300), rng.choice(["phone", "desk"], 300)
    rows["label"] = rng.integers(2, size=300)
    return rows, Dataset(rows, context_cols=("hour", "device"), user_features=users, item_features=items)


# -- crosses -------------------------------------------------------------------------------------------------------------


def test_a_cross_learns_what_the_linear_part_cannot() -> None:
    frame = truth_table(2)
    linear, crossed = (quick(part="wide", crosses=crosses).fit(as_data(frame)) for crosses in ((), PAIR))
    assert log_loss(linear, frame) > 0.68
    assert log_loss(crossed, frame) < 0.1


def test_a_cross_takes_as_many_columns_as_it_names() -> None:
    frame = truth_table(3)
    names = ("field0", "field1", "field2")
    pairs = tuple((a, b) for a in names for b in names if a < b)
    two, three = (quick(part="wide", crosses=crosses).fit(as_data(frame)) for crosses in (pairs, (names,)))
    assert log_loss(two, frame) > 0.68
    assert log_loss(three, frame) < 0.1


def test_hashed_crosses_learn_too() -> None:
    frame = truth_table(2)
    many = quick(part="wide", crosses=PAIR, cross_buckets=8).fit(as_data(frame))
    one = quick(part="wide", crosses=PAIR, cross_buckets=1).fit(as_data(frame))
    assert log_loss(many, frame) < 0.1
    assert log_loss(one, frame) > 0.68  # all combinations share one weight


def test_a_combination_never_seen_adds_nothing() -> None:
    frame = pd.DataFrame({"a": [0, 1, 1, 0] * 50, "b": [0, 0, 1, 0] * 50, "label": [0, 1, 0, 0] * 50})
    model = quick(part="wide", crosses=(("a", "b"),)).fit(as_data(frame))
    wide, net = model.module_.wide, model.module_
    codes = torch.tensor([[0, 1], [1, -1]])  # a pair that is not in the data, and a column that is unknown
    with torch.no_grad():
        torch.testing.assert_close(wide.crossed(codes, torch.ones(2, 2)), torch.zeros(2, 1, 1))
        linear = wide.linear(codes, torch.ones(2, 2)).sum((1, 2)) + wide.bias
        torch.testing.assert_close(net(codes, torch.ones(2, 2)), linear)


@pytest.mark.parametrize("part", ["both", "wide"])
def test_ranking_the_catalog_equals_predicting_every_pair(part: Any) -> None:
    _, data = clicks()
    crosses = (("user_id", "item_id"), ("tags", "town", "device"), ("device", "item_id"), ("town", "user_id"))
    model = quick(part=part, crosses=crosses, cross_buckets=60, epochs=5).fit(data)
    assert model.module_.wide.crossed.table.table.weight.count_nonzero() > 80
    users, items = np.indices((12, 9)).reshape(2, -1)
    context = {"hour": 7.5, "device": "phone"}
    table = model.predict(pd.DataFrame({"user_id": users, "item_id": items} | context)).reshape(12, 9)
    found = model.recommend(k=9, filter_seen=False, context=context)
    np.testing.assert_allclose(found["score"], table[found["user_id"], found["item_id"]], atol=1e-5)
    # Without a context the crosses that read it say nothing.
    bare = model.predict(users, items).reshape(12, 9)
    found = model.recommend(k=9, filter_seen=False)
    np.testing.assert_allclose(found["score"], bare[found["user_id"], found["item_id"]], atol=1e-5)
    assert np.abs(bare - table).max() > 1e-3


def test_a_cross_of_user_and_item_ranks_by_taste() -> None:
    users, items = np.indices((6, 6)).reshape(2, -1)
    rows = pd.DataFrame({"user_id": users, "item_id": items, "label": (users + items) % 2})
    rows = pd.concat([rows] * 10)
    model = quick(part="wide", crosses=(("user_id", "item_id"),)).fit(rows)
    found = model.recommend(k=3, filter_seen=False)
    assert ((found["user_id"] + found["item_id"]) % 2 == 1).all()


def test_a_saved_model_finds_its_crosses_again(tmp_path: Any) -> None:
    rows, data = clicks()
    model = quick(crosses=(("user_id", "item_id"), ("tags", "town")), cross_buckets=50, epochs=3).fit(data)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict(rows), model.predict(rows))


# -- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cross, message",
    [
        (
            ("town", "city"),
            "'city', which this data does not have; its columns are user_id, age, town, item_id, tags, hour, device",
        ),
        (("town", "age"), "'age', which holds numbers"),
        (("hour", "device"), "'hour', which holds numbers"),
    ],
)
def test_columns_that_cannot_be_crossed_are_named(cross: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        quick(crosses=(("user_id", "item_id"), cross)).fit(clicks()[1])


@pytest.mark.parametrize("cross", [(), ("town",), ("town", "town")])
def test_a_cross_takes_two_different_columns(cross: Any) -> None:
    with pytest.raises(ParameterError, match="two or more different columns"):
        quick(crosses=(cross,)).fit(clicks()[1])


def test_a_name_that_two_columns_have_is_refused() -> None:
    rows = clicks()[0]
    users, items = (pd.DataFrame({name: range(12), "group": range(12)}) for name in ("user_id", "item_id"))
    data = Dataset(rows, user_features=users, item_features=items)
    with pytest.raises(DataError, match="'group', and 2 columns have this name"):
        quick(crosses=(("group", "item_id"),)).fit(data)


def test_crosses_are_tuples_of_names() -> None:
    with pytest.raises(ParameterError, match="crosses"):
        WideDeep(crosses=("town", "age"))  # pyright: ignore[reportArgumentType]


# -- two parts, trained together -----------------------------------------------------------------------------------------


def test_the_logit_is_the_sum_of_both_parts() -> None:
    _, data = clicks()
    model = quick(crosses=(("user_id", "item_id"),)).fit(data)
    net, batch = model.module_, model._examples(data).batch(torch.arange(20))
    rows = batch.codes, batch.values
    with torch.no_grad():
        wide, deep = WideDeepNet(net.wide, None), WideDeepNet(None, net.deep)
        torch.testing.assert_close(net(*rows), wide(*rows) + deep(*rows))
        assert wide(*rows).std() > 0.01
        assert deep(*rows).std() > 0.01
    # One loss: what reaches both parts is the derivative by the sum.
    net.zero_grad()
    model._loss(net, batch).backward()
    p = torch.sigmoid(net(*rows))
    for bias in (net.wide.bias, net.deep.network[-1].bias):
        torch.testing.assert_close(bias.grad.sum(), (p - batch.targets).mean())


def test_each_parameter_has_one_optimizer_ftrl_for_the_wide_part_alone() -> None:
    _, data = clicks()
    model = quick(crosses=(("user_id", "item_id"),), epochs=1).fit(data)
    net = model.module_
    *deep, wide = model._optimizers(net)
    assert isinstance(wide, FTRL)
    assert [isinstance(one, torch.optim.Adagrad) for one in deep] == [True]

    def parameters(optimizers: Any) -> list[int]:
        return sorted(id(p) for one in optimizers for group in one.param_groups for p in group["params"])

    assert parameters([wide]) == sorted(map(id, net.wide.parameters()))
    assert parameters(deep) == sorted(map(id, net.deep.parameters()))
    adam = quick(optimizer="adam", crosses=(("user_id", "item_id"),))
    adam.target_ = "label"
    assert [type(one) for one in adam._optimizers(net)] == [Adam, FTRL]


@pytest.mark.parametrize("part, absent", [("wide", "deep"), ("deep", "wide")])
def test_one_part_alone_has_no_parameters_of_the_other(part: Any, absent: str) -> None:
    frame = truth_table(2)
    model = quick(part=part, crosses=PAIR).fit(as_data(frame))
    assert getattr(model.module_, absent) is None
    assert len(model._optimizers(model.module_)) == 1
    assert log_loss(model, frame) < 0.1


def test_penalties_and_rates_count_in_examples() -> None:
    frame = truth_table(2, copies=8)
    model = quick(part="wide", batch_size=32, epochs=1, wide_l1=0.3, wide_l2=0.7, wide_learning_rate=0.2)
    found = model.fit(as_data(frame)).module_.wide
    # One step from zero, by hand: the gradients of all 32 rows, summed.
    x = np.concatenate([np.eye(2)[frame[name]] for name in ("field0", "field1")], 1)
    g = x.T @ (0.5 - frame["label"].to_numpy())
    np.testing.assert_allclose(found.linear.table.vectors.detach()[:, 0], 0 * g, atol=1e-7)
    skewed = frame.assign(label=frame["field0"])
    found = model.fit(as_data(skewed)).module_.wide
    g = x.T @ (0.5 - skewed["label"].to_numpy())
    wanted = np.where(np.abs(g) > 0.3, -(g - np.sign(g) * 0.3) / ((1 + np.abs(g)) / 0.2 + 0.7), 0)
    np.testing.assert_allclose(found.linear.table.vectors.detach()[:, 0], wanted, rtol=1e-5)


def test_the_bias_is_not_penalized() -> None:
    frame = pd.DataFrame({"kind": ["a"] * 400, "label": [1] * 60 + [0] * 340})
    model = quick(part="wide", wide_l1=1e6).fit(as_data(frame))
    assert model.module_.wide.linear.table.weight.count_nonzero() == 0
    assert model.predict(frame[:1])[0] == pytest.approx(0.15, abs=0.02)


def test_l1_sets_the_weights_of_noise_to_exactly_0() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"taste": rng.integers(4, size=2000), "noise": rng.integers(100, size=2000)})
    frame["label"] = (rng.uniform(size=2000) < np.where(frame["taste"] < 2, 0.9, 0.1)).astype(int)

    def weights(l1: float) -> tuple[Any, Any]:
        model = quick(part="wide", epochs=5, wide_l1=l1, wide_learning_rate=0.1).fit(as_data(frame))
        vectors = model.module_.wide.linear.table.vectors
        return vectors[:4, 0], vectors[4:, 0]

    for l1, zeros in ((0.0, 0), (40.0, 100)):
        taste, noise = weights(l1)
        assert int((noise == 0).sum()) == zeros
        assert (taste[:2] > 0.5).all()
        assert (taste[2:] < -0.5).all()


def test_ratings_are_learned_by_a_cross() -> None:
    users, items = np.indices((6, 6)).reshape(2, -1)
    rows = pd.DataFrame({"user_id": users, "item_id": items, "rating": np.where((users + items) % 2, 4.5, 2.0)})
    model = quick(part="wide", crosses=(("user_id", "item_id"),)).fit(pd.concat([rows] * 10))
    np.testing.assert_allclose(model.predict(users, items), rows["rating"], atol=0.2)


CONTRACT = (
    "same_seed_same_model", "row_order_changes_nothing", "one_row", "context", "unknown_ids_predict_finite",
    "recommend_agrees_with_predict", "candidates_and_exclusions", "save_and_load", "validation_data_is_accepted",
)  # fmt: skip


@pytest.mark.parametrize("name", CONTRACT)
def test_a_model_with_crosses_keeps_the_contract(name: str) -> None:
    model = WideDeep(crosses=(("user_id", "item_id"),), wide_l1=0.1)
    dict(checks(model))[name](model)
