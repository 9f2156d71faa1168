"""Models whose scores are known, and what `evaluate` must find for them, by a loop over ids."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from recsys import Dataset
from recsys.base import Query, Recommender
from tests.metrics import oracles

RANKING = ("precision", "recall", "hit", "f1", "mrr", "map", "ndcg")
ORACLES: dict[str, Callable[..., float]] = {
    **{name: getattr(oracles, name) for name in RANKING if name != "map"},
    "map": oracles.average_precision,
}


class Given(Recommender):
    """Scores that a test writes into `scores_`, users x items."""

    scores_: Any

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        # Few distinct values, so that there are ties.
        self.scores_ = np.random.default_rng(1).integers(0, 9, (data.n_users, data.n_items)).astype(np.float32)

    def _score_items(self, query: Query) -> np.ndarray:
        return self.scores_[query.users]


class FromHistory(Recommender):
    """Scores that follow from the history alone: items shortly after those of the history, around a circle."""

    reads_history: ClassVar[bool] = True

    def _fit(self, data: Dataset, validation: Dataset | None) -> None: ...

    def _score_items(self, query: Query) -> np.ndarray:
        matrix = query.history.matrix(len(self.items_)).toarray()
        return (2 * np.roll(matrix, 1, axis=1) + np.roll(matrix, 2, axis=1)).astype(np.float32)


def table(pairs: Any, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({**dict(zip(("user_id", "item_id"), np.asarray(pairs).T, strict=True)), **columns})


def by_user(frame: pd.DataFrame) -> dict[Any, set[Any]]:
    return {user: set(items) for user, items in frame.groupby("user_id")["item_id"]}


def loop(
    model: Given, train: pd.DataFrame, test: pd.DataFrame
) -> dict[str, tuple[list[int], set[int], dict[int, float]]]:
    """Of each user with a relevant item: the whole ranking, the relevant items and the candidates' scores, in ids."""
    seen, found = by_user(train), {}
    items = sorted(set(train["item_id"]))
    for user, wanted in by_user(test).items():
        left = wanted - seen.get(user, set())
        if left:
            candidates = {}
            if user in seen:
                row = model.scores_[sorted(seen).index(user)]
                candidates = {i: float(s) for i, s in zip(items, row, strict=True) if i not in seen[user]}
            found[user] = sorted(candidates, key=lambda i: (-candidates[i], i)), left, candidates
    return found
