"""What an evaluation found: means, the figures of each user behind them, and how sure the means are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.errors import ParameterError

Figures = dict[str, float | NDArray[np.float64]]
"""Figures by metric name: one number, or one for each user (U,)."""
DRAWS_AT_ONCE = 4_000_000
"""Users drawn at a time by the bootstrap."""


@dataclass(frozen=True, eq=False)
class Result(Mapping[str, float]):
    """Means by metric name.

    `per_user` has the figures behind those metrics that have one a user: a row a user, indexed by id, NaN where a user
    has none. `counts` says who and what was evaluated, and what was left out.
    """

    means: dict[str, float]
    per_user: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, figures: Figures, users: NDArray[np.generic], name: str, counts: dict[str, int]) -> "Result":
        """From a number or one figure a user (U,) by metric name; `users` (U,) are their ids, `name` what they are."""
        columns = {metric: value for metric, value in figures.items() if isinstance(value, np.ndarray)}
        per_user = pd.DataFrame(columns, index=pd.Index(users if columns else [], name=name))
        means = {metric: mean(v) if isinstance(v, np.ndarray) else float(v) for metric, v in figures.items()}
        return cls(means, per_user, counts)

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
        if n_draws < 1:
            raise ParameterError(f"n_draws={n_draws} is not allowed; give at least 1")
        means = bootstrap_means(self.per_user.to_numpy(np.float64), n_draws, random_state)
        found: dict[str, tuple[float, float]] = {}
        for name, column in zip(self.per_user.columns, means.T, strict=True):
            drawn = column[~np.isnan(column)]
            ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(drawn) else np.full(2, np.nan)
            found[str(name)] = (float(ends[0]), float(ends[1]))
        return found

    @cached_property
    def _intervals(self) -> dict[str, tuple[float, float]]:
        return self.ci()

    def to_frame(self) -> pd.DataFrame:
        """A row a metric: value, low and high end of the 95% interval over users."""
        rows = [(n, v, *self._intervals.get(n, (np.nan, np.nan))) for n, v in self.means.items()]
        return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])

    def _counted(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in self.counts.items())

    def __repr__(self) -> str:
        table = self.to_frame().to_string(index=False, float_format="{:.4f}".format, na_rep="")
        return f"{table}\n{self._counted()}"

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(index=False, float_format="{:.4f}".format, na_rep="")
        return f"{table}<small>{escape(self._counted())}</small>"


def mean(values: NDArray[np.float64]) -> float:
    """Mean of the figures there are; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def bootstrap_means(values: NDArray[np.float64], n_draws: int, random_state: int) -> NDArray[np.float64]:
    """Means (n_draws, M) of the columns of figures (U, M) over U users drawn with replacement.

    All columns share the draws. A figure that is NaN is left out of its column's means.
    """
    n, known = len(values), ~np.isnan(values)
    means = np.full((n_draws, values.shape[1]), np.nan)
    rng = np.random.default_rng(random_state)
    step = max(1, DRAWS_AT_ONCE // max(n, 1))
    for start in range(0, n_draws if n else 0, step):
        size = min(step, n_draws - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        # How often each user is drawn turns the means into one product.
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        weights = times @ known
        sums = times @ np.where(known, values, 0)
        np.divide(sums, weights, out=means[start : start + size], where=weights > 0)
    return means
