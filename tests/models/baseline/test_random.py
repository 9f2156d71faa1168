import numpy as np
import pandas as pd

import recsys
from recsys import Random

N_USERS, N_ITEMS = 3000, 50


def frame(seed: int = 0) -> pd.DataFrame:
    """Every item and every user is there; who has what depends on the seed."""
    users = np.arange(N_USERS)
    shift = np.random.default_rng(seed).integers(N_ITEMS, size=N_USERS)
    return pd.DataFrame({"user_id": users, "item_id": (users + shift) % N_ITEMS}).sort_values("item_id")


def scores(**parameters: int) -> np.ndarray:
    users, items = np.indices((N_USERS, N_ITEMS)).reshape(2, -1)
    return Random(**parameters).fit(frame()).predict(users, items).reshape(N_USERS, N_ITEMS)


def test_the_same_seed_gives_the_same_lists_and_another_seed_others() -> None:
    one, same, other = (Random(random_state=seed).fit(frame()).recommend(k=5) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one, same)
    agree = (one["item_id"].to_numpy() == other["item_id"].to_numpy()).mean()
    assert agree < 0.04  # 1 / 50 by chance


def test_scores_depend_on_the_seed_alone_and_not_on_who_has_what() -> None:
    users, items = np.arange(100), np.arange(100) % N_ITEMS
    one, other = (Random().fit(frame(seed)).predict(users, items) for seed in (0, 1))
    np.testing.assert_array_equal(one, other)


def test_users_get_different_lists() -> None:
    found = Random().fit(frame()).recommend(k=5)
    lists = found.groupby("user_id")["item_id"].agg(tuple)
    assert lists.nunique() > 0.99 * N_USERS


def test_scores_are_uniform_and_uncorrelated() -> None:
    found = scores()
    assert found.min() >= 0
    assert found.max() < 1
    bins = np.bincount((found * 20).astype(int).ravel(), minlength=20)
    expected = found.size / 20
    assert ((bins - expected) ** 2 / expected).sum() < 44  # chi-square with 19 degrees of freedom at 0.001
    unit = (found - found.mean()) / found.std()
    limit = 5 / np.sqrt(found.size)
    for moved in (np.roll(unit, 1, axis=0), np.roll(unit, 1, axis=1)):
        assert abs((unit * moved).mean()) < limit
    other = scores(random_state=1)
    assert abs((unit * (other - 0.5)).mean() / other.std()) < limit


def test_every_item_leads_equally_often() -> None:
    first = np.bincount(scores().argmax(1), minlength=N_ITEMS)
    expected = N_USERS / N_ITEMS
    assert ((first - expected) ** 2 / expected).sum() < 85  # chi-square with 49 degrees of freedom at 0.001


def test_the_hit_rate_is_that_of_chance() -> None:
    model = Random().fit(frame())
    seen = frame().set_index("user_id")["item_id"]
    users = np.arange(N_USERS)
    target = (seen.loc[users].to_numpy() + 1 + users % (N_ITEMS - 1)) % N_ITEMS
    found = recsys.evaluate(model, pd.DataFrame({"user_id": users, "item_id": target}), metrics=["hit@10"])["hit@10"]
    chance = 10 / (N_ITEMS - 1)
    assert abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / N_USERS)
