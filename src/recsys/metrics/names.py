"""Metrics by name: "ndcg@10" is the function `ndcg` at k = 10, "ndcg@10(gain=exp)" the same with an option.

"auc" is that of labels, over all rows of the test data; "gauc" is its mean over users; "ranking_auc" is that of a user's
ranking of the catalog, where the relevant items are the positives and there are no labels.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_type_hints

import numpy as np

from recsys.errors import ParameterError
from recsys.metrics import beyond_accuracy, classification, ranking, rating
from recsys.metrics.rankings import checked_cut
from recsys.params import accepts, allowed

Kind = Literal["ranking", "scores", "lists", "rating", "label"]
Cuts = int | Sequence[int] | None


@dataclass(frozen=True)
class Metric:
    """A metric, its cut-off and how to call it.

    `kind` says what the function is given: "ranking" `(rankings, k)`, or `(rankings)` without a cut-off, "lists"
    `(rankings, k, catalog)`, "scores" `(scores, indptr, relevant)`, "rating" and "label" `(true, predicted)`, followed
    by the rows' users where `by_user` holds.
    """

    name: str
    kind: Kind
    function: Callable[..., Any]
    k: int | None = None
    greater_is_better: bool = True
    by_user: bool = False
    graded: bool = False
    """Whether the figure depends on how relevant an item is, not only on whether it is."""


TABLES: Mapping[Kind, Mapping[str, Callable[..., Any]]] = {
    "ranking": {
        "precision": ranking.precision,
        "recall": ranking.recall,
        "hit": ranking.hit,
        "f1": ranking.f1,
        "mrr": ranking.mrr,
        "map": ranking.average_precision,
        "ndcg": ranking.ndcg,
        "r_precision": ranking.r_precision,
    },
    "scores": {"ranking_auc": ranking.ranking_auc},
    "lists": {
        "coverage": beyond_accuracy.coverage,
        "gini": beyond_accuracy.gini,
        "entropy": beyond_accuracy.entropy,
        "novelty": beyond_accuracy.novelty,
        "avg_popularity": beyond_accuracy.average_popularity,
        "ild": beyond_accuracy.intra_list_distance,
        "serendipity": beyond_accuracy.serendipity,
        "personalization": beyond_accuracy.personalization,
    },
    "rating": {"rmse": rating.rmse, "mae": rating.mae, "fcp": rating.fcp},
    "label": {
        "auc": classification.auc,
        "gauc": classification.gauc,
        "logloss": classification.logloss,
        "brier": classification.brier,
        "ece": classification.ece,
    },
}
SMALLER_IS_BETTER = ("rmse", "mae", "logloss", "brier", "ece", "gini", "avg_popularity")


def parse(name: str | Metric) -> Metric:
    """The metric of a name such as "rmse", "ndcg@10" or "map@10(norm=relevant)"; an unknown one is refused with all
    that there are.
    """
    if isinstance(name, Metric):
        return name
    match = re.fullmatch(r"([a-z0-9_]+?)(?:@(-?\d+))?(?:\((.*)\))?", name)
    stem, cut, written = match.groups() if match else (name, None, None)
    kind = next((kind for kind, table in TABLES.items() if stem in table), None)
    if kind is None:
        known = [f"{one}@k" if has_cut(one) else one for table in TABLES.values() for one in table]
        raise ParameterError(f"there is no metric {name!r}; there are {', '.join(known)}")
    if has_cut(stem) and (cut is None or int(cut) < 1):
        raise ParameterError(f"metric {name!r} needs a cut-off of at least 1, as in {stem + '@10'!r}")
    if not has_cut(stem) and cut is not None:
        raise ParameterError(f"metric {name!r} has no cut-off; write {stem!r}")
    function = TABLES[kind][stem]
    chosen = read_options(name, function, written)
    shown = ", ".join(f"{key}={value}" for key, value in chosen.items())
    return Metric(
        name=stem + (f"@{int(cut)}" if cut else "") + (f"({shown})" if shown else ""),
        kind=kind,
        function=partial(function, **chosen) if chosen else function,
        k=int(cut) if cut else None,
        greater_is_better=stem not in SMALLER_IS_BETTER,
        by_user="users" in inspect.signature(function).parameters,
        graded=chosen.get("gain", "binary") != "binary",
    )


def parse_all(metrics: str | Metric | Sequence[str | Metric], k: Cuts = None) -> list[Metric]:
    """The metrics of one name or of several; a name that lacks its cut-off stands for one metric each of the `k`."""
    names = [metrics] if isinstance(metrics, str | Metric) else list(metrics)
    if not names:
        raise ParameterError("metrics=[] asks for nothing; name at least one, such as 'ndcg@10'")
    cuts = [] if k is None else [checked_cut(one) for one in ([k] if isinstance(k, int | np.integer) else k)]
    found: list[Metric] = []
    for name in names:
        stem, bracket, options = name.partition("(") if isinstance(name, str) else ("", "", "")
        if cuts and "@" not in stem and has_cut(stem):
            found += [parse(f"{stem}@{cut}{bracket}{options}") for cut in cuts]
        else:
            found.append(parse(name))
    return list({metric.name: metric for metric in found}.values())


def greater_is_better(name: str) -> bool:
    """Which way a figure of a result points, by its name."""
    return re.split("[@(]", name)[0] not in SMALLER_IS_BETTER


def has_cut(stem: str) -> bool:
    """Whether a metric has a cut-off."""
    return any(stem in TABLES[kind] for kind in ("ranking", "lists")) and stem != "r_precision"


def read_options(name: str, function: Callable[..., Any], written: str | None) -> dict[str, Any]:
    """Options as they stand in a name, "gain=exp, ideal=k"; one that the function lacks or refuses is named."""
    options: dict[str, Any] = {}
    if written is None:
        return options
    parameters = inspect.signature(function).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    hints = get_type_hints(function)
    for part in written.split(","):
        key, equal, text = (one.strip() for one in part.partition("="))
        if not equal:
            raise ParameterError(f"metric {name!r}: {part!r} is no option; write it as option=value")
        if key not in known:
            raise ParameterError(f"metric {name!r} has no option {key!r}; it has {', '.join(known) or 'none'}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if not accepts(hints[key], value):
            raise ParameterError(f"metric {name!r}: {key}={value!r} is not allowed; give {allowed(hints[key])}")
        options[key] = value
    return options
