"""Ways to hold data out. Each gives data sets with vocabularies of their own, so that nothing of the test side
leaks."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.data import Dataset
from recsys.errors import DataError, ParameterError


class HeldOutUsers(NamedTuple):
    """`by_user`: train on some users; for the others, a history that may be read and the targets to find."""

    train: Dataset
    history: Dataset
    targets: Dataset


def random(data: Dataset, test_size: float = 0.2, *, random_state: int = 0) -> tuple[Dataset, Dataset]:
    """Interactions at random, `test_size` of them held out: (train, test)."""
    _check_share("test_size", test_size)
    held = np.zeros(len(data), bool)
    held[np.random.default_rng(random_state).permutation(len(data))[: round(test_size * len(data))]] = True
    return _two(data, held)


def temporal(data: Dataset, test_size: float = 0.2) -> tuple[Dataset, Dataset]:
    """The newest `test_size` of all interactions held out, by one global cut in time: (train, test).

    The only split that never trains on what happened after a test interaction.
    """
    _check_share("test_size", test_size)
    times = _times(data, "temporal")
    cut = np.sort(times)[min(len(data) - 1, round((1 - test_size) * len(data)))]
    return _two(data, times >= cut)


def leave_last_out(data: Dataset, n: int = 1) -> tuple[Dataset, Dataset]:
    """Each user's last `n` interactions held out: (train, test). A user with no more than `n` is trained on whole."""
    if n < 1:
        raise ParameterError(f"n={n} is not allowed; give at least 1")
    counts = np.bincount(data.user_codes, minlength=data.n_users)
    ends = np.cumsum(counts)
    from_end = ends[data.user_codes] - np.arange(len(data))
    return _two(data, (from_end <= n) & (counts[data.user_codes] > n))


def by_user(data: Dataset, test_size: float = 0.2, *, given: float = 0.8, random_state: int = 0) -> HeldOutUsers:
    """Whole users held out (strong generalization); `given` of each one's interactions, at random, may be read."""
    _check_share("test_size", test_size)
    _check_share("given", given)
    rng = np.random.default_rng(random_state)
    users = np.unique(data.user_codes)
    chosen = np.isin(data.user_codes, rng.permutation(users)[: max(1, round(test_size * len(users)))])
    shuffled = rng.random(len(data))
    order = np.lexsort((shuffled, data.user_codes))
    counts = np.bincount(data.user_codes, minlength=data.n_users)
    place = np.empty(len(data), np.int64)
    place[order] = np.arange(len(data)) - (np.cumsum(counts) - counts)[data.user_codes[order]]
    read = place < np.ceil(given * counts)[data.user_codes]
    parts = [~chosen, chosen & read, chosen & ~read]
    for rows, what in zip(parts, ("train", "history", "target"), strict=True):
        if not rows.any():
            raise DataError(f"by_user leaves no {what} interactions; change test_size={test_size} or given={given}")
    return HeldOutUsers(*(data.subset(rows) for rows in parts))


def folds(data: Dataset, n_splits: int = 5, *, random_state: int = 0) -> Iterator[tuple[Dataset, Dataset]]:
    """Cross-validation: interactions dealt at random into `n_splits` parts, each held out once."""
    if not 2 <= n_splits <= len(data):
        raise ParameterError(f"n_splits={n_splits} is not allowed; give 2 to {len(data)}")
    part = np.random.default_rng(random_state).permutation(len(data)) % n_splits
    for number in range(n_splits):
        yield _two(data, part == number)


def rolling(data: Dataset, n_splits: int = 3, *, test_size: float = 0.1) -> Iterator[tuple[Dataset, Dataset]]:
    """Successive global cuts in time: each test set is the next `test_size` of the data, trained on all before it."""
    _check_share("test_size", test_size * n_splits)
    times = _times(data, "rolling")
    ordered = np.sort(times)
    edges = [round((1 - test_size * i) * len(data)) for i in range(n_splits, -1, -1)]
    cuts = [ordered[min(edge, len(data) - 1)] for edge in edges[:-1]]
    for start, stop in zip(cuts, [*cuts[1:], None], strict=True):
        held = (times >= start) & (times < stop if stop is not None else True)
        before = times < start
        if not held.any() or not before.any():
            raise DataError("rolling leaves an empty side: too many equal timestamps; give fewer splits")
        yield data.subset(before), data.subset(held)


def _two(data: Dataset, held: NDArray[np.bool_]) -> tuple[Dataset, Dataset]:
    for rows, what in ((~held, "training"), (held, "test")):
        if not rows.any():
            raise DataError(f"the split leaves no {what} interactions of {len(data)}")
    return data.subset(~held), data.subset(held)


def _times(data: Dataset, name: str) -> NDArray[np.int64]:
    if data.timestamps is None:
        raise DataError(
            f"split.{name} needs a timestamp column; pass timestamp_col=... to Dataset, or use split.random"
        )
    return data.timestamps


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ParameterError(f"{name}={value} is not allowed; give a share between 0 and 1")
