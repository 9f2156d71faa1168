"""Several models on one split, with intervals and paired tests: is the difference real?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from recsys.base import Recommender
from recsys.data import Dataset
from recsys.errors import ParameterError
from recsys.evaluation import DEFAULT, Candidates, Result, Ties, Unknown, evaluate
from recsys.evaluation.result import bootstrap_means
from recsys.metrics import Metric, greater_is_better
from recsys.request import check_choice

PairedTest = Literal["bootstrap", "t"]
N_DRAWS = 2000
"""Draws of the bootstrap test: no p-value is below 1 / (N_DRAWS + 1)."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results by model name, with `p_values` (models x metrics) of each model's difference from the metric's best.

    NaN is the best itself, or a metric that has no figure a user. `seconds` are those of each `fit`.
    """

    results: dict[str, Result]
    p_values: pd.DataFrame
    seconds: dict[str, float]

    def to_frame(self) -> pd.DataFrame:
        """A row a model and metric: value, 95% interval, corrected p-value of the difference from the best."""
        tables = [result.to_frame().assign(model=name) for name, result in self.results.items()]
        frame = pd.concat(tables, ignore_index=True)
        p = self.p_values.reindex(columns=list(dict.fromkeys(frame["metric"])))
        frame["p_value"] = [float(p.loc[row.model, row.metric]) for row in frame.itertuples()]
        return frame[["model", "metric", "value", "low", "high", "p_value"]]

    def table(self) -> pd.DataFrame:
        """A row a model, a column a metric: value and half the interval, with * where it is worse than the best at 5%."""
        frame = self.to_frame()
        frame["cell"] = [
            f"{r.value:.4f}"
            + ("" if np.isnan(r.low) else f" ±{(r.high - r.low) / 2:.4f}")
            + ("*" if r.p_value < 0.05 else "")
            for r in frame.itertuples()
        ]
        metrics = list(next(iter(self.results.values())))
        table = frame.pivot(index="model", columns="metric", values="cell").loc[list(self.results), metrics]
        table["fit s"] = [f"{self.seconds[name]:.1f}" for name in table.index]
        table.columns.name = None
        return table

    def __repr__(self) -> str:
        return f"{self.table().to_string()}\n{LEGEND}"

    def _repr_html_(self) -> str:
        return f"{self.table().to_html()}<small>{LEGEND}</small>"


LEGEND = "± half the 95% interval over users; * differs from the best, p < 0.05 after Holm's correction"


def compare(
    models: Mapping[str, Recommender],
    train: Any,
    test: Any,
    metrics: str | Metric | Sequence[str | Metric] = DEFAULT,
    *,
    validation_data: Any = None,
    paired_test: PairedTest = "bootstrap",
    k: int | Sequence[int] | None = None,
    candidates: Candidates = "full",
    history: Any = None,
    relevance_threshold: float | None = None,
    exclude_cold_items: bool = False,
    on_unknown: Unknown = "skip",
    ties: Ties = "index",
    item_vectors: ArrayLike | None = None,
    random_state: int = 0,
) -> Comparison:
    """Fit each model on `train` (in place), evaluate it on `test`, and test the differences user by user.

    Of each metric, all pairs of models are tested, by a bootstrap over users or a t-test of the paired differences, and
    the p-values corrected for the number of pairs (Holm, 1979): the best is known only after looking, so a comparison
    with it stands for one with any. The other arguments are those of `evaluate`.
    """
    if not models:
        raise ParameterError("compare: models={} is not allowed; give at least one")
    check_choice("compare", "paired_test", paired_test, get_args(PairedTest))
    known, held_out = Dataset.wrap(train), Dataset.wrap(test)
    results: dict[str, Result] = {}
    seconds: dict[str, float] = {}
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(known, validation_data=validation_data)
        seconds[name] = time.perf_counter() - start
        results[name] = evaluate(
            model,
            held_out,
            metrics,
            k=k,
            candidates=candidates,
            history=history,
            relevance_threshold=relevance_threshold,
            exclude_cold_items=exclude_cold_items,
            on_unknown=on_unknown,
            ties=ties,
            item_vectors=item_vectors,
            random_state=random_state,
        )
    return Comparison(results, p_values(results, paired_test, random_state), seconds)


def p_values(results: Mapping[str, Result], paired_test: PairedTest, random_state: int) -> pd.DataFrame:
    """Corrected p-values (models x metrics) of each model's difference from the best of the metric."""
    metrics = list(next(iter(results.values())).per_user.columns)
    table = pd.DataFrame(np.nan, index=pd.Index(list(results)), columns=pd.Index(metrics))
    pairs = list(combinations(results, 2))
    for metric in metrics if pairs else []:
        sign = 1 if greater_is_better(metric) else -1
        best = max(results, key=lambda name: np.nan_to_num(sign * results[name][metric], nan=-np.inf))
        figures = pd.DataFrame({name: result.per_user[metric] for name, result in results.items()})
        differences = np.column_stack([figures[one] - figures[other] for one, other in pairs])
        for pair, p in zip(pairs, holm(difference_p(differences, paired_test, random_state)), strict=True):
            for one, other in (pair, pair[::-1]):
                if one == best:
                    table.loc[other, metric] = p
    return table


def difference_p(differences: NDArray[np.float64], paired_test: PairedTest, random_state: int) -> NDArray[np.float64]:
    """Two-sided p-values (M,) of the columns of paired differences (U, M) having mean 0; NaN rows are left out.

    NaN for fewer than two users. Users who all differ by the same are taken as they are: p is 1 for 0 and else the
    smallest there is.
    """
    known = ~np.isnan(differences)
    n = known.sum(0)
    means = np.divide(np.where(known, differences, 0).sum(0), n, out=np.full(len(n), np.nan), where=n > 0)
    centered = differences - means
    constant = np.nanmax(np.where(known, np.abs(centered), 0), axis=0, initial=0) < 1e-12
    if paired_test == "t":
        p = np.zeros(len(n))
        for column in np.flatnonzero(~constant & (n > 1)):
            values = differences[known[:, column], column]
            t = values.mean() / (values.std(ddof=1) / np.sqrt(len(values)))
            # Student's distribution itself, because scipy.stats takes half a second to import.
            p[column] = 2 * stdtr(len(values) - 1, -abs(t))
    else:
        drawn = bootstrap_means(centered, N_DRAWS, random_state)
        p = (1 + np.count_nonzero(np.abs(drawn) >= np.abs(means), axis=0)) / (N_DRAWS + 1)
    p[constant & (np.abs(means) < 1e-12)] = 1.0
    p[n < 2] = np.nan
    return p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down correction of p-values (M,); NaN stays NaN and is not counted."""
    corrected = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected
