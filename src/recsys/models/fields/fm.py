"""Factorization machines: weights of features and of products of two or more, by gradients, least squares or sampling.

Rendle, "Factorization Machines", ICDM 2010; Rendle, "Factorization Machines with libFM", ACM TIST 2012; Blondel et al.,
"Higher-Order Factorization Machines", NeurIPS 2016.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor, nn
from tqdm.auto import tqdm

from recsys.base import Query
from recsys.data import Dataset, Features, StreamedDataset
from recsys.embedding import FieldEmbedding
from recsys.errors import ParameterError
from recsys.families import FieldRecommender
from recsys.families.field import FieldBatch, FieldNet, Parts
from recsys.families.slots import Slots, Table, at, joined, unknown
from recsys.kernels.topk import Lists, empty_lists, top_k_dot
from recsys.lists import Seen, seen_rows
from recsys.metrics import parse
from recsys.models.fields.fm_solvers import Gibbs, Learned, LeastSquares, Machine, blocks_of, kept_sweeps
from recsys.models.fields.repeats import merged
from recsys.nn.interactions import anova, anova_degrees
from recsys.params import Bound, NonNegative, PositiveInt
from recsys.training import pick_device, seeded

CHUNK = 1 << 22
"""Numbers of slots' vectors that are held at a time while the rows of one side are turned into vectors, 16 MiB."""
USERS_AT_A_TIME = 4096
"""Users whose vectors are held at a time when the catalog is ranked."""


class FMNet(FieldNet):
    """Score of a row: bias + linear + for each order m = 2, ..., `order` all products of m features.

    bias + sum_j w_j x_j + sum_m sum_{j1 < ... < jm} x_j1 ... x_jm sum_d v_j1d ... v_jmd, with vectors of its own for
    each order, side by side in one table.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        embedding_dim: int,
        *,
        order: int = 2,
        std: float = 0.1,
        sparse: bool = True,
    ):
        super().__init__()
        self.order = order
        self.bias = nn.Parameter(torch.zeros(()))
        self.linear = FieldEmbedding(sizes, 1, fields=slot_fields, std=0.0, sparse=sparse)
        dim = embedding_dim * (order - 1)
        self.embedding = FieldEmbedding(sizes, dim, fields=slot_fields, std=std, sparse=sparse)

    def embed(self, codes: Tensor, values: Tensor) -> Parts:
        """Slots (B, S) and values (B, S) to linear parts (B,) and vectors times values (B, S, (order - 1) D)."""
        # Slots of one field are not summed: products of features of one field count too.
        return self.linear.total(codes, values)[:, 0], self.embedding.slot_vectors(codes, values)

    def head(self, parts: Parts) -> Tensor:
        """Linear parts (B,) and vectors (B, S, (order - 1) D) to scores (B,)."""
        linear, vectors = parts
        products = [anova(e, m) for m, e in enumerate(vectors.chunk(self.order - 1, 2), start=2)]
        return self.bias + linear + torch.stack(products).sum(0)

    def side(self, parts: Parts) -> Parts:
        """Scores of the rows by themselves (B,), and their sums of products of 1 to m - 1 features for each order m.

        Those sums are given as (B, P), P = D order (order - 1) / 2, in rising and in falling degree: a product of m
        features has t of one side and m - t of the other, so that A_m(u + i) = sum_t A_t(u) A_{m-t}(i), a dot product.
        """
        linear, vectors = parts
        degrees = [anova_degrees(e, m) for m, e in enumerate(vectors.chunk(self.order - 1, 2), start=2)]
        own = linear + torch.stack([sums[:, -1].sum(1) for sums in degrees]).sum(0)
        rising = torch.cat([sums[:, 1:-1].flatten(1) for sums in degrees], 1)
        falling = torch.cat([sums[:, 1:-1].flip(1).flatten(1) for sums in degrees], 1)
        return own, rising, falling

    def pairs(self, people: Parts, things: Parts) -> Tensor:
        """Scores (B, C) of every pair, from what `side` gives."""
        return self.bias + people[0][:, None] + things[0] + people[1] @ things[2].T


class FM(FieldRecommender):
    """Factorization machine: a weight for each feature, and a product of vectors for each pair, or larger set, of them.

    `predict` is a rating, a probability or a logit, as of other field models. Ranking is one dot product a pair of user
    and item, of D order (order - 1) / 2 + 2 numbers, times the draws that `solver="mcmc"` keeps.

    The solvers "als" and "mcmc" have no step size, are for order 2, and leave `batch_size`, `learning_rate` and the rest
    of gradient descent unread; an epoch of theirs is a pass over all numbers, O(D (rows + entries of the features)).
    They draw or solve on the CPU, on one thread, from rows in memory. "mcmc" needs no penalty either, and takes ratings, or
    labels (probit); "als" takes ratings. `partial_fit` goes on by gradient descent, whatever the solver was.
    """

    embedding_dim: PositiveInt = 16
    """Length of each feature's vector, for each order."""
    order: Annotated[int, Bound(2)] = 2
    """Most features in a product."""
    solver: Literal["gradient", "als", "mcmc"] = "gradient"
    """"gradient": the training loop; "als": exact coordinate descent; "mcmc": the mean of draws by Gibbs sampling."""
    init_std: NonNegative = 0.1
    """Standard deviation of the vectors at the start."""
    regularization: NonNegative = 10.0
    """Penalty of "als" on squared weights and vectors, beside the sum of squared errors."""
    n_draws: PositiveInt = 20
    """Draws that "mcmc" keeps, evenly from the last three quarters of the epochs. Each takes 4 `embedding_dim` bytes a
    feature, and as many products for a score as one machine."""

    n_draws_: int
    variance_: float

    def _network(self) -> FMNet:
        return FMNet(
            self.field_sizes_, self.slot_fields_, self.embedding_dim * self.n_draws_,
            order=self.order, std=self.init_std, sparse=self._sparse,
        )  # fmt: skip

    def _sides(self) -> tuple[Slots, Slots]:
        users, items = super()._sides()
        return merged(users), merged(items)

    def _context_slots(self, n_rows: int, context: Features | None) -> Slots:
        return merged(super()._context_slots(n_rows, context))

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.target_ == "label" and self.solver == "mcmc":
            # The mean of Phi over normal scores of this variance: what averaging the draws' probabilities comes to.
            return ndtr(scores / np.sqrt(1 + self.variance_)).astype(np.float32)
        return super()._link(scores)

    def _loss(self, net: Any, batch: FieldBatch) -> Tensor:
        if self.target_ == "label" and self.solver == "mcmc":
            scores = net(batch.codes, batch.values).float() / np.sqrt(1 + self.variance_)
            return -(batch.weights * torch.special.log_ndtr((2 * batch.targets - 1) * scores)).mean()
        return super()._loss(net, batch)

    def _refresh(self) -> None:
        self.__dict__.pop("_things", None)

    # -- exact solvers -----------------------------------------------------------------------------------------------

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        self.n_draws_, self.variance_ = 1, 0.0
        if self.solver == "gradient":
            super()._fit(data, validation)
        else:
            self._check_solver(data, validation)
            self._solve(data, validation)

    def _check_solver(self, data: Dataset, validation: Dataset | None) -> None:
        """Refuse what an exact solver cannot do."""
        what = f"FM: solver={self.solver!r}"
        other = 'use solver="gradient"'
        if self.order > 2:
            raise ParameterError(f"{what} is for order=2, not order={self.order}; {other}")
        if self.checkpoint is not None:
            raise ParameterError(f"{what} writes no checkpoint, and checkpoint={self.checkpoint!r}; {other}")
        if self.patience is not None and validation is None:
            raise ParameterError(f"FM: patience={self.patience} needs fit(data, validation_data=...)")
        if isinstance(data, StreamedDataset):
            raise ParameterError(f"{what} needs all rows in memory, and Dataset.from_parquet holds none; {other}")
        if data.labels is None and data.ratings is None:
            raise ParameterError(f'{what} needs ratings, or labels for "mcmc", and this data has neither; {other}')
        if data.labels is not None and self.solver == "als":
            raise ParameterError(f'{what} is for ratings, and this data has labels; use solver="mcmc" or "gradient"')
        if data.labels is not None and data.weights is not None:
            raise ParameterError(f"{what} takes no weights beside labels; {other}, or pass weight_col=None to Dataset")

    def _solve(self, data: Dataset, validation: Dataset | None) -> None:
        metric = parse(self.monitor)
        if validation is not None:
            self._check_monitor(metric, validation)
        self._prepare(data)
        solver, log = self._make_solver(data), list[dict[str, float]]()
        best, best_score, best_epoch = None, -np.inf, 0
        for epoch in tqdm(range(1, self.epochs + 1), disable=self.verbose < 1, desc="FM"):
            start = time.perf_counter()
            row: dict[str, float] = {"epoch": epoch, "loss": solver.sweep()}
            if validation is not None:
                self._take(solver.learned())
                row[metric.name] = self._validation_score(metric, validation)
                score = row[metric.name] if metric.greater_is_better else -row[metric.name]
                if score > best_score:
                    best, best_score, best_epoch = solver.learned(), score, epoch
            log.append({**row, "seconds": time.perf_counter() - start})
            if self.patience is not None and best is not None and epoch - best_epoch >= self.patience:
                break
        self._take(solver.learned() if best is None else best)
        self.training_log_ = pd.DataFrame(log)

    def _make_solver(self, data: Dataset) -> LeastSquares | Gibbs:
        n, labels, rng = len(data), data.labels, np.random.default_rng(self.random_state)
        sides = [*self._sides(), self._context_slots(n, data.context)]
        nobody = np.zeros(n, np.int64)
        entities = [data.user_codes, data.item_codes, np.arange(n)]
        blocks = blocks_of(sides, [nobody if codes is None else codes for codes in entities])
        groups = np.repeat(np.arange(len(self.field_sizes_)), self.field_sizes_)
        targets = np.zeros(n) if data.ratings is None or labels is not None else data.ratings - self.mean_
        machine = Machine(blocks, groups, targets, data.weights, self.embedding_dim, self.init_std, rng)
        if self.solver == "als":
            return LeastSquares(machine, self.regularization)
        return Gibbs(machine, labels, rng, kept_sweeps(self.epochs, self.n_draws))

    def _take(self, learned: Learned) -> None:
        """Score by what a solver has learned."""
        self.n_draws_, self.variance_ = learned.n_draws, learned.variance
        device = pick_device(self.device)
        with seeded(self.random_state, device), torch.no_grad():
            net = self._network()
            net.bias.fill_(learned.bias)
            net.linear.table.vectors.copy_(torch.from_numpy(learned.weights)[:, None])
            net.embedding.table.vectors.copy_(torch.from_numpy(learned.vectors))
        self.module_ = net.to(device).eval()
        self._refresh()

    # -- scores ------------------------------------------------------------------------------------------------------

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        users, row = query.once()
        return np.einsum("bl,bl->b", self._people(users)[row], self._things[items])

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        return self._people(query) @ self._things[:-1].T

    def _top_k(self, query: Query, k: int, allowed: NDArray[np.int64] | None, seen: Seen | None) -> Lists:
        items = np.ascontiguousarray(self._things[:-1] if allowed is None else self._things[allowed])
        codes, scores = empty_lists(len(query), k)
        for start in range(0, len(query), USERS_AT_A_TIME):
            rows = slice(start, min(start + USERS_AT_A_TIME, len(query)))
            found = top_k_dot(self._people(query[rows]), items, k, n_jobs=self._threads(), **seen_rows(seen, rows))
            codes[rows], scores[rows] = found
        return codes, scores

    def _people(self, query: Query) -> NDArray[np.float32]:
        """Vectors of users and contexts, (B, L): own score, 1, products in rising degree."""
        users, catalog = self._tables
        known = at(users, self._to_device(query.users))
        return self._vectors(joined(known, unknown(len(query), catalog), self._context(query)), people=True)

    @cached_property
    def _things(self) -> NDArray[np.float32]:
        """Vectors of all items and, last, of an unknown one, (I + 1, L): 1, own score, products in falling degree."""
        users, catalog = self._tables
        n, context = len(catalog[0]), self._context_slots(0, self.context_).tensors(catalog[0].device)
        return self._vectors(joined(unknown(n, users), catalog, unknown(n, context)), people=False)

    def _vectors(self, rows: Table, *, people: bool) -> NDArray[np.float32]:
        (n, width), net, parts = rows[0].shape, self.module_, list[Tensor]()
        step = max(1, CHUNK // max(1, width * net.embedding.table.weight.shape[1]))
        with torch.inference_mode():
            for start in range(0, max(1, n), step):
                some = slice(start, start + step)
                own, rising, falling = net.side(net.embed(rows[0][some], rows[1][some]))
                one = torch.ones_like(own)
                first = (own + net.bias, one) if people else (one, own)
                parts.append(torch.column_stack([*first, rising if people else falling]))
        return torch.cat(parts).float().cpu().numpy()
