"""GMF: matrix factorization whose dimensions are weighted, trained to tell a user's items from drawn ones.

He et al., "Neural Collaborative Filtering", WWW 2017.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.base import Query
from recsys.embedding import Embedding
from recsys.factor import FactorRecommender, cosine
from recsys.families.neural import as_table
from recsys.models.neural_cf.pairs import NCFRecommender, PairNet, start_logit, vectors_of
from recsys.nn.pair_tables import PairTables
from recsys.nn.pairs import PairLayers
from recsys.params import PositiveInt


class GMFNet(PairNet):
    """Logit h . (p * q) + b of a user's vector p and an item's vector q."""

    def __init__(self, users: Embedding, items: Embedding):
        super().__init__()
        self.users, self.items, self.n_items = users, items, len(items.vectors)
        self.head = nn.Linear(users.vectors.shape[1], 1)
        start_logit(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def layers(self) -> PairLayers:
        """A product alone."""
        return PairLayers(self.head.in_features, (self.head.bias,))

    @property
    def tables(self) -> PairTables:
        """Vectors that are multiplied."""
        return PairTables(multiplied=(self.users, self.items), factor=self.head.weight)

    def user_side(self, users: Tensor) -> Tensor:
        """Codes (B,) to h * p, (B, D)."""
        return self.users(users) * self.head.weight[0]

    def item_side(self, items: Tensor | None = None) -> Tensor:
        """Codes (C,), or all of them, to q, (C, D)."""
        return vectors_of(self.items, items)


class GMF(FactorRecommender, NCFRecommender):
    """Generalized matrix factorization: sigmoid(h . (p * q) + b) is how likely a pair is one of the user's.

    The logit is a dot product, so the exact top-k comes without a score matrix: of `user_factors_`, which are h * p and
    b, and `item_factors_`, which are q and 1.
    """

    embedding_dim: PositiveInt = 32
    """Length of the vectors, the predictive factors."""

    def _network(self) -> GMFNet:
        return GMFNet(*self._tables(self.embedding_dim))

    def _refresh(self) -> None:
        net = self.module_
        with torch.inference_mode():
            users, items = net.users.vectors * net.head.weight[0], net.items.vectors
            self.user_factors_ = as_table(torch.cat([users, net.head.bias.expand(len(users), 1)], 1))
            self.item_factors_ = as_table(F.pad(items, (0, 1), value=1.0))

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        return np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        return self.item_factors_

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.item_factors_[:, :-1], items)

    def _user_similarity(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        return cosine(self.user_factors_[:, :-1], users)
