"""The one interface of every model: `fit`, `predict`, `recommend`, and what a model writes to get it.

A model writes `_fit` and a scoring method; ids, seen items, candidates, blocks, ties and frames are handled here, once.
"""

import inspect
from abc import ABC, abstractmethod
from dataclasses import replace
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from recsys import persistence, request
from recsys.data import Dataset, Features, Histories, StreamedDataset, frames
from recsys.data.features import encode_rows
from recsys.data.growth import grown_columns, grown_features
from recsys.errors import DataError, LoadError, NotFittedError, ParameterError, UnsupportedError
from recsys.kernels.memory import keep_freed_blocks
from recsys.kernels.topk import Lists, empty_lists, top_k_scores
from recsys.lists import Seen, best_of, block_rows, list_frame, spread
from recsys.params import OfClassOrSelf, Parametrized
from recsys.request import Names, Query, Unknown

PAIR_BLOCK = 8192
"""Pairs that `predict` scores at a time: each carries its user's history."""


SUPPORT = ("recommend", "history", "context", "similar_items", "similar_users", "explain", "partial_fit")
"""What `supports` can be asked."""


class Recommender(Parametrized, ABC):
    """Base of all models. Subclasses write `_fit` and `_score_items`."""

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "top-n"
    needs: ClassVar[tuple[str, ...]] = ()
    """What the data must have: "rating", "label", "weight", "timestamp", "user_features", "item_features", "social"."""
    reads_history: ClassVar[bool] = False
    """Whether scores follow from a history alone, so that `history=` serves people the model never saw."""
    knows_users: ClassVar[bool] = False
    """Whether a fitted user is more to a model that reads histories than the history, so that lists may differ."""
    reads_events: ClassVar[bool] = False
    """Whether histories keep the session and the context of each event."""
    reads_context: ClassVar[bool] = False
    """Whether scores depend on the context columns, so that `recommend` takes `context=`."""
    ranks: ClassVar[bool] = True
    """Whether the model recommends; one that does not may only `predict`."""
    personal: ClassVar[bool] = True
    """Whether lists follow tastes; the conformance suite asks those that do to beat `Popular`."""
    reads_field_data: ClassVar[bool] = False
    """Whether data without users and items (`user_col=None`) is enough to predict from."""
    reads_stream: ClassVar[bool] = False
    """Whether the model trains on rows that stay in their files (`Dataset.from_parquet`)."""
    known: ClassVar[dict[str, Any]] = {}
    """Classes by name, for `recsys.load`."""

    users_: Any
    items_: Any
    user_col_: Any
    item_col_: Any
    value_cols_: dict[str, str]
    history_: Histories
    item_counts_: NDArray[np.int64]
    user_features_: Features | None
    item_features_: Features | None
    context_: Features | None
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
        raise UnsupportedError(f"{type(self).__name__} cannot score the catalog")

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score of `items[b]` for row b of the query, (B,); item code -1 scores 0."""
        users, row = query.once()
        scores = np.zeros(len(items), np.float32)
        block = block_rows(len(self.items_))
        for start in range(0, len(users), block):
            inside = (row >= start) & (row < start + block) & (items >= 0)
            table = self._score_items(users[start : start + block])
            scores[inside] = table[row[inside] - start, items[inside]]
        return scores

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Monotone map from ranking scores to what is shown: a clip to the rating scale, a probability."""
        return scores

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Similarity of each of the items to the whole catalog, (B, I), in a fresh buffer."""
        raise self._cannot("similar_items")

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Similarity of each of the users to all users, (B, U), in a fresh buffer."""
        raise self._cannot("similar_users")

    def _explain(self, query: Query, item: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Items of the user's history and what each adds to the score of `item`."""
        raise self._cannot("explain")

    def _partial_fit(self, data: Dataset) -> None:
        """Learn from more interactions; vocabularies, histories, counts and features hold them already."""
        raise self._cannot("partial_fit")

    # -- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, data: Any, *, validation_data: Any = None) -> Self:
        """Learn from a `Dataset` or a frame of interactions; returns the model itself.

        `validation_data` is read by models that stop early. Whatever goes wrong, the model stays as it was.
        """
        dataset = Dataset.wrap(data)
        if isinstance(dataset, StreamedDataset) and not self.reads_stream:
            able = sorted(c.__name__ for c in self._ours() if c.reads_stream)
            raise UnsupportedError(
                f"{type(self).__name__} needs all rows in memory and Dataset.from_parquet holds none; read the files into "
                f"a frame for Dataset; these train from files: {', '.join(able)}"
            )
        request.check_roles(type(self).__name__, dataset, self.needs, field_data=self.reads_field_data)
        # A clone has its hyperparameters checked, those too that were assigned.
        fresh = self.clone()
        fresh._remember(dataset)
        fresh._fit(dataset, None if validation_data is None else Dataset.wrap(validation_data))
        self.__dict__ = fresh.__dict__
        return self

    def partial_fit(self, data: Any) -> Self:
        """Learn from new interactions without starting over; codes of known ids stay as they are.

        The new data needs the columns that the model was fitted with. Whatever goes wrong, the model stays as it was.
        """
        if not self.supports("partial_fit"):
            raise self._cannot("partial_fit")
        if not self.is_fitted:
            return self.fit(data)
        # A bare frame names its columns as the training data did.
        names = {f"{role}_col": name for role, name in self.value_cols_.items()}
        dataset = data
        if not isinstance(data, Dataset):
            context = () if self.context_ is None else tuple(column.name for column in self.context_.columns)
            dataset = Dataset(data, user_col=self.user_col_, item_col=self.item_col_, context_cols=context, **names)
        roles = tuple({*self.needs, *self.value_cols_})
        request.check_roles(type(self).__name__, dataset, roles, field_data=self.users_ is None)
        fresh = self.clone()
        fresh.__dict__ = {
            name: value for name, value in self.__dict__.items() if name.endswith("_")
        } | self.get_params()
        fresh._absorb(dataset)
        fresh._partial_fit(dataset)
        self.__dict__ = fresh.__dict__
        return self

    def _absorb(self, data: Dataset) -> None:
        """Add new interactions, users and items to what `_remember` kept."""
        if self.context_ is not None:
            self.context_ = grown_columns(self.context_, data.context or Features((), 0))
        if self.users_ is None:
            return
        more = data.histories(events=self.reads_events)
        self.users_, self.items_ = self.users_.grown(data.users), self.items_.grown(data.items)
        places = self.items_.encode(data.items.ids)
        more = replace(more, items=places[more.items])
        self.history_ = self.history_.joined(self.users_.encode(data.users.ids), more, len(self.users_))
        self._count_items()
        given = data.roles
        self.user_features_ = grown_features(
            self.user_features_, self.users_, self.user_col_, given.user_features, data.user_features
        )
        self.item_features_ = grown_features(
            self.item_features_, self.items_, self.item_col_, given.item_features, data.item_features
        )

    def _remember(self, data: Dataset) -> None:
        """Keep what serving needs, so that the training data is never asked for again."""
        self.frame_kind_ = data.frame_kind
        self.user_col_, self.item_col_ = data.user_col, data.item_col
        roles = ("rating", "label", "weight", "timestamp", *(("session",) if self.reads_events else ()))
        columns = {role: getattr(data.roles, f"{role}_col") for role in roles}
        self.value_cols_ = {role: name for role, name in columns.items() if name is not None}
        self.users_, self.items_ = data.users, data.items
        self.user_features_, self.item_features_ = data.user_features, data.item_features
        # How contexts are encoded, without the rows themselves.
        self.context_ = None if data.context is None else data.context.take(np.empty(0, np.int64))
        if data.users is not None and data.items is not None:
            self.history_ = data.seen if isinstance(data, StreamedDataset) else data.histories(events=self.reads_events)
            self._count_items()

    def _count_items(self) -> None:
        """Set how many distinct users have each item."""
        seen = self.history_.matrix(len(self.items_))
        self.item_counts_ = np.bincount(seen.indices, minlength=len(self.items_)).astype(np.int64)

    # -- scores and lists --------------------------------------------------------------------------------------------

    def predict(self, users: Any, items: Any = None) -> NDArray[np.float32]:
        """Score of each row of a frame, or of each pair of `users` and `items`: float32 (n,).

        A model that reads contexts needs their columns in the frame; pairs have none. An unknown user or item
        contributes nothing to its score; it raises nothing.
        """
        self._check_fitted()
        if items is not None or self.context_ is None or not self.reads_context:
            return self.predict_codes(*self._pair_codes(users, items))
        context = encode_rows(users, self.context_)
        if self.users_ is None:
            nobody = np.full(len(context), -1)
            return self.predict_codes(nobody, nobody, context)
        return self.predict_codes(*self._pair_codes(users, None), context)

    def _pair_codes(self, users: Any, items: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        names = self._names()
        if self.users_ is None:
            raise UnsupportedError(f"{names.model} was fitted without users and items; give predict a frame of rows")
        user_ids, item_ids = request.ask_pairs(users, items, names)
        user_codes = request.known_codes(user_ids, self.users_, "users", names.model, "skip")
        return user_codes, request.known_codes(item_ids, self.items_, "items", names.model, "skip")

    def predict_codes(
        self, users: NDArray[np.int64], items: NDArray[np.int64], context: Features | None = None
    ) -> NDArray[np.float32]:
        """`predict` for pairs of codes, -1 where unknown, and the context of each pair: float32 (n,)."""
        return self._link(self.score_codes(users, items, context))

    def score_codes(
        self, users: NDArray[np.int64], items: NDArray[np.int64], context: Features | None = None
    ) -> NDArray[np.float32]:
        """`predict_codes` without the link: the scores that lists are ranked by."""
        keep_freed_blocks()
        # By user, so that a block holds few distinct users and each is scored once.
        order = np.argsort(users, kind="stable")
        scores = np.empty(len(users), np.float32)
        for start in range(0, len(order), PAIR_BLOCK):
            rows = order[start : start + PAIR_BLOCK]
            query = Query(users[rows], self._history_of(users[rows]), None if context is None else context.take(rows))
            scores[rows] = self._score_pairs(query, items[rows])
        return scores

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
        none. `context` is a dict of values or a frame of context columns, with one row for all or one for each user.
        A list holds at most `k` rows, best first, ties to the smaller item code; seen items are left out unless
        `filter_seen=False`. Unknown users and empty histories raise a `DataError`, or are skipped, or are served the
        popular items; unknown items raise, or are skipped.
        """
        self._check_ranks()
        names = self._names()
        k = request.check_count(names.model, "k", k)
        request.check_choice(names.model, "on_unknown", on_unknown, ("raise", "skip", "popular"))
        if context is not None and not self.reads_context:
            raise self._cannot("context")
        asked = self._ask(users, history, names, on_unknown)
        contexts = request.ask_context(context, self.context_, len(asked.ids), names)
        allowed = request.ask_candidates(items, exclude_items, self.items_, names, on_unknown)
        # No more columns than candidates, however large the k.
        width = min(k, len(self.items_) if allowed is None else len(allowed))
        query, everyone = Query(asked.users, asked.history, contexts), asked.served.all()
        query = query if everyone else query[asked.served]
        lists = self.top_k_codes(query, width, allowed=allowed, filter_seen=filter_seen)
        if not everyone:
            others = self._popular(width, allowed) if on_unknown == "popular" else empty_lists(1, width)
            lists = spread(lists, asked.served, others)
        kind = self.frame_kind_ if history is None else frames.kind_or(history, self.frame_kind_)
        return list_frame((names.user, names.item), asked.ids, self.items_, lists, kind)

    def top_k_codes(
        self, query: Query, k: int, *, allowed: NDArray[np.int64] | None = None, filter_seen: bool = True
    ) -> Lists:
        """`recommend` in codes: items (B, k) padded with -1 and shown scores (B, k) padded with -inf.

        Memory is bounded by a block of users x items.
        """
        seen = Seen.of(query.history, len(self.items_), allowed) if filter_seen else None
        codes, scores = self._top_k(query, k, allowed, seen)
        if allowed is not None:
            codes = np.where(codes >= 0, allowed[codes], -1) if len(allowed) else np.full_like(codes, -1)
        listed = codes >= 0
        shown = np.where(listed, self._link(np.where(listed, scores, 0)), -np.inf)
        return codes, shown.astype(np.float32, copy=False)

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Seen | None) -> Lists:
        """Best of the allowed items, as positions among them."""

        def score(rows: slice) -> NDArray[np.float32]:
            table = self._score_items(query[rows])
            return table if allowed is None else table[:, allowed]

        return best_of(score, len(query), len(self.items_), k, seen, self._threads())

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
        users = np.array([request.known_code(user, self.users_, names.model, "user")])
        code, k = request.known_code(item, self.items_, names.model, "item"), request.check_count(names.model, "k", k)
        codes, parts = self._explain(Query(users, self._history_of(users)), code)
        best = np.argsort(-parts, kind="stable")[:k]
        columns = {names.item: self.items_.decode(codes[best]), "contribution": parts[best]}
        return frames.build(columns, self.frame_kind_)

    # -- saving and showing ------------------------------------------------------------------------------------------

    @OfClassOrSelf
    def supports(self: Any, feature: str) -> bool:
        """Whether the model can do a thing, one of `SUPPORT`: "history", "similar_items", "explain" and so on."""
        cls: type[Recommender] = self if isinstance(self, type) else type(self)
        written = {
            "similar_items": cls._item_similarity is not Recommender._item_similarity,
            "similar_users": cls._user_similarity is not Recommender._user_similarity,
            "explain": cls._explain is not Recommender._explain,
            "partial_fit": cls._partial_fit is not Recommender._partial_fit,
            "history": cls.ranks and (cls.reads_history if self is cls else self._serves_histories()),
            "context": cls.ranks and cls.reads_context,
            "recommend": cls.ranks,
        }
        request.check_choice(f"{cls.__name__}.supports", "feature", feature, SUPPORT)
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
        if self.is_fitted:
            state = "fitted on field data, without users and items"
            if self.users_ is not None:
                state = f"fitted on {len(self.users_):,} users and {len(self.items_):,} items"
        return f"<code>{escape(repr(self))}</code><br><small>{state}</small>"

    # -- inside ------------------------------------------------------------------------------------------------------

    def _names(self) -> Names:
        return Names(type(self).__name__, self.user_col_, self.item_col_, self.value_cols_)

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit(data) first")

    def _history_of(self, users: NDArray[np.int64]) -> Histories:
        return Histories.empty(len(users)) if self.users_ is None else self.history_[users]

    def _serves_histories(self) -> bool:
        """`reads_history`, where hyperparameters have no say in it."""
        return self.reads_history

    def _check_ranks(self) -> None:
        self._check_fitted()
        model = type(self).__name__
        if not self.ranks:
            raise self._cannot("recommend")
        if self.users_ is None or self.items_ is None:
            raise UnsupportedError(f"{model} was fitted without users and items; it has nothing to recommend")

    def _cannot(self, what: str) -> UnsupportedError:
        able = sorted(c.__name__ for c in self._ours() if what in SUPPORT and c.supports(what))
        others = f"; these can: {', '.join(able)}" if able else ""
        return UnsupportedError(f"{type(self).__name__} has no meaning for {what}{others}")

    @staticmethod
    def _ours() -> list[Any]:
        """Models of the library."""
        ours = [cls for cls in Recommender.known.values() if cls.__module__.startswith("recsys.models.")]
        return [cls for cls in ours if not inspect.isabstract(cls)]

    def _threads(self) -> int:
        return int(getattr(self, "n_jobs", -1))

    def _ask(self, users: Any, history: Any, names: Names, on_unknown: Unknown) -> request.Asked:
        if history is None:
            return request.ask_users(users, self.users_, self.history_, names, on_unknown)
        if users is not None:
            raise DataError(f"{names.model}.recommend takes users= or history=, not both")
        if not self._serves_histories():
            raise self._cannot("history")
        return request.ask_history(
            history, self.items_, names, on_unknown, self.context_ if self.reads_events else None
        )

    def _popular(self, k: int, allowed: NDArray[np.int64] | None) -> Lists:
        """The list of everyone of whom nothing is known, (1, k)."""
        counts = self.item_counts_ if allowed is None else self.item_counts_[allowed]
        codes, scores = top_k_scores(counts[None], k)
        return codes if allowed is None else allowed[codes], scores

    def _similar(self, ids: Any, k: int, feature: str, vocabulary: Any, column: str, similarity: Any) -> Any:
        if not self.supports(feature):
            raise self._cannot(feature)
        model, what = type(self).__name__, feature.removeprefix("similar_")
        width = min(request.check_count(model, "k", k), len(vocabulary))
        ids = request.id_array(ids, model, what)
        codes = request.known_codes(ids, vocabulary, what, model, "raise", "give ids of the training data")

        def score(rows: slice) -> NDArray[np.float32]:
            table = similarity(codes[rows])
            table[np.arange(len(table)), codes[rows]] = -np.inf
            return table

        lists = best_of(score, len(codes), len(vocabulary), width, n_jobs=self._threads())
        return list_frame((column, f"similar_{column}"), vocabulary.decode(codes), vocabulary, lists, self.frame_kind_)


def load(path: str | Path) -> Recommender:
    """A saved model, ready to predict and recommend; a damaged or foreign directory raises `LoadError`.

    The class is found by its name among the library's models and the caller's own subclasses of `Recommender`.
    """
    name, parameters, fitted = persistence.read(Path(path))
    if name not in Recommender.known or inspect.isabstract(Recommender.known[name]):
        raise LoadError(f"{path} holds a {name}, which is no known model; import the module that defines it first")
    try:
        model = Recommender.known[name](**parameters)
    except ParameterError as error:
        raise LoadError(f"{path} was saved by another version of {name}: {error}; fit and save it again") from error
    try:
        model._restore(fitted)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        what = shorten(str(error), 200)
        raise LoadError(f"{path} does not fit the class {name} ({what}); fit and save it again") from error
    return model
