from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import ALS, Dataset
from recsys.models.factorization.least_squares import penalty_of

OBJECTIVES = ("confidence", "unobserved")
SOLVERS: dict[str, dict[str, Any]] = {
    "gradients": {"solver": "gradients"},
    "cholesky": {"solver": "cholesky"},
    "blocks": {"solver": "blocks", "block_size": 2},
}
solvers = pytest.mark.parametrize("solver", SOLVERS)


def weighted(seed: int = 0, n_users: int = 25, n_items: int = 18) -> np.ndarray:
    """Users x items of weights, 0 where nothing was seen; user 24 and item 17 have nothing."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 6, (n_users, n_items)) * (rng.random((n_users, n_items)) < 0.3).astype(float)
    x[np.arange(n_users), np.arange(n_users) % n_items] = 2
    x[-1] = 0
    x[:, -1] = 0
    return x


def as_data(x: np.ndarray) -> Dataset:
    users, items = np.nonzero(x)
    frame = pd.DataFrame({"user_id": users, "item_id": items, "weight": x[users, items]})
    sides = {"user_features": "user_id", "item_features": "item_id"}
    features = {name: pd.DataFrame({c: range(n)}) for (name, c), n in zip(sides.items(), x.shape, strict=True)}
    return Dataset(frame, **features)


def model(objective: Any, **parameters: Any) -> ALS:
    return ALS(objective=objective, verbose=0, **({"n_factors": 5, "epochs": 4, "regularization": 0.3} | parameters))


def loss(one: ALS, x: np.ndarray, users: np.ndarray, items: np.ndarray) -> float:
    """The objective as it is written: a sum over all pairs, seen and unseen."""
    total = 0.0
    a0, seen = one.unobserved_weight, x > 0
    for u in range(x.shape[0]):
        for i in range(x.shape[1]):
            score = users[u] @ items[i]
            if one.objective == "confidence":
                total += one.alpha * x[u, i] * (score - 1) ** 2 if seen[u, i] else score**2
            else:
                total += a0 * score**2 + (x[u, i] * (score - 1) ** 2 if seen[u, i] else 0)
    for side, counts, n_others in ((users, seen.sum(1), x.shape[1]), (items, seen.sum(0), x.shape[0])):
        for vector, n in zip(side, counts, strict=True):
            scale = (n + a0 * n_others) ** one.frequency_scaling if one.objective == "unobserved" else 1.0
            total += one.regularization * scale * (vector @ vector)
    return total


def best_user(one: ALS, x: np.ndarray, items: np.ndarray, u: int) -> np.ndarray:
    """A user's vector by dense normal equations."""
    seen = x[u] > 0
    if one.objective == "confidence":
        c = np.where(seen, one.alpha * x[u], 1.0)
        a, b = (items * c[:, None]).T @ items, items.T @ (c * seen)
        return np.linalg.solve(a + one.regularization * np.eye(items.shape[1]), b)
    a = one.unobserved_weight * items.T @ items + (items * x[u][:, None]).T @ items
    scale = (seen.sum() + one.unobserved_weight * x.shape[1]) ** one.frequency_scaling
    return np.linalg.solve(a + one.regularization * scale * np.eye(items.shape[1]), items.T @ x[u])


CASES = [
    ("confidence", {"alpha": 1.0}),
    ("confidence", {"alpha": 20.0}),
    ("confidence", {"alpha": 0.1}),
    ("unobserved", {"frequency_scaling": 0.0}),
    ("unobserved", {"frequency_scaling": 1.0}),
    ("unobserved", {"frequency_scaling": 0.5, "unobserved_weight": 0.01}),
]


@pytest.mark.parametrize("objective, parameters", CASES)
@pytest.mark.parametrize("n_factors", [1, 5, 13, 40])
@solvers
def test_users_are_solved_exactly_against_all_pairs(
    objective: Any, parameters: dict[str, Any], n_factors: int, solver: str
) -> None:
    x = weighted()
    one = model(objective, n_factors=n_factors, **SOLVERS[solver], **parameters).fit(as_data(x))
    items = one.item_factors_.astype(float)
    wanted = [best_user(one, x, items, u) for u in range(len(x))]
    np.testing.assert_allclose(one.user_factors_, wanted, atol=1e-5)


@pytest.mark.parametrize("objective, parameters", CASES)
@solvers
def test_the_objective_never_increases_and_is_the_sum_over_all_pairs(
    objective: Any, parameters: dict[str, Any], solver: str
) -> None:
    x = weighted()
    one = model(objective, epochs=12, **SOLVERS[solver], **parameters).fit(as_data(x))
    log = one.training_log_["loss"].to_numpy()
    assert (np.diff(log) <= 1e-9 * log[0]).all()
    assert log[-1] < log[0]
    found = loss(one, x, one.user_factors_.astype(float), one.item_factors_.astype(float))
    if solver == "cholesky":
        np.testing.assert_allclose(log[-1], found, rtol=1e-5)
    else:  # Users are solved to the end after the last epoch.
        assert found <= log[-1] * (1 + 1e-6)


@pytest.mark.parametrize("objective, parameters", CASES)
def test_the_value_of_any_vectors_is_the_sum_over_all_pairs(objective: Any, parameters: dict[str, Any]) -> None:
    x = weighted()
    one = model(objective, **parameters)
    rng = np.random.default_rng(1)
    users, items = (rng.normal(size=(n, 5)).astype(np.float32) for n in x.shape)
    matrix = as_data(x).to_csr("weight")
    value = one._half(matrix).value(users, items) + penalty_of(items, one._half(matrix.T.tocsr()).penalty)
    np.testing.assert_allclose(value, loss(one, x, users.astype(float), items.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("objective, parameters", CASES)
@solvers
def test_alternation_ends_where_no_step_helps_either_side(
    objective: Any, parameters: dict[str, Any], solver: str
) -> None:
    x = weighted()
    one = model(objective, n_factors=2, epochs=400, **(SOLVERS[solver] | {"block_size": 1}), **parameters).fit(
        as_data(x)
    )
    users, items = one.user_factors_.astype(float), one.item_factors_.astype(float)
    least = loss(one, x, users, items)
    step = 1e-3
    rng = np.random.default_rng(0)
    for side in (users, items):
        direction = rng.normal(size=side.shape)
        around = []
        for sign in (1, -1):
            side += sign * step * direction
            around.append(loss(one, x, users, items))
            side -= sign * step * direction
        slope, curve = (around[0] - around[1]) / (2 * step), (around[0] + around[1] - 2 * least) / step**2
        assert curve > 0
        assert abs(slope) < 2e-3 * curve  # the minimum is nearer than 0.002 of the direction


@pytest.mark.parametrize("objective", OBJECTIVES)
@solvers
def test_folding_in_a_users_history_gives_the_users_vector(objective: Any, solver: str) -> None:
    x = weighted()
    one = model(objective, **SOLVERS[solver]).fit(as_data(x))
    rows = as_data(x).to_frame()
    for user in (0, 7, 23):
        history = rows.query("user_id == @user")[["item_id", "weight"]].sample(frac=1, random_state=0)
        mine = one.recommend([user], k=18, filter_seen=False)
        theirs = one.recommend(history=history, k=18, filter_seen=False)
        assert mine["item_id"].tolist() == theirs["item_id"].tolist()
        np.testing.assert_array_equal(mine["score"], theirs["score"])


def test_confidence_of_a_seen_pair_is_alpha_and_of_an_unseen_one_1() -> None:
    # With alpha = 1 and weights of 1 all confidences are 1: the factorization of X itself, by its singular values.
    x = (weighted() > 0).astype(float)
    one = model("confidence", alpha=1.0, regularization=0.0, n_factors=3, epochs=300, init_std=1.0).fit(as_data(x))
    u, s, v = np.linalg.svd(x)
    wanted = (u[:, :3] * s[:3]) @ v[:3]
    np.testing.assert_allclose(one.user_factors_ @ one.item_factors_.T, wanted, atol=1e-3)


def test_a_weight_is_a_confidence_and_not_a_target() -> None:
    x = (weighted() > 0).astype(float)
    scores = []
    for weight in (1.0, 50.0, 5000.0):
        heavy = x * weight
        one = model("confidence", regularization=1.0, n_factors=18, epochs=10, init_std=1.0).fit(as_data(heavy))
        scores.append((one.user_factors_ @ one.item_factors_.T)[x > 0].mean())
    assert scores[0] < scores[1] < scores[2] < 1.001


@pytest.mark.parametrize("objective", OBJECTIVES)
@solvers
def test_who_and_what_was_never_seen_has_a_zero_vector(objective: Any, solver: str) -> None:
    one = model(objective, **SOLVERS[solver]).fit(as_data(weighted()))
    assert (one.user_factors_[-1] == 0).all()
    assert (one.item_factors_[-1] == 0).all()
    assert (np.abs(one.user_factors_[:-1]).sum(1) > 0).all()


def test_an_item_nobody_has_moves_users_only_through_penalty_and_gramian() -> None:
    x = weighted()
    one = model("unobserved", frequency_scaling=0.0)
    items = np.random.default_rng(0).normal(size=(18, 5))
    rows = as_data(x).to_csr("weight").astype(np.float64)
    items[-1] = 0
    with_zero = one._half(rows).exact(items)
    without = one._half(rows[:, :-1]).exact(items[:-1])
    np.testing.assert_allclose(with_zero, without, atol=1e-10)
    items[-1] = 3
    assert np.abs(one._half(rows).exact(items) - without).max() > 1e-3


@pytest.mark.parametrize("objective", OBJECTIVES)
@solvers
def test_the_number_of_threads_changes_nothing(objective: Any, solver: str) -> None:
    one, other = (model(objective, n_jobs=n, **SOLVERS[solver]).fit(as_data(weighted())) for n in (1, 3))
    np.testing.assert_array_equal(one.user_factors_, other.user_factors_)
    np.testing.assert_array_equal(one.item_factors_, other.item_factors_)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_all_solvers_come_to_the_same_scores(objective: Any) -> None:
    found = []
    for options in SOLVERS.values():
        one = model(objective, n_factors=3, epochs=300, init_std=1.0, **options).fit(as_data(weighted()))
        found.append(one.user_factors_ @ one.item_factors_.T)
    np.testing.assert_allclose(found[0], found[1], atol=2e-4)
    np.testing.assert_allclose(found[2], found[1], atol=2e-4)


def test_one_block_of_all_coordinates_is_the_exact_solve() -> None:
    exact, whole = (
        model("unobserved", solver=solver, block_size=5).fit(as_data(weighted())) for solver in ("cholesky", "blocks")
    )
    np.testing.assert_allclose(whole.user_factors_, exact.user_factors_, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
@solvers
def test_contributions_add_up_to_the_score(objective: Any, solver: str) -> None:
    x = weighted()
    one = model(objective, **SOLVERS[solver]).fit(as_data(x))
    for user, item in ((0, 3), (7, 7), (20, 2)):
        parts = one.explain(user, item, k=18)
        assert sorted(parts["item_id"]) == np.flatnonzero(x[user]).tolist()
        assert parts["contribution"].is_monotonic_decreasing
        np.testing.assert_allclose(parts["contribution"].sum(), one.predict([user], [item])[0], atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
@solvers
def test_partial_fit_serves_new_users_and_items_and_solves_all_users(objective: Any, solver: str) -> None:
    x = weighted()
    one = model(objective, epochs=30, **SOLVERS[solver]).fit(as_data(x))
    # A new user and a new item that go with item 3, and a known user's new interaction.
    liked = np.flatnonzero(x[:, 3])
    new = pd.DataFrame({"user_id": [*liked, 99, 99, 5], "item_id": [77] * len(liked) + [77, 3, 0], "weight": 2.0})
    items = one.item_factors_.copy()
    one.partial_fit(new)
    assert one.user_factors_.shape == (26, 5)
    assert one.item_factors_.shape == (19, 5)
    assert one.similar_items([77], k=1)["similar_item_id"].tolist() == [3]
    seen = one.history_.matrix(19, "weight").toarray()
    wanted = [best_user(one, seen, one.item_factors_.astype(float), u) for u in range(26)]
    np.testing.assert_allclose(one.user_factors_, wanted, atol=1e-5)
    # What is not named keeps its place among the others.
    still = [i for i in range(18) if i not in (0, 3)]
    products = one.item_factors_ @ one.item_factors_.T
    np.testing.assert_allclose(products[np.ix_(still, still)], (items @ items.T)[np.ix_(still, still)], atol=1e-4)


def test_conjugate_gradients_leave_the_items_in_their_principal_axes() -> None:
    one = model("confidence", solver="gradients").fit(as_data(weighted()))
    gram = one.item_factors_.T.astype(float) @ one.item_factors_
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-5 * gram.max())
