"""Lists of few users, who are served by bounds, beside those of many, who share passes over all items."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import ALS, BPR, PMF, SVD, Dataset
from recsys.errors import DataError
from recsys.factor import FEW_USERS, FactorRecommender
from tests.toys import Vectors, planted_data

N_USERS, N_ITEMS = 40, 700


def interactions(seed: int = 0, n_users: int = N_USERS) -> pd.DataFrame:
    """Ratings of users who like items by their parity; popular items first; integers for users, words for items."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, n_users, 4000)
    items = 2 * (N_ITEMS // 2 * rng.random(4000) ** 3).astype(int) + (users + (rng.random(4000) < 0.1)) % 2
    rows = {"user_id": users, "item_id": [f"item {i:03d}" for i in items], "rating": rng.integers(1, 6, 4000)}
    return pd.DataFrame(rows).drop_duplicates(["user_id", "item_id"])


QUICK: dict[str, Any] = {"n_factors": 11, "epochs": 3, "verbose": 0}
MODELS = [ALS(**QUICK), BPR(**QUICK), BPR(item_bias=False, **QUICK), SVD(**QUICK), PMF(**QUICK), Vectors()]


@pytest.fixture(scope="module", params=MODELS, ids=str)
def model(request: pytest.FixtureRequest) -> FactorRecommender:
    return request.param.clone().fit(Dataset(interactions(), rating_col="rating"))


def one_by_one(model: FactorRecommender, users: Any, **how: Any) -> pd.DataFrame:
    """The lists of some users, asked for singly."""
    return pd.concat([model.recommend([user], **how) for user in users], ignore_index=True)


@pytest.mark.parametrize("k", [1, 10, N_ITEMS])
@pytest.mark.parametrize("filter_seen", [True, False])
def test_a_user_alone_gets_the_list_of_everyone(model: FactorRecommender, k: int, filter_seen: bool) -> None:
    everyone = model.recommend(k=k, filter_seen=filter_seen)
    alone = one_by_one(model, model.users_.ids, k=k, filter_seen=filter_seen)
    pd.testing.assert_frame_equal(alone, everyone, check_exact=True)


@pytest.mark.parametrize("n_users", [2, FEW_USERS, FEW_USERS + 1])
def test_few_users_get_the_lists_of_everyone(model: FactorRecommender, n_users: int) -> None:
    wanted = model.recommend(k=5)
    users = model.users_.ids[7 : 7 + n_users]
    wanted = wanted[wanted["user_id"].isin(users)].reset_index(drop=True)
    pd.testing.assert_frame_equal(model.recommend(users, k=5), wanted, check_exact=True)


def test_candidates_of_one_user_are_those_of_everyone(model: FactorRecommender) -> None:
    for candidates in ({"items": [f"item {i:03d}" for i in range(0, 90, 3)]}, {"exclude_items": ["item 001"]}):
        how: dict[str, Any] = {"k": 20, "on_unknown": "skip", **candidates}
        alone = one_by_one(model, model.users_.ids[:9], **how)
        pd.testing.assert_frame_equal(alone, model.recommend(**how)[: len(alone)], check_exact=True)


def test_unknown_users_beside_a_known_one(model: FactorRecommender) -> None:
    known = model.recommend([3], k=4)
    with pytest.raises(DataError, match="does not know 1 of 1 users, first 999"):
        model.recommend([999])
    assert len(model.recommend([999], on_unknown="skip")) == 0
    pd.testing.assert_frame_equal(model.recommend([999, 3], k=4, on_unknown="skip"), known)
    served = model.recommend([999, 3, 998], k=4, on_unknown="popular")
    assert served["user_id"].tolist() == [999] * 4 + [3] * 4 + [998] * 4
    assert served["item_id"][4:8].tolist() == known["item_id"].tolist()
    assert served["item_id"][:4].tolist() == served["item_id"][8:].tolist()


def test_one_history_gets_the_list_that_it_gets_among_many() -> None:
    model = ALS(**QUICK).fit(interactions())
    histories = [[f"item {(7 * i + j) % 60:03d}" for j in range(i + 1)] for i in range(FEW_USERS + 2)]
    many = model.recommend(history=histories, k=6)
    for i, history in enumerate(histories):
        alone, wanted = model.recommend(history=[history], k=6), many[many["user_id"] == i]
        assert alone["item_id"].tolist() == wanted["item_id"].tolist()
        np.testing.assert_allclose(alone["score"], wanted["score"], rtol=1e-3)


def test_lists_follow_new_factors() -> None:
    model = Vectors().fit(planted_data())
    before = model.recommend([10], k=3)
    model.item_factors_ = -model.item_factors_
    after = model.recommend([10], k=3)
    everyone = model.recommend(k=3)
    pd.testing.assert_frame_equal(after, everyone[everyone["user_id"] == 10].reset_index(drop=True))
    assert not after.equals(before)


def test_lists_follow_another_fit_and_new_interactions() -> None:
    model = ALS(**QUICK).fit(interactions())
    model.recommend([3])
    model.partial_fit(pd.DataFrame({"user_id": [3, 3], "item_id": ["item 699", "one more"], "rating": [4, 5]}))
    pd.testing.assert_frame_equal(one_by_one(model, range(N_USERS)), model.recommend(), check_exact=True)
    model.fit(interactions(seed=1, n_users=20))
    pd.testing.assert_frame_equal(one_by_one(model, range(20)), model.recommend(), check_exact=True)


def test_what_bounds_scores_is_neither_saved_nor_cloned(tmp_path: Path) -> None:
    model = ALS(**QUICK).fit(interactions())
    fresh = model.recommend()
    assert "_bounded" not in vars(model)
    model.recommend([3])
    assert "_bounded" in vars(model)
    model.save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    assert "_bounded" not in vars(loaded)
    assert "_bounded" not in vars(model.clone())
    pd.testing.assert_frame_equal(one_by_one(loaded, range(N_USERS)), fresh, check_exact=True)


def test_vectors_that_are_no_numbers_spoil_their_own_scores_only() -> None:
    model = Vectors().fit(planted_data())
    vectors = model.item_factors_.copy()
    vectors[4], vectors[5] = np.nan, 0
    model.item_factors_, model.user_factors_ = vectors, model.user_factors_.copy()
    model.user_factors_[2], model.user_factors_[3] = np.nan, 0
    users = model.users_.ids[:6]
    everyone = model.recommend(k=50, filter_seen=False)
    alone = one_by_one(model, users, k=50, filter_seen=False)
    pd.testing.assert_frame_equal(alone, everyone[everyone["user_id"].isin(users)].reset_index(drop=True))
    assert 104 not in set(alone["item_id"])
    assert 105 in set(alone["item_id"])
    assert model.users_.ids[2] not in set(alone["user_id"])
