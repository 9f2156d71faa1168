"""Checks of `recommend(history=...)`: people the model never saw."""

from typing import Any

import numpy as np
import pandas as pd

from recsys.errors import DataError, UnsupportedError
from recsys.testing.contract import (
    Model,
    all_users,
    columns_of,
    expect,
    expect_error,
    fitted,
    same_lists,
    tables_for,
)
from recsys.testing.planted import ITEM, NOTHING, USER, Tables


def check_history_is_refused(model: Model) -> None:
    """A model that does not read histories says so."""
    one = fitted(model)
    expect_error(UnsupportedError, lambda: one.recommend(history=past(model)), model, "history=", "history")


def check_history_gives_the_users_list(model: Model) -> None:
    """The rows of fitted users, given as a history, get those users' lists, unless the model knows users by more."""
    one, users = fitted(model), all_users()[:8]
    history = past(model)
    asked = history[history[USER].isin(users)]
    among = one.recommend(history=asked, k=5)
    same = one.knows_users or same_lists(among, one.recommend(users, k=5))
    expect(same, model, "a fitted user's rows as a history do not give that user's list")
    alone, wanted = asked[asked[USER] == users[0]], among[among[USER] == users[0]]
    same = same_lists(one.recommend(history=alone, k=5), wanted)
    expect(same, model, "a history asked for alone differs from the same one among others")
    same = same_lists(one.recommend(history=alone.sample(frac=1, random_state=1), k=5), wanted)
    expect(same, model, "a history that has timestamps gives another list once its rows are shuffled")
    without_times = alone.drop(columns="timestamp")
    same = same_lists(one.recommend(history=without_times, k=5), wanted)
    expect(same, model, "a history in time order, without its timestamps, gives another list")


def check_history_filters_what_it_holds(model: Model) -> None:
    """Items of the history are not recommended, unless `filter_seen=False`."""
    one, history = fitted(model), past(model)
    asked = history[history[USER] == all_users()[0]]
    lists = columns_of(one.recommend(history=asked, k=50))
    expect(not np.isin(lists[ITEM], asked[ITEM]).any(), model, "an item of the history is recommended")
    full = columns_of(one.recommend(history=asked, k=50, filter_seen=False))
    expect(np.isin(asked[ITEM], full[ITEM]).any(), model, "filter_seen=False shows no item of the history")


def check_history_as_lists(model: Model) -> None:
    """Lists of item ids are histories too, numbered from 0; a model of ratings asks for ratings instead."""
    one, history = fitted(model), past(model)
    users = all_users()[:2]
    lists = [history[ITEM][history[USER] == user].tolist() for user in users]
    if one.shape == "rating":
        expect_error(DataError, lambda: one.recommend(history=lists), model, "a history without ratings", "rating")
        return
    served = columns_of(one.recommend(history=lists, k=4))
    expect(list(served[USER]) == [0] * 4 + [1] * 4, model, f"two lists of ids serve the users {list(served[USER])}")
    rows = columns_of(one.recommend(history=history[history[USER].isin(users)], k=4))
    expect(np.array_equal(served["rank"], rows["rank"]), model, "lists of ids and a frame give lists of other lengths")
    single = columns_of(one.recommend(history=lists[0], k=4))
    expect(np.array_equal(single[ITEM], served[ITEM][:4]), model, "one list of ids differs from a list of lists")


def check_history_with_unknown_items(model: Model) -> None:
    """Unknown items of a history raise a `DataError`, or are skipped; a history of nothing else is none."""
    one, history = fitted(model), past(model)
    asked = history[history[USER] == all_users()[0]]
    strange = asked.iloc[-1:].assign(**{ITEM: NOTHING, "timestamp": asked["timestamp"].max() + 1})
    mixed = pd.concat([asked, strange])
    expect_error(DataError, lambda: one.recommend(history=mixed), model, "an unknown item in a history", str(NOTHING))
    for policy in ("skip", "popular"):
        same = same_lists(
            one.recommend(history=mixed, k=4, on_unknown=policy), one.recommend(history=asked, k=4, on_unknown=policy)
        )
        expect(same, model, f"on_unknown={policy!r}: an unknown item of a history changes the list")
    skipped = columns_of(one.recommend(history=strange, k=4, on_unknown="skip"))
    expect(len(skipped["rank"]) == 0, model, "on_unknown='skip' serves a history that holds nothing known")
    served = columns_of(one.recommend(history=strange, k=4, on_unknown="popular"))
    expect(len(served["rank"]) == 4, model, "on_unknown='popular' serves nothing to a history of unknown items")


def check_empty_history(model: Model) -> None:
    """An empty history among others is treated as an unknown user: it raises, is skipped, or is served popular items."""
    one = fitted(model)
    if one.shape == "rating":
        return  # lists hold no ratings
    items = past(model)[ITEM].tolist()[:3]
    asked = [items, []]
    expect_error(DataError, lambda: one.recommend(history=asked), model, "an empty history", "history", "on_unknown")
    skipped = columns_of(one.recommend(history=asked, k=3, on_unknown="skip"))
    expect(set(skipped[USER]) == {0}, model, "on_unknown='skip' serves an empty history")
    served = columns_of(one.recommend(history=asked, k=3, on_unknown="popular"))
    expect(list(served[USER]) == [0] * 3 + [1] * 3, model, "on_unknown='popular' does not serve an empty history")
    nobody = one.recommend(history=past(model).iloc[:0], k=3)
    expect(len(nobody) == 0, model, "a history frame without rows is served")


def check_users_and_history_exclude_each_other(model: Model) -> None:
    """Asking for users and a history at once, or a history without its item column, is a `DataError`."""
    one, history = fitted(model), past(model)
    both: dict[str, Any] = {"users": all_users()[:1], "history": history}
    expect_error(DataError, lambda: one.recommend(**both), model, "users= beside history=", "history")
    bare = history.drop(columns=ITEM)
    expect_error(DataError, lambda: one.recommend(history=bare), model, "a history without items", ITEM)


def past(model: Model, tables: Tables | None = None) -> pd.DataFrame:
    """The planted interactions that are part of histories, by user and time."""
    rows = (tables_for(model) if tables is None else tables).interactions
    rows = rows[rows["label"] == 1] if "label" in rows.columns else rows
    return rows.sort_values([USER, "timestamp", ITEM]).drop(columns=["label", "device"], errors="ignore")
