"""Ways to hold data out. Each gives data sets with vocabularies of their own, so that nothing of the test side leaks.

Rows are dealt out once: the parts of a split are disjoint and hold every row of the data.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data import Dataset
from recsys.errors import DataError, ParameterError


class HeldOutUsers(NamedTuple):
    """`by_user`: train on some users; for the others, a history that may be read and the targets to find."""

    train: Dataset
    history: Dataset
    targets: Dataset


def random(data: Any, test_size: float = 0.2, *, random_state: int = 0) -> tuple[Dataset, Dataset]:
    """Interactions at random, a share `test_size` of them held out: (train, test).

    Trains on what happened after test interactions; `temporal` does not.
    """
    known = Dataset.wrap(data)
    _check_share("random", "test_size", test_size)
    held = np.zeros(len(known), bool)
    held[_generator("random", random_state).permutation(len(known))[: round(test_size * len(known))]] = True
    return _two(known, held, f"random: test_size={test_size}")


def temporal(data: Any, test_size: float = 0.2) -> tuple[Dataset, Dataset]:
    """The newest `test_size` of all interactions held out, by one global cut in time: (train, test).

    The only split that never trains on what happened after a test interaction. Interactions at the time of the cut are
    all held out, so that equal times make the test side larger than asked for.
    """
    known = Dataset.wrap(data)
    _check_share("temporal", "test_size", test_size)
    times = _times(known, "temporal")
    cut = np.sort(times)[min(len(known) - 1, round((1 - test_size) * len(known)))]
    return _two(known, times >= cut, f"temporal: test_size={test_size}")


def leave_last_out(data: Any, n: int = 1) -> tuple[Dataset, Dataset]:
    """Each user's last `n` interactions held out: (train, test). A user with no more than `n` is trained on whole.

    Last in time, or in the order of the frame where there are no times. One user's test interactions may come before
    another's training ones.
    """
    known = Dataset.wrap(data)
    _check_count("leave_last_out", "n", n, 1)
    users = _users(known, "leave_last_out")
    counts = np.bincount(users, minlength=known.n_users)
    from_end = np.cumsum(counts)[users] - np.arange(len(known))
    return _two(known, (from_end <= n) & (counts[users] > n), f"leave_last_out: n={n}")


def by_user(data: Any, test_size: float = 0.2, *, given: float = 0.8, random_state: int = 0) -> HeldOutUsers:
    """Whole users held out (strong generalization): (train, history, targets).

    Of each held-out user a share `given` of the interactions, drawn at random, may be read and the others are to be
    found: `evaluate(model, targets, history=history)`.
    """
    known = Dataset.wrap(data)
    _check_share("by_user", "test_size", test_size)
    _check_share("by_user", "given", given)
    codes = _users(known, "by_user")
    rng = _generator("by_user", random_state)
    users = np.unique(codes)
    chosen = np.isin(codes, rng.permutation(users)[: max(1, round(test_size * len(users)))])
    order = np.lexsort((rng.random(len(known)), codes))
    counts = np.bincount(codes, minlength=known.n_users)
    place = np.empty(len(known), np.int64)
    place[order] = np.arange(len(known)) - (np.cumsum(counts) - counts)[codes[order]]
    read = place < np.ceil(given * counts)[codes]
    parts = [~chosen, chosen & read, chosen & ~read]
    for rows, what in zip(parts, ("train", "history", "target"), strict=True):
        if not rows.any():
            raise DataError(f"by_user leaves no {what} interactions; change test_size={test_size} or given={given}")
    return HeldOutUsers(*(known.subset(rows) for rows in parts))


def folds(data: Any, n_splits: int = 5, *, random_state: int = 0) -> Iterator[tuple[Dataset, Dataset]]:
    """Cross-validation: interactions dealt at random into `n_splits` parts, each held out once: (train, test) pairs."""
    known = Dataset.wrap(data)
    _check_count("folds", "n_splits", n_splits, 2, len(known))
    part = _generator("folds", random_state).permutation(len(known)) % n_splits
    return (_two(known, part == number, f"folds: n_splits={n_splits}") for number in range(n_splits))


def rolling(data: Any, n_splits: int = 3, *, test_size: float = 0.1) -> Iterator[tuple[Dataset, Dataset]]:
    """Successive global cuts in time: each test set is the next `test_size` of the data, trained on all before it.

    Gives (train, test) pairs, earliest first. Interactions at the time of a cut belong to the later side.
    """
    known = Dataset.wrap(data)
    _check_count("rolling", "n_splits", n_splits, 1)
    _check_share("rolling", "test_size", test_size)
    if test_size * n_splits >= 1:
        raise ParameterError(
            f"rolling: n_splits={n_splits} of test_size={test_size} leave nothing to train on; give less than 1 in all"
        )
    times = _times(known, "rolling")
    edges = [round((1 - test_size * part) * len(known)) for part in range(n_splits, 0, -1)]
    cuts = [*np.sort(times)[np.minimum(edges, len(known) - 1)], None]
    sides = [
        (times < start, (times >= start) & (times < stop if stop is not None else True))
        for start, stop in pairwise(cuts)
    ]
    if not all(before.any() and held.any() for before, held in sides):
        raise DataError(
            "rolling leaves an empty side: too many equal timestamps; give fewer splits or a larger test_size"
        )
    return ((known.subset(before), known.subset(held)) for before, held in sides)


def _two(data: Dataset, held: NDArray[np.bool_], what: str) -> tuple[Dataset, Dataset]:
    for rows, side in ((~held, "training"), (held, "test")):
        if not rows.any():
            raise DataError(f"{what} leaves no {side} interactions of {len(data)}")
    return data.subset(~held), data.subset(held)


def _times(data: Dataset, name: str) -> NDArray[np.int64]:
    if data.timestamps is None:
        raise DataError(
            f"split.{name} needs a timestamp column; pass timestamp_col=... to Dataset, or use split.random"
        )
    return data.timestamps


def _users(data: Dataset, name: str) -> NDArray[np.int64]:
    if data.users is None:
        raise DataError(f"split.{name} needs users, and this data set has user_col=None; use split.random")
    return data.user_codes


def _generator(name: str, random_state: object) -> np.random.Generator:
    _check_count(name, "random_state", random_state, 0)
    return np.random.default_rng(random_state)  # type: ignore[arg-type]


def _check_share(split: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise ParameterError(f"{split}: {name}={value!r} is not allowed; give a share between 0 and 1")


def _check_count(split: str, name: str, value: object, low: int, high: int | None = None) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        limits = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
        raise ParameterError(f"{split}: {name}={value!r} is not allowed; give {limits}")
