"""Checks of `fit` and `partial_fit`: what they promise about the data, the model and the random state."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.data import Dataset
from recsys.errors import DataError, NotFittedError, UnsupportedError
from recsys.testing.contract import (
    Model,
    all_items,
    all_scores,
    all_users,
    close,
    columns_of,
    expect,
    expect_error,
    fitted,
    global_rng,
    global_rng_kept,
    quick,
    same_lists,
    stir_global_rng,
    tables_for,
)
from recsys.testing.planted import IDLE_USER, ITEM, USER, Tables, label


def check_unfitted_use_is_refused(model: Model) -> None:
    """Before `fit`, everything that needs it raises `NotFittedError`."""
    one = quick(model)
    user, item = all_users()[:1], all_items()[:1]
    uses: dict[str, Callable[[], Any]] = {
        "predict": lambda: one.predict(user, item),
        "save": lambda: one.save("never-written"),
    }
    if one.supports("recommend"):
        uses["recommend"] = lambda: one.recommend(user)
    if one.supports("similar_items"):
        uses["similar_items"] = lambda: one.similar_items(item)
    if one.supports("similar_users"):
        uses["similar_users"] = lambda: one.similar_users(user)
    if one.supports("explain"):
        uses["explain"] = lambda: one.explain(user[0], item[0])
    for name, use in uses.items():
        expect_error(NotFittedError, use, model, f"{name} before fit")


def check_fit_returns_self(model: Model) -> None:
    """`fit` returns the model itself, which then is fitted, and takes a bare frame as it takes a data set."""
    tables = tables_for(model)
    one = quick(model)
    expect(one.fit(tables.dataset()) is one, model, "fit does not return the model")
    expect(one.is_fitted, model, "is_fitted is false after fit")
    if "item_features" not in one.needs:
        bare = quick(model).fit(tables.interactions)
        expect(np.isfinite(all_scores(bare)).all(), model, "a model fitted on a bare frame predicts NaN or infinity")


def check_fit_keeps_hyperparameters(model: Model) -> None:
    """`fit` changes no hyperparameter, and leaves only names that end in `_` or begin with it."""
    one = quick(model)
    before = one.get_params()
    one.fit(tables_for(model).dataset())
    expect(one.get_params() == before, model, "fit changes hyperparameters")
    loose = [name for name in vars(one) if name not in before and not name.endswith("_") and not name.startswith("_")]
    expect(not loose, model, f"fit leaves {', '.join(loose)}; names of fitted state end in _")


def check_fit_keeps_the_data(model: Model) -> None:
    """`fit` changes neither the caller's frames nor the data set."""
    tables = tables_for(model)
    original = copy.deepcopy(tables)
    data, untouched = tables.dataset(), original.dataset()
    quick(model).fit(data)
    for name in ("interactions", "users", "items", "social"):
        same = getattr(tables, name).equals(getattr(original, name))
        expect(same, model, f"fit changes the caller's frame of {name}")
    for name in ("user_codes", "item_codes", "ratings", "labels", "weights", "timestamps"):
        same = np.array_equal(getattr(data, name), getattr(untouched, name))
        expect(same, model, f"fit changes the {name} of the data set")


def check_same_seed_same_model(model: Model) -> None:
    """Two fits of clones give bitwise the same scores, whatever the global random state is."""
    data = tables_for(model).dataset()
    with global_rng_kept():
        one = all_scores(quick(model).fit(data))
        stir_global_rng()
        other = all_scores(quick(model).fit(data))
    worst = float(np.abs(one - other).max())
    expect(np.array_equal(one, other), model, f"two fits with one random_state differ, by up to {worst:.3g}")


def check_refit_forgets(model: Model) -> None:
    """A second `fit` gives what a first one on its data gives: nothing of the first is left."""
    first, second = tables_for(model, seed=1), tables_for(model).relabeled()
    users, items = [label(one) for one in all_users()], [label(one) for one in all_items()]
    again = quick(model).fit(first.dataset()).fit(second.dataset())
    once = quick(model).fit(second.dataset())
    same = np.array_equal(all_scores(again, users, items), all_scores(once, users, items))
    expect(same, model, "fitting again does not give what fitting anew gives")
    extra = sorted(set(vars(again)) ^ set(vars(once)))
    expect(not extra, model, f"attributes of an earlier fit are left, or missing: {', '.join(extra)}")


def check_global_rng_is_untouched(model: Model) -> None:
    """`fit`, `predict` and `recommend` leave the global random state of Python, NumPy and torch alone."""
    with global_rng_kept():
        steps = [
            ("fit", lambda: one.fit(data)),
            ("predict", lambda: one.predict(all_users()[:5], all_items()[:5])),
            ("recommend", lambda: one.recommend(all_users()[:5]) if one.supports("recommend") else None),
        ]
        one, data = quick(model), tables_for(model).dataset()
        for name, step in steps:
            before = global_rng()
            step()
            after = global_rng()
            same = before[0] == after[0] and all(map(np.array_equal, before[1], after[1]))
            expect(same and bool((before[2] == after[2]).all()), model, f"{name} moves the global random state")


def check_failed_fit_leaves_the_model(model: Model) -> None:
    """A `fit` that raises leaves a fitted model as it was."""
    one = fitted(model)
    before = all_scores(one)
    empty = tables_for(model).interactions.iloc[:0]
    expect_error(DataError, lambda: one.fit(empty), model, "fit on an empty frame")
    expect(one.is_fitted and np.array_equal(all_scores(one), before), model, "a fit that raised has changed the model")


def check_missing_role_is_named(model: Model) -> None:
    """Data without a role in `needs` raises a `DataError` that names it."""
    one = quick(model)
    for role in one.needs:
        data = without(tables_for(model), role)
        expect_error(DataError, lambda d=data: one.fit(d), model, f"fit without {role}", role.replace("_", " "))
        expect(not one.is_fitted, model, f"a fit without {role} raised, but left a fitted model")


def check_row_order_changes_nothing(model: Model) -> None:
    """Scores follow their rows: `predict` on shuffled pairs is the shuffled `predict`, and so with users' lists."""
    one = fitted(model)
    users, items = np.repeat(all_users(), 3), np.resize(all_items(), 3 * len(all_users()))
    order = np.random.default_rng(0).permutation(len(users))
    same = close(one.predict(users[order], items[order]), one.predict(users, items)[order])
    expect(same, model, "predict depends on the order of its rows")
    if one.supports("recommend"):
        lists, turned = (columns_of(one.recommend(asked, k=5)) for asked in (all_users(), all_users()[::-1]))
        for user in all_users():
            ours, theirs = lists["score"][lists[USER] == user], turned["score"][turned[USER] == user]
            expect(close(ours, theirs), model, "a user's list depends on the order of the users asked for")


def check_shuffled_frames_change_nothing(model: Model) -> None:
    """Data with timestamps gives the same model in any row order."""
    tables = tables_for(model)
    one, other = quick(model).fit(tables.dataset()), quick(model).fit(tables.shuffled().dataset())
    expect(close(all_scores(one), all_scores(other)), model, "shuffling a frame that has timestamps changes the model")


def check_relabeled_ids_change_nothing(model: Model) -> None:
    """Other ids in the same order give the same model; strings come back as strings."""
    tables = tables_for(model)
    one, other = quick(model).fit(tables.dataset()), quick(model).fit(tables.relabeled().dataset())
    users, items = [label(user) for user in all_users()], [label(item) for item in all_items()]
    same = close(all_scores(one), all_scores(other, users, items))
    expect(same, model, "relabeling users and items changes the scores")
    if one.supports("recommend"):
        ours, theirs = columns_of(one.recommend()), columns_of(other.recommend())
        for name in (USER, ITEM):
            renamed = np.array([label(one) for one in ours[name]], object)
            expect(np.array_equal(renamed, theirs[name]), model, f"relabeling ids changes the lists' {name}")


def check_small_data(model: Model) -> None:
    """One user, one item, or repeated rows: a model with finite scores, or a `DataError` that says why not."""
    tables = tables_for(model)
    rows = tables.interactions
    twice = rows.loc[np.repeat(rows.index, 2)].reset_index(drop=True)
    tiny = {
        "one user": lambda: tables.bare(rows[USER] == rows[USER].iloc[0]),
        "one item": lambda: tables.bare(rows[ITEM] == rows[ITEM].iloc[0]),
        "repeated rows": lambda: Tables(twice, tables.users, tables.items, tables.social).dataset(),
    }
    for name, make in tiny.items():
        data = make()
        try:
            one = quick(model).fit(data)
        except DataError:
            expect(name != "repeated rows", model, "fit refuses repeated rows")
            continue
        scores = all_scores(one, data.users.ids, data.items.ids)
        expect(np.isfinite(scores).all(), model, f"{name}: predict gives NaN or infinity")
        if one.supports("recommend"):
            lists = columns_of(one.recommend(k=3, filter_seen=False))
            expect(np.isfinite(lists["score"]).all(), model, f"{name}: recommend gives NaN or infinity")


def check_partial_fit(model: Model) -> None:
    """`partial_fit` keeps the codes of old ids and serves new ones; a model that cannot says so."""
    tables = tables_for(model)
    one = fitted(model)
    if not one.supports("partial_fit"):
        expect_error(UnsupportedError, lambda: one.partial_fit(tables.dataset()), model, "partial_fit", "partial_fit")
        return
    users, items = one.users_.encode(all_users()), one.items_.encode(all_items())
    user, item = IDLE_USER + 50, all_items().max() + 50
    known = tables.interactions.iloc[:6]
    more = known.assign(**{USER: user, ITEM: [item, *known[ITEM].iloc[1:]], "timestamp": known["timestamp"] + 10**6})
    expect(one.partial_fit(more) is one, model, "partial_fit does not return the model")
    kept = np.array_equal(one.users_.encode(all_users()), users) and np.array_equal(one.items_.encode(all_items()), items)
    expect(kept, model, "partial_fit changes the codes of known ids")
    expect(one.users_.encode(np.array([user]))[0] >= 0, model, "partial_fit does not learn a new user")
    expect(one.items_.encode(np.array([item]))[0] >= 0, model, "partial_fit does not learn a new item")
    scores = all_scores(one, np.append(all_users(), user), np.append(all_items(), item))
    expect(np.isfinite(scores).all(), model, "scores after partial_fit are not finite")
    if one.supports("recommend"):
        expect(len(one.recommend([user], k=3)) == 3, model, "partial_fit leaves a new user without a list")


def check_validation_data_is_accepted(model: Model) -> None:
    """`fit` takes `validation_data`, and the model it leaves has finite scores and lists."""
    tables = tables_for(model)
    one = quick(model).fit(tables.dataset(), validation_data=tables_for(model, seed=1).dataset())
    expect(np.isfinite(all_scores(one)).all(), model, "a fit with validation data predicts NaN or infinity")
    if one.supports("recommend"):
        expect(same_lists(one.recommend(k=3), one.recommend(k=3), 0), model, "recommend gives two lists for one request")


def without(tables: Tables, role: str) -> Dataset:
    """The planted data without a column, a feature frame or the social edges."""
    if role in tables.interactions.columns:
        return Tables(
            tables.interactions.drop(columns=role), tables.users, tables.items, tables.social
        ).dataset()
    frames = {"item_features": tables.items, "user_features": tables.users, "social": tables.social}
    kept = {name: frame for name, frame in frames.items() if name != role}
    return Dataset(tables.interactions, **kept)
