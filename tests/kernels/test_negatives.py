import numpy as np
import pytest

from recsys.kernels import negatives
from recsys.kernels.draws import draw
from recsys.kernels.negatives import free_items, mark, take_pairs

N_ITEMS, N_DRAWS = 19, 50


def positives() -> list[list[int]]:
    """Items of each user: none, all, all but one, some."""
    rng = np.random.default_rng(0)
    some = [np.flatnonzero(rng.random(N_ITEMS) < share).tolist() for share in np.linspace(0, 1, 30)]
    return [[], [*range(N_ITEMS)], [item for item in range(N_ITEMS) if item != 4], *some]


def drawn(seed: int, marked: bool) -> tuple[np.ndarray, np.ndarray]:
    """Users, the last of whom is beyond those that have positives, and what is found for them."""
    owned = positives()
    starts = np.cumsum([0, *map(len, owned)])
    gaps = np.array([item - j for items in owned for j, item in enumerate(items)], np.int32)
    marks = np.zeros((len(owned), -(-N_ITEMS // 8)) if marked else (0, 0), np.uint8)
    if marked:
        mark(np.repeat(np.arange(len(owned)), np.diff(starts)), np.concatenate(owned).astype(np.int64), marks)
    users = np.repeat(np.arange(len(owned) + 1), 3)
    table = np.full((len(users), N_DRAWS + 1), -1, np.int32)
    free_items(seed, users, starts, gaps, marks, N_ITEMS, table[:, 1:], n_jobs=3)
    assert (table[:, 0] == -1).all()
    return users, table[:, 1:]


def free_items_of(user: int) -> list[int]:
    owned = positives()
    own = owned[user] if user < len(owned) else []
    return [item for item in range(N_ITEMS) if item not in own] or [*range(N_ITEMS)]


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_numbers_count_the_items_a_user_has_not(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "SMALL", small)
    users, found = drawn(3, marked=False)
    for row, (user, items) in enumerate(zip(users, found, strict=True)):
        free = free_items_of(user)
        assert items.tolist() == [free[draw(3, row * N_DRAWS + k, len(free))] for k in range(N_DRAWS)]


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_items_are_drawn_until_one_is_free_unless_most_are_not(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "SMALL", small)
    users, found = drawn(3, marked=True)
    again = 0
    for row, (user, items) in enumerate(zip(users, found, strict=True)):
        free = free_items_of(user)
        for k, item in enumerate(items.tolist()):
            place = row * N_DRAWS + k
            if 2 * len(free) < N_ITEMS:
                assert item == free[draw(3, place, len(free))]
                continue
            while (wanted := draw(3, place, N_ITEMS)) not in free:
                place, again = place + found.size, again + 1
            assert item == wanted
    assert again > 100


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_pairs_come_as_users_and_all_that_is_beside_them(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "SMALL", small)
    table = np.random.default_rng(0).integers(0, 100, (30, 6)).astype(np.int32)
    rows = np.random.default_rng(1).permutation(30)[:20]
    users, items = take_pairs(rows, table, n_jobs=3)
    np.testing.assert_array_equal(users, table[rows, 0])
    np.testing.assert_array_equal(items, table[rows, 1:])
    assert users.dtype == items.dtype == np.int64
