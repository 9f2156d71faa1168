"""Stochastic gradient steps on triples after a basket against a plain loop in double precision."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from recsys.kernels.markov_sgd import markov_epoch
from recsys.kernels.ranking_sgd import TRIES, bpr_epoch
from recsys.kernels.rows import new_table
from tests.kernels.splitmix import drawn

N_USERS, N_ITEMS, SEED = 12, 25, 11
RATE, PENALTY = 0.05, 0.02


@dataclass
class Problem:
    """12 users and 25 items; user 0 has every item, the others ten events. Baskets are the two events before."""

    dim: int = 5
    n_last: int = 2
    popular: bool = False
    tables: tuple = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(0)
        rows = [rng.permutation(N_ITEMS)] + [rng.integers(0, N_ITEMS, 10) for _ in range(1, N_USERS)]
        self.has = [sorted(set(row.tolist())) for row in rows]
        self.user_of = np.repeat(np.arange(N_USERS, dtype=np.int32), [len(row) for row in rows])
        self.events = np.concatenate(rows).astype(np.int32)
        firsts = np.searchsorted(self.user_of, self.user_of)
        self.stops = np.arange(len(self.events))
        self.starts = np.maximum(self.stops - self.n_last, firsts)
        self.indptr = np.cumsum([0, *map(len, self.has)])
        self.liked = np.concatenate(self.has).astype(np.int32)
        self.proposals = self.liked if self.popular else np.empty(0, np.int32)
        self.tables = tuple(self.table(rng, n, parts) for n, parts in ((N_USERS, 1), (N_ITEMS, 1), (N_ITEMS, 2)))

    def table(self, rng, n, n_parts):
        width = new_table(0, self.dim, 1).shape[2]
        table = new_table(n, n_parts * width, 1)
        table.reshape(n, n_parts, width)[:, :, : self.dim] = rng.normal(0, 0.5, (n, n_parts, self.dim))
        return table

    def run(self, start, stop, hardest_of=1, penalty=PENALTY):
        return markov_epoch(
            start, stop, np.uint64(SEED), self.user_of, self.events, self.starts, self.stops, self.indptr, self.liked,
            self.proposals, N_ITEMS, *self.tables, np.float32(RATE), np.float32(penalty), hardest_of,
        )  # fmt: skip

    def proposal(self, n):
        return self.liked[drawn(SEED, n, len(self.liked))] if self.popular else drawn(SEED, n, N_ITEMS)


def split(q):
    """The two halves of item rows: what meets the user and what meets the basket."""
    return np.split(q[:, 0].astype(float), 2, axis=1)


def twin(problem, n_steps, hardest_of):
    """A loop of single steps on tables (n, W) in double precision; returns p, b, both halves of q, loss, steps made."""
    p, b = (table[:, 0].astype(float) for table in problem.tables[:2])
    q, r = split(problem.tables[2])
    total, steps = 0.0, 0
    for n in range(n_steps):
        first = n * (1 + (TRIES + 1) * hardest_of)
        at = drawn(SEED, first, len(problem.events))
        u, i = problem.user_of[at], problem.events[at]
        basket = problem.events[problem.starts[at] : problem.stops[at]]
        taste, before = p[u].copy(), b[basket].mean(0) if len(basket) else np.zeros(p.shape[1])
        for again in range(TRIES):
            proposed = [problem.proposal(first + 1 + again * hardest_of + t) for t in range(hardest_of)]
            others = [j for j in proposed if j not in problem.has[u]]
            if others:
                break
        else:
            continue
        j = max(others, key=lambda item: taste @ q[item] + before @ r[item])
        x = taste @ (q[i] - q[j]) + before @ (r[i] - r[j])
        total, steps = total + np.log1p(np.exp(-x)), steps + 1
        pull, for_user, for_basket = 1 / (1 + np.exp(x)), q[i] - q[j], r[i] - r[j]
        p[u] += RATE * (pull * for_user - PENALTY * p[u])
        for item in basket:
            b[item] += RATE * (pull / len(basket) * for_basket - PENALTY * b[item])
        for item, sign in ((i, 1), (j, -1)):
            q[item] += RATE * (sign * pull * taste - PENALTY * q[item])
            r[item] += RATE * (sign * pull * before - PENALTY * r[item])
    return p, b, q, r, total, steps


@pytest.mark.parametrize("dim", [1, 16, 19])
@pytest.mark.parametrize("n_last", [1, 3])
@pytest.mark.parametrize("hardest_of", [1, 3])
@pytest.mark.parametrize("popular", [False, True])
def test_an_epoch_is_a_loop_of_single_steps(dim, n_last, hardest_of, popular):
    problem = Problem(dim, n_last, popular)
    p, b, q, r, loss, steps = twin(problem, 300, hardest_of)
    found, made = problem.run(0, 300, hardest_of)
    assert made == steps
    assert 0 < made < 300  # user 0 has no negative
    assert found == pytest.approx(loss, rel=2e-4)
    for one, wanted in zip((problem.tables[0][:, 0], problem.tables[1][:, 0]), (p, b), strict=True):
        np.testing.assert_allclose(one, wanted, atol=2e-4)
    for one, wanted in zip(split(problem.tables[2]), (q, r), strict=True):
        np.testing.assert_allclose(one, wanted, atol=2e-4)


def test_steps_in_parts_are_the_steps_at_once():
    whole, parts = Problem(), Problem()
    loss, made = whole.run(0, 200)
    found = [parts.run(start, stop) for start, stop in ((0, 37), (37, 38), (38, 200))]
    assert sum(steps for _, steps in found) == made
    assert sum(part for part, _ in found) == pytest.approx(loss)
    for one, other in zip(whole.tables, parts.tables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_vectors_do_not_need_of_their_registers_stays_zero():
    problem = Problem(dim=5)
    problem.run(0, 200)
    for table in problem.tables:
        assert not table.reshape(len(table), -1, 16)[:, :, 5:].any()


def test_without_baskets_a_step_is_that_of_bpr():
    # A triple of user 1 and items 0 and 1, whatever is drawn.
    problem = Problem(dim=16)
    problem.user_of, problem.events = np.ones(1, np.int32), np.zeros(1, np.int32)
    problem.starts, problem.stops = np.zeros(1, np.int64), np.zeros(1, np.int64)
    problem.indptr, problem.liked = np.array([0, 0, 1]), np.zeros(1, np.int32)
    problem.proposals = np.ones(1, np.int32)
    p, b, q = (table.copy() for table in problem.tables)
    loss, _ = problem.run(0, 20)
    own = np.ascontiguousarray(q[:, :, :16])
    plain = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    penalty = np.float32(PENALTY)
    wanted, _ = bpr_epoch(
        0, 20, np.uint64(SEED), np.empty(0, np.int32), problem.user_of, problem.indptr, problem.liked,
        problem.proposals, N_ITEMS, p, *plain, own, *plain, -1, np.float32(RATE), penalty, penalty, 1,
    )  # fmt: skip
    assert loss == pytest.approx(wanted)
    np.testing.assert_allclose(problem.tables[0], p, atol=1e-6)
    np.testing.assert_array_equal(problem.tables[1], b)
    np.testing.assert_allclose(problem.tables[2][:, :, :16], own, atol=1e-6)


def test_a_negative_is_never_an_item_of_the_user():
    # With no vectors but those of items towards a user who is all ones, a step tells by its sign who was drawn.
    problem = Problem(dim=1)
    for table in problem.tables:
        table[:] = 0
    problem.tables[0][:, 0, 0] = 1
    others = set(range(N_ITEMS)) - set(problem.has[1])
    only = problem.user_of == 1
    problem.user_of, problem.events = problem.user_of[only], problem.events[only]
    problem.starts, problem.stops = np.zeros(10, np.int64), np.zeros(10, np.int64)
    problem.run(0, 400, penalty=0.0)
    moved = problem.tables[2][:, 0, 0]
    assert {int(item) for item in np.flatnonzero(moved < 0)} == others
    assert {int(item) for item in np.flatnonzero(moved > 0)} == set(problem.has[1])


def test_a_score_that_is_no_number_shows_in_the_loss():
    problem = Problem()
    problem.tables[1][3, 0, 0] = np.nan
    assert np.isnan(problem.run(0, 300)[0])
