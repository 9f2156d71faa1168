"""Worked examples 02 and 03 for the neighbors: whole tables with what is negative in them, and inverse distances."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.models.worked import Golden, near

from recsys import Dataset, ItemKNN, UserKNN
from recsys.kernels.similarity import similarity_table
from recsys.models.neighbors.baselines import baselines

READINGS = ("reading_A", "reading_B")


def data_of(ratings: Any) -> Dataset:
    """Users x items with NaN where unknown."""
    users, items = np.nonzero(~np.isnan(ratings))
    return Dataset(pd.DataFrame({"user_id": users, "item_id": items, "rating": np.asarray(ratings)[users, items]}))


def article(golden: Golden, reading: str) -> tuple[Dataset, dict[str, Any]]:
    g = golden("02_seed_cf_table")
    return data_of(np.array(g["inputs"][f"items_by_users_{reading}"], float).T), g["expected"][reading]


def similarities(model: UserKNN | ItemKNN) -> np.ndarray:
    """All similarities as predictions read them, negative ones too; 0 on the diagonal."""
    if isinstance(model, UserKNN):
        found = similarity_table(model._user_rows(model._seen), model._rows, model._measure())
    else:
        found = similarity_table(model._rows, model._by_user, model._measure())
    return np.where(np.eye(len(found), dtype=bool), 0, found)


def defined(table: Any) -> np.ndarray:
    """A worked table with what is undefined as 0, its diagonal among it."""
    values = np.nan_to_num(np.array(table, float))
    return np.where(np.eye(len(values), dtype=bool), 0, values)


SIGNED = {
    "user_pearson_corated_mean": UserKNN(similarity="pearson"),
    "user_pearson_user_mean": UserKNN(similarity="pearson_mean"),
    "user_cosine_corated": UserKNN(similarity="cosine"),
    "item_cosine_corated": ItemKNN(similarity="cosine"),
    "item_pearson_corated_mean": ItemKNN(similarity="pearson"),
    "item_adjusted_cosine": ItemKNN(similarity="adjusted_cosine"),
}
WORKED = {"reading_A": list(SIGNED), "reading_B": ["user_pearson_corated_mean", "user_cosine_corated"]}


@pytest.mark.parametrize("reading, name", [(reading, name) for reading, names in WORKED.items() for name in names])
def test_02_similarities_with_their_signs(golden: Golden, reading: str, name: str) -> None:
    data, wanted = article(golden, reading)
    near(similarities(SIGNED[name].clone().fit(data)), defined(wanted[name]))


@pytest.mark.parametrize(
    "reading, name, model",
    [
        ("reading_A", "user_euclid_corated", UserKNN),
        ("reading_A", "item_euclid_corated", ItemKNN),
        ("reading_B", "item_euclid_corated", ItemKNN),
    ],
)
def test_02_inverse_distances(golden: Golden, reading: str, name: str, model: Any) -> None:
    data, wanted = article(golden, reading)
    found = similarities(model(similarity="euclidean").fit(data))
    near(found, np.where(np.eye(len(found)), 0, 1 / (1 + np.nan_to_num(np.array(wanted[name], float)))))


def test_02_predictions_by_inverse_distances(golden: Golden) -> None:
    data, wanted = article(golden, "reading_A")
    for name, k in (("item_knn_k3_inverse_distance", 3), ("item_knn_k1_euclid", 1)):
        model = ItemKNN(n_neighbors=k, similarity="euclidean", prediction="raw").fit(data)
        near(model.predict([2], [4]), [wanted["predictions_user3_item5"][name]], 1e-5)


def test_02_the_opposite_user_shrinks_too(golden: Golden) -> None:
    data, wanted = article(golden, "reading_A")
    for name, how in (
        ("user_pearson_shrunk_beta10", {"shrinkage": 10.0}),
        ("user_pearson_significance_gamma50", {"significance": 50.0}),
    ):
        model = UserKNN(similarity="pearson", **how).fit(data)
        near(similarities(model)[2, :2], wanted["predictions_user3_item5"][name])


@pytest.mark.parametrize("reading", READINGS)
def test_02_item_1_is_like_item_5_and_least_like_item_3(golden: Golden, reading: str) -> None:
    data, _ = article(golden, reading)
    found = ItemKNN(similarity="euclidean", min_support=2).fit(data).similar_items([0], k=4)
    assert found["similar_item_id"].tolist()[0] == 4
    assert found.loc[found["score"] > 0, "similar_item_id"].tolist()[-1] == 2


def test_03_adjusted_cosines_with_their_signs(golden: Golden) -> None:
    g = golden("03_knn_details")
    data, wanted = data_of(np.array(g["inputs"]["ratings"], float)), g["expected"]
    for name, shrinkage in (("adjusted_cosine", 0.0), ("adjusted_cosine_shrunk", float(g["inputs"]["shrinkage"]))):
        model = ItemKNN(similarity="adjusted_cosine", shrinkage=shrinkage)
        near(similarities(model.fit(data)), wanted[name])


def test_03_baselines_of_the_models(golden: Golden) -> None:
    g = golden("03_knn_details")
    data, wanted = data_of(np.array(g["inputs"]["ratings"], float)), g["expected"]
    for model in (UserKNN().fit(data), ItemKNN().fit(data)):
        near(model.mean_, wanted["global_mean"])
        near(model._item_base, wanted["b_item"])
        near(model._user_base(model._seen), wanted["b_user"])
    near(baselines(model._seen, wanted["global_mean"])[1], wanted["b_user"])


def test_03_weights_of_the_implicit_form(golden: Golden) -> None:
    g = golden("03_knn_details")
    data, wanted = data_of(np.array(g["inputs"]["ratings"], float)), g["expected"]
    for name, how in {
        "binary_cosine": {"similarity": "cosine"},
        "jaccard": {"similarity": "jaccard"},
        "cosine_shrunk_denominator": {"similarity": "cosine", "shrinkage": g["inputs"]["shrink_denominator"]},
        "asymmetric_cosine": {"similarity": "asymmetric", "alpha": g["inputs"]["asymmetric_alpha"]},
    }.items():
        near(ItemKNN(feedback="implicit", **how).fit(data).weights_.toarray(), wanted[name])
