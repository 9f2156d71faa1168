from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recsys import DeepFM
from recsys.data import Dataset
from recsys.errors import DataError, UnsupportedError
from recsys.families import field
from recsys.training import seeded
from tests.families.toys import ITEMS, USERS, Additive, clicks, field_data, quick

ALL_USERS, ALL_ITEMS = [1, 2, 3, 9, 77], [10, 20, 30, 40, 99]
"""Known users and items, those that only features know, and one that nothing knows."""


def all_pairs(**context: Any) -> pd.DataFrame:
    pairs = pd.DataFrame(list(product(ALL_USERS, ALL_ITEMS)), columns=["user_id", "item_id"])
    for name, value in context.items():
        pairs[name] = [value] * len(pairs)
    return pairs


def slots_of(row: dict[str, Any], model: Any) -> list[tuple[int, int, float]]:
    """Field, code and value of each slot of a row, read off the frames one column at a time."""
    ages = USERS["age"].dropna()
    user = USERS[USERS["user_id"] == row["user_id"]].to_dict("records")
    item = ITEMS[ITEMS["item_id"] == row["item_id"]].to_dict("records")
    found: list[tuple[int, int, float]] = []
    if user:
        found.append((0, [1, 2, 3, 9].index(row["user_id"]), 1.0))
        # A missing category has the code before all others, a missing number the one behind it.
        group = user[0]["group"]
        found.append((1, 1 + ["a", "b"].index(group) if isinstance(group, str) else 0, 1.0))
        there = user[0]["age"] == user[0]["age"]
        found.append((2, 0, (user[0]["age"] - ages.mean()) / ages.std(ddof=0)) if there else (2, 1, 1.0))
    if item:
        found.append((3, [10, 20, 30, 40].index(row["item_id"]), 1.0))
        tags, sound = item[0]["tags"] or [], item[0]["sound"] or []
        found += [(4, ["x", "y", "z"].index(tag), 1 / len(tags)) for tag in tags]
        found += [(5, at, value) for at, value in enumerate(sound)]
    if row.get("place") in ("home", "train"):
        found.append((6, ["home", "train"].index(row["place"]), 1.0))
    topics = row.get("topics", [])
    found += [(7, "pqr".index(topic), 1 / len(topics)) for topic in topics if topic in "pqr"]
    return found


def by_hand(row: dict[str, Any], model: Additive) -> float:
    """The additive model's logit of one row."""
    net: Any = model.module_
    starts = np.cumsum([0, *model.field_sizes_])
    weights, vectors = (table.table.vectors.detach().numpy().astype(np.float64) for table in (net.weights, net.vectors))
    places = [(starts[f] + code, value) for f, code, value in slots_of(row, model)]
    linear = sum(float(weights[at, 0]) * value for at, value in places)
    return linear + float(np.prod(sum((vectors[at] * value for at, value in places), np.zeros(2))))


@pytest.fixture(scope="module")
def implicit() -> Additive:
    return quick(Additive).fit(field_data(without=("label", "rating")))


# -- what the network is given -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [{"place": "home", "topics": ["q"]}, {"place": "train", "topics": ["r", "p"]}])
def test_a_score_is_that_of_every_column_by_hand(implicit: Additive, context: dict[str, Any]) -> None:
    assert implicit.field_sizes_ == (4, 3, 2, 4, 3, 2, 2, 3)
    rows = all_pairs(**context)
    expected = [by_hand(row, implicit) for row in rows.to_dict("records")]
    np.testing.assert_allclose(implicit.predict(rows), expected, rtol=1e-4, atol=1e-4)


def test_unknown_and_missing_contexts_are_nothing(implicit: Additive) -> None:
    rows = all_pairs()
    nothing = implicit.predict(rows["user_id"], rows["item_id"])
    np.testing.assert_allclose(nothing, [by_hand(row, implicit) for row in rows.to_dict("records")], rtol=1e-4)
    for place, topics in ((None, []), ("moon", [])):
        np.testing.assert_allclose(implicit.predict(rows.assign(place=place, topics=[topics] * len(rows))), nothing)


def test_an_unknown_tag_counts_in_the_mean_over_the_tags(implicit: Additive) -> None:
    rows = all_pairs(place="home", topics=["q", "new"])
    expected = [by_hand(row, implicit) for row in rows.to_dict("records")]
    np.testing.assert_allclose(implicit.predict(rows), expected, rtol=1e-4, atol=1e-4)


def test_more_tags_than_any_training_row_had_are_named(implicit: Additive) -> None:
    rows = all_pairs(place="home", topics=["p", "q", "r"])
    with pytest.raises(DataError, match=r"column 'topics' has 25 rows of more than 2 tags.*shorten them"):
        implicit.predict(rows)


def test_a_side_without_features_is_its_id_alone() -> None:
    model = quick(Additive).fit(field_data(context=False, user_features=None, item_features=None))
    assert model.field_sizes_ == (3, 3)
    assert model.slot_fields_ == (0, 1)


def test_data_without_any_column_is_refused() -> None:
    rows = clicks()[["label"]]
    with pytest.raises(DataError, match="Additive: this data has no column to learn from; pass context_cols="):
        quick(Additive).fit(Dataset(rows, user_col=None, item_col=None))


# -- the catalog -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Additive, DeepFM])
@pytest.mark.parametrize("context", [None, {"place": "train", "topics": ["p", "q"]}], ids=["no context", "context"])
@pytest.mark.parametrize("chunk", [32_768, 7, 2, 1])
def test_scores_of_the_catalog_are_those_of_all_pairs(
    model: Any, context: dict[str, Any] | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "CPU_PAIRS", chunk)
    one = quick(model).fit(field_data())
    lists = one.recommend(ALL_USERS[:4], k=9, filter_seen=False, context=context)
    assert len(lists) == 4 * 4
    given = {name: [value] * len(lists) for name, value in (context or {"place": None, "topics": []}).items()}
    scores = one.predict(lists[["user_id", "item_id"]].assign(**given))
    np.testing.assert_allclose(lists["score"], scores, rtol=1e-4, atol=1e-5)


def test_each_user_can_have_a_context_of_its_own(implicit: Additive) -> None:
    contexts = pd.DataFrame({"place": ["home", "train", None], "topics": [["p"], ["q", "r"], []]})
    lists = implicit.recommend([1, 2, 3], k=4, filter_seen=False, context=contexts)
    for at, user in enumerate([1, 2, 3]):
        alone = implicit.recommend([user], k=4, filter_seen=False, context=contexts.iloc[[at]])
        np.testing.assert_allclose(lists["score"][lists["user_id"] == user], alone["score"], rtol=1e-5)


def test_many_pairs_are_scored_as_few_are(implicit: Additive) -> None:
    rows = pd.concat([all_pairs(place="home", topics=["q"])] * 400, ignore_index=True)
    scores = implicit.predict(rows).reshape(400, -1)
    assert len(rows) == 10_000
    np.testing.assert_allclose(scores, np.tile(scores[0], (400, 1)), rtol=1e-5)


# -- targets -----------------------------------------------------------------------------------------------------------


def test_labels_come_before_ratings_and_give_probabilities() -> None:
    model = quick(Additive).fit(field_data())
    assert model.target_ == "label"
    rows = all_pairs(place="home", topics=["q"])
    logits = np.array([by_hand(row, model) for row in rows.to_dict("records")])
    np.testing.assert_allclose(model.predict(rows), 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_ratings_are_predicted_in_their_units_and_within_their_scale() -> None:
    model = quick(Additive).fit(field_data(without=("label",)))
    assert model.target_ == "rating"
    rows = all_pairs(place="home", topics=["q"])
    mean = clicks()["rating"].mean()
    expected = np.clip([by_hand(row, model) + mean for row in rows.to_dict("records")], 1, 5)
    np.testing.assert_allclose(model.predict(rows), expected, rtol=1e-4)
    assert {1.0, 5.0} & set(model.predict(rows).tolist())


def test_without_labels_and_ratings_scores_are_logits(implicit: Additive) -> None:
    assert implicit.target_ == "implicit"
    assert implicit.predict(all_pairs(place="home", topics=["q"])).min() < 0


def test_a_label_of_a_column_is_learned() -> None:
    rng = np.random.default_rng(0)
    rows = clicks(400)
    rows["label"] = (rng.random(400) < np.where(rows["place"] == "train", 0.9, 0.2)).astype(int)
    data = Dataset(rows, rating_col=None, weight_col=None, context_cols=("place",))
    model = quick(DeepFM, epochs=30, learning_rate=0.02, hidden_dims=(8,), dropout=0.0).fit(data)
    chances = [model.predict(rows[rows["place"] == place]).mean() for place in ("train", "home")]
    np.testing.assert_allclose(chances, [0.9, 0.2], atol=0.05)


def test_a_rating_of_a_column_is_learned() -> None:
    rows = clicks(400).drop(columns="label")
    rows["rating"] = np.where(rows["place"] == "train", 4.0, 2.0)
    model = quick(DeepFM, epochs=40, learning_rate=0.02, hidden_dims=(8,), dropout=0.0)
    model.fit(Dataset(rows, weight_col=None, context_cols=("place",)))
    np.testing.assert_allclose(model.predict(rows), rows["rating"], atol=0.1)


def test_losses_are_those_of_a_loop() -> None:
    for without, target in ((("rating",), "label"), (("label",), "rating")):
        data = field_data(without=without)
        model = quick(Additive).fit(data)
        batch = model._examples(data).batch(torch.arange(10))
        logits = model.module_(batch.codes, batch.values).detach().double().numpy()
        rows = data.to_frame().iloc[:10]
        total = 0.0
        for logit, weight, value in zip(logits, rows["weight"], rows[target], strict=True):
            if target == "label":
                chance = 1 / (1 + np.exp(-logit))
                total -= weight * (value * np.log(chance) + (1 - value) * np.log(1 - chance))
            else:
                total += weight * (logit + clicks()["rating"].mean() - value) ** 2
        np.testing.assert_allclose(model._loss(model.module_, batch).item(), total / 10, rtol=1e-4)


def test_a_positive_is_followed_by_its_negatives_in_its_own_context() -> None:
    data = field_data(without=("label", "rating"))
    model = quick(Additive, n_negatives=3).fit(data)
    examples = model._examples(data)
    with seeded(0):
        batch = examples.batch(torch.tensor([7, 1]))
    assert batch.codes.shape == batch.values.shape == (8, len(model.slot_fields_))
    assert batch.targets.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    fields = np.array(model.slot_fields_)
    user, item = batch.codes[:, int(np.argmax(fields == 0))], batch.codes[:, int(np.argmax(fields == 3))]
    assert user.tolist() == data.user_codes[[7, 1] * 4].tolist()
    assert item[:2].tolist() == data.item_codes[[7, 1]].tolist()
    seen = set(zip(data.user_codes.tolist(), data.item_codes.tolist(), strict=True))
    assert not seen & set(zip(user[2:].tolist(), item[2:].tolist(), strict=True))
    context = torch.from_numpy(fields >= 6)
    for copy in range(1, 4):
        same = batch.codes[2 * copy : 2 * copy + 2, context] == batch.codes[:2, context]
        assert bool(same.all())
    np.testing.assert_allclose(batch.weights, np.tile(data.weights[[7, 1]], 4))


# -- data without users and items --------------------------------------------------------------------------------------


def pure_fields(**changes: Any) -> Dataset:
    rows = clicks().drop(columns=["user_id", "item_id", "rating"]).assign(**changes)
    return Dataset(rows, user_col=None, item_col=None, context_cols=("place", "topics"))


def test_field_data_is_predicted_and_not_recommended_from() -> None:
    model = quick(Additive, learning_rate=0.05, epochs=30).fit(
        pure_fields(label=(clicks()["place"] == "home").astype(int))
    )
    rows = clicks()
    scores = model.predict(rows)
    assert scores.shape == (len(rows),)
    assert scores[rows["place"] == "home"].min() > scores[rows["place"] == "train"].max()
    with pytest.raises(UnsupportedError, match="nothing to recommend"):
        model.recommend()
    with pytest.raises(UnsupportedError, match="without users and items"):
        model.predict([1], [10])
    with pytest.raises(DataError, match="column 'place' was there when the model was fitted; the frame has topics"):
        model.predict(rows[["topics"]])


def test_field_data_without_a_target_is_refused() -> None:
    rows = clicks()[["place"]]
    with pytest.raises(DataError, match="needs a label; pass label_col="):
        quick(Additive).fit(Dataset(rows, user_col=None, item_col=None, context_cols=("place",)))


def test_field_data_is_validated_by_its_labels() -> None:
    data = pure_fields()
    model = quick(Additive, monitor="auc", epochs=3, patience=2).fit(data, validation_data=data)
    assert model.training_log_["auc"].between(0, 1).all()
    with pytest.raises(DataError, match=r"Additive: monitor='ndcg@10' needs users and items in validation_data"):
        quick(Additive).fit(data, validation_data=data)
