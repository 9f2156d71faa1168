"""BPR and WARP with the features of users and items."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import BPR, WARP, Dataset
from recsys.errors import DataError
from recsys.models.factorization.feature_bags import bag_matrix, hats

GENRES = ("action", "comedy", "drama")
MODELS = [
    BPR(n_factors=8, epochs=60, learning_rate=0.1, verbose=0),
    WARP(n_factors=8, epochs=40, verbose=0),
]


# -- the bags ----------------------------------------------------------------------------------------------------------


def described() -> pd.DataFrame:
    """Five items; that with the id 13 is not described."""
    return pd.DataFrame(
        {
            "item_id": [10, 11, 12, 14],
            "maker": ["b", "a", None, "b"],
            "tags": [["x", "y"], [], ["y"], ["z", "x"]],
            "price": [1.0, 3.0, np.nan, 9.0],
            "text": [[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [0.0, -2.0]],
        }
    )


def bags() -> tuple[np.ndarray, list[str]]:
    frame = pd.DataFrame({"user_id": [1] * 5, "item_id": range(10, 15)})
    features = Dataset(frame, item_features=described()).item_features
    assert features is not None
    matrix, names = bag_matrix(features)
    assert matrix.dtype == np.float32
    return matrix.toarray(), names.tolist()


def test_everyone_has_an_own_id_and_then_its_features() -> None:
    matrix, names = bags()
    np.testing.assert_array_equal(matrix[:, :5], np.eye(5))
    assert matrix.shape[1] == 5 + len(names)
    # Categories and tags weigh 1; what is missing adds nothing.
    columns = {name: matrix[:, 5 + at].tolist() for at, name in enumerate(names)}
    assert columns["maker=a"] == [0, 1, 0, 0, 0]
    assert columns["maker=b"] == [1, 0, 0, 0, 1]
    assert columns["tags=x"] == [1, 0, 0, 0, 1]
    assert columns["tags=y"] == [1, 0, 1, 0, 0]
    assert columns["tags=z"] == [0, 0, 0, 0, 1]
    # A vector has length 1, whatever it was.
    np.testing.assert_allclose(columns["text[0]"], [0.6, 0, 1, 0, 0])
    np.testing.assert_allclose(columns["text[1]"], [0.8, 0, 0, 0, -1])


def test_a_number_lies_between_two_of_its_quantiles() -> None:
    matrix, names = bags()
    at = [5 + place for place, name in enumerate(names) if name.startswith("price~")]
    knots = np.array([float(names[place - 5].removeprefix("price~")) for place in at])
    weights = matrix[:, at]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert ((weights > 0).sum(1) <= 2).all()
    # A number that is missing is the mean.
    np.testing.assert_allclose(weights @ knots, [1, 3, 13 / 3, 13 / 3, 9], rtol=1e-4)


def test_hats_interpolate_linearly() -> None:
    knots = np.array([0.0, 1.0, 4.0])
    values = np.array([0.0, 0.25, 1.0, 2.5, 4.0], np.float32)
    wanted = [[1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    np.testing.assert_allclose(hats(values, knots).toarray(), wanted)
    np.testing.assert_array_equal(hats(values, knots[:1]).toarray(), np.ones((5, 1)))


# -- planted tastes ----------------------------------------------------------------------------------------------------


def movies(n_items: int = 60) -> pd.DataFrame:
    """Item i is of the genre i % 3, and of a color that means nothing."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "item_id": range(n_items),
            "genres": [[GENRES[i % 3], "film"] for i in range(n_items)],
            "color": rng.choice(["red", "blue"], n_items),
        }
    )


def people(n_users: int = 60) -> pd.DataFrame:
    """User u is fond of the genre u % 3, and is known by a club."""
    return pd.DataFrame({"user_id": range(n_users), "club": [f"club {u % 3}" for u in range(n_users)]})


def liked(n_users: int = 60, n_items: int = 60, seed: int = 0) -> pd.DataFrame:
    """Six items of the user's genre, by all users but the last six, among all items but the last twelve."""
    rng = np.random.default_rng(seed)
    rows = [
        (u, u % 3 + 3 * int(i)) for u in range(n_users - 6) for i in rng.permutation((n_items - 12) // 3)[:6]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


COLD_ITEMS, COLD_USERS = list(range(48, 60)), list(range(54, 60))


def everything() -> Dataset:
    return Dataset(liked(), user_features=people(), item_features=movies())


@pytest.mark.parametrize("model", MODELS)
def test_a_cold_item_is_ranked_by_its_features(model: Any) -> None:
    fitted = model.clone(features="items").fit(Dataset(liked(), item_features=movies()))
    lists = fitted.recommend(k=4, items=COLD_ITEMS)
    # The four of the twelve that are of the user's genre.
    assert (lists["item_id"] % 3 == lists["user_id"] % 3).mean() > 0.98
    blind = model.fit(Dataset(liked(), item_features=movies())).recommend(k=4, items=COLD_ITEMS)
    assert blind["item_id"].tolist() == COLD_ITEMS[:4] * 54


@pytest.mark.parametrize("model", MODELS)
def test_a_cold_user_is_served_by_the_users_features(model: Any) -> None:
    fitted = model.clone(features="users").fit(everything())
    lists = fitted.recommend(COLD_USERS, k=5)
    assert (lists["item_id"] % 3 == lists["user_id"] % 3).mean() > 0.98


@pytest.mark.parametrize("model", MODELS)
def test_a_cold_user_is_shown_the_right_cold_items_where_both_have_features(model: Any) -> None:
    fitted = model.clone(features="both").fit(everything())
    lists = fitted.recommend(COLD_USERS, k=4, items=COLD_ITEMS)
    assert (lists["item_id"] % 3 == lists["user_id"] % 3).mean() > 0.98


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("model", MODELS)
def test_a_vector_is_the_sum_of_the_own_one_and_the_features(model: Any, optimizer: Any) -> None:
    fitted = model.clone(features="both", optimizer=optimizer, epochs=3).fit(everything())
    for name, cold, n in (("user", COLD_USERS, 60), ("item", COLD_ITEMS, 60)):
        matrix, names = bag_matrix(getattr(fitted, f"{name}_features_"))
        of_features = matrix[:, n:] @ getattr(fitted, f"{name}_feature_factors_")
        own = getattr(fitted, f"{name}_factors_") - of_features
        # A cold one's own vector says nothing; those of the others do.
        np.testing.assert_allclose(own[cold], 0, atol=1e-6)
        assert (np.abs(np.delete(own, cold, 0)).max(1) > 1e-4).all()
        assert getattr(fitted, f"{name}_feature_names_").tolist() == names.tolist()
    of_features = bag_matrix(fitted.item_features_)[0][:, 60:] @ fitted.item_feature_biases_
    np.testing.assert_allclose(fitted.item_biases_[COLD_ITEMS], of_features[COLD_ITEMS], atol=1e-6)


def test_a_feature_that_only_cold_items_have_says_nothing() -> None:
    items = movies().assign(shelf=["old"] * 48 + ["new"] * 12)
    fitted = MODELS[0].clone(features="items", epochs=3).fit(Dataset(liked(), item_features=items))
    new = fitted.item_feature_names_.tolist().index("shelf=new")
    assert not fitted.item_feature_factors_[new].any()
    assert fitted.item_feature_biases_[new] == 0
    assert fitted.item_feature_factors_[new - 1 : new + 2].any()


def test_items_of_the_same_features_are_similar() -> None:
    fitted = MODELS[0].clone(features="items").fit(Dataset(liked(), item_features=movies()))
    found = fitted.similar_items(COLD_ITEMS, k=5)
    assert (found["item_id"] % 3 == found["similar_item_id"] % 3).all()


@pytest.mark.parametrize("model", MODELS)
def test_features_that_are_not_there_are_named(model: Any) -> None:
    for features, table in (("items", "item_features"), ("users", "user_features"), ("both", "user_features")):
        with pytest.raises(DataError, match=rf"features='{features}' needs Dataset\(..., {table}=frame\)"):
            model.clone(features=features).fit(liked())


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_serves_cold_items_as_before(model: Any, tmp_path: Path) -> None:
    fitted = model.clone(features="both", epochs=3).fit(everything())
    fitted.save(tmp_path / "model")
    again = recsys.load(tmp_path / "model")
    asked: dict[str, Any] = {"k": 4, "items": COLD_ITEMS}
    pd.testing.assert_frame_equal(again.recommend(**asked), fitted.recommend(**asked))
    np.testing.assert_array_equal(again.item_feature_names_, fitted.item_feature_names_)


@pytest.mark.parametrize("model", MODELS)
def test_the_best_epoch_is_kept_with_features_too(model: Any) -> None:
    later = liked(seed=1)
    fitted = model.clone(features="items", epochs=12, patience=12, n_factors=4)
    fitted.fit(Dataset(liked(), item_features=movies()), validation_data=later)
    figures = fitted.training_log_["recall@20"]
    assert recsys.evaluate(fitted, later)["recall@20"] == pytest.approx(figures.max())
