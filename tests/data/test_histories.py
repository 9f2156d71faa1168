import numpy as np
import pandas as pd
import pytest

from recsys import Dataset
from recsys.data import Histories
from recsys.errors import DataError


@pytest.fixture
def histories():
    """Three rows: [4, 2, 4], nothing, [1]."""
    return Histories.from_rows(
        np.array([0, 2, 0, 0]),
        np.array([4, 1, 2, 4]),
        3,
        ratings=np.array([1.0, 5.0, 2.0, 4.0]),
        weights=np.array([1.0, 2.0, 3.0, 4.0]),
        times=np.array([10, 11, 12, 13]),
    )


def test_rows_keep_the_order_of_events(histories):
    assert histories.indptr.tolist() == [0, 3, 3, 4]
    assert histories.items.tolist() == [4, 2, 4, 1]
    assert histories.times.tolist() == [10, 12, 13, 11]
    assert histories.ratings.tolist() == [1, 2, 4, 5]
    assert (histories.indptr.dtype, histories.items.dtype, histories.ratings.dtype) == (np.int64, np.int64, np.float32)


def test_length_and_lengths(histories):
    assert len(histories) == 3
    assert histories.lengths.tolist() == [3, 0, 1]


def test_rows_can_be_picked_repeated_and_unknown(histories):
    picked = histories[np.array([2, -1, 0, 2])]
    assert picked.lengths.tolist() == [1, 0, 3, 1]
    assert picked.items.tolist() == [1, 4, 2, 4, 1]
    assert picked.weights.tolist() == [2, 1, 3, 4, 2]
    assert picked.times.tolist() == [11, 10, 12, 13, 11]


def test_slices_and_masks_pick_rows(histories):
    assert histories[1:].items.tolist() == [1]
    assert histories[np.array([True, False, False])].items.tolist() == [4, 2, 4]
    assert len(histories[[]]) == 0


def test_picking_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    h = Histories.from_rows(rng.integers(0, 20, 200), rng.integers(0, 50, 200), 25)
    rows = rng.integers(-1, 25, 60)
    lists = [[] if r < 0 else h.items[h.indptr[r] : h.indptr[r + 1]].tolist() for r in rows]
    picked = h[rows]
    assert [picked.items[a:b].tolist() for a, b in zip(picked.indptr, picked.indptr[1:], strict=False)] == lists


def test_empty_histories_serve_any_row():
    empty = Histories.empty(2)
    assert empty.lengths.tolist() == [0, 0]
    assert empty.last(3).tolist() == [[-1, -1, -1]] * 2
    assert empty.matrix(4).shape == (2, 4)
    assert Histories.empty(0)[np.array([-1, -1])].lengths.tolist() == [0, 0]
    assert Histories.empty(0).last(2).shape == (0, 2)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_last_agrees_with_a_loop(histories, length):
    expected = np.full((3, length), -1)
    for row in range(3):
        tail = histories.items[histories.indptr[row] : histories.indptr[row + 1]][-length:]
        expected[row, : len(tail)] = tail
    found = histories.last(length)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_ones_stay_one_where_an_item_repeats(histories):
    matrix = histories.matrix(6)
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [[0, 0, 1, 0, 1, 0], [0] * 6, [0, 1, 0, 0, 0, 0]]


def test_ratings_are_averaged_and_weights_summed(histories):
    assert histories.matrix(5, "rating").toarray()[0].tolist() == [0, 0, 2, 0, 2.5]
    assert histories.matrix(5, "weight").toarray()[0].tolist() == [0, 0, 3, 0, 5]


def test_a_rating_of_zero_is_kept_as_an_entry():
    zero = Histories.from_rows(np.array([0]), np.array([1]), 1, ratings=np.array([0.0]))
    assert zero.matrix(2, "rating").nnz == 1


@pytest.mark.parametrize("values", ["ones", "rating", "weight"])
def test_making_a_matrix_leaves_the_histories_alone(histories, values):
    before = histories.indptr.copy(), histories.items.copy(), histories.ratings.copy(), histories.weights.copy()
    matrix = histories.matrix(6, values)
    matrix.data[:] = -7
    assert matrix.has_sorted_indices
    after = histories.indptr, histories.items, histories.ratings, histories.weights
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_values_that_are_not_there_are_refused():
    with pytest.raises(DataError, match="'rating': these histories hold no such column"):
        Histories.empty(1).matrix(2, "rating")
    with pytest.raises(DataError, match="'stars'"):
        Histories.empty(1).matrix(2, "stars")


def test_fields_are_frozen(histories):
    with pytest.raises(AttributeError):
        histories.items = np.empty(0)


def test_joined_histories_are_in_the_order_of_their_times():
    old = Histories.from_rows(np.array([0, 0, 1]), np.array([5, 6, 7]), 2, times=np.array([1, 9, 4]))
    new = Histories.from_rows(np.array([0, 1]), np.array([8, 9]), 2, times=np.array([5, 5]))
    joined = old.joined(np.array([0, 2]), new, 3)
    assert [joined[[row]].items.tolist() for row in range(3)] == [[5, 8, 6], [7], [9]]
    assert joined.times.tolist() == [1, 5, 9, 4, 5]


def test_without_times_the_newcomers_of_joined_histories_come_last():
    old = Histories.from_rows(np.array([0, 1]), np.array([5, 6]), 2, ratings=np.array([1.0, 2.0]))
    new = Histories.from_rows(np.array([0]), np.array([7]), 1, ratings=np.array([3.0]), times=np.array([0]))
    joined = old.joined(np.array([0]), new, 2)
    assert joined.items.tolist() == [5, 7, 6]
    assert joined.ratings.tolist() == [1, 3, 2]
    assert joined.times is None
    assert joined.weights is None


# -- sessions and contexts of events -----------------------------------------------------------------------------------


def events() -> Dataset:
    """Users 1 (sessions a a b a), 2 (c) and 3 (d d), rows out of order, with a device beside each event."""
    rows = [
        (1, 10, 1, "a", "tv"), (3, 40, 2, "d", "tv"), (1, 30, 3, "b", "phone"), (2, 20, 5, "c", "phone"),
        (1, 20, 2, "a", "phone"), (1, 40, 9, "a", "tv"), (3, 10, 1, "d", "phone"),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "session", "device"])
    return Dataset(frame, session_col="session", context_cols=["device"])


def devices(history: Histories) -> list[str]:
    assert history.context is not None
    column = history.context["device"]
    return column.labels[column.codes].tolist()


def test_events_keep_their_session_and_context_where_they_are_asked_for() -> None:
    data = events()
    assert data.histories().sessions is None
    assert data.histories().context is None
    history = data.histories(events=True)
    assert data.items.ids[history.items].tolist() == [10, 20, 30, 40, 20, 10, 40]
    assert devices(history) == ["tv", "phone", "phone", "tv", "phone", "phone", "tv"]
    assert history.sessions is not None
    assert [len(set(history.sessions[:4].tolist())), history.sessions[0] == history.sessions[3]] == [2, True]
    some = history[np.array([2, -1, 0])]
    assert devices(some) == ["phone", "tv", "tv", "phone", "phone", "tv"]
    assert devices(history[np.array([2])]) == ["phone", "tv"]


def test_sessions_are_rows_of_their_own_wherever_the_number_changes() -> None:
    history, owners = events().histories(events=True).by_session()
    assert history.lengths.tolist() == [2, 1, 1, 1, 2]
    assert owners.tolist() == [0, 0, 0, 1, 2]
    assert devices(history[np.array([1])]) == ["phone"]


def test_the_last_session_is_what_follows_the_last_change() -> None:
    whole = events().histories(events=True)
    assert whole.last_session().lengths.tolist() == [1, 1, 2]
    assert whole.last_session().items.tolist() == whole.items[[3, 4, 5, 6]].tolist()
    assert devices(whole.last_session()) == ["tv", "phone", "phone", "tv"]
    empty = whole[np.array([-1, 1, -1])].last_session()
    assert empty.lengths.tolist() == [0, 1, 0]


def test_last_sessions_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 8, 50)
    indptr = np.append(0, lengths.cumsum())
    sessions = rng.integers(0, 3, indptr[-1])
    history = Histories(indptr, rng.integers(0, 9, indptr[-1]), sessions=sessions)
    last = history.last_session()
    apart, owners = history.by_session()
    rows: list[list[int]] = [[] for _ in range(50)]
    for row in range(50):
        items, numbers = history.items[indptr[row] : indptr[row + 1]], sessions[indptr[row] : indptr[row + 1]]
        kept = []
        for item, number in zip(items[::-1], numbers[::-1], strict=True):
            if number != numbers[-1]:
                break
            kept.append(int(item))
        assert last.items[last.indptr[row] : last.indptr[row + 1]].tolist() == kept[::-1]
        rows[row] = [int((numbers[1:] != numbers[:-1]).sum()) + 1 if len(numbers) else 0]
    assert np.bincount(owners, minlength=50).tolist() == [one for (one,) in rows]
    assert apart.items.tolist() == history.items.tolist()


def test_without_sessions_a_history_is_its_only_one() -> None:
    history = events().histories()
    apart, owners = history.by_session()
    assert apart is history
    assert owners.tolist() == [0, 1, 2]
    assert history.last_session() is history


def test_joined_histories_keep_contexts_and_start_new_sessions() -> None:
    history = events().histories(events=True)
    both = history.joined(np.array([1, 0, 2]), history, 3)
    assert both.sessions is not None
    # User 1 has got the one event of user 2, at time 5 between those at 3 and at 9.
    assert len(set(both.sessions[:5].tolist())) == 3
    assert devices(both[np.array([0])]) == ["tv", "phone", "phone", "phone", "tv"]
