"""How models that descend by single steps stop, keep the best epoch, and say what went wrong."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import PMF, SVD, Dataset, Recommender, SVDpp
from recsys.errors import DataError, ParameterError, RecsysError
from recsys.models.factorization.descent import DescentRecommender

FRAME = pd.DataFrame({"user_id": [0, 0, 1], "item_id": [0, 1, 1], "rating": [1.0, 3.0, 2.0]})
RATING_MODELS: list[Any] = [SVD, SVDpp, PMF, PMF(link="sigmoid")]


class Scripted(DescentRecommender):
    """Its one number grows by the step size; the validation figure of each epoch is given."""

    figures = (1.0,)
    losses = (1.0,)

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.number_ = np.zeros(1)
        self.rates_: list[float] = []
        self._descend(np.random.default_rng(self.random_state), validation)

    def _epoch(self, rng: np.random.Generator, rate: float) -> float:
        self.number_ += rate
        self.rates_.append(rate)
        return self.losses[(len(self.rates_) - 1) % len(self.losses)]

    def _learned(self) -> list[Any]:
        return [self.number_]

    def _validate(self, validation: Dataset) -> tuple[str, float]:
        return "figure", self.figures[len(self.rates_) - 1]

    def _user_vectors(self, query: Any) -> Any:
        return np.ones((len(query), 1), np.float32)

    def _item_vectors(self) -> Any:
        return np.ones((len(self.items_), 1), np.float32)


class Higher(Scripted):
    lower_is_better = False


def scripted(cls: type[Scripted] = Scripted, figures: tuple[float, ...] = (), **parameters: Any) -> Scripted:
    made: Scripted = type(cls.__name__, (cls,), {"figures": figures})(
        **{"learning_rate": 1.0, "verbose": 0} | parameters
    )
    return made.fit(FRAME, validation_data=FRAME if figures else None)


def ratings(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Noisy ratings of rank 2 between 1 and 5, in two halves of the pairs; user 3 of the second half is a stranger."""
    rng = np.random.default_rng(seed)
    table = np.clip(3 + rng.normal(size=(30, 2)) @ rng.normal(size=(2, 30)) + rng.normal(0, 0.7, (30, 30)), 1, 5)
    users, items = np.indices(table.shape).reshape(2, -1)
    frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": table.ravel()})
    first = rng.random(len(frame)) < 0.5
    rest = frame[~first].reset_index(drop=True)
    return frame[first].reset_index(drop=True), rest.assign(user_id=rest["user_id"].replace(3, 777))


def rating_model(model: Any, **parameters: Any) -> Any:
    made = model() if isinstance(model, type) else model.clone()
    return made.set_params(**{"n_factors": 16, "regularization": 0.0, "learning_rate": 0.03, "verbose": 0} | parameters)


def test_the_step_size_decays_by_its_factor_each_epoch() -> None:
    model = scripted(epochs=4, learning_rate=0.8, learning_rate_decay=0.5)
    np.testing.assert_allclose(model.rates_, [0.8, 0.4, 0.2, 0.1])
    assert scripted(epochs=3).rates_ == [1, 1, 1]


def test_training_stops_when_patience_epochs_bring_nothing_better_and_keeps_the_best() -> None:
    model = scripted(figures=(5, 3, 4, 2, 2, 2.5, 1), epochs=7, patience=3)
    assert model.training_log_["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    model = scripted(figures=(5, 3, 4, 2, 2, 2.5, 1), epochs=7, patience=2)
    assert model.training_log_["figure"].tolist() == [5, 3, 4, 2, 2, 2.5]
    assert model.number_ == 4


def test_figures_of_which_more_is_better_are_followed_upwards() -> None:
    model = scripted(Higher, (1, 3, 2, 2.5, 4), epochs=5, patience=2)
    assert model.training_log_["figure"].tolist() == [1, 3, 2, 2.5]
    assert model.number_ == 2


def test_validation_without_patience_runs_all_epochs_and_keeps_the_best() -> None:
    model = scripted(figures=(5, 3, 4), epochs=3)
    assert len(model.training_log_) == 3
    assert model.number_ == 2


def test_without_validation_the_last_epoch_is_kept() -> None:
    model = scripted(epochs=3)
    assert model.number_ == 3
    assert set(model.training_log_) == {"epoch", "loss", "seconds"}


def test_patience_without_validation_data_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"Scripted: patience=3 needs fit\(data, validation_data=...\)"):
        scripted(patience=3)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_ran_off_names_the_step_size_and_leaves_the_model_unfitted(loss: float) -> None:
    model = type("Scripted", (Scripted,), {"losses": (1.0, loss)})(learning_rate=7.0, verbose=0)
    with pytest.raises(RecsysError, match="Scripted: the loss became NaN; lower learning_rate=7"):
        model.fit(FRAME)
    assert not model.is_fitted


@pytest.mark.parametrize("model", RATING_MODELS)
def test_the_best_epoch_of_a_rating_model_is_what_it_predicts_with(model: Any) -> None:
    train, validation = ratings()
    fitted = rating_model(model, epochs=200, patience=5, init_std=0.3).fit(train, validation_data=validation)
    log = fitted.training_log_
    assert len(log) == log["rmse"].idxmin() + 1 + 5 < 200
    error = np.sqrt(np.mean((fitted.predict(validation) - validation["rating"]) ** 2))
    assert error == pytest.approx(log["rmse"].min(), abs=1e-5)
    assert log["rmse"].iloc[-1] > log["rmse"].min()


@pytest.mark.parametrize("model", RATING_MODELS)
def test_validation_data_of_a_rating_model_needs_ratings(model: Any) -> None:
    train, validation = ratings()
    with pytest.raises(DataError, match="validation_data needs a rating column; pass rating_col="):
        rating_model(model, epochs=1).fit(train, validation_data=validation.drop(columns="rating"))


@pytest.mark.parametrize("model", [SVD, SVDpp, PMF])
def test_a_rate_at_which_ratings_diverge_is_named(model: Any) -> None:
    with pytest.raises(RecsysError, match=f"{model.__name__}: the loss became NaN; lower learning_rate=50"):
        rating_model(model, learning_rate=50.0).fit(ratings()[0])


@pytest.mark.parametrize("model", RATING_MODELS)
def test_a_decaying_rate_ends_nearer_to_the_training_ratings_minimum(model: Any) -> None:
    train, _ = ratings()
    steady, decaying = (
        rating_model(model, n_factors=4, epochs=60, learning_rate=0.15, learning_rate_decay=decay).fit(train)
        for decay in (1.0, 0.95)
    )
    assert decaying.training_log_["loss"].iloc[-1] < steady.training_log_["loss"].iloc[-1]


@pytest.mark.parametrize("model", RATING_MODELS)
def test_threads_share_an_epoch(model: Any) -> None:
    train, test = ratings()
    one, many = (rating_model(model, n_factors=4, epochs=20, n_jobs=n).fit(train) for n in (1, 2))
    # Biases and vectors move no more or less often: only the order tells the two apart, and here and there a lost step.
    assert many.training_log_["loss"].iloc[-1] == pytest.approx(one.training_log_["loss"].iloc[-1], rel=0.2)
    assert np.abs(many.predict(test) - one.predict(test)).mean() < 0.3


@pytest.mark.parametrize("n_jobs", [2, 3, 40])
@pytest.mark.parametrize("model", [SVD, PMF])
def test_threads_that_take_turns_on_the_items_lose_nothing_and_repeat_to_the_last_bit(model: Any, n_jobs: int) -> None:
    train, test = ratings()
    fits = [rating_model(model, n_factors=4, epochs=3, n_jobs=n_jobs).fit(train) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].predict(test), fits[1].predict(test))
    np.testing.assert_array_equal(fits[0].item_factors_, fits[1].item_factors_)
    # Every rating is stepped on once: without a step that moves anything the loss is that of the start.
    still = [rating_model(model, epochs=1, learning_rate=1e-12, n_jobs=n).fit(train) for n in (1, n_jobs)]
    assert still[1].training_log_["loss"].iloc[0] == pytest.approx(still[0].training_log_["loss"].iloc[0], rel=1e-5)


@pytest.mark.parametrize("model", RATING_MODELS)
def test_training_ratings_are_not_kept_beside_the_histories(model: Any) -> None:
    fitted: Recommender = rating_model(model, epochs=1).fit(ratings()[0])
    assert not [name for name in vars(fitted) if name.startswith("_")]


@pytest.mark.parametrize("model", RATING_MODELS)
def test_planted_neighbors_are_found_by_their_vectors(model: Any) -> None:
    # Two kinds of users and of items; a user rates all items of its own kind 5 and all others 1.
    users, items = np.indices((20, 12)).reshape(2, -1)
    frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": np.where(users % 2 == items % 2, 5.0, 1.0)})
    fitted = rating_model(model, epochs=60).fit(frame)
    alike = fitted.similar_items([0, 5], k=5)
    assert (alike["similar_item_id"] % 2 == alike["item_id"] % 2).all()
    alike = fitted.similar_users([0, 7], k=9)
    assert (alike["similar_user_id"] % 2 == alike["user_id"] % 2).all()
