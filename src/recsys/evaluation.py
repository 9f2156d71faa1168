"""How good a model's lists and predictions are on data it has not seen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.base import Query, Recommender
from recsys.data import Dataset, Histories, frames
from recsys.errors import DataError, ParameterError, UnsupportedError
from recsys.metrics import Metric, Rankings, parse

DEFAULT = ("ndcg@10", "recall@20")
Candidates = Literal["full"] | tuple[Literal["sampled"], int]


@dataclass(frozen=True, eq=False)
class Result(Mapping[str, float]):
    """Means by metric name; `per_user` has the figures behind those of ranking metrics, `counts` who was evaluated."""

    means: dict[str, float]
    per_user: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.means[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.means)

    def __len__(self) -> int:
        return len(self.means)

    def ci(self, level: float = 0.95, *, n_draws: int = 1000, random_state: int = 0) -> dict[str, tuple[float, float]]:
        """Bootstrap intervals over users of the metrics that have a figure a user: name to (low, high)."""
        if not 0 < level < 1:
            raise ParameterError(f"level={level} is not allowed; give a share between 0 and 1")
        values = self.per_user.to_numpy(np.float64)
        means = bootstrap_means(values, n_draws, random_state)
        ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return {name: (float(ends[0, i]), float(ends[1, i])) for i, name in enumerate(self.per_user.columns)}

    def to_frame(self) -> pd.DataFrame:
        """A row a metric: value, low and high end of the 95% interval."""
        intervals = self.ci() if len(self.per_user) else {}
        rows = [(n, v, *intervals.get(n, (np.nan, np.nan))) for n, v in self.means.items()]
        return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {value:,}" for name, value in self.counts.items())
        return f"{self.to_frame().to_string(index=False, float_format='{:.4f}'.format)}\n{counts}"

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False, float_format="{:.4f}".format)


def bootstrap_means(values: NDArray[np.float64], n_draws: int, random_state: int) -> NDArray[np.float64]:
    """Means (n_draws, M) of columns of (U, M) over users drawn with replacement."""
    rng = np.random.default_rng(random_state)
    n = len(values)
    # How often each user is drawn, a block of draws at a time: one product instead of a copy of the table a draw.
    blocks = [rng.multinomial(n, np.full(n, 1 / n), size=min(50, n_draws - i)) for i in range(0, n_draws, 50)]
    return np.concatenate([block @ values for block in blocks]) / n


def evaluate(
    model: Recommender,
    test: Any,
    metrics: Sequence[str | Metric] = DEFAULT,
    *,
    candidates: Candidates = "full",
    relevance_threshold: float | None = None,
    exclude_cold_items: bool = False,
    on_unknown: Literal["skip", "popular"] = "skip",
    random_state: int = 0,
) -> Result:
    """Figures of a fitted model on test interactions, a `Dataset` or a frame.

    Ranking metrics are means over users with a relevant test item: one labeled 1, one rated at least
    `relevance_threshold`, else any. Items seen in training are neither recommended nor relevant. Items that the model
    does not know stay relevant unless `exclude_cold_items`; users it does not know have empty lists, or popular ones.
    Rating
    and label metrics go over the test rows. With `candidates=("sampled", n)` each relevant item is ranked among n
    items the user has not interacted with, ties against it: such figures are named `ndcg@10(sampled-100)` and compare
    with
    their like only.
    """
    data = Dataset.wrap(test)
    parsed = [parse(metric) for metric in metrics]
    ranked = [metric for metric in parsed if metric.kind in ("ranking", "lists")]
    found: dict[str, Any] = {}
    counts: dict[str, int] = {"rows": len(data)}
    if ranked:
        truth = relevant_pairs(model, data, relevance_threshold, exclude_cold_items)
        counts |= truth.counts
        if candidates == "full":
            found |= full_ranking(model, truth, ranked, on_unknown)
        else:
            found |= sampled_ranking(model, truth, ranked, candidates[1], random_state)
    pointwise = [metric for metric in parsed if metric.kind in ("rating", "label")]
    if pointwise:
        found |= row_figures(model, data, pointwise)
    per_user = pd.DataFrame({name: value for name, value in found.items() if isinstance(value, np.ndarray)})
    means = {name: float(np.mean(v)) if isinstance(v, np.ndarray) else float(v) for name, v in found.items()}
    return Result(means, per_user, counts)


@dataclass(frozen=True, eq=False)
class Truth:
    """Relevant pairs in the model's codes: an unknown user is -1 - u, an unknown item has a code beyond the catalogue."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    counts: dict[str, int]


def relevant_pairs(model: Recommender, data: Dataset, threshold: float | None, exclude_cold: bool) -> Truth:
    """Test pairs that a list should hold."""
    rows = data.positive
    if threshold is not None:
        if data.ratings is None:
            raise DataError("relevance_threshold needs ratings in the test data")
        rows = rows & (data.ratings >= threshold)
    users = model.users_.encode(data.users.ids)
    users = np.where(users < 0, -1 - np.arange(len(users)), users)[data.user_codes[rows]]
    items = model.items_.encode(data.items.ids)
    cold = items < 0
    items = np.where(cold, len(model.items_) + np.arange(len(items)), items)[data.item_codes[rows]]
    cold = cold[data.item_codes[rows]]
    pairs = np.unique(np.stack([users, items], 1)[~cold if exclude_cold else slice(None)], axis=0)
    users, items = (pairs[:, 0], pairs[:, 1]) if len(pairs) else (np.empty(0, np.int64), np.empty(0, np.int64))
    seen = seen_pairs(model.history_, len(model.items_), users, items)
    users, items = users[~seen], items[~seen]
    if len(users) == 0:
        raise DataError("no test user has a relevant item, so there is nothing to evaluate")
    evaluated = np.unique(users)
    return Truth(
        users,
        items,
        {
            "users": len(evaluated),
            "unknown users": int((evaluated < 0).sum()),
            "users without relevant items": data.n_users - len(evaluated),
            "seen pairs left out": int(seen.sum()),
            "cold pairs": int(cold.sum()),
        },
    )


def seen_pairs(
    history: Histories, n_items: int, users: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which pairs of codes are in the training histories."""
    known = (users >= 0) & (items < n_items)
    keys = np.repeat(np.arange(len(history)), history.lengths) * np.int64(n_items) + history.items
    return known & np.isin(users * np.int64(n_items) + items, keys)


def full_ranking(model: Recommender, truth: Truth, metrics: Sequence[Metric], on_unknown: str) -> dict[str, Any]:
    """Figures of lists over the whole catalogue."""
    k = max(metric.k or 1 for metric in metrics)
    users = np.unique(truth.users)
    lists = np.full((len(users), k), -1, np.int64)
    known = users >= 0
    lists[known] = model.top_k_codes(Query(users[known], model.history_[users[known]]), k)[0]
    if on_unknown == "popular" and not known.all():
        best = np.argsort(-model.item_counts_, kind="stable")[:k]
        lists[~known, : len(best)] = best
    indptr = np.searchsorted(truth.users, np.append(users, np.iinfo(np.int64).max)).astype(np.int64)
    rankings = Rankings(lists, indptr, truth.items)
    return {
        m.name: list_figure(model, lists[:, : m.k], m) if m.kind == "lists" else m.function(rankings, m.k)
        for m in metrics
    }


def list_figure(model: Recommender, lists: NDArray[np.int64], metric: Metric) -> float:
    """A figure of all lists together."""
    if metric.name.startswith("novelty"):
        return metric.function(lists, model.item_counts_, len(model.users_))
    return metric.function(lists, model.item_counts_)


def sampled_ranking(
    model: Recommender, truth: Truth, metrics: Sequence[Metric], n_sampled: int, random_state: int
) -> dict[str, Any]:
    """Figures of each relevant item among sampled ones, a mean over a user's relevant items first."""
    known = (truth.users >= 0) & (truth.items < len(model.items_))
    users, items = truth.users[known], truth.items[known]
    rng = np.random.default_rng(random_state)
    better = np.zeros(len(users), np.int64)
    target = model.predict_codes(users, items)
    positives = Histories.from_rows(truth.users[known], items, len(model.users_))
    for _ in range(n_sampled):
        drawn = rng.integers(len(model.items_), size=len(users))
        for _ in range(20):
            wrong = seen_pairs(model.history_, len(model.items_), users, drawn)
            wrong |= seen_pairs(positives, len(model.items_), users, drawn)
            if not wrong.any():
                break
            drawn[wrong] = rng.integers(len(model.items_), size=int(wrong.sum()))
        better += model.predict_codes(users, drawn) >= target
    k = max(metric.k or 1 for metric in metrics)
    lists = np.tile(np.arange(1, k + 1), (len(truth.users), 1))
    rank = np.full(len(truth.users), k, np.int64)
    rank[known] = np.minimum(better, k)
    inside = rank < k
    lists[inside, rank[inside]] = 0
    rankings = Rankings(lists, np.arange(len(lists) + 1), np.zeros(len(lists), np.int64))
    row = np.unique(truth.users, return_inverse=True)[1]
    found: dict[str, Any] = {}
    for metric in metrics:
        if metric.kind == "lists":
            raise ParameterError(f"{metric.name} needs lists over the whole catalogue; use candidates='full'")
        figures = metric.function(rankings, metric.k)
        found[f"{metric.name}(sampled-{n_sampled})"] = np.bincount(row, figures) / np.bincount(row)
    return found


def row_figures(model: Recommender, data: Dataset, metrics: Sequence[Metric]) -> dict[str, float]:
    """Figures of predictions beside the test rows' ratings or labels."""
    predicted = model.predict(data.to_frame())
    found: dict[str, float] = {}
    for metric in metrics:
        true = data.ratings if metric.kind == "rating" else data.labels
        if true is None:
            raise UnsupportedError(f"{metric.name} needs a {metric.kind} column in the test data")
        grouped = metric.name == "gauc"
        found[metric.name] = (
            metric.function(true, predicted, data.user_codes) if grouped else metric.function(true, predicted)
        )
    return found


def evaluate_lists(
    recommendations: Any,
    test: Any,
    metrics: Sequence[str] = DEFAULT,
    *,
    user_col: str = "user_id",
    item_col: str = "item_id",
    rank_col: str = "rank",
) -> Result:
    """Ranking figures of given lists: a frame of user, item and rank (from 1) beside a frame of relevant pairs."""
    lists, truth = frames.read(recommendations), frames.read(test.to_frame() if isinstance(test, Dataset) else test)
    columns = [frames.to_array(frames.column(lists, name, "lists")) for name in (user_col, item_col, rank_col)]
    wanted = [frames.to_array(frames.column(truth, name, "test")) for name in (user_col, item_col)]
    users, items = joint_codes(columns[0], wanted[0]), joint_codes(columns[1], wanted[1])
    rankings = Rankings.from_pairs(users[0], items[0], columns[2], users[1], items[1])
    found: dict[str, NDArray[np.float64]] = {}
    for metric in map(parse, metrics):
        if metric.kind != "ranking":
            raise ParameterError(f"{metric.name} is no metric of lists alone; use evaluate(model, ...)")
        function: Callable[..., Any] = metric.function
        found[metric.name] = function(rankings, metric.k)
    return Result({n: float(v.mean()) for n, v in found.items()}, pd.DataFrame(found), {"users": len(rankings)})


def joint_codes(one: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of two arrays of ids in one numbering; non-negative integers are their own codes."""
    if all(array.dtype.kind in "iu" and array.min(initial=0) >= 0 for array in (one, other)):
        return one.astype(np.int64), other.astype(np.int64)
    codes = pd.factorize(np.concatenate([one, other]))[0].astype(np.int64)
    return codes[: len(one)], codes[len(one) :]
