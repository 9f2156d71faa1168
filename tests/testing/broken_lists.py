"""More of `broken`: recommenders that break what is promised of scores, lists, histories and saved models."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from recsys.base import Query
from recsys.data import Dataset
from recsys.errors import DataError
from tests.testing.broken import caught_by
from tests.testing.together import Together

# -- scores ------------------------------------------------------------------------------------------------------------


@caught_by("predict", "predict gives NaN or infinity")
class PredictsNothingNow(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.weights_[3] = np.nan


@caught_by("predict", "predict gives float64, not float32")
class PredictsTooWide(Together):
    def predict(self, users: Any, items: Any = None) -> np.ndarray:
        return super().predict(users, items).astype(np.float64)


@caught_by("predict_is_in_its_units", "predict leaves (1.0, 5.0)")
class ForgetsTheScale(Together):
    shape: ClassVar[Any] = "rating"


@caught_by("unknown_ids_predict_finite", "unknown_ids_predict_finite ends in IndexError")
class TripsOverUnknownIds(Together):
    def predict_codes(self, users: np.ndarray, items: np.ndarray, context: Any = None) -> np.ndarray:
        if (users < 0).any():
            raise IndexError("index -1 is out of bounds")
        return super().predict_codes(users, items, context)


@caught_by("user_without_history", "a user without a history gets 3 of 5 items")
class LeavesOutTheIdle(Together):
    def _score_items(self, query: Query) -> np.ndarray:
        scores = super()._score_items(query)
        scores[query.history.lengths == 0, 3:] = -np.inf
        return scores

    def _score_pairs(self, query: Query, items: np.ndarray) -> np.ndarray:
        return np.maximum(super()._score_pairs(query, items), 0)


@caught_by("similar", "names the one asked about")
class MostLikeItself(Together):
    def similar_items(self, items: Any, k: int = 10) -> Any:
        near = super().similar_items(items, k)
        return near.assign(similar_item_id=near["item_id"])


@caught_by("explain", "not in descending order")
class ExplainsBackwards(Together):
    def explain(self, user: Any, item: Any, k: int = 5) -> Any:
        return super().explain(user, item, k).iloc[::-1]


@caught_by("learns_the_planted_tastes", "does not clearly beat that of Popular")
class LearnsNothing(Together):
    def _score_items(self, query: Query) -> np.ndarray:
        return np.zeros((len(query), len(self.items_)), np.float32)


# -- lists -------------------------------------------------------------------------------------------------------------


class Altering(Together):
    """Base of those that spoil the lists they recommend."""

    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        raise NotImplementedError

    def recommend(self, users: Any = None, k: int = 10, **options: Any) -> Any:
        return self.alter(super().recommend(users, k, **options), {"users": users, "k": k, **options})


@caught_by("lists_are_well_formed", "scores of user 103 are not in descending order")
class ListsUnsorted(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        return lists.assign(score=lists["score"].to_numpy()[::-1])


@caught_by("lists_are_well_formed", "user 100 has an item twice")
class ListsTwice(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        return lists.assign(item_id=lists.groupby("user_id")["item_id"].transform("first"))


@caught_by("lists_are_well_formed", "not 1, 2, 3")
class RanksFromZero(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        return lists.assign(rank=lists["rank"] - 1)


@caught_by("users_come_in_the_order_asked", "serves [106, 115, 127]")
class SortsTheUsers(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        return lists.sort_values(["user_id", "rank"])


@caught_by("recommend_agrees_with_predict", "recommend and predict differ by up to")
class PredictsHalf(Together):
    def predict(self, users: Any, items: Any = None) -> np.ndarray:
        return super().predict(users, items) / np.float32(2)


@caught_by("recommend_agrees_with_predict", "score higher than one in the list")
class SkipsTheBest(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        kept = lists[lists["rank"] > 1]
        return kept.assign(rank=kept["rank"] - 1)


@caught_by("ties_go_to_the_smaller_code", "not in the order of ids")
class TiesGoToTheLarger(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        order = lists.sort_values(["user_id", "score", "item_id"], ascending=[True, False, False])
        return lists.assign(item_id=order["item_id"].to_numpy())


@caught_by("seen_items_are_left_out", "user 100 is recommended item", "which was seen")
class RepeatsTheSeen(Together):
    def recommend(self, users: Any = None, k: int = 10, *, filter_seen: bool = True, **options: Any) -> Any:
        return super().recommend(users, k, filter_seen=False, **options)


@caught_by("candidates_and_exclusions", "exclude_items", "none of the candidates")
class IgnoresExclusions(Together):
    def recommend(self, users: Any = None, k: int = 10, *, exclude_items: Any = None, **options: Any) -> Any:
        return super().recommend(users, k, **options)


@caught_by("k", "k above the catalog gives user 100 10 items")
class ListsTenAtMost(Altering):
    def alter(self, lists: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
        return lists[lists["rank"] <= 10]


@caught_by("k", "recommend(k=0) raises nothing")
class TakesAnyK(Together):
    def recommend(self, users: Any = None, k: Any = 10, **options: Any) -> Any:
        return super().recommend(users, k if isinstance(k, int) and k > 0 else 10, **options)


@caught_by("unknown_users", "an unknown user raises KeyError")
class TripsOverUnknownUsers(Together):
    def recommend(self, users: Any = None, k: int = 10, **options: Any) -> Any:
        for user in () if users is None else users:
            if user not in self.users_.ids:
                raise KeyError(user)
        return super().recommend(users, k, **options)


@caught_by("unknown_users", "on_unknown='popular' serves other items")
class ServesAnything(Together):
    def _popular(self, k: int, allowed: Any) -> Any:
        codes, scores = super()._popular(k, allowed)
        return codes[:, ::-1] * 0 + np.arange(k) + 7, scores


@caught_by("unknown_candidates", "an unknown candidate raises nothing")
class DropsUnknownCandidates(Together):
    def recommend(self, users: Any = None, k: int = 10, *, items: Any = None, **options: Any) -> Any:
        known = None if items is None else [item for item in items if item in self.items_.ids]
        return super().recommend(users, k, items=known, **options)


@caught_by("recommend_is_refused", "recommend raises nothing")
class RecommendsAllTheSame(Together):
    ranks: ClassVar[bool] = False

    def _check_ranks(self) -> None:
        pass


# -- histories ---------------------------------------------------------------------------------------------------------


@caught_by("history_gives_the_users_list", "do not give that user's list")
class RemembersItsUsers(Together):
    def _score_items(self, query: Query) -> np.ndarray:
        scores = super()._score_items(query)
        scores[query.users < 0] = scores[query.users < 0][:, ::-1]
        return scores


@caught_by("history_gives_the_users_list", "once its rows are shuffled")
class ReadsTheLastRow(Together):
    def _score_items(self, query: Query) -> np.ndarray:
        return self.weights_[query.history.last(1)[:, 0]] * (query.history.lengths > 0)[:, None].astype(np.float32)

    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        if isinstance(history, pd.DataFrame):
            history = history.drop(columns="timestamp", errors="ignore")
        return super().recommend(users, k, history=history, **options)


@caught_by("history_filters_what_it_holds", "an item of the history is recommended")
class RepeatsTheHistory(Together):
    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        options = options if history is None else {**options, "filter_seen": False}
        return super().recommend(users, k, history=history, **options)


@caught_by("history_as_lists", "one list of ids differs from a list of lists")
class ReadsOneListBackwards(Together):
    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        if isinstance(history, list) and not isinstance(history[0], list):
            history = history[:1]
        return super().recommend(users, k, history=history, **options)


@caught_by("history_with_unknown_items", "an unknown item in a history raises nothing")
class SkipsUnknownItems(Together):
    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        if history is not None:
            options = {"on_unknown": "skip", **options}
        return super().recommend(users, k, history=history, **options)


@caught_by("empty_history", "an empty history raises nothing")
class DropsEmptyHistories(Together):
    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        if isinstance(history, list):
            history = [one for one in history if one]
        return super().recommend(users, k, history=history, **options)


@caught_by("users_and_history_exclude_each_other", "users= beside history= raises nothing")
class PrefersTheHistory(Together):
    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        return super().recommend(users if history is None else None, k, history=history, **options)


@caught_by("history_is_refused", "history= raises nothing")
class DeniesItsHistories(Together):
    reads_history: ClassVar[bool] = False

    def recommend(self, users: Any = None, k: int = 10, *, history: Any = None, **options: Any) -> Any:
        return super().recommend(users, k, **options)


# -- saved models and frames -------------------------------------------------------------------------------------------


@caught_by("save_and_load", "loses or invents notes_")
class LosesItsNotes(Together):
    def _restore(self, fitted: dict[str, Any]) -> None:
        super()._restore({name: value for name, value in fitted.items() if name != "notes_"})

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.notes_ = "kept"


@caught_by("save_and_load", "a loaded model gives other scores")
class LoadsHalf(Together):
    def _restore(self, fitted: dict[str, Any]) -> None:
        super()._restore({**fitted, "weights_": fitted["weights_"] / 2})


@caught_by("damaged_saves_are_refused", "ends in FileNotFoundError", "model.safetensors")
class SavesInItsOwnFormat(Together):
    def save(self, path: str | Path) -> None:
        Path(path).mkdir()
        np.save(Path(path) / "weights.npy", self.weights_)


@caught_by("saving_over", "saving over a model keeps the old one")
class NeverOverwrites(Together):
    def save(self, path: str | Path) -> None:
        if not (Path(path) / "model.json").exists():
            super().save(path)


@caught_by("saving_over", "saving into a directory of other files raises FileExistsError")
class TripsOverADirectory(Together):
    def save(self, path: str | Path) -> None:
        try:
            super().save(path)
        except DataError:
            raise FileExistsError(path) from None


@caught_by("polars_frames", "gives a frame of pandas")
class AlwaysPandas(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        self.frame_kind_ = "pandas"


@caught_by("arrow_tables", "pyarrow frames give another model")
class FavorsPandas(Together):
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        super()._fit(data, validation)
        if data.frame_kind == "pyarrow":
            self.weights_ = self.weights_ * np.float32(2)
