"""Models whose scores are a history times weights: the fast paths against those of the base."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import recsys
from recsys import Dataset, Recommender
from recsys.base import Query
from recsys.errors import LoadError
from recsys.item_weights import ItemWeightsRecommender, LinearRecommender, row_lists

N_USERS, N_ITEMS = 25, 70


def planted_weights(n_items: int) -> np.ndarray:
    """Whole numbers, many of them negative or equal: sums are exact and ties abound."""
    rng = np.random.default_rng(0)
    return (rng.integers(-2, 4, (n_items, n_items)) * (rng.random((n_items, n_items)) < 0.2)).astype(np.float32)


class PlantedWeights(ItemWeightsRecommender):
    """Sparse weights that are known."""

    def _learn(self, x: object) -> None:
        self.weights_ = sp.csr_matrix(planted_weights(len(self.items_)))


class DenseWeights(LinearRecommender):
    """The same weights as an array."""

    def _learn(self, x: object) -> None:
        self.weights_ = planted_weights(len(self.items_))


def planted_frame(*, weighted: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x = rng.random((N_USERS, N_ITEMS)) < 0.1
    users, items = np.nonzero(x)
    frame = pd.DataFrame({"user_id": users, "item_id": items})
    return frame.assign(weight=rng.integers(1, 4, len(frame)).astype(float)) if weighted else frame


def planted_data(*, weighted: bool = False) -> Dataset:
    return Dataset(planted_frame(weighted=weighted), item_features=pd.DataFrame({"item_id": np.arange(N_ITEMS)}))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("filter_seen", [True, False])
def test_lists_are_those_of_the_base_and_of_dense_weights(weighted, filter_seen) -> None:
    data = planted_data(weighted=weighted)
    model, dense = PlantedWeights().fit(data), DenseWeights().fit(data)
    query = Query(np.arange(N_USERS), model.history_)
    for k, allowed in product((1, 7, N_ITEMS), (None, np.arange(2, N_ITEMS, 3), np.array([5]))):
        width = min(k, N_ITEMS if allowed is None else len(allowed))
        codes, scores = model.top_k_codes(query, width, allowed=allowed, filter_seen=filter_seen)
        plain = dense.top_k_codes(query, width, allowed=allowed, filter_seen=filter_seen)
        np.testing.assert_array_equal(codes, plain[0])
        np.testing.assert_array_equal(scores, plain[1])


def test_the_fast_paths_are_not_the_bases() -> None:
    for name in ("_top_k", "_score_items", "_score_pairs"):
        assert getattr(ItemWeightsRecommender, name) is not getattr(Recommender, name)
        assert getattr(DenseWeights, name) is not getattr(ItemWeightsRecommender, name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("use_weights", [False, True])
def test_scores_are_the_history_times_the_weights(weighted, use_weights) -> None:
    data = planted_data(weighted=weighted)
    x = data.to_csr("weight" if weighted and use_weights else "ones").toarray()
    users, items = np.indices(x.shape).reshape(2, -1)
    order = np.random.default_rng(2).permutation(len(users))
    for model in (PlantedWeights(use_weights=use_weights).fit(data), DenseWeights(use_weights=use_weights).fit(data)):
        np.testing.assert_array_equal(
            model.predict(users[order], items[order]), (x @ planted_weights(N_ITEMS)).ravel()[order]
        )


def test_a_history_without_weights_counts_as_ones() -> None:
    model = PlantedWeights().fit(planted_data(weighted=True))
    found = model.recommend(history=[3, 8, 40], k=N_ITEMS, filter_seen=False).set_index("item_id")["score"]
    np.testing.assert_array_equal(found.sort_index(), planted_weights(N_ITEMS)[[3, 8, 40]].sum(0))


@pytest.mark.parametrize("cls", [PlantedWeights, DenseWeights])
def test_an_explanation_adds_up_to_the_score_and_names_the_history(cls) -> None:
    data = planted_data(weighted=True)
    model, x = cls().fit(data), data.to_csr("weight").toarray()
    for item in range(0, N_ITEMS, 9):
        parts = model.explain(4, item, k=N_ITEMS)
        assert sorted(parts["item_id"]) == np.flatnonzero(x[4]).tolist()
        wanted = x[4, parts["item_id"]] * planted_weights(N_ITEMS)[parts["item_id"], item]
        np.testing.assert_array_equal(parts["contribution"], wanted)


@pytest.mark.parametrize("cls", [PlantedWeights, DenseWeights])
def test_similar_items_are_those_that_the_item_leads_to(cls) -> None:
    near = cls().fit(planted_data()).similar_items([11], k=N_ITEMS)
    row = planted_weights(N_ITEMS)[11]
    order = [i for i in np.argsort(-row, kind="stable") if i != 11]
    assert near["similar_item_id"].tolist() == order
    np.testing.assert_array_equal(near["score"], row[order])


def test_unknown_users_and_items_score_0() -> None:
    model = PlantedWeights().fit(planted_data())
    np.testing.assert_array_equal(model.predict([999, 3, 999], [4, 999, 999]), [0, 0, 0])


def test_weights_survive_saving_and_weights_of_another_size_are_refused(tmp_path) -> None:
    model = PlantedWeights().fit(planted_data())
    model.save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.recommend(k=5), model.recommend(k=5))
    model.weights_ = model.weights_[:, :-1]
    model.save(tmp_path / "cut")
    with pytest.raises(LoadError, match="not between the 70 items"):
        recsys.load(tmp_path / "cut")


def test_lists_of_ends_become_rows_without_what_is_not_above_zero() -> None:
    near = np.array([[2, 1], [0, -1], [1, 0]])
    values = np.array([[3, 1], [2, -np.inf], [5, 0]], np.float32)
    weights = row_lists(near, values)
    assert weights.has_sorted_indices
    assert weights.nnz == 4
    np.testing.assert_array_equal(weights.toarray(), [[0, 1, 3], [2, 0, 0], [0, 5, 0]])
