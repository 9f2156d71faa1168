"""Encoders fitted to pieces of a column against those fitted to all of it."""

import narwhals as nw
import numpy as np
import pandas as pd
import pytest
from tests.data.pieces import Fitting

from recsys.data import Categories, Numbers
from recsys.data.accumulators import PENDING, CategoryCounts
from recsys.data.features import encode_column
from recsys.errors import DataError

NAN = float("nan")


def series(values):
    return nw.from_native(pd.Series(values, name="x"), series_only=True)


def in_pieces(values, encoder=None, n_pieces=7, **options):
    fitting = Fitting("x", encoder, **options)
    column = pd.Series(values)
    for rows in np.array_split(np.arange(len(column)), n_pieces):
        fitting.add(nw.from_native(column.iloc[rows], series_only=True))
    return fitting.finish()


def words(n=500, seed=0):
    rng = np.random.default_rng(seed)
    return pd.Series(rng.choice([*(f"w{i}" for i in range(60)), None], n), dtype=object)


def numbers(n=500, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.1, NAN, rng.exponential(size=n))


def check(values, encoder, **options):
    fitted, whole = in_pieces(values, encoder, **options), encode_column(series(values), "x", False, None, encoder)
    assert (fitted.kind, fitted.size, fitted.n_codes) == (whole.kind, whole.size, whole.n_codes)
    assert (fitted.unknown, fitted.missing) == (whole.unknown, whole.missing)
    found = encode_column(series(values), "x", False, fitted)
    if fitted.kind == "numeric":
        np.testing.assert_allclose(found.values, whole.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.absent, whole.absent)
    elif fitted.kind == "vector":
        np.testing.assert_array_equal(found.vectors, whole.vectors)
    else:
        np.testing.assert_array_equal(found.field_codes, whole.field_codes)


@pytest.mark.parametrize(
    "encoder",
    [
        None,
        Categories(),
        Categories(min_count=9),
        Categories(hash_buckets=20),
        Categories(min_count=2, missing="nothing"),
    ],
)
def test_categories_of_pieces_are_those_of_the_whole(encoder):
    check(words(), encoder)
    check(pd.Series(np.random.default_rng(1).integers(0, 80, 500)), encoder)


@pytest.mark.parametrize("transform", ["standardize", "log1p", "quantile", "powers", "buckets", "none"])
@pytest.mark.parametrize("missing", ["own", "nothing"])
def test_numbers_of_pieces_are_those_of_the_whole(transform, missing):
    check(numbers(), Numbers(transform, n_bins=13, missing=missing))


def test_plain_numbers_tags_and_vectors_of_pieces_are_those_of_the_whole():
    rng = np.random.default_rng(4)
    check(numbers(), None)
    tags = [list(rng.choice(list("pqrst"), size, replace=False)) for size in rng.integers(0, 4, 200)]
    check(tags, None)
    check(tags, Categories(min_count=70))
    check(list(rng.normal(size=(50, 3))), None)


def test_means_of_pieces_far_from_zero_keep_their_deviation():
    values = 1e9 + np.random.default_rng(5).normal(size=3000)
    found = in_pieces(values, Numbers(), n_pieces=100)
    np.testing.assert_allclose([found.mean, found.scale], [values.mean(), values.std()], rtol=1e-6)


def test_one_piece_gives_the_very_bits_of_the_whole():
    values = numbers()
    found, whole = in_pieces(values, n_pieces=1), encode_column(series(values), "x", False, None)
    assert (found.mean, found.scale) == (whole.mean, whole.scale)


def test_a_piece_without_values_has_no_kind_of_its_own():
    fitting = Fitting("x")
    for piece in ([NAN, NAN], ["a", "b"], [NAN], pd.Series(["b", None], dtype=object)):
        fitting.add(series(piece))
    found = fitting.finish()
    assert (found.kind, found.vocabulary.ids.tolist(), found.missing) == ("categorical", ["a", "b"], True)


def test_a_column_without_any_piece_has_no_categories():
    assert Fitting("x").finish().n_codes == 0
    assert Fitting("x", Numbers("quantile")).finish().kind == "numeric"
    fitting = Fitting("x", numeric=True)
    fitting.add(series([NAN, NAN]))
    assert fitting.finish().missing


@pytest.mark.parametrize(
    "first, second, message",
    [
        (["a"], [1.5], "column 'x' is categorical in one piece and numeric in another"),
        ([1], ["a"], "column 'x' holds integers in one place and strings in another"),
        ([1.5], ["a"], "column 'x' is numeric in one piece and categorical in another"),
        ([[1.5, 2.0]], [[1.0]], "column 'x' held vectors of 2 numbers and holds 1 now"),
    ],
)
def test_pieces_of_different_kinds_are_refused(first, second, message):
    fitting = Fitting("x")
    fitting.add(series(first))
    with pytest.raises(DataError, match=message):
        fitting.add(series(second))


def test_counts_of_many_distinct_categories_are_exact():
    values = np.concatenate([np.arange(3 * PENDING), np.arange(PENDING)])
    found = in_pieces(values, Categories(min_count=2), n_pieces=5)
    np.testing.assert_array_equal(found.vocabulary.ids, np.arange(PENDING))
    assert found.unknown


def test_more_categories_than_the_limit_are_refused():
    with pytest.raises(DataError, match=r"column 'x' holds more than 50 distinct categories; give it Categories\(hash"):
        in_pieces(words(), Categories(), max_categories=50)
    assert in_pieces(words(), Categories(), max_categories=60).size == 60
    assert in_pieces(words(), Categories(hash_buckets=5), max_categories=1).size == 5


def test_rare_categories_beyond_the_limit_are_forgotten():
    rng = np.random.default_rng(6)
    often = np.repeat(np.arange(20), 100)
    values = rng.permutation(np.concatenate([often, np.arange(1000, 1400)]))
    found = in_pieces(values, Categories(min_count=80), n_pieces=40, max_categories=100)
    assert found.vocabulary.ids.tolist() == list(range(20))
    assert found.unknown


def test_a_count_is_too_small_by_no_more_than_was_lost():
    counts = CategoryCounts("x", "categorical", Categories(min_count=50), limit=40)
    rng, true = np.random.default_rng(7), np.zeros(200, int)
    for _ in range(30):
        piece = rng.zipf(1.5, 60) % 200
        distinct, times = np.unique(piece, return_counts=True)
        true[distinct] += times
        counts.add(distinct, np.repeat(np.arange(len(distinct)), times))
    counts.finish()
    assert 0 < counts.lost < 50
    held = np.zeros(200, int)
    held[counts.values] = counts.counts
    assert (held <= true).all()
    assert (held >= true - counts.lost).all()
    assert len(counts.values) <= 40


def test_too_many_frequent_categories_for_the_limit_are_refused():
    with pytest.raises(DataError, match=r"too many distinct categories to count those of 2 rows among 50 at a time"):
        in_pieces(words(5000), Categories(min_count=2), max_categories=50)


def test_quantiles_of_a_sample_are_close_and_the_same_for_all_pieces():
    values = np.random.default_rng(8).exponential(size=50_000)
    encoder = Numbers("quantile", n_bins=10)
    found = in_pieces(values, encoder, sample=5000)
    np.testing.assert_array_equal(found.quantiles, in_pieces(values, encoder, n_pieces=3, sample=5000).quantiles)
    below = np.searchsorted(np.sort(values), found.quantiles[1:-1]) / len(values)
    np.testing.assert_allclose(below, np.arange(1, 10) / 10, atol=0.03)
    assert not np.array_equal(found.quantiles, in_pieces(values, encoder).quantiles)
