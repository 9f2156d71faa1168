"""Ranking figures of lists that somebody else made."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data import Dataset, Vocabulary, frames
from recsys.data.vocabulary import read_ids
from recsys.errors import DataError, ParameterError
from recsys.evaluation.full import list_figure, longest
from recsys.evaluation.model import DEFAULT
from recsys.evaluation.result import Figures, Result
from recsys.evaluation.truth import refuse_ungraded, relevant_rows
from recsys.metrics import Metric, Rankings, parse_all


def evaluate_lists(
    recommendations: Any,
    test: Any,
    metrics: str | Metric | Sequence[str | Metric] = DEFAULT,
    *,
    k: int | Sequence[int] | None = None,
    relevance_threshold: float | None = None,
    user_col: str = "user_id",
    item_col: str = "item_id",
    rank_col: str = "rank",
) -> Result:
    """Ranking figures of given lists: a frame of user, item and rank (from 1) beside test interactions.

    Means are over users with a relevant test item, a row of `test` as `evaluate` reads it; one without a list counts 0.
    `test` is a `Dataset`, or a frame with the lists' columns for users and items. No item counts as seen. Lists that
    hold an item or a rank twice are refused.
    """
    asked = parse_all(metrics, k)
    for metric in asked:
        if metric.kind != "ranking":
            raise ParameterError(f"{metric.name} is no metric of lists alone; use evaluate(model, ...)")
    graded = any(metric.graded for metric in asked)
    wanted_users, wanted_items, gains = read_relevant(test, user_col, item_col, relevance_threshold, graded)
    refuse_ungraded(asked, gains is not None)
    if len(wanted_users) == 0:
        raise DataError("no test user has a relevant item, so there is nothing to evaluate")
    lists = frames.read(recommendations)
    columns = [frames.column(lists, name, "lists") for name in (user_col, item_col, rank_col)]
    list_users, users, ids = joint_codes(read_ids(columns[0], user_col), wanted_users)
    list_items, items, _ = joint_codes(read_ids(columns[1], item_col), wanted_items)
    ranks = frames.to_array(columns[2])
    n_wanted, n_listed = (np.bincount(one, minlength=len(ids)) for one in (users, list_users))
    width = longest(asked, n_wanted)
    rankings = Rankings.from_pairs(list_users, list_items, ranks, users, items, gains, width)
    counts = {
        "users": len(rankings),
        "users without a list": int(np.count_nonzero(n_wanted[n_listed == 0])),
        "lists without relevant items": int(np.count_nonzero(n_listed[n_wanted == 0])),
    }
    figures: Figures = {metric.name: list_figure(metric, rankings) for metric in asked}
    return Result.of(figures, ids[n_wanted > 0], user_col, counts)


Relevant = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32] | None]
"""Ids of users and items (n,) of what was wanted, and its ratings if there are any."""


def read_relevant(test: Any, user_col: str, item_col: str, threshold: float | None, graded: bool) -> Relevant:
    """Relevant rows of a `Dataset` or a frame."""
    if not isinstance(test, Dataset):
        frame = frames.read(test)
        if threshold is None and not graded and "label" not in frame.columns:
            users, items = (frames.column(frame, name, "test data") for name in (user_col, item_col))
            return read_ids(users, user_col), read_ids(items, item_col), None
        test = Dataset(frame, user_col=user_col, item_col=item_col)
    kept = relevant_rows(test, threshold)
    ratings = None if test.ratings is None else test.ratings[kept]
    return test.users.decode(test.user_codes[kept]), test.items.decode(test.item_codes[kept]), ratings


def joint_codes(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Codes of two arrays of ids in one numbering, ascending with the ids, and the ids by code."""
    if one.dtype.kind in "iu" and other.dtype.kind in "iu" and len(one) and len(other):
        low, high = min(int(one.min()), int(other.min())), max(int(one.max()), int(other.max()))
        if low >= 0 and high < 4 * (len(one) + len(other)):
            # Small integers are their own codes: gaps between them cost less than a table of hashes.
            return one.astype(np.int64, copy=False), other.astype(np.int64, copy=False), np.arange(high + 1)
    vocabulary = Vocabulary.of(one, other)
    return vocabulary.encode(one), vocabulary.encode(other), vocabulary.ids
