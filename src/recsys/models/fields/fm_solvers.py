"""Solvers of factorization machines without a step size: coordinate descent and Gibbs sampling.

Rendle, "Factorization Machines with libFM", ACM TIST 2012; Rendle, "Scaling Factorization Machines to Relational Data",
VLDB 2013 (blocks).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri

from recsys.families.slots import Slots
from recsys.kernels.fm import N_SUMS, add_products, add_squares, spread_steps, step_features, sum_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Block:
    """One side of the rows: row n is of entity[n], whose features are stored once; feature j is of entities[indptr[j]:...].

    Memory is the features of the entities and one number a row.
    """

    entity: NDArray[np.int32]
    indptr: NDArray[np.int64]
    entities: NDArray[np.int32]
    values: NDArray[np.float32]
    n_entities: int
    first: int
    """Number of the block's first feature among those of all blocks."""

    @classmethod
    def of(cls, slots: Slots, entity: NDArray[np.integer], first: int) -> "Block":
        """The block of a side's slots (E, S); a feature that a row names twice counts the sum of its values."""
        starts = np.cumsum([0, *slots.sizes])
        row, slot = np.nonzero(slots.codes >= 0)
        features = slots.codes[row, slot] + starts[np.array(slots.fields, np.int64)[slot]]
        shape = (len(slots.codes), int(starts[-1]))
        table = sp.csc_matrix((slots.values[row, slot], (row, features)), shape=shape)
        indptr, entities = table.indptr.astype(np.int64), table.indices.astype(np.int32)
        return cls(entity.astype(np.int32), indptr, entities, table.data, shape[0], first)

    @property
    def features(self) -> slice:
        """The block's features among those of all blocks."""
        return slice(self.first, self.first + len(self.indptr) - 1)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which features some row has."""
        rows = np.append(0, np.cumsum(np.bincount(self.entity, minlength=self.n_entities)[self.entities]))
        return rows[self.indptr[1:]] > rows[self.indptr[:-1]]

    def sums(self, v: Floats, *, squared: bool = False) -> Floats:
        """Sum of x_j v_j, or of their squares, of each entity (E,), for v (n,) of all features."""
        q, add = np.zeros(self.n_entities), add_squares if squared else add_products
        add(self.indptr, self.entities, self.values, v[self.features], q)
        return q


def blocks_of(sides: Sequence[Slots], entities: Sequence[NDArray[np.integer]]) -> list[Block]:
    """A block for each side that has features: the slots of its entities, and the entity of each row of the data."""
    firsts = np.cumsum([0, *(sum(side.sizes) for side in sides)])
    blocks = [Block.of(side, entity, int(n)) for side, entity, n in zip(sides, entities, firsts, strict=False)]
    return [block for block in blocks if len(block.indptr) > 1]


class Learned(NamedTuple):
    """A factorization machine: its bias, and the weights (n,) and vectors (n, D) of the features.

    Where it is the mean of draws, its vectors are theirs side by side, and `variance` is the mean over the training rows
    of the variance of a row's score over the draws.
    """

    bias: float
    weights: NDArray[np.float32]
    vectors: NDArray[np.float32]
    n_draws: int = 1
    variance: float = 0.0


class Prior(NamedTuple):
    """Normal priors of the numbers of one kind: mean and precision of each group (G,)."""

    means: Floats
    precisions: Floats


class Machine:
    """A factorization machine of order 2 and its errors on the training rows, which every step keeps up to date.

    A step on one factor of all features costs O(rows + entries of the blocks). Memory is the blocks, the vectors, and
    five numbers a row.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        groups: NDArray[np.int64],
        targets: NDArray[Any],
        row_weights: NDArray[Any] | None,
        dim: int,
        init_std: float,
        rng: np.random.Generator,
    ):
        self.blocks, self.groups = blocks, groups
        self.targets = targets.astype(np.float64)
        self.row_weights = np.ones(len(targets)) if row_weights is None else row_weights.astype(np.float64)
        self.seen = np.concatenate([block.seen for block in blocks])
        self.bias, self.weights = 0.0, np.zeros(len(groups))
        self.vectors = init_std * rng.standard_normal((dim, len(groups)))
        self.error = self.targets - self.scores()

    def scores(self) -> Floats:
        """bias + sum of w_j x_j + sum over pairs of v_i v_j x_i x_j of each row (N,), from the start."""
        scores = self.bias + self._totals(self.weights)
        for v in self.vectors:
            scores += 0.5 * (self._totals(v) ** 2 - self._totals(v, squared=True))
        return scores

    def _totals(self, v: Floats, *, squared: bool = False) -> Floats:
        return np.sum([block.sums(v, squared=squared)[block.entity] for block in self.blocks], axis=0)

    def step_bias(self, alpha: float, noise: float) -> None:
        """The bias at its mean given the rest, plus `noise` of its deviations; its prior is flat."""
        total = float(self.row_weights.sum())
        step = float(self.row_weights @ self.error) / total + noise / np.sqrt(alpha * total)
        self.bias += step
        self.error -= step

    def step_weights(self, prior: Prior, alpha: float, noise: Floats) -> None:
        """Every feature's weight in turn."""
        for block in self.blocks:
            # A weight is a product with a number that is 1 in every row and of no entity.
            total, q = np.ones(len(self.error)), np.zeros(block.n_entities)
            self._step(block, prior, alpha, noise, 0.0, self.weights, q, total)

    def step_factor(self, f: int, prior: Prior, alpha: float, noise: Floats) -> None:
        """Factor f of every feature's vector in turn."""
        v = self.vectors[f]
        sums = [block.sums(v) for block in self.blocks]
        total = np.sum([q[block.entity] for block, q in zip(self.blocks, sums, strict=True)], axis=0)
        for block, q in zip(self.blocks, sums, strict=True):
            self._step(block, prior, alpha, noise, 1.0, v, q, total)

    def _step(
        self, block: Block, prior: Prior, alpha: float, noise: Floats, own: float, v: Floats, q: Floats, total: Floats
    ) -> None:
        at, old = block.features, q.copy()
        sums, shift = np.empty((block.n_entities, N_SUMS)), np.zeros(block.n_entities)
        sum_rows(block.entity, self.row_weights, total, self.error, q, sums)
        step_features(
            block.indptr, block.entities, block.values, self.groups[at], *prior, alpha, noise[at], own, v[at], q,
            shift, sums,
        )  # fmt: skip
        spread_steps(block.entity, old, q, shift, total, self.error)

    def squared_error(self) -> float:
        """Sum over rows of weight times squared error."""
        return float(self.row_weights @ self.error**2)

    def mean_squared_error(self) -> float:
        """`squared_error` for a weight of 1."""
        return self.squared_error() / float(self.row_weights.sum())

    def learned(self) -> Learned:
        """A copy of what the machine has learned."""
        return Learned(self.bias, self.weights.astype(np.float32), self.vectors.T.astype(np.float32))


class LeastSquares:
    """Coordinate descent on the sum over rows of weight e^2, plus regularization (|w|^2 + |V|^2)."""

    def __init__(self, machine: Machine, regularization: float):
        n_groups = int(machine.groups.max()) + 1
        self.machine, self.nothing = machine, np.zeros(len(machine.groups))
        self.prior = Prior(np.zeros(n_groups), np.full(n_groups, float(regularization)))

    def sweep(self) -> float:
        """One exact minimization over each number in turn; returns the mean squared error."""
        machine = self.machine
        machine.step_bias(1.0, 0.0)
        machine.step_weights(self.prior, 1.0, self.nothing)
        for f in range(len(machine.vectors)):
            machine.step_factor(f, self.prior, 1.0, self.nothing)
        return machine.mean_squared_error()

    def learned(self) -> Learned:
        """The machine as it is."""
        return self.machine.learned()


class Gibbs:
    """Draws from the posterior of a machine: a field has a normal prior for the weights, and one for each factor.

    Hyperpriors are those of libFM: Gamma(1/2, 1/2) for precisions, N(0, 1 / precision) for means. For `labels`, 0 or 1,
    a row's target is a normal number of variance 1 around its score, above 0 where the label is 1 (probit).
    """

    def __init__(
        self, machine: Machine, labels: NDArray[Any] | None, rng: np.random.Generator, kept: NDArray[np.int64]
    ):
        self.machine, self.rng = machine, rng
        self.signs = None if labels is None else 2.0 * labels - 1
        self.alpha, self.means = 1.0, np.zeros((1 + len(machine.vectors), int(machine.groups.max()) + 1))
        self.n_sweeps, self.kept = 0, kept
        self.draws: list[Learned] = []
        self.sums, self.squares = np.zeros(len(machine.error)), np.zeros(len(machine.error))

    def sweep(self) -> float:
        """Draw every number once; returns the mean squared error, or the mean log loss of labels."""
        machine = self.machine
        if self.signs is None:
            shape, rate = 1 + len(machine.error), 1 + machine.squared_error()
            self.alpha = float(self.rng.gamma(shape / 2, 2 / rate))
        else:
            self._draw_targets(self.signs)
        machine.step_bias(self.alpha, float(self.rng.standard_normal()))
        machine.step_weights(self._draw_prior(0, machine.weights), self.alpha, self._noise())
        for f, v in enumerate(machine.vectors):
            machine.step_factor(f, self._draw_prior(1 + f, v), self.alpha, self._noise())
        scores = machine.targets - machine.error
        self._keep(scores)
        return machine.mean_squared_error() if self.signs is None else -float(log_ndtr(self.signs * scores).mean())

    def learned(self) -> Learned:
        """The mean of the draws that are kept, or the last draw while there is none.

        A mean of scores is the score of a machine with the draws' vectors side by side, over the root of their number.
        """
        n = len(self.draws)
        if n == 0:
            return self.machine.learned()
        bias = float(np.mean([draw.bias for draw in self.draws]))
        weights = np.mean([draw.weights for draw in self.draws], axis=0, dtype=np.float64).astype(np.float32)
        vectors = np.concatenate([draw.vectors for draw in self.draws], axis=1) / np.float32(np.sqrt(n))
        variance = float(np.maximum(self.squares / n - (self.sums / n) ** 2, 0).mean())
        return Learned(bias, weights, vectors, n, variance)

    def _keep(self, scores: Floats) -> None:
        """Keep this draw, if it is one to keep."""
        self.n_sweeps += 1
        if self.n_sweeps in self.kept:
            self.draws.append(self.machine.learned())
            self.sums += scores
            self.squares += scores**2

    def _noise(self) -> Floats:
        # What no row tells about stays at its prior's mean: the average over draws, at once.
        return np.where(self.machine.seen, self.rng.standard_normal(len(self.machine.groups)), 0)

    def _draw_targets(self, signs: Floats) -> None:
        """New targets, each on its label's side of 0."""
        machine = self.machine
        scores = machine.targets - machine.error
        # By the upper tail, which keeps its digits where a score is far on the wrong side.
        tail = ndtr(signs * scores) * (1 - self.rng.random(len(scores)))
        machine.error = -signs * ndtri(np.maximum(tail, np.finfo(np.float64).tiny))
        machine.targets = scores + machine.error

    def _draw_prior(self, kind: int, v: Floats) -> Prior:
        """Precisions, then means, of the groups' priors, given the numbers v (n,) of one kind."""
        groups, seen = self.machine.groups[self.machine.seen], v[self.machine.seen]
        means = self.means[kind]
        counts = np.bincount(groups, minlength=len(means))
        spread = np.bincount(groups, (seen - means[groups]) ** 2, len(means)) + means**2 + 1
        precisions = self.rng.gamma((counts + 2) / 2, 2 / spread)
        center = np.bincount(groups, seen, len(means)) / (counts + 1)
        self.means[kind] = center + self.rng.standard_normal(len(means)) / np.sqrt((counts + 1) * precisions)
        return Prior(self.means[kind], precisions)


def kept_sweeps(n_sweeps: int, n_draws: int) -> NDArray[np.int64]:
    """Numbers of the sweeps, from 1, whose draws are kept: evenly from the last three quarters, the last one included."""
    first = n_sweeps // 4 + 1
    return np.linspace(n_sweeps, first, min(n_draws, n_sweeps - first + 1)).astype(np.int64)
