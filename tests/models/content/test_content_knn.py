import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

import recsys
from recsys import ContentKNN, Dataset
from recsys.errors import DataError

METRICS = ("cosine", "dot", "euclidean")


def data_of(features: dict[str, list], history: list[tuple[int, int]] | None = None, **roles: object) -> Dataset:
    """Items 0, 1, ... with these features; user 0 has item 0 unless a history says otherwise."""
    items = pd.DataFrame({"item_id": range(len(next(iter(features.values()))))} | features)
    rows = pd.DataFrame(history or [(0, 0)], columns=["user_id", "item_id"]).assign(**roles)
    return Dataset(rows, item_features=items)


def vectors(n: int = 30, dim: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32).astype(float)


def compare(metric: str, a: np.ndarray, b: np.ndarray) -> float:
    if metric == "dot":
        return float(a @ b)
    if metric == "euclidean":
        return -float(np.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))))
    size = np.sqrt(a @ a) * np.sqrt(b @ b)
    return float(a @ b / size) if size else 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_a_profile_is_the_mean_of_the_items_in_the_history(metric: str) -> None:
    x = vectors()
    data = data_of({"v": x.tolist()}, [(0, 3), (0, 8), (0, 8), (1, 5)])
    model = ContentKNN(metric=metric).fit(data)
    for user, profile in ((0, (x[3] + x[8]) / 2), (1, x[5])):
        wanted = [compare(metric, profile, row) for row in x]
        np.testing.assert_allclose(model.predict([user] * 30, range(30)), wanted, atol=1e-5)


def test_weights_weigh_the_profile() -> None:
    x = vectors()
    model = ContentKNN(metric="dot").fit(data_of({"v": x.tolist()}, [(0, 3), (0, 8)], weight=[3.0, 1.0]))
    wanted = [compare("dot", 0.75 * x[3] + 0.25 * x[8], row) for row in x]
    np.testing.assert_allclose(model.predict([0] * 30, range(30)), wanted, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_the_nearest_item_comes_first_and_distances_are_not_negative(metric: str) -> None:
    x = vectors()
    model = ContentKNN(metric=metric).fit(data_of({"v": x.tolist()}))
    query = vectors(1, seed=1)[0]
    found = model.nearest(query, k=30)
    wanted = np.array([compare(metric, query, row) for row in x])
    assert found["item_id"].tolist() == np.argsort(-wanted, kind="stable").tolist()
    value = found["distance" if metric == "euclidean" else "similarity"]
    np.testing.assert_allclose(value, np.sort(wanted)[::-1] * (-1 if metric == "euclidean" else 1), atol=1e-6)
    assert (np.diff(value) >= 0).all() if metric == "euclidean" else (np.diff(value) <= 0).all()


def test_far_from_the_origin_no_squared_distance_is_negative() -> None:
    # |q|^2 + |x|^2 - 2 q.x of equal vectors is a little off 0 here, on either side.
    x = 1e4 + vectors(200, 300)
    model = ContentKNN(metric="euclidean").fit(data_of({"v": x.tolist()}))
    for row in x[:50]:
        found = model.nearest(row.astype(np.float32), k=200)
        assert np.isfinite(found["distance"]).all()
        assert found["distance"].min() >= 0
        assert found["distance"].iloc[0] < 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_zero_vector_scores_a_number(metric: str) -> None:
    x = vectors(4)
    x[[0, 2]] = 0
    model = ContentKNN(metric=metric).fit(data_of({"v": x.tolist()}, [(0, 0), (1, 1)]))
    wanted = [[compare(metric, x[u], row) for row in x] for u in (0, 1)]
    found = model.predict(np.repeat([0, 1], 4), np.tile(range(4), 2)).reshape(2, 4)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert metric != "cosine" or ((found[0] == 0).all() and found[1, 2] == 0)


def test_measures_move_as_they_should() -> None:
    x, query = vectors(), vectors(1, seed=1)[0]
    models = {metric: ContentKNN(metric=metric).fit(data_of({"v": x.tolist()})) for metric in METRICS}
    for metric in ("cosine", "dot"):
        one, scaled = (models[metric].nearest(q, k=30)["item_id"].tolist() for q in (query, 7 * query))
        assert one == scaled
    moved = ContentKNN(metric="euclidean").fit(data_of({"v": (x + 3).tolist()}))
    one, other = models["euclidean"].nearest(query, k=30), moved.nearest(query + 3, k=30)
    assert one["item_id"].tolist() == other["item_id"].tolist()
    np.testing.assert_allclose(one["distance"], other["distance"], atol=1e-5)


def test_an_item_is_not_similar_to_itself_and_seen_items_are_not_recommended() -> None:
    x = np.repeat(vectors(5), 2, axis=0)  # every item has a twin
    model = ContentKNN().fit(data_of({"v": x.tolist()}, [(0, 4)]))
    found = model.similar_items(np.arange(10), k=9)
    assert (found["item_id"] != found["similar_item_id"]).all()
    first = found[found["rank"] == 1]
    assert (first["similar_item_id"] == first["item_id"] ^ 1).all()
    listed = model.recommend([0], k=10)["item_id"].tolist()
    assert listed[0] == 5
    assert 4 not in listed


def test_numbers_are_standardized_so_that_none_dominates() -> None:
    # In dollars the price would decide alone; item 2 is like item 0 in all but one cent.
    features = {"price": [1000.0, 1001.0, 1000.01, 5000.0], "size": [1.0, 3.0, 1.0, 2.0]}
    model = ContentKNN(metric="euclidean").fit(data_of(features))
    z = np.array([(np.array(v) - np.mean(v)) / np.std(v) for v in features.values()]).T
    wanted = [compare("euclidean", z[0], row) for row in z]
    np.testing.assert_allclose(model.predict([0] * 4, range(4)), wanted, atol=1e-4)
    assert model.recommend([0], k=1)["item_id"].tolist() == [2]


def test_tags_weigh_by_how_rare_they_are() -> None:
    tags = [["a", "b"], ["a"], ["b"], ["a", "c"], ["a", "c"], ["a"], []]
    model = ContentKNN().fit(data_of({"tags": tags}))
    rarity = {tag: np.log((1 + 7) / (1 + n)) + 1 for tag, n in {"a": 5, "b": 2, "c": 2}.items()}
    rows = np.array([[rarity[tag] if tag in row else 0 for tag in "abc"] for row in tags])
    wanted = [compare("cosine", rows[0], row) for row in rows]
    np.testing.assert_allclose(model.predict([0] * 7, range(7)), wanted, atol=1e-6)
    assert model.recommend([0], k=1)["item_id"].tolist() == [2]  # shares the rarer tag


TEXTS = [
    "a red fox jumps over the lazy dog",
    "the dog sleeps, the dog eats, the dog barks",
    "market prices of wheat and corn",
    "corn, wheat and barley: the price of grain",
    "a fox and a dog",
]


def test_texts_are_compared_by_tf_idf_of_their_words() -> None:
    model = ContentKNN().fit(data_of({"text": TEXTS}))
    reference = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(TEXTS)
    found = model.similar_items(np.arange(5), k=4)
    wanted = (reference @ reference.T).toarray()[found["item_id"], found["similar_item_id"]]
    np.testing.assert_allclose(found["score"], wanted, atol=1e-6)
    assert wanted.max() > 0.2


def test_a_missing_text_is_like_nothing() -> None:
    model = ContentKNN(text=("text",)).fit(data_of({"text": [*TEXTS, None]}))
    assert (model.similar_items([5], k=5)["score"] == 0).all()


def test_names_of_several_words_are_categories_unless_said_otherwise() -> None:
    names = ["New York", "New Delhi", "New York", "New Delhi", "Old Town", "New York"]
    categories = ContentKNN().fit(data_of({"city": names})).similar_items([0], k=5)
    words = ContentKNN(text=("city",)).fit(data_of({"city": names})).similar_items([0], k=5)
    assert set(categories.loc[categories["score"] > 0, "similar_item_id"]) == {2, 5}
    assert set(words.loc[words["score"] > 0, "similar_item_id"]) == {1, 2, 3, 5}
    untouched = ContentKNN(text=()).fit(data_of({"text": TEXTS})).similar_items([0], k=4)
    assert (untouched["score"] == 0).all()


def test_text_must_name_string_columns() -> None:
    with pytest.raises(DataError, match="'tags' is no column of strings"):
        ContentKNN(text=("tags",)).fit(data_of({"tags": [["a"], ["b"]]}))
    with pytest.raises(DataError, match="no feature 'plot'"):
        ContentKNN(text=("plot",)).fit(data_of({"text": TEXTS}))


def test_columns_of_all_kinds_add_up() -> None:
    x, texts = vectors(5, 3), TEXTS
    kinds = {"v": x.tolist(), "text": texts, "tags": [["a"], ["b"], ["a"], [], ["b", "a"]], "size": [1.0, 2, 3, 4, 5]}
    together = ContentKNN(metric="dot").fit(data_of(kinds, [(0, 0), (0, 3)]))
    apart = [ContentKNN(metric="dot").fit(data_of({name: kind}, [(0, 0), (0, 3)])) for name, kind in kinds.items()]
    found = [model.predict([0] * 5, range(5)) for model in (together, *apart)]
    np.testing.assert_allclose(found[0], sum(found[1:]), atol=1e-5)


def test_a_vector_of_another_length_is_refused() -> None:
    model = ContentKNN().fit(data_of({"v": vectors().tolist()}))
    with pytest.raises(DataError, match="the vector has 3 numbers, items have 5"):
        model.nearest([1.0, 2.0, 3.0])


def test_a_saved_model_compares_as_before(tmp_path: object) -> None:
    model = ContentKNN().fit(data_of({"v": vectors(5).tolist(), "text": TEXTS}))
    model.save(str(tmp_path))
    pd.testing.assert_frame_equal(recsys.load(str(tmp_path)).similar_items([0, 3]), model.similar_items([0, 3]))


def test_items_without_interactions_are_found_by_what_they_are_like() -> None:
    model = ContentKNN().fit(data_of({"text": TEXTS}, [(0, 2)]))
    assert model.recommend([0], k=1)["item_id"].tolist() == [3]
