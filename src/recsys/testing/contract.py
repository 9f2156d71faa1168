"""What checks are made of: models to check, what they answer, and how a broken contract is reported."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from recsys.base import Recommender
from recsys.data import frames
from recsys.testing.planted import ITEM, USER, Tables, item_ids, planted, user_ids

Model = Recommender | type[Recommender]
"""What a check takes: a class, with its defaults, or an instance, with its hyperparameters; either stays as it is."""
Check = Callable[[Model], None]

QUICK = {
    "epochs": 3,
    "n_factors": 8,
    "embedding_dim": 8,
    "hidden_dims": 16,
    "max_len": 8,
    "verbose": 0,
}
"""Largest values of hyperparameters where a check does not ask how good the model is."""


class ConformanceError(AssertionError):
    """A contract that a model breaks: the message names the class, what broke, and how."""


# -- models ------------------------------------------------------------------------------------------------------------


def fresh(model: Model) -> Recommender:
    """An unfitted model: a class with its defaults, or a clone of an instance."""
    return model() if isinstance(model, type) else model.clone()


def reduced(model: Model, limits: Mapping[str, int]) -> Recommender:
    """An unfitted model whose hyperparameters are no larger than the limits, on the CPU unless it names a device."""
    one = fresh(model)
    params = one.get_params()
    changes: dict[str, Any] = {name: least(params[name], limit) for name, limit in limits.items() if name in params}
    if params.get("device") == "auto":
        changes["device"] = "cpu"
    return one.set_params(**changes)


def least(value: Any, limit: int) -> Any:
    """A number, or each of a tuple, but no larger than the limit; what is neither stays as it is."""
    if isinstance(value, tuple):
        return tuple(least(one, limit) for one in value)
    return min(value, limit) if isinstance(value, int | float) else value


def quick(model: Model) -> Recommender:
    """An unfitted model that is fitted in a moment."""
    return reduced(model, QUICK)


def fitted(model: Model) -> Recommender:
    """A quick model, fitted on the planted data of its task shape; a new one each time, which a check may change."""
    return quick(model).fit(tables_for(model).dataset())


# -- data --------------------------------------------------------------------------------------------------------------


def tables_for(model: Model, seed: int = 0) -> Tables:
    """The planted data of a model's task shape."""
    return planted(model.shape, seed)


def all_users() -> NDArray[np.int64]:
    """Ids of all planted users, the idle one last."""
    return user_ids()


def all_items() -> NDArray[np.int64]:
    """Ids of all planted items, the idle one last."""
    return item_ids()


def seen_items(tables: Tables) -> dict[int, set[int]]:
    """Items of each user's history; with labels, those of the rows labeled 1."""
    rows = tables.interactions
    rows = rows[rows["label"] == 1] if "label" in rows.columns else rows
    return {int(user): set(items) for user, items in rows.groupby(USER)[ITEM]}


# -- answers -----------------------------------------------------------------------------------------------------------


def all_scores(one: Recommender, users: ArrayLike | None = None, items: ArrayLike | None = None) -> NDArray[np.float32]:
    """`predict` of every pair, (U, I); of all planted users and items by default."""
    rows = np.asarray(all_users() if users is None else users)
    columns = np.asarray(all_items() if items is None else items)
    scores = one.predict(np.repeat(rows, len(columns)), np.tile(columns, len(rows)))
    return scores.reshape(len(rows), len(columns))


def columns_of(frame: Any) -> dict[str, NDArray[Any]]:
    """Columns of a frame of any kind as arrays, in order."""
    table = frames.read(frame)
    return {name: frames.to_array(table[name]) for name in table.columns}


def close(one: ArrayLike, other: ArrayLike, tolerance: float = 1e-4) -> bool:
    """Whether two arrays of scores are alike, up to a share of the largest; NaN and infinity are like nothing."""
    left, right = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if left.shape != right.shape or not (np.isfinite(left).all() and np.isfinite(right).all()):
        return False
    largest = max(np.abs(left).max(initial=0), np.abs(right).max(initial=0))
    return bool((np.abs(left - right) <= tolerance * largest).all())


def same_lists(one: Any, other: Any, tolerance: float = 1e-4) -> bool:
    """Whether two results of `recommend` are alike: users, ranks and scores, and items but where scores as good as tie."""
    left, right = columns_of(one), columns_of(other)
    if len(left["rank"]) != len(right["rank"]) or not close(left["score"], right["score"], tolerance):
        return False
    if not all(np.array_equal(left[name], right[name]) for name in (USER, "rank")):
        return False
    swapped = left[ITEM] != right[ITEM]
    if tolerance == 0 or not swapped.any():
        return not swapped.any()
    slack = tolerance * float(np.abs(left["score"]).max())
    near_next = (np.diff(left["score"], append=-np.inf) >= -slack) & (np.diff(left["rank"], append=1) == 1)
    near_last = np.append(False, near_next[:-1])
    ends = np.diff(left["rank"], append=1) != 1  # what ties with the last item of a list may be left out of it
    return bool((near_next | near_last | ends)[swapped].all())


# -- verdicts ----------------------------------------------------------------------------------------------------------


def name_of(model: Model) -> str:
    """Name of a model's class."""
    return model.__name__ if isinstance(model, type) else type(model).__name__


def expect(holds: bool, model: Model, contract: str) -> None:
    """Raise for a contract that does not hold; `contract` says what is wrong."""
    if not holds:
        raise ConformanceError(f"{name_of(model)}: {contract}")


def expect_error(kind: type[Exception], call: Callable[[], Any], model: Model, what: str, *mentions: str) -> None:
    """Require a call to raise an error of a kind whose message holds every one of `mentions`."""
    try:
        call()
    except kind as error:
        absent = [word for word in mentions if word not in str(error)]
        expect(not absent, model, f"{what}: the {kind.__name__} does not name {', '.join(absent)}: {error}")
    except Exception as error:
        raised = f"{type(error).__name__} ({error})"
        raise ConformanceError(f"{name_of(model)}: {what} raises {raised}, not {kind.__name__}") from error
    else:
        raise ConformanceError(f"{name_of(model)}: {what} raises nothing; it should raise {kind.__name__}")


# -- the caller's random state -----------------------------------------------------------------------------------------


def global_rng() -> tuple[Any, Any, torch.Tensor]:
    """The global random states of Python, NumPy and torch."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def stir_global_rng() -> None:
    """Move all three on, as a caller's own draws would."""
    random.random()
    np.random.random()  # noqa: NPY002
    torch.rand(1)


@contextmanager
def global_rng_kept() -> Iterator[None]:
    """Put all three back after the block, whatever happens in it."""
    python, numpy, torch_state = global_rng()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torch_state)
