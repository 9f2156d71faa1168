"""What `encoders=` makes of columns: rare, unknown and missing values, hashes, and transforms of numbers."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.conftest import SHARED

from recsys.data import Categories, Dataset, Numbers
from recsys.data.encoders import bin_starts, quantiles, ranks
from recsys.data.features import encode_features, encode_rows
from recsys.data.hashing import buckets
from recsys.errors import DataError, ParameterError

NAN = float("nan")


def field_data(make, encoders=None, numeric_cols=(), **columns):
    """Rows of columns without users and items."""
    return Dataset(
        make(columns),
        user_col=None,
        item_col=None,
        context_cols=list(columns),
        numeric_cols=numeric_cols,
        encoders=encoders,
    )


def context(make, values, encoder=None):
    return field_data(make, {"x": encoder} if encoder else None, x=values).context


def again(make, fitted, values):
    """Another frame, encoded as the fitted one."""
    return encode_rows(make({"x": values}), fitted)["x"]


# -- categories --------------------------------------------------------------------------------------------------------


def test_rare_and_unknown_categories_share_one_code(make):
    fitted = context(make, ["a", "b", "a", "c", "b", "d"], Categories(min_count=2))
    assert fitted["x"].vocabulary.ids.tolist() == ["a", "b"]
    assert fitted["x"].codes.tolist() == [0, 1, 0, -1, 1, -1]
    assert fitted["x"].field_codes.tolist() == [0, 1, 0, 2, 1, 2]
    assert (fitted["x"].size, fitted["x"].n_codes) == (2, 3)
    assert again(make, fitted, ["new", "d", "b"]).field_codes.tolist() == [2, 2, 1]


@pytest.mark.parametrize("encoder", [None, Categories(), Categories(min_count=2)])
def test_without_rare_categories_unknown_ones_are_nothing(make, encoder):
    fitted = context(make, ["a", "b", "a", "b"], encoder)
    assert fitted["x"].n_codes == 2
    assert again(make, fitted, ["new", "b"]).field_codes.tolist() == [-1, 1]


def test_all_categories_may_be_rare(make):
    fitted = context(make, ["a", "b", "c"], Categories(min_count=5))
    assert (fitted["x"].size, fitted["x"].n_codes) == (0, 1)
    assert fitted["x"].field_codes.tolist() == [0, 0, 0]
    assert again(make, fitted, ["a", "new"]).field_codes.tolist() == [0, 0]


def test_rare_integers_count_as_strings_do(make):
    fitted = context(make, [7, 7, 8, 9, 9], Categories(min_count=2))
    assert fitted["x"].field_codes.tolist() == [0, 0, 2, 1, 1]
    with pytest.raises(DataError, match="column 'x': the known ids are integers, such as 7; got strings, such as 'a'"):
        again(make, fitted, ["a", "b"])


@pytest.mark.parametrize("encoder", [None, Categories()])
def test_missing_categories_have_a_code_of_their_own(make, encoder):
    fitted = context(make, ["b", None, "a"], encoder)
    assert fitted["x"].field_codes.tolist() == [2, 0, 1]
    assert again(make, fitted, [None, "new", "a"]).field_codes.tolist() == [0, -1, 1]
    assert again(make, fitted, [None, None]).field_codes.tolist() == [0, 0]
    assert fitted.take([-1, 0])["x"].field_codes.tolist() == [0, 2]


def test_missing_categories_differ_from_rare_ones(make):
    fitted = context(make, ["a", None, "a", "b"], Categories(min_count=2))
    assert fitted["x"].field_codes.tolist() == [1, 0, 1, 2]
    assert fitted["x"].n_codes == 3
    assert again(make, fitted, [None, "new", "b"]).field_codes.tolist() == [0, 2, 2]


def test_missing_categories_can_be_nothing(make):
    fitted = context(make, ["a", None, "a", "b"], Categories(min_count=2, missing="nothing"))
    assert fitted["x"].field_codes.tolist() == [0, -1, 0, 1]
    assert fitted["x"].n_codes == 2


@pytest.mark.parametrize("encoder", [None, Categories(min_count=2), Categories(hash_buckets=8)])
def test_values_that_were_never_missing_at_fit_are_nothing_when_they_are(make, encoder):
    fitted = context(make, ["a", "a", "b"], encoder)
    assert again(make, fitted, [None, "a"]).field_codes[0] == -1
    assert again(make, fitted, [None, None]).field_codes.tolist() == [-1, -1]


def test_ids_without_a_row_of_features_miss_every_value(make):
    features = make({"item_id": [1, 3, 4], "c": ["a", None, "b"], "n": [1.0, NAN, 3.0], "full": ["p", "q", "q"]})
    data = Dataset(make({"user_id": [1, 1], "item_id": [1, 2]}), item_features=features)
    assert data.items.ids.tolist() == [1, 2, 3, 4]
    assert data.item_features["c"].field_codes.tolist() == [1, 0, 0, 2]
    assert data.item_features["n"].absent.tolist() == [False, True, True, False]
    assert data.item_features["full"].field_codes.tolist() == [0, -1, 1, 1]
    frame = make({"item_id": [4], "c": ["a"], "n": [3.0], "full": ["p"]})
    more = encode_features(frame, "item_id", data.items, data.item_features)
    assert more["c"].field_codes.tolist() == [0, 0, 0, 1]


def test_hashed_categories_need_no_vocabulary(make):
    words = ["tea", "pot", "tea", "cup"]
    fitted = context(make, words, Categories(hash_buckets=50))
    assert fitted["x"].codes.tolist() == buckets(np.array(words, object), 50).tolist()
    assert (fitted["x"].size, fitted["x"].n_codes, len(fitted["x"].vocabulary)) == (50, 50, 0)
    assert again(make, fitted, ["never seen"]).codes.tolist() == buckets(np.array(["never seen"], object), 50).tolist()
    tags = context(make, [["tea", "pot"], ["tea", "cup"]], Categories(hash_buckets=50))
    assert tags["x"].codes.tolist() == fitted["x"].codes.tolist()


def test_hashed_integers_and_missing_values(make):
    fitted = context(pd.DataFrame, pd.array([5, None, 4], "Int64"), Categories(hash_buckets=10))
    hashed = buckets(np.array([5, 4]), 10).tolist()
    assert fitted["x"].field_codes.tolist() == [hashed[0] + 1, 0, hashed[1] + 1]
    assert fitted["x"].n_codes == 11
    with pytest.raises(DataError, match="column 'x' held integers when the model was fitted and holds strings now"):
        again(make, fitted, ["5"])


@pytest.mark.parametrize("encoder", [Categories(), Categories(min_count=2), Categories(hash_buckets=9)])
def test_whole_floats_can_be_categories(make, encoder):
    fitted = context(make, [3.0, NAN, 3.0, 7.0], encoder)["x"]
    expected = context(pd.DataFrame, pd.array([3, None, 3, 7], "Int64"), encoder)["x"]
    assert fitted.field_codes.tolist() == expected.field_codes.tolist()
    assert fitted.missing


def test_fractions_are_no_categories(make):
    with pytest.raises(DataError, match=r"column 'x' has 1 fractional numbers.*first in row 1 \(3.5\).*"):
        context(make, [3.0, 3.5], Categories())


def test_numbers_for_a_column_of_words_are_refused(make):
    fitted = context(make, ["a", "b"], Categories())
    with pytest.raises(DataError, match=r"column 'x' has 1 fractional"):
        again(make, fitted, [1.5])
    fitted = context(make, ["a", "b"])
    with pytest.raises(DataError, match="column 'x' was categorical when the model was fitted and is numeric now"):
        again(make, fitted, [1.5])


def test_rare_tags_share_a_code_too(make):
    fitted = context(make, [["p", "q"], ["p"], ["r"], []], Categories(min_count=2))
    assert fitted["x"].field_codes.tolist() == [0, 1, 0, 1]
    assert fitted["x"].indptr.tolist() == [0, 2, 3, 4, 4]
    found = again(make, fitted, [["new", "p"], []])
    assert found.field_codes.tolist() == [1, 0]
    assert found.indptr.tolist() == [0, 2, 2]


def test_labels_name_every_code(make):
    assert context(make, ["b", "a"])["x"].labels.tolist() == ["a", "b"]
    assert context(make, ["b", "a"], Categories(hash_buckets=2))["x"].labels.tolist() == ["#0", "#1"]
    assert context(make, [1.0, 2.0], Numbers("buckets", n_bins=2))["x"].labels.tolist() == ["#0", "#1"]


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_logarithms_take_negative_numbers_for_zero(make):
    found = context(make, [0.0, 1.0, -3.0, 99.0], Numbers("log1p"))["x"]
    np.testing.assert_allclose(found.values, np.log([1, 2, 1, 100]), rtol=1e-6)


def test_numbers_can_stay_as_they_are(make):
    assert context(make, [0.5, -2.0, 7.0], Numbers("none"))["x"].values.tolist() == [0.5, -2.0, 7.0]


def test_integers_with_an_encoder_of_numbers_are_numbers(make):
    fitted = context(make, [1, 2, 3], Numbers())
    assert fitted["x"].kind == "numeric"
    np.testing.assert_allclose(fitted["x"].values, [-1.2247449, 0, 1.2247449], rtol=1e-6)


@pytest.mark.skipif(not (SHARED / "golden").exists(), reason="the worked examples are not beside the repository")
def test_ranks_and_their_powers_are_those_of_the_worked_example(make):
    example = json.loads((SHARED / "golden" / "31_youtube.json").read_text())
    values, x = example["inputs"]["quantiles"], example["inputs"]["x_raw"]
    wanted = np.array(example["expected"]["normalised"])
    fitted = context(make, values, Numbers("powers", n_bins=len(values) - 1))
    assert fitted["x"].quantiles.tolist() == values
    np.testing.assert_allclose(again(make, fitted, [x]).values, wanted[:1], atol=1e-6)
    np.testing.assert_allclose(ranks(np.array([x]), np.array(values)), wanted[:1], atol=1e-12)


def test_a_rank_is_the_share_of_the_data_below():
    rng = np.random.default_rng(0)
    values = rng.permutation(np.concatenate([rng.normal(size=150), np.repeat([0.25, 2.0], [30, 21])]))
    fitted = context(pd.DataFrame, values, Numbers("quantile", n_bins=len(values) - 1))
    below = [(np.sum(values < x) + (np.sum(values == x) - 1) / 2) / (len(values) - 1) for x in values]
    np.testing.assert_allclose(fitted["x"].values, below, atol=1e-6)


def test_ranks_of_few_quantiles_are_close_to_the_share_below():
    values = np.random.default_rng(1).exponential(size=5000)
    found = context(pd.DataFrame, values, Numbers("quantile", n_bins=50))["x"].values
    below = np.argsort(np.argsort(values)) / (len(values) - 1)
    assert np.abs(found - below).max() < 0.02


def test_ranks_beyond_the_data_are_0_and_1(make):
    fitted = context(make, [1.0, 2.0, 3.0], Numbers("quantile"))
    assert again(make, fitted, [-9.0, 2.0, 9.0]).values.tolist() == [0, 0.5, 1]


def test_ranks_of_one_value_are_in_the_middle(make):
    assert context(make, [4.0, 4.0, 4.0], Numbers("quantile"))["x"].values.tolist() == [0.5, 0.5, 0.5]


def test_buckets_hold_equally_many_rows():
    values = np.random.default_rng(2).permutation(1000).astype(float)
    found = context(pd.DataFrame, values, Numbers("buckets", n_bins=8))["x"]
    assert (found.kind, found.size) == ("categorical", 8)
    assert np.bincount(found.codes).tolist() == [125] * 8
    np.testing.assert_array_equal(found.codes, values // 125)


def test_no_bucket_is_empty_of_the_training_data():
    values = np.repeat([0.0, 1.0, 5.0], [800, 150, 50])
    found = context(pd.DataFrame, values, Numbers("buckets", n_bins=20))["x"]
    assert found.size == 3
    assert np.bincount(found.codes).tolist() == [800, 150, 50]


@pytest.mark.parametrize("n_bins", [2, 3, 7, 40])
def test_bins_start_where_counting_says(n_bins):
    for values in (np.arange(20.0), np.array([1.0, 1, 1, 2, 2, 5, 9]), np.array([4.0, 4, 4]), np.array([3.0])):
        wanted = {
            values[at] for at in range(len(values)) for i in range(1, n_bins) if at - 1 < i * len(values) / n_bins <= at
        }
        assert bin_starts(values, n_bins).tolist() == sorted(wanted - {values[0]})


def test_quantiles_are_those_of_numpy():
    values = np.sort(np.random.default_rng(3).normal(size=77))
    np.testing.assert_allclose(quantiles(values, 12), np.quantile(values, np.linspace(0, 1, 13)), rtol=1e-12)
    assert quantiles(values, 76).tolist() == values.tolist()
    assert quantiles(np.array([2.0]), 3).tolist() == [2, 2, 2, 2]


def test_buckets_take_numbers_beyond_the_data(make):
    fitted = context(make, [1, 2, 3, 4], Numbers("buckets", n_bins=2))
    assert again(make, fitted, [-5, 2, 3, 99]).codes.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="numeric column 'x' holds String, not numbers"):
        again(make, fitted, ["a", "b"])


@pytest.mark.parametrize("transform", ["standardize", "log1p", "quantile", "powers", "none"])
def test_missing_numbers_are_zero_and_marked(make, transform):
    fitted = context(make, [2.0, NAN, 4.0], Numbers(transform))
    assert fitted["x"].missing
    assert fitted["x"].absent.tolist() == [False, True, False]
    assert fitted["x"].values[1] == 0
    assert again(make, fitted, [None, 2.0]).absent.tolist() == [True, False]
    assert not context(make, [2.0, NAN, 4.0], Numbers(transform, missing="nothing"))["x"].missing


def test_missing_numbers_have_a_bucket_of_their_own(make):
    fitted = context(make, [1.0, NAN, 2.0], Numbers("buckets", n_bins=2))
    assert fitted["x"].field_codes.tolist() == [1, 0, 2]
    assert again(make, fitted, [None, 9.0]).field_codes.tolist() == [0, 2]
    nothing = context(make, [1.0, NAN, 2.0], Numbers("buckets", n_bins=2, missing="nothing"))
    assert nothing["x"].field_codes.tolist() == [0, -1, 1]


@pytest.mark.parametrize("transform", ["standardize", "log1p", "quantile", "powers", "buckets", "none"])
def test_a_column_without_any_number_is_all_missing(transform):
    fitted = context(pd.DataFrame, [NAN, NAN], Numbers(transform))["x"]
    assert fitted.absent.tolist() == [True, True]
    assert np.isfinite(fitted.values if fitted.kind == "numeric" else fitted.codes).all()


def test_numbers_that_cannot_be_are_refused(make):
    for transform in ("none", "log1p", "buckets"):
        with pytest.raises(DataError, match=r"column 'x' has 1 infinite numbers, first in row 1 \(inf\)"):
            context(make, [1.0, float("inf")], Numbers(transform))
    with pytest.raises(DataError, match="column 'x' has 1 numbers too large for float32"):
        context(make, [1.0, 1e300], Numbers("none"))


# -- what a data set keeps ---------------------------------------------------------------------------------------------

EVERY = {
    "c": Categories(min_count=2),
    "h": Categories(hash_buckets=6),
    "n": Numbers("quantile", n_bins=4),
    "b": Numbers("buckets", n_bins=3),
    "plain": Categories(),
}


def rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "c": rng.choice(np.array(["a", "b", "rare", None], object), n, p=[0.5, 0.45, 0.01, 0.04]).tolist(),
        "h": rng.integers(0, 40, n).tolist(),
        "n": np.where(rng.random(n) < 0.1, NAN, rng.exponential(size=n)).tolist(),
        "b": rng.integers(0, 9, n).tolist(),
        "plain": rng.choice(["x", "y"], n).tolist(),
    }


def same(one, other):
    for a, b in zip(one.columns, other.columns, strict=True):
        assert (a.name, a.kind, a.n_codes) == (b.name, b.kind, b.n_codes)
        for name in ("codes", "values", "absent", "quantiles"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_every_kind_of_frame_gives_the_same(make):
    same(field_data(make, EVERY, **rows()).context, field_data(pd.DataFrame, EVERY, **rows()).context)


def test_encoding_again_by_what_was_fitted_gives_the_same(make):
    fitted = field_data(make, EVERY, **rows()).context
    same(fitted, encode_rows(make(rows()), fitted))


def test_statistics_are_those_of_the_training_rows_alone():
    fitted = field_data(pd.DataFrame, EVERY, **rows(80)).context
    test = pd.DataFrame(rows(40, seed=5))
    together = encode_rows(pd.concat([test, pd.DataFrame(rows(80))]), fitted)
    same(encode_rows(test, fitted), together.take(np.arange(40)))


def test_a_subset_is_encoded_as_a_data_set_of_its_rows():
    data = field_data(pd.DataFrame, EVERY, **rows())
    part = data.subset(np.arange(0, 60, 3))
    assert part.roles.encoders == EVERY
    same(part.context, field_data(pd.DataFrame, EVERY, **pd.DataFrame(rows())[::3].to_dict("list")).context)


def test_feature_columns_of_both_sides_have_encoders(make):
    data = Dataset(
        make({"user_id": [1, 2, 3], "item_id": [7, 8, 9]}),
        user_features=make({"user_id": [1, 2, 3], "city": ["a", "a", "b"]}),
        item_features=make({"item_id": [7, 8, 9], "price": [0.0, 1.0, 3.0]}),
        encoders={"city": Categories(min_count=2), "price": Numbers("log1p")},
    )
    assert data.user_features["city"].field_codes.tolist() == [0, 0, 1]
    np.testing.assert_allclose(data.item_features["price"].values, np.log([1, 2, 4]), rtol=1e-6)


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_an_encoder_of_no_column_is_refused(make):
    with pytest.raises(DataError, match=r"encoders: 'y' is no column of the features.*context_cols; there are x"):
        field_data(make, {"y": Categories()}, x=["a"])
    pair = make({"user_id": [1], "item_id": [1]})
    with pytest.raises(DataError, match=r"encoders: 'item_id' is no column.*there are x"):
        Dataset(pair, item_features=make({"item_id": [1], "x": [1]}), encoders={"item_id": Categories()})


def test_an_encoder_of_another_type_is_refused(make):
    with pytest.raises(DataError, match=r"encoders: 'x' has 'log1p'; give Categories\(...\) or Numbers\(...\)"):
        field_data(make, {"x": "log1p"}, x=[1.0])


def test_a_column_is_not_of_numbers_and_categories_at_once(make):
    with pytest.raises(DataError, match="column 'x' has the encoder Categories and is among numeric_cols; choose one"):
        field_data(make, {"x": Categories()}, numeric_cols=["x"], x=[1])


def test_vectors_are_no_categories_and_words_no_numbers(make):
    with pytest.raises(DataError, match="column 'x' holds vectors, which Categories cannot encode"):
        context(make, [[0.5, 1.0], [1.5, 2.0]], Categories())
    with pytest.raises(DataError, match="numeric column 'x' holds String, not numbers; cast it"):
        context(make, ["a", "b"], Numbers())


@pytest.mark.parametrize(
    "make_one, message",
    [
        (lambda: Categories(min_count=0), r"Categories: min_count=0 is no integer from 1"),
        (lambda: Categories(min_count=True), r"Categories: min_count=True is no integer"),
        (lambda: Categories(hash_buckets=2**40), r"Categories: hash_buckets=1099511627776 is no integer"),
        (lambda: Categories(min_count=2, hash_buckets=5), r"min_count=2 counts.*hash_buckets=5 knows none; give one"),
        (lambda: Categories(missing="mean"), r"Categories: missing='mean' is none of 'own', 'nothing'"),
        (lambda: Numbers("log"), r"Numbers: transform='log' is none of 'standardize', 'log1p'"),
        (lambda: Numbers(n_bins=1), r"Numbers: n_bins=1 is no integer from 2"),
        (lambda: Numbers(missing=None), r"Numbers: missing=None is none of"),
    ],
)
def test_arguments_out_of_bounds_are_named(make_one, message):
    with pytest.raises(ParameterError, match=message):
        make_one()
