"""Codes and values that click models read, against the definition of each kind of column."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import DeepFM, load
from recsys.data import Categories, Column, Dataset, Features, Numbers, Vocabulary
from recsys.data.features import encode_rows
from recsys.errors import DataError, LoadError
from recsys.families.slots import Slots, column_width
from recsys.persistence import check_features
from tests.families.toys import Additive, quick

NAN = float("nan")
TRANSFORMS = ["standardize", "log1p", "quantile", "none"]


def features(encoders: dict[str, Any] | None = None, **columns: Any) -> Features:
    data = Dataset(pd.DataFrame(columns), user_col=None, item_col=None, context_cols=list(columns), encoders=encoders)
    assert data.context is not None
    return data.context


def slots(given: Features, like: Features | None = None) -> Slots:
    widths = [column_width(column) for column in (like or given).columns]
    return Slots.of(len(given), given, with_id=False, widths=widths)


def encode(like: Features, **columns: Any) -> Slots:
    return slots(encode_rows(pd.DataFrame(columns), like), like)


# -- kinds of columns --------------------------------------------------------------------------------------------------


def test_a_category_is_one_slot_with_codes_for_the_unknown_and_the_missing() -> None:
    fitted = features({"c": Categories(min_count=2)}, c=["a", "b", "a", "b", "rare", None])
    found = slots(fitted)
    assert found.codes[:, 0].tolist() == [1, 2, 1, 2, 3, 0]
    assert found.values.tolist() == [[1]] * 6
    assert (found.sizes, found.fields, found.numeric) == ((4,), (0,), (False,))
    assert encode(fitted, c=["new", None, "b"]).codes[:, 0].tolist() == [3, 0, 2]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_number_is_the_value_of_a_slot(transform: Any) -> None:
    fitted = features({"n": Numbers(transform)}, n=[1.0, 4.0, 2.0])
    found = slots(fitted)
    assert found.codes.tolist() == [[0]] * 3
    assert found.values[:, 0].tolist() == fitted["n"].values.tolist()
    assert (found.sizes, found.fields, found.numeric) == ((1,), (0,), (True,))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_missing_number_is_a_slot_of_its_own(transform: Any) -> None:
    fitted = features({"n": Numbers(transform)}, n=[1.0, NAN, 2.0])
    found = slots(fitted)
    assert found.codes.tolist() == [[0, -1], [0, 1], [0, -1]]
    assert found.values[:, 0].tolist() == fitted["n"].values.tolist()
    assert found.values[1].tolist() == [0, 1]
    assert found.values[[0, 2], 1].tolist() == [0, 0]
    assert (found.sizes, found.fields, found.numeric) == ((2,), (0, 0), (True, False))


def test_powers_are_three_slots() -> None:
    fitted = features({"n": Numbers("powers", n_bins=4)}, n=[0.0, 10, 20, 40, 100])
    assert slots(fitted).codes.tolist() == [[0, 1, 2]] * 5
    assert (slots(fitted).sizes, slots(fitted).numeric) == ((3,), (True, True, True))
    np.testing.assert_allclose(encode(fitted, n=[25.0]).values, [[0.5625, 0.31640625, 0.75]], atol=1e-6)
    holes = slots(features({"n": Numbers("powers")}, n=[1.0, NAN, 3.0]))
    assert holes.codes.tolist() == [[0, 1, 2, -1], [0, 1, 2, 3], [0, 1, 2, -1]]
    assert holes.values[1].tolist() == [0, 0, 0, 1]
    assert (holes.sizes, holes.numeric) == ((4,), (True, True, True, False))


def test_buckets_are_categories() -> None:
    found = slots(features({"n": Numbers("buckets", n_bins=2)}, n=[1.0, 2, NAN, 3, 4]))
    assert found.codes[:, 0].tolist() == [1, 1, 0, 2, 2]
    assert (found.values.tolist(), found.sizes, found.numeric) == ([[1]] * 5, (3,), (False,))


def test_hashed_categories_fill_a_field_of_as_many_codes() -> None:
    found = slots(features({"c": Categories(hash_buckets=7)}, c=["a", "b", None]))
    assert found.sizes == (8,)
    assert found.codes[2, 0] == 0
    assert found.codes[:2].min() > 0


def test_rare_tags_count_in_the_mean_over_the_tags() -> None:
    fitted = features({"t": Categories(min_count=2)}, t=[["p", "q"], ["p", "rare"], [], None])
    found = slots(fitted)
    assert found.codes.tolist() == [[0, 1], [0, 1], [-1, -1], [-1, -1]]
    assert found.values.tolist() == [[0.5, 0.5], [0.5, 0.5], [0, 0], [0, 0]]
    assert found.sizes == (2,)
    assert encode(fitted, t=[["new"]]).values.tolist() == [[1, 0]]


def test_fields_are_columns_and_slots_say_which() -> None:
    fitted = features(
        {"n": Numbers("powers"), "b": Numbers("buckets", n_bins=2)},
        c=["a", None, "b"], n=[1.0, NAN, 2.0], b=[1, 2, 3], t=[["x", "y"], [], ["x"]], v=[[0.5, 1.0]] * 3,
    )  # fmt: skip
    found = Slots.of(3, fitted, with_id=True)
    assert found.fields == (0, 1, 2, 2, 2, 2, 3, 4, 4, 5, 5)
    assert found.sizes == (3, 3, 4, 2, 2, 2)
    assert np.flatnonzero(found.numeric).tolist() == [2, 3, 4, 9, 10]
    assert found.codes.dtype == np.int64
    assert found.values.dtype == np.float32
    sizes = np.array(found.sizes)[list(found.fields)]
    assert (found.codes < sizes).all()
    assert (found.codes >= -1).all()
    assert found.codes[:, 0].tolist() == [0, 1, 2]


def test_rows_of_another_frame_have_the_slots_of_the_training_data() -> None:
    fitted = features({"n": Numbers("powers")}, c=["a", None], n=[1.0, NAN], t=[["x", "y"], []])
    found = encode(fitted, c=["a"], n=[2.0], t=[["y"]])
    assert (found.fields, found.sizes, found.numeric) == (
        slots(fitted).fields,
        slots(fitted).sizes,
        slots(fitted).numeric,
    )
    with pytest.raises(DataError, match="column 't' has 1 rows of more than 2 tags"):
        encode(fitted, c=["a"], n=[2.0], t=[["x", "y", "z"]])


# -- models ------------------------------------------------------------------------------------------------------------

ENCODERS = {
    "place": Categories(min_count=3),
    "code": Categories(hash_buckets=16),
    "age": Numbers("powers", n_bins=8),
    "income": Numbers("buckets", n_bins=4),
    "visits": Numbers("log1p"),
}


def clicks(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"label": rng.integers(2, size=n)})
    rows["place"] = rng.choice(np.array(["home", "train", None], object), n, p=[0.5, 0.3, 0.2])
    rows.loc[:5, "place"] = ["p0", "p1", "p2", "p3", "p4", "p5"]
    rows["code"] = rng.integers(0, 1000, n)
    rows["age"] = np.where(rng.random(n) < 0.2, NAN, rng.normal(40, 10, n))
    rows["income"] = np.where(rng.random(n) < 0.2, NAN, rng.exponential(size=n))
    rows["visits"] = rng.poisson(3, n)
    return rows


def dataset(rows: pd.DataFrame) -> Dataset:
    return Dataset(rows, user_col=None, item_col=None, context_cols=list(ENCODERS), encoders=ENCODERS)


def chance(model: Any, like: pd.DataFrame, **values: Any) -> float:
    """Mean probability of rows in which some columns have one value."""
    return float(model.predict(like.assign(**{name: pd.Series([v] * len(like)) for name, v in values.items()})).mean())


@pytest.mark.parametrize("column", ["place", "age", "income"])
def test_that_a_value_is_missing_is_learned(column: str) -> None:
    rows = clicks(600)
    rng = np.random.default_rng(1)
    rows["label"] = (rng.random(len(rows)) < np.where(rows[column].isna(), 0.9, 0.2)).astype(int)
    model = quick(DeepFM, epochs=25, learning_rate=0.02, hidden_dims=(8,), dropout=0.0, batch_size=32, random_state=0)
    model.fit(dataset(rows))
    scores = model.predict(rows)
    assert scores[rows[column].isna()].mean() > 0.75
    assert scores[rows[column].notna()].mean() < 0.35


def test_what_rare_categories_share_is_learned_and_used_for_unknown_ones() -> None:
    rows = clicks(600)
    rows.loc[100:, "place"] = [f"once-{at}" for at in range(100, 600)]
    rows["label"] = rows["place"].str.startswith("once").fillna(False).astype(int)
    model = quick(DeepFM, epochs=25, learning_rate=0.02, hidden_dims=(8,), dropout=0.0, batch_size=32, random_state=0)
    model.fit(dataset(rows))
    assert chance(model, rows[:100], place="never seen") > 0.8
    assert chance(model, rows[:100], place="home") < 0.3


def test_a_saved_model_keeps_its_encoders(tmp_path: Path) -> None:
    rows, new = clicks(), clicks(100, seed=9)
    new.loc[:9, "place"] = "never seen"
    model = quick(Additive).fit(dataset(rows))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert {column.name: column.encoder for column in again.context_.columns} == ENCODERS
    np.testing.assert_array_equal(again.predict(new), model.predict(new))
    with pytest.raises(DataError, match="column 'age' was there when the model was fitted"):
        again.predict(new.drop(columns="age"))
    with pytest.raises(DataError, match="column 'code' held integers when the model was fitted and holds strings now"):
        again.predict(new.assign(code="7"))
    with pytest.raises(DataError, match="numeric column 'income' holds String, not numbers"):
        again.predict(new.assign(income="much"))


def test_a_saved_encoder_with_values_out_of_bounds_is_damaged(tmp_path: Path) -> None:
    model = quick(Additive).fit(dataset(clicks()))
    encoder = model.context_["code"].encoder
    object.__setattr__(encoder, "hash_buckets", -3)
    model.save(tmp_path / "model")
    object.__setattr__(encoder, "hash_buckets", 16)
    with pytest.raises(LoadError, match="hash_buckets=-3"):
        load(tmp_path / "model")


def test_marks_of_missing_values_must_fit_the_rows() -> None:
    vocabulary = Vocabulary.of(np.array(["a"], object))
    bad = Column("x", "categorical", vocabulary, np.zeros(3, np.int64), missing=True, absent=np.zeros(2, bool))
    with pytest.raises(ValueError, match="'x' has 2 marks of missing values for its rows"):
        check_features(Features((bad,), 3))
