"""`partial_fit` of field models: new users, items and values of columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recsys import DCN, DLRM, FM, Dataset, DeepFM, WideDeep
from recsys.families.field import FieldRecommender

MODELS: Sequence[FieldRecommender] = [
    DeepFM(embedding_dim=4, hidden_dims=(8,)),
    DCN(embedding_dim=4, hidden_dims=(8,)),
    DLRM(embedding_dim=4, bottom_dims=(8,), hidden_dims=(8,)),
    FM(embedding_dim=4, order=3),
    WideDeep(embedding_dim=4, hidden_dims=(8,), crosses=(("user_id", "item_id"), ("town", "place"))),
]


def frame(users: range, items: range, places: list[Any], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame([(u, i) for u in users for i in items], columns=["user_id", "item_id"])
    rows["place"] = rng.choice(np.array(places, dtype=object), len(rows))
    rows["price"] = rng.normal(size=len(rows))
    rows["label"] = ((rows.user_id + rows.item_id) % 2 == 0).astype(int)
    return rows


def people(users: range) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, "town": [f"t{u // 4}" for u in users], "age": [float(u) for u in users]})


def data(users: range, items: range, places: list[Any], seed: int = 0) -> Dataset:
    return Dataset(frame(users, items, places, seed), context_cols=["place", "price"], user_features=people(users))


OLD = data(range(8), range(6), ["home", "work", None])
NEW = data(range(6, 12), range(4, 9), ["work", "car", None], seed=1)


def fitted(model: FieldRecommender, **changes: Any) -> FieldRecommender:
    return model.clone(
        **{"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "verbose": 0, "device": "cpu", **changes}
    ).fit(OLD)


def frozen(model: FieldRecommender) -> FieldRecommender:
    """The same model with a step so small that no float32 weight of any size moves by it."""
    rates = {name: 1e-30 for name in ("learning_rate", "wide_learning_rate") if hasattr(model, name)}
    return model.set_params(epochs=1, **rates)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_was_learned_stays_as_it_was_before_training_goes_on(model: FieldRecommender) -> None:
    old = fitted(model)
    rows = frame(range(8), range(6), ["home", "work", None], seed=2)
    before = old.predict(rows)
    grown = frozen(old).partial_fit(NEW)
    assert (len(grown.users_), len(grown.items_)) == (12, 9)
    np.testing.assert_allclose(grown.predict(rows), before, rtol=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_new_users_items_and_values_are_trained_and_served(model: FieldRecommender) -> None:
    grown = fitted(model, epochs=1).set_params(epochs=150).partial_fit(NEW)
    rows = NEW.to_frame()
    assert np.mean((grown.predict(rows) > 0.5) == rows["label"]) > 0.9
    lists = grown.recommend([11], k=9, filter_seen=False, context={"place": "car", "price": 0.0})
    assert set(lists["item_id"]) == set(range(9))


def test_every_new_value_has_a_vector_of_its_own_that_training_moves() -> None:
    start = frozen(fitted(MODELS[0])).partial_fit(NEW).module_.embedding.table.vectors.detach().clone()
    end = fitted(MODELS[0]).partial_fit(NEW).module_.embedding.table.vectors.detach()
    sizes = {"users": 12, "towns": 3, "age": 1, "items": 9, "place": 4, "price": 1}
    assert len(end) == sum(sizes.values())
    moved = (start != end).any(1)
    assert moved[8:12].all(), "new users"
    assert moved[12 + 2], "the new town"
    assert moved[16 + 6 : 16 + 9].all(), "new items"
    assert moved[25 + 3], "the new place"


def test_missing_values_and_known_ones_keep_their_vectors() -> None:
    old = fitted(MODELS[0])
    places = old.module_.embedding.table.vectors.detach()[8 + 2 + 1 + 6 :][:3]
    grown = frozen(old).partial_fit(NEW)
    after = grown.module_.embedding.table.vectors.detach()[12 + 3 + 1 + 9 :][:4]
    assert torch.equal(after[:3], places)


def test_the_model_it_grows_from_is_left_alone_when_the_new_rows_are_refused() -> None:
    model = fitted(MODELS[0])
    rows = frame(range(8), range(6), ["home", "work", None], seed=2)
    before = model.predict(rows)
    with pytest.raises(Exception, match="place"):
        model.partial_fit(NEW.to_frame().drop(columns="place"))
    np.testing.assert_array_equal(model.predict(rows), before)
    assert len(model.users_) == 8


def test_a_bare_frame_of_new_rows_will_do() -> None:
    grown = fitted(MODELS[0]).partial_fit(NEW.to_frame())
    assert (len(grown.users_), len(grown.items_)) == (12, 9)
    assert np.isfinite(grown.predict(NEW.to_frame())).all()


def test_field_data_without_ids_grows_too() -> None:
    def log(source: Dataset) -> Dataset:
        columns = ["place", "price", "user_id"]
        return Dataset(source.to_frame(), user_col=None, item_col=None, context_cols=columns)

    model = MODELS[0].clone(epochs=2, verbose=0, device="cpu").fit(log(OLD))
    assert len(model.partial_fit(log(NEW)).predict(NEW.to_frame())) == len(NEW)
    assert sum(model.field_sizes_) == 4 + 1 + 12


def test_drawn_negatives_are_no_positives_of_before() -> None:
    rows = OLD.to_frame().drop(columns="label")
    model = MODELS[0].clone(epochs=1, verbose=0, device="cpu").fit(rows[["user_id", "item_id"]])
    grown = model.partial_fit(NEW.to_frame()[["user_id", "item_id"]])
    assert grown.target_ == "implicit"
    drawn = grown._examples(Dataset(rows[["user_id", "item_id"]])).batch(torch.arange(48)).codes  # pyright: ignore
    assert drawn.shape == (48 * 5, 2)
    pairs = set(map(tuple, drawn[48:].tolist()))
    # Users 0 to 5 have the items 0 to 5, users 6 and 7 all nine.
    assert {item for user, item in pairs if user < 6} == {6, 7, 8}
