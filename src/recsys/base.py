"""The one interface of every model: `fit`, `predict`, `recommend`, and what a model writes to get it.

A model writes `_fit` and a scoring method; ids, seen items, candidates, blocks, ties and frames are handled here, once.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from recsys import persistence
from recsys.data import Dataset, Features, Histories, frames
from recsys.errors import DataError, LoadError, NotFittedError, UnsupportedError
from recsys.kernels.topk import top_k_dot, top_k_scores
from recsys.params import Parametrized
from recsys.request import (
    Asked,
    Names,
    Unknown,
    ask_candidates,
    ask_history,
    ask_pairs,
    ask_users,
    check_choice,
    check_count,
    id_array,
    known_codes,
)

Lists = tuple[NDArray[np.int64], NDArray[np.float32]]
BLOCK_BYTES = 64 * 2**20
"""Size of the largest block of scores, users x items x 4 bytes, that is held at a time."""
PAIR_BLOCK = 8192
"""Pairs that `predict` scores at a time: each carries its user's history."""


@dataclass(frozen=True)
class Query:
    """Users to score for: codes (-1 for one known by history alone), histories, and the context of each, if any."""

    users: NDArray[np.int64]
    history: Histories
    context: Features | None = None

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> "Query":
        at = np.arange(len(self))[rows]
        return Query(self.users[at], self.history[at], None if self.context is None else self.context.take(at))


class Recommender(Parametrized, ABC):
    """Base of all models. Subclasses write `_fit` and `_score_items`."""

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "top-n"
    needs: ClassVar[tuple[str, ...]] = ()
    """Roles of the data that the model cannot do without: "rating", "label", "timestamp", "item_features"."""
    reads_history: ClassVar[bool] = False
    """Whether scores follow from a history alone, so that `history=` serves people the model never saw."""
    ranks: ClassVar[bool] = True
    known: ClassVar[dict[str, Any]] = {}
    """Classes by name, for `recsys.load`."""

    users_: Any
    items_: Any
    user_col_: Any
    item_col_: Any
    history_: Histories
    item_counts_: NDArray[np.int64]
    user_features_: Features | None
    item_features_: Features | None
    frame_kind_: str

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.known[cls.__name__] = cls

    # -- what a model writes -----------------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        """Learn from the data; set fitted attributes, whose names end in `_`."""

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        """Scores of all items for each row of the query, (B, I), in a fresh buffer."""
        raise UnsupportedError(f"{type(self).__name__} cannot score the catalogue")

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score of `items[b]` for row b of the query, (B,); item code -1 scores 0."""
        users, first, row = np.unique(query.users, return_index=True, return_inverse=True)
        scores = np.zeros(len(items), np.float32)
        block = self._block_rows()
        for start in range(0, len(users), block):
            inside = (row >= start) & (row < start + block) & (items >= 0)
            table = self._score_items(query[first[start : start + block]])
            scores[inside] = table[row[inside] - start, items[inside]]
        return scores

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Monotone map from ranking scores to what is shown: a clip to the rating scale, a probability."""
        return scores

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Similarity of each of the items to the whole catalogue, (B, I), in a fresh buffer."""
        raise self._cannot("similar_items")

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Similarity of each of the users to all users, (B, U), in a fresh buffer."""
        raise self._cannot("similar_users")

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Items of the user's history and what each adds to the score of `item`."""
        raise self._cannot("explain")

    def _partial_fit(self, data: Dataset) -> None:
        """Learn from more interactions, new users and new items among them."""
        raise self._cannot("partial_fit")

    # -- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, data: Any, *, validation_data: Any = None) -> Self:
        """Learn from a `Dataset` or a frame of interactions; returns the model itself.

        `validation_data` is read by models that stop early. Whatever goes wrong, the model stays as it was.
        """
        dataset = Dataset.wrap(data)
        self._check_data(dataset)
        fresh = self.clone()
        fresh._remember(dataset)
        fresh._fit(dataset, None if validation_data is None else Dataset.wrap(validation_data))
        self.__dict__ = fresh.__dict__
        return self

    def partial_fit(self, data: Any) -> Self:
        """Learn from new interactions without starting over; codes of known ids stay as they are."""
        if not self.supports("partial_fit"):
            raise self._cannot("partial_fit")
        if not self.is_fitted:
            return self.fit(data)
        fresh = self.clone()
        fresh.__dict__ = dict(self.__dict__)
        fresh._partial_fit(Dataset.wrap(data))
        self.__dict__ = fresh.__dict__
        return self

    def _check_data(self, data: Dataset) -> None:
        for name in self._annotations:
            self._check(name, getattr(self, name))
        model = type(self).__name__
        if self.ranks and (data.users is None or data.items is None):
            raise DataError(f"{model} needs users and items; this data set has user_col=None, item_col=None")
        columns = {"rating": data.ratings, "label": data.labels, "timestamp": data.timestamps}
        for role in self.needs:
            if role == "item_features" and data.item_features is None:
                raise DataError(f"{model} needs item features; pass item_features=... to Dataset")
            if role in columns and columns[role] is None:
                raise DataError(f"{model} needs a {role} column; pass {role}_col=... to Dataset")

    def _remember(self, data: Dataset) -> None:
        """Keep what serving needs, so that the training data is never asked for again."""
        self.frame_kind_ = data.frame_kind
        self.user_col_, self.item_col_ = data.user_col, data.item_col
        self.users_, self.items_ = data.users, data.items
        self.user_features_, self.item_features_ = data.user_features, data.item_features
        if data.users is not None and data.items is not None:
            self.history_ = data.histories()
            self.item_counts_ = np.bincount(data.to_csr().indices, minlength=data.n_items).astype(np.int64)

    # -- scores and lists --------------------------------------------------------------------------------------------

    def predict(self, users: Any, items: Any = None) -> NDArray[np.float32]:
        """Score of each row of a frame, or of each pair of `users` and `items`: float32 (n,).

        An unknown user or item contributes nothing to its score; it raises nothing.
        """
        self._check_fitted()
        return self.predict_codes(*self._pair_codes(users, items))

    def _pair_codes(self, users: Any, items: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        names = self._names()
        user_ids, item_ids = ask_pairs(users, items, names)
        user_codes = known_codes(user_ids, self.users_, "users", names, "skip")
        return user_codes, known_codes(item_ids, self.items_, "items", names, "skip")

    def predict_codes(
        self, users: NDArray[np.int64], items: NDArray[np.int64], context: Features | None = None
    ) -> NDArray[np.float32]:
        """`predict` for pairs of codes, -1 where unknown, and the context of each pair: float32 (n,)."""
        # By user, so that a block holds few distinct users and each is scored once.
        order = np.argsort(users, kind="stable")
        scores = np.empty(len(users), np.float32)
        for start in range(0, len(order), PAIR_BLOCK):
            rows = order[start : start + PAIR_BLOCK]
            query = Query(users[rows], self._history_of(users[rows]), None if context is None else context.take(rows))
            scores[rows] = self._score_pairs(query, items[rows])
        return self._link(scores)

    def recommend(
        self,
        users: Any = None,
        k: int = 10,
        *,
        filter_seen: bool = True,
        items: Any = None,
        exclude_items: Any = None,
        history: Any = None,
        context: Any = None,
        on_unknown: Unknown = "raise",
    ) -> Any:
        """Best items of each user: a frame with the user column, the item column, `score` and `rank` (from 1).

        `users` are ids known from `fit`, all of them by default; `history` (a frame, or lists of item ids) serves
        people the model never saw and takes the place of `users`. `items` are the only candidates, `exclude_items`
        none.
        A list holds at most `k` rows, best first, ties to the smaller item code; seen items are left out unless
        `filter_seen=False`. Unknown ids raise a `DataError`, or are skipped, or are served the popular items.
        """
        self._check_fitted()
        self._check_ranks()
        names = self._names()
        k = check_count(names.model, "k", k)
        check_choice(names.model, "on_unknown", on_unknown, ("raise", "skip", "popular"))
        if context is not None:
            raise self._cannot("context")
        asked = self._ask(users, history, names, on_unknown)
        allowed = ask_candidates(items, exclude_items, self.items_, names, on_unknown)
        kind = self.frame_kind_ if history is None else frames.kind_or(history, self.frame_kind_)
        served = np.flatnonzero(asked.served)
        codes = np.full((len(asked.ids), k), -1, np.int64)
        scores = np.full((len(asked.ids), k), -np.inf, np.float32)
        query = Query(asked.users[served], asked.history[served])
        codes[served], scores[served] = self.top_k_codes(query, k, allowed=allowed, filter_seen=filter_seen)
        if on_unknown == "popular" and len(served) < len(asked.ids):
            rest = np.flatnonzero(~asked.served)
            codes[rest], scores[rest] = self._popular(asked.history[rest], k, allowed)
        return self._list_frame(asked.ids, codes, scores, kind)

    def top_k_codes(
        self, query: Query, k: int, *, allowed: NDArray[np.int64] | None = None, filter_seen: bool = True
    ) -> Lists:
        """`recommend` in codes: items (B, k) padded with -1 and shown scores (B, k) padded with -inf.

        Memory is bounded by a block of users x items.
        """
        codes, scores = self._top_k(query, k, allowed, self._seen(query.history, allowed) if filter_seen else None)
        if allowed is not None:
            codes = np.where(codes >= 0, allowed[codes], -1) if len(allowed) else np.full_like(codes, -1)
        shown = np.where(codes >= 0, self._link(np.where(codes >= 0, scores, 0)), -np.inf)
        return codes, shown.astype(np.float32)

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Any) -> Lists:
        """Best of the allowed items, as positions among them."""
        codes = np.full((len(query), k), -1, np.int64)
        scores = np.full((len(query), k), -np.inf, np.float32)
        block = self._block_rows()
        for start in range(0, len(query), block):
            rows = slice(start, min(start + block, len(query)))
            table = self._score_items(query[rows])
            table = table if allowed is None else np.ascontiguousarray(table[:, allowed])
            codes[rows], scores[rows] = top_k_scores(table, k, n_jobs=self._threads(), **_seen_rows(seen, rows))
        return codes, scores

    def similar_items(self, items: Any, k: int = 10) -> Any:
        """The `k` items most like each of `items`: a frame with the item column, `similar_<item column>`, `score`, `rank`."""
        self._check_fitted()
        return self._similar(items, k, "similar_items", self.items_, self.item_col_, self._item_similarity)

    def similar_users(self, users: Any, k: int = 10) -> Any:
        """The `k` users most like each of `users`: a frame with the user column, `similar_<user column>`, `score`, `rank`."""
        self._check_fitted()
        return self._similar(users, k, "similar_users", self.users_, self.user_col_, self._user_similarity)

    def explain(self, user: Any, item: Any, k: int = 5) -> Any:
        """The `k` items of the user's history that add most to the score of `item`: a frame of items and contributions."""
        self._check_fitted()
        if not self.supports("explain"):
            raise self._cannot("explain")
        names = self._names()
        asked = ask_users(user, self.users_, self.history_, names, "raise")
        code = known_codes(id_array(item), self.items_, "items", names, "raise")[0]
        codes, parts = self._explain(Query(asked.users, asked.history), int(code))
        best = np.argsort(-parts, kind="stable")[: check_count(names.model, "k", k)]
        columns = {names.item: self.items_.decode(codes[best]), "contribution": parts[best]}
        return frames.build(columns, self.frame_kind_)

    # -- saving and showing ------------------------------------------------------------------------------------------

    @classmethod
    def supports(cls, feature: str) -> bool:
        """Whether the model can do "history", "similar_items", "similar_users", "explain", "partial_fit", "recommend"."""
        written = {
            "similar_items": cls._item_similarity is not Recommender._item_similarity,
            "similar_users": cls._user_similarity is not Recommender._user_similarity,
            "explain": cls._explain is not Recommender._explain,
            "partial_fit": cls._partial_fit is not Recommender._partial_fit,
            "history": cls.reads_history,
            "recommend": cls.ranks,
        }
        check_choice(cls.__name__, "feature", feature, tuple(written))
        return written[feature]

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` or `load` has given the model something to predict from."""
        return "frame_kind_" in self.__dict__

    def save(self, path: str | Path) -> None:
        """Write the model to a directory: `model.json` and `model.safetensors`; an older model there is replaced."""
        self._check_fitted()
        fitted = {name: value for name, value in self.__dict__.items() if name.endswith("_")}
        persistence.save(Path(path), type(self).__name__, self.get_params(), fitted)

    def _restore(self, fitted: dict[str, Any]) -> None:
        """Take fitted attributes back from a saved model."""
        self.__dict__.update(fitted)

    def _repr_html_(self) -> str:
        state = "not fitted"
        if self.is_fitted and self.users_ is not None:
            state = f"fitted on {len(self.users_):,} users and {len(self.items_):,} items"
        return f"<code>{self!r}</code><br><small>{state}</small>".replace("\n", " ")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _names(self) -> Names:
        return Names(type(self).__name__, self.user_col_, self.item_col_)

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(data) first")

    def _history_of(self, users: NDArray[np.int64]) -> Histories:
        return Histories.empty(len(users)) if self.users_ is None else self.history_[users]

    def _check_ranks(self) -> None:
        if self.users_ is None or self.items_ is None:
            model = type(self).__name__
            raise UnsupportedError(
                f"{model} was fitted on data without users and items: it predicts, but has nothing to recommend"
            )

    def _cannot(self, what: str) -> UnsupportedError:
        able = sorted(name for name, cls in Recommender.known.items() if what in SUPPORT and cls.supports(what))
        others = f"; these can: {', '.join(able)}" if able else ""
        return UnsupportedError(f"{type(self).__name__} has no meaning for {what}{others}")

    def _threads(self) -> int:
        return int(getattr(self, "n_jobs", -1))

    def _block_rows(self) -> int:
        return max(1, BLOCK_BYTES // (4 * max(1, len(self.items_))))

    def _ask(self, users: Any, history: Any, names: Names, on_unknown: Unknown) -> Asked:
        if history is None:
            return ask_users(users, self.users_, self.history_, names, on_unknown)
        if users is not None:
            raise DataError(f"{names.model}.recommend takes users= or history=, not both")
        if not self.reads_history:
            raise self._cannot("history")
        return ask_history(history, self.items_, names, on_unknown)

    def _seen(self, history: Histories, allowed: NDArray[np.int64] | None) -> Any:
        matrix = history.matrix(len(self.items_))
        return matrix if allowed is None else matrix[:, allowed].sorted_indices()

    def _popular(self, history: Histories, k: int, allowed: NDArray[np.int64] | None) -> Lists:
        counts = self.item_counts_ if allowed is None else self.item_counts_[allowed]
        seen = self._seen(history, allowed)
        table = np.repeat(counts[None].astype(np.float32), len(history), axis=0)
        codes, scores = top_k_scores(table, k, **_seen_rows(seen, slice(0, len(history))))
        return (codes if allowed is None else np.where(codes >= 0, allowed[codes], -1)), scores

    def _list_frame(self, ids: NDArray[Any], codes: NDArray[np.int64], scores: NDArray[np.float32], kind: str) -> Any:
        user_row, place = np.nonzero(codes >= 0)
        columns = {
            self.user_col_: ids[user_row],
            self.item_col_: self.items_.decode(codes[user_row, place]),
            "score": scores[user_row, place],
            "rank": place + 1,
        }
        return frames.build(columns, kind)

    def _similar(self, ids: Any, k: int, feature: str, vocabulary: Any, column: str, similarity: Any) -> Any:
        if not self.supports(feature):
            raise self._cannot(feature)
        k = check_count(type(self).__name__, "k", k)
        asked = id_array(ids)
        codes = known_codes(asked, vocabulary, feature.removeprefix("similar_"), self._names(), "raise")
        table = similarity(codes)
        table[np.arange(len(codes)), codes] = -np.inf
        near, scores = top_k_scores(table, k)
        row, place = np.nonzero(near >= 0)
        columns = {
            column: asked[row],
            f"similar_{column}": vocabulary.decode(near[row, place]),
            "score": scores[row, place],
            "rank": place + 1,
        }
        return frames.build(columns, self.frame_kind_)


SUPPORT = ("similar_items", "similar_users", "explain", "partial_fit", "history", "recommend")


class FactorRecommender(Recommender):
    """A model whose score is a dot product: exact top-k without a score matrix, and similar items, come with it."""

    @abstractmethod
    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        """Vector of each row of the query, (B, D); zeros for a user that is nothing to the model."""

    @abstractmethod
    def _item_vectors(self) -> NDArray[np.float32]:
        """Vector of each item, (I, D); an item bias is one more column against a 1."""

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return self._user_vectors(query) @ self._item_vectors().T

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors = self._item_vectors()[np.maximum(items, 0)]
        scores = np.einsum("bd,bd->b", self._user_vectors(query), vectors)
        return np.where(items >= 0, scores, 0).astype(np.float32)

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Any) -> Lists:
        users = np.ascontiguousarray(self._user_vectors(query), np.float32)
        items = self._item_vectors() if allowed is None else self._item_vectors()[allowed]
        rows = _seen_rows(seen, slice(0, len(query)))
        return top_k_dot(users, np.ascontiguousarray(items, np.float32), k, n_jobs=self._threads(), **rows)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.item_factors_, items)

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.user_factors_, users)

    user_factors_: Any
    item_factors_: Any


def cosine(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosine of some rows to all rows, (B, n); 0 where a vector is zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    return unit[rows] @ unit.T


def _seen_rows(seen: Any, rows: slice) -> dict[str, Any]:
    """Rows of the seen matrix as the top-k kernels take them."""
    if seen is None:
        return {}
    part = seen[rows]
    return {"seen_indptr": part.indptr.astype(np.int64), "seen_items": part.indices}


def load(path: str | Path) -> Recommender:
    """A saved model, ready to predict and recommend; a damaged or foreign directory raises `LoadError`.

    The class is found by its name among the library's models and the caller's own subclasses of `Recommender`.
    """
    name, parameters, fitted = persistence.read(Path(path))
    if name not in Recommender.known:
        raise LoadError(f"{path} holds a {name}, which is no known model; import the module that defines it first")
    model = Recommender.known[name](**parameters)
    model._restore(fitted)
    return model
