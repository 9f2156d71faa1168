import subprocess
import sys

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recsys.data import Dataset, frames
from recsys.errors import DataError


def test_kind_of_each_frame_is_known(make, kind):
    assert frames.frame_kind(make({"x": [1]})) == kind
    assert frames.kind_of(frames.read(make({"x": [1]}))) == kind


def test_lazy_frame_is_collected():
    lazy = pl.DataFrame({"x": [1, 2]}).lazy()
    assert frames.frame_kind(lazy) == "polars"
    assert len(frames.read(lazy)) == 2


def test_narwhals_frame_is_taken_as_it_is():
    assert frames.frame_kind(nw.from_native(pd.DataFrame({"x": [1]}))) == "pandas"


@pytest.mark.parametrize("given", [{"x": [1]}, [1, 2], np.zeros((2, 2)), None, "interactions.csv", pd.Series([1])])
def test_what_is_no_frame_is_refused_by_its_type(given):
    with pytest.raises(DataError, match=rf"frame is needed; got {type(given).__name__}"):
        frames.read(given)


def test_kind_of_a_list_is_the_default():
    assert frames.kind_or([1, 2], "polars") == "polars"
    assert frames.kind_or(np.array([1]), "pyarrow") == "pyarrow"
    assert frames.kind_or(pd.DataFrame({"x": [1]}), "polars") == "pandas"


def test_columns_of_one_name_are_refused():
    twice = pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "item_id"])
    with pytest.raises(DataError, match="one name"):
        frames.read(twice)


def test_pyarrow_columns_of_one_name_are_refused():
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(DataError, match="one name"):
        frames.read(twice)


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="string views came with pyarrow 16")
def test_arrow_string_views_can_be_taken():
    table = pa.table({"user_id": pa.array(["b", "a"], pa.string_view()), "item_id": [1, 2]})
    assert Dataset(table).users.ids.tolist() == ["a", "b"]


def test_build_gives_the_kind_and_dtypes_asked_for(kind):
    columns = {
        "user_id": np.array(["b", "a"], object),
        "item_id": np.array([1, 2], np.int16),
        "score": np.array([0.5, 1.5], np.float32),
    }
    frame = frames.read(frames.build(columns, kind))
    assert frames.kind_of(frame) == kind
    assert frame.columns == list(columns)
    assert frame.schema["user_id"] == nw.String
    assert frame.schema["item_id"] == nw.Int16
    assert frame.schema["score"] == nw.Float32
    assert frame["user_id"].to_list() == ["b", "a"]


def test_build_without_rows_keeps_the_dtypes(kind):
    frame = frames.read(frames.build({"user_id": np.empty(0, object), "rank": np.empty(0, np.int64)}, kind))
    assert len(frame) == 0
    assert frame.columns == ["user_id", "rank"]
    assert frame.schema["rank"] == nw.Int64
    if kind != "pandas":
        assert frame.schema["user_id"] == nw.String


@pytest.mark.parametrize("n_rows", [0, 1, 20])
@pytest.mark.parametrize("ids", [np.int16, np.int64, np.uint64, object])
def test_a_pandas_frame_is_the_one_that_pandas_builds(n_rows, ids):
    names = np.array([f"u{i}" for i in range(n_rows)], object)
    numbers = names if ids is object else np.arange(n_rows).astype(ids)
    columns = {"id": numbers, "score": np.linspace(0, 1, n_rows).astype(np.float32), "rank": np.arange(n_rows)}
    wanted = pd.DataFrame({name: column.copy() for name, column in columns.items()})
    frame = frames.build(columns, "pandas")
    pd.testing.assert_frame_equal(frame, wanted, check_index_type="exact", check_column_type="exact")
    for one in (frame, wanted):
        one.insert(1, "twice", one["score"] * 2)
        one.loc[one["rank"] > 5, "rank"] = -1
        one["score"] += 1
    pd.testing.assert_frame_equal(frame.sort_values("rank", kind="stable"), wanted.sort_values("rank", kind="stable"))


def test_frames_of_the_same_columns_have_nothing_in_common():
    one, other = (frames.build({"x": np.arange(3), "y": np.ones(3)}, "pandas") for _ in range(2))
    one.columns.name, one.index.name, one.attrs["who"] = "columns", "index", "one"
    one.loc[0, "x"] = 7
    assert (other.columns.name, other.index.name, other.attrs) == (None, None, {})
    assert other["x"].tolist() == [0, 1, 2]


def test_absent_column_is_named_beside_those_there_are(make):
    with pytest.raises(DataError, match=r"no column 'z' for the rating; the frame has x, y"):
        frames.column(frames.read(make({"x": [1], "y": [2]})), "z", "rating")


def test_columns_named_by_numbers_are_refused_in_words():
    frame = pd.DataFrame([[1, 2]])
    with pytest.raises(DataError, match=r"no column 'user_id' for the users; the frame has 0, 1"):
        Dataset(frame)
    with pytest.raises(DataError, match="column 0 for the users is no text"):
        Dataset(frame, user_col=0, item_col=1)  # type: ignore[arg-type]


def array(values, dtype=None):
    return frames.to_array(frames.read(pd.DataFrame({"x": pd.array(values, dtype=dtype)}))["x"])


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint8", "uint64", "Int16", "Int64", "int32[pyarrow]"])
def test_integers_of_any_make_are_integers(dtype):
    assert array([3, 1], dtype).dtype.kind in "iu"
    assert array([3, 1], dtype).tolist() == [3, 1]


@pytest.mark.parametrize("dtype", ["object", "string", "string[pyarrow]", "str", "category"])
def test_strings_of_any_make_are_python_strings(dtype):
    assert array(["b", "a"], dtype).dtype == object
    assert array(["b", "a"], dtype).tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("values", "dtype"), [([1, None], "Int64"), (["a", None], "string"), (["a", None], "category")]
)
def test_missing_values_stay_visible(values, dtype):
    assert pd.isna(array(values, dtype)).tolist() == [False, True]


@pytest.mark.parametrize("values", [[1, None], ["a", None], [1.5, None], [True, None]])
def test_missing_values_stay_visible_in_polars_and_arrow(values):
    for make in (pl.DataFrame, pa.table):
        assert pd.isna(frames.to_array(frames.read(make({"x": values}))["x"])).tolist() == [False, True]


def test_categories_of_integers_stay_integers():
    assert pd.DataFrame({"x": pd.Categorical([3, 1])})["x"].dtype == "category"
    assert array(pd.Categorical([3, 1])).tolist() == [3, 1]


def test_polars_categories_are_strings():
    for dtype in (pl.Categorical, pl.Enum(["b", "a"])):
        series = frames.read(pl.DataFrame({"x": pl.Series(["b", None, "a"], dtype=dtype)}))["x"]
        assert frames.to_array(series).tolist() == ["b", None, "a"]


def test_text_of_digits_is_no_number(make):
    with pytest.raises(DataError, match="rating column 'x' holds String, not numbers"):
        frames.numbers(frames.read(make({"x": ["1", "2"]}))["x"], "x", "rating")


def test_decimals_are_numbers():
    series = frames.read(pl.DataFrame({"x": pl.Series(["1.5", "2"]).cast(pl.Decimal(5, 2))}))["x"]
    assert frames.numbers(series, "x", "rating").tolist() == [1.5, 2.0]


def test_numbers_beyond_float32_are_refused(make):
    with pytest.raises(DataError, match=r"1 ratings too large for float32, first in row 1 \(1e\+300\)"):
        frames.numbers(frames.read(make({"x": [1.0, 1e300]}))["x"], "x", "rating")


def test_refusal_names_column_count_first_row_and_value():
    values = np.array([1, 7, 9], np.int64)
    with pytest.raises(DataError, match=r"column 'x' has 2 odd values, first in row 1 \(7\); drop or repair"):
        frames.refuse(values > 1, values, "x", "odd values")


def test_optional_libraries_are_not_imported():
    code = "import sys, recsys.data; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
