"""Negatives drawn on the device that trains, verified not to be positives of their user."""

from typing import Self

import torch
from torch import Tensor

ROUNDS = 8
"""Redraws of a negative that turns out to be a positive; one left after them belongs to a user who has nearly all
items."""


class Negatives:
    """Items that a user has no interaction with, drawn uniformly or in proportion to `weights` (I,)."""

    def __init__(self, users: Tensor, items: Tensor, n_items: int, weights: Tensor | None = None):
        self.n_items = n_items
        # One sorted key a pair: membership is a binary search, on any device, in 8 bytes a pair.
        self.positives = torch.unique(users.long() * n_items + items.long())
        self.cumulative = None if weights is None else torch.cumsum(weights.double(), 0) / weights.double().sum()

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.positives = self.positives.to(device)
        self.cumulative = None if self.cumulative is None else self.cumulative.to(device)
        return self

    def draw(self, users: Tensor, n_negatives: int) -> Tensor:
        """Negatives for each user: (B,) codes to (B, K)."""
        users = users[:, None].expand(-1, n_negatives)
        drawn = self._propose(users)
        for _ in range(ROUNDS):
            wrong = self.is_positive(users, drawn)
            # No early exit on a GPU: asking whether any is wrong would wait for the device.
            if wrong.device.type == "cpu" and not bool(wrong.any()):
                break
            drawn = torch.where(wrong, self._propose(users), drawn)
        return drawn

    def is_positive(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has interacted with the item beside it; both of one shape."""
        if len(self.positives) == 0:
            return torch.zeros_like(items, dtype=torch.bool)
        keys = users * self.n_items + items
        at = torch.searchsorted(self.positives, keys).clamp_(max=len(self.positives) - 1)
        return self.positives[at] == keys

    def _propose(self, users: Tensor) -> Tensor:
        if self.cumulative is None:
            return torch.randint(self.n_items, users.shape, device=users.device)
        uniform = torch.rand(users.shape, device=users.device, dtype=torch.float64)
        return torch.searchsorted(self.cumulative, uniform).clamp_(max=self.n_items - 1)
