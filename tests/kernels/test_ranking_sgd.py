"""Stochastic gradient steps on triples against plain loops in double precision."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from recsys.kernels.ranking_sgd import TRIES, bpr_epoch, is_positive, warp_epoch
from recsys.kernels.rows import new_table
from tests.kernels.splitmix import drawn

N_USERS, N_ITEMS, SEED = 12, 25, 11
NOTHING = np.empty(0, np.int32)
PLAIN = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)


def test_positives_are_the_entries_of_a_users_row():
    rows = [[0, 3, 4, 9], [], [7], list(range(10))]
    indptr, indices = np.cumsum([0, *map(len, rows)]), np.concatenate(rows).astype(np.int64)
    for user, row in enumerate(rows):
        assert [item for item in range(-1, 12) if is_positive(indptr, indices, user, item)] == row


# -- problems and the loops that solve them ----------------------------------------------------------------------------


@dataclass
class Side:
    """A table and its bag, as the kernels take them."""

    table: np.ndarray
    bag: tuple = PLAIN

    def of(self, e):
        """Rows of an entity and their weights."""
        indptr, columns, weights = self.bag
        if len(indptr) == 0:
            return np.array([e]), np.ones(1)
        part = slice(indptr[e], indptr[e + 1])
        return columns[part], weights[part].astype(float)

    def arrays(self):
        return self.table, *self.bag


@dataclass
class Problem:
    """12 users and 25 items; user 0 has every item."""

    dim: int = 5
    bias: bool = True
    adagrad: bool = False
    bags: bool = False
    by_user: bool = False
    popular: bool = False
    seed: int = 0
    numbers: tuple = (0.05, 0.02, 0.03)
    users: Side = field(init=False)
    items: Side = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.seen = rng.random((N_USERS, N_ITEMS)) < 0.4
        self.seen[0] = True
        self.user_of, self.liked = (codes.astype(np.int32) for codes in np.nonzero(self.seen))
        self.indptr = np.concatenate([[0], np.cumsum(self.seen.sum(1))])
        self.active = np.arange(1, N_USERS, 2, dtype=np.int32) if self.by_user else NOTHING
        self.proposals = self.liked if self.popular else NOTHING
        self.users = self.side(rng, N_USERS, self.dim)
        self.items = self.side(rng, N_ITEMS, self.dim + self.bias)

    def side(self, rng, n, columns):
        extra = 6 if self.bags else 0
        table = new_table(n + extra, columns, 1 + self.adagrad)
        table[:, 0, :columns] = rng.normal(0, 0.5, (n + extra, columns))
        if self.adagrad:
            table[:, 1] = 1
        if not self.bags:
            return Side(table)
        # One's own row, and up to three of six others.
        rows = [np.append(e, n + rng.permutation(6)[: rng.integers(4)]) for e in range(n)]
        indptr = np.cumsum([0, *map(len, rows)])
        weights = rng.uniform(0.2, 1.2, indptr[-1]).astype(np.float32)
        return Side(table, (indptr, np.concatenate(rows).astype(np.int32), weights))

    @property
    def bias_at(self):
        return self.dim if self.bias else -1

    def run(self, kernel, start, stop, last):
        return kernel(
            start, stop, np.uint64(SEED), self.active, self.user_of, self.indptr, self.liked, self.proposals, N_ITEMS,
            *self.users.arrays(), *self.items.arrays(), self.bias_at, *map(np.float32, self.numbers), last,
        )  # fmt: skip

    # The same in plain NumPy, on tables in double precision.

    def doubles(self):
        return {"p": self.users.table.astype(float), "q": self.items.table.astype(float)}

    def pair(self, n):
        if not self.by_user:
            at = drawn(SEED, n, len(self.liked))
        else:
            u = self.active[drawn(SEED, n, len(self.active))]
            at = self.indptr[u] + drawn(SEED, n + 1, self.seen[u].sum())
        return self.user_of[at], self.liked[at]

    def proposal(self, n):
        return self.liked[drawn(SEED, n, len(self.liked))] if self.popular else drawn(SEED, n, N_ITEMS)

    def vector(self, side, table, e, size):
        rows, weights = side.of(e)
        return weights @ table[rows, 0, :size]

    def score(self, tables, u, i):
        full = self.vector(self.items, tables["q"], i, self.dim + self.bias)
        p = self.vector(self.users, tables["p"], u, self.dim)
        return p @ full[: self.dim] + (full[self.dim] if self.bias else 0)

    def move(self, side, table, e, pull, direction, penalty):
        rows, weights = side.of(e)
        for row, weight in zip(rows, weights, strict=True):
            value = table[row, 0, : len(direction)]
            gradient = weight * pull * direction - penalty * value
            if self.adagrad:
                table[row, 1, : len(direction)] += gradient**2
                gradient = gradient / np.sqrt(table[row, 1, : len(direction)])
            value += self.numbers[0] * gradient

    def step(self, tables, triple, pull):
        (u, i, j), (_, user_penalty, item_penalty) = triple, self.numbers
        p = self.vector(self.users, tables["p"], u, self.dim)
        q = [self.vector(self.items, tables["q"], item, self.dim) for item in (i, j)]
        user = np.append(p, 1) if self.bias else p
        self.move(self.users, tables["p"], u, pull, q[0] - q[1], user_penalty)
        self.move(self.items, tables["q"], i, pull, user, item_penalty)
        self.move(self.items, tables["q"], j, -pull, user, item_penalty)


def bpr_twin(problem, n_steps, hardest_of):
    """A loop of single steps; returns tables, loss and steps made."""
    tables, total, steps = problem.doubles(), 0.0, 0
    for n in range(n_steps):
        first = n * (2 + (TRIES + 1) * hardest_of)
        u, i = problem.pair(first)
        for again in range(TRIES):
            proposed = [problem.proposal(first + 2 + again * hardest_of + t) for t in range(hardest_of)]
            others = [j for j in proposed if not problem.seen[u, j]]
            if others:
                break
        else:
            continue
        j = max(others, key=lambda item: problem.score(tables, u, item))
        x = problem.score(tables, u, i) - problem.score(tables, u, j)
        total, steps = total + np.log1p(np.exp(-x)), steps + 1
        problem.step(tables, (u, i, j), 1 / (1 + np.exp(x)))
    return tables, total, steps


def warp_twin(problem, n_steps, weights):
    tables, total, steps = problem.doubles(), 0.0, 0
    for n in range(n_steps):
        first = n * (2 + len(weights))
        u, i = problem.pair(first)
        limit = problem.score(tables, u, i) - 1
        for t, weight in enumerate(weights.astype(float)):
            j = problem.proposal(first + 2 + t)
            if problem.score(tables, u, j) > limit and not problem.seen[u, j]:
                total, steps = total + weight * (problem.score(tables, u, j) - limit), steps + 1
                problem.step(tables, (u, i, j), weight)
                break
    return tables, total, steps


WEIGHTS = np.array([3.0, 2.2, 1.5, 0.4], np.float32)
KERNELS = {
    "bpr": (bpr_epoch, bpr_twin, 1),
    "hardest": (bpr_epoch, bpr_twin, 3),
    "warp": (warp_epoch, warp_twin, WEIGHTS),
}


def compare(name, n_steps, **options):
    """Run kernel and loop on the same problem; returns it with the steps made."""
    kernel, twin, last = KERNELS[name]
    problem = Problem(**options)
    tables, loss, steps = twin(problem, n_steps, last)
    found, made = problem.run(kernel, 0, n_steps, last)
    assert made == steps
    assert found == pytest.approx(loss, rel=2e-4)
    np.testing.assert_allclose(problem.users.table, tables["p"], rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(problem.items.table, tables["q"], rtol=2e-4, atol=2e-4)
    return problem, made


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("adagrad", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bags", [False, True])
@pytest.mark.parametrize("dim", [1, 16, 19])
def test_an_epoch_is_a_loop_of_single_steps(name, adagrad, bias, bags, dim):
    _, made = compare(name, 300, dim=dim, adagrad=adagrad, bias=bias, bags=bags)
    assert 0 < made < 300  # user 0 has no negative


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("by_user, popular", [(True, False), (False, True), (True, True)])
def test_users_are_drawn_first_and_negatives_are_proposed_where_that_is_asked_for(name, by_user, popular):
    before = Problem(by_user=by_user, popular=popular)
    problem, made = compare(name, 300, by_user=by_user, popular=popular)
    assert made > 0
    moved = (problem.users.table != before.users.table).any((1, 2))
    # An inactive user's vector stays.
    assert moved.tolist() == [u % 2 == 1 if by_user else u > 0 for u in range(N_USERS)]


@pytest.mark.parametrize("name", KERNELS)
def test_steps_in_parts_are_the_steps_at_once(name):
    kernel, _, last = KERNELS[name]
    whole, parts = Problem(adagrad=True, bags=True), Problem(adagrad=True, bags=True)
    loss, made = whole.run(kernel, 0, 200, last)
    found = [parts.run(kernel, start, stop, last) for start, stop in ((0, 37), (37, 38), (38, 200))]
    assert sum(steps for _, steps in found) == made
    assert sum(part for part, _ in found) == pytest.approx(loss)
    np.testing.assert_array_equal(whole.users.table, parts.users.table)
    np.testing.assert_array_equal(whole.items.table, parts.items.table)


@pytest.mark.parametrize("name", KERNELS)
def test_what_a_vector_does_not_need_of_its_registers_stays_zero(name):
    kernel, _, last = KERNELS[name]
    problem = Problem(dim=5, adagrad=True)
    problem.run(kernel, 0, 200, last)
    assert not problem.users.table[:, 0, 5:].any()
    assert not problem.items.table[:, 0, 6:].any()


@pytest.mark.parametrize("name", KERNELS)
def test_a_user_who_has_every_item_makes_no_step(name):
    kernel, _, last = KERNELS[name]
    problem, before = Problem(by_user=True), Problem(by_user=True)
    problem.active = np.zeros(1, np.int32)
    assert problem.run(kernel, 0, 50, last) == (0, 0)
    np.testing.assert_array_equal(problem.users.table, before.users.table)
    np.testing.assert_array_equal(problem.items.table, before.items.table)


def test_a_negative_is_never_an_item_of_the_user():
    # Everyone has all but item 24: it alone sinks, whatever is drawn.
    for name, (kernel, _, last) in KERNELS.items():
        problem = Problem(bias=True, numbers=(0.05, 0.0, 0.0))
        problem.seen[:] = True
        problem.seen[:, 24] = False
        problem.user_of, problem.liked = (codes.astype(np.int32) for codes in np.nonzero(problem.seen))
        problem.indptr = np.arange(N_USERS + 1) * 24
        before = problem.items.table[:, 0, problem.dim].copy()
        problem.run(kernel, 0, 400, last)
        change = problem.items.table[:, 0, problem.dim] - before
        assert change[24] < 0, name
        assert (change[:24] >= 0).all(), name


@pytest.mark.parametrize("score, loss", [(1e4, 0.0), (-1e4, 2e4), (0.0, np.log(2))])
def test_the_loss_of_far_apart_scores_stays_finite(score, loss):
    p, q = new_table(1, 1, 1), new_table(2, 1, 1)
    p[0, 0, 0], q[0, 0, 0], q[1, 0, 0] = 1, score, -score
    one, nothing = np.zeros(1, np.int32), np.float32(0)
    total, steps = bpr_epoch(
        0, 1, np.uint64(0), NOTHING, one, np.arange(2), one, np.ones(1, np.int32), 2, p, *PLAIN, q, *PLAIN, -1,
        nothing, nothing, nothing, 1,
    )  # fmt: skip
    assert steps == 1
    assert total == pytest.approx(loss)


@pytest.mark.parametrize("name", KERNELS)
def test_a_score_that_is_no_number_shows_in_the_loss(name):
    kernel, _, last = KERNELS[name]
    problem = Problem()
    problem.users.table[3, 0, 0] = np.nan
    assert np.isnan(problem.run(kernel, 0, 300, last)[0])
