"""Metrics by name: "ndcg@10" is the function `ndcg` at k = 10."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recsys.errors import ParameterError
from recsys.metrics import beyond_accuracy, classification, ranking, rating

Kind = Literal["ranking", "lists", "rating", "label"]


@dataclass(frozen=True)
class Metric:
    """A metric and its cut-off. `kind` says what the function is given: rankings, lists, ratings or labels."""

    name: str
    kind: Kind
    function: Callable[..., Any]
    k: int | None = None
    greater_is_better: bool = True


RANKING: Mapping[str, Callable[..., Any]] = {
    "precision": ranking.precision,
    "recall": ranking.recall,
    "hit": ranking.hit,
    "f1": ranking.f1,
    "mrr": ranking.mrr,
    "map": ranking.average_precision,
    "ndcg": ranking.ndcg,
}
LISTS: Mapping[str, Callable[..., Any]] = {
    "coverage": beyond_accuracy.coverage,
    "gini": beyond_accuracy.gini,
    "entropy": beyond_accuracy.entropy,
    "novelty": beyond_accuracy.novelty,
    "avg_popularity": beyond_accuracy.average_popularity,
}
RATING: Mapping[str, Callable[..., Any]] = {"rmse": rating.rmse, "mae": rating.mae}
LABEL: Mapping[str, Callable[..., Any]] = {
    "auc": classification.auc,
    "logloss": classification.logloss,
    "brier": classification.brier,
    "ece": classification.ece,
    "gauc": classification.gauc,
}
SMALLER_IS_BETTER = ("rmse", "mae", "logloss", "brier", "ece", "gini", "avg_popularity")


def parse(name: str | Metric) -> Metric:
    """The metric of a name; an unknown one is refused with the names there are."""
    if isinstance(name, Metric):
        return name
    match = re.fullmatch(r"([a-z0-9_]+?)(?:@(\d+))?", name)
    stem, cut = match.groups() if match else (name, None)
    tables: tuple[tuple[Kind, Mapping[str, Callable[..., Any]]], ...] = (
        ("ranking", RANKING),
        ("lists", LISTS),
        ("rating", RATING),
        ("label", LABEL),
    )
    for kind, table in tables:
        if stem in table:
            cuts = kind in ("ranking", "lists")
            if cuts and (cut is None or int(cut) < 1):
                raise ParameterError(f"metric {name!r} needs a cut-off of at least 1, as in {stem + '@10'!r}")
            if not cuts and cut is not None:
                raise ParameterError(f"metric {name!r} has no cut-off; write {stem!r}")
            return Metric(name, kind, table[stem], int(cut) if cut else None, stem not in SMALLER_IS_BETTER)
    known = [*(f"{stem}@k" for stem in (*RANKING, *LISTS)), *RATING, *LABEL]
    raise ParameterError(f"there is no metric {name!r}; there are {', '.join(known)}")
