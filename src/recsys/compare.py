"""Several models on one split, with intervals and paired tests: is the difference real?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from recsys.base import Recommender
from recsys.errors import ParameterError
from recsys.evaluation import DEFAULT, Result, bootstrap_means, evaluate


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results by model name; `p_values` (models x metrics) test each model against the metric's best."""

    results: dict[str, Result]
    p_values: pd.DataFrame
    seconds: dict[str, float]

    def to_frame(self) -> pd.DataFrame:
        """A row a model and metric: value, 95% interval, corrected p-value of the difference from the best."""
        rows = [
            (model, metric, row.value, row.low, row.high, self._p(model, metric))
            for model, result in self.results.items()
            for metric, row in ((r.metric, r) for r in result.to_frame().itertuples())
        ]
        return pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high", "p_value"])

    def _p(self, model: str, metric: Any) -> float:
        return float(self.p_values.loc[model, metric]) if metric in self.p_values.columns else float("nan")

    def table(self) -> pd.DataFrame:
        """A row a model, a column a metric: value and half the interval; * where it is worse than the best at 5%."""
        frame = self.to_frame()
        frame["cell"] = [
            f"{r.value:.4f}"
            + ("" if np.isnan(r.low) else f" ±{(r.high - r.low) / 2:.4f}")
            + ("*" if r.p_value < 0.05 else "")
            for r in frame.itertuples()
        ]
        table = frame.pivot(index="model", columns="metric", values="cell").loc[list(self.results)]
        table = table[list(next(iter(self.results.values())))]
        table["fit s"] = [f"{self.seconds[name]:.1f}" for name in table.index]
        table.columns.name = None
        return table

    def __repr__(self) -> str:
        legend = "± half the 95% interval over users; * differs from the best, p < 0.05 after Holm's correction"
        return f"{self.table().to_string()}\n{legend}"

    def _repr_html_(self) -> str:
        return self.table().to_html()


def compare(
    models: Mapping[str, Recommender],
    train: Any,
    test: Any,
    metrics: Sequence[str] = DEFAULT,
    *,
    paired_test: Literal["bootstrap", "t"] = "bootstrap",
    random_state: int = 0,
    **options: Any,
) -> Comparison:
    """Fit each model on `train` (in place), evaluate it on `test`, and test differences from the best, user by user.

    `options` go to `evaluate`. The p-values of each metric are corrected for the number of models (Holm, 1979).
    """
    if not models:
        raise ParameterError("compare needs at least one model")
    results: dict[str, Result] = {}
    seconds: dict[str, float] = {}
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(train)
        seconds[name] = time.perf_counter() - start
        results[name] = evaluate(model, test, metrics, random_state=random_state, **options)
    return Comparison(results, p_values(results, paired_test, random_state), seconds)


def p_values(results: Mapping[str, Result], paired_test: str, random_state: int) -> pd.DataFrame:
    """Corrected p-values (models x metrics) of each model's difference from the best of the metric."""
    columns = list(next(iter(results.values())).per_user.columns)
    table = pd.DataFrame(np.nan, index=list(results), columns=columns)
    for metric in columns:
        best = max(results, key=lambda name: results[name][metric])
        others = [name for name in results if name != best]
        raw = [
            difference_p(results[best].per_user[metric] - results[o].per_user[metric], paired_test, random_state)
            for o in others
        ]
        table.loc[others, metric] = holm(np.array(raw))
    return table


def difference_p(differences: pd.Series, paired_test: str, random_state: int) -> float:
    """Two-sided p-value of paired differences (U,) having mean 0."""
    values = differences.to_numpy(np.float64)
    if not values.any():
        return 1.0
    if paired_test == "t":
        return float(stats.ttest_1samp(values, 0).pvalue)
    means = bootstrap_means((values - values.mean())[:, None], 2000, random_state)[:, 0]
    return float((1 + np.count_nonzero(np.abs(means) >= abs(values.mean()))) / 2001)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction of p-values (M,)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected
