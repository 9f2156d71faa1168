"""Pictures of runs and comparisons, on matplotlib axes."""

from typing import Any

from recsys.base import Recommender
from recsys.compare import Comparison
from recsys.errors import UnsupportedError


def _axes(axes: Any) -> Any:
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise UnsupportedError('recsys.plot needs pip install "recsys[plot]"') from error
    return plt.subplots(layout="constrained")[1] if axes is None else axes


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
        other.plot(log["epoch"], log[name], marker=".", color="tab:orange")
        other.set_ylabel(name, color="tab:orange")
    return axes


def comparison(table: Comparison, metric: str, *, axes: Any = None) -> Any:
    """A metric of each compared model with its 95% interval, best on top. Returns the axes."""
    axes = _axes(axes)
    rows = table.to_frame().query("metric == @metric").sort_values("value")
    error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
    axes.barh(rows["model"], rows["value"], xerr=error, color="tab:blue", ecolor="0.3", capsize=3)
    axes.set(xlabel=f"{metric} (95% interval over users)")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def trade_off(table: Comparison, x: str, y: str, *, axes: Any = None) -> Any:
    """One metric against another, a point a model. Returns the axes."""
    axes = _axes(axes)
    for name, result in table.results.items():
        axes.scatter(result[x], result[y])
        axes.annotate(name, (result[x], result[y]), xytext=(5, 3), textcoords="offset points")
    axes.set(xlabel=x, ylabel=y)
    return axes
