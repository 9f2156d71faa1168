"""Pictures of runs, comparisons and lists, on matplotlib axes: given ones, or those of a new figure."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.base import Recommender
from recsys.compare import Comparison
from recsys.data import Dataset, frames
from recsys.errors import DataError, ParameterError, UnsupportedError
from recsys.evaluation import Result
from recsys.metrics import greater_is_better


def losses(model: Recommender, *, axes: Any = None) -> Any:
    """The loss of each epoch and, where there was validation, its metric on a second scale. Returns the axes."""
    log = getattr(model, "training_log_", None)
    if log is None:
        raise UnsupportedError(f"{type(model).__name__} has no training log; fit a model that trains in epochs")
    axes = _axes(axes)
    axes.plot(log["epoch"], log["loss"], marker=".", label="loss")
    axes.set(xlabel="epoch", ylabel="training loss", title=type(model).__name__)
    for name in (column for column in log.columns if column not in ("epoch", "loss", "seconds")):
        other = axes.twinx()
        other.plot(log["epoch"], log[name], marker=".", color="tab:orange", label=name)
        other.set_ylabel(name, color="tab:orange")
    return axes


def comparison(table: Comparison, metric: str, *, axes: Any = None) -> Any:
    """A metric of each compared model with its 95% interval over users, best on top. Returns the axes."""
    _check_metric(table.results, metric)
    axes = _axes(axes)
    rows = table.to_frame().query("metric == @metric").sort_values("value", ascending=greater_is_better(metric))
    error = np.nan_to_num([rows["value"] - rows["low"], rows["high"] - rows["value"]])
    axes.barh(rows["model"], rows["value"], xerr=np.maximum(error, 0), color="tab:blue", ecolor="0.3", capsize=3)
    axes.set(xlabel=f"{metric} (95% interval over users)" if error.any() else metric)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def trade_off(table: Comparison, x: str, y: str, *, axes: Any = None) -> Any:
    """One metric against another, a named point a model. Returns the axes."""
    for metric in (x, y):
        _check_metric(table.results, metric)
    axes = _axes(axes)
    for name, result in table.results.items():
        axes.scatter(result[x], result[y], label=name)
        axes.annotate(name, (result[x], result[y]), xytext=(5, 3), textcoords="offset points")
    axes.set(xlabel=x, ylabel=y)
    # Room for the names.
    axes.margins(0.15)
    return axes


def metric_at_k(table: Comparison | Result, metric: str, *, axes: Any = None) -> Any:
    """A metric at each of its cut-offs, "ndcg" from "ndcg@5", "ndcg@10" and so on, a line a model. Returns the axes."""
    results = {"": table} if isinstance(table, Result) else table.results
    names = list(next(iter(results.values())))
    found = [re.fullmatch(rf"{re.escape(metric)}@(\d+)", name) for name in names]
    cuts = sorted((int(match[1]), match[0]) for match in found if match)
    if not cuts:
        there = ", ".join(names)
        raise ParameterError(
            f"metric={metric!r} has no cut-off here; evaluate it with k=[5, 10, 20]; there are {there}"
        )
    axes = _axes(axes)
    for model, result in results.items():
        intervals = result.to_frame().set_index("metric").loc[[name for _, name in cuts]]
        places = [k for k, _ in cuts]
        (line,) = axes.plot(places, intervals["value"], marker=".", label=model or metric)
        axes.fill_between(places, intervals["low"], intervals["high"], color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="k", ylabel=f"{metric}@k (95% interval over users)", xticks=[k for k, _ in cuts])
    axes.legend()
    return axes


def long_tail(data: Any, recommendations: Mapping[str, Any] | None = None, *, axes: Any = None) -> Any:
    """Cumulative share of interactions over the items, most popular first, and of the slots of lists by name.

    `recommendations` are frames as `recommend` gives them. A line on the diagonal shows each item as often as the others;
    one above the interactions' is more concentrated on the popular items than they are. Returns the axes.
    """
    known = Dataset.wrap(data)
    if known.items is None:
        raise DataError("long_tail needs items, and this data set has item_col=None")
    counts = np.bincount(known.item_codes, minlength=known.n_items)
    order = np.argsort(-counts, kind="stable")
    shares = {"interactions": _cumulative(counts[order])}
    for name, frame in (recommendations or {}).items():
        column = frames.column(frames.read(frame), str(known.item_col), f"items of the lists {name!r}")
        codes = known.items.encode(frames.to_array(column))
        shares[name] = _cumulative(np.bincount(codes[codes >= 0], minlength=known.n_items)[order])
    axes = _axes(axes)
    at = np.arange(known.n_items + 1) / known.n_items
    for name, share in shares.items():
        axes.plot(at, share, label=name, color="0.3" if name == "interactions" else None)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    axes.set(xlabel="share of items, most popular first", ylabel="cumulative share", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return axes


def _axes(axes: Any) -> Any:
    if axes is not None:
        return axes
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise UnsupportedError('recsys.plot needs matplotlib: pip install "recsys[plot]"') from error
    return plt.subplots(layout="constrained")[1]


def _check_metric(results: Mapping[str, Result], metric: str) -> None:
    there = list(next(iter(results.values())))
    if metric not in there:
        raise ParameterError(f"there is no metric {metric!r} in this comparison; there are {', '.join(there)}")


def _cumulative(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cumulative shares of counts (n,), from 0: (n + 1,)."""
    return np.append(0, np.cumsum(counts)) / max(counts.sum(), 1)
