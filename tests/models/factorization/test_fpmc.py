from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import BPR, FPMC, Dataset
from recsys.data import Histories
from recsys.errors import DataError, RecsysError
from recsys.models.factorization.fpmc import baskets_before, last_baskets

N_GROUPS, N_PLACES = 4, 12
"""Tastes, and places of the chain: items 0, ..., 11 are crossings, and 12 + 12 g + k is what taste g has behind k."""


def quick(**parameters: Any) -> FPMC:
    small = {"n_factors": 16, "epochs": 60, "learning_rate": 0.1, "regularization": 0.01, "init_std": 0.1}
    return FPMC(verbose=0, **(small | {"hardest_of": 4} | parameters))


def crossings(n_users: int = 80, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Walks over all crossings, then to six of them, behind each what the user's taste has there; and each walk's last.

    A crossing says the place and not the taste; which items a user has says the taste and not the place.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        walk = rng.permutation(N_PLACES).tolist()
        for k in rng.permutation(N_PLACES)[:6]:
            walk += [k, N_PLACES * (1 + user % N_GROUPS) + k]
        rows += [(user, item, step) for step, item in enumerate(walk)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    last = frame["timestamp"] == N_PLACES + 11
    return frame[~last], frame[last]


def hits(lists: pd.DataFrame, test: pd.DataFrame) -> float:
    """Share of first places that are the item of the test."""
    return float((lists["item_id"].to_numpy() == test["item_id"].to_numpy()).mean())


# -- learning ----------------------------------------------------------------------------------------------------------


def test_taste_and_chain_together_find_what_neither_finds_alone() -> None:
    train, test = crossings()
    model = quick().fit(train)
    assert hits(model.recommend(k=1), test) > 0.9
    # The chain alone, which is what is known of a stranger with the same history, knows the place: one of four tastes.
    chain = model.recommend(history=train, k=1)
    assert hits(chain, test) < 0.4
    assert (chain["item_id"].to_numpy() % N_PLACES == test["item_id"].to_numpy() % N_PLACES).mean() > 0.9
    # Taste alone knows the taste: one of seven places.
    taste = BPR(n_factors=16, epochs=60, learning_rate=0.1, hardest_of=4, verbose=0).fit(train).recommend(k=1)
    assert hits(taste, test) < 0.4
    assert (taste["item_id"].to_numpy() // N_PLACES == test["item_id"].to_numpy() // N_PLACES).mean() > 0.9


def test_the_hardest_of_several_negatives_teaches_more_in_as_many_epochs() -> None:
    train, test = crossings()
    even, hard = (quick(epochs=30, hardest_of=n).fit(train) for n in (1, 4))
    assert hits(hard.recommend(k=1), test) > hits(even.recommend(k=1), test) + 0.1


def test_threads_without_locks_learn_too() -> None:
    train, test = crossings()
    assert hits(quick(n_jobs=2).fit(train).recommend(k=1), test) > 0.9


def test_a_rate_that_diverges_is_named() -> None:
    with pytest.raises(RecsysError, match="FPMC: the loss became NaN; lower learning_rate="):
        quick(learning_rate=1e30, regularization=1.0).fit(crossings()[0])


def test_the_epoch_with_the_best_lists_is_kept() -> None:
    train, test = crossings(n_users=60)
    model = quick(epochs=100, patience=5, learning_rate=0.3).fit(train, validation_data=test)
    figures = model.training_log_["recall@20"]
    assert len(figures) == figures.idxmax() + 1 + 5 < 100
    assert recsys.evaluate(model, test)["recall@20"] == pytest.approx(figures.max())


def test_validation_data_with_nothing_new_of_anyone_known_is_refused() -> None:
    train, _ = crossings(n_users=20)
    with pytest.raises(DataError, match="FPMC: validation_data holds nothing new"):
        quick(epochs=1).fit(train, validation_data=train)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_a_score_is_the_taste_plus_the_mean_over_the_last_basket() -> None:
    train, _ = crossings(n_users=30)
    model = quick(n_last=3, epochs=3).fit(train)
    n_items = len(model.items_)
    for user in (0, 7):
        last = model.items_.encode(train.loc[train["user_id"] == user, "item_id"].to_numpy()[-3:])
        chain = model.next_factors_ @ model.basket_factors_[last].mean(0)
        wanted = model.item_factors_ @ model.user_factors_[user] + chain
        np.testing.assert_allclose(model.predict([user] * n_items, model.items_.ids), wanted, atol=1e-6)
        # Nothing but the chain is known of someone with the same history.
        anonymous = model.recommend(history=train[train["user_id"] == user], k=n_items, filter_seen=False)
        np.testing.assert_allclose(anonymous["score"], np.sort(chain)[::-1], atol=1e-6)
        assert np.abs(wanted - chain).max() > 1e-3


def test_only_the_last_basket_of_a_history_counts() -> None:
    model = quick(epochs=3).fit(crossings()[0])
    one, other, first = (model.recommend(history=h, k=60, filter_seen=False) for h in ([3, 20, 5], [5], [3, 20]))
    pd.testing.assert_frame_equal(one, other)
    assert not one["score"].equals(first["score"])


def test_nobody_and_nothing_without_events_has_a_vector() -> None:
    users, items = pd.DataFrame({"user_id": [999]}), pd.DataFrame({"item_id": [777]})
    model = quick(epochs=3).fit(Dataset(crossings()[0], user_features=users, item_features=items))
    assert not model.user_factors_[-1].any()
    # Drawn as a negative, the item would have learned to be disliked.
    assert not model.item_factors_[-1].any()
    assert not model.next_factors_[-1].any()
    assert not model.basket_factors_[-1].any()


def test_what_training_needs_is_gone_after_it() -> None:
    train, test = crossings(n_users=20)
    fitted = quick(epochs=1).fit(train, validation_data=test)
    extra = {name for name in vars(fitted) if not name.endswith("_") and name not in fitted.get_params()}
    # What lists are made of is put together again at the next list.
    assert extra <= {"_served", "_bounded"}


# -- baskets -----------------------------------------------------------------------------------------------------------


def shops(n_users: int = 400, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Sessions: all of ten offers; then pairs of them, an offer and, in the next, its answer; and the answers that are due.

    Offer k is answered by item 10 + k. Beside each are two of twenty items that say nothing.
    """
    rng = np.random.default_rng(seed)
    rows, due = [], []
    for user in range(n_users):
        offers = rng.permutation(10)[:4]
        sessions = [list(range(10))]
        for item in np.stack([offers, 10 + offers], 1).ravel()[:-1]:
            sessions.append([item, *(20 + rng.permutation(20)[:2])])
        rows += [(user, item, number, number) for number, items in enumerate(sessions) for item in items]
        due.append(10 + offers[-1])
    return pd.DataFrame(rows, columns=["user_id", "item_id", "session_id", "timestamp"]), np.array(due)


def test_a_session_is_learned_from_the_whole_session_before_it() -> None:
    frame, due = shops()
    data, found = Dataset(frame, session_col="session_id"), {}
    for baskets in ("sessions", "items"):
        model = quick(baskets=baskets, epochs=30, n_factors=8, hardest_of=1).fit(data)
        lists = model.recommend(k=1, items=range(10, 20))
        found[baskets] = float((lists["item_id"].to_numpy() == due).mean())
    assert found["sessions"] > 0.9
    # By time and item the last event of a session is one that says nothing.
    assert found["items"] < 0.4


def test_sessions_need_a_session_column() -> None:
    with pytest.raises(DataError, match=r"FPMC: baskets='sessions' needs sessions; pass session_col=\.\.\. to Dataset"):
        quick(baskets="sessions").fit(shops(5)[0])


def test_a_history_without_sessions_is_one_basket(tmp_path: Path) -> None:
    model = quick(baskets="sessions", epochs=5).fit(Dataset(shops(50)[0], session_col="session_id"))
    whole = pd.DataFrame({"item_id": [3, 12, 25]})
    apart = whole.assign(session_id=[0, 1, 1])
    lists = model.recommend(history=whole, k=5)
    pd.testing.assert_frame_equal(model.recommend(history=[3, 12, 25], k=5), lists)
    assert not model.recommend(history=apart, k=5)["score"].equals(lists["score"])
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(recsys.load(tmp_path / "model").recommend(k=5), model.recommend(k=5))


@pytest.mark.parametrize("per", ["items", "sessions"])
@pytest.mark.parametrize("n_last", [1, 2, 9])
def test_baskets_are_what_a_loop_over_events_finds(per: Any, n_last: int) -> None:
    rng = np.random.default_rng(0)
    lengths = [5, 0, 1, 12, 0]
    sessions = [np.sort(rng.integers(0, 4, n)) for n in lengths]
    indptr = np.cumsum([0, *lengths])
    history = Histories(indptr, rng.integers(0, 9, indptr[-1]), sessions=np.concatenate(sessions).astype(np.int64))
    starts, stops = baskets_before(history, per, n_last)
    shares = last_baskets(history, per, n_last, 9).toarray()
    for row, own in enumerate(sessions):
        # The number of each event's basket within the row.
        number = np.arange(len(own)) if per == "items" else np.unique(own, return_inverse=True)[1]
        for event, n in enumerate(number):
            wanted = indptr[row] + np.flatnonzero((number < n) & (number >= n - n_last))
            at = indptr[row] + event
            assert list(range(starts[at], stops[at])) == wanted.tolist()
        last = indptr[row] + np.flatnonzero(number > number.max(initial=-1) - n_last)
        wanted_shares = np.bincount(history.items[last], minlength=9) / max(len(last), 1)
        np.testing.assert_allclose(shares[row], wanted_shares, atol=1e-6)
