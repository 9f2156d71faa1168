import numpy as np
import pandas as pd
import pytest
import torch

from recsys.data import Dataset
from tests.families.toys import Weights, groups, quick


@pytest.fixture(scope="module")
def model() -> Weights:
    return quick(Weights, epochs=1).fit(groups())


def test_scores_are_sums_over_the_profile(model: Weights) -> None:
    rows, weights = groups(), model.module_.weights.detach().numpy()
    for user in (0, 7, 39):
        expected = sum(weights[item] for item in rows["item_id"][rows["user_id"] == user])
        np.testing.assert_allclose(model.predict([user] * 24, np.arange(24)), expected, rtol=1e-4, atol=1e-5)


def test_a_history_is_a_set(model: Weights) -> None:
    once, again = (model.recommend(history=[items], k=5) for items in ([3, 9, 14], [14, 3, 3, 9, 3]))
    pd.testing.assert_frame_equal(once, again)


def test_unknown_items_of_a_history_are_nothing(model: Weights) -> None:
    known = model.recommend(history=[[3, 9]], k=5)
    pd.testing.assert_frame_equal(model.recommend(history=[[3, 999, 9]], k=5, on_unknown="skip"), known)


def test_examples_are_distinct_items_labeled_1_of_users_who_have_some() -> None:
    rows = pd.DataFrame(
        {"user_id": [1, 1, 1, 2, 3], "item_id": [5, 5, 6, 6, 7], "label": [1, 1, 1, 0, 1], "timestamp": [1, 2, 0, 4, 5]}
    )
    data = Dataset(rows)
    examples = quick(Weights)._examples(data)
    batch = examples.batch(torch.arange(len(examples)))
    assert batch.rows.tolist() == [0, 2]
    assert batch.lengths.tolist() == [2, 1]
    assert batch.items.tolist() == [0, 1, 2]


def test_scores_do_not_depend_on_who_else_is_asked_for(model: Weights) -> None:
    together = model.recommend(k=3)
    for user in (0, 20, 39):
        alone = model.recommend([user], k=3)
        assert alone["item_id"].tolist() == together["item_id"][together["user_id"] == user].tolist()
