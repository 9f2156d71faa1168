"""Splits: every row is dealt out once, the seed decides, and nothing of the test side leaks."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys import Dataset, split
from recsys.errors import DataError, ParameterError


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Interactions with a number each; times go up by 10 and some are equal; some users have few rows."""
    rng = np.random.default_rng(0)
    users = np.sort(rng.zipf(1.4, 400) % 40)
    times = rng.permutation(400) // 2 * 10
    rows = {"user_id": users, "item_id": rng.integers(0, 60, 400), "timestamp": times, "number": np.arange(400)}
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def data(frame: pd.DataFrame) -> Dataset:
    return Dataset(frame)


def numbers(part: Dataset) -> list[int]:
    return part.to_frame()["number"].tolist()


Parts = Callable[[Dataset, int], Iterable[tuple[Dataset, ...]]]
SPLITS: dict[str, Parts] = {
    "random": lambda data, seed: [split.random(data, 0.3, random_state=seed)],
    "temporal": lambda data, seed: [split.temporal(data, 0.3)],
    "leave_last_out": lambda data, seed: [split.leave_last_out(data, 2)],
    "by_user": lambda data, seed: [split.by_user(data, 0.3, random_state=seed)],
    "folds": lambda data, seed: split.folds(data, 4, random_state=seed),
}
SEEDED = ("random", "by_user", "folds")


# -- what all splits hold ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPLITS)
def test_every_row_is_on_one_side(name: str, data: Dataset) -> None:
    for parts in SPLITS[name](data, 0):
        assert all(len(part) for part in parts)
        assert sorted(number for part in parts for number in numbers(part)) == list(range(400))


@pytest.mark.parametrize("name", SPLITS)
def test_the_same_seed_gives_the_same_parts(name: str, data: Dataset, frame: pd.DataFrame) -> None:
    one, same, other = ([[numbers(p) for p in parts] for parts in SPLITS[name](d, s)] for d, s in
                        ((data, 3), (Dataset(frame), 3), (data, 4)))  # fmt: skip
    assert one == same
    assert (one != other) == (name in SEEDED)


@pytest.mark.parametrize("name", SPLITS)
def test_the_training_side_knows_nothing_of_the_rest(name: str, data: Dataset) -> None:
    for parts in SPLITS[name](data, 0):
        for part in parts:
            rows = part.to_frame()
            assert part.users.ids.tolist() == sorted(set(rows["user_id"]))
            assert part.items.ids.tolist() == sorted(set(rows["item_id"]))


def test_roles_features_and_the_kind_of_frame_are_kept(frame: pd.DataFrame) -> None:
    users = pl.DataFrame({"user_id": range(45), "age": [30.0] * 45})
    data = Dataset(
        pl.from_pandas(frame.rename(columns={"timestamp": "at"})), timestamp_col="at", rating_col="number",
        user_features=users,
    )  # fmt: skip
    for part in split.temporal(data):
        assert isinstance(part.to_frame(), pl.DataFrame)
        assert part.timestamps is not None
        assert part.roles.rating_col == "number"
        assert part.n_users == 45


def test_a_bare_frame_is_wrapped(frame: pd.DataFrame) -> None:
    train, test = split.random(frame, 0.25, random_state=1)
    assert len(train) == 300
    assert sorted(numbers(train) + numbers(test)) == list(range(400))


def test_the_global_generator_is_untouched(data: Dataset) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    for name in SPLITS:
        list(SPLITS[name](data, 0))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index] # noqa: NPY002


# -- random ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test_size", [0.01, 0.25, 0.9])
def test_random_holds_out_its_share(data: Dataset, test_size: float) -> None:
    assert len(split.random(data, test_size)[1]) == round(test_size * 400)


def test_random_holds_out_each_row_equally_often(data: Dataset) -> None:
    small = data.subset(np.arange(10))
    times = Counter(number for seed in range(200) for number in numbers(split.random(small, 0.3, random_state=seed)[1]))
    # 60 expected of each of the 10 rows, with a deviation of 6.5.
    assert len(times) == 10
    assert min(times.values()) > 60 - 4 * 6.5
    assert max(times.values()) < 60 + 4 * 6.5


# -- in time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test_size", [0.05, 0.3, 0.8])
def test_temporal_trains_on_nothing_from_the_cut_on(data: Dataset, test_size: float) -> None:
    train, test = split.temporal(data, test_size)
    assert train.to_frame()["timestamp"].max() < test.to_frame()["timestamp"].min()
    # Two rows share each time, so that at most one more than asked for is held out.
    assert 0 <= len(test) - round(test_size * 400) <= 1


def test_equal_times_stay_on_one_side() -> None:
    frame = pd.DataFrame({"user_id": range(10), "item_id": 0, "timestamp": [0, 1, 1, 1, 1, 1, 1, 1, 1, 2]})
    train, test = split.temporal(Dataset(frame), 0.3)
    assert (len(train), len(test)) == (1, 9)


def test_dates_are_times(frame: pd.DataFrame) -> None:
    dated = frame.assign(timestamp=pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["timestamp"], unit="h"))
    for one, other in zip(split.temporal(frame), split.temporal(dated), strict=True):
        assert numbers(one) == numbers(other)


def test_rolling_cuts_follow_one_another(data: Dataset) -> None:
    pairs = list(split.rolling(data, 4, test_size=0.15))
    assert len(pairs) == 4
    for train, test in pairs:
        assert train.to_frame()["timestamp"].max() < test.to_frame()["timestamp"].min()
        assert abs(len(test) - 60) <= 1
    held = [number for _, test in pairs for number in numbers(test)]
    assert len(set(held)) == len(held)
    newest = sorted(data.to_frame()["timestamp"])[-len(held) :]
    assert sorted(data.to_frame().set_index("number").loc[held, "timestamp"]) == newest
    for (train, test), (later, _) in pairwise(pairs):
        assert sorted(numbers(train) + numbers(test)) == sorted(numbers(later))


def test_rolling_refuses_times_that_cannot_be_cut() -> None:
    frame = pd.DataFrame({"user_id": range(10), "item_id": 0, "timestamp": [0, 1, 1, 1, 1, 1, 1, 1, 1, 2]})
    with pytest.raises(DataError, match="too many equal timestamps"):
        split.rolling(Dataset(frame), 3, test_size=0.2)


# -- by user -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_leave_last_out_takes_the_newest_of_each_user(data: Dataset, n: int) -> None:
    train, test = split.leave_last_out(data, n)
    counts = data.to_frame().groupby("user_id").size()
    held = test.to_frame().groupby("user_id").size()
    assert held.to_dict() == {user: n for user, count in counts.items() if count > n}
    newest = train.to_frame().groupby("user_id")["timestamp"].max()
    for user, first in test.to_frame().groupby("user_id")["timestamp"].min().items():
        assert newest[user] <= first
    assert set(counts.index) == set(train.to_frame()["user_id"])


def test_without_times_the_last_rows_of_the_frame_are_the_last() -> None:
    frame = pd.DataFrame({"user_id": ["b", "a", "b", "a", "c"], "item_id": [1, 2, 3, 4, 5]})
    _, test = split.leave_last_out(Dataset(frame))
    assert test.to_frame()["item_id"].tolist() == [4, 3]


@pytest.mark.parametrize("given", [0.5, 0.8])
def test_by_user_holds_out_whole_users(data: Dataset, given: float) -> None:
    train, history, targets = split.by_user(data, 0.3, given=given, random_state=2)
    users = [set(part.to_frame()["user_id"]) for part in (train, history, targets)]
    assert not users[0] & (users[1] | users[2])
    assert users[2] <= users[1]
    assert len(users[1]) == round(0.3 * data.n_users)
    whole = data.to_frame().groupby("user_id").size()
    for user, count in history.to_frame().groupby("user_id").size().items():
        assert count == np.ceil(given * whole[user])


def test_by_user_is_unpacked_or_named(data: Dataset) -> None:
    parts = split.by_user(data, 0.3)
    assert parts == (parts.train, parts.history, parts.targets)


def test_by_user_reads_a_random_part_of_the_history(data: Dataset) -> None:
    times = [split.by_user(data, 0.5, given=0.5, random_state=seed) for seed in range(30)]
    older = [
        history.to_frame()["timestamp"].mean() < targets.to_frame()["timestamp"].mean() for _, history, targets in times
    ]
    assert 5 <= sum(older) <= 25


# -- folds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_splits", [2, 7, 40])
def test_folds_hold_every_row_out_once(data: Dataset, n_splits: int) -> None:
    small = data.subset(np.arange(40))
    tests = [numbers(test) for _, test in split.folds(small, n_splits)]
    assert len(tests) == n_splits
    assert sorted(number for test in tests for number in test) == sorted(numbers(small))
    assert max(map(len, tests)) - min(map(len, tests)) <= 1


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: split.random(d, 0.0), r"random: test_size=0.0 is not allowed; give a share between 0 and 1"),
        (lambda d: split.random(d, 30), r"random: test_size=30"),
        (lambda d: split.random(d, "0.2"), r"random: test_size='0.2'"),
        (lambda d: split.random(d, float("nan")), r"random: test_size=nan"),
        (lambda d: split.random(d, random_state=-1), r"random: random_state=-1"),
        (lambda d: split.random(d, random_state=None), r"random: random_state=None"),
        (lambda d: split.temporal(d, 1.0), r"temporal: test_size=1.0"),
        (lambda d: split.leave_last_out(d, 0), r"leave_last_out: n=0 is not allowed; give an integer of at least 1"),
        (lambda d: split.leave_last_out(d, 0.2), r"leave_last_out: n=0.2"),
        (lambda d: split.by_user(d, -0.1), r"by_user: test_size=-0.1"),
        (lambda d: split.by_user(d, given=1), r"by_user: given=1 "),
        (lambda d: split.folds(d, 1), r"folds: n_splits=1 is not allowed; give an integer from 2 to 400"),
        (lambda d: split.folds(d, 401), r"folds: n_splits=401"),
        (lambda d: split.rolling(d, 0), r"rolling: n_splits=0"),
        (lambda d: split.rolling(d, 3, test_size=2.0), r"rolling: test_size=2.0"),
        (lambda d: split.rolling(d, 5, test_size=0.2), r"rolling: n_splits=5 of test_size=0.2 leave nothing"),
    ],
)
def test_arguments_that_cannot_be_are_named_at_once(
    data: Dataset, call: Callable[[Dataset], Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        call(data)


@pytest.mark.parametrize("call", [split.temporal, split.rolling])
def test_splits_in_time_need_times(call: Callable[..., Any], frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"needs a timestamp column; pass timestamp_col="):
        call(frame.drop(columns="timestamp"))


@pytest.mark.parametrize("call", [split.leave_last_out, split.by_user])
def test_splits_by_user_need_users(call: Callable[..., Any], frame: pd.DataFrame) -> None:
    rows = Dataset(frame, user_col=None, item_col=None, context_cols=["number"])
    with pytest.raises(DataError, match=r"needs users.*use split.random"):
        call(rows)
    assert len(split.random(rows)[1]) == 80


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: split.random(d, 0.001), r"random: test_size=0.001 leaves no test interactions of 2"),
        (lambda d: split.temporal(d, 0.999), r"temporal: test_size=0.999 leaves no training interactions of 2"),
        (lambda d: split.leave_last_out(d), r"leave_last_out: n=1 leaves no test interactions"),
        (lambda d: split.by_user(d), r"by_user leaves no target interactions; change test_size=0.2 or given=0.8"),
    ],
)
def test_an_empty_side_is_refused(call: Callable[[Dataset], Any], message: str) -> None:
    lonely = Dataset(pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [1, 2]}))
    with pytest.raises(DataError, match=message):
        call(lonely)
