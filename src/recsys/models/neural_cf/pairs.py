"""What the models of neural collaborative filtering share: how they learn from pairs, and how they score the catalog.

He et al., "Neural Collaborative Filtering", WWW 2017.
"""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.base import Query
from recsys.data import Dataset
from recsys.embedding import Embedding
from recsys.families import PairRecommender
from recsys.nn.pair_tables import PairTables, in_one_call, table_loss
from recsys.nn.pairs import PairLayers, pair_logits, pair_loss
from recsys.params import PositiveInt
from recsys.training.examples import PairBatch
from recsys.training.negatives import PairsAndDrawn

CPU_PAIRS, GPU_PAIRS = 1 << 14, 1 << 20
"""Pairs of user and item whose layers are held at a time when the catalog is scored: on a CPU they stay in its cache."""
SPARSER = 8
"""Times the rows looked up in a step that a table has where a step touches those alone; a shorter one moves as a whole."""


class PairNet(nn.Module):
    """A network of two sides: each is looked up and takes the first linear step by itself, the rest runs for pairs."""

    n_items: int

    @property
    @abstractmethod
    def layers(self) -> PairLayers:
        """What scores a pair from the sides."""

    @property
    @abstractmethod
    def tables(self) -> PairTables:
        """What the sides are made of."""

    @abstractmethod
    def user_side(self, users: Tensor) -> Tensor:
        """Codes (B,) to what users bring to every pair, (B, H)."""

    @abstractmethod
    def item_side(self, items: Tensor | None = None) -> Tensor:
        """Codes (C,), or all of them, to what items bring to every pair, (C, H)."""

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits of pairs: codes (B,) and (B,) to (B,)."""
        return pair_logits(self.user_side(users)[:, None], self.item_side(items)[:, None], self.layers)[:, 0]

    def loss(self, users: Tensor, items: Tensor) -> Tensor:
        """Log loss of each user's own item, the first, and drawn ones: codes (B,) and (B, 1 + K) to a mean over users."""
        layers = self.layers
        if in_one_call(layers):
            return table_loss(users, items, self.tables, layers)
        if items.numel() < self.n_items:
            things, rows = self.item_side(items.flatten()), torch.arange(items.numel(), device=items.device)
            return pair_loss(self.user_side(users), things, rows.view_as(items), layers)
        # Most items come more than once.
        return pair_loss(self.user_side(users), self.item_side(), items, layers)


class NCFRecommender(PairRecommender):
    """A network that tells a user's items from drawn ones. Scores are logits: their sigmoid is how likely a pair is one."""

    n_negatives: PositiveInt = 4
    """Negatives drawn for each positive pair, anew every epoch."""

    def _examples(self, data: Dataset) -> PairsAndDrawn:
        matrix = data.to_csr().tocoo()
        users, items = (codes.astype(np.int64) for codes in (matrix.row, matrix.col))
        return PairsAndDrawn(users, items, data.n_items, self.n_negatives)

    def _loss(self, net: Any, batch: PairBatch) -> Tensor:
        return net.loss(batch.users, batch.items)

    def _tables(self, dim: int) -> tuple[Embedding, Embedding]:
        """Vectors of users and of items."""
        looked_up = self.batch_size, self.batch_size * (1 + self.n_negatives)
        sizes = zip((len(self.users_), len(self.items_)), looked_up, strict=True)
        users, items = (Embedding(n, dim, sparse=n > SPARSER * rows) for n, rows in sizes)
        return users, items

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        net, scores = self.module_, np.empty((len(query), len(self.items_)), np.float32)
        with torch.inference_mode():
            people, things = net.user_side(self._to_device(query.users))[:, None], net.item_side()
            n_pairs = GPU_PAIRS if things.is_cuda else CPU_PAIRS
            for first in range(0, len(things), n_pairs):
                some = things[first : first + n_pairs]
                step = max(1, n_pairs // len(some))
                for start in range(0, len(query), step):
                    logits = pair_logits(people[start : start + step], some, net.layers)
                    scores[start : start + step, first : first + len(some)] = logits.float().cpu().numpy()
        return scores

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self.module_(self._to_device(query.users), self._to_device(items)).float().cpu().numpy()


def vectors_of(table: Embedding, codes: Tensor | None) -> Tensor:
    """Vectors of codes (C,), or of all of them."""
    return table.vectors if codes is None else table(codes)


def start_logit(*weights: Tensor) -> None:
    """Start the weights (1, n) of a logit, which may lie in several parts, uniform with variance 1 / inputs.

    LeCun et al., "Efficient BackProp", Neural Networks: Tricks of the Trade, 1998.
    """
    bound = math.sqrt(3 / sum(weight.shape[1] for weight in weights))
    for weight in weights:
        nn.init.uniform_(weight, -bound, bound)
