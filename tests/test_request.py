"""What a caller asks for becomes codes: ids of any form, histories as the training data was read, clear refusals."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import ALS, Dataset, SASRec, UserKNN
from recsys.data import Histories, Vocabulary
from recsys.errors import DataError, ParameterError
from recsys.request import (
    Names,
    Query,
    ask_candidates,
    ask_context,
    ask_history,
    ask_pairs,
    ask_users,
    check_count,
    check_roles,
    id_array,
    in_dtype,
    known_code,
    known_codes,
)

NAMES = Names(
    "Model", "person", "film", {"rating": "stars", "label": "clicked", "weight": "trust", "timestamp": "when"}
)
FILMS = Vocabulary(np.array([10, 20, 30, 40]))
WORDS = Vocabulary(np.array(["a", "b", "c"], dtype=object))


def rows_of(history: Histories) -> list[list[int]]:
    return [history[[row]].items.tolist() for row in range(len(history))]


# -- ids ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [[3, 1], (3, 1), np.array([3, 1]), pd.Series([3, 1]), pd.Index([3, 1]), iter([3, 1]), {3: "x", 1: "y"}.keys()],
    ids=lambda given: type(given).__name__,
)
def test_ids_come_in_any_sequence(given: Any) -> None:
    found = id_array(given, "Model", "users")
    assert found.dtype == np.int64
    assert found.tolist() == [3, 1]


def test_one_id_is_a_list_of_one() -> None:
    assert id_array(7, "Model", "users").tolist() == [7]
    assert id_array(np.int32(7), "Model", "users").tolist() == [7]
    assert id_array("ann", "Model", "users").tolist() == ["ann"]


def test_ids_come_from_other_libraries() -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for given in (polars.Series(["a", "b"]), pyarrow.chunked_array([["a", "b"]]), pyarrow.array(["a", "b"])):
        assert id_array(given, "Model", "users").tolist() == ["a", "b"]


def test_strings_stay_strings_of_any_length() -> None:
    assert id_array(np.array(["a", "long"]), "Model", "users").dtype == object


@pytest.mark.parametrize("given", [np.zeros((2, 2)), pd.DataFrame({"a": [1], "b": [2]}), None])
def test_what_is_no_list_of_ids_is_refused(given: Any) -> None:
    with pytest.raises(
        DataError, match=f"Model: users= is a {type(given).__name__} of . dimensions; give a list of ids"
    ):
        id_array(given, "Model", "users")


def test_unknown_ids_are_counted_and_the_first_is_shown() -> None:
    with pytest.raises(DataError, match=r"Model does not know 2 of 3 films, first 'x'; do this"):
        known_codes(id_array(["a", "x", "y"], "Model", "films"), WORDS, "films", "Model", "raise", "do this")
    assert known_codes(id_array(["a", "x"], "Model", "films"), WORDS, "films", "Model", "skip").tolist() == [0, -1]


def test_ids_of_another_kind_are_refused_however_unknown_ones_are_treated() -> None:
    for values in ([1], ["a", 1], [1.5], [True]):
        with pytest.raises(DataError, match="known ids are strings"):
            known_codes(id_array(values, "Model", "users"), WORDS, "users", "Model", "skip")


def test_one_code_is_asked_for_by_one_id() -> None:
    assert known_code(30, FILMS, "Model", "item") == 2
    with pytest.raises(DataError, match="Model: item= takes one id; got 2"):
        known_code([10, 30], FILMS, "Model", "item")
    with pytest.raises(DataError, match=r"does not know 1 of 1 items, first 31; give one of the training data"):
        known_code(31, FILMS, "Model", "item")


def test_ids_take_the_dtype_of_the_known_ones_unless_that_changes_one() -> None:
    narrow = Vocabulary(np.array([1, 2], np.int32))
    assert in_dtype(np.array([2, 1]), narrow).dtype == np.int32
    assert in_dtype(np.array([2, 2**40]), narrow).tolist() == [2, 2**40]
    assert in_dtype(np.array(["a"], object), WORDS).tolist() == ["a"]


@pytest.mark.parametrize("value", [0, -1, True, np.bool_(True), 1.0, "3", None])
def test_counts_are_integers_of_at_least_one(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"Model: k=.*give an integer of at least 1"):
        check_count("Model", "k", value)


def test_counts_may_be_of_numpy() -> None:
    assert type(check_count("Model", "k", np.int32(3))) is int


# -- users -------------------------------------------------------------------------------------------------------------


def test_users_keep_the_callers_order_and_bring_their_histories() -> None:
    histories = Histories.from_rows(np.array([0, 0, 2]), np.array([3, 1, 2]), 3)
    names = Names("Model", "person", "film", {})
    asked = ask_users(["c", "x", "a"], WORDS, histories, names, "skip")
    assert asked.ids.tolist() == ["c", "x", "a"]
    assert asked.users.tolist() == [2, -1, 0]
    assert rows_of(asked.history) == [[2], [], [3, 1]]
    assert asked.served.tolist() == [True, False, True]
    everyone = ask_users(None, WORDS, histories, names, "raise")
    assert everyone.users.tolist() == [0, 1, 2]
    assert everyone.served.all()


# -- histories ---------------------------------------------------------------------------------------------------------


def test_a_frame_of_events_is_read_by_the_columns_of_the_training_data() -> None:
    frame = pd.DataFrame(
        {
            "person": ["y", "x", "y", "y"],
            "film": [40, 30, 20, 10],
            "stars": [4.0, 3.0, 2.0, 1.0],
            "trust": [0.4, 0.3, 0.2, 0.1],
            "when": [9, 5, 7, 8],
            "timestamp": [1, 2, 3, 4],
        }
    )
    asked = ask_history(frame, FILMS, NAMES, "raise")
    assert asked.ids.tolist() == ["y", "x"]
    assert rows_of(asked.history) == [[1, 0, 3], [2]]
    assert asked.history.ratings is not None
    assert asked.history.ratings.tolist() == [2, 1, 4, 3]
    assert asked.history.weights == pytest.approx([0.2, 0.1, 0.4, 0.3])
    assert asked.users.tolist() == [-1, -1]


def test_events_of_one_time_stand_by_item_as_in_a_data_set() -> None:
    frame = pd.DataFrame({"film": [40, 10, 30], "when": [5, 5, 1]})
    assert rows_of(ask_history(frame, FILMS, NAMES, "raise").history) == [[2, 0, 3]]


def test_without_times_events_keep_the_order_of_the_rows() -> None:
    assert rows_of(ask_history(pd.DataFrame({"film": [40, 10, 30]}), FILMS, NAMES, "raise").history) == [[3, 0, 2]]
    assert rows_of(ask_history([[40, 10], [30]], FILMS, NAMES, "raise").history) == [[3, 0], [2]]


def test_dates_are_times() -> None:
    frame = pd.DataFrame({"film": [40, 10], "when": pd.to_datetime(["2020-02-01", "2020-01-01"])})
    assert rows_of(ask_history(frame, FILMS, NAMES, "raise").history) == [[0, 3]]


def test_rows_labeled_0_are_no_part_of_a_history() -> None:
    frame = pd.DataFrame({"person": [1, 1, 2], "film": [40, 10, 30], "clicked": [0, 1, 0]})
    asked = ask_history(frame, FILMS, NAMES, "skip")
    assert rows_of(asked.history) == [[0], []]
    assert asked.served.tolist() == [True, False]


def test_unknown_items_of_a_history_are_left_out_with_their_values() -> None:
    frame = pd.DataFrame({"film": [40, 11, 10], "stars": [4.0, 5.0, 1.0], "when": [1, 2, 3]})
    with pytest.raises(DataError, match=r"does not know 1 of 3 items of the history, first 11; .*on_unknown"):
        ask_history(frame, FILMS, NAMES, "raise")
    asked = ask_history(frame, FILMS, NAMES, "skip")
    assert rows_of(asked.history) == [[3, 0]]
    assert asked.history.ratings is not None
    assert asked.history.ratings.tolist() == [4, 1]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"film": [10.0, np.nan]}), "column 'film' holds floats, which are no ids"),
        (pd.DataFrame({"film": [10, 20], "when": [1.0, np.nan]}), "column 'when' has 1 missing timestamps, first in row 1"),
        (pd.DataFrame({"film": [10, 20], "when": ["a", "b"]}), "column 'when'"),
        (pd.DataFrame({"film": [10], "stars": [np.nan]}), "column 'stars' has 1 missing or infinite ratings"),
        (pd.DataFrame({"film": [10, 20], "person": ["a", None]}), "column 'person' has 1 missing ids, first in row 1"),
        (pd.DataFrame({"item_id": [10]}), "Model: the history has no column 'film'; it has item_id"),
    ],
)  # fmt: skip
def test_wrong_histories_are_refused_by_column_and_row(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ask_history(frame, FILMS, NAMES, "raise")


@pytest.mark.parametrize("history", [[[10, [20]]], [[10], 20, "x"], [None]])
def test_lists_of_something_else_are_refused(history: Any) -> None:
    with pytest.raises(DataError):
        ask_history(history, FILMS, NAMES, "raise")


def test_people_without_events_are_empty_histories() -> None:
    for history in ([], [[]], [[10], []]):
        with pytest.raises(DataError, match=r"Model: the history of [01] is empty; pass on_unknown"):
            ask_history(history, FILMS, NAMES, "raise")
        assert not ask_history(history, FILMS, NAMES, "skip").served[-1]


def test_a_frame_without_rows_asks_for_nobody() -> None:
    empty = pd.DataFrame({"person": np.empty(0, np.int64), "film": np.empty(0, np.int64)})
    assert len(ask_history(empty, FILMS, NAMES, "raise").ids) == 0


# -- histories through models ------------------------------------------------------------------------------------------


def test_renamed_times_order_the_history_of_a_sequence_model() -> None:
    rng = np.random.default_rng(0)
    rows = [(u, int(i), t) for u in range(8) for t, i in enumerate(rng.permutation(9)[:4])]
    frame = pd.DataFrame(rows, columns=["person", "film", "when"])
    data = Dataset(frame, user_col="person", item_col="film", timestamp_col="when")
    model = SASRec(epochs=1, embedding_dim=4, verbose=0, device="cpu").fit(data)
    history = frame[frame["person"] == 3]
    wanted = model.recommend([3], k=3)
    assert model.recommend(history=history, k=3).equals(wanted)
    assert model.recommend(history=history.iloc[::-1], k=3).equals(wanted)
    assert not model.recommend(history=history.iloc[::-1].drop(columns="when"), k=3).equals(wanted)


def test_renamed_weights_and_ratings_of_a_history_are_read() -> None:
    rng = np.random.default_rng(0)
    rows = [(u, int(i), rng.integers(1, 6)) for u in range(12) for i in rng.permutation(9)[:4]]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "value"]).astype({"value": float})
    for model, role in ((ALS(n_factors=3, verbose=0), "weight"), (UserKNN(similarity="pearson"), "rating")):
        model.fit(Dataset(frame, **{f"{role}_col": "value"}))
        found = model.recommend(history=frame[frame["user_id"] == 3], k=3)
        wanted = model.recommend([3], k=3)
        assert found["item_id"].tolist() == wanted["item_id"].tolist()
        assert found["score"].to_numpy() == pytest.approx(wanted["score"].to_numpy(), rel=1e-4)


# -- candidates, pairs, contexts, roles --------------------------------------------------------------------------------


def test_candidates_are_ascending_codes_without_the_excluded() -> None:
    assert ask_candidates(None, None, FILMS, NAMES, "raise") is None
    for items, excluded, wanted in (([40, 10, 10], None, [0, 3]), (None, [20, 99], [0, 2, 3]), ([10, 20], [20], [0])):
        found = ask_candidates(items, excluded, FILMS, NAMES, "raise")
        assert found is not None
        assert found.tolist() == wanted


def test_unknown_candidates_are_refused_or_skipped() -> None:
    with pytest.raises(
        DataError, match=r"Model does not know 1 of 2 candidate items, first 11; pass on_unknown=\"skip\""
    ):
        ask_candidates([10, 11], None, FILMS, NAMES, "raise")
    found = ask_candidates([10, 11], None, FILMS, NAMES, "popular")
    assert found is not None
    assert found.tolist() == [0]


def test_pairs_are_two_columns_or_two_lists() -> None:
    users, items = ask_pairs(pd.DataFrame({"x": [0], "film": [10], "person": ["a"]}), None, NAMES)
    assert (users.tolist(), items.tolist()) == (["a"], [10])
    users, items = ask_pairs("a", 10, NAMES)
    assert (users.tolist(), items.tolist()) == (["a"], [10])


def test_contexts_are_encoded_as_the_training_data_was() -> None:
    rows = pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "hour": ["late", "early"], "heat": [1.0, 3.0]})
    like = Dataset(rows, context_cols=("hour", "heat")).context
    assert like is not None
    found = ask_context({"hour": "late", "heat": 3.0}, like, 3, NAMES)
    assert found is not None
    assert found["hour"].codes.tolist() == [1, 1, 1]
    assert found["heat"].values.tolist() == [1, 1, 1]
    each = ask_context(pd.DataFrame({"heat": [1.0, 2.0], "hour": ["early", "never"]}), like, 2, NAMES)
    assert each is not None
    assert each["hour"].codes.tolist() == [0, -1]
    assert each["heat"].values.tolist() == [-1, 0]
    assert ask_context(None, like, 2, NAMES) is None
    with pytest.raises(DataError, match=r"Model: context= .*'heat'.*the frame has hour"):
        ask_context({"hour": "late"}, like, 3, NAMES)


def test_roles_that_are_there_are_not_asked_for() -> None:
    frame = pd.DataFrame({"user_id": [1], "item_id": [2], "rating": [3.0], "timestamp": [4]})
    check_roles("Model", Dataset(frame), ("rating", "timestamp"), field_data=False)
    with pytest.raises(DataError, match=r"Model needs a label column; pass label_col=\.\.\. to Dataset"):
        check_roles("Model", Dataset(frame), ("rating", "label"), field_data=False)


def test_queries_are_cut_by_slices_and_by_rows() -> None:
    query = Query(np.array([4, 5, 6]), Histories.from_rows(np.array([0, 2, 2]), np.array([7, 8, 9]), 3))
    assert len(query) == 3
    assert query[1:].users.tolist() == [5, 6]
    assert rows_of(query[1:].history) == [[], [8, 9]]
    assert query[np.array([2, 0])].users.tolist() == [6, 4]
    assert rows_of(query[np.array([2, 0])].history) == [[8, 9], [7]]
