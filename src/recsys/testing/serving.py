"""Checks of `predict`, `recommend` and what else a fitted model is asked for."""

from typing import Any

import numpy as np

from recsys.errors import DataError, ParameterError, UnsupportedError
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
    seen_items,
    tables_for,
)
from recsys.testing.planted import IDLE_USER, ITEM, N_ITEMS, NOBODY, NOTHING, USER


def check_predict(model: Model) -> None:
    """`predict` gives one finite float32 a row, for a frame's rows as for pairs."""
    one = fitted(model)
    tables = tables_for(model)
    scores: Any = one.predict(tables.interactions)
    expect(isinstance(scores, np.ndarray), model, f"predict gives a {type(scores).__name__}, not an array")
    expect(scores.dtype == np.float32, model, f"predict gives {scores.dtype}, not float32")
    expect(scores.shape == (len(tables.interactions),), model, f"predict gives the shape {scores.shape}")
    expect(np.isfinite(scores).all(), model, "predict gives NaN or infinity")
    rows = tables.interactions[[USER, ITEM]]
    if "device" not in tables.interactions.columns:
        same = close(one.predict(rows[USER].to_numpy(), rows[ITEM].to_numpy()), scores)
        expect(same, model, "predict(users, items) differs from predict(rows)")
    empty = one.predict(np.empty(0, np.int64), np.empty(0, np.int64))
    expect(empty.shape == (0,), model, f"predict of no pairs gives the shape {empty.shape}")
    two, pair = all_users()[:2], all_items()[:1]
    expect_error(DataError, lambda: one.predict(two, pair), model, "predict(2 users, 1 item)", "2 users", "1 item")


def check_predict_is_in_its_units(model: Model) -> None:
    """A rating model predicts within the ratings' scale, a click model probabilities."""
    scale = {"rating": (1.0, 5.0), "click": (0.0, 1.0)}.get(model.shape)
    if scale is not None:
        scores = all_scores(fitted(model))
        inside = scores.min() >= scale[0] and scores.max() <= scale[1]
        expect(inside, model, f"predict leaves {scale}: it gives {scores.min():.4g} to {scores.max():.4g}")


def check_unknown_ids_predict_finite(model: Model) -> None:
    """`predict` of an unknown user, an unknown item, or both is finite and raises nothing."""
    one = fitted(model)
    users, items = np.append(all_users(), NOBODY), np.append(all_items(), NOTHING)
    expect(np.isfinite(all_scores(one, users, items)).all(), model, "predict of unknown ids is not finite")
    known = all_scores(one, users, items)[:-1, :-1]
    expect(close(known, all_scores(one)), model, "unknown ids in a request change the scores of known ones")


def check_lists_are_well_formed(model: Model) -> None:
    """A result of `recommend` has its four columns; lists are unique, at most k, sorted, ranked from 1, finite."""
    one = fitted(model)
    lists = columns_of(one.recommend(k=5))
    expect(list(lists) == [USER, ITEM, "score", "rank"], model, f"recommend gives the columns {', '.join(lists)}")
    expect(lists["score"].dtype == np.float32, model, f"scores are {lists['score'].dtype}, not float32")
    expect(np.isfinite(lists["score"]).all(), model, "recommend gives an infinite score or NaN")
    expect(lists["rank"].dtype.kind == "i", model, "ranks are no integers")
    for name in (USER, ITEM):
        expect(lists[name].dtype.kind == "i", model, f"{name} does not come back with its integer dtype")
    for user in all_users():
        rows = lists[USER] == user
        items, scores, ranks = lists[ITEM][rows], lists["score"][rows], lists["rank"][rows]
        expect(0 < len(items) <= 5, model, f"recommend(k=5) gives user {user} {len(items)} rows")
        expect(len(set(items)) == len(items), model, f"user {user} has an item twice")
        counted = np.array_equal(ranks, np.arange(1, len(ranks) + 1))
        expect(counted, model, f"ranks of user {user} are {ranks}, not 1, 2, 3 and so on")
        expect((np.diff(scores) <= 0).all(), model, f"scores of user {user} are not in descending order")
    again = columns_of(one.recommend(k=5))
    expect(all(np.array_equal(lists[n], again[n]) for n in lists), model, "asking twice gives two answers")


def check_recommend_is_refused(model: Model) -> None:
    """A model that only predicts says so when it is asked for lists."""
    expect_error(UnsupportedError, fitted(model).recommend, model, "recommend", "recommend")


def check_users_come_in_the_order_asked(model: Model) -> None:
    """`recommend` serves the users asked for, in that order, and one id as a list of one."""
    one = fitted(model)
    asked = all_users()[[5, 2, 9]]
    served = columns_of(one.recommend(asked, k=2))[USER][::2].tolist()
    expect(served == asked.tolist(), model, f"recommend({asked.tolist()}) serves {served}")
    alone, listed = (columns_of(one.recommend(users, k=2)) for users in (int(asked[0]), asked[:1]))
    expect(np.array_equal(alone[ITEM], listed[ITEM]), model, "recommend of one id differs from a list of it")


def check_recommend_agrees_with_predict(model: Model) -> None:
    """Scores of `recommend` are those of `predict`, and no item left out has a better one."""
    one = fitted(model)
    lists = columns_of(one.recommend(k=5))
    scores = one.predict(lists[USER], lists[ITEM])
    worst = float(np.abs(scores - lists["score"]).max())
    expect(close(scores, lists["score"]), model, f"recommend and predict differ by up to {worst:.3g}")
    table, seen, items = all_scores(one), seen_items(tables_for(model)), all_items()
    slack = 1e-4 * max(float(np.abs(table).max()), 1e-6)
    for row, user in enumerate(all_users()):
        mine = lists[USER] == user
        left_out = ~np.isin(items, list(seen.get(user, set())) + list(lists[ITEM][mine]))
        better = left_out & (table[row] > lists["score"][mine].min() + slack)
        expect(
            not better.any(), model, f"user {user}: items {items[better].tolist()} score higher than one in the list"
        )


def check_ties_go_to_the_smaller_code(model: Model) -> None:
    """Items of one score stand in the order of their ids."""
    one = fitted(model)
    lists = columns_of(one.recommend(k=N_ITEMS))
    tied = (np.diff(lists["score"]) == 0) & (np.diff(lists["rank"]) == 1)
    clipped = one.shape in ("rating", "click")  # what is shown may tie where what ranks does not
    expect(clipped or (np.diff(lists[ITEM])[tied] > 0).all(), model, "items of one score are not in the order of ids")


def check_seen_items_are_left_out(model: Model) -> None:
    """Items of the history never appear, and do again with `filter_seen=False`."""
    one, seen = fitted(model), seen_items(tables_for(model))
    lists = columns_of(one.recommend(k=N_ITEMS + 1))
    for user, item in zip(lists[USER], lists[ITEM], strict=True):
        expect(item not in seen.get(user, ()), model, f"user {user} is recommended item {item}, which was seen")
    full = columns_of(one.recommend(k=N_ITEMS + 1, filter_seen=False))
    shown = any(item in seen.get(user, ()) for user, item in zip(full[USER], full[ITEM], strict=True))
    expect(shown, model, "filter_seen=False shows no seen item to anyone")


def check_candidates_and_exclusions(model: Model) -> None:
    """Only candidates appear and no excluded item does; the rest keeps its order and scores."""
    one = fitted(model)
    some, barred = all_items()[::2], all_items()[::4]
    full = columns_of(one.recommend(k=N_ITEMS + 1))
    cases: dict[str, tuple[Any, Any]] = {
        "items": (some, None),
        "exclude_items": (None, barred),
        "items and exclude_items": (some, barred),
    }
    for name, (items, excluded) in cases.items():
        allowed = set(all_items() if items is None else items) - set([] if excluded is None else excluded)
        lists = columns_of(one.recommend(k=N_ITEMS + 1, items=items, exclude_items=excluded))
        expect(set(lists[ITEM]) <= allowed, model, f"{name}: an item that is none of the candidates is recommended")
        kept = np.isin(full[ITEM], list(allowed))
        same = np.array_equal(lists[USER], full[USER][kept]) and close(lists["score"], full["score"][kept])
        expect(same, model, f"{name}: the lists are not the full lists without the other items")
    none = columns_of(one.recommend(k=3, items=[]))
    expect(len(none["rank"]) == 0, model, "items=[] recommends something")


def check_k(model: Model) -> None:
    """A k above the catalog gives what there is; a k of 0, True or a half is refused."""
    one, seen = fitted(model), seen_items(tables_for(model))
    lists = columns_of(one.recommend(k=10 * N_ITEMS))
    for user in all_users():
        n, unseen = int((lists[USER] == user).sum()), N_ITEMS + 1 - len(seen.get(user, ()))
        expect(n == unseen, model, f"k above the catalog gives user {user} {n} items, but {unseen} are unseen")
    full, few = columns_of(one.recommend(k=10 * N_ITEMS, filter_seen=False)), columns_of(one.recommend(k=2))
    whole = len(full["rank"]) == len(all_users()) * (N_ITEMS + 1)
    expect(whole, model, "k above the catalog and filter_seen=False do not give every item to everyone")
    head = lists["rank"] <= 2
    expect(close(lists["score"][head], few["score"]), model, "a longer list does not begin as a shorter one does")
    for k in (0, -1, True, 1.5, None, "3"):
        expect_error(ParameterError, lambda k=k: one.recommend(k=k), model, f"recommend(k={k!r})", "k=")


def check_unknown_users(model: Model) -> None:
    """Unknown users raise a `DataError`, are skipped, or are served popular items, as `on_unknown` says."""
    one = fitted(model)
    known = all_users()[:2]
    asked = [known[0], NOBODY, known[1]]
    expect_error(DataError, lambda: one.recommend(asked), model, "an unknown user", str(NOBODY))
    skipped = columns_of(one.recommend(asked, k=3, on_unknown="skip"))
    expect(set(skipped[USER]) == set(known), model, f"on_unknown='skip' serves {np.unique(skipped[USER]).tolist()}")
    served = columns_of(one.recommend(asked, k=3, on_unknown="popular"))
    expect(list(served[USER][::3]) == asked, model, "on_unknown='popular' does not serve all users in their order")
    counts = tables_for(model).interactions.pipe(lambda rows: rows[rows["label"] == 1] if "label" in rows else rows)
    counts = counts.drop_duplicates([USER, ITEM])[ITEM].value_counts()
    popular = served[ITEM][served[USER] == NOBODY]
    best = sorted(counts, reverse=True)[: len(popular)]
    expect([counts.get(item, 0) for item in popular] == best, model, "on_unknown='popular' serves other items")
    choice: Any = "ignore"
    expect_error(
        ParameterError, lambda: one.recommend(asked, on_unknown=choice), model, "an unknown policy", "on_unknown"
    )


def check_unknown_candidates(model: Model) -> None:
    """Unknown candidates raise a `DataError` or are skipped; unknown exclusions are nothing."""
    one = fitted(model)
    some = [*all_items()[:20], NOTHING]
    expect_error(DataError, lambda: one.recommend(items=some), model, "an unknown candidate", str(NOTHING))
    lists = columns_of(one.recommend(items=some, k=3, on_unknown="skip"))
    expect(set(lists[ITEM]) <= set(some[:-1]), model, "an unknown candidate is recommended")
    expect(len(one.recommend(exclude_items=[NOTHING], k=3)) > 0, model, "an unknown exclusion empties the lists")


def check_user_without_history(model: Model) -> None:
    """A user known from the feature frame alone has finite scores and a full list."""
    one = fitted(model)
    expect(np.isfinite(all_scores(one, [IDLE_USER])).all(), model, "a user without a history has infinite scores")
    if one.supports("recommend"):
        lists = columns_of(one.recommend([IDLE_USER], k=5))
        expect(len(lists["rank"]) == 5, model, f"a user without a history gets {len(lists['rank'])} of 5 items")
        expect(np.isfinite(lists["score"]).all(), model, "a user without a history gets infinite scores")


def check_similar(model: Model) -> None:
    """`similar_items` and `similar_users` give sorted neighbors without the one asked about, or say that they cannot."""
    one = fitted(model)
    asks = {"similar_items": (ITEM, all_items()), "similar_users": (USER, all_users())}
    for feature, (column, ids) in asks.items():
        ask = getattr(one, feature)
        if not one.supports(feature):
            expect_error(UnsupportedError, lambda a=ask, i=ids: a(i[:1]), model, feature, feature)
            continue
        near = columns_of(ask(ids[:5], k=4))
        expect(list(near) == [column, f"similar_{column}", "score", "rank"], model, f"{feature} gives {list(near)}")
        expect(np.isfinite(near["score"]).all(), model, f"{feature} gives an infinite score")
        expect((near[column] != near[f"similar_{column}"]).all(), model, f"{feature} names the one asked about")
        most = max(int((near[column] == each).sum()) for each in ids[:5])
        expect(most <= 4, model, f"{feature}(k=4) gives {most} neighbors")
        falling = (np.diff(near["score"]) <= 0) | (np.diff(near["rank"]) < 0)
        expect(bool(falling.all()), model, f"{feature} is not in descending order")
        expect_error(DataError, lambda a=ask: a([NOBODY]), model, f"{feature} of an unknown id", str(NOBODY))
        expect_error(ParameterError, lambda a=ask, i=ids: a(i[:1], k=0), model, f"{feature}(k=0)", "k=")


def check_explain(model: Model) -> None:
    """`explain` names items of the user's history, the largest contribution first, or says that it cannot."""
    one = fitted(model)
    user, item = all_users()[0], all_items()[-2]
    if not one.supports("explain"):
        expect_error(UnsupportedError, lambda: one.explain(user, item), model, "explain", "explain")
        return
    parts = columns_of(one.explain(user, item, k=3))
    expect(set(parts[ITEM]) <= seen_items(tables_for(model))[user], model, "explain names items that were never seen")
    expect(len(parts[ITEM]) <= 3, model, "explain gives more than k items")
    expect((np.diff(parts["contribution"]) <= 0).all(), model, "explain is not in descending order")
    expect_error(DataError, lambda: one.explain(NOBODY, item), model, "explain of an unknown user", str(NOBODY))
