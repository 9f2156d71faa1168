"""What a user gives by mistake, to models of all kinds: an error that says what and what to do, or what is documented."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys import ALS, EASE, Dataset, DeepFM, ItemKNN, Popular, Recommender, SASRec, evaluate
from recsys.errors import DataError, NotFittedError, ParameterError

MODELS: dict[str, Callable[[], Recommender]] = {
    "Popular": Popular,
    "ItemKNN": lambda: ItemKNN(n_neighbors=3),
    "EASE": EASE,
    "ALS": lambda: ALS(n_factors=4, epochs=2),
    "DeepFM": lambda: DeepFM(epochs=1, embedding_dim=4, hidden_dims=(4,), verbose=0, device="cpu"),
    "SASRec": lambda: SASRec(epochs=1, embedding_dim=4, max_len=3, verbose=0, device="cpu"),
}
MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": lambda columns: pl.DataFrame(columns, strict=False),
}
ROWS: dict[str, list[Any]] = {
    "user_id": [1, 1, 1, 2, 2, 3, 3, 4],
    "item_id": [10, 20, 30, 10, 40, 20, 30, 40],
    "timestamp": [1, 2, 3, 4, 5, 6, 7, 8],
}
TEXT = {**ROWS, "user_id": [f"u{user}" for user in ROWS["user_id"]]}
Make = Callable[[dict[str, Any]], Any]


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a frame of one kind from columns."""
    return MAKERS[request.param]


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> Recommender:
    return MODELS[request.param]()


@pytest.fixture
def fitted(model: Recommender, make: Make) -> Recommender:
    return model.fit(make(ROWS))


def changed(**columns: Any) -> dict[str, Any]:
    return {**ROWS, **columns}


def listed(frame: Any, name: str) -> list[Any]:
    return frame[name].to_list()


def at_row_3(value: Any, others: list[Any]) -> list[Any]:
    return [*others[:3], value, *others[4:]]


# -- fit ---------------------------------------------------------------------------------------------------------------

USERS, ITEMS, LABELS = ROWS["user_id"], ROWS["item_id"], [1, 0, 1, 1, 0, 1, 1, 1]
MISSING = r"(2 missing ids, first in row 3|holds floats.*first missing or fractional row: 3 \(2 in all\))"
FLAWED: dict[str, tuple[dict[str, Any], str]] = {
    "missing integer users": (changed(user_id=[1, 1, 1, None, None, 3, 3, 4]), rf"'user_id'.*{MISSING}.*drop"),
    "missing users that are text": (
        changed(user_id=["a", "a", "a", None, "b", "c", "c", None]),
        r"'user_id' has 2 missing ids, first in row 3.*drop or repair",
    ),
    "missing items": (changed(item_id=[10, 20, 30, None, 40, None, 30, 40]), rf"'item_id'.*{MISSING}.*drop"),
    "NaN users": (
        changed(user_id=at_row_3(float("nan"), USERS)),
        r"'user_id'.*first missing.*row: 3 \(1 in all\).*drop",
    ),
    "fractional items": (changed(item_id=at_row_3(1.5, ITEMS)), r"'item_id' holds floats.*row: 3 \(1 in all\).*cast"),
    "whole floats for users": (changed(user_id=[float(user) for user in USERS]), r"'user_id' holds floats.*cast"),
    "booleans for users": (changed(user_id=[True, False] * 4), r"'user_id' holds Boolean; .*integers or strings.*cast"),
    "a negative label": (changed(label=at_row_3(-1, LABELS)), r"'label' has 1 labels other than 0 and 1.*row 3 \(-1"),
    "labels of a scale": (changed(label=[1, 2, 3, 4, 5, 1, 2, 3]), r"'label' has 6 labels other than 0 and 1.*row 1"),
    "a missing label": (
        changed(label=at_row_3(None, LABELS)),
        r"'label' has 1 missing or infinite labels.*row 3.*drop",
    ),
    "labels that are text": (changed(label=["yes", "no"] * 4), r"label column 'label' holds String, not numbers; cast"),
    "a missing rating": (changed(rating=at_row_3(None, LABELS)), r"'rating' has 1 missing or infinite ratings.*row 3"),
    "an infinite rating": (changed(rating=at_row_3(float("inf"), LABELS)), r"'rating' has 1 missing.*row 3 \(inf\)"),
    "a negative weight": (changed(weight=at_row_3(-0.5, LABELS)), r"'weight' has 1 negative weights.*row 3 \(-0\.5\)"),
    "a missing time": (changed(timestamp=at_row_3(None, USERS)), r"'timestamp' has 1 missing timestamps.*row 3.*drop"),
    "times that are text": (changed(timestamp=["today"] * 8), r"'timestamp' holds String; .*numbers or dates.*cast"),
    "no user column": (
        {"uid": USERS, "item_id": ITEMS},
        r"no column 'user_id' for the users; the frame has uid, item_id",
    ),
    "no item column": (
        {"user_id": USERS, "item": ITEMS},
        r"no column 'item_id' for the items.*user_id, item: name one",
    ),
    "no rows": ({name: [] for name in ROWS}, r"the frame of interactions is empty; give at least one row"),
    "no columns": ({}, r"the frame of interactions is empty; give at least one row"),
}


@pytest.mark.parametrize("columns, message", FLAWED.values(), ids=FLAWED.keys())
def test_flawed_data_is_refused_with_the_column_the_count_and_the_way_out(
    model: Recommender, make: Make, columns: dict[str, Any], message: str
) -> None:
    frame = make(columns)
    before = copy.deepcopy(frame)
    with pytest.raises(DataError, match=message):
        model.fit(frame)
    assert not model.is_fitted
    assert frame.equals(before)


def test_ids_of_two_types_are_refused_with_the_first_of_the_other_type(model: Recommender, make: Make) -> None:
    mixed = [1, 1, 1, "a", 2, "b", 3, 4]
    columns = changed(user_id=pl.Series(mixed, dtype=pl.Object) if make is MAKERS["polars"] else mixed)
    with pytest.raises(DataError, match=r"'user_id' has 2 ids of another type than the first.*row 3 \('a'\); drop"):
        model.fit(make(columns))


def test_two_columns_of_one_name_are_refused(model: Recommender) -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["user_id", "user_id", "item_id"])
    with pytest.raises(DataError, match=r"two columns of the frame have one name.*rename"):
        model.fit(frame)


@pytest.mark.parametrize("given", [[1, 2], {"user_id": [1]}, None, "rows.csv", np.zeros((2, 2)), 3])
def test_what_is_no_frame_is_refused(model: Recommender, given: Any) -> None:
    with pytest.raises(DataError, match=f"a pandas, polars or pyarrow frame is needed; got {type(given).__name__}"):
        model.fit(given)


def test_a_name_that_is_no_column_is_refused(model: Recommender, make: Make) -> None:
    with pytest.raises(DataError, match="no column 'stars' for the rating; the frame has user_id, item_id, timestamp"):
        model.fit(Dataset(make(ROWS), rating_col="stars"))


def test_flawed_validation_data_leaves_a_fitted_model_as_it_was(fitted: Recommender, make: Make) -> None:
    before = fitted.predict(USERS, ITEMS)
    with pytest.raises(DataError, match="'label' has 1 labels other than 0 and 1"):
        fitted.fit(make(changed(user_id=[9] * 8)), validation_data=make(changed(label=at_row_3(-1, LABELS))))
    np.testing.assert_array_equal(fitted.predict(USERS, ITEMS), before)


def test_a_lazy_frame_is_collected(model: Recommender) -> None:
    lists = model.fit(pl.LazyFrame(ROWS)).recommend(k=2)
    assert isinstance(lists, pl.DataFrame)


# -- data that is small, or odd, and right -----------------------------------------------------------------------------


def test_one_user_is_served_what_is_left(model: Recommender, make: Make) -> None:
    features = make({"item_id": [10, 20, 30]})
    data = Dataset(make({"user_id": [7, 7], "item_id": [10, 20], "timestamp": [1, 2]}), item_features=features)
    lists = model.fit(data).recommend([7], k=5)
    assert listed(lists, "item_id") == [30]
    assert np.isfinite(listed(lists, "score")).all()


def test_one_row_is_fitted_and_nothing_is_left_to_recommend(model: Recommender, make: Make) -> None:
    one = model.fit(make({"user_id": ["u"], "item_id": ["i"], "timestamp": [1]}))
    assert len(one.recommend(k=3)) == 0
    assert listed(one.recommend(k=3, filter_seen=False), "item_id") == ["i"]
    assert np.isfinite(one.predict(["u"], ["i"])).all()


def test_repeated_rows_make_no_repeated_recommendations(model: Recommender, make: Make) -> None:
    twice = {name: values + values for name, values in ROWS.items()}
    lists = model.fit(make(twice)).recommend(k=9)
    pairs = list(zip(listed(lists, "user_id"), listed(lists, "item_id"), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & set(zip(USERS, ITEMS, strict=True))
    assert np.isfinite(listed(lists, "score")).all()


@pytest.mark.parametrize("name", ["Popular", "ItemKNN", "EASE", "ALS"])
def test_models_of_who_has_what_take_repeated_rows_as_one(name: str, make: Make) -> None:
    twice = {column: values + values for column, values in ROWS.items()}
    once, again = (MODELS[name]().fit(make(rows)) for rows in (ROWS, twice))
    users, items = np.repeat([1, 2, 3, 4], 4), np.tile([10, 20, 30, 40], 4)
    np.testing.assert_allclose(again.predict(users, items), once.predict(users, items), rtol=1e-5)


def test_the_callers_frames_are_never_changed(model: Recommender, make: Make) -> None:
    rows, held_out = make(changed(label=LABELS)), make({"user_id": [4, 3], "item_id": [10, 10], "label": [1, 1]})
    features = make({"item_id": [10, 20, 30, 40], "size": [1.0, None, 2.0, 3.0]})
    history = make({"user_id": [8, 8], "item_id": [30, 10], "timestamp": [2, 1]})
    given = [rows, held_out, features, history]
    before = copy.deepcopy(given)
    one = model.fit(Dataset(rows, item_features=features), validation_data=held_out)
    one.predict(rows)
    one.recommend([1, 2], k=2)
    evaluate(one, held_out, ["ndcg@2"])
    if one.supports("history"):
        one.recommend(history=history, k=2)
    assert all(frame.equals(copied) for frame, copied in zip(given, before, strict=True))


def test_results_are_frames_of_the_callers_kind(fitted: Recommender, make: Make) -> None:
    kind = type(make(ROWS))
    assert isinstance(fitted.recommend(k=2), kind)
    if fitted.supports("history"):
        assert isinstance(fitted.recommend(history=make({"item_id": [10, 30]}), k=2), kind)


# -- predict -----------------------------------------------------------------------------------------------------------


def test_unknown_and_missing_ids_predict_a_finite_number(fitted: Recommender) -> None:
    users, items = [1, 99, 1, 99, None], [10, 10, 999, None, None]
    scores = fitted.predict(users, items)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert scores[0] == fitted.predict([1], [10])[0]
    for frame in (pl.DataFrame, lambda columns: pd.DataFrame(columns, dtype="Int64")):
        np.testing.assert_array_equal(fitted.predict(frame({"user_id": users, "item_id": items})), scores)


def test_missing_ids_that_made_floats_of_a_column_are_refused_with_the_cause(fitted: Recommender) -> None:
    frame = pd.DataFrame({"user_id": [1, None], "item_id": [10, 10]})
    with pytest.raises(
        DataError, match=r"users: the known ids are integers.*missing ids turn integers into floats; cast"
    ):
        fitted.predict(frame)


NO_PAIRS: dict[str, tuple[tuple[Any, ...], str]] = {
    "text for integers": ((["a"], [10]), r"{0}: users: the known ids are integers, such as 1; got strings.*'a'; cast"),
    "numbers of two kinds": (
        ([1], [1.5]),
        r"{0}: items: the known ids are integers, such as 10; got floats.*1\.5.*cast",
    ),
    "more users than items": (([1, 2], [10]), r"{0}\.predict: 2 users but 1 items; give one item a user"),
    "a table of users": (([[1, 2]], [10]), r"{0}: users= is a list of 2 dimensions; give a list of ids"),
    "users alone": (([1, 2],), r"{0}\.predict takes a frame, or users and items.*got list"),
}


@pytest.mark.parametrize("given, message", NO_PAIRS.values(), ids=NO_PAIRS.keys())
def test_pairs_that_are_none_are_refused(fitted: Recommender, given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message.format(type(fitted).__name__)):
        fitted.predict(*given)


def test_a_frame_without_the_id_columns_is_refused_with_what_it_has(fitted: Recommender, make: Make) -> None:
    with pytest.raises(DataError, match=r"predict needs a column 'user_id'; the frame has uid, item_id"):
        fitted.predict(make({"uid": [1], "item_id": [10]}))
    with pytest.raises(DataError, match=r"predict needs a column 'item_id'; the frame has user_id"):
        fitted.predict(make({"user_id": [1]}))


def test_no_pairs_have_no_scores(fitted: Recommender, make: Make) -> None:
    assert fitted.predict([], []).shape == (0,)
    assert fitted.predict(make(ROWS)[:0]).shape == (0,)


# -- recommend ---------------------------------------------------------------------------------------------------------


def test_unknown_users_are_refused_skipped_or_served_the_popular_items(fitted: Recommender) -> None:
    name = type(fitted).__name__
    with pytest.raises(DataError, match=rf'{name} does not know 2 of 3 users, first 99; pass on_unknown="skip" to'):
        fitted.recommend([1, 99, 98])
    assert set(listed(fitted.recommend([1, 99, 98], on_unknown="skip"), "user_id")) == {1}
    served = fitted.recommend([1, 99], k=4, on_unknown="popular")
    mine = [item for user, item in zip(listed(served, "user_id"), listed(served, "item_id"), strict=True) if user == 99]
    assert mine == [10, 20, 30, 40]


def test_missing_users_are_refused(fitted: Recommender) -> None:
    with pytest.raises(DataError, match="does not know 1 of 2 users, first None; pass on_unknown"):
        fitted.recommend([1, None])


def test_users_of_another_type_are_refused_whatever_the_policy(fitted: Recommender) -> None:
    for policy in ("raise", "skip", "popular"):
        with pytest.raises(DataError, match=r"users: the known ids are integers, such as 1; got strings, such as 'a'"):
            fitted.recommend(["a"], on_unknown=policy)


def test_text_is_no_list_of_letters(model: Recommender, make: Make) -> None:
    one = model.fit(make(TEXT))
    assert set(listed(one.recommend("u1", k=4), "user_id")) == {"u1"}


@pytest.mark.parametrize("k", [0, -3, True, 2.0, None, "3", np.nan])
def test_a_k_that_is_no_count_is_refused(fitted: Recommender, k: Any) -> None:
    with pytest.raises(ParameterError, match=rf"{type(fitted).__name__}: k=.* is not allowed; give an integer of at l"):
        fitted.recommend([1], k=k)


def test_a_k_beyond_the_catalog_gives_all_that_is_left(fitted: Recommender) -> None:
    lists = fitted.recommend([2, 4], k=10**9)
    pairs = set(zip(listed(lists, "user_id"), listed(lists, "item_id"), strict=True))
    assert pairs == {(2, 20), (2, 30), (4, 10), (4, 20), (4, 30)}
    assert len(fitted.recommend([2, 4], k=np.int64(50), filter_seen=False)) == 8


def test_candidates_that_are_unknown_are_refused_or_skipped(fitted: Recommender) -> None:
    name = type(fitted).__name__
    with pytest.raises(DataError, match=rf"{name} does not know 1 of 2 candidate items, first 77; pass on_unknown="):
        fitted.recommend([4], items=[20, 77])
    assert listed(fitted.recommend([4], items=[20, 77], on_unknown="skip"), "item_id") == [20]
    with pytest.raises(DataError, match="candidate items: the known ids are integers, such as 10; got strings"):
        fitted.recommend([4], items=["twenty"])
    assert listed(fitted.recommend([4], items=[]), "item_id") == []


def test_exclusions_that_are_unknown_exclude_nothing(fitted: Recommender) -> None:
    assert len(fitted.recommend([4], exclude_items=[77, 999])) == 3
    assert 20 not in listed(fitted.recommend([4], exclude_items=[77, 20]), "item_id")


def test_a_policy_that_is_none_is_refused(fitted: Recommender) -> None:
    with pytest.raises(ParameterError, match="on_unknown='ignore' is not allowed; give one of raise, skip, popular"):
        fitted.recommend([1], on_unknown="ignore")  # type: ignore[arg-type]


def test_a_table_is_no_list_of_users(fitted: Recommender, make: Make) -> None:
    with pytest.raises(DataError, match="users= is a DataFrame of 2 dimensions; give a list of ids"):
        fitted.recommend(make({"user_id": [1, 2]}))


def test_series_arrays_sets_and_tuples_of_users_are_lists(fitted: Recommender, make: Make) -> None:
    expected = listed(fitted.recommend([1, 2], k=2), "item_id")
    for users in ((1, 2), np.array([1, 2], np.int16), make({"a": [1, 2]})["a"], {1: "x", 2: "y"}.keys(), range(1, 3)):
        assert listed(fitted.recommend(users, k=2), "item_id") == expected
    assert len(fitted.recommend([], k=2)) == 0


@pytest.mark.parametrize("name", [name for name, one in MODELS.items() if one().supports("history")])
def test_histories_that_are_none_are_refused(name: str, make: Make) -> None:
    one = MODELS[name]().fit(make(ROWS))
    with pytest.raises(DataError, match=rf"{name}: the history has no column 'item_id'; it has item"):
        one.recommend(history=make({"item": [10]}))
    with pytest.raises(
        DataError, match=rf"{name} does not know 1 of 2 items of the history, first 77; pass on_unknown"
    ):
        one.recommend(history=[[10, 77]])
    with pytest.raises(DataError, match=rf"{name}: the history of 0 is empty; pass on_unknown="):
        one.recommend(history=[[]])
    with pytest.raises(DataError, match=rf"{name}\.recommend takes users= or history=, not both"):
        one.recommend([1], history=[[10]])
    with pytest.raises(DataError, match="items of the history: the known ids are integers, such as 10; got strings"):
        one.recommend(history=[["ten"]])
    assert len(one.recommend(history=[[77]], on_unknown="skip")) == 0


def test_an_unfitted_model_says_so(model: Recommender, make: Make) -> None:
    for ask in (lambda: model.predict(make(ROWS)), lambda: model.recommend([1]), lambda: evaluate(model, make(ROWS))):
        with pytest.raises(NotFittedError, match=rf"this {type(model).__name__} is not fitted; call fit\(data\) first"):
            ask()


def test_test_data_without_its_columns_is_refused(fitted: Recommender, make: Make) -> None:
    with pytest.raises(DataError, match="no column 'item_id' for the items; the frame has user_id, item"):
        evaluate(fitted, make({"user_id": [1], "item": [20]}))
