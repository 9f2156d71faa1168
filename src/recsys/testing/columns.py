"""Checks of columns: those that are missing, named otherwise, or context, and data that has nothing else."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.base import load
from recsys.data import Dataset
from recsys.errors import DataError, UnsupportedError
from recsys.testing.contract import (
    Model,
    all_items,
    all_users,
    close,
    columns_of,
    expect,
    expect_error,
    fitted,
    quick,
    same_lists,
    tables_for,
)
from recsys.testing.history import past
from recsys.testing.planted import ITEM, USER, Tables

RENAMED = {USER: "person", ITEM: "film", "rating": "stars", "label": "clicked", "timestamp": "when"}
"""Other names of columns that have a role."""


def check_missing_role_is_named(model: Model) -> None:
    """Data without a role in `needs` raises a `DataError` that names it."""
    one = quick(model)
    for role in one.needs:
        data = without(tables_for(model), role)
        expect_error(DataError, lambda d=data: one.fit(d), model, f"fit without {role}", role.replace("_", " "))
        expect(not one.is_fitted, model, f"a fit without {role} raised, but left a fitted model")


def check_missing_columns_are_named(model: Model) -> None:
    """A frame without users or items, for `fit` as for `predict`, raises a `DataError` that names the column."""
    one, rows = fitted(model), tables_for(model).interactions
    for column in (USER, ITEM):
        bare = rows.drop(columns=column)
        expect_error(DataError, lambda b=bare: quick(model).fit(b), model, f"fit without {column}", column)
        expect_error(DataError, lambda b=bare: one.predict(b), model, f"predict without {column}", column)


def check_renamed_columns_change_nothing(model: Model) -> None:
    """Columns of other names, given to `Dataset`, make the same model, and come back, in lists as in histories."""
    tables = tables_for(model)
    one, other = fitted(model), quick(model).fit(renamed(tables))
    rows = tables.interactions.rename(columns=RENAMED)
    expect(close(other.predict(rows), one.predict(tables.interactions)), model, "renamed columns change the scores")
    if not one.supports("recommend"):
        return
    lists = other.recommend(k=4)
    heads = list(columns_of(lists))[:2]
    expect(heads == ["person", "film"], model, f"lists of renamed columns are headed {' and '.join(heads)}")
    old_names = {new: old for old, new in RENAMED.items()}
    expect(same_lists(lists.rename(columns=old_names), one.recommend(k=4)), model, "renamed columns change the lists")
    if one.supports("history"):
        asked = rows[rows["person"].isin(all_users()[:4])].sample(frac=1, random_state=2)
        found = other.recommend(history=asked, k=4).rename(columns=old_names).sort_values([USER, "rank"])
        wanted = one.recommend(all_users()[:4], k=4)
        if one.knows_users:
            wanted = one.recommend(history=asked.rename(columns=old_names), k=4).sort_values([USER, "rank"])
        same = same_lists(found, wanted)
        expect(same, model, "a history whose columns are named as the training data's does not give its user's list")


def check_ids_keep_their_dtype(model: Model) -> None:
    """Ids come back in the dtype they had, also where they are asked for as plain integers."""
    tables = tables_for(model).narrow()
    one = quick(model).fit(tables.dataset())
    users, items = all_users()[:3].tolist(), all_items()[:3].tolist()
    asks: dict[str, Callable[[], Any]] = {}
    if one.supports("recommend"):
        asks["recommend"] = lambda: one.recommend(users, k=2)
    if one.supports("similar_items"):
        asks["similar_items"] = lambda: one.similar_items(items, k=2)
    if one.supports("history"):
        asks["recommend(history=)"] = lambda: one.recommend(history=past(model, tables), k=2)
    for name, ask in asks.items():
        found = {head: str(values.dtype) for head, values in list(columns_of(ask()).items())[:2]}
        expect(set(found.values()) == {"int32"}, model, f"{name} gives ids that were int32 as {found}")


def check_context(model: Model) -> None:
    """`context=` makes lists of what `predict` gives for rows of that context; its columns and rows are checked."""
    tables = with_device(tables_for(model))
    one = quick(model).fit(tables.dataset())
    users = all_users()[:6]
    devices = np.resize(["phone", "television"], len(users)).astype(object)
    each = tables.interactions.iloc[: len(users)].assign(device=devices)
    lists = columns_of(one.recommend(users, k=4, context=each[["device"]]))
    rows = {USER: lists[USER], ITEM: lists[ITEM], "device": devices[np.searchsorted(users, lists[USER])]}
    scores = one.predict(pd.DataFrame(rows))
    expect(
        close(lists["score"], scores), model, "recommend(context=) does not agree with predict on rows of that context"
    )
    phone: Any = {"device": "phone"}
    everyone = columns_of(one.recommend(users, k=4, context=phone))
    for user in users[::2]:
        ours, theirs = everyone["score"][everyone[USER] == user], lists["score"][lists[USER] == user]
        expect(close(ours, theirs), model, "a context for all users gives another list than one for each user")
    expect_error(DataError, lambda: one.recommend(users, context=each[[USER]]), model, "a context without it", "device")
    few = each[["device"]].iloc[:2]
    expect_error(DataError, lambda: one.recommend(users, context=few), model, "2 contexts for 6 users", "context", "2")
    plain = quick(model).fit(Tables(tables.interactions.drop(columns="device"), *tables.features()).dataset())
    expect_error(
        DataError, lambda: plain.recommend(users, context=phone), model, "a context never seen", "context_cols"
    )


def check_context_is_refused(model: Model) -> None:
    """A model that does not read contexts says so."""
    one = fitted(model)
    context: Any = {"device": "phone"}
    expect_error(UnsupportedError, lambda: one.recommend(context=context), model, "context=", "context")


def check_field_data(model: Model) -> None:
    """Data without users and items is predicted, also after `load`, and not recommended from; or it is refused."""
    rows = with_device(tables_for(model)).interactions.drop(columns=[USER, ITEM])
    data = Dataset(rows, user_col=None, item_col=None, context_cols=("device",))
    one = quick(model)
    if not one.reads_field_data or one.shape in ("top-n", "next-item"):
        expect_error(DataError, lambda: one.fit(data), model, "fit on data without users and items", "users and items")
        return
    scores = one.fit(data).predict(rows)
    expect(scores.shape == (len(rows),), model, f"predict on field data gives the shape {scores.shape}")
    expect(np.isfinite(scores).all(), model, "predict on field data gives NaN or infinity")
    expect_error(UnsupportedError, one.recommend, model, "recommend from field data", "without users and items")
    pair = all_users()[:1]
    expect_error(UnsupportedError, lambda: one.predict(pair, pair), model, "predict(users, items) on field data")
    with tempfile.TemporaryDirectory() as folder:
        one.save(Path(folder) / "model")
        again = load(Path(folder) / "model").predict(rows)
    expect(close(again, scores, 1e-6), model, "a model of field data gives other scores once loaded")


# -- what the checks are made of ---------------------------------------------------------------------------------------


def without(tables: Tables, role: str) -> Dataset:
    """The planted data without a column, a feature frame or the social edges."""
    if role in tables.interactions.columns:
        return Tables(tables.interactions.drop(columns=role), *tables.features()).dataset()
    frames = {"item_features": tables.items, "user_features": tables.users, "social": tables.social}
    kept = {name: frame for name, frame in frames.items() if name != role}
    return Dataset(tables.interactions, **kept)


def with_device(tables: Tables) -> Tables:
    """The planted data with a context column, its own or one that means nothing."""
    rows = tables.interactions
    if "device" not in rows:
        rows = rows.assign(device=np.resize(["phone", "television", "phone"], len(rows)).astype(object))
    return Tables(rows, *tables.features())


def renamed(tables: Tables) -> Dataset:
    """The planted data set with other column names."""
    rows = tables.interactions
    roles: dict[str, Any] = {f"{name}_col": RENAMED[name] for name in ("rating", "label", "timestamp") if name in rows}
    return Dataset(
        rows.rename(columns=RENAMED),
        user_col="person",
        item_col="film",
        **roles,
        context_cols=("device",) if "device" in rows else (),
        user_features=tables.users.rename(columns=RENAMED),
        item_features=tables.items.rename(columns=RENAMED),
        social=tables.social.rename(columns=RENAMED),
    )
