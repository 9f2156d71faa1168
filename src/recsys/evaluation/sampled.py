"""Figures of each relevant item among sampled ones: cheap, and comparable with their like only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.base import Recommender
from recsys.data import Histories
from recsys.errors import ParameterError
from recsys.evaluation.full import Ties, list_figure, longest, refuse_nan
from recsys.evaluation.result import Figures
from recsys.evaluation.truth import Truth
from recsys.lists import block_rows
from recsys.metrics import Metric, Rankings, TiedRankings

PAIRS_AT_ONCE = 1_000_000
"""Scores held at a time."""


def sampled_figures(
    model: Recommender, truth: Truth, metrics: Sequence[Metric], n_sampled: int, ties: Ties, random_state: int
) -> Figures:
    """Figures of each relevant item among `n_sampled` others, a mean over a user's relevant items first."""
    for metric in metrics:
        if metric.kind != "ranking":
            raise ParameterError(f'{metric.name} is a figure of the whole catalog; use candidates="full"')
    greater, equal = count_better(model, truth, n_sampled, random_state)
    k = longest(metrics, np.ones(1, np.int64))
    rankings = single_rankings(greater, equal, k, ties, truth.gains)
    found: Figures = {}
    for metric in metrics:
        figures = list_figure(metric, rankings)
        found[sampled_name(metric, n_sampled)] = np.bincount(truth.rows, figures) / np.diff(truth.indptr)
    return found


def sampled_name(metric: Metric, n_sampled: int | None) -> str:
    """Name of a figure, which says so where candidates are sampled."""
    return metric.name if n_sampled is None else f"{metric.name}(sampled-{n_sampled})"


def count_better(
    model: Recommender, truth: Truth, n_sampled: int, random_state: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each relevant item (R,) how many of its sampled others score higher, and how many the same.

    Where the model does not know the user or the item, all others score higher.
    """
    n_items = len(model.items_)
    rows = truth.rows
    greater, equal = np.full(len(rows), n_sampled), np.zeros(len(rows), np.int64)
    known = np.flatnonzero(truth.served[rows] & (truth.items < n_items))
    taken = taken_items(truth, n_items)
    rng = np.random.default_rng(random_state)
    step = max(1, PAIRS_AT_ONCE // (n_sampled + 1))
    for start in range(0, len(known), step):
        pairs = known[start : start + step]
        others = sample_others(taken, rows[pairs], n_items, n_sampled, rng)
        scores = score_choices(model, truth, rows[pairs], np.column_stack([truth.items[pairs], others]))
        refuse_nan(model, scores)
        real = others >= 0
        greater[pairs] = np.count_nonzero((scores[:, 1:] > scores[:, :1]) & real, axis=1)
        equal[pairs] = np.count_nonzero((scores[:, 1:] == scores[:, :1]) & real, axis=1)
    return greater, equal


def score_choices(
    model: Recommender, truth: Truth, rows: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Ranking scores of items (P, C) for the users of rows (P,); what stands for no item (-1) scores anything."""
    codes = truth.query.users[rows]
    if (codes >= 0).all():
        return model.score_codes(np.repeat(codes, items.shape[1]), items.ravel()).reshape(items.shape)
    # Users known by their history alone have no code that would tell them apart.
    users, row = np.unique(rows, return_inverse=True)
    scores = np.empty(items.shape, np.float32)
    step = block_rows(len(model.items_))
    for start in range(0, len(users), step):
        inside = (row >= start) & (row < start + step)
        table = model._score_items(truth.query[users[start : start + step]])
        scores[inside] = table[row[inside, None] - start, items[inside]]
    return scores


def taken_items(truth: Truth, n_items: int) -> Histories:
    """What cannot be drawn for each user, seen and relevant items: distinct, ascending."""
    history = truth.query.history
    known = truth.items < n_items
    rows = np.concatenate([np.repeat(np.arange(len(truth)), history.lengths), truth.rows[known]])
    rows, items = np.divmod(np.unique(rows * n_items + np.concatenate([history.items, truth.items[known]])), n_items)
    return Histories.from_rows(rows, items, len(truth))


def sample_others(
    taken: Histories, rows: NDArray[np.int64], n_items: int, n_sampled: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Distinct items for each of rows (P,), uniformly from those that the row's user has not taken, (P, n_sampled).

    Where there are fewer, all of them, and -1. O(P n_sampled^2).
    """
    n_free = n_items - taken.lengths[rows]
    drawn = np.full((len(rows), n_sampled), -1, np.int64)
    # Floyd's sampling: the free items are 0, 1, ..., n_free - 1, and the last place is offered to one more at each step.
    for step in range(n_sampled):
        last = n_free - n_sampled + step
        pick = np.floor(rng.random(len(rows)) * (last + 1)).astype(np.int64)
        again = (drawn[:, :step] == pick[:, None]).any(1)
        drawn[:, step] = np.where(last < 0, -1, np.where(again, last, pick))
    # Free item t is the code t plus the number of taken items before it, those with code - place <= t.
    base = np.repeat(np.arange(len(taken)), taken.lengths) * (n_items + 1)
    before = base + taken.items - (np.arange(len(taken.items)) - np.repeat(taken.indptr[:-1], taken.lengths))
    passed = np.searchsorted(before, rows[:, None] * (n_items + 1) + drawn, side="right") - taken.indptr[rows][:, None]
    return np.where(drawn >= 0, drawn + passed, -1)


def single_rankings(
    greater: NDArray[np.int64],
    equal: NDArray[np.int64],
    k: int,
    ties: Ties,
    gains: NDArray[np.float64] | None,
) -> Rankings:
    """Lists (R, k) with one relevant item, code 0, behind `greater` others and level with `equal` ones."""
    places = np.arange(k)
    indptr, relevant = np.arange(len(greater) + 1), np.zeros(len(greater), np.int64)
    rank = (greater if ties == "average" else greater + equal)[:, None]
    items = np.where(places == rank, 0, places + 1)
    if ties == "index":
        return Rankings(items, indptr, relevant, gains)
    inside = (places >= rank) & (places <= rank + equal[:, None])
    first, size = np.where(inside, rank, places), np.where(inside, equal[:, None] + 1, 1)
    return TiedRankings(items, indptr, relevant, gains, first=first, size=size, place=np.minimum(greater, k))
