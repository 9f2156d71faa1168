from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.autoencoders.tastes import ratings_frame

import recsys
from recsys import AutoRec, Dataset
from recsys.errors import DataError, ParameterError, UnsupportedError
from recsys.training.examples import RatingBatch

AXES = ["item", "user"]


def quick(**parameters: Any) -> AutoRec:
    small = {"n_factors": 16, "epochs": 60, "batch_size": 16, "learning_rate": 0.02, "regularization": 1.0}
    return AutoRec(verbose=0, device="cpu", **(small | parameters))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("axis", AXES)
def test_predictions_are_the_papers_formula_clipped_to_the_scale(axis: Any) -> None:
    frame = ratings_frame()
    model = quick(axis=axis, epochs=5).fit(frame)
    weights = {name: value.numpy().astype(float) for name, value in model.module_.state_dict().items()}
    r = frame.pivot(index="user_id", columns="item_id", values="rating").fillna(0).to_numpy()
    rows = r.T if axis == "item" else r
    code = sigmoid(rows @ weights["first.table.weight"][1:] + weights["first.bias"])
    wanted = code @ weights["output.weight"].T + weights["output.bias"]
    wanted = np.clip(wanted.T if axis == "item" else wanted, 1, 5)
    users, items = np.indices(wanted.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(wanted.shape), wanted, atol=1e-4)


@pytest.mark.parametrize("axis", AXES)
def test_held_out_ratings_are_filled_in(axis: Any) -> None:
    train, test = recsys.split.random(ratings_frame(90), 0.2)
    found = recsys.evaluate(quick(axis=axis, regularization=10.0).fit(train), test, metrics=["rmse"])["rmse"]
    assert found < 0.85  # half of the ratings are one off by chance, which leaves 0.5
    assert np.std(test.ratings) > 1.5


def loss_of(frame: pd.DataFrame, axis: Any, change: Any = None) -> tuple[float, torch.Tensor]:
    """The loss of all rows and its gradient at the outputs' biases, with the weights of a model of `frame`."""
    model = quick(axis=axis, epochs=1).fit(frame)
    examples = model._examples(Dataset(frame))
    batch: RatingBatch = examples.batch(torch.arange(len(examples)))
    net: Any = model.module_
    if change is not None:
        change(net)
    loss = model._loss(net, batch)
    return float(loss.detach()), torch.autograd.grad(loss, net.output.bias)[0]


def test_only_observed_ratings_count() -> None:
    # Item 1 is rated by user 0 alone, so that of user 1 only the rating of item 0 is a term.
    frame = pd.DataFrame({"user_id": [0, 1, 0], "item_id": [0, 0, 1], "rating": [4.0, 2.0, 5.0]})

    def flat(net: Any) -> None:
        with torch.no_grad():
            net.output.weight.zero_()
            net.first.table.weight.zero_()
            net.output.bias.copy_(torch.tensor([3.0, 3.0]))

    loss, gradient = loss_of(frame, "item", flat)
    assert loss == pytest.approx((1 + 1 + 4) / 3)
    torch.testing.assert_close(gradient, torch.tensor([-2 * (1 + 2) / 3, 2 * 1 / 3]))


@pytest.mark.parametrize("axis", AXES)
def test_the_penalty_is_on_both_matrices_and_on_no_bias(axis: Any) -> None:
    frame = ratings_frame(12, 9)
    losses = []
    for penalty in (0.0, 3.0):
        model = quick(axis=axis, regularization=penalty, epochs=1)
        model.fit(frame)
        net: Any = quick(axis=axis, epochs=1).fit(frame).module_
        with torch.no_grad():
            net.first.bias.fill_(0.5)
        examples = model._examples(Dataset(frame))
        losses.append(model._loss(net, examples.batch(torch.arange(len(examples)))))
    norms = net.first.table.weight.square().sum() + net.output.weight.square().sum()
    torch.testing.assert_close(losses[1] - losses[0], 1.5 / len(frame) * norms)


@pytest.mark.parametrize("axis", AXES)
def test_lbfgs_goes_down_faster_than_adam_and_in_every_epoch(axis: Any) -> None:
    frame = ratings_frame()
    log = quick(axis=axis, optimizer="lbfgs", epochs=12).fit(frame).training_log_["loss"]
    adam = quick(axis=axis, epochs=12).fit(frame).training_log_["loss"]
    assert (np.diff(log) <= 0).all()
    assert log.iloc[-1] < 0.9 * adam.iloc[-1]


@pytest.mark.parametrize("axis", AXES)
def test_small_data_is_learned_by_heart_without_a_penalty(axis: Any) -> None:
    frame = ratings_frame(12, 9)
    model = quick(axis=axis, optimizer="lbfgs", epochs=40, regularization=0.0).fit(frame)
    assert recsys.evaluate(model, frame, metrics=["rmse"])["rmse"] < 0.05


@pytest.mark.parametrize("activation", ["sigmoid", "identity", "relu", "tanh"])
@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_every_activation_learns(activation: Any, output: Any) -> None:
    frame = ratings_frame()
    model = quick(activation=activation, output_activation=output).fit(frame)
    assert recsys.evaluate(model, frame, metrics=["rmse"])["rmse"] < 0.8


def test_a_sigmoid_output_stays_within_the_scale_by_itself() -> None:
    frame = ratings_frame().query("rating < 5")
    model = quick(output_activation="sigmoid", epochs=3).fit(frame)
    scores = model._output(torch.tensor([-50.0, 0.0, 50.0]))
    np.testing.assert_allclose(scores, [1.0, 2.5, 4.0], atol=1e-6)
    assert model.predict([0], [999])[0] == pytest.approx(frame["rating"].mean(), abs=1e-5)


@pytest.mark.parametrize("axis", AXES)
def test_what_nothing_is_known_of_gets_the_mean(axis: Any) -> None:
    frame = ratings_frame()
    users = pd.DataFrame({"user_id": [*range(60), 77], "kind": "a"})
    items = pd.DataFrame({"item_id": [*range(30), 88], "kind": "a"})
    model = quick(axis=axis, epochs=3).fit(Dataset(frame, user_features=users, item_features=items))
    # An unknown user, an unknown item, a user and an item without ratings.
    found = model.predict([999, 0, 77, 0, 999], [0, 999, 0, 88, 999])
    np.testing.assert_allclose(found, frame["rating"].mean(), atol=1e-5)


def test_the_user_form_serves_a_history_with_ratings_as_the_user_who_has_it() -> None:
    frame = ratings_frame()
    model = quick(axis="user", epochs=5).fit(frame)
    mine = frame[frame["user_id"] == 7]
    wanted = model.recommend([7], k=8)
    found = model.recommend(history=mine.assign(user_id=1000), k=8)
    assert found["item_id"].tolist() == wanted["item_id"].tolist()
    np.testing.assert_allclose(found["score"], wanted["score"], atol=1e-5)
    turned = model.recommend(history=mine.assign(rating=6 - mine["rating"]), k=8)
    assert turned["item_id"].tolist() != wanted["item_id"].tolist()
    with pytest.raises(DataError, match="AutoRec was fitted on ratings; give the history a 'rating' column"):
        model.recommend(history=mine["item_id"].tolist())


def test_strangers_are_served_what_people_like_them_rate_high() -> None:
    model = quick(axis="user", regularization=10.0).fit(ratings_frame(90))
    strangers = ratings_frame(30, seed=5)
    found = model.recommend(history=strangers, k=3)
    assert (found["item_id"] // 10 == found["user_id"] % 3).mean() > 0.9


def test_the_item_form_says_which_form_serves_a_history() -> None:
    item, user = quick(epochs=1), quick(epochs=1, axis="user")
    assert [AutoRec.supports("history"), item.supports("history"), user.supports("history")] == [False, False, True]
    frame = ratings_frame()
    item.fit(frame)
    with pytest.raises(UnsupportedError, match=r"AutoRec\(axis='item'\) .* take axis='user' for history="):
        item.recommend(history=frame)


def test_lbfgs_refuses_a_checkpoint() -> None:
    with pytest.raises(ParameterError, match=r"checkpoint=.* optimizer='lbfgs'"):
        quick(optimizer="lbfgs", checkpoint="somewhere").fit(ratings_frame())


def test_validation_picks_the_best_epoch() -> None:
    train, rest = recsys.split.random(ratings_frame(), 0.3)
    model = quick(regularization=0.0, epochs=40, n_factors=64).fit(train, validation_data=rest)
    log = model.training_log_["rmse"]
    assert recsys.evaluate(model, rest, metrics=["rmse"])["rmse"] == pytest.approx(log.min(), abs=1e-6)
    assert log.min() < log.iloc[-1]
