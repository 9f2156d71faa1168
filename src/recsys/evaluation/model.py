"""How good a model's lists and predictions are on data it has not seen."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.base import Recommender
from recsys.data import Dataset
from recsys.errors import DataError, ParameterError, UnsupportedError
from recsys.evaluation.full import Ties, Unknown, full_figures
from recsys.evaluation.result import Figures, Result
from recsys.evaluation.sampled import sampled_figures, sampled_name
from recsys.evaluation.truth import find_truth, refuse_ungraded
from recsys.metrics import Metric, parse_all
from recsys.request import check_choice, check_count

DEFAULT = ("ndcg@10", "recall@20")
Candidates = Literal["full"] | tuple[Literal["sampled"], int]


def evaluate(
    model: Recommender,
    test: Any,
    metrics: str | Metric | Sequence[str | Metric] = DEFAULT,
    *,
    k: int | Sequence[int] | None = None,
    candidates: Candidates = "full",
    history: Any = None,
    relevance_threshold: float | None = None,
    exclude_cold_items: bool = False,
    on_unknown: Unknown = "skip",
    ties: Ties = "index",
    item_vectors: ArrayLike | None = None,
    random_state: int = 0,
) -> Result:
    """Figures of a fitted model on test interactions, a `Dataset` or a frame.

    `metrics` are names as in `recsys.metrics`: "ndcg@10", "map@10(norm=relevant)", "rmse"; one without its cut-off is
    taken at each `k`. Ranking metrics are means over users with a relevant test item: one labeled 1, one rated at least
    `relevance_threshold`, else any. Items seen in training are neither recommended nor relevant. Items that the model
    does not know stay relevant unless `exclude_cold_items`. Users it does not know have empty lists, which count 0, or
    popular ones; with a `history`, a frame or `Dataset`, all users are known by that alone (`split.by_user`).

    Equal scores go to the smaller item code; `ties="average"` gives expectations over their order instead. With
    `candidates=("sampled", n)` each relevant item is ranked among n items, drawn without repetition from those that
    the user has not interacted with, ties against it, and a user's figure is the mean over the relevant items: such
    figures are named `ndcg@10(sampled-100)` and compare with their like only.

    Catalog metrics ("coverage@10") are figures of the evaluated users' lists; "ild@10" needs `item_vectors` (I, D) in
    the order of the model's items. Rating and label metrics go over all test rows: "auc" is that of labels, and
    "ranking_auc" that of a user's relevant items among all unseen ones. Scores that are NaN are refused.
    """
    model._check_fitted()
    name = type(model).__name__
    check_choice(f"evaluate({name})", "on_unknown", on_unknown, ("skip", "popular"))
    check_choice(f"evaluate({name})", "ties", ties, ("index", "average"))
    n_sampled = sample_size(name, candidates)
    data = Dataset.wrap(test)
    wanted = parse_all(metrics, k)
    ranked = [metric for metric in wanted if metric.kind in ("ranking", "scores", "lists")]
    counts = {"rows": len(data)}
    users: NDArray[Any] = np.empty(0)
    found: Figures = {}
    if ranked:
        model._check_ranks()
        truth = find_truth(model, data, history, relevance_threshold, exclude_cold_items)
        refuse_ungraded(ranked, truth.gains is not None)
        users, counts = truth.ids, counts | truth.counts
        if n_sampled is None:
            vectors = check_vectors(item_vectors, len(model.items_))
            found |= full_figures(model, truth, ranked, on_unknown, ties, vectors)
        else:
            found |= sampled_figures(model, truth, ranked, n_sampled, ties, random_state)
    found |= row_figures(model, data, [metric for metric in wanted if metric.kind in ("rating", "label")])
    # In the order in which they were asked for.
    names = [sampled_name(m, n_sampled) if m in ranked else m.name for m in wanted]
    return Result.of({one: found[one] for one in names}, users, str(data.user_col), counts)


def sample_size(model: str, candidates: object) -> int | None:
    """Number of sampled candidates, None for the whole catalog."""
    if candidates == "full":
        return None
    if not isinstance(candidates, tuple) or len(candidates) != 2 or candidates[0] != "sampled":
        raise ParameterError(f'evaluate: candidates={candidates!r} is not allowed; give "full" or ("sampled", 100)')
    return check_count(f"evaluate({model})", "candidates", candidates[1])


def check_vectors(vectors: ArrayLike | None, n_items: int) -> NDArray[np.float64] | None:
    """Vectors of the items as float64 (I, D)."""
    if vectors is None:
        return None
    table = np.asarray(vectors, np.float64)
    if table.ndim != 2 or len(table) != n_items or not np.isfinite(table).all():
        raise DataError(
            f"item_vectors must be finite and ({n_items}, D), a row an item of the model; got {table.shape}"
        )
    return table


def row_figures(model: Recommender, data: Dataset, metrics: Sequence[Metric]) -> Figures:
    """Figures of predictions beside the test rows' ratings or labels."""
    found: Figures = {}
    predicted = model.predict(data.to_frame()) if metrics else np.empty(0)
    for metric in metrics:
        true = data.ratings if metric.kind == "rating" else data.labels
        if true is None:
            hint = '; for that of each user\'s ranking use "ranking_auc"' if metric.name == "auc" else ""
            raise UnsupportedError(f"{metric.name} needs a {metric.kind} column in the test data{hint}")
        users = (data.user_codes,) if metric.by_user else ()
        found[metric.name] = metric.function(true, predicted, *users)
    return found
