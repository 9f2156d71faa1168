"""Contexts and sessions of the events that a sequence model reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import recsys
from recsys import BERT4Rec, Dataset, GRU4Rec, SASRec
from recsys.errors import DataError, ParameterError

N_ITEMS = 12


def turns(n_users: int = 240, length: int = 6, seed: int = 0) -> pd.DataFrame:
    """Walks on a ring where the arrow beside an event, drawn anew each time, says which way the next step goes."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        item = int(rng.integers(N_ITEMS))
        for step in range(length):
            way = int(rng.integers(2))
            rows.append((user, item, step, ["back", "on"][way], float(way) * 2 - 1, ["x"] if way else ["x", "y"]))
            item = (item + (1 if way else -1)) % N_ITEMS
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "arrow", "sign", "tags"])


def quick(**parameters: Any) -> SASRec:
    small = {"embedding_dim": 24, "max_len": 6, "epochs": 30, "batch_size": 32, "learning_rate": 0.01, "dropout": 0.1}
    return SASRec(verbose=0, device="cpu", **(small | parameters))


def asked(column: str, values: list[Any]) -> pd.DataFrame:
    """One user for each item and each of two values of a column: the item alone, with that value beside it."""
    pairs = [(item, value) for item in range(N_ITEMS) for value in values]
    frame = pd.DataFrame({"user_id": range(len(pairs)), "item_id": [item for item, _ in pairs], "timestamp": 0})
    return frame.assign(**{column: [value for _, value in pairs]})


@pytest.mark.parametrize(
    "column, values", [("arrow", ["back", "on"]), ("sign", [-1.0, 1.0]), ("tags", [["x", "y"], ["x"]])]
)
def test_what_stands_beside_an_event_says_what_comes_next(column: str, values: list[Any]) -> None:
    data = Dataset(turns(), context_cols=[column])
    model = quick().fit(data)
    found = model.recommend(history=asked(column, values), k=1, filter_seen=False)["item_id"].to_numpy()
    wanted = [(item + way) % N_ITEMS for item in range(N_ITEMS) for way in (-1, 1)]
    assert np.mean(found == wanted) > 0.95
    blind = quick().fit(turns().drop(columns=["arrow", "sign", "tags"]))
    guessed = blind.recommend(history=asked(column, values), k=1, filter_seen=False)["item_id"].to_numpy()
    assert np.mean(guessed == wanted) <= 0.5


GRU = {"embedding_dim": 24, "hidden_dim": 24, "max_len": 6, "batch_size": 32, "verbose": 0, "device": "cpu"}
WINDOWS = {"batching": "windows", "loss": "softmax", "optimizer": "adam", "learning_rate": 0.01, "epochs": 40}


@pytest.mark.parametrize(
    "model",
    [
        GRU4Rec(**GRU, **WINDOWS),
        GRU4Rec(**GRU, **WINDOWS, embedding="tied"),
        GRU4Rec(**GRU, n_negatives=20, epochs=30),
        GRU4Rec(**GRU, n_negatives=20, epochs=30, embedding="onehot"),
        BERT4Rec(embedding_dim=24, max_len=6, epochs=60, batch_size=32, learning_rate=0.005, dropout=0.0, verbose=0),
    ],
    ids=["GRU4Rec, windows", "GRU4Rec, tied", "GRU4Rec", "GRU4Rec, onehot", "BERT4Rec"],
)
def test_every_sequence_model_reads_what_stands_beside_an_event(model: Any) -> None:
    fitted = model.fit(Dataset(turns(), context_cols=["arrow"]))
    found = fitted.recommend(history=asked("arrow", ["back", "on"]), k=1, filter_seen=False)["item_id"].to_numpy()
    wanted = [(item + way) % N_ITEMS for item in range(N_ITEMS) for way in (-1, 1)]
    assert np.mean(found == wanted) > 0.9


def test_known_users_are_served_with_the_contexts_of_their_events(tmp_path: Path) -> None:
    frame = turns()
    model = quick().fit(Dataset(frame, context_cols=["arrow"]))
    own = model.recommend(k=3, filter_seen=False)
    given = model.recommend(history=frame, k=3, filter_seen=False)
    pd.testing.assert_frame_equal(own, given, check_dtype=False, rtol=1e-4)
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(recsys.load(tmp_path / "model").recommend(k=3, filter_seen=False), own)


def test_a_history_frame_without_the_context_is_named_and_lists_have_none() -> None:
    model = quick(epochs=1).fit(Dataset(turns(), context_cols=["arrow"]))
    with pytest.raises(DataError, match="'arrow' was there when the model was fitted"):
        model.recommend(history=turns()[["user_id", "item_id", "timestamp"]])
    lists = model.recommend(history=[[1, 2], [3]], k=2)
    unknown = turns(2, 2).assign(arrow=None, user_id=[0, 0, 1, 1], item_id=[1, 2, 3, 3], timestamp=[0, 1, 0, 1])
    same = model.recommend(history=unknown.iloc[:3], k=2)
    np.testing.assert_allclose(lists["score"], same["score"], rtol=1e-5)


# -- sessions ----------------------------------------------------------------------------------------------------------


def visits(n_users: int = 60) -> pd.DataFrame:
    """Two sessions a user: each walks on by 1 from a place of its own."""
    rng = np.random.default_rng(1)
    rows = []
    for user in range(n_users):
        for session in range(2):
            start = int(rng.integers(N_ITEMS))
            rows += [(user, (start + step) % N_ITEMS, 10 * session + step, f"{user}/{session}") for step in range(3)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "session"])


def test_no_step_leads_from_one_session_to_the_next_where_they_stand_apart() -> None:
    data = Dataset(visits(), session_col="session")
    steps = {}
    for sessions in ("joined", "apart"):
        model = quick(epochs=1, sessions=sessions).fit(data)
        examples = model._examples(data)
        batch = examples.batch(torch.arange(len(examples)))
        real = batch.targets >= 0
        steps[sessions] = int(real.sum())
        assert sorted(set(batch.users.tolist())) == list(range(60))
        if sessions == "apart":
            assert ((batch.targets[real] - batch.history[real]) % N_ITEMS == 1).all()
    assert steps == {"joined": 60 * 5, "apart": 60 * 4}


def test_sessions_apart_serve_by_the_last_one_and_joined_by_all() -> None:
    frame = visits()
    other = frame.copy()
    first = other["session"].str.endswith("/0")
    other.loc[first, "item_id"] = (other.loc[first, "item_id"] + 5) % N_ITEMS
    for sessions, same in (("apart", True), ("joined", False)):
        model = quick(epochs=2, sessions=sessions).fit(Dataset(frame, session_col="session"))
        one = model.recommend(history=frame, k=N_ITEMS, filter_seen=False)
        two = model.recommend(history=other, k=N_ITEMS, filter_seen=False)
        assert np.allclose(one["score"], two["score"]) == same
        own = model.recommend(k=N_ITEMS, filter_seen=False)
        np.testing.assert_allclose(own["score"], one["score"], rtol=1e-4)


def test_without_a_session_column_all_of_a_history_is_one_session() -> None:
    frame = visits().drop(columns="session")
    apart, joined = (quick(epochs=1, sessions=one).fit(frame) for one in ("apart", "joined"))
    np.testing.assert_array_equal(
        apart.predict([3] * N_ITEMS, range(N_ITEMS)), joined.predict([3] * N_ITEMS, range(N_ITEMS))
    )


def test_sessions_are_kept_by_splits_and_named_when_they_are_not_there() -> None:
    data = Dataset(visits(), session_col="session")
    train, _ = recsys.split.leave_last_out(data)
    assert train.roles.session_col == "session"
    assert train.histories(events=True).sessions is not None
    with pytest.raises(DataError, match="session"):
        Dataset(visits(), session_col="visit")
    with pytest.raises(ParameterError, match="sessions"):
        SASRec(sessions="both")
