import numpy as np
import pytest
import torch
from tests.models.neural_cf.tastes import quick, taste_frame, tower_logit, weights

from recsys import NCFMLP
from recsys.embedding import Embedding
from recsys.errors import ParameterError
from recsys.models.neural_cf import pairs
from recsys.models.neural_cf.mlp import NCFMLPNet
from recsys.nn.pairs import PairLayers, pair_logits


@pytest.fixture(scope="module")
def model() -> NCFMLP:
    return quick(NCFMLP, epochs=20, embedding_dim=8, hidden_dims=(12, 6)).fit(taste_frame())


def test_items_of_the_own_group_come_first() -> None:
    # With fewer users some seeds take much longer to leave the start.
    lists = quick(NCFMLP, epochs=20, embedding_dim=8, hidden_dims=(12, 6)).fit(taste_frame(200)).recommend(k=4)
    assert (lists["item_id"] // 10 == lists["user_id"] % 4).mean() > 0.95


def test_a_score_is_that_of_the_layers_over_both_vectors(model: NCFMLP) -> None:
    w = weights(model)
    users, items = np.repeat(np.arange(40), 40), np.tile(np.arange(40), 40)
    wanted = [tower_logit(w, user, item) for user, item in zip(users, items, strict=True)]
    np.testing.assert_allclose(model.predict(users, items), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_pairs", [7, 40, 100, 10_000])
def test_lists_do_not_depend_on_how_many_pairs_are_held(
    model: NCFMLP, n_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def counted(people: torch.Tensor, things: torch.Tensor, layers: PairLayers) -> torch.Tensor:
        held.append(len(people) * len(things))
        return pair_logits(people, things, layers)

    monkeypatch.setattr(pairs, "CPU_PAIRS", n_pairs)
    monkeypatch.setattr(pairs, "pair_logits", counted)
    lists = model.recommend(k=40, filter_seen=False)
    monkeypatch.undo()
    assert max(held) <= n_pairs
    assert sum(held) == 40 * 40
    scores = model.predict(lists["user_id"], lists["item_id"])
    np.testing.assert_allclose(lists["score"], scores, rtol=1e-4, atol=1e-5)


def test_the_first_layer_runs_once_a_user_and_once_an_item(model: NCFMLP, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rows = model.module_.hidden[0], []
    linear = torch.nn.functional.linear

    def counted(x: torch.Tensor, weight: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return linear(x, weight, *bias)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    model.recommend(k=5)
    assert first.in_features == 16
    assert rows == [40, 40]


def test_what_is_unknown_has_no_vector(model: NCFMLP) -> None:
    w = weights(model)
    w["users.weight"] = np.append(w["users.weight"], np.zeros((1, 8)), 0)
    assert model.predict([999], [5])[0] == pytest.approx(tower_logit(w, -1, 5), abs=1e-5)


def test_a_tower_needs_a_layer() -> None:
    with pytest.raises(ParameterError, match=r"NCFMLP: hidden_dims=\(\) .* give one width or more"):
        quick(NCFMLP, hidden_dims=()).fit(taste_frame())


def test_dropout_is_for_training_steps_alone() -> None:
    net = NCFMLPNet(Embedding(5, 4), Embedding(5, 4), (8, 8), 0.3)
    assert net.train().layers.dropout == 0.3
    assert net.eval().layers.dropout == 0
