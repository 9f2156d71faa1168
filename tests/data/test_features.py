import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recsys.data import Column, Dataset, Features, Vocabulary
from recsys.data.features import encode_features, encode_rows
from recsys.errors import DataError

IDS = [3, 1, 2]


def item_features(make, **columns):
    """Features of items 1, 2, 3, given for 3, 1, 2."""
    return Dataset(
        make({"user_id": IDS, "item_id": IDS}), item_features=make({"item_id": IDS, **columns})
    ).item_features


def column(make, values):
    return item_features(make, x=values)["x"]


@pytest.mark.parametrize("values", [["b", "a", "b"], [20, 10, 20], [True, False, True]])
def test_strings_integers_and_booleans_are_categories(make, values):
    found = column(make, values)
    assert (found.kind, found.size) == ("categorical", 2)
    assert found.codes.tolist() == [0, 1, 1]
    assert found.codes.dtype == np.int64


def test_dtypes_of_categories_are_categories():
    for values in (pd.Categorical(["b", "a", "b"]), pd.Categorical([20, 10, 20]), pd.array([20, 10, 20], "Int64")):
        assert column(pd.DataFrame, values).codes.tolist() == [0, 1, 1]
    for dtype in (pl.Categorical, pl.Enum(["b", "a"])):
        assert column(pl.DataFrame, pl.Series(["b", "a", "b"], dtype=dtype)).codes.tolist() == [0, 1, 1]
    assert column(pa.table, pa.array(["b", "a", "b"]).dictionary_encode()).codes.tolist() == [0, 1, 1]


def test_missing_categories_are_minus_one(make):
    found = column(make, ["b", None, "a"])
    assert found.codes.tolist() == [-1, 0, 1]
    assert (found.size, found.n_codes, found.field_codes.tolist()) == (2, 3, [0, 1, 2])


@pytest.mark.parametrize("values", [pd.array([5, None, 4], "Int64"), pd.array([True, None, False], "boolean")])
def test_nullable_integers_and_booleans_stay_integers(values):
    found = column(pd.DataFrame, values)
    assert found.codes.tolist() == [-1, 0, 1]
    assert found.vocabulary.kind == "integers"


def test_floats_are_standardized_and_missing_ones_are_the_mean(make):
    found = column(make, [1.0, float("nan"), 3.0])
    assert found.kind == "numeric"
    assert (found.mean, found.scale) == (2.0, 1.0)
    assert found.values.dtype == np.float32
    assert found.values.tolist() == [0.0, 1.0, -1.0]
    assert found.absent.tolist() == [True, False, False]


def test_columns_without_missing_values_have_no_code_for_them(make):
    for values in (["b", "a", "b"], [1.0, 2.0, 3.0]):
        found = column(make, values)
        assert not found.missing
        assert found.absent is None


def test_numbers_that_never_change_are_zero(make):
    found = column(make, [2.5, 2.5, 2.5])
    assert found.values.tolist() == [0, 0, 0]
    assert found.scale == 1.0


def test_numeric_cols_makes_integers_numbers(make):
    data = Dataset(
        make({"user_id": IDS, "item_id": IDS}),
        item_features=make({"item_id": IDS, "year": [2003, 2001, 2002]}),
        numeric_cols=["year"],
    )
    assert data.item_features["year"].kind == "numeric"
    np.testing.assert_allclose(data.item_features["year"].values, [-1.2247449, 0, 1.2247449], rtol=1e-6)


def test_infinite_numbers_are_refused_at_their_row(make):
    with pytest.raises(DataError, match=r"column 'x' has 1 infinite numbers, first in row 1 \(inf\)"):
        column(make, [1.0, float("inf"), 2.0])


def test_text_is_no_number(make):
    frame = make({"user_id": IDS, "item_id": IDS})
    for text in (["1", "2", "3"], ["a", "b", "c"]):
        with pytest.raises(DataError, match="numeric column 'x' holds String, not numbers"):
            Dataset(frame, item_features=make({"item_id": IDS, "x": text}), numeric_cols=["x"])


def test_lists_are_tags(make):
    found = column(make, [["b", "a"], [], ["b"]])
    assert (found.kind, found.size) == ("tags", 2)
    assert found.indptr.tolist() == [0, 0, 1, 3]
    assert found.codes.tolist() == [1, 1, 0]


def test_missing_lists_have_no_tags(make):
    assert column(make, [["b", "a"], None, ["b"]]).indptr.tolist() == [0, 0, 1, 3]


@pytest.mark.parametrize("values", [[("b", "a"), (), ("b",)], [{"b", "a"}, set(), {"b"}], [["b", "a"], pd.NA, ["b"]]])
def test_tuples_sets_and_missing_marks_are_lists_too(values):
    found = column(pd.DataFrame, values)
    assert found.kind == "tags"
    assert np.diff(found.indptr).tolist() == [0, 1, 2]


def test_lists_of_integers_are_tags(make):
    assert column(make, [[1, 2], [2, 3], [1, 3]]).kind == "tags"


def test_a_word_beside_lists_is_refused():
    with pytest.raises(DataError, match=r"1 entries that are no lists.*row 1 \('a'\)"):
        column(pd.DataFrame, [["a"], "a", ["b", "c"]])


def test_equal_lists_of_floats_are_vectors(make):
    found = column(make, [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]])
    assert found.kind == "vector"
    assert found.vectors.dtype == np.float32
    assert found.vectors.tolist() == [[1.5, 2.0], [2.5, 3.0], [0.5, 1.0]]


def test_arrays_are_vectors_whatever_their_numbers():
    arrays = pl.Series([[1, 2], [3, 4], [5, 6]], dtype=pl.Array(pl.Int64, 2))
    assert column(pl.DataFrame, arrays).vectors.tolist() == [[3, 4], [5, 6], [1, 2]]
    assert column(pa.table, arrays.to_arrow()).vectors.tolist() == [[3, 4], [5, 6], [1, 2]]
    assert column(pd.DataFrame, list(np.eye(3))).vectors.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_missing_vectors_are_zero(make):
    assert column(make, [[0.5, 1.0], None, [2.5, 3.0]]).vectors.tolist() == [[0, 0], [2.5, 3.0], [0.5, 1.0]]


def test_vectors_with_holes_are_refused_at_their_row(make):
    with pytest.raises(DataError, match=r"column 'x' has 1 vectors with missing or infinite numbers, first in row 1"):
        column(make, [[0.5, 1.0], [float("nan"), 1.0], [2.5, 3.0]])


def test_features_stand_in_the_order_of_the_vocabulary(make):
    data = Dataset(
        make({"user_id": ["c", "a", "b"], "item_id": IDS}),
        user_features=make({"user_id": ["b", "z", "a"], "age": [2.0, 4.0, 6.0], "city": ["x", "y", "x"]}),
    )
    assert data.users.ids.tolist() == ["a", "b", "c", "z"]
    assert data.user_features["city"].codes.tolist() == [0, 0, -1, 1]
    np.testing.assert_allclose(data.user_features["age"].values, [1.2247449, -1.2247449, 0, 0], rtol=1e-6)
    assert len(data.user_features) == data.n_users == 4
    assert data.item_features is None


def test_order_of_the_feature_frame_changes_nothing_to_the_last_bit():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"item_id": np.arange(500), "x": rng.normal(size=500), "y": rng.choice(list("abc"), 500)})
    base = pd.DataFrame({"user_id": [1], "item_id": [0]})
    first = Dataset(base, item_features=frame).item_features
    second = Dataset(base, item_features=frame.sample(frac=1, random_state=1)).item_features
    np.testing.assert_array_equal(first["x"].values, second["x"].values)
    np.testing.assert_array_equal(first["y"].codes, second["y"].codes)


def test_duplicate_ids_of_features_are_refused(make):
    with pytest.raises(
        DataError, match=r"'item_id' has 1 ids that have a row of features already, first in row 2 \(1\)"
    ):
        Dataset(make({"user_id": [1], "item_id": [1]}), item_features=make({"item_id": [1, 2, 1], "x": [1, 2, 3]}))


def test_features_without_their_id_column_are_refused(make):
    with pytest.raises(DataError, match="no column 'item_id' for the ids of the features; the frame has id, x"):
        Dataset(make({"user_id": [1], "item_id": [1]}), item_features=make({"id": [1], "x": [1]}))


def test_feature_ids_of_another_kind_are_refused(make):
    with pytest.raises(DataError, match="column 'item_id' holds integers in one frame and strings in another"):
        Dataset(make({"user_id": [1], "item_id": [1]}), item_features=make({"item_id": ["1"], "x": [1]}))


def test_unknown_feature_is_named_beside_the_known(make):
    with pytest.raises(DataError, match="no feature 'z'; there are x, y"):
        item_features(make, x=IDS, y=IDS)["z"]


@pytest.fixture
def fitted(make):
    return item_features(
        make, city=["b", "a", "b"], age=[1.0, 2.0, 3.0], tags=[["p"], [], ["p", "q"]], v=[[0.5], [1.5], [2.5]]
    )


def test_row_minus_one_is_missing_in_every_column(fitted):
    taken = fitted.take(np.array([2, -1, 0, 2]))
    assert isinstance(taken, Features)
    assert len(taken) == 4
    assert taken["city"].codes.tolist() == [1, -1, 0, 1]
    assert taken["age"].values[1] == 0
    assert taken["tags"].indptr.tolist() == [0, 1, 1, 1, 2]
    assert taken["v"].vectors.tolist() == [[0.5], [0], [1.5], [0.5]]


def test_taking_from_no_rows_is_all_missing(fitted):
    taken = fitted.take(np.empty(0, np.int64)).take(np.array([-1, -1]))
    assert taken["city"].codes.tolist() == [-1, -1]
    assert taken["age"].values.tolist() == [0, 0]
    assert taken["tags"].indptr.tolist() == [0, 0, 0]
    assert taken["v"].vectors.tolist() == [[0], [0]]


def test_fitted_encoders_encode_other_frames(make, fitted):
    frame = make(
        {"city": ["a", "new"], "age": [2.0, 3.0], "tags": [["q", "new"], ["p"]], "v": [[9.0], [8.0]], "more": [1, 2]}
    )
    found = encode_rows(frame, fitted)
    assert found["city"].codes.tolist() == [0, -1]
    assert found["age"].values[0] == 0
    assert found["age"].values[1] == fitted["age"].values[1]
    assert found["tags"].codes.tolist() == [1, -1, 0]
    assert found["v"].vectors.tolist() == [[9], [8]]
    assert [column.name for column in found.columns] == ["city", "age", "tags", "v"]


def test_columns_without_a_value_are_all_missing(make, fitted):
    found = encode_rows(make({"city": [None], "age": [None], "tags": [None], "v": [None]}), fitted)
    assert found["city"].codes.tolist() == [-1]
    assert found["age"].values.tolist() == [0]
    assert found["tags"].indptr.tolist() == [0, 0]
    assert found["v"].vectors.tolist() == [[0]]


def test_integers_serve_a_numeric_column(make, fitted):
    frame = make({"city": ["a"], "age": [3], "tags": [["p"]], "v": [[1.0]]})
    assert encode_rows(frame, fitted)["age"].values[0] == fitted["age"].values[1]


def test_fitted_features_of_another_frame_stand_in_the_vocabulary(make, fitted):
    vocabulary = Vocabulary.of(np.array([10, 20, 30]))
    frame = make(
        {"item_id": [30, 99, 10], "city": ["b", "a", "new"], "age": [2.0] * 3, "tags": [["p"]] * 3, "v": [[1.0]] * 3}
    )
    found = encode_features(frame, "item_id", vocabulary, fitted)
    assert len(found) == 3
    assert found["city"].codes.tolist() == [-1, -1, 1]
    assert found["tags"].indptr.tolist() == [0, 1, 1, 2]


def test_a_changed_schema_is_refused_by_column(make, fitted):
    good = {"item_id": [1], "city": ["a"], "age": [2.0], "tags": [["p"]], "v": [[1.0]]}
    vocabulary = Vocabulary.of(np.array([1]))
    with pytest.raises(DataError, match="column 'more' was not there when the model was fitted"):
        encode_features(make({**good, "more": [1]}), "item_id", vocabulary, fitted)
    with pytest.raises(
        DataError, match="column 'city' was there when the model was fitted; the frame has item_id, age"
    ):
        encode_features(make({k: v for k, v in good.items() if k != "city"}), "item_id", vocabulary, fitted)
    with pytest.raises(DataError, match="column 'city' was categorical when the model was fitted and is numeric now"):
        encode_rows(make({**good, "city": [1.5]}), fitted)
    with pytest.raises(DataError, match="column 'tags' was tags when the model was fitted and is categorical now"):
        encode_rows(make({**good, "tags": ["p"]}), fitted)
    with pytest.raises(DataError, match="column 'v' held vectors of 1 numbers and holds 2 now"):
        encode_rows(make({**good, "v": [[1.0, 2.0]]}), fitted)


def test_text_for_a_column_of_integers_is_refused_by_name(make):
    fitted = item_features(make, x=[1, 2, 3])
    with pytest.raises(DataError, match="column 'x': the known ids are integers, such as 1; got strings, such as 'a'"):
        encode_rows(make({"x": ["a"]}), fitted)


def test_fields_are_arrays_vocabularies_and_scalars(fitted):
    for column in fitted.columns:
        for value in vars(column).values():
            assert value is None or isinstance(value, np.ndarray | Vocabulary | str | float | bool)


def test_a_column_is_frozen():
    with pytest.raises(AttributeError):
        Column("x", "numeric").name = "y"
