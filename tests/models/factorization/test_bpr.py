from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import BPR, Dataset
from recsys.errors import RecsysError
from recsys.kernels.ranking_sgd import bpr_epoch

RATE, PENALTY = 1e-3, 0.2


def quick(**parameters: Any) -> BPR:
    return BPR(verbose=0, **({"n_factors": 8, "epochs": 30} | parameters))


def taste_frame(n_users: int = 40, n_items: int = 30, n_groups: int = 3, seed: int = 0) -> pd.DataFrame:
    """User u likes six of the items of group u % 3."""
    rng = np.random.default_rng(seed)
    rows = [(u, u % n_groups + n_groups * i) for u in range(n_users) for i in rng.permutation(n_items // n_groups)[:6]]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


def one_step(adagrad: bool, bias: bool = True) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """State before and after a step for the triple (1, 2, 0), and Adagrad's sums."""
    rng = np.random.default_rng(0)
    state = [rng.normal(size=(3, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)]
    before = [part.copy() for part in state]
    sums = [np.full(part.shape if adagrad else (0,) * part.ndim, 0.1) for part in state]
    users, indptr, indices = np.array([0, 1, 1]), np.array([0, 1, 3, 3]), np.array([3, 1, 2])
    negatives = np.array([[1, 2, 0, 3]])  # the first two are the user's own
    _, steps = bpr_epoch(
        np.array([2]), negatives, users, indptr, indices, *state, RATE, PENALTY, PENALTY, bias, *sums
    )  # fmt: skip
    assert steps == 1
    return before, state, sums


def objective(parts: list[np.ndarray], bias: bool) -> float:
    """-ln sigmoid(x_ui - x_uj) and half the penalty on what the triple (1, 2, 0) touches."""
    p, q, b = parts
    x = p[1] @ (q[2] - q[0]) + b[2] - b[0]
    touched = [p[1], q[2], q[0], *([b[[0, 2]]] if bias else [])]
    return float(np.log1p(np.exp(-x)) + PENALTY / 2 * sum((part**2).sum() for part in touched))


def numerical_gradient(parts: list[np.ndarray], bias: bool) -> list[np.ndarray]:
    gradients = [np.zeros_like(part) for part in parts]
    for part, gradient in zip(parts, gradients, strict=True):
        for at in np.ndindex(part.shape):
            kept, ends = part[at], []
            for side in (1e-5, -1e-5):
                part[at] = kept + side
                ends.append(objective(parts, bias))
            part[at] = kept
            gradient[at] = (ends[0] - ends[1]) / 2e-5
    return gradients


def test_a_step_follows_the_numerical_gradient() -> None:
    before, after, _ = one_step(adagrad=False)
    for old, new, gradient in zip(before, after, numerical_gradient(before, True), strict=True):
        np.testing.assert_allclose((old - new) / RATE, gradient, atol=1e-6)


def test_an_adagrad_step_is_divided_by_the_root_of_the_summed_squares() -> None:
    before, after, sums = one_step(adagrad=True)
    for old, new, squares, gradient in zip(before, after, sums, numerical_gradient(before, True), strict=True):
        np.testing.assert_allclose(squares, 0.1 + gradient**2, atol=1e-6)
        np.testing.assert_allclose((old - new) / RATE, gradient / np.sqrt(0.1 + gradient**2), atol=1e-5)


def test_without_item_biases_none_is_learned() -> None:
    before, after, _ = one_step(adagrad=False, bias=False)
    np.testing.assert_array_equal(before[2], after[2])
    model = quick(item_bias=False, epochs=2).fit(taste_frame())
    assert (model.item_biases_ == 0).all()


def test_a_score_is_the_product_plus_the_items_bias() -> None:
    model = quick().fit(taste_frame())
    users, items = np.indices((40, 30)).reshape(2, -1)
    wanted = model.user_factors_ @ model.item_factors_.T + model.item_biases_
    np.testing.assert_allclose(model.predict(users, items), wanted.ravel(), atol=1e-5)
    # A bias of the user would cancel in every pair that is compared.
    assert not [name for name in vars(model) if "user_bias" in name]
    np.testing.assert_allclose(model.predict([999] * 30, range(30)), model.item_biases_, atol=1e-6)


def test_a_negative_is_never_something_the_user_has() -> None:
    # User 0 has all items: no step is right. User 1 has item 0 alone, so that 1 and 2 are its only negatives.
    frame = pd.DataFrame({"user_id": [0, 0, 0, 1], "item_id": [0, 1, 2, 0]})
    model = quick(epochs=200, regularization=0.0, init_std=1e-3).fit(frame)
    start = quick(epochs=1, regularization=0.0, init_std=1e-3, learning_rate=1e-12).fit(frame)
    np.testing.assert_allclose(model.user_factors_[0], start.user_factors_[0], atol=1e-9)
    assert model.item_biases_[0] > 1
    assert (model.item_biases_[1:] < -0.5).all()
    np.testing.assert_allclose(model.item_biases_.sum(), 0, atol=1e-4)


def test_an_epoch_is_as_many_draws_with_replacement_as_there_are_interactions() -> None:
    # All have item 0 and nothing else, so that each step raises its bias by half the rate.
    frame, rate = pd.DataFrame({"user_id": np.arange(2000), "item_id": 0}), 1e-5
    data = Dataset(frame, item_features=pd.DataFrame({"item_id": range(300)}))
    start, model = (quick(epochs=1, regularization=0.0, learning_rate=r).fit(data) for r in (1e-30, rate))
    assert abs(model.item_biases_[0] / (rate / 2) - 2000) < 20
    stepped = (model.user_factors_ != start.user_factors_).any(1).mean()
    assert abs(stepped - (1 - np.exp(-1))) < 0.05  # a pass in a fixed or shuffled order would reach everyone


def test_repeated_interactions_are_drawn_once() -> None:
    frame = taste_frame()
    one, other = quick(epochs=3).fit(frame), quick(epochs=3).fit(pd.concat([frame, frame.iloc[:50]]))
    np.testing.assert_array_equal(one.item_factors_, other.item_factors_)


@pytest.mark.parametrize("how", ["uniform", "popularity"])
def test_negatives_are_proposed_evenly_or_by_their_users(how: Any) -> None:
    items = np.repeat(np.arange(4), [1, 2, 3, 4])
    drawn = BPR(negatives=how)._draw(np.random.default_rng(0), items, 5, 20_000)
    share = np.bincount(drawn.ravel(), minlength=5) / drawn.size
    wanted = np.full(5, 0.2) if how == "uniform" else np.array([1, 2, 3, 4, 0]) / 10
    np.testing.assert_allclose(share, wanted, atol=5 / np.sqrt(drawn.size))


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
def test_what_users_have_is_ranked_above_what_they_have_not(optimizer: Any, negatives: Any) -> None:
    frame = taste_frame()
    model = quick(optimizer=optimizer, negatives=negatives, epochs=60, learning_rate=0.1).fit(frame)
    x = Dataset(frame).to_csr().toarray() > 0
    scores = model.user_factors_ @ model.item_factors_.T + model.item_biases_
    above = [(row[own][:, None] > row[~own]).mean() for row, own in zip(scores, x, strict=True)]
    assert np.mean(above) > 0.95
    # Of what a user has not, that of the own group comes first.
    found = model.recommend(k=3)
    assert (found["item_id"] % 3 == found["user_id"] % 3).mean() > 0.95
    losses = model.training_log_["loss"]
    assert losses.iloc[-1] < 0.3 * losses.iloc[0]


def test_a_user_without_interactions_has_no_vector() -> None:
    data = Dataset(taste_frame(), user_features=pd.DataFrame({"user_id": [999]}))
    assert (quick(epochs=1).fit(data).user_factors_[-1] == 0).all()


def test_a_rate_that_diverges_is_named() -> None:
    with pytest.raises(RecsysError, match="loss became NaN; lower learning_rate="):
        quick(learning_rate=1e30, regularization=1.0).fit(taste_frame())


def test_items_have_a_penalty_of_their_own_where_it_is_given():
    data = taste_frame()
    shared, same = quick(regularization=0.02).fit(data), quick(regularization=0.02, item_regularization=0.02).fit(data)
    np.testing.assert_array_equal(shared.item_factors_, same.item_factors_)
    strict = quick(regularization=0.02, item_regularization=0.5).fit(data)
    assert np.linalg.norm(strict.item_factors_) < 0.5 * np.linalg.norm(shared.item_factors_)
    loose = quick(regularization=0.5, item_regularization=0.02).fit(data)
    assert np.linalg.norm(loose.user_factors_) < 0.5 * np.linalg.norm(shared.user_factors_)
