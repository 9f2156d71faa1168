from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.factorization.triples import all_scores, in_own_group, taste_frame, well_ordered

import recsys
from recsys import BPR, Dataset
from recsys.errors import DataError, RecsysError
from recsys.kernels.ranking_sgd import bpr_epoch
from recsys.kernels.rows import new_table
from recsys.models.factorization.pairwise import drawn_from

PENALTY = 0.2


def quick(**parameters: Any) -> BPR:
    return BPR(verbose=0, **({"n_factors": 8, "epochs": 30, "learning_rate": 0.1} | parameters))


# -- a step ------------------------------------------------------------------------------------------------------------


def one_step(adagrad: bool, bias: bool = True) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Vectors p (3, 4), q (4, 5), the last column a bias, before and after a step of the triple (1, 2, 0), rate 1.

    Beside them Adagrad's sums. The first draws of the negative are the user's own.
    """
    rng = np.random.default_rng(0)
    p, q = new_table(3, 4, 1 + adagrad), new_table(4, 4 + bias, 1 + adagrad)
    start = rng.normal(size=(7, 5)).astype(np.float32)
    p[:, 0, :4], q[:, 0, : 4 + bias] = start[:3, :4], start[3:, : 4 + bias]
    p[:, 1:], q[:, 1:] = 1, 1
    plain = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    user_of, indptr, liked = np.array([1], np.int32), np.array([0, 0, 1, 1]), np.array([2], np.int32)
    proposals = np.array([2, 2, 0], np.int32)
    one, penalty = np.float32(1), np.float32(PENALTY)
    _, steps = bpr_epoch(
        0, 1, np.uint64(1), np.empty(0, np.int32), user_of, indptr, liked, proposals, 4, p, *plain, q, *plain,
        4 if bias else -1, one, penalty, penalty, 1,
    )  # fmt: skip
    assert steps == 1
    after = start.copy()
    after[:3, :4], after[3:, : 4 + bias] = p[:, 0, :4], q[:, 0, : 4 + bias]
    return start, after, [table[:, 1] for table in (p, q)] if adagrad else []


def objective(parts: np.ndarray, bias: bool) -> float:
    """-ln sigmoid(x_ui - x_uj) and half the penalty on what the triple (1, 2, 0) touches."""
    p, q = parts[1, :4], parts[3:, :4]
    b = parts[3:, 4] if bias else np.zeros(4)
    x = p @ (q[2] - q[0]) + b[2] - b[0]
    touched = [p, q[2], q[0], b[[0, 2]]]
    return float(np.log1p(np.exp(-x)) + PENALTY / 2 * sum((part**2).sum() for part in touched))


def numerical_gradient(parts: np.ndarray, bias: bool) -> np.ndarray:
    parts = parts.astype(float)
    gradient = np.zeros_like(parts)
    for at in np.ndindex(parts.shape):
        kept, ends = parts[at], []
        for side in (1e-5, -1e-5):
            parts[at] = kept + side
            ends.append(objective(parts, bias))
        parts[at] = kept
        gradient[at] = (ends[0] - ends[1]) / 2e-5
    return gradient


@pytest.mark.parametrize("bias", [False, True])
def test_a_step_follows_the_numerical_gradient(bias: bool) -> None:
    before, after, _ = one_step(False, bias)
    np.testing.assert_allclose(before - after, numerical_gradient(before, bias), atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_an_adagrad_step_is_divided_by_the_root_of_the_summed_squares(bias: bool) -> None:
    before, after, (user_squares, item_squares) = one_step(True, bias)
    gradient = numerical_gradient(before, bias)
    np.testing.assert_allclose(before - after, gradient / np.sqrt(1 + gradient**2), atol=1e-6)
    np.testing.assert_allclose(user_squares[:, :4], 1 + gradient[:3, :4] ** 2, atol=1e-5)
    np.testing.assert_allclose(item_squares[:, : 4 + bias], 1 + gradient[3:, : 4 + bias] ** 2, atol=1e-5)


# -- scores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item_bias", [True, False])
def test_a_score_is_the_product_plus_the_items_bias(item_bias: bool) -> None:
    model = quick(item_bias=item_bias).fit(taste_frame())
    assert model.item_biases_.any() == item_bias
    users, items = np.indices((40, 30)).reshape(2, -1)
    wanted = all_scores(model)
    np.testing.assert_allclose(model.predict(users, items), wanted.ravel(), atol=1e-5)
    # A bias of the user would cancel in every pair that is compared.
    assert not [name for name in vars(model) if "user_bias" in name]
    np.testing.assert_allclose(model.predict([999] * 30, range(30)), model.item_biases_, atol=1e-6)
    lists = model.recommend(k=1, filter_seen=False)
    assert lists["item_id"].tolist() == wanted.argmax(1).tolist()


def test_what_training_needs_is_gone_after_it() -> None:
    fitted = quick(epochs=1).fit(taste_frame(), validation_data=taste_frame(seed=1))
    names = [name for name in vars(fitted) if not name.endswith("_") and name not in fitted.get_params()]
    # What lists are made of is put together again at the next list.
    assert names in ([], ["_served"])


# -- draws -------------------------------------------------------------------------------------------------------------


def test_a_negative_is_never_something_the_user_has() -> None:
    # User 0 has all items: no step is right. User 1 has item 0 alone, so that 1 and 2 are its only negatives.
    frame = pd.DataFrame({"user_id": [0, 0, 0, 1], "item_id": [0, 1, 2, 0]})
    model = quick(epochs=200, regularization=0.0, init_std=1e-3).fit(frame)
    start = quick(epochs=1, regularization=0.0, init_std=1e-3, learning_rate=1e-12).fit(frame)
    np.testing.assert_allclose(model.user_factors_[0], start.user_factors_[0], atol=1e-9)
    assert model.item_biases_[0] > 1
    assert (model.item_biases_[1:] < -0.5).all()
    np.testing.assert_allclose(model.item_biases_.sum(), 0, atol=1e-4)


def fan_frame(n_users: int) -> pd.DataFrame:
    """All have item 0; the last user has 299 others alone, so that they are known."""
    rows = [(u, 0) for u in range(n_users)] + [(n_users, i) for i in range(1, 300)]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


def test_an_epoch_is_as_many_draws_with_replacement_as_there_are_interactions() -> None:
    # Each step of one of the 2000 raises the bias of item 0 by half the rate; the last user rarely draws it.
    frame, rate = fan_frame(2000), 1e-5
    start, model = (quick(epochs=1, regularization=0.0, learning_rate=r).fit(frame) for r in (1e-30, rate))
    assert abs(model.item_biases_[0] / (rate / 2) - 2000) < 60
    stepped = (model.user_factors_[:2000] != start.user_factors_[:2000]).any(1).mean()
    assert abs(stepped - (1 - np.exp(-1))) < 0.05  # a pass in a fixed or shuffled order would reach everyone


def test_users_can_be_drawn_before_their_items() -> None:
    # 20 of 21 users have one item, 0: they are 20 of the 319 interactions, or 20 of the 21 users.
    frame, rate = fan_frame(20), 1e-5
    for draws, share in (("interactions", 20 / 319), ("users", 20 / 21)):
        model = quick(epochs=20, draws=draws, regularization=0.0, learning_rate=rate).fit(frame)
        assert model.item_biases_[0] / (rate / 2) / (20 * len(frame)) == pytest.approx(share, abs=0.05)


def test_repeated_interactions_are_drawn_once() -> None:
    frame = taste_frame()
    one, other = quick(epochs=3).fit(frame), quick(epochs=3).fit(pd.concat([frame, frame.iloc[:50]]))
    np.testing.assert_array_equal(one.item_factors_, other.item_factors_)


@pytest.mark.parametrize("how", ["uniform", "popularity"])
def test_negatives_are_proposed_evenly_or_by_their_users(how: Any) -> None:
    # Items 1 to 4 have as many users as their number; nobody has item 5.
    rows = [(u, item) for item in range(1, 5) for u in range(item)]
    data = Dataset(
        pd.DataFrame(rows, columns=["user_id", "item_id"]), item_features=pd.DataFrame({"item_id": range(1, 6)})
    )
    drawn = drawn_from(data, negatives=how).proposals
    share = np.bincount(drawn, minlength=5) / len(drawn)
    np.testing.assert_allclose(share, [0.25, 0.25, 0.25, 0.25, 0] if how == "uniform" else [0.1, 0.2, 0.3, 0.4, 0])


def test_nobody_and_nothing_without_interactions_has_a_vector() -> None:
    users, items = pd.DataFrame({"user_id": [999]}), pd.DataFrame({"item_id": [777]})
    model = quick(epochs=5).fit(Dataset(taste_frame(), user_features=users, item_features=items))
    assert not model.user_factors_[-1].any()
    # Drawn as a negative, the item would have learned to be disliked.
    assert not model.item_factors_[-1].any()
    assert model.item_biases_[-1] == 0


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
@pytest.mark.parametrize("draws", ["interactions", "users"])
def test_what_users_have_is_ranked_above_what_they_have_not(optimizer: Any, negatives: Any, draws: Any) -> None:
    frame = taste_frame()
    model = quick(optimizer=optimizer, negatives=negatives, draws=draws, epochs=60).fit(frame)
    assert well_ordered(model, frame) > 0.95
    assert in_own_group(model) > 0.95
    losses = model.training_log_["loss"]
    assert losses.iloc[-1] < 0.3 * losses.iloc[0]


def test_threads_without_locks_learn_too() -> None:
    frame = taste_frame(n_users=400)
    model = quick(n_jobs=2).fit(frame)
    assert well_ordered(model, frame) > 0.95
    assert in_own_group(model) > 0.95


def test_the_hardest_of_several_negatives_teaches_more_in_as_many_epochs() -> None:
    frame = taste_frame(n_users=200, n_items=300, n_groups=10)
    even, hard = (quick(epochs=12, hardest_of=n).fit(frame) for n in (1, 8))
    # Its triples are the harder ones to get right.
    assert (hard.training_log_["loss"] > even.training_log_["loss"])[1:].all()
    assert in_own_group(hard, 10) > in_own_group(even, 10) + 0.1


def test_a_rate_that_diverges_is_named() -> None:
    with pytest.raises(RecsysError, match="loss became NaN; lower learning_rate="):
        quick(learning_rate=1e30, regularization=1.0).fit(taste_frame())


def test_items_have_a_penalty_of_their_own_where_it_is_given() -> None:
    data = taste_frame()
    shared, same = quick(regularization=0.02).fit(data), quick(regularization=0.02, item_regularization=0.02).fit(data)
    np.testing.assert_array_equal(shared.item_factors_, same.item_factors_)
    strict = quick(regularization=0.02, item_regularization=0.5).fit(data)
    assert np.linalg.norm(strict.item_factors_) < 0.5 * np.linalg.norm(shared.item_factors_)
    loose = quick(regularization=0.5, item_regularization=0.02).fit(data)
    assert np.linalg.norm(loose.user_factors_) < 0.5 * np.linalg.norm(shared.user_factors_)


# -- validation --------------------------------------------------------------------------------------------------------


def split_frame() -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = taste_frame(n_users=120, n_items=150)
    held = np.arange(len(frame)) % 6 == 0
    return frame[~held], frame[held]


def test_the_epoch_with_the_best_lists_is_kept() -> None:
    train, later = split_frame()
    # Items that the user has already, and ids that nobody knows, are not to be found.
    noise = pd.concat([later, train.iloc[:50], pd.DataFrame({"user_id": [5, 9999], "item_id": [9999, 3]})])
    model = quick(epochs=60, learning_rate=0.3, patience=5).fit(train, validation_data=noise)
    figures = model.training_log_["recall@20"]
    assert len(figures) < 60
    assert figures.idxmax() == len(figures) - 6
    known = noise[noise["item_id"].isin(train["item_id"]) & noise["user_id"].isin(train["user_id"])]
    assert recsys.evaluate(model, known)["recall@20"] == pytest.approx(figures.max())


def test_validation_data_with_nothing_new_of_anyone_known_is_refused() -> None:
    train, _ = split_frame()
    with pytest.raises(DataError, match="validation_data holds nothing new"):
        quick(epochs=1).fit(train, validation_data=train)
