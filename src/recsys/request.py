"""What a caller asks for, turned from ids into codes: users, histories, candidates and pairs."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data import Histories, Vocabulary, frames
from recsys.errors import DataError, ParameterError

Unknown = Literal["raise", "skip", "popular"]


@dataclass(frozen=True)
class Names:
    """A model's class and the names of its id columns, for messages and results."""

    model: str
    user: str
    item: str


@dataclass(frozen=True)
class Asked:
    """Users to serve: their ids as the caller writes them, their codes and their histories, in the caller's order."""

    ids: NDArray[Any]
    users: NDArray[np.int64]
    history: Histories
    served: NDArray[np.bool_]
    """False where the model knows neither the user nor anything in the history."""


def check_choice(model: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse an argument that is none of its choices."""
    if value not in choices:
        raise ParameterError(f"{model}.recommend: {name}={value!r} is not allowed; give one of {', '.join(choices)}")


def check_count(model: str, name: str, value: object) -> int:
    """The value as an int of at least 1."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{model}: {name}={value!r} is not allowed; give an integer of at least 1")
    return int(value)


def id_array(values: Any) -> NDArray[Any]:
    """Ids given as one id, a list, an array or a series, as a one-dimensional array."""
    if isinstance(values, str | int | np.integer):
        values = [values]
    array = np.asarray(values)
    if array.dtype.kind == "U":
        array = array.astype(object)
    return array.reshape(-1)


def known_codes(
    ids: NDArray[Any], vocabulary: Vocabulary, what: str, names: Names, on_unknown: Unknown
) -> NDArray[np.int64]:
    """Codes of ids, -1 where unknown; raises for unknown ids under "raise"."""
    codes = vocabulary.encode(ids) if len(ids) else np.empty(0, np.int64)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown) and on_unknown == "raise":
        raise DataError(
            f"{names.model} does not know {len(unknown)} of {len(ids)} {what}, first {ids[unknown[0]]!r}; pass "
            'on_unknown="skip" to leave them out or on_unknown="popular" to serve popular items instead'
        )
    return codes


def ask_users(users: Any, vocabulary: Vocabulary, history: Histories, names: Names, on_unknown: Unknown) -> Asked:
    """Users known from `fit` by their ids; all of them for None."""
    if users is None:
        codes = np.arange(len(vocabulary))
        return Asked(vocabulary.ids, codes, history, np.ones(len(codes), bool))
    ids = id_array(users)
    codes = known_codes(ids, vocabulary, "users", names, on_unknown)
    return Asked(ids, codes, history[codes], codes >= 0)


def ask_history(history: Any, items: Vocabulary, names: Names, on_unknown: Unknown) -> Asked:
    """Users known by a history alone: a frame with the item column (and a user column), or lists of item ids.

    Rows of a frame are in time order where it has no `timestamp` column.
    """
    ids, rows, item_ids, values = _history_table(history, names)
    codes = known_codes(item_ids, items, "items of the history", names, on_unknown)
    known = codes >= 0
    kept = {name: value[known] for name, value in values.items()}
    table = Histories.from_rows(rows[known], codes[known], len(ids), **kept)
    return Asked(ids, np.full(len(ids), -1), table, table.lengths > 0)


def _history_table(
    history: Any, names: Names
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], dict[str, NDArray[Any]]]:
    """Ids of the users, and for every event its user's row, its item id and its ratings, weights and times."""
    if isinstance(history, list | tuple | np.ndarray):
        nested = len(history) > 0 and isinstance(history[0], list | tuple | np.ndarray)
        lists = history if nested else [history]
        rows = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
        flat = [item for one in lists for item in one]
        return np.arange(len(lists)), rows, id_array(flat), {}
    frame = frames.read(history)
    if names.item not in frame.columns:
        raise DataError(f"{names.model}: the history has no column {names.item!r}; it has {', '.join(frame.columns)}")
    item_ids = frames.to_array(frame[names.item])
    if names.user in frame.columns:
        ids, rows = _first_seen(frames.to_array(frame[names.user]))
    else:
        ids, rows = np.zeros(1, np.int64), np.zeros(len(item_ids), np.int64)
    roles = {"rating": "ratings", "weight": "weights", "timestamp": "times"}
    values = {role: frames.to_array(frame[name]) for name, role in roles.items() if name in frame.columns}
    if "times" in values:
        values["times"] = values["times"].astype(np.int64)
        order = np.argsort(values["times"], kind="stable")
        rows, item_ids = rows[order], item_ids[order]
        values = {name: value[order] for name, value in values.items()}
    return ids, rows, item_ids, values


def _first_seen(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct ids in order of first appearance, and the position of each row's id among them."""
    distinct, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first)
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    return distinct[order], position[inverse]


def ask_candidates(
    items: Any, exclude_items: Any, vocabulary: Vocabulary, names: Names, on_unknown: Unknown
) -> NDArray[np.int64] | None:
    """Codes that may be recommended, ascending; None where that is the whole catalogue."""
    if items is None and exclude_items is None:
        return None
    allowed = np.ones(len(vocabulary), bool)
    if items is not None:
        codes = known_codes(id_array(items), vocabulary, "candidate items", names, on_unknown)
        allowed[:] = False
        allowed[codes[codes >= 0]] = True
    if exclude_items is not None:
        codes = known_codes(id_array(exclude_items), vocabulary, "excluded items", names, "skip")
        allowed[codes[codes >= 0]] = False
    return np.flatnonzero(allowed)


def ask_pairs(rows: Any, items: Any, names: Names) -> tuple[NDArray[Any], NDArray[Any]]:
    """User and item ids of the pairs: two columns of a frame, or two sequences of one length."""
    if items is None:
        frame = frames.read(rows)
        absent = [name for name in (names.user, names.item) if name not in frame.columns]
        if absent:
            raise DataError(f"{names.model}.predict needs a column {absent[0]!r}; it got {', '.join(frame.columns)}")
        return frames.to_array(frame[names.user]), frames.to_array(frame[names.item])
    user_ids, item_ids = id_array(rows), id_array(items)
    if len(user_ids) != len(item_ids):
        raise DataError(f"{names.model}.predict: {len(user_ids)} users but {len(item_ids)} items; give one item a user")
    return user_ids, item_ids
