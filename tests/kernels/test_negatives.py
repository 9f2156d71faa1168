import numpy as np
import pytest

from recsys.kernels import negatives
from recsys.kernels.negatives import free_items

N_ITEMS = 9


def positives() -> list[list[int]]:
    """Items of each user: none, some, all, all but one."""
    rng = np.random.default_rng(0)
    some = [np.flatnonzero(rng.random(N_ITEMS) < share).tolist() for share in np.linspace(0, 1, 30)]
    return [[], [*range(N_ITEMS)], [0, 1, 2, 3, 5, 6, 7, 8], *some]


@pytest.mark.parametrize("small", [0, 1 << 16])
def test_numbers_walk_through_the_items_a_user_has_not(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "SMALL", small)
    owned = positives()
    starts = np.cumsum([0, *map(len, owned)])
    gaps = np.array([item - j for items in owned for j, item in enumerate(items)], np.int32)
    users = np.repeat(np.arange(len(owned) + 1), 3)  # the last one is beyond those that have positives
    uniform = np.random.default_rng(1).random((len(users), 50))
    uniform[:, 0], uniform[:, 1] = 0.0, np.nextafter(1, 0)
    found = free_items(uniform, users, starts, gaps, N_ITEMS, n_jobs=3)
    for user, numbers, items in zip(users, uniform, found, strict=True):
        own = owned[user] if user < len(owned) else []
        free = [item for item in range(N_ITEMS) if item not in own] or [*range(N_ITEMS)]
        assert items.tolist() == [free[int(number * len(free))] for number in numbers]
