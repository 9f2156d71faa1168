"""GRU4Rec on the sessions of Diginetica, next click."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row

import recsys
from recsys import GRU4Rec

TITLE = "Next click on Diginetica"
PROTOCOL = """Sessions as the SR-GNN paper cuts and cleans them: 186,670 for training (719,470 next clicks), the 15,963 of
the last week for testing, 43,097 items. Every click of a test session but the first is looked for in the whole catalog,
items clicked before included, from the clicks before it: 60,858 questions. Options are picked by Recall@20 on the last
tenth of the training sessions, cleaned as the test sessions are; the best ones are fitted on all training sessions."""
METRICS = ("hit@20", "mrr@20")
COMMON: Mapping[str, object] = {
    "embedding": "tied", "batch_size": 128, "embedding_dropout": 0.3, "momentum": 0.2, "epochs": 8, "verbose": 0,
}  # fmt: skip
OPTIONS = [
    GRU4Rec(**COMMON, dropout=0.3),
    GRU4Rec(**COMMON, hidden_dim=192, dropout=0.4),
]


def run() -> Iterator[Row]:
    path = Path(os.environ["RECSYS_DATA"], "diginetica", "sessions.parquet")
    sessions = pd.read_parquet(path).rename(columns={"items": "item_id"})
    train, test = (sessions.loc[sessions["split"] == part, ["session_id", "item_id"]] for part in ("train", "test"))
    n_fit = len(train) * 9 // 10
    fit, validation = train[:n_fit], known_clicks(train[n_fit:], train[:n_fit])
    model = max(OPTIONS, key=lambda model: trial(model, fit, validation))
    found = measure(model.fit(clicks(train)), test)
    yield {
        "model": repr(model),
        "Recall@20": found["hit@20"],
        "MRR@20": found["mrr@20"],
        "published": "0.4970 / 0.1617 (NARM), 0.2945 / 0.0833 (GRU4Rec, in the NARM paper)",
    }


def clicks(sessions: pd.DataFrame) -> recsys.Dataset:
    """A row a click, in the order of the sessions."""
    rows = sessions.explode("item_id").astype({"item_id": np.int64})
    return recsys.Dataset(rows, user_col="session_id")


def known_clicks(sessions: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Sessions without items that no known session has, those that still have a next click."""
    items = np.unique(np.concatenate(known["item_id"].to_list()))
    kept = [one[np.isin(one, items)] for one in sessions["item_id"]]
    return sessions.assign(item_id=kept)[[len(one) > 1 for one in kept]]


def trial(model: GRU4Rec, fit: pd.DataFrame, validation: pd.DataFrame) -> float:
    start = time.perf_counter()
    found = measure(model.clone().fit(clicks(fit)), validation)
    seconds = time.perf_counter() - start
    figures = f"{found['hit@20']:.4f} / {found['mrr@20']:.4f}"
    print(f"  validation {figures} in {seconds:.0f} s: {model!r}", file=sys.stderr, flush=True)
    return found["hit@20"]


def measure(model: GRU4Rec, sessions: pd.DataFrame) -> Mapping[str, float]:
    """Figures over every click of the sessions but the first, a question each, which is a user here."""
    lengths = sessions["item_id"].str.len().to_numpy()
    items, starts = np.concatenate(sessions["item_id"].to_list()), np.cumsum(lengths) - lengths
    n_before = np.arange(len(items)) - np.repeat(starts, lengths)
    asked = np.flatnonzero(n_before > 0)
    # Question q is answered from the clicks of its session before it.
    n_before, question = n_before[asked], np.repeat(np.arange(len(asked)), n_before[asked])
    places = (
        asked[question] - n_before[question] + np.arange(len(question)) - (np.cumsum(n_before) - n_before)[question]
    )
    history = pd.DataFrame({"session_id": question, "item_id": items[places]})
    lists = model.recommend(history=history, k=20, filter_seen=False)
    targets = pd.DataFrame({"session_id": np.arange(len(asked)), "item_id": items[asked]})
    return recsys.evaluate_lists(lists, targets, METRICS, user_col="session_id")
