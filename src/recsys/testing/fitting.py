"""Checks of `fit` and `partial_fit`: what they promise about the data, the model and the random state."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recsys.data import Dataset, Features
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
    expect(not one.is_fitted, model, "is_fitted is true before fit")
    with tempfile.TemporaryDirectory() as folder:
        uses: dict[str, Callable[[], Any]] = {
            "predict": lambda: one.predict(user, item),
            "save": lambda: one.save(Path(folder) / "model"),
            "recommend": lambda: one.recommend(user),
            "similar_items": lambda: one.similar_items(item),
            "similar_users": lambda: one.similar_users(user),
            "explain": lambda: one.explain(user[0], item[0]),
        }
        for name, use in uses.items():
            if name in ("predict", "save") or one.supports(name):
                expect_error(NotFittedError, use, model, f"{name} before fit")


def check_fit_returns_self(model: Model) -> None:
    """`fit` returns the model itself, which then is fitted, and takes a bare frame as it takes a data set."""
    tables = tables_for(model)
    one = quick(model)
    expect(one.fit(tables.dataset()) is one, model, "fit does not return the model")
    expect(one.is_fitted, model, "is_fitted is false after fit")
    if takes_bare_frames(model):
        bare = quick(model).fit(tables.interactions)
        expect(np.isfinite(all_scores(bare)).all(), model, "a model fitted on a bare frame predicts NaN or infinity")


def check_fit_keeps_hyperparameters(model: Model) -> None:
    """`fit` changes no hyperparameter, and leaves only names that end in `_` or begin with it."""
    one = quick(model)
    before = one.get_params()
    one.fit(tables_for(model).dataset())
    after = one.get_params()
    changed = [f"{name} from {before[name]!r} to {after[name]!r}" for name in before if after[name] != before[name]]
    expect(not changed, model, f"fit changes hyperparameters: {', '.join(changed)}")
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
    for name in ("user_codes", "item_codes", "ratings", "labels", "weights", "timestamps", "social_edges"):
        same = np.array_equal(getattr(data, name), getattr(untouched, name))
        expect(same, model, f"fit changes the {name} of the data set")
    for name in ("user_features", "item_features", "context"):
        same = same_features(getattr(data, name), getattr(untouched, name))
        expect(same, model, f"fit changes the {name} of the data set")
    if takes_bare_frames(model):
        quick(model).fit(tables.interactions)
        same = tables.interactions.equals(original.interactions)
        expect(same, model, "fit changes the bare frame that it is given")


def takes_bare_frames(model: Model) -> bool:
    """Whether a frame of interactions is all that a model needs."""
    return set(model.needs).isdisjoint(("user_features", "item_features", "social"))


def same_features(one: Features | None, other: Features | None) -> bool:
    """Whether two tables of encoded columns hold the same arrays."""
    if one is None or other is None:
        return one is other
    arrays = ("codes", "indptr", "values", "vectors")
    pairs = [(getattr(a, n), getattr(b, n)) for a, b in zip(one.columns, other.columns, strict=True) for n in arrays]
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


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
    expect(same, model, "fitting again does not give what fitting anew gives; something of the first fit is left")
    extra = sorted(set(vars(again)) ^ set(vars(once)))
    expect(not extra, model, f"attributes of an earlier fit are left, or missing: {', '.join(extra)}")


def check_global_rng_is_untouched(model: Model) -> None:
    """`fit`, `predict` and `recommend` leave the global random state of Python, NumPy and torch alone."""
    with global_rng_kept():
        one, data = quick(model), tables_for(model).dataset()
        steps = {
            "fit": lambda: one.fit(data),
            "predict": lambda: one.predict(all_users()[:5], all_items()[:5]),
            "recommend": lambda: one.recommend(all_users()[:5]) if one.supports("recommend") else None,
        }
        for name, step in steps.items():
            before = global_rng()
            step()
            after = global_rng()
            moved = {
                "Python": before[0] != after[0],
                "NumPy": not all(map(np.array_equal, before[1], after[1])),
                "torch": not bool((before[2] == after[2]).all()),
            }
            libraries = " and ".join(library for library, is_moved in moved.items() if is_moved)
            expect(not libraries, model, f"{name} moves the global random state of {libraries}")


def check_failed_fit_leaves_the_model(model: Model) -> None:
    """A `fit` that raises leaves a fitted model as it was."""
    one, tables = fitted(model), tables_for(model, seed=1)
    before = all_scores(one)
    no_frame: Any = [1, 2, 3]
    failing: dict[str, Callable[[], Any]] = {
        "fit on an empty frame": lambda: one.fit(tables.interactions.iloc[:0]),
        "fit with validation_data that is no frame": lambda: one.fit(tables.dataset(), validation_data=no_frame),
    }
    for name, fit in failing.items():
        expect_error(DataError, fit, model, name)
        kept = one.is_fitted and np.array_equal(all_scores(one), before)
        expect(kept, model, f"{name} raised, but has changed the model")


def check_row_order_changes_nothing(model: Model) -> None:
    """Scores follow their rows, and a user's list depends neither on who else is asked for nor on the order."""
    one = fitted(model)
    users, items = np.repeat(all_users(), 3), np.resize(all_items(), 3 * len(all_users()))
    order = np.random.default_rng(0).permutation(len(users))
    same = close(one.predict(users[order], items[order]), one.predict(users, items)[order])
    expect(same, model, "predict depends on the order of its rows")
    if not one.supports("recommend"):
        return
    lists = columns_of(one.recommend(k=5))
    asked = {"the order of the users asked for": all_users()[::-1], "who else is asked for": all_users()[:1]}
    for what, users in asked.items():
        turned = columns_of(one.recommend(users, k=5))
        for user in users:
            ours, theirs = lists["score"][lists[USER] == user], turned["score"][turned[USER] == user]
            expect(close(ours, theirs), model, f"the list of user {user} depends on {what}")


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


def check_one_user(model: Model) -> None:
    """Data of one user gives a model with finite scores and lists, or a `DataError` that says why not."""
    tables = tables_for(model)
    rows = tables.interactions
    serves_small(model, "data of one user", tables.bare(rows[USER] == rows[USER].iloc[0]))


def check_one_item(model: Model) -> None:
    """Data of one item gives a model with finite scores and lists, or a `DataError` that says why not."""
    tables = tables_for(model)
    rows = tables.interactions
    serves_small(model, "data of one item", tables.bare(rows[ITEM] == rows[ITEM].iloc[0]))


def check_one_row(model: Model) -> None:
    """Data of one interaction gives a model with finite scores and lists, or a `DataError` that says why not."""
    tables = tables_for(model)
    serves_small(model, "data of one row", tables.bare(tables.interactions.index == 0))


def check_repeated_rows(model: Model) -> None:
    """A frame with every row twice gives a model with finite scores and well-formed lists."""
    tables = tables_for(model)
    rows = tables.interactions.loc[np.repeat(tables.interactions.index, 2)].reset_index(drop=True)
    one = quick(model).fit(Tables(rows, *tables.features()).dataset())
    expect(np.isfinite(all_scores(one)).all(), model, "repeated rows: predict gives NaN or infinity")
    if one.supports("recommend"):
        lists = columns_of(one.recommend(k=5))
        pairs = set(zip(lists[USER], lists[ITEM], strict=True))
        expect(len(pairs) == len(lists["rank"]), model, "repeated rows: a list holds an item twice")
        expect(set(lists["rank"]) == {1, 2, 3, 4, 5}, model, "repeated rows: lists are not ranked from 1 to k")


def serves_small(model: Model, name: str, data: Dataset) -> None:
    """Finite scores and lists from a small data set, or a `DataError` from its fit."""
    try:
        one = quick(model).fit(data)
    except DataError as error:
        expect(len(str(error)) > 0, model, f"{name} is refused without a word")
        return
    scores = all_scores(one, data.users.ids, data.items.ids)
    expect(np.isfinite(scores).all(), model, f"{name}: predict gives NaN or infinity")
    if one.supports("recommend"):
        lists = columns_of(one.recommend(k=3, filter_seen=False))
        expect(np.isfinite(lists["score"]).all(), model, f"{name}: recommend gives NaN or infinity")
        wanted = data.n_users * min(3, data.n_items)
        expect(len(lists["rank"]) == wanted, model, f"{name}: {len(lists['rank'])} rows instead of {wanted}")


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
    more = Tables(more, *tables.features()).dataset()
    expect(one.partial_fit(more) is one, model, "partial_fit does not return the model")
    kept = np.array_equal(one.users_.encode(all_users()), users)
    kept = kept and np.array_equal(one.items_.encode(all_items()), items)
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
        expect(
            same_lists(one.recommend(k=3), one.recommend(k=3), 0), model, "recommend gives two lists for one request"
        )
