from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.neural_cf.tastes import gmf_logit, quick, taste_frame, tower_logit, weights

import recsys
from recsys import GMF, NCFMLP, NeuMF
from recsys.embedding import Embedding
from recsys.errors import TrainingError
from recsys.models.neural_cf.gmf import GMFNet
from recsys.models.neural_cf.mlp import NCFMLPNet
from recsys.models.neural_cf.neumf import NeuMFNet
from recsys.training import Trainer, seeded

SMALL: dict[str, Any] = {"embedding_dim": 8, "tower_dim": 6, "hidden_dims": (12, 4)}
USERS, ITEMS = np.repeat(np.arange(40), 40), np.tile(np.arange(40), 40)


def network(dim: int, tower_dim: int, hidden_dims: tuple[int, ...]) -> NeuMFNet:
    tower = NCFMLPNet(Embedding(3, tower_dim), Embedding(3, tower_dim), hidden_dims)
    return NeuMFNet(GMFNet(Embedding(3, dim), Embedding(3, dim)), tower)


@pytest.fixture(scope="module")
def model() -> NeuMF:
    return quick(NeuMF, epochs=10, **SMALL).fit(taste_frame())


def test_items_of_the_own_group_come_first(model: NeuMF) -> None:
    lists = model.recommend(k=4)
    assert (lists["item_id"] // 10 == lists["user_id"] % 4).mean() > 0.95


def test_a_logit_is_that_of_both_parts_over_vectors_of_their_own(model: NeuMF) -> None:
    w = weights(model)
    wanted = [
        gmf_logit(w, user, item, "gmf.") + tower_logit(w, user, item, "mlp.")
        for user, item in zip(USERS, ITEMS, strict=True)
    ]
    np.testing.assert_allclose(model.predict(USERS, ITEMS), wanted, rtol=1e-4, atol=1e-5)
    assert w["gmf.users.weight"].shape == (40, 8)
    assert w["mlp.users.weight"].shape == (40, 6)


def test_scores_of_the_catalog_are_those_of_pairs(model: NeuMF) -> None:
    lists = model.recommend(k=40, filter_seen=False)
    scores = model.predict(lists["user_id"], lists["item_id"])
    np.testing.assert_allclose(lists["score"], scores, rtol=1e-4, atol=1e-5)


def test_one_logit_starts_with_variance_1_over_the_inputs_from_both_parts() -> None:
    with seeded(0):
        net = network(600, 4, (8, 400))
    weight = torch.cat([net.gmf.head.weight, net.mlp.head.weight], 1).detach()
    assert float(weight.var()) == pytest.approx(1 / 1000, rel=0.1)
    assert net.mlp.head.bias is None


# -- pre-training ------------------------------------------------------------------------------------------------------


def parts(**changes: Any) -> tuple[GMF, NCFMLP]:
    """What `pretrain` should fit, by the public classes."""
    tower = quick(NCFMLP, embedding_dim=6, hidden_dims=(12, 4), **changes)
    return quick(GMF, embedding_dim=8, **changes).fit(taste_frame()), tower.fit(taste_frame())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_it_starts_from_the_weighted_logits_of_trained_parts(alpha: float) -> None:
    still = quick(NeuMF, pretrain=True, alpha=alpha, descent_rate=1e-12, **SMALL).fit(taste_frame())
    gmf, tower = parts()
    wanted = alpha * gmf.predict(USERS, ITEMS) + (1 - alpha) * tower.predict(USERS, ITEMS)
    np.testing.assert_allclose(still.predict(USERS, ITEMS), wanted, atol=1e-5)


def test_after_pre_training_it_moves_by_plain_descent() -> None:
    with seeded(0):
        net = network(2, 2, (2,))
    (descent,) = NeuMF(pretrain=True, descent_rate=0.3, weight_decay=0.1)._optimizers(net)
    assert isinstance(descent, torch.optim.SGD)
    assert descent.defaults["momentum"] == 0
    assert {group["lr"] for group in descent.param_groups} == {0.3}
    assert {group["weight_decay"] for group in descent.param_groups} == {0.1}
    assert isinstance(NeuMF()._optimizers(net)[0], torch.optim.Adam)


def test_plain_descent_lowers_the_loss_that_it_starts_with() -> None:
    fitted = quick(NeuMF, pretrain=True, descent_rate=0.5, pretrain_epochs=(3, 3), epochs=12, **SMALL).fit(
        taste_frame()
    )
    loss = fitted.training_log_["loss"]
    assert loss.iloc[-1] < 0.98 * loss.iloc[0]


def test_the_parts_train_for_epochs_of_their_own() -> None:
    fitted = quick(NeuMF, pretrain=True, pretrain_epochs=(3, 5), epochs=2, **SMALL).fit(taste_frame())
    assert fitted.pretraining_log_["part"].value_counts().to_dict() == {"GMF": 3, "NCFMLP": 5}
    assert len(fitted.training_log_) == 2
    gmf, _ = parts(epochs=3)
    of_gmf = fitted.pretraining_log_[fitted.pretraining_log_["part"] == "GMF"]
    assert of_gmf["loss"].tolist() == gmf.training_log_["loss"].tolist()


def test_validation_data_picks_the_epoch_of_each_part() -> None:
    frame = taste_frame()
    held = frame.groupby("user_id").tail(1)
    fitted = quick(NeuMF, pretrain=True, epochs=30, patience=1, learning_rate=0.05, **SMALL)
    fitted.fit(frame.drop(held.index), validation_data=held)
    counts = fitted.pretraining_log_["part"].value_counts()
    assert counts.max() < 30
    assert fitted.pretraining_log_["ndcg@10"].notna().all()


def test_without_pre_training_there_is_no_log_of_it(model: NeuMF) -> None:
    assert model.pretraining_log_ is None


def test_a_saved_model_keeps_the_log_of_its_parts(tmp_path: Path) -> None:
    fitted = quick(NeuMF, pretrain=True, **SMALL).fit(taste_frame())
    fitted.save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    assert isinstance(loaded, NeuMF)
    pd.testing.assert_frame_equal(loaded.pretraining_log_, fitted.pretraining_log_)
    np.testing.assert_array_equal(loaded.predict(USERS, ITEMS), fitted.predict(USERS, ITEMS))


def test_a_killed_fit_goes_on_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one() -> NeuMF:
        return quick(NeuMF, pretrain=True, epochs=3, checkpoint=str(tmp_path / "run"), **SMALL)

    whole = one().fit(taste_frame())
    write = Trainer._write

    def killed(trainer: Trainer, net: Any, optimizers: Any, run: Any) -> None:
        write(trainer, net, optimizers, run)
        if trainer.checkpoint is not None and len(run.log) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            one().fit(taste_frame())
    resumed = one().fit(taste_frame())
    np.testing.assert_array_equal(resumed.predict(USERS, ITEMS), whole.predict(USERS, ITEMS))


def test_a_descent_that_diverges_names_its_rate() -> None:
    wild = quick(NeuMF, pretrain=True, epochs=3, descent_rate=1e30, **SMALL)
    with pytest.raises(TrainingError, match=r"NeuMF: the (loss|weights) became NaN .* descent_rate=1e\+30"):
        wild.fit(taste_frame())
