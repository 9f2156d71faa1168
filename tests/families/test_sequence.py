import numpy as np
import pandas as pd
import pytest
import torch

from recsys import Dataset, SASRec
from tests.families.toys import Fading, groups, quick

LENGTHS = [0, 1, 2, 3, 5, 6, 9, 12, 1, 9]


def histories() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(24, size=length).tolist() for length in LENGTHS]


def frame_of(lists: list[list[int]]) -> pd.DataFrame:
    rows = [(user, item, step) for user, items in enumerate(lists) for step, item in enumerate(items)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.fixture(scope="module")
def model() -> Fading:
    return quick(Fading, max_len=6).fit(groups())


def state(model: Fading, items: list[int]) -> np.ndarray:
    """The state after the last six items, one at a time."""
    found = np.zeros(model.embedding_dim)
    for item in items[-model.max_len :]:
        found = found / 2 + model.item_factors_[item]
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_score_is_that_of_the_last_items_of_the_history(model: Fading, batch_size: int) -> None:
    twin = model.clone(batch_size=batch_size)
    twin.__dict__ |= {name: value for name, value in vars(model).items() if name.endswith("_")}
    served = [user for user, items in enumerate(histories()) if items]
    lists = twin.recommend(history=frame_of(histories()), k=24, filter_seen=False)
    assert lists["user_id"].unique().tolist() == served
    for user in served:
        mine = lists[lists["user_id"] == user].sort_values("item_id")
        expected = model.item_factors_ @ state(model, histories()[user])
        np.testing.assert_allclose(mine["score"], expected, rtol=1e-4, atol=1e-6)


def test_a_user_without_a_history_scores_as_nothing(model: Fading) -> None:
    assert model.predict([999, 999], [0, 5]).tolist() == [0, 0]
    assert model.predict([0], [999]).tolist() == [0]


@pytest.mark.parametrize("variant", ["official", "preln"])
def test_items_before_the_last_ones_change_nothing(variant: str) -> None:
    one = quick(SASRec, max_len=4, embedding_dim=8, variant=variant, dropout=0.0).fit(groups())
    recent = [5, 3, 8, 1]
    short, long = (one.recommend(history=[items], k=24, filter_seen=False) for items in (recent, [7, 7, 2, *recent]))
    assert short["item_id"].tolist() == long["item_id"].tolist()
    np.testing.assert_allclose(short["score"], long["score"], rtol=1e-5)
    other = one.recommend(history=[[6, *recent[1:]]], k=24, filter_seen=False)
    assert np.abs(other.sort_values("item_id")["score"].to_numpy() - short.sort_values("item_id")["score"]).max() > 1e-4


def test_the_order_of_a_batch_changes_no_state() -> None:
    one = quick(SASRec, max_len=8, embedding_dim=8, batch_size=3).fit(groups())
    served = [items for items in histories() if items]
    table = one.recommend(history=served, k=24, filter_seen=False)
    turned = one.recommend(history=served[::-1], k=24, filter_seen=False)
    for user in range(len(served)):
        mine, theirs = table[table["user_id"] == user], turned[turned["user_id"] == len(served) - 1 - user]
        assert mine["item_id"].tolist() == theirs["item_id"].tolist()
        np.testing.assert_allclose(mine["score"], theirs["score"], rtol=1e-4, atol=1e-6)


def test_the_next_item_of_a_ring_is_learned() -> None:
    one = quick(SASRec, epochs=40, embedding_dim=16, learning_rate=0.01, dropout=0.0, max_len=8).fit(groups())
    for start in (0, 12):
        lists = one.recommend(history=[[start + 3, start + 4, start + 5]], k=1)
        assert lists["item_id"].tolist() == [start + 6]


def test_one_item_a_user_holds_no_next_item_and_is_fitted_all_the_same() -> None:
    rows = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [5, 6, 7]})
    one = quick(Fading).fit(rows)
    assert one.training_log_["loss"].tolist() == [0, 0]
    assert np.isfinite(one.predict([1, 2, 3], [5, 5, 5])).all()


def test_item_vectors_are_the_networks_in_vocabulary_order(model: Fading) -> None:
    np.testing.assert_array_equal(model.item_factors_, model.module_.items.detach().numpy())
    assert not model.supports("similar_users")
    near = model.similar_items([0], k=3)
    vectors = model.item_factors_ / np.linalg.norm(model.item_factors_, axis=1, keepdims=True)
    expected = np.sort(np.delete(vectors @ vectors[0], 0))[::-1][:3]
    np.testing.assert_allclose(near["score"], expected, rtol=1e-5)


def test_windows_are_cut_to_the_length_of_the_network(model: Fading) -> None:
    examples = model._examples(Dataset(frame_of(histories())))
    assert int(examples.lengths.max()) == 6
    assert examples.batch(torch.arange(len(examples))).history.shape[1] == 6
