"""Exact solvers of factorization machines: what they minimize, what they draw from, and that nothing drifts."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import kstest

from recsys.families.slots import Slots
from recsys.models.fields.fm_solvers import Block, Gibbs, LeastSquares, Machine, Prior, blocks_of, kept_sweeps


def side(codes: Any, sizes: tuple[int, ...], values: Any = None, fields: tuple[int, ...] | None = None) -> Slots:
    codes = np.array(codes)
    values = np.ones(codes.shape, np.float32) if values is None else np.asarray(values, np.float32)
    fields = tuple(range(codes.shape[1])) if fields is None else fields
    return Slots(codes, values, fields, (False,) * codes.shape[1], sizes)


class Rows:
    """400 rows of 12 users and 9 items (the last of each has no row), both with features, and a number as context."""

    def __init__(self, seed: int = 0, n: int = 400):
        rng = np.random.default_rng(seed)
        users = side(np.column_stack([np.arange(12), np.arange(12) % 3]), (12, 3))
        tags = np.column_stack([np.arange(9), np.arange(9) % 4, np.where(np.arange(9) % 2, 4, -1)])
        items = side(tags, (9, 5), np.where(tags >= 0, [1, 0.5, 0.5], 0), (0, 1, 1))
        context = side(np.zeros((n, 1), int), (1,), rng.normal(size=(n, 1)))
        self.sides = [users, items, context]
        self.entities = [rng.integers(11, size=n), rng.integers(8, size=n), np.arange(n)]
        self.sizes = tuple(size for one in self.sides for size in one.sizes)
        self.groups = np.repeat(np.arange(5), self.sizes)
        self.rng = rng

    def dense(self) -> np.ndarray:
        """The rows' features, (n, 30)."""
        tables = []
        for one, entity in zip(self.sides, self.entities, strict=True):
            starts = np.cumsum([0, *one.sizes])
            table = np.zeros((len(one.codes), starts[-1]))
            for s, field in enumerate(one.fields):
                known = np.flatnonzero(one.codes[:, s] >= 0)
                np.add.at(table, (known, one.codes[known, s] + starts[field]), one.values[known, s])
            tables.append(table[entity])
        return np.hstack(tables)

    def machine(self, targets: Any, dim: int = 3, weights: Any = None, seed: int = 1) -> Machine:
        rng = np.random.default_rng(seed)
        return Machine(blocks_of(self.sides, self.entities), self.groups, targets, weights, dim, 0.3, rng)


def by_definition(machine: Machine, x: np.ndarray) -> np.ndarray:
    scores = machine.bias + x @ machine.weights
    for i, j in itertools.combinations(range(x.shape[1]), 2):
        scores = scores + machine.vectors[:, i] @ machine.vectors[:, j] * x[:, i] * x[:, j]
    return scores


def test_scores_are_those_of_all_pairs_of_features() -> None:
    rows = Rows()
    machine = rows.machine(np.zeros(400))
    machine.bias, machine.weights = 0.5, rows.rng.normal(size=len(rows.groups))
    np.testing.assert_allclose(machine.scores(), by_definition(machine, rows.dense()), atol=1e-6)


def test_a_block_knows_its_features_and_which_some_row_has() -> None:
    rows = Rows()
    first, second, third = blocks_of(rows.sides, rows.entities)
    assert [one.features for one in (first, second, third)] == [slice(0, 15), slice(15, 29), slice(29, 30)]
    seen = np.concatenate([first.seen, second.seen, third.seen])
    np.testing.assert_array_equal(seen, (rows.dense() != 0).any(0))
    assert blocks_of([side(np.empty((1, 0), int), ())], [np.zeros(4, int)]) == []


def test_a_feature_named_twice_counts_the_sum() -> None:
    block = Block.of(side([[1, 1, 0]], (2,), [[0.25, 0.5, 1]], (0, 0, 0)), np.zeros(3, int), 0)
    np.testing.assert_array_equal(block.sums(np.array([1.0, 10.0])), [8.5])


@pytest.mark.parametrize("weighted", [False, True])
def test_every_step_of_least_squares_lowers_the_objective(weighted: bool) -> None:
    rows = Rows()
    weights = rows.rng.uniform(0.5, 3, 400) if weighted else None
    machine = rows.machine(rows.rng.normal(size=400), weights=weights)
    penalty, nothing = 0.8, np.zeros(len(rows.groups))
    prior = Prior(np.zeros(5), np.full(5, penalty))

    def objective() -> float:
        error = machine.targets - machine.scores()
        return float(
            (machine.row_weights * error**2).sum() + penalty * ((machine.weights**2).sum() + (machine.vectors**2).sum())
        )

    values = [objective()]
    for _ in range(5):
        machine.step_bias(1.0, 0.0)
        values.append(objective())
        machine.step_weights(prior, 1.0, nothing)
        values.append(objective())
        for f in range(3):
            machine.step_factor(f, prior, 1.0, nothing)
            values.append(objective())
    assert (np.diff(values) < 1e-9).all()
    assert values[-1] < 0.9 * values[0]


def test_least_squares_ends_where_no_derivative_is_left() -> None:
    rows = Rows()
    x, machine = rows.dense(), rows.machine(rows.rng.normal(size=400))
    solver = LeastSquares(machine, 2.0)
    losses = [solver.sweep() for _ in range(2000)]
    assert losses[-1] == pytest.approx(float(np.mean(machine.error**2)))
    np.testing.assert_allclose(machine.error.sum(), 0, atol=1e-4)
    np.testing.assert_allclose(x.T @ machine.error, 2.0 * machine.weights, atol=1e-4)
    for v in machine.vectors:
        h = x * (x @ v)[:, None] - x**2 * v
        np.testing.assert_allclose(h.T @ machine.error, 2.0 * v, atol=1e-4)


@pytest.mark.parametrize("kind", ["als", "ratings", "labels"])
def test_errors_do_not_drift(kind: str) -> None:
    rows = Rows()
    machine = rows.machine(np.zeros(400) if kind == "labels" else rows.rng.normal(size=400))
    labels = rows.rng.integers(2, size=400) if kind == "labels" else None
    solver = LeastSquares(machine, 1.0) if kind == "als" else Gibbs(machine, labels, rows.rng, kept_sweeps(50, 5))
    for _ in range(50):
        solver.sweep()
    np.testing.assert_allclose(machine.error, machine.targets - machine.scores(), atol=1e-9)


def test_draws_of_the_weights_have_the_posteriors_mean_and_covariance() -> None:
    # Three features that depend on each other, known noise and prior: the posterior is normal.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3)).astype(np.float32)
    x[:, 1] += x[:, 0]
    block = blocks_of([side(np.zeros((30, 3), int), (1, 1, 1), x)], [np.arange(30)])
    alpha, prior = 1.5, Prior(np.array([0.5, -0.5, 0.0]), np.array([2.0, 1.0, 4.0]))
    machine = Machine(block, np.arange(3), rng.normal(size=30), None, 1, 0.0, rng)
    draws = np.empty((20_000, 3))
    for n in range(len(draws)):
        machine.step_weights(prior, alpha, rng.standard_normal(3))
        draws[n] = machine.weights
    precision = alpha * x.T @ x + np.diag(prior.precisions)
    mean = np.linalg.solve(precision, alpha * x.T @ machine.targets + prior.precisions * prior.means)
    np.testing.assert_allclose(draws[100:].mean(0), mean, atol=0.01)
    np.testing.assert_allclose(np.cov(draws[100:].T), np.linalg.inv(precision), atol=0.003)


def test_sampling_finds_the_noise_and_the_spread_of_the_weights() -> None:
    rng = np.random.default_rng(0)
    n, deviation = 8000, 0.6
    users, items = (side(np.arange(size)[:, None], (size,)) for size in (200, 100))
    entities = [rng.integers(200, size=n), rng.integers(100, size=n)]
    user_weights, item_weights = rng.normal(1.0, 0.5, 200), rng.normal(0.0, 2.0, 100)
    p, q = rng.normal(0, 0.7, (200, 2)), rng.normal(0, 0.7, (100, 2))
    scores = user_weights[entities[0]] + item_weights[entities[1]] + (p[entities[0]] * q[entities[1]]).sum(1)
    groups = np.repeat([0, 1], [200, 100])
    machine = Machine(
        blocks_of([users, items], entities), groups, scores + deviation * rng.normal(size=n), None, 4, 0.1, rng
    )
    solver = Gibbs(machine, None, rng, kept_sweeps(200, 20))
    alphas = []
    for _ in range(200):
        solver.sweep()
        alphas.append(solver.alpha)
    assert np.mean(np.array(alphas[100:]) ** -0.5) == pytest.approx(deviation, rel=0.03)
    assert machine.weights[:200].std() == pytest.approx(0.5, rel=0.2)
    assert machine.weights[200:].std() == pytest.approx(2.0, rel=0.2)


def test_targets_of_labels_are_normal_numbers_cut_at_zero() -> None:
    rows = Rows(n=20_000)
    labels = np.repeat([0, 1], 10_000)
    machine = rows.machine(np.zeros(20_000))
    machine.bias = 0.7
    machine.error = machine.targets - machine.scores()
    scores = machine.scores()
    Gibbs(machine, labels, rows.rng, kept_sweeps(1, 1))._draw_targets(2.0 * labels - 1)
    targets, signs = machine.targets, 2 * labels - 1
    assert (signs * targets > 0).all()
    # By its distribution function every target is uniform.
    below, edge = ndtr(targets - scores), ndtr(-scores)
    uniform = np.where(labels == 1, (below - edge) / (1 - edge), below / edge)
    assert kstest(uniform, "uniform").pvalue > 0.001
    np.testing.assert_allclose(machine.error, targets - scores, atol=1e-12)


def test_targets_are_finite_however_wrong_a_score_is() -> None:
    rows = Rows()
    machine = rows.machine(np.zeros(400))
    machine.error = machine.targets + 60.0  # scores of -60, and every label is 1
    Gibbs(machine, np.ones(400), rows.rng, kept_sweeps(1, 1))._draw_targets(np.ones(400))
    assert np.isfinite(machine.error).all()


def test_the_mean_of_draws_is_one_machine() -> None:
    rows = Rows()
    x, machine = rows.dense(), rows.machine(rows.rng.normal(size=400))
    solver = Gibbs(machine, None, rows.rng, kept_sweeps(12, 4))
    np.testing.assert_array_equal(solver.learned().vectors, machine.learned().vectors)
    scores = []
    for n in range(1, 13):
        solver.sweep()
        if n in kept_sweeps(12, 4):
            scores.append(machine.scores())
    mean = solver.learned()
    assert (mean.n_draws, mean.vectors.shape) == (4, (30, 12))
    machine.bias, machine.weights, machine.vectors = mean.bias, mean.weights, mean.vectors.T.astype(np.float64)
    np.testing.assert_allclose(machine.scores(), np.mean(scores, axis=0), atol=1e-5)
    assert mean.variance == pytest.approx(float(np.var(scores, axis=0).mean()), rel=1e-6)
    assert x.shape == (400, 30)


def test_what_no_row_tells_about_stays_at_the_mean_of_its_field() -> None:
    rows = Rows()
    machine = rows.machine(rows.rng.normal(size=400))
    solver = Gibbs(machine, None, rows.rng, kept_sweeps(3, 1))
    for _ in range(3):
        solver.sweep()
    unseen = np.flatnonzero(~machine.seen)
    assert {11, 15 + 8} <= set(unseen)
    for kind, v in enumerate([machine.weights, *machine.vectors]):
        np.testing.assert_allclose(v[unseen], solver.means[kind, rows.groups[unseen]])


@pytest.mark.parametrize(
    "n_sweeps, n_draws, wanted", [(8, 3, [3, 5, 8]), (1, 20, [1]), (4, 20, [2, 3, 4]), (100, 1, [100])]
)
def test_kept_draws_are_spread_over_the_last_three_quarters(n_sweeps: int, n_draws: int, wanted: list[int]) -> None:
    assert sorted(kept_sweeps(n_sweeps, n_draws)) == wanted
