from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.fields.truth import as_data, log_loss, truth_table

from recsys import DCN, Dataset
from recsys.errors import ParameterError
from recsys.models.fields.dcn import DCNNet
from recsys.nn.cross import MatrixCross, MixCross, VectorCross

VERSIONS = [1, 2, "mix"]


def quick(**parameters: Any) -> DCN:
    small = {"embedding_dim": 4, "hidden_dims": (16,), "epochs": 60, "batch_size": 64, "learning_rate": 0.02}
    return DCN(verbose=0, device="cpu", **(small | parameters))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_cross_network_alone_learns_what_no_linear_model_sees(version: Any) -> None:
    frame = truth_table(2)
    model = quick(version=version, hidden_dims=()).fit(as_data(frame))
    assert log_loss(model, frame) < 0.1


def test_three_fields_together_take_a_second_cross_layer() -> None:
    frame = truth_table(3)
    one, two = (quick(version=2, hidden_dims=(), n_layers=n, epochs=120).fit(as_data(frame)) for n in (1, 2))
    assert log_loss(one, frame) > 0.68
    assert log_loss(two, frame) < 0.1


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
@pytest.mark.parametrize("version", VERSIONS)
def test_both_structures_learn(version: Any, structure: Any) -> None:
    frame = truth_table(3)
    model = quick(version=version, structure=structure, batch_norm=True, epochs=40).fit(as_data(frame))
    assert log_loss(model, frame) < 0.1


def test_networks_stand_beside_or_after_each_other() -> None:
    frame = truth_table(2)
    beside, after = (quick(structure=name, epochs=1).fit(as_data(frame)).module_ for name in ("parallel", "stacked"))
    assert beside.logit.in_features == 2 * 4 + 16
    assert after.logit.in_features == 16
    x = torch.randn(5, 2, 4)
    with torch.no_grad():
        side_by_side = torch.cat([beside.cross(x.flatten(1)), beside.deep(x.flatten(1))], 1)
        torch.testing.assert_close(beside.head((x,)), beside.logit(side_by_side).squeeze(1))
        torch.testing.assert_close(after.head((x,)), after.logit(after.deep(after.cross(x.flatten(1)))).squeeze(1))


@pytest.mark.parametrize("hidden_dims", [(), (6,), (6, 5)])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    "cross", [VectorCross(12, 2), MatrixCross(12, 2), MatrixCross(12, 2, 3), MixCross(12, 2, 3, 2)]
)
def test_logits_are_the_same_in_training_in_use_and_for_all_pairs(cross: Any, stacked: Any, hidden_dims: Any) -> None:
    net = DCNNet([5, 5, 5], range(3), 4, cross, hidden_dims, stacked=stacked)
    vectors = torch.randn(7, 3, 4)
    people, things = vectors.clone(), vectors[:3].clone()
    people[:, 1], things[:, [0, 2]] = 0, 0
    rows = (people[:, None] + things).flatten(0, 1)
    in_training = net.head((rows,)).detach()
    with torch.no_grad():
        wanted = net.head((rows,))
        pairs = net.pairs(net.side((people,)), net.side((things,)))
    torch.testing.assert_close(in_training, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pairs.flatten(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "parameters, kind, shapes",
    [
        ({"version": 1}, VectorCross, [(3, 8), (3, 8)]),
        ({"version": 2, "n_layers": 1}, MatrixCross, [(8, 8), (8,)]),
        ({"version": 2, "n_layers": 1, "rank": 3}, MatrixCross, [(3, 8), (8, 3), (8,)]),
        ({"version": "mix", "n_layers": 1}, MixCross, [(1, 4, 8, 2), (1, 4, 2, 2), (1, 4, 8, 2), (1, 8), (4, 8)]),
        (
            {"version": "mix", "n_layers": 1, "rank": 5, "n_experts": 2}, MixCross,
            [(1, 2, 8, 5), (1, 2, 5, 5), (1, 2, 8, 5), (1, 8), (2, 8)],
        ),
    ],
)  # fmt: skip
def test_versions_and_their_sizes(parameters: Any, kind: Any, shapes: Any) -> None:
    cross = quick(epochs=1, **parameters).fit(as_data(truth_table(2))).module_.cross
    assert isinstance(cross, kind)
    assert [tuple(one.shape) for one in cross.parameters()] == shapes


def test_other_versions_are_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="version=3"):
        quick(version=3)  # pyright: ignore[reportArgumentType]


def test_ranking_the_catalog_equals_predicting_every_pair() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(7, size=150), "item_id": rng.integers(9, size=150)})
    rows["hour"], rows["label"] = rng.uniform(0, 1, 150), rng.integers(2, size=150)
    model = quick(epochs=2, batch_norm=True, dropout=0.3).fit(Dataset(rows, context_cols=("hour",)))
    users, items = np.indices((7, 9)).reshape(2, -1)
    table = model.predict(pd.DataFrame({"user_id": users, "item_id": items, "hour": 0.25})).reshape(7, 9)
    found = model.recommend(k=9, filter_seen=False, context={"hour": 0.25})
    np.testing.assert_allclose(found["score"], table[found["user_id"], found["item_id"]], atol=1e-5)
