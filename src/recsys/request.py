"""What a caller asks for, turned from ids into codes: users, histories, candidates, pairs and contexts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data import Dataset, Features, Histories, Vocabulary, frames
from recsys.data.dataset import read_sessions, read_times
from recsys.data.features import encode_rows
from recsys.data.vocabulary import as_array, read_ids
from recsys.errors import DataError, ParameterError

Unknown = Literal["raise", "skip", "popular"]
WAY_OUT = 'pass on_unknown="skip" to leave them out or on_unknown="popular" to serve popular items instead'


@dataclass(frozen=True)
class Names:
    """A model's class and the names of the columns it was fitted on, for messages, histories and results."""

    model: str
    user: str
    item: str
    values: Mapping[str, str]
    """Columns of the roles "rating", "label", "weight", "timestamp" and "session", those that the training data had."""


@dataclass(frozen=True)
class Asked:
    """Users to serve: their ids as the caller writes them, their codes and their histories, in the caller's order."""

    ids: NDArray[Any]
    users: NDArray[np.int64]
    history: Histories
    served: NDArray[np.bool_]
    """False where the model knows neither the user nor anything in the history."""


@dataclass(frozen=True)
class Query:
    """Users to score for: codes (-1 for one known by history alone), histories, and the context of each, if any."""

    users: NDArray[np.int64]
    history: Histories
    context: Features | None = None

    def __len__(self) -> int:
        return len(self.users)

    def once(self) -> tuple["Query", NDArray[np.int64]]:
        """Each user once, and where in that every row is; rows with contexts, which may differ, all stay."""
        if self.context is not None:
            return self, np.arange(len(self))
        _, first, row = np.unique(self.users, return_index=True, return_inverse=True)
        return self[first], row

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> "Query":
        at = np.arange(len(self))[rows]
        return Query(self.users[at], self.history[at], None if self.context is None else self.context.take(at))


# -- arguments ---------------------------------------------------------------------------------------------------------


def check_choice(model: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse an argument that is none of its choices."""
    if value not in choices:
        raise ParameterError(f"{model}: {name}={value!r} is not allowed; give one of {', '.join(choices)}")


def check_count(model: str, name: str, value: object) -> int:
    """The value as an int of at least 1."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{model}: {name}={value!r} is not allowed; give an integer of at least 1")
    return int(value)


def check_roles(model: str, data: Dataset, needs: tuple[str, ...], *, field_data: bool = False) -> None:
    """Refuse data without a role that the model needs, or without users and items unless `field_data` will do."""
    if data.users is None and not field_data:
        raise DataError(f"{model} needs users and items; this data set has user_col=None, item_col=None")
    columns = {"rating": data.ratings, "label": data.labels, "weight": data.weights, "timestamp": data.timestamps}
    tables = {"user_features": data.user_features, "item_features": data.item_features, "social": data.social_edges}
    for role in needs:
        if role in columns and columns[role] is None:
            raise DataError(f"{model} needs a {role} column; pass {role}_col=... to Dataset")
        if role in tables and tables[role] is None:
            raise DataError(f"{model} needs {role.replace('_', ' ')}; pass {role}=... to Dataset")


def id_array(values: Any, model: str, name: str) -> NDArray[Any]:
    """Ids given as one id, a list, a set, an array or a series of any library, as a one-dimensional array."""
    if isinstance(values, str | int | np.generic):
        values = [values]
    elif isinstance(values, Iterable) and not hasattr(values, "__array__"):
        values = list(values)
    array = as_array(values)
    if array.ndim != 1:
        raise DataError(f"{model}: {name}= is a {type(values).__name__} of {array.ndim} dimensions; give a list of ids")
    if array.dtype == object and len(array) and all(isinstance(one, int | np.integer) for one in array):
        return np.asarray(list(array))
    return array


def known_codes(
    ids: NDArray[Any], vocabulary: Vocabulary, what: str, model: str, on_unknown: Unknown, way_out: str = WAY_OUT
) -> NDArray[np.int64]:
    """Codes of ids, -1 where unknown; raises for unknown ids under "raise"."""
    try:
        codes = vocabulary.encode(ids) if len(ids) else np.empty(0, np.int64)
    except DataError as error:
        hint = "; missing ids turn integers into floats" if ids.dtype.kind == "f" else ""
        raise DataError(f"{model}: {what}: {error}{hint}; cast them") from error
    if on_unknown == "raise" and (codes < 0).any():
        unknown = np.flatnonzero(codes < 0)
        first = frames.show(ids[unknown[0]])
        raise DataError(f"{model} does not know {len(unknown)} of {len(ids)} {what}, first {first}; {way_out}")
    return codes


def known_code(value: Any, vocabulary: Vocabulary, model: str, what: str) -> int:
    """Code of one id, which must be known."""
    ids = id_array(value, model, what)
    if len(ids) != 1:
        raise DataError(f"{model}: {what}= takes one id; got {len(ids)}")
    return int(known_codes(ids, vocabulary, f"{what}s", model, "raise", "give one of the training data")[0])


# -- users -------------------------------------------------------------------------------------------------------------


def ask_users(users: Any, vocabulary: Vocabulary, history: Histories, names: Names, on_unknown: Unknown) -> Asked:
    """Users known from `fit` by their ids; all of them for None."""
    if users is None:
        codes = np.arange(len(vocabulary))
        return Asked(vocabulary.ids, codes, history, np.ones(len(codes), bool))
    ids = id_array(users, names.model, "users")
    codes = known_codes(ids, vocabulary, "users", names.model, on_unknown)
    return Asked(in_dtype(ids, vocabulary), codes, history[codes], codes >= 0)


def in_dtype(ids: NDArray[Any], vocabulary: Vocabulary) -> NDArray[Any]:
    """Ids in the dtype of the known ones, unless that would change one of them."""
    if ids.dtype == vocabulary.ids.dtype or ids.dtype.kind not in "iu" or vocabulary.kind != "integers":
        return ids
    cast = ids.astype(vocabulary.ids.dtype)
    return cast if (cast == ids).all() else ids


def ask_history(
    history: Any, items: Vocabulary, names: Names, on_unknown: Unknown, context: Features | None = None
) -> Asked:
    """Users known by a history alone: a frame with the item column (and a user column), or lists of item ids.

    A frame is read as the training data was: its rows are in time order where that had no timestamp, or where the
    frame has no such column; rows labeled 0 are no part of a history. Events of a frame have the columns of `context`
    beside them; those of lists have none.
    """
    ids, rows, item_ids, values = _listed(history, names) if is_lists(history) else _framed(history, names)
    codes = known_codes(item_ids, items, "items of the history", names.model, on_unknown)
    times = values.get("times")
    # As a data set holds its rows: by time, then item.
    order = np.arange(len(codes)) if times is None else np.lexsort((codes, times))
    order = order[codes[order] >= 0]
    kept: dict[str, Any] = {name: value[order] for name, value in values.items()}
    if context is not None:
        at = kept.pop("places", np.full(len(order), -1))
        kept["context"] = (encode_rows(history, context) if len(at) and at[0] >= 0 else context).take(at)
    kept.pop("places", None)
    table = Histories.from_rows(rows[order], codes[order], len(ids), **kept)
    served = table.lengths > 0
    if on_unknown == "raise" and not served.all():
        first = frames.show(ids[np.argmin(served)])
        raise DataError(f"{names.model}: the history of {first} is empty; {WAY_OUT}")
    return Asked(ids, np.full(len(ids), -1), table, served)


def is_lists(history: Any) -> bool:
    """Whether a history is given as item ids, or as lists of them, and not as a frame."""
    return isinstance(history, list | tuple | np.ndarray)


History = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], dict[str, NDArray[Any]]]
"""Ids of the users, and for every event its user's row, its item id, its ratings, weights, times and sessions, and
its place in the frame."""


def _listed(history: Any, names: Names) -> History:
    """One list of item ids, or one for each user; the users are numbered from 0."""
    single = len(history) == 0 or isinstance(history[0], str | int | np.integer)
    lists = [id_array(one, names.model, "history") for one in ([history] if single else history)]
    rows = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    return np.arange(len(lists)), rows, id_array([item for one in lists for item in one], names.model, "history"), {}


def _framed(history: Any, names: Names) -> History:
    """A frame of events; all are one user's, numbered 0, where it has no user column."""
    try:
        frame = frames.read(history)
    except DataError as error:
        raise DataError(f"{names.model}: history= takes a frame or lists of item ids: {error}") from error
    if names.item not in frame.columns:
        there = frames.listed(frame.columns)
        raise DataError(f"{names.model}: the history has no column {names.item!r}; it has {there}")
    item_ids = read_ids(frame[names.item], names.item)
    rows, ids = np.zeros(len(item_ids), np.int64), np.zeros(1, np.int64)
    if names.user in frame.columns:
        rows, ids = pd.factorize(read_ids(frame[names.user], names.user))
    there = {role: frame[name] for role, name in names.values.items() if name in frame.columns}
    values: dict[str, NDArray[Any]] = {
        f"{role}s": frames.numbers(there[role], names.values[role], role)
        for role in ("rating", "weight")
        if role in there
    }
    if "timestamp" in there:
        values["times"] = read_times(there["timestamp"], names.values["timestamp"])
    if "session" in there:
        values["sessions"] = read_sessions(there["session"], names.values["session"])
    values["places"] = np.arange(len(item_ids))
    if "label" in there:
        kept = frames.numbers(there["label"], names.values["label"], "label") == 1
        rows, item_ids = rows[kept], item_ids[kept]
        values = {name: value[kept] for name, value in values.items()}
    return np.asarray(ids), rows, item_ids, values


# -- items, pairs and contexts -----------------------------------------------------------------------------------------


def ask_candidates(
    items: Any, exclude_items: Any, vocabulary: Vocabulary, names: Names, on_unknown: Unknown
) -> NDArray[np.int64] | None:
    """Codes that may be recommended, ascending; None where that is the whole catalog."""
    if items is None and exclude_items is None:
        return None
    allowed = np.ones(len(vocabulary), bool)
    if items is not None:
        ids = id_array(items, names.model, "items")
        way_out = 'pass on_unknown="skip" to leave them out'
        codes = known_codes(ids, vocabulary, "candidate items", names.model, on_unknown, way_out)
        allowed[:] = False
        allowed[codes[codes >= 0]] = True
    if exclude_items is not None:
        ids = id_array(exclude_items, names.model, "exclude_items")
        codes = known_codes(ids, vocabulary, "excluded items", names.model, "skip")
        allowed[codes[codes >= 0]] = False
    return np.flatnonzero(allowed)


def ask_pairs(rows: Any, items: Any, names: Names) -> tuple[NDArray[Any], NDArray[Any]]:
    """User and item ids of the pairs: two columns of a frame, or two sequences of one length."""
    if items is None:
        try:
            frame = frames.read(rows)
        except DataError as error:
            raise DataError(f"{names.model}.predict takes a frame, or users and items: {error}") from error
        absent = [name for name in (names.user, names.item) if name not in frame.columns]
        if absent:
            there = frames.listed(frame.columns)
            raise DataError(f"{names.model}.predict needs a column {absent[0]!r}; the frame has {there}")
        return frames.to_array(frame[names.user]), frames.to_array(frame[names.item])
    user_ids, item_ids = id_array(rows, names.model, "users"), id_array(items, names.model, "items")
    if len(user_ids) != len(item_ids):
        raise DataError(f"{names.model}.predict: {len(user_ids)} users but {len(item_ids)} items; give one item a user")
    return user_ids, item_ids


def ask_context(context: Any, like: Features | None, n_users: int, names: Names) -> Features | None:
    """The context of each user, n_users rows: a frame of one row for all or of one a user, or values by column."""
    if context is None:
        return None
    if like is None:
        raise DataError(f"{names.model}: context= needs a model fitted with context; pass context_cols=... to Dataset")
    table = (
        pd.DataFrame({name: [value] for name, value in context.items()}) if isinstance(context, Mapping) else context
    )
    try:
        given = encode_rows(table, like)
    except DataError as error:
        raise DataError(f"{names.model}: context= {error}") from error
    if len(given) not in (1, n_users):
        raise DataError(
            f"{names.model}: context= has {len(given)} rows for {n_users} users; give one row, or one for each user"
        )
    return given if len(given) == n_users else given.take(np.zeros(n_users, np.int64))
