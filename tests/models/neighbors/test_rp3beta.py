from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from tests.models import tables
from tests.models.tables import as_frame

from recsys import RP3Beta

table = partial(tables.table, n_users=30, n_items=14)


def walked(x: np.ndarray, alpha: float, item_alpha: float, beta: float) -> np.ndarray:
    """W by a loop over all walks item, user, item; a walk that ends where it began is left out."""
    d_user, d_item = x.sum(1), x.sum(0)
    w = np.zeros((x.shape[1], x.shape[1]))
    for i, v, j in product(range(x.shape[1]), range(len(x)), range(x.shape[1])):
        if i != j and x[v, i] > 0 and x[v, j] > 0:
            w[i, j] += (x[v, i] / d_item[i]) ** item_alpha * (x[v, j] / d_user[v]) ** alpha / d_item[j] ** beta
    return w


def test_without_exponents_a_score_is_the_chance_that_three_steps_end_there() -> None:
    x = table()
    model = RP3Beta(n_neighbors=14, alpha=1.0, beta=0.0).fit(as_frame(x))
    reached = np.zeros_like(x)
    for u, i, v, j in product(range(30), range(14), range(30), range(14)):
        if i != j:
            reached[u, j] += x[u, i] / x[u].sum() * x[v, i] / x[:, i].sum() * x[v, j] / x[v].sum()
    users, items = np.indices(x.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), reached, atol=1e-6)
    # Of all walks of the first two steps, those that go on to another item: never more than all.
    assert (reached.sum(1) > 0).all()
    assert (reached.sum(1) < 1).all()


@pytest.mark.parametrize(("alpha", "item_alpha", "beta"), [(1, None, 0.6), (0.7, None, 0.3), (1, 0.6, 0.3), (0, 2, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_are_those_of_all_walks_of_two_steps(alpha, item_alpha, beta, weighted) -> None:
    x = table()
    if weighted:
        x *= np.random.default_rng(1).integers(1, 5, x.shape) / 2
    model = RP3Beta(n_neighbors=14, alpha=alpha, item_alpha=item_alpha, beta=beta).fit(as_frame(x))
    wanted = walked(x, alpha, alpha if item_alpha is None else item_alpha, beta)
    np.testing.assert_allclose(model.weights_.toarray(), wanted, rtol=1e-5)
    users, items = np.indices(x.shape).reshape(2, -1)
    given = np.where(x > 0, (x / x.sum(1, keepdims=True)) ** alpha, 0)
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), given @ wanted, rtol=1e-5)


def test_a_gram_matrix_weighted_by_degrees_is_one_setting() -> None:
    x = table()
    gram = x.T @ (x / x.sum(1, keepdims=True))
    np.fill_diagonal(gram, 0)
    wanted = gram / x.sum(0)[:, None] ** 0.6 / x.sum(0) ** 0.3
    model = RP3Beta(n_neighbors=14, alpha=1.0, item_alpha=0.6, beta=0.3).fit(as_frame(x))
    np.testing.assert_allclose(model.weights_.toarray(), wanted, rtol=1e-5)


def test_each_item_keeps_its_likeliest_ends_ties_to_the_smaller_code() -> None:
    x = table(n_users=12)
    every = RP3Beta(n_neighbors=14).fit(as_frame(x)).weights_.toarray()
    kept = RP3Beta(n_neighbors=3).fit(as_frame(x)).weights_.toarray()
    for i in range(14):
        best = np.argsort(-every[i], kind="stable")[:3]
        best = best[every[i, best] > 0]
        np.testing.assert_array_equal(np.flatnonzero(kept[i]), np.sort(best))
        np.testing.assert_array_equal(kept[i, best], every[i, best])


def test_beta_takes_popular_items_down_and_nothing_else() -> None:
    x = table()
    plain, penalized = (RP3Beta(n_neighbors=14, beta=b).fit(as_frame(x)).weights_.toarray() for b in (0.0, 0.7))
    np.testing.assert_allclose(penalized, plain / x.sum(0) ** 0.7, rtol=1e-5)
    # Everyone has item 0; two users share item 1 and one of its companions each.
    hub = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 0, 0]])
    first = [RP3Beta(beta=b).fit(as_frame(hub)).similar_items([1], k=1)["similar_item_id"][0] for b in (0.0, 1.0)]
    assert first == [0, 2]


def test_similar_items_are_what_a_history_of_one_item_is_recommended() -> None:
    model = RP3Beta().fit(as_frame(table()))
    for item in range(14):
        listed = model.recommend(history=[item], k=5)
        near = model.similar_items([item], k=5)
        assert near["similar_item_id"].tolist() == listed["item_id"].tolist()


def test_an_explanation_adds_up_to_the_score() -> None:
    x = table()
    x *= np.random.default_rng(2).integers(1, 4, x.shape)
    model = RP3Beta().fit(as_frame(x))
    for item in range(14):
        parts = model.explain(4, item, k=14)
        assert set(parts["item_id"]) == set(np.flatnonzero(x[4]))
        np.testing.assert_allclose(parts["contribution"].sum(), model.predict([4], [item])[0], rtol=1e-5)


def test_a_weight_of_zero_is_no_step_whatever_the_exponent() -> None:
    frame = as_frame(table()).assign(weight=1.0)
    nothing = pd.DataFrame({"user_id": [0, 1], "item_id": [13, 12], "weight": [0.0, 0.0]})
    nothing = nothing[
        ~nothing.set_index(["user_id", "item_id"]).index.isin(frame.set_index(["user_id", "item_id"]).index)
    ]
    assert len(nothing) > 0
    with_them, without = (RP3Beta(alpha=0.0).fit(rows).weights_ for rows in (pd.concat([frame, nothing]), frame))
    np.testing.assert_array_equal(with_them.toarray(), without.toarray())


def test_more_data_gives_what_a_fit_on_everything_gives() -> None:
    x = table(n_users=40)
    x[:25, 10:] = 0
    frame = as_frame(x)
    early = frame["user_id"] < 25
    grown = RP3Beta(n_neighbors=5).fit(frame[early]).partial_fit(frame[~early])
    whole = RP3Beta(n_neighbors=5).fit(frame)
    np.testing.assert_array_equal(grown.items_.ids, whole.items_.ids)
    np.testing.assert_array_equal(grown.weights_.toarray(), whole.weights_.toarray())


def test_the_number_of_threads_changes_nothing() -> None:
    frame = as_frame(table(n_users=200, n_items=60))
    one, three = (RP3Beta(n_neighbors=7, n_jobs=n).fit(frame).weights_.toarray() for n in (1, 3))
    np.testing.assert_array_equal(one, three)
