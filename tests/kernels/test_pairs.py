"""The log loss of pairs and its gradients, beside a loop over pairs in double precision."""

from itertools import pairwise

import numpy as np
import pytest

from recsys.kernels import pairs as kernel
from recsys.kernels.pair_sides import Side, places_of
from recsys.kernels.pairs import Gradients, Pairs, pair_gradients

SHAPES = [
    (3, 0, ()),
    (0, 4, (5, 4, 2)),
    (3, 2, (5, 4, 2)),
    (0, 3, (4,)),
    (2, 5, (4,)),
    (8, 32, (32, 16, 8)),
    (20, 17, (18,)),
]
"""D, E and the widths of the layers."""
N_USERS, N_ITEMS = 9, 7


def drawn(dim: int, inner: int, widths: tuple[int, ...], n: int = 23, k: int = 3, spread: bool = False) -> Pairs:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    tower = [normal(1, widths[-1])] if widths else []
    for below, above in pairwise(widths):
        tower += [normal(above, below), normal(above)]
    width = widths[0] if widths else 0

    def side(rows: np.ndarray, n_rows: int, spread: bool) -> Side:
        tables, shared = (
            (normal(n_rows, dim), normal(n_rows, inner)),
            (normal(dim), normal(width, inner), normal(width)),
        )
        return Side(rows, tables[0], shared[0], tables[1], *shared[1:], spread)

    def some_rows(n_rows: int) -> np.ndarray:
        return rng.permutation(n_rows)[: n_rows - 2] if spread else rng.integers(0, n_rows, n_rows - 1)

    people, things = some_rows(N_USERS)[:n], some_rows(N_ITEMS)
    whose, items = np.sort(rng.integers(0, max(1, len(people)), n)), rng.integers(0, len(things), (n, 1 + k))
    sides = side(people, N_USERS, spread), side(things, N_ITEMS, spread)
    return Pairs(*sides, whose, items, [normal(1), *tower])


def doubled(side: Side) -> Side:
    return Side(
        *(one.astype(float) if isinstance(one, np.ndarray) and one.dtype == np.float32 else one for one in side)
    )


def zeros(side: Side) -> Side:
    n = [len(table) if side.spread else len(side.rows) for table in (side.multiplied, side.read)]
    tables = [np.zeros((n, table.shape[1])) for n, table in zip(n, (side.multiplied, side.read), strict=True)]
    shared = [np.zeros(one.shape) for one in (side.factor, side.weight, side.bias)]
    return side._replace(multiplied=tables[0], factor=shared[0], read=tables[1], weight=shared[1], bias=shared[2])


def add_side(found: Side, side: Side, at: int, of_product: np.ndarray, of_sums: np.ndarray) -> None:
    """The chain rule from factor * multiplied and weight read + bias of one row."""
    row = side.rows[at]
    place = row if side.spread else at
    found.multiplied[place] += side.factor * of_product
    found.factor[:] += side.multiplied[row] * of_product
    found.read[place] += side.weight.T @ of_sums
    found.weight[:] += np.outer(of_sums, side.read[row])
    found.bias[:] += of_sums


def by_loops(x: Pairs) -> tuple[float, Gradients]:
    """The same, pair by pair: the chain rule written out."""
    users, things = doubled(x.users), doubled(x.things)
    bias, *tower = (one.astype(float) for one in x.weights)
    found = Gradients(zeros(users), zeros(things), [np.zeros(one.shape) for one in x.weights])
    loss, n = 0.0, len(x.items)
    for user, items in zip(x.whose, x.items, strict=True):
        for place, item in enumerate(items):
            sides = (users, users.rows[user]), (things, things.rows[item])
            u, i = (side.factor * side.multiplied[row] for side, row in sides)
            hidden = [np.maximum(sum(side.weight @ side.read[row] + side.bias for side, row in sides), 0)]
            for weight, shift in zip(tower[1::2], tower[2::2], strict=True):
                hidden.append(np.maximum(weight @ hidden[-1] + shift, 0))
            logit = bias[0] + u @ i + (tower[0][0] @ hidden[-1] if tower else 0)
            loss += np.logaddexp(0, -logit if place == 0 else logit) / n
            slope = (1 / (1 + np.exp(-logit)) - (place == 0)) / n
            found.weights[0][0] += slope
            gradient = np.zeros(0)
            if tower:
                found.weights[1][0] += slope * hidden[-1]
                gradient = slope * tower[0][0] * (hidden[-1] > 0)
                for level in range(len(hidden) - 1, 0, -1):
                    found.weights[2 * level] += np.outer(gradient, hidden[level - 1])
                    found.weights[2 * level + 1] += gradient
                    gradient = (tower[2 * level - 1].T @ gradient) * (hidden[level - 1] > 0)
            add_side(found.users, users, user, slope * i, gradient)
            add_side(found.things, things, item, slope * u, gradient)
    return loss, found


def flat(found: Gradients) -> list[np.ndarray]:
    return [*found.users[1:6], *found.things[1:6], *found.weights]


def near(one: tuple[float, Gradients], other: tuple[float, Gradients]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for left, right in zip(flat(one[1]), flat(other[1]), strict=True):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("numbers", [1, 1 << 10, 1 << 15])
@pytest.mark.parametrize("dim, inner, widths", SHAPES)
def test_loss_and_gradients_are_those_of_loops(
    dim: int, inner: int, widths: tuple[int, ...], numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "BLOCK_NUMBERS", numbers)
    for spread in (False, True):
        x = drawn(dim, inner, widths, spread=spread)
        near(pair_gradients(x, n_jobs=1), by_loops(x))


@pytest.mark.parametrize("dim, inner, widths", SHAPES)
def test_threads_share_the_users_and_the_items(
    dim: int, inner: int, widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "LEAST", 16)
    x = drawn(dim, inner, widths, n=29, spread=True)
    found, again = pair_gradients(x, n_jobs=3), pair_gradients(x, n_jobs=3)
    near(found, by_loops(x))
    assert found[0] == again[0]
    assert all(np.array_equal(one, other) for one, other in zip(flat(found[1]), flat(again[1]), strict=True))


def test_many_rows_are_worked_on_a_few_at_a_time() -> None:
    x = drawn(3, 4, (5, 4), n=300)
    near(pair_gradients(x, n_jobs=1), by_loops(x))


def product(p: list[float], q: list[float]) -> Pairs:
    """Users and items of one number, each user with all items."""
    users, items = (np.array(one, np.float32)[:, None] for one in (p, q))
    nothing, one = np.zeros((0, 0), np.float32), np.ones(1, np.float32)

    def side(table: np.ndarray) -> Side:
        read = np.zeros((len(table), 0), np.float32)
        return Side(np.arange(len(table)), table, one, read, nothing, nothing[0:0].reshape(-1))

    each = np.tile(np.arange(len(q)), (len(p), 1))
    return Pairs(side(users), side(items), np.arange(len(p)), each, [np.zeros(1, np.float32)])


def test_large_logits_neither_overflow_nor_lose_their_cost() -> None:
    loss, found = pair_gradients(product([1e4, -1e4], [1, -1]), n_jobs=1)
    assert loss == pytest.approx(2 * 1e4 / 2)  # user 0 has both right, user 1 both wrong
    np.testing.assert_allclose(found.users.multiplied, [[0], [-2 / 2]], atol=1e-6)


def test_thousands_of_pairs_that_say_nothing_cost_ln_2_each() -> None:
    assert pair_gradients(product([0] * 4000, [0] * 4), n_jobs=1)[0] == pytest.approx(4 * np.log(2))


def test_a_number_that_is_none_is_not_lost_on_the_way() -> None:
    x = drawn(0, 4, (5, 4, 2))
    x.users.read[x.users.rows[x.whose[0]], 0] = np.nan
    assert np.isnan(pair_gradients(x, n_jobs=1)[0])


def test_no_users_have_no_loss() -> None:
    loss, found = pair_gradients(drawn(2, 3, (4,), n=0), n_jobs=1)
    assert loss == 0
    assert found.users.read.shape == (0, 3)
    assert not any(one.any() for one in flat(found))


def test_places_lead_from_codes_to_distinct_ones_and_back() -> None:
    codes = np.array([4, 2, 4, 0, 2, 4])
    distinct, places = places_of(codes, 5)
    assert distinct.tolist() == [4, 2, 0]
    np.testing.assert_array_equal(distinct[places], codes)


@pytest.mark.parametrize("whose", [[0] * 9, [0, 0, 0, 0, 0, 1, 2, 2, 2], [*range(9)]])
def test_threads_have_all_rows_of_a_user_or_none(whose: list[int]) -> None:
    cuts = kernel._cuts(np.array(whose), 3)
    assert len(cuts) == 3
    assert [row for cut in cuts for row in range(*cut)] == [*range(9)]
    parts = [{whose[row] for row in range(*cut)} for cut in cuts]
    assert sum(map(len, parts)) == len(set(whose))
