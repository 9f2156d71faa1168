import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recsys.data import Dataset, Vocabulary
from recsys.errors import DataError


def strings(*values):
    return np.array(values, dtype=object)


def test_ids_are_sorted_and_distinct():
    assert Vocabulary.of(np.array([5, 1, 5]), np.array([3, 1])).ids.tolist() == [1, 3, 5]
    assert Vocabulary.of(strings("b", "a"), strings("c", "b")).ids.tolist() == ["a", "b", "c"]


def test_strings_sort_by_code_point_whatever_their_alphabet():
    assert Vocabulary.of(strings("é", "z", "10", "9", "")).ids.tolist() == ["", "10", "9", "z", "é"]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64])
def test_integers_keep_their_dtype(dtype):
    vocabulary = Vocabulary.of(np.array([7, 3, 7], dtype))
    assert vocabulary.decode(np.array([1, 0])).dtype == dtype
    assert vocabulary.decode(np.array([1, 0])).tolist() == [7, 3]


def test_strings_come_back_as_python_strings():
    decoded = Vocabulary.of(strings("b", "a")).decode(np.array([1, 1, 0]))
    assert decoded.dtype == object
    assert all(type(value) is str for value in decoded)


def test_decode_undoes_encode():
    rng = np.random.default_rng(0)
    ids = rng.integers(-1000, 1000, 500)
    for given in (ids, np.array([f"u{i}" for i in ids], object)):
        vocabulary = Vocabulary.of(given)
        np.testing.assert_array_equal(vocabulary.decode(vocabulary.encode(given)), given)


@pytest.mark.parametrize(
    "ids",
    [
        [3, 9, 1],
        (3, 9, 1),
        np.array([3, 9, 1], np.uint64),
        np.array([3, 9, 1], object),
        pd.Series([3, 9, 1], dtype="Int16"),
        pl.Series([3, 9, 1]),
        pa.chunked_array([[3], [9, 1]]),
    ],
)
def test_integers_of_any_make_are_encoded(ids):
    codes = Vocabulary.of(np.array([1, 2, 3], np.int16)).encode(ids)
    assert codes.dtype == np.int64
    assert codes.tolist() == [2, -1, 0]


@pytest.mark.parametrize(
    "ids",
    [
        ["c", "x", "a"],
        np.array(["c", "x", "a"]),
        pd.Series(["c", "x", "a"], dtype="category"),
        pd.Series(["c", "x", "a"], dtype="string"),
        pl.Series(["c", "x", "a"]),
        pa.chunked_array([["c"], ["x", "a"]]),
    ],
)
def test_strings_of_any_make_are_encoded(ids):
    assert Vocabulary.of(strings("a", "b", "c")).encode(ids).tolist() == [2, -1, 0]


def test_missing_ids_are_unknown():
    assert Vocabulary.of(np.array([1, 2])).encode([2, None]).tolist() == [1, -1]
    assert Vocabulary.of(strings("a")).encode(["a", None, float("nan")]).tolist() == [0, -1, -1]


def test_no_ids_give_no_codes_and_no_vocabulary_knows_nothing():
    assert Vocabulary.of(np.array([1])).encode([]).tolist() == []
    assert Vocabulary.of().encode(["a", "b"]).tolist() == [-1, -1]
    assert len(Vocabulary.of()) == 0


@pytest.mark.parametrize(
    ("known", "asked", "words"),
    [
        (np.array([1]), ["1"], "known ids are integers, such as 1; got strings, such as '1'"),
        (strings("a"), [1], "known ids are strings, such as 'a'; got integers, such as 1"),
        (np.array([1]), [1.0], "got floats, such as 1.0"),
        (np.array([1]), [True], "got booleans, such as True"),
        (np.array([1]), [1, "a"], "got mixed types, such as 1"),
    ],
)
def test_ids_of_another_kind_are_refused_naming_both(known, asked, words):
    with pytest.raises(DataError, match=words):
        Vocabulary.of(known).encode(asked)


def test_huge_ids_stay_apart():
    large = np.array([2**63 + 1, 2**63 + 2], np.uint64)
    assert Vocabulary.of(large).encode(large).tolist() == [0, 1]
    exact = np.array([2**53, 2**53 + 1])
    assert Vocabulary.of(exact).encode(exact).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
@pytest.mark.parametrize("one", [3, 4, -1, 300, 2**40, 2**63 - 1, 2**63 + 5, 2**64 - 253])
def test_an_id_alone_has_the_code_that_it_has_among_others(dtype, one):
    vocabulary = Vocabulary.of(np.array([5, 3, 7], dtype))
    known = {3: 0, 5: 1, 7: 2}
    for ids in ([one], np.array([one]), np.array([one], object)):
        assert vocabulary.encode(ids).tolist() == [known.get(one, -1)]
        assert vocabulary.encode(ids).dtype == np.int64


def test_unsigned_beside_signed_stays_exact():
    joined = Vocabulary.of(np.array([2**53 + 1], np.uint64), np.array([2**53, -1], np.int64))
    assert joined.ids.dtype == np.int64
    assert joined.ids.tolist() == [-1, 2**53, 2**53 + 1]
    with pytest.raises(DataError, match="does not fit the signed integers"):
        Vocabulary.of(np.array([2**63], np.uint64), np.array([-1]))


def test_integers_beside_strings_are_no_union():
    with pytest.raises(DataError, match="integers in one place and strings in another"):
        Vocabulary.of(np.array([1]), strings("a"))


def test_equality_is_by_ids():
    assert Vocabulary.of(np.array([2, 1])) == Vocabulary.of(np.array([1, 2], np.int16))
    assert Vocabulary.of(np.array([1])) != Vocabulary.of(np.array([2]))
    assert Vocabulary.of(np.array([1])) != Vocabulary.of(strings("1"))
    assert Vocabulary.of(np.array([1])) != Vocabulary.of(np.array([1, 2]))
    assert Vocabulary.of(np.array([1])) != "vocabulary"


def users(frame):
    return Dataset(frame).users


@pytest.mark.parametrize("dtype", ["Int16", "int16[pyarrow]", "int16"])
def test_nullable_ids_without_missing_ones_are_integers(dtype):
    ids = users(pd.DataFrame({"user_id": pd.array([3, 1], dtype=dtype), "item_id": [1, 2]})).ids
    assert ids.dtype == np.int16
    assert ids.tolist() == [1, 3]


def test_integers_in_an_object_column_or_in_categories_are_integers():
    for ids in (np.array([3, 1], object), pd.Categorical([3, 1])):
        assert users(pd.DataFrame({"user_id": ids, "item_id": [1, 2]})).ids.tolist() == [1, 3]


def test_missing_ids_are_refused_with_count_and_first_row(make):
    with pytest.raises(DataError, match=r"column 'user_id' has 2 missing ids, first in row 1"):
        users(make({"user_id": ["a", None, "b", None], "item_id": [1, 2, 3, 4]}))
    with pytest.raises(DataError, match=r"column 'item_id'.*"):
        users(make({"user_id": ["a", "b"], "item_id": [1, None]}))


def test_missing_nullable_integers_are_refused():
    for frame in (
        pl.DataFrame({"user_id": [1, None], "item_id": [1, 2]}),
        pa.table({"user_id": [1, None], "item_id": [1, 2]}),
    ):
        with pytest.raises(DataError, match=r"column 'user_id' has 1 missing ids, first in row 1"):
            users(frame)


def test_mixed_ids_are_refused_with_count_and_first_row():
    mixed = pd.DataFrame({"user_id": np.array([1, 2, "a", "b"], object), "item_id": range(4)})
    with pytest.raises(DataError, match=r"column 'user_id' has 2 ids of another type.*first in row 2 \('a'\)"):
        users(mixed)


@pytest.mark.parametrize("value", [b"a", 1.5, True, ("a",)])
def test_ids_that_are_neither_integers_nor_strings_are_refused(value):
    ids = np.empty(2, object)
    ids[0], ids[1] = "a", value
    with pytest.raises(DataError, match="1 ids that are neither integers nor strings, first in row 1"):
        users(pd.DataFrame({"user_id": ids, "item_id": [1, 2]}))


def test_booleans_and_dates_are_no_ids(make):
    with pytest.raises(DataError, match="'user_id' holds Boolean; ids are integers or strings"):
        users(make({"user_id": [True, False], "item_id": [1, 2]}))
    with pytest.raises(DataError, match="'user_id' holds Datetime"):
        users(make({"user_id": np.array(["2020-01-01", "2020-01-02"], "datetime64[us]"), "item_id": [1, 2]}))


def test_floats_are_no_ids_even_where_whole(make):
    with pytest.raises(DataError, match=r"'user_id' holds floats.*every value is whole.*cast to an integer"):
        users(make({"user_id": [1.0, 2.0], "item_id": [1, 2]}))
    with pytest.raises(DataError, match=r"first missing or fractional row: 1 \(1 in all\)"):
        users(make({"user_id": [1.0, float("nan")], "item_id": [1, 2]}))


def test_integers_beyond_int64_in_an_object_column_are_refused():
    with pytest.raises(DataError, match="1 ids beyond the range of int64"):
        users(pd.DataFrame({"user_id": np.array([1, 2**70], object), "item_id": [1, 2]}))


def test_a_grown_vocabulary_keeps_every_code_and_puts_new_ids_behind():
    known, more = Vocabulary(np.array([3, 5, 9], np.int32)), Vocabulary(np.array([1, 5, 7]))
    grown = known.grown(more)
    assert grown.ids.tolist() == [3, 5, 9, 1, 7]
    assert grown.ids.dtype == np.int32
    assert grown.encode([9, 1, 2]).tolist() == [2, 3, -1]
    assert known.grown(Vocabulary(np.array([2**40]))).ids.tolist() == [3, 5, 9, 2**40]
    assert known.grown(known) is known


def test_a_vocabulary_of_integers_does_not_grow_by_strings():
    with pytest.raises(DataError, match="the known ids are integers, such as 3; got strings"):
        Vocabulary(np.array([3])).grown(Vocabulary(np.array(["a"], object)))


@pytest.mark.parametrize("known", [np.int8, np.int16, np.int64, np.uint8, np.uint64])
@pytest.mark.parametrize("asked", [np.int8, np.int32, np.int64, np.uint16, np.uint64])
def test_integers_are_found_whatever_their_types(known, asked):
    vocabulary = Vocabulary(np.array([3, 100], known))
    assert vocabulary.encode(np.array([100, 4, 3], asked)).tolist() == [1, -1, 0]


def test_an_integer_that_does_not_fit_the_known_type_is_unknown():
    assert Vocabulary(np.array([0, 44], np.uint8)).encode(np.array([300, 256, -212, 44])).tolist() == [-1, -1, -1, 1]
    top = Vocabulary(np.array([2**64 - 1], np.uint64))
    assert top.encode(np.array([-1])).tolist() == [-1]
    low = Vocabulary(np.array([-1], np.int64))
    assert low.encode(np.array([2**64 - 1], np.uint64)).tolist() == [-1]
