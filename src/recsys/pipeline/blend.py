"""Blend: one list from the scores of several models."""

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from recsys import persistence
from recsys.base import Query, Recommender
from recsys.data import Dataset, Features
from recsys.errors import DataError, NotFittedError, ParameterError, UnsupportedError
from recsys.evaluation.full import list_figure, refuse_nan
from recsys.evaluation.truth import Truth, find_truth, refuse_ungraded
from recsys.kernels.memory import keep_freed_blocks
from recsys.kernels.mixes import top_k_mixes
from recsys.lists import Seen, block_rows
from recsys.metrics import Metric, Rankings, parse
from recsys.params import NonNegative, OfClassOrSelf, Positive
from recsys.pipeline.fusion import Method, comparable, contenders, weight_grid, weighted
from recsys.training import is_first

OF_ALL = ("history", "context", "partial_fit")
"""What a blend can do if all its models can."""
USERS_AT_ONCE = 512
"""Users whose lists by all weightings are made together."""


class Blend(Recommender):
    """The weighted sum of several models' scores, each made comparable over the catalog for each user.

    `Blend([SASRec(...), EASE(...)]).fit(train, validation_data=validation)` fits all models on the same data and picks
    weights by `monitor` on the validation data. What is compared are the scores of the whole catalog, whatever a list
    leaves out later: so `predict` says what `recommend` ranks by. Scoring costs the models' own and O(I) a user, by
    reciprocal ranks O(I log I). Histories and contexts are served where all models read them, and `partial_fit` goes on
    where all models do, with the weights as they are. A model's score of -inf bars an item unless its weight is 0.
    """

    reads_history: ClassVar[bool] = True
    reads_events: ClassVar[bool] = True

    models: tuple[Recommender, ...] = ()
    """The models to blend, two or more."""
    method: Method = "zscore"
    """How scores are made comparable: by each user's mean and deviation, by the least and the largest, or by ranks."""
    weights: tuple[NonNegative, ...] | None = None
    """A weight a model; None picks them on `validation_data`, and makes all alike where there is none."""
    rrf_k: Positive = 60.0
    """For "rrf": what is added to ranks; the larger, the less the first ones stand out."""
    prefit: bool = False
    """Whether the models are fitted already, on the same users and items, and are taken as they are."""
    monitor: str = "ndcg@10"
    """Metric of the validation data that picks the weights: one of lists with a cut-off."""

    parts_: tuple[Recommender, ...]
    weights_: tuple[float, ...]
    trials_: Any

    def __init__(self, models: Any = (), **parameters: Any) -> None:
        given = isinstance(models, list | tuple)
        # A saved blend gives its models as plain values.
        models = tuple(told(one, {}) if isinstance(one, dict) else one for one in models) if given else models
        super().__init__(**parameters, models=models)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the data must have for all models."""
        return tuple(sorted({role for model in self.models for role in model.needs}))

    @property
    def knows_users(self) -> bool:  # type: ignore[override]
        """Whether a fitted user is more to a model than the history."""
        return any(model.knows_users for model in self.models)

    @property
    def reads_context(self) -> bool:  # type: ignore[override]
        """Whether all models read contexts."""
        return all(model.reads_context for model in self.models)

    @property
    def shape(self) -> Literal["top-n", "next-item"]:  # type: ignore[override]
        """What the models are for: scores that are comparable are neither ratings nor probabilities."""
        return "next-item" if {model.shape for model in self.models} == {"next-item"} else "top-n"

    @OfClassOrSelf
    def supports(self: Any, feature: str) -> bool:
        """Whether the blend can do a thing: `history`, `context` and `partial_fit` if all its models can."""
        able = bool(super().supports(feature))
        return able and (isinstance(self, type) or feature not in OF_ALL or not self._unable(feature))

    def _serves_histories(self) -> bool:
        return not self._unable("history")

    def _unable(self, feature: str) -> list[Recommender]:
        return [model for model in self.models if not model.supports(feature)]

    def _cannot(self, what: str) -> UnsupportedError:
        unable = self._unable(what) if what in OF_ALL else []
        if not unable:
            return super()._cannot(what)
        return UnsupportedError(f"Blend: {unable[0]!r} has no meaning for {what}; give models that all have it")

    # -- fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self._check_models()
        metric = self._metric() if self.weights is None and validation is not None else None
        if self.prefit:
            # Copies, which keep what they have learned when the caller fits the models anew.
            self.parts_ = tuple(map(copy, self.models))
            self._check_parts()
        else:
            self.parts_ = tuple(model.clone().fit(data, validation_data=validation) for model in self.models)
            self._share_history()
        n_models = len(self.models)
        self.trials_ = None
        self.weights_ = (1 / n_models,) * n_models if self.weights is None else self.weights
        if metric is not None and validation is not None:
            self._pick_weights(validation, metric)

    def _check_models(self) -> None:
        if len(self.models) < 2:
            raise ParameterError(f"Blend: models={list(self.models)!r} are {len(self.models)}; give two or more")
        mute = [model for model in self.models if not model.ranks]
        if mute:
            raise ParameterError(f"Blend: {mute[0]!r} ranks nothing; give models that recommend")
        if self.weights is not None and (len(self.weights) != len(self.models) or sum(self.weights) == 0):
            raise ParameterError(
                f"Blend: weights={self.weights} is not allowed; give one for each of the {len(self.models)} models, "
                "not all of them 0"
            )

    def _check_parts(self) -> None:
        """Refuse models that are not fitted, or on other users and items."""
        for model in self.parts_:
            if not model.is_fitted:
                raise NotFittedError(f"Blend: prefit=True, but {model!r} is not fitted; fit it, or give prefit=False")
            named = {name: (getattr(model, name), getattr(self, name)) for name in ("users_", "items_")}
            other = [
                n for n, (theirs, ours) in named.items() if theirs is None or not np.array_equal(theirs.ids, ours.ids)
            ]
            if model.reads_context and encoding(model.context_) != encoding(self.context_):
                other.append("context_")
            if other:
                raise DataError(
                    f"Blend: {model!r} was fitted on other {other[0].strip('_')} than this data has; fit all models on "
                    "the data that the blend is fitted on"
                )

    def _share_history(self) -> None:
        """Have one history for all: those of models that were fitted on the same rows are alike, and large."""
        for part in self.parts_:
            part.history_ = self.history_
            if isinstance(part, Blend) and not part.prefit:
                part._share_history()

    def _partial_fit(self, data: Dataset) -> None:
        self.parts_ = tuple(copy(part).partial_fit(data) for part in self.parts_)
        if not self.prefit:
            self._share_history()

    def _metric(self) -> Metric:
        metric = parse(self.monitor)
        if metric.kind != "ranking" or metric.k is None:
            raise ParameterError(f'Blend: monitor={self.monitor!r} is no metric of lists; give one such as "ndcg@10"')
        return metric

    def _pick_weights(self, validation: Dataset, metric: Metric) -> None:
        """Try weights on the lists of the validation users, whose figures are those of `evaluate`, a block at a time."""
        truth = find_truth(self, validation, None, None, exclude_cold_items=False)
        refuse_ungraded([metric], truth.gains is not None)
        keep_freed_blocks()
        grid = weight_grid(len(self.parts_))
        totals, n_known = np.zeros(len(grid)), np.zeros(len(grid))
        step = min(USERS_AT_ONCE, block_rows(len(self.items_)))
        for start in range(0, len(truth), step):
            rows = np.arange(start, min(start + step, len(truth)))
            lists = np.full((len(grid), len(rows), int(metric.k or 0)), -1, np.int64)
            served = truth.served[rows]
            lists[:, served] = self._lists(truth.query[rows[served]], grid, lists.shape[2])
            figures = list_figure(metric, rankings_of(lists, truth, rows)).reshape(len(grid), -1)
            totals += np.nansum(figures, axis=1)
            n_known += np.count_nonzero(~np.isnan(figures), axis=1)
        means = totals / np.maximum(n_known, 1)
        best = int(np.argmax(means) if metric.greater_is_better else np.argmin(means))
        self.weights_ = tuple(grid[best].tolist())
        self.trials_ = np.column_stack([grid, means])

    def _lists(self, query: Query, grid: NDArray[np.float64], k: int) -> NDArray[np.int64]:
        """The k best unseen items by each weighting, (W, B, k) codes padded with -1."""
        tables = self._tables(query)
        for part, table in zip(self.parts_, tables, strict=True):
            refuse_nan(part, table)
        row, items = contenders(tables, k, Seen.of(query.history, len(self.items_), None))
        indptr = np.searchsorted(row, np.arange(len(query) + 1))
        scores = np.stack([table[row, items] for table in tables])
        return top_k_mixes(scores, items, indptr, grid.astype(np.float32), k, self._threads())

    # -- scores ------------------------------------------------------------------------------------------------------

    def _tables(self, query: Query) -> list[NDArray[np.float32]]:
        """Scores of all items by each model, made comparable, (B, I) each."""
        return [comparable(part._score_items(query), self.method, self.rrf_k) for part in self.parts_]

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return weighted(self._tables(query), self.weights_)

    # -- saving ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the blend and its models to a directory; of several processes the first one does."""
        self._check_fitted()
        if is_first():
            persistence.save(Path(path), type(self).__name__, *state_of(self))

    def _restore(self, fitted: dict[str, Any]) -> None:
        super()._restore(fitted | {"parts_": tuple(told(one, fitted) for one in fitted["parts_"])})
        if self.prefit:
            self.models = tuple(map(copy, self.parts_))


def rankings_of(lists: NDArray[np.int64], truth: Truth, rows: NDArray[np.int64]) -> Rankings:
    """Lists (W, B, k) of each weighting, one behind the other, beside what the users of consecutive rows wanted."""
    n_trials, (first, stop) = len(lists), truth.indptr[[rows[0], rows[-1] + 1]]
    wanted = np.tile(np.diff(truth.indptr)[rows], n_trials)
    gains = None if truth.gains is None else np.tile(truth.gains[first:stop], n_trials)
    indptr = np.append(0, np.cumsum(wanted))
    return Rankings(lists.reshape(len(wanted), -1), indptr, np.tile(truth.items[first:stop], n_trials), gains)


def encoding(context: Features | None) -> list[Any]:
    """What the codes and the numbers of context columns mean."""
    columns = () if context is None else context.columns
    return [(column.name, column.kind, column.mean, column.scale, column.labels.tolist()) for column in columns]


# -- models as plain values --------------------------------------------------------------------------------------------


def state_of(model: Recommender) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyperparameters and fitted attributes, with the models of a blend as plain values."""
    parameters = model.get_params()
    fitted = {name: value for name, value in model.__dict__.items() if name.endswith("_")}
    if isinstance(model, Blend):
        # Models that are taken as they are, are the parts.
        kept = () if model.prefit and model.is_fitted else model.models
        parameters["models"] = tuple(told_of(one, {}) for one in kept)
        if model.is_fitted:
            fitted["parts_"] = tuple(told_of(part, fitted) for part in model.parts_)
    return parameters, fitted


def told_of(model: Recommender, around: Mapping[str, Any]) -> dict[str, Any]:
    """A model as plain values: its class by name, its hyperparameters, and what it has learned, if it has.

    `around` are the attributes of the blend that it is a part of; what is the same object there is told once.
    """
    parameters, fitted = state_of(model)
    shared = tuple(name for name, value in fitted.items() if name in around and value is around[name])
    own = {name: value for name, value in fitted.items() if name not in shared}
    return {"model": type(model).__name__, "parameters": parameters, "fitted": own, "shared": shared}


def told(values: Mapping[str, Any], around: Mapping[str, Any]) -> Recommender:
    """The model that `told_of` tells of."""
    name = values.get("model")
    if name not in Recommender.known:
        raise ParameterError(f"Blend: {name!r} is no known model; import the module that defines it first")
    model = Recommender.known[name](**values["parameters"])
    fitted = {name: around[name] for name in values["shared"]} | values["fitted"]
    if fitted:
        persistence.check_fitted(fitted)
        model._restore(fitted)
    return model
