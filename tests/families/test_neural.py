"""What all neural models share: how they are trained, watched, cut off, saved and moved."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import recsys
from recsys import CDAE, DeepFM, LightGCN, MultVAE, SASRec
from recsys.data import Dataset
from recsys.errors import DataError, LoadError, ParameterError, TrainingError
from recsys.metrics import greater_is_better
from recsys.metrics.names import TABLES, has_cut
from tests.families.toys import Additive, Fading, Tables, Weights, clicks, groups, quick

MODELS = [CDAE, DeepFM, LightGCN, MultVAE, SASRec]
SMALL: dict[Any, dict[str, Any]] = {
    CDAE: {"embedding_dim": 4, "dropout": 0.3, "n_negatives": 2},
    DeepFM: {"embedding_dim": 4, "hidden_dims": (8,), "dropout": 0.3},
    LightGCN: {"embedding_dim": 8, "n_layers": 2},
    MultVAE: {"embedding_dim": 4, "hidden_dims": (8,), "dropout": 0.3, "kl_steps": 4},
    SASRec: {"embedding_dim": 8, "max_len": 4, "loss": "bce", "dropout": 0.3},
}


def small(model: Any, **changes: Any) -> Any:
    """A small model whose training draws at random all that it can: order, dropout, negatives, noise."""
    return quick(model, **{**SMALL[model], **changes})


def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The groups in two: each user's last item is held out."""
    rows = groups()
    last = rows["timestamp"] // 100 == 5
    return rows[~last].reset_index(drop=True), rows[last].reset_index(drop=True)


def scores_of(model: Any) -> np.ndarray:
    return model.predict(np.repeat(np.arange(40), 24), np.tile(np.arange(24), 40))


# -- watching ----------------------------------------------------------------------------------------------------------

BY_KIND = {kind: [f"{name}@3" if has_cut(name) else name for name in table] for kind, table in TABLES.items()}
WATCHED = [(kind, name) for kind, names in BY_KIND.items() for name in names if not name.startswith("ild")]


class Watched(Additive):
    """An additive model that remembers what each epoch's weights were."""

    def _validation_score(self, metric: Any, validation: Dataset) -> float:
        self.states_ = [*getattr(self, "states_", []), copy.deepcopy(self.module_.state_dict())]
        return super()._validation_score(metric, validation)


@pytest.mark.parametrize("kind, name", WATCHED, ids=[name for _, name in WATCHED])
def test_the_epoch_that_a_metric_likes_best_is_kept(kind: str, name: str) -> None:
    rows = clicks(150)
    roles = {"rating": {"label_col": None}, "label": {"rating_col": None}}.get(kind, {"label_col": None})
    train, held_out = Dataset(rows.iloc[:100], **roles), Dataset(rows.iloc[100:], **roles)
    if kind in ("ranking", "scores", "lists"):
        # Rankings are of what is not seen: the user and the item of a held-out row have not met before.
        train, held_out = (Dataset(part) for part in parts())
    model = quick(Watched, monitor=name, epochs=5, learning_rate=0.1).fit(train, validation_data=held_out)
    figures = model.training_log_[name]
    assert figures.notna().all()
    best = figures.max() if greater_is_better(name) else figures.min()
    chosen = model.states_[int(np.argmax(figures == best))]
    assert all(torch.equal(chosen[one], tensor) for one, tensor in model.module_.state_dict().items())


def test_a_metric_with_options_is_watched_under_its_full_name() -> None:
    train, held_out = parts()
    model = quick(Tables, monitor="ndcg@5( ideal=k )").fit(train, validation_data=held_out)
    assert "ndcg@5( ideal=k )" in model.training_log_.columns


def test_patience_stops_the_training() -> None:
    train, held_out = parts()
    # Of all lists the same share of the catalog is shown, whatever the weights: no epoch is better than the first.
    model = quick(Tables, monitor="coverage@24", epochs=9, patience=2).fit(train, validation_data=held_out)
    assert len(model.training_log_) == 3


def test_what_the_lists_are_made_of_is_that_of_the_best_epoch() -> None:
    train, held_out = parts()
    watched = quick(Tables, monitor="recall@5", epochs=8, learning_rate=0.5).fit(train, validation_data=held_out)
    best = int(watched.training_log_["recall@5"].idxmax()) + 1
    assert best < 8
    short = watched.clone(epochs=best).fit(train)
    np.testing.assert_array_equal(watched.user_factors_, short.user_factors_)
    np.testing.assert_array_equal(scores_of(watched), scores_of(short))


def test_without_validation_data_there_is_no_patience() -> None:
    with pytest.raises(ParameterError, match=r"Tables: patience=3 needs fit\(data, validation_data="):
        quick(Tables, patience=3).fit(groups())


def test_an_unknown_metric_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ParameterError, match="there is no metric 'quality'"):
        quick(Tables, monitor="quality").fit(groups())


@pytest.mark.parametrize("monitor, needs", [("rmse", "ratings"), ("auc", "labels"), ("logloss", "labels")])
def test_validation_data_without_the_metrics_column_is_refused(monitor: str, needs: str) -> None:
    train, held_out = parts()
    with pytest.raises(DataError, match=rf"Tables: monitor='{monitor}' needs {needs} in validation_data.*another"):
        quick(Tables, monitor=monitor).fit(train, validation_data=held_out)


# -- the training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_training_leaves_a_log_and_nothing_that_it_alone_needs(model: Any) -> None:
    one = small(model, epochs=3).fit(groups())
    assert list(one.training_log_.columns) == ["epoch", "loss", "seconds"]
    assert one.training_log_["epoch"].tolist() == [1, 2, 3]
    assert [name for name in vars(one) if name.startswith("_")] == []
    assert not one.module_.training


@pytest.mark.parametrize("model", MODELS)
def test_bf16_gives_about_the_same_scores(model: Any) -> None:
    quiet = {DeepFM: {"dropout": 0.0}, MultVAE: {"dropout": 0.0}, SASRec: {"dropout": 0.0}}.get(model, {})
    full, half = (small(model, epochs=4, precision=one, **quiet).fit(groups()) for one in ("fp32", "bf16"))
    assert all(weights.dtype == torch.float32 for weights in half.module_.parameters())
    expected, found = scores_of(full), scores_of(half)
    # LightGCN multiplies no dense matrices: there is nothing to round.
    assert np.array_equal(found, expected) == (model is LightGCN)
    np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())


def test_a_training_that_diverges_leaves_the_fitted_model() -> None:
    model = quick(Tables).fit(groups())
    before = scores_of(model)
    model.set_params(learning_rate=1e30)
    with pytest.raises(
        TrainingError, match=r"Tables: the (loss|weights) became NaN or infinite .* learning_rate=1e\+30"
    ):
        model.fit(groups())
    np.testing.assert_array_equal(scores_of(model), before)


def test_a_training_that_diverges_leaves_an_unfitted_model_unfitted() -> None:
    model = quick(Tables, learning_rate=1e30)
    with pytest.raises(TrainingError):
        model.fit(groups())
    assert not model.is_fitted


def test_the_progress_bar_has_the_models_name(capfd: pytest.CaptureFixture[str]) -> None:
    quick(Tables, verbose=1).fit(groups())
    out, err = capfd.readouterr()
    assert out == ""
    assert "Tables: 100%" in err
    quick(Tables, verbose=0).fit(groups())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ParameterError, match=f"device='{device}'"):
        quick(Tables, device=device).fit(groups())


# -- checkpoints -------------------------------------------------------------------------------------------------------


def doomed(model: Any) -> Any:
    """A subclass whose training is cut off, as by Ctrl-C, at the step that `steps_left` comes down to."""

    def loss(self: Any, net: Any, batch: Any) -> torch.Tensor:
        cls = type(self)
        if cls.steps_left == 0:
            raise KeyboardInterrupt
        cls.steps_left -= 1
        return model._loss(self, net, batch)

    return type(f"Doomed{model.__name__}", (model,), {"_loss": loss, "steps_left": math.inf, "__module__": __name__})


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_cut_off_and_fitted_again_gives_bitwise_the_same_model(model: Any, tmp_path: Path) -> None:
    train, held_out = parts()
    cls = doomed(model)
    SMALL[cls] = SMALL[model]
    settings = {"epochs": 5, "monitor": "recall@5", "patience": 4}
    whole = small(cls, **settings).fit(train, validation_data=held_out)
    again = small(cls, **settings, checkpoint=str(tmp_path / "run.ckpt"))
    steps = -(-len(whole._examples(Dataset(train))) // 16)
    cls.steps_left = 2 * steps + 1
    with pytest.raises(KeyboardInterrupt):
        again.fit(train, validation_data=held_out)
    assert not again.is_fitted
    assert (tmp_path / "run.ckpt").exists()
    cls.steps_left = 3 * steps
    again.fit(train, validation_data=held_out)
    assert cls.steps_left == (5 - len(whole.training_log_)) * steps
    np.testing.assert_array_equal(scores_of(again), scores_of(whole))
    columns = ["epoch", "loss", "recall@5"]
    pd.testing.assert_frame_equal(again.training_log_[columns], whole.training_log_[columns])
    assert not (tmp_path / "run.ckpt").exists()


def left_behind(path: Path, **changes: Any) -> Any:
    """The model of a run that was cut off and left its checkpoint."""
    cls = doomed(Tables)
    model = quick(cls, checkpoint=str(path), **changes)
    cls.steps_left = 20
    with pytest.raises(KeyboardInterrupt):
        model.fit(groups())
    cls.steps_left = math.inf
    return model


OTHER_RUNS: dict[str, dict[str, Any]] = {
    "another class": {"model": quick(Tables)},
    "a hyperparameter": {"changes": {"learning_rate": 0.1}},
    "another seed": {"changes": {"random_state": 1}},
    "other rows": {"data": groups().iloc[1:]},
    "more columns": {"data": groups().assign(rating=1.0)},
    "validation data": {"validation": groups().iloc[:5].assign(item_id=23)},
}


@pytest.mark.parametrize("other", OTHER_RUNS.values(), ids=OTHER_RUNS.keys())
def test_the_checkpoint_of_another_run_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    model = left_behind(path)
    stranger = other.get("model", model).clone(checkpoint=str(path), **other.get("changes", {}))
    with pytest.raises(LoadError, match=r"run\.ckpt belongs to another model, other hyperparameters or other data"):
        stranger.fit(other.get("data", groups()), validation_data=other.get("validation"))
    model.fit(groups())
    np.testing.assert_array_equal(scores_of(model), scores_of(quick(Tables).fit(groups())))


def test_how_much_is_shown_does_not_tell_runs_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = left_behind(tmp_path / "run.ckpt")
    model.set_params(verbose=1, device="auto").fit(groups())
    assert "50%" in capfd.readouterr().err
    assert not (tmp_path / "run.ckpt").exists()


# -- saving and moving -------------------------------------------------------------------------------------------------


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    one = quick(Tables, embedding_dim=8).fit(groups())
    one.set_params(embedding_dim=4)
    with pytest.raises(
        ParameterError, match=r"Tables: hyperparameters were changed since the fit.*fit the model again"
    ):
        one.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    one.set_params(embedding_dim=8, epochs=50).save(tmp_path / "model")
    np.testing.assert_array_equal(scores_of(recsys.load(tmp_path / "model")), scores_of(one))


def test_a_network_that_needs_numbers_to_be_made_is_saved_all_the_same(tmp_path: Path) -> None:
    class Counted(Tables):
        def _network(self) -> Any:
            assert float(torch.ones(()).sum()) == 1
            return super()._network()

    one = quick(Counted).fit(groups())
    one.save(tmp_path / "model")
    np.testing.assert_array_equal(scores_of(recsys.load(tmp_path / "model")), scores_of(one))


@pytest.mark.parametrize("model", [Additive, Tables, Weights, Fading])
def test_a_loaded_network_scores_bitwise_as_the_saved_one(model: Any, tmp_path: Path) -> None:
    one = quick(model).fit(groups())
    one.save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    np.testing.assert_array_equal(scores_of(loaded), scores_of(one))
    assert not loaded.module_.training
    pd.testing.assert_frame_equal(loaded.training_log_, one.training_log_)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_model_fitted_on_a_gpu_serves_on_a_machine_without_one(tmp_path: Path) -> None:
    one = quick(Tables).fit(groups())
    one.device = "cuda"
    one.save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    np.testing.assert_array_equal(scores_of(loaded), scores_of(one))
    assert loaded.device == "cuda"


def test_loading_leaves_the_callers_random_state(tmp_path: Path) -> None:
    quick(Tables).fit(groups()).save(tmp_path / "model")
    before = torch.get_rng_state()
    recsys.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)


# -- on a GPU ----------------------------------------------------------------------------------------------------------

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("model", [Weights, Fading, SASRec, "DeepFM on labels"])
def test_a_fit_on_the_gpu_gives_the_scores_of_one_on_the_cpu(model: Any) -> None:
    """Where nothing is drawn on the device, order and start are the same."""
    if model == "DeepFM on labels":
        one, rows = small(DeepFM, dropout=0.0), clicks(200)
        users, items = rows["user_id"], rows["item_id"]
    else:
        one = small(SASRec, loss="softmax", dropout=0.0) if model is SASRec else quick(model)
        rows, users, items = groups(), np.repeat(np.arange(40), 24), np.tile(np.arange(24), 40)
    cpu, gpu = (one.clone(device=device, epochs=4).fit(rows) for device in ("cpu", "cuda"))
    assert next(gpu.module_.parameters()).is_cuda
    expected = cpu.predict(users, items)
    np.testing.assert_allclose(gpu.predict(users, items), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fit_on_the_gpu_learns_as_well_as_one_on_the_cpu(model: Any, precision: str) -> None:
    train, held_out = parts()
    settings = {"epochs": 30, "learning_rate": 0.02, "precision": precision}
    fitted = [small(model, **settings, device=device).fit(train) for device in ("cpu", "cuda")]
    cpu, gpu = (recsys.evaluate(one, held_out, ["ndcg@10"])["ndcg@10"] for one in fitted)
    # Seeds alone differ by as much.
    assert gpu > cpu - 0.2


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("model", MODELS)
def test_a_fit_on_the_gpu_leaves_the_callers_random_states(model: Any) -> None:
    torch.cuda.init()
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    small(model, device="cuda").fit(groups())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(torch.cuda.get_rng_state(), before[1])


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("model", MODELS)
def test_a_fit_cut_off_on_the_gpu_goes_on_there(model: Any, tmp_path: Path) -> None:
    cls = doomed(model)
    SMALL[cls] = SMALL[model]
    whole = small(cls, epochs=4, device="cuda").fit(groups())
    again = small(cls, epochs=4, device="cuda", checkpoint=str(tmp_path / "run.ckpt"))
    cls.steps_left = 2 * -(-len(whole._examples(Dataset(groups()))) // 16) + 1
    with pytest.raises(KeyboardInterrupt):
        again.fit(groups())
    cls.steps_left = math.inf
    again.fit(groups())
    expected = scores_of(whole)
    np.testing.assert_allclose(scores_of(again), expected, atol=1e-3 * np.abs(expected).max())
