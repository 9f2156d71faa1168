"""Lists of known scores: an oracle in plain loops stands beside each."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import Dataset, Popular, Recommender, base, lists
from recsys.base import Query
from recsys.errors import DataError, UnsupportedError
from recsys.factor import cosine
from tests.toys import N_ITEMS, N_USERS, ByHour, Sums, Vectors, planted_data, planted_frame, scores_of


@pytest.fixture
def frame() -> pd.DataFrame:
    return planted_frame()


@pytest.fixture
def data() -> Dataset:
    return planted_data()


def best(scores: np.ndarray, allowed: list[int], k: int) -> list[int]:
    """The k best codes of one user: higher scores first, equal ones by code."""
    return sorted(allowed, key=lambda item: (-scores[item], item))[:k]


def listed(found: pd.DataFrame) -> list[tuple[int, int]]:
    """Pairs of user and item, in order."""
    return list(zip(found["user_id"].tolist(), found["item_id"].tolist(), strict=True))


# -- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Sums(), Vectors()], ids=str)
@pytest.mark.parametrize("block_bytes", [1, 4 * N_ITEMS * 5, 2**26])
@pytest.mark.parametrize("filter_seen", [True, False])
def test_lists_are_the_best_of_all_scores_in_blocks_of_any_size(
    model: Recommender, block_bytes: int, filter_seen: bool, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(base, "PAIR_BLOCK", 7)
    model = model.clone().fit(data)
    scores = scores_of(model)
    for items, excluded in ((None, None), ([100, 104, 109, 116], None), (None, [101, 103]), ([105, 106], [106])):
        candidates = [i for i in range(N_ITEMS) if items is None or 100 + i in items]
        candidates = [i for i in candidates if excluded is None or 100 + i not in excluded]
        wanted = []
        for user in range(N_USERS):
            seen = set(model.history_[[user]].items.tolist()) if filter_seen else set()
            found = best(scores[user], [i for i in candidates if i not in seen], 4)
            wanted += [(10 * user, 100 + i) for i in found]
        got = model.recommend(k=4, filter_seen=filter_seen, items=items, exclude_items=excluded)
        assert listed(got) == wanted
        assert got["score"].tolist() == [scores[user // 10, item - 100] for user, item in wanted]
        assert np.array_equal(model.predict(got), got["score"])


def test_no_block_of_scores_is_larger_than_said(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched(Sums):
        def _score_items(self, query: Query) -> np.ndarray:
            asked.append(len(query))
            return super()._score_items(query)

        def _item_similarity(self, items: np.ndarray) -> np.ndarray:
            asked.append(len(items))
            return super()._item_similarity(items)

    monkeypatch.setattr(lists, "BLOCK_BYTES", 4 * N_ITEMS * 5)
    model = Watched().fit(data)
    model.recommend()
    model.predict(np.repeat(data.users.ids, 2), np.resize(data.items.ids, 2 * N_USERS))
    model.similar_items(data.items.ids)
    assert sum(asked) == N_USERS + N_USERS + N_ITEMS
    assert max(asked) == 5


def test_ties_go_to_the_smaller_code() -> None:
    frame = pd.DataFrame({"user_id": [1, 2, 3, 4], "item_id": [30, 10, 40, 20]})
    found = Popular().fit(frame).recommend([1], k=4, filter_seen=False)
    assert found["item_id"].tolist() == [10, 20, 30, 40]


def test_lists_are_ranked_from_one(data: Dataset) -> None:
    found = Sums().fit(data).recommend([30, 10], k=3)
    assert found["user_id"].tolist() == [30, 30, 30, 10, 10, 10]
    assert found["rank"].tolist() == [1, 2, 3, 1, 2, 3]
    assert list(found.columns) == ["user_id", "item_id", "score", "rank"]


def test_k_above_the_catalog_gives_all_of_it_and_costs_no_more(data: Dataset) -> None:
    model = Sums().fit(data)
    everything = model.recommend(k=10**12, filter_seen=False)
    assert len(everything) == N_USERS * N_ITEMS
    assert len(model.recommend(k=10**12)) == N_USERS * (N_ITEMS - 5)
    assert len(model.similar_items(100, k=10**12)) == N_ITEMS - 1
    assert len(model.recommend([7], k=10**12, on_unknown="popular")) == N_ITEMS


def test_nan_and_minus_infinity_are_never_listed(data: Dataset) -> None:
    class Partial(Sums):
        def _score_items(self, query: Query) -> np.ndarray:
            scores = super()._score_items(query)
            scores[:, :10], scores[:, 10:15] = np.nan, -np.inf
            return scores

    found = Partial().fit(data).recommend(filter_seen=False)
    assert set(found["item_id"]) == {115, 116}
    assert np.isfinite(found["score"]).all()


def test_ranking_comes_before_the_link() -> None:
    class Clipped(Sums):
        def _link(self, scores: np.ndarray) -> np.ndarray:
            return np.minimum(scores, 1)

    frame = pd.DataFrame({"user_id": [1] * 3, "item_id": [0, 1, 2], "timestamp": [1, 2, 3]})
    one, other = Sums().fit(frame), Clipped().fit(frame)
    ranked = one.recommend(filter_seen=False)
    assert ranked["score"].nunique() > 1
    assert ranked["score"].min() > 1
    shown = other.recommend(filter_seen=False)
    assert listed(shown) == listed(ranked)
    assert shown["score"].tolist() == [1.0] * 3


def test_candidates_come_in_any_form(data: Dataset) -> None:
    model = Sums().fit(data)
    wanted = listed(model.recommend([10], items=[103, 107], filter_seen=False))
    assert sorted(item for _, item in wanted) == [103, 107]
    for items in ((107, 103, 107), {103, 107}, np.array([107, 103]), pd.Series([103, 107]), iter([103, 107])):
        assert listed(model.recommend([10], items=items, filter_seen=False)) == wanted
    assert listed(model.recommend([10], items=103, filter_seen=False)) == [(10, 103)]
    assert len(model.recommend([10], items=[])) == 0
    assert len(model.recommend([])) == 0


# -- histories ---------------------------------------------------------------------------------------------------------


def test_a_history_of_any_form_gives_the_list_of_its_user(frame: pd.DataFrame, data: Dataset) -> None:
    model = Sums().fit(data)
    rows = frame[frame["user_id"] == 50]
    wanted = model.recommend([50], k=4)["item_id"].tolist()
    ids = rows["item_id"].tolist()
    forms = [ids, tuple(ids), [ids], [np.array(ids)], np.array(ids), np.array([ids]), [pd.Series(ids)]]
    forms += [rows, rows[["item_id"]], rows.sample(frac=1, random_state=0)]
    for history in forms:
        assert model.recommend(history=history, k=4)["item_id"].tolist() == wanted


def test_a_history_comes_back_as_the_kind_of_frame_it_was(frame: pd.DataFrame, data: Dataset) -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    model = Sums().fit(data)
    rows = frame[frame["user_id"].isin([20, 50])]
    wanted = model.recommend(history=rows, k=3)
    for given in (polars.from_pandas(rows), pyarrow.Table.from_pandas(rows, preserve_index=False)):
        found = model.recommend(history=given, k=3)
        assert type(found) is type(given)
        assert listed(found.to_pandas()) == listed(wanted)
    assert isinstance(model.recommend(history=[[100]], k=3), pd.DataFrame)


def test_people_of_a_history_come_in_the_order_of_their_first_row(frame: pd.DataFrame, data: Dataset) -> None:
    rows = frame[frame["user_id"].isin([20, 50])].sort_values("user_id", ascending=False)
    assert Sums().fit(data).recommend(history=rows, k=1)["user_id"].tolist() == [50, 20]
    named = rows.assign(user_id=rows["user_id"].map({20: "a", 50: "b"}))
    assert Sums().fit(data).recommend(history=named, k=1)["user_id"].tolist() == ["b", "a"]


def test_a_history_fills_up_what_is_seen(data: Dataset) -> None:
    model = Sums().fit(data)
    found = model.recommend(history=[[100, 101]], k=N_ITEMS)
    assert sorted(found["item_id"]) == list(range(102, 100 + N_ITEMS))
    assert len(model.recommend(history=[[100, 101]], k=N_ITEMS, filter_seen=False)) == N_ITEMS


# -- unknown ids -------------------------------------------------------------------------------------------------------


def test_unknown_users_raise_are_skipped_or_get_popular_items(frame: pd.DataFrame, data: Dataset) -> None:
    model = Sums().fit(data)
    with pytest.raises(DataError, match=r"Sums does not know 1 of 2 users, first 7; .*on_unknown"):
        model.recommend([10, 7])
    assert listed(model.recommend([10, 7], k=2, on_unknown="skip")) == listed(model.recommend([10], k=2))
    served = model.recommend([7, 10, 8], k=2, on_unknown="popular")
    assert served["user_id"].tolist() == [7, 7, 10, 10, 8, 8]
    counts = frame["item_id"].value_counts()
    popular = sorted(counts.index, key=lambda item: (-counts[item], item))[:2]
    for user in (7, 8):
        rows = served[served["user_id"] == user]
        assert rows["item_id"].tolist() == popular
        assert rows["score"].tolist() == [counts[item] for item in popular]


def test_popular_items_are_candidates_too(data: Dataset) -> None:
    served = Sums().fit(data).recommend([7], k=5, items=[104, 116], on_unknown="popular")
    assert served["item_id"].tolist() == [104, 116]
    assert len(Sums().fit(data).recommend([7], items=[], on_unknown="popular")) == 0


def test_empty_histories_raise_are_skipped_or_get_popular_items(data: Dataset) -> None:
    model = Sums().fit(data)
    with pytest.raises(DataError, match=r"Sums: the history of 1 is empty; .*on_unknown"):
        model.recommend(history=[[100], []])
    assert model.recommend(history=[[100], []], k=2, on_unknown="skip")["user_id"].tolist() == [0, 0]
    assert model.recommend(history=[[100], []], k=2, on_unknown="popular")["user_id"].tolist() == [0, 0, 1, 1]


def test_a_known_user_without_a_history_is_served() -> None:
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 3]})
    users = pd.DataFrame({"user_id": [1, 2, 3], "age": [1.0, 2.0, 3.0]})
    found = Sums().fit(Dataset(frame, user_features=users)).recommend([3])
    assert found["item_id"].tolist() == [1, 2, 3]
    assert found["score"].tolist() == [0, 0, 0]


def test_predict_of_unknown_ids_is_nothing(data: Dataset) -> None:
    model = Sums().fit(data)
    assert model.predict([7, 10, 7], [100, 99, 99]).tolist() == [0, 0, 0]
    assert model.predict([None, 10], [100, None]).tolist() == [0, 0]


# -- context -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def by_hour() -> Recommender:
    frame = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [5, 6, 7], "hour": ["0", "1", "2"]})
    return ByHour().fit(Dataset(frame, context_cols=("hour",)))


def test_context_is_one_for_all_or_one_for_each(by_hour: Recommender) -> None:
    one = by_hour.recommend([1, 2], k=1, filter_seen=False, context={"hour": "2"})
    assert one["item_id"].tolist() == [7, 7]
    assert one["score"].tolist() == [4, 4]
    same = by_hour.recommend([1, 2], k=1, filter_seen=False, context=pd.DataFrame({"hour": ["2"]}))
    assert same.equals(one)
    each = by_hour.recommend([1, 2], k=1, filter_seen=False, context=pd.DataFrame({"hour": ["2", "1"]}))
    assert each["score"].tolist() == [4, 2]
    unknown = by_hour.recommend([1], k=1, filter_seen=False)
    assert unknown["item_id"].tolist() == [5]


def test_context_keeps_to_its_user_where_another_is_skipped(by_hour: Recommender) -> None:
    context = pd.DataFrame({"hour": ["0", "1", "2"]})
    found = by_hour.recommend([1, 9, 3], k=1, filter_seen=False, context=context, on_unknown="skip")
    assert found["user_id"].tolist() == [1, 3]
    assert found["score"].tolist() == [0, 4]


def test_pairs_of_one_user_in_two_contexts_have_two_scores(by_hour: Recommender) -> None:
    context = by_hour.context_
    assert context is not None
    hours = recsys.data.features.encode_rows(pd.DataFrame({"hour": ["1", "2"]}), context)
    assert by_hour.predict_codes(np.array([0, 0]), np.array([2, 2]), hours).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"day": "1"}, "ByHour.*'hour'.*day"),
        (pd.DataFrame({"hour": ["1"] * 3}), "ByHour.*3 rows for 2 users"),
        (7, "ByHour.*context.*int"),
    ],
    ids=["another column", "three rows", "no frame"],
)
def test_wrong_context_is_refused(context: Any, words: str, by_hour: Recommender) -> None:
    with pytest.raises(DataError, match=words):
        by_hour.recommend([1, 2], context=context)


def test_context_is_refused_by_models_that_read_none(data: Dataset) -> None:
    with pytest.raises(UnsupportedError, match=r"Sums has no meaning for context; these can: .*DeepFM"):
        Sums().fit(data).recommend(context={"hour": "1"})
    with pytest.raises(DataError, match=r"ByHour.*context_cols"):
        ByHour().fit(data).recommend(context={"hour": "1"})


# -- similar items, explanations ---------------------------------------------------------------------------------------


def test_similar_items_are_the_best_of_the_others(data: Dataset) -> None:
    model = Sums().fit(data)
    found = model.similar_items([104, 100], k=3)
    assert list(found.columns) == ["item_id", "similar_item_id", "score", "rank"]
    wanted = []
    for item in (4, 0):
        row = np.array([(3 * item + i) % 5 for i in range(N_ITEMS)])
        wanted += [100 + i for i in best(row, [i for i in range(N_ITEMS) if i != item], 3)]
    assert found["similar_item_id"].tolist() == wanted
    assert found["item_id"].tolist() == [104] * 3 + [100] * 3


def test_similar_users_and_items_of_factors_go_by_the_cosine(data: Dataset) -> None:
    model = Vectors().fit(data)
    for found, factors, first in (
        (model.similar_users([10], k=5), model.user_factors_, 1),
        (model.similar_items([101], k=5), model.item_factors_, 1),
    ):
        norms = np.maximum(np.linalg.norm(factors, axis=1), 1e-9)
        wanted = factors @ factors[first] / norms / norms[first]
        wanted[first] = -2
        assert found["score"].to_numpy() == pytest.approx(np.sort(wanted)[::-1][:5], abs=1e-6)


def test_a_zero_vector_is_like_nothing() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0]], np.float32)
    assert cosine(vectors, np.array([0, 1])) == pytest.approx(np.array([[1, 0, -1], [0, 0, 0]]))


def test_explain_gives_the_largest_parts_of_a_score(frame: pd.DataFrame, data: Dataset) -> None:
    model = Sums().fit(data)
    found = model.explain(50, 116, k=10)
    own = frame[frame["user_id"] == 50]["item_id"]
    assert sorted(found["item_id"]) == sorted(own)
    assert found["contribution"].tolist() == sorted(((3 * (h - 100) + 16) % 5 for h in own), reverse=True)
    assert found["contribution"].sum() == model.predict([50], [116])[0]
    assert len(model.explain(50, 116, k=2)) == 2
