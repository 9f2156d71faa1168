"""LightGCN: vectors of users and items averaged over their neighbors in the graph of interactions, and nothing else.

He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.
"""

from typing import Any

import torch
from torch import Tensor, nn

from recsys.data import Dataset, Histories
from recsys.families import VectorRecommender
from recsys.nn.graph import normalized_adjacency, propagate
from recsys.nn.losses import bpr_loss
from recsys.params import NonNegative, NonNegativeInt, PositiveInt
from recsys.training import Examples
from recsys.training.examples import PairBatch, UserPairExamples


class LightGCNNet(nn.Module):
    """Mean over k = 0..K of (D^-1/2 A D^-1/2)^k E, split into users and items."""

    def __init__(self, adjacency: Tensor, n_users: int, embedding_dim: int, n_layers: int):
        super().__init__()
        self.n_users, self.n_layers = n_users, n_layers
        self.embedding = nn.Parameter(torch.randn(adjacency.shape[0], embedding_dim) * 0.1)
        # Not part of the saved weights: a loaded model makes it anew from its histories.
        self.register_buffer("adjacency", adjacency, persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Users (U, D) and items (I, D)."""
        final = propagate(self.adjacency, self.embedding, self.n_layers)
        return final[: self.n_users], final[self.n_users :]


class LightGCN(VectorRecommender):
    """Linear propagation of embeddings over the interaction graph, trained by BPR.

    As in the authors' code, a step draws users evenly and one of each one's items, so that a user with many counts no
    more than one with few.
    """

    embedding_dim: PositiveInt = 64
    """Length of the vectors."""
    n_layers: NonNegativeInt = 3
    """Steps over the graph."""
    regularization: NonNegative = 1e-4
    """Penalty on the layer-0 vectors of each sampled triple, half the squared norm, mean over triples."""
    batch_size: PositiveInt = 2048
    """Pairs a step; each step propagates over the whole graph."""
    epochs: PositiveInt = 100
    """Rounds of as many draws as there are interactions."""

    def _examples(self, data: Dataset) -> Examples:
        super()._examples(data)  # for its negatives
        matrix = data.to_csr()
        return UserPairExamples(Histories(matrix.indptr, matrix.indices))

    def _network(self) -> LightGCNNet:
        adjacency = normalized_adjacency(self.history_.matrix(len(self.items_)))
        return LightGCNNet(adjacency, len(self.users_), self.embedding_dim, self.n_layers)

    def _loss(self, net: Any, batch: PairBatch) -> Tensor:
        users, items = net()
        negatives = self._negatives.draw(batch.users, self.n_negatives)
        vectors = users[batch.users]
        positive = (vectors * items[batch.items]).sum(-1, keepdim=True)
        negative = (vectors[:, None] * items[negatives]).sum(-1)
        rows = torch.cat([batch.users, len(self.users_) + batch.items, len(self.users_) + negatives.flatten()])
        penalty = net.embedding[rows].square().sum() / (2 * len(batch.users))
        return bpr_loss(positive, negative) + self.regularization * penalty
