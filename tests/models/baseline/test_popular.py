import numpy as np
import pandas as pd
import pytest

from recsys import Dataset, Popular, split
from recsys.errors import DataError


def taste_rows(seed: int = 0) -> pd.DataFrame:
    """Rows of 30 users and 20 items with labels, drawn unevenly."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(30, size=400), (20 * rng.random(400) ** 2).astype(int)
    return pd.DataFrame({"user_id": users, "item_id": items, "label": rng.integers(2, size=400)})


def interactions(pairs: list[tuple[int, int]]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["user_id", "item_id"])


def test_an_item_counts_its_distinct_users() -> None:
    rows = interactions([(0, 0), (0, 0), (0, 0), (1, 1), (2, 1)])
    assert Popular().fit(rows).item_scores_.tolist() == [1, 2]
    assert Popular(count="interactions").fit(rows).item_scores_.tolist() == [3, 2]


def test_held_out_interactions_do_not_count() -> None:
    data = Dataset(taste_rows().drop(columns="label"))
    train, test = split.random(data, 0.3, random_state=0)
    model = Popular().fit(train, validation_data=test)
    counts = train.to_frame().drop_duplicates(["user_id", "item_id"])["item_id"].value_counts()
    assert model.item_scores_.tolist() == [counts[item] for item in train.items.ids]
    # Held-out rows would have counted.
    assert (Popular().fit(data).predict([0] * train.n_items, train.items.ids) > model.item_scores_).any()


def test_rows_labeled_0_do_not_count() -> None:
    rows = interactions([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]).assign(label=[1, 0, 0, 1, 1])
    for count in ("users", "interactions"):
        assert Popular(count=count).fit(rows).item_scores_.tolist() == [1, 2]


def test_everyone_gets_one_list_without_what_they_have_seen() -> None:
    rows = taste_rows()
    model = Popular().fit(rows)
    order = sorted(range(len(model.items_)), key=lambda code: (-model.item_scores_[code], code))
    ranking = model.items_.decode(np.array(order)).tolist()
    for user, found in model.recommend(k=len(ranking)).groupby("user_id"):
        liked = set(rows.loc[(rows["user_id"] == user) & (rows["label"] == 1), "item_id"])
        assert found["item_id"].tolist() == [item for item in ranking if item not in liked]


def test_equal_counts_go_by_item_whatever_the_order_of_rows() -> None:
    pairs = [(user, item) for user in range(2) for item in (7, 3, 9, 5)] + [(2, 9), (3, 1)]
    lists = set()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(pairs))
        found = Popular().fit(interactions([pairs[i] for i in order])).recommend([3], k=5)
        lists.add(tuple(found["item_id"]))
    assert lists == {(9, 3, 5, 7)}


@pytest.mark.parametrize("half_life", [1.0, 30.0, 1000.0])
def test_an_interaction_of_one_half_life_counts_half(half_life: float) -> None:
    rng = np.random.default_rng(0)
    rows = interactions(list(zip(rng.integers(20, size=200), rng.integers(8, size=200), strict=True)))
    rows["timestamp"] = rng.integers(100, size=200)
    wanted = np.zeros(8)
    for item, time in zip(rows["item_id"], rows["timestamp"], strict=True):
        wanted[item] += 2 ** (-(rows["timestamp"].max() - time) / half_life)
    np.testing.assert_allclose(Popular(half_life=half_life).fit(rows).item_scores_, wanted, rtol=1e-6)


def test_with_decay_the_newer_item_leads() -> None:
    rows = interactions([(user, 0) for user in range(5)] + [(user, 1) for user in range(3)])
    rows["timestamp"] = [0] * 5 + [10] * 3
    rows.loc[len(rows)] = (9, 2, 10)
    assert Popular().fit(rows).recommend([9], k=1)["item_id"].tolist() == [0]
    assert Popular(half_life=2.0).fit(rows).recommend([9], k=1)["item_id"].tolist() == [1]


def test_decay_needs_times() -> None:
    with pytest.raises(DataError, match="half_life needs a timestamp column; pass timestamp_col"):
        Popular(half_life=1.0).fit(interactions([(0, 0)]))


def test_an_item_without_interactions_comes_last() -> None:
    data = Dataset(interactions([(0, 5), (1, 6), (2, 6)]), item_features=pd.DataFrame({"item_id": [1, 5, 6]}))
    found = Popular().fit(data).recommend([0], k=3)
    assert found["item_id"].tolist() == [6, 1]
    assert found["score"].tolist() == [2, 0]


def test_someone_new_gets_the_list_without_the_history() -> None:
    model = Popular().fit(interactions([(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (0, 3)]))
    assert model.recommend(history=[1], k=3)["item_id"].tolist() == [2, 3]
