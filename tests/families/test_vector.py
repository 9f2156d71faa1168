import numpy as np
import pandas as pd
import pytest
import torch

from recsys.data import Dataset
from recsys.training import seeded
from tests.families.toys import Tables, groups, quick


@pytest.fixture(scope="module")
def model() -> Tables:
    return quick(Tables, epochs=60, learning_rate=0.02, weight_decay=0.01).fit(groups())


def test_items_of_the_own_group_come_first(model: Tables) -> None:
    lists = model.recommend(k=6)
    assert (lists["item_id"] // 12 == lists["user_id"] % 2).all()


def test_factors_are_the_networks_in_vocabulary_order(model: Tables) -> None:
    users, items = model.module_()
    np.testing.assert_array_equal(model.user_factors_, users.detach().numpy())
    np.testing.assert_array_equal(model.item_factors_, items.detach().numpy())
    assert model.user_factors_.shape == (40, 8)
    assert model.item_factors_.shape == (24, 8)


def test_a_score_is_the_dot_product(model: Tables) -> None:
    users, items = np.repeat(np.arange(40), 24), np.tile(np.arange(24), 40)
    expected = [model.user_factors_[user] @ model.item_factors_[item] for user, item in zip(users, items, strict=True)]
    np.testing.assert_allclose(model.predict(users, items), expected, rtol=1e-4, atol=1e-6)


def test_what_is_unknown_scores_as_nothing(model: Tables) -> None:
    assert model.predict([999, 0, 999], [0, 999, 999]).tolist() == [0, 0, 0]


def test_pairs_are_distinct_and_those_labeled_1() -> None:
    rows = pd.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [5, 5, 6, 6], "label": [1, 1, 0, 1]})
    data = Dataset(rows)
    fitted = quick(Tables).fit(data)
    examples = fitted._examples(data)
    batch = examples.batch(torch.arange(len(examples)))
    assert list(zip(batch.users.tolist(), batch.items.tolist(), strict=True)) == [(0, 0), (1, 1)]
    with seeded(0):
        assert fitted._negatives.draw(torch.tensor([0, 1]), 20).unique(dim=1).tolist() == [[1], [0]]


def test_the_loss_is_that_of_a_loop() -> None:
    data = Dataset(groups())
    fitted = quick(Tables, n_negatives=3).fit(data)
    batch = fitted._examples(data).batch(torch.tensor([5, 0, 9]))
    with seeded(3):
        loss = fitted._loss(fitted.module_, batch).item()
    with seeded(3):
        negatives = fitted._negatives.draw(batch.users, 3)
    terms = []
    for user, positive, others in zip(batch.users, batch.items, negatives, strict=True):
        vector = fitted.user_factors_[user]
        for other in others:
            margin = float(vector @ (fitted.item_factors_[positive] - fitted.item_factors_[other]))
            terms.append(np.log1p(np.exp(-margin)))
    np.testing.assert_allclose(loss, np.mean(terms), rtol=1e-5)
