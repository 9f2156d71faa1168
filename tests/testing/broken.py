"""Recommenders that each break one promise, the check that must notice, and words that its message must hold."""

import random
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from recsys import BPR, DeepFM, Recommender
from recsys.base import Query
from recsys.data import Dataset
from recsys.errors import DataError, ParameterError
from recsys.params import Positive, PositiveInt
from tests.testing.together import Growing, Together

CAUGHT: list[tuple[type[Recommender], str, tuple[str, ...]]] = []
"""Model, name of the check, words."""


def caught_by(check: str, *words: str) -> Callable[[type[Recommender]], type[Recommender]]:
    """Enter a broken model into the table."""

    def enter(model: type[Recommender]) -> type[Recommender]:
        CAUGHT.append((model, check, words))
        return model

    return enter


# -- hyperparameters ---------------------------------------------------------------------------------------------------


@caught_by("constructor", "sets cache", "no hyperparameters")
class SetsStateInConstructor(Together):
    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.cache: dict[str, float] = {}


@caught_by("hyperparameters_are_documented", "without a docstring", "width")
class DocumentsNothing(Together):
    width: Positive = 2.0


@caught_by("annotations_are_hyperparameters", "reads_history became a hyperparameter", "ClassVar")
class ForgetsClassVar(Together):
    reads_history: bool = True
    """Whether it reads histories."""


@caught_by("params_round_trip", "clone(smoothing=2.0) has 1.0")
class ClonesDefaults(Together):
    def clone(self, **changes: Any) -> Any:
        return type(self)()


@caught_by("repr_round_trips", "does not stand for the model's hyperparameters")
class ShowsAnother(Together):
    smoothing: Positive = 3.0
    """Users that an item has in addition."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(smoothing=1.0)"


@caught_by("bounds_name_the_hyperparameter", "does not name smoothing")
class RefusesWithoutNames(Together):
    def _check(self, name: str, value: object) -> None:
        try:
            super()._check(name, value)
        except ParameterError:
            raise ParameterError("a value is not allowed") from None


@caught_by("set_params_is_all_or_nothing", "has changed some hyperparameters")
class SetsSome(Together):
    def set_params(self, **parameters: Any) -> Any:
        for name, value in parameters.items():
            super().set_params(**{name: value})
        return self


# -- fitting -----------------------------------------------------------------------------------------------------------


@caught_by("unfitted_use_is_refused", "predict before fit raises nothing", "NotFittedError")
class AnswersUnfitted(Together):
    def predict(self, users: Any, items: Any = None) -> np.ndarray:
        return super().predict(users, items) if self.is_fitted else np.zeros(len(users), np.float32)


@caught_by("fit_returns_self", "fit does not return the model")
class ReturnsNothing(Together):
    def fit(self, data: Any, *, validation_data: Any = None) -> Any:
        super().fit(data, validation_data=validation_data)


@caught_by("fit_keeps_hyperparameters", "smoothing from 1.0 to 2.0")
class ChangesHyperparameters(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.smoothing = 2 * self.smoothing
        super()._fit(data, validation)


@caught_by("fit_keeps_hyperparameters", "leaves n_rows", "end in _")
class LeavesLooseNames(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.n_rows = len(data)


@caught_by("fit_keeps_the_data", "changes the item_codes of the data set")
class ChangesTheData(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        data.item_codes.sort()


@caught_by("fit_keeps_the_data", "changes the bare frame")
class AddsToTheFrame(Together):
    def fit(self, data: Any, *, validation_data: Any = None) -> Any:
        if isinstance(data, pd.DataFrame):
            data["rating"] = 1.0
        return super().fit(data, validation_data=validation_data)


@caught_by("same_seed_same_model", "two fits with one random_state differ", "up to")
class DrawsUnseeded(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.weights_ = self.weights_ + np.random.default_rng().random(self.weights_.shape, np.float32)


@caught_by("refit_forgets", "something of the first fit is left")
class KeepsStateAfterRefit(Together):
    def fit(self, data: Any, *, validation_data: Any = None) -> Any:
        earlier = self.weights_ if self.is_fitted else 0
        super().fit(data, validation_data=validation_data)
        self.weights_ = self.weights_ + earlier
        return self


@caught_by("global_rng_is_untouched", "fit moves the global random state of NumPy")
class MovesTheGlobalRng(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        np.random.random()  # noqa: NPY002


@caught_by("global_rng_is_untouched", "predict moves the global random state of Python and torch")
class MovesTheGlobalRngLater(Together):
    def predict(self, users: Any, items: Any = None) -> np.ndarray:
        random.random()
        torch.rand(1)
        return super().predict(users, items)


@caught_by("failed_fit_leaves_the_model", "fit on an empty frame raised, but has changed the model")
class ClearsBeforeItReads(Together):
    def fit(self, data: Any, *, validation_data: Any = None) -> Any:
        self.__dict__.pop("frame_kind_", None)
        return super().fit(data, validation_data=validation_data)


@caught_by("row_order_changes_nothing", "predict depends on the order of its rows")
class CountsItsRows(Together):
    def predict(self, users: Any, items: Any = None) -> np.ndarray:
        scores = super().predict(users, items)
        return (scores + np.arange(len(scores))).astype(np.float32)


@caught_by("row_order_changes_nothing", "depends on who else is asked for")
class ScalesByTheBatch(Together):
    def _score_items(self, query: Query) -> np.ndarray:
        return super()._score_items(query) * len(query)


@caught_by("shuffled_frames_change_nothing", "shuffling a frame", "changes the model")
class ReadsTheFramesOrder(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        if data.roles.item_features is not None:
            order = self.items_.encode(data.roles.item_features["item_id"].to_numpy())
            self.weights_ = self.weights_ + np.argsort(order)[None].astype(np.float32)


@caught_by("relabeled_ids_change_nothing", "relabeling users and items changes the scores")
class ScoresByTheId(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.weights_ = self.weights_ * np.array([len(str(one)) for one in data.items.ids], np.float32)


@caught_by("one_user", "data of one user", "NaN or infinity")
class DividesByTheOtherUsers(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.weights_ = self.weights_ / np.float32(len(np.unique(data.user_codes)) - 1)


@caught_by("one_item", "data of one item", "NaN or infinity")
class DividesByTheOtherItems(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.weights_ = self.weights_ / np.float32(len(np.unique(data.item_codes)) - 1)


@caught_by("one_row", "data of one row is refused without a word")
class RefusesOneRowSilently(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if len(data) == 1:
            raise DataError
        super()._fit(data, validation)


@caught_by("repeated_rows", "repeated rows", "NaN or infinity")
class TripsOverRepeats(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        if data.report().repeated:
            self.weights_ = self.weights_ + np.float32(np.nan)


@caught_by("partial_fit", "partial_fit changes the codes of known ids")
class GrowsAtTheFront(Growing):
    def _partial_fit(self, data: Dataset) -> None:
        super()._partial_fit(data)
        self.items_ = type(self.items_)(self.items_.ids[::-1])


@caught_by("partial_fit", "partial_fit does not learn a new user")
class GrowsByItemsAlone(Growing):
    def _absorb(self, data: Dataset) -> None:
        users, history = self.users_, self.history_
        super()._absorb(data)
        self.users_, self.history_ = users, history


@caught_by("validation_data_is_accepted", "NaN or infinity")
class LosesItselfInValidation(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        if validation is not None:
            self.weights_ = self.weights_ + np.float32(np.inf)


# -- training ----------------------------------------------------------------------------------------------------------


@caught_by("training_log", "fit leaves no training_log_")
class LogsNothing(Together):
    epochs: PositiveInt = 2
    """Passes over nothing."""


@caught_by("training_log", "has the epochs [1, 2, 3] of 2")
class LogsTooMuch(Together):
    epochs: PositiveInt = 2
    """Passes over nothing."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.training_log_ = pd.DataFrame({"epoch": [1, 2, 3], "loss": 1.0, "seconds": 0.0})


@caught_by("silence", "prints 'fitting'")
class Talks(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        sys.stderr.write("fitting")


@caught_by("factors", "item_factors_ has the shape (8, 41), not (41, 8)")
class LeavesColumns(BPR):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.item_factors_ = self.item_factors_.T


# -- columns -----------------------------------------------------------------------------------------------------------


@caught_by("missing_role_is_named", "fit without item_features", "does not name item features")
class NeedsWithoutSayingSo(Together):
    needs: ClassVar[tuple[str, ...]] = ("item_features",)

    def fit(self, data: Any, *, validation_data: Any = None) -> Any:
        try:
            return super().fit(data, validation_data=validation_data)
        except DataError:
            raise DataError("something is missing") from None


@caught_by("missing_columns_are_named", "predict without user_id raises KeyError")
class ReadsColumnsItself(Together):
    def predict(self, users: Any, items: Any = None) -> np.ndarray:
        self._check_fitted()
        return super().predict(users["user_id"], users["item_id"]) if items is None else super().predict(users, items)


@caught_by("renamed_columns_change_nothing", "headed user_id and item_id")
class KnowsOneName(Together):
    def recommend(self, *arguments: Any, **options: Any) -> Any:
        lists = super().recommend(*arguments, **options)
        return lists.rename(columns={"person": "user_id", "film": "item_id"}) if "person" in lists else lists


@caught_by("field_data", "field_data ends in")
class ClaimsFieldData(Together):
    reads_field_data: ClassVar[bool] = True
    shape: ClassVar[Any] = "click"


@caught_by("ids_keep_their_dtype", "ids that were int32", "int64")
class WidensIds(Together):
    def recommend(self, *arguments: Any, **options: Any) -> Any:
        lists = super().recommend(*arguments, **options)
        return lists.astype({"item_id": "int64"}) if "int32" in str(lists.dtypes.get("item_id")) else lists


@caught_by("context", "recommend(context=) does not agree with predict")
class IgnoresTheContext(DeepFM):
    def _score_items(self, query: Query) -> np.ndarray:
        return super()._score_items(Query(query.users, query.history))


@caught_by("context_is_refused", "context= raises nothing")
class SwallowsTheContext(Together):
    def recommend(self, *arguments: Any, context: Any = None, **options: Any) -> Any:
        return super().recommend(*arguments, **options)
