"""Negatives drawn on the device that trains: none of them a positive of its user, or for a whole batch at once."""

import math
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from recsys.kernels.negatives import free_items, mark, take_pairs
from recsys.training.examples import PairBatch, PairExamples

ROUNDS = 8
"""Redraws of a weighted negative that turns out to be a positive; one left after them is drawn uniformly."""
BYTES = 20
"""Memory that a pair takes, and as much again where that is enough for a bit of every user and item."""


class Negatives:
    """Items that a user has no interaction with, drawn uniformly or in proportion to `weights` (I,).

    A user of n positives has I - n negatives. The r-th of them is r + j, where j of the positives p_0 < p_1 < ... lie
    below it, those with p_j - j <= r: one binary search a draw, on a CPU among the user's own, in 20 bytes a pair. Where
    a bit for every user and item takes no more, a CPU draws items until one is free. A user who has every item gets any
    of them.
    """

    def __init__(self, users: Tensor, items: Tensor, n_items: int, weights: Tensor | None = None):
        self.n_items = n_items
        # One sorted key a pair: user I + p_j, and beside it user I + p_j - j.
        self.positives = torch.unique(users.long() * n_items + items.long())
        counts = torch.bincount(self.positives // n_items)
        self.starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        place = torch.arange(len(self.positives), device=self.positives.device)
        self.gaps = self.positives - (place - torch.repeat_interleave(self.starts[:-1], counts))
        # A user's p_j - j alone is half as wide, and nearer to the processor.
        self.own_gaps = (self.gaps % n_items if n_items else self.gaps).int()
        self.cumulative = None if weights is None else torch.cumsum(weights.double(), 0) / weights.double().sum()

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.positives, self.gaps, self.own_gaps, self.starts = (
            table.to(device) for table in (self.positives, self.gaps, self.own_gaps, self.starts)
        )
        self.cumulative = None if self.cumulative is None else self.cumulative.to(device)
        return self

    def draw(self, users: Tensor, n_negatives: int) -> Tensor:
        """Negatives for each user: (B,) codes to (B, K)."""
        if self.cumulative is None:
            return self._uniform(users, n_negatives)
        drawn = self._weighted(self.cumulative, users, n_negatives)
        for _ in range(ROUNDS):
            wrong = self.is_positive(users[:, None], drawn)
            # No early exit on a GPU: asking whether any is wrong would wait for the device.
            if wrong.device.type == "cpu" and not bool(wrong.any()):
                return drawn
            drawn = torch.where(wrong, self._weighted(self.cumulative, users, n_negatives), drawn)
        return torch.where(self.is_positive(users[:, None], drawn), self._uniform(users, n_negatives), drawn)

    def fill(self, users: Tensor, out: np.ndarray) -> None:
        """Put uniform negatives for each user (B,) into `out` (B, K), on a CPU."""
        seed, arrays = int(torch.randint(2**62, ())), (self.starts.numpy(), self.own_gaps.numpy(), self.marks)
        free_items(seed, users.numpy(), *arrays, self.n_items, out, torch.get_num_threads())

    def is_positive(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has interacted with the item; shapes that broadcast."""
        keys = users * self.n_items + items
        if len(self.positives) == 0:
            return torch.zeros_like(keys, dtype=torch.bool)
        at = torch.searchsorted(self.positives, keys).clamp_(max=len(self.positives) - 1)
        return self.positives[at] == keys

    @cached_property
    def marks(self) -> np.ndarray:
        """A bit for every user and item (U, I / 8), set where it is a positive; (0, 0) where that is too much."""
        n_users, width = len(self.starts) - 1, -(-self.n_items // 8)
        if n_users * width > BYTES * len(self.positives):
            return np.zeros((0, 0), np.uint8)
        marks = np.zeros((n_users, width), np.uint8)
        keys = self.positives.numpy()
        mark(keys // self.n_items, keys % self.n_items, marks)
        return marks

    def _uniform(self, users: Tensor, n_negatives: int) -> Tensor:
        if not users.is_cuda:
            drawn = np.empty((len(users), n_negatives), np.int64)
            self.fill(users, drawn)
            return torch.from_numpy(drawn)
        uniform = torch.rand((len(users), n_negatives), device=users.device, dtype=torch.float64)
        # Users beyond the last one that has positives have none.
        start, stop = (self.starts[one.clamp(max=len(self.starts) - 1)] for one in (users, users + 1))
        free = self.n_items - (stop - start)
        choices = torch.where(free > 0, free, self.n_items)[:, None]
        # A product with a number below 1 may round up to the end of the range.
        r = torch.minimum((uniform * choices).long(), choices - 1)
        below = torch.searchsorted(self.gaps, users[:, None] * self.n_items + r, right=True) - start[:, None]
        return torch.where(free[:, None] > 0, r + below, r)

    def _weighted(self, cumulative: Tensor, users: Tensor, n_negatives: int) -> Tensor:
        return draw_weighted(cumulative, (len(users), n_negatives))


class PairsAndDrawn(PairExamples):
    """Interactions as (user, item) pairs, with `n_drawn` negatives beside each, drawn anew every time.

    A CPU draws those of an epoch at once, user by user, whose positives then are at hand, and keeps them beside the
    pairs: 4 (2 + K) bytes a pair.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_items: int, n_drawn: int):
        super().__init__(users, items)
        self.negatives, self.n_drawn = Negatives(self.users, self.items, n_items), n_drawn
        self.table = np.empty((0, 2 + n_drawn), np.int32)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.negatives = self.negatives.to(device)
        return super().to(device)

    def start_epoch(self) -> None:
        """Draw negatives."""
        if self.users.is_cuda:
            return
        if not len(self.table):
            self.table = np.empty((len(self), 2 + self.n_drawn), np.int32)
            self.table[:, 0], self.table[:, 1] = self.users, self.items
        self.negatives.fill(self.users, self.table[:, 2:])

    def batch(self, rows: Tensor) -> PairBatch:
        """Users of these numbers (B,), and the item of each before its negatives (B, 1 + K)."""
        if self.users.is_cuda:
            users, items = super().batch(rows)
            return PairBatch(users, torch.cat([items[:, None], self.negatives.draw(users, self.n_drawn)], 1))
        if not len(self.table):
            self.start_epoch()
        users, items = take_pairs(rows.numpy(), self.table, torch.get_num_threads())
        return PairBatch(torch.from_numpy(users), torch.from_numpy(items))


class SharedNegatives:
    """Items drawn in proportion to `weights` (I,) for a whole batch at once."""

    def __init__(self, weights: Tensor):
        total = weights.double().sum()
        self.cumulative = torch.cumsum(weights.double(), 0) / total
        self.log_share = (weights.double() / total).log().float()

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.cumulative, self.log_share = self.cumulative.to(device), self.log_share.to(device)
        return self

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Items (n,), with repeats, and the logarithm of how often each is expected among them (n,)."""
        drawn = draw_weighted(self.cumulative, (n,))
        return drawn, self.log_share[drawn] + math.log(n)


def draw_weighted(cumulative: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Items by the running sums (I,) of their shares."""
    uniform = torch.rand(shape, device=cumulative.device, dtype=torch.float64)
    # To the right of equal sums: an item of weight 0 ends where it begins.
    return torch.searchsorted(cumulative, uniform, right=True).clamp_(max=len(cumulative) - 1)
