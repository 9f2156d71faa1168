"""Figures of a model's lists over the whole catalog."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.base import Recommender
from recsys.errors import DataError
from recsys.evaluation.result import Figures
from recsys.evaluation.truth import Truth
from recsys.lists import block_rows
from recsys.metrics import Catalog, Metric, Rankings, TiedRankings

Ties = Literal["index", "average"]
Unknown = Literal["skip", "popular"]


def full_figures(
    model: Recommender,
    truth: Truth,
    metrics: Sequence[Metric],
    on_unknown: Unknown,
    ties: Ties,
    vectors: NDArray[np.float64] | None,
) -> Figures:
    """Figures of lists over the whole catalog."""
    found: Figures = {}
    k = longest(metrics, np.diff(truth.indptr))
    lists = full_lists(model, truth, k, on_unknown) if k else np.empty((len(truth), 0), np.int64)
    # Catalog figures are of the lists as they are, whatever else their order might have been.
    rankings = Rankings(lists, truth.indptr, truth.items, truth.gains)
    judged = tied_rankings(model, truth, k, on_unknown) if ties == "average" and k else rankings
    n_users = int(np.count_nonzero(model.history_.lengths))
    catalog = Catalog(model.item_counts_, n_users, vectors)
    for metric in metrics:
        if metric.kind == "lists":
            found[metric.name] = metric.function(rankings, metric.k, catalog)
        elif metric.kind == "scores":
            found[metric.name] = score_figure(model, truth, metric, on_unknown)
        else:
            found[metric.name] = list_figure(metric, judged)
    return found


def longest(metrics: Sequence[Metric], n_relevant: NDArray[np.int64]) -> int:
    """Places of a list that the metrics read: the largest cut-off, or the most relevant items of a user."""
    cuts = [metric.k or int(n_relevant.max(initial=1)) for metric in metrics if metric.kind != "scores"]
    return max(cuts, default=0)


def list_figure(metric: Metric, rankings: Rankings) -> NDArray[np.float64]:
    """A ranking metric of each list, (U,)."""
    return metric.function(rankings) if metric.k is None else metric.function(rankings, metric.k)


def full_lists(model: Recommender, truth: Truth, k: int, on_unknown: Unknown) -> NDArray[np.int64]:
    """Each user's best unseen items, (U, K) codes padded with -1 for K = min(k, items)."""
    width = min(k, len(model.items_))
    lists = np.full((len(truth), width), -1, np.int64)
    query = truth.query[truth.served]
    lists[truth.served] = model.top_k_codes(query, width)[0]
    if on_unknown == "popular":
        lists[~truth.served] = np.argsort(-model.item_counts_, kind="stable")[:width]
    # NaN is never listed, so it shows in lists that end early, or in any user if an item is to blame.
    short = np.flatnonzero((lists[truth.served] < 0).any(1) & (query.history.lengths + width <= len(model.items_)))
    for row in [*short[:1], 0][: len(query)]:
        refuse_nan(model, model._score_items(query[np.array([row])]))
    return lists


def refuse_nan(model: Recommender, scores: NDArray[np.floating]) -> None:
    """Refuse scores that are NaN."""
    if np.isnan(scores).any():
        raise DataError(f"{type(model).__name__} gives scores that are NaN; did its training diverge?")


def score_tables(model: Recommender, truth: Truth, on_unknown: Unknown) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Scores of the catalog (B, I) for a block of users at a time, -inf where there is no candidate."""
    n_items = len(model.items_)
    step = block_rows(n_items)
    for start in range(0, len(truth), step):
        rows = slice(start, min(start + step, len(truth)))
        query, served = truth.query[rows], truth.served[rows]
        table = np.full((len(query), n_items), -np.inf, np.float32)
        if served.any():
            table[served] = model._score_items(query[served])
            refuse_nan(model, table)
        if on_unknown == "popular":
            table[~served] = model.item_counts_
        table[np.repeat(np.arange(len(query)), query.history.lengths), query.history.items] = -np.inf
        yield rows, table


def tied_rankings(model: Recommender, truth: Truth, k: int, on_unknown: Unknown) -> TiedRankings:
    """Lists with the groups of equal scores."""
    width = min(k, len(model.items_))
    parts: list[TiedRankings] = []
    for rows, table in score_tables(model, truth, on_unknown):
        indptr = truth.indptr[rows.start : rows.stop + 1]
        items = truth.items[indptr[0] : indptr[-1]]
        parts.append(TiedRankings.from_scores(table, width, indptr - indptr[0], items))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "first", "size", "place")
    }
    return TiedRankings(indptr=truth.indptr, relevant=truth.items, gains=truth.gains, **joined)


def score_figure(model: Recommender, truth: Truth, metric: Metric, on_unknown: Unknown) -> NDArray[np.float64]:
    """A figure of each user's scores of the whole catalog, (U,); 0 for a user who is not served."""
    found = np.zeros(len(truth))
    for rows, table in score_tables(model, truth, on_unknown):
        indptr = truth.indptr[rows.start : rows.stop + 1]
        found[rows] = metric.function(table, indptr - indptr[0], truth.items[indptr[0] : indptr[-1]])
    return found if on_unknown == "popular" else np.where(truth.served, found, 0)
