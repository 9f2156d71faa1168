"""Mult-DAE: a denoising autoencoder of users' profiles with a multinomial likelihood.

Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018.
"""

from typing import Any

import torch
from torch import Tensor, nn

from recsys.families import ProfileRecommender
from recsys.models.autoencoders.profiles import output_layer, unit_profiles
from recsys.nn.dropout import Dropout
from recsys.nn.losses import multinomial_loss
from recsys.nn.ragged import RaggedLinear
from recsys.params import Fraction, NonNegative, PositiveInt
from recsys.training.examples import ProfileBatch


class MultDAENet(nn.Module):
    """I - embedding_dim - I, tanh between: 2 I D + D + I parameters."""

    def __init__(self, n_items: int, embedding_dim: int, dropout: float):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.first = RaggedLinear(n_items, embedding_dim)
        self.output = output_layer(embedding_dim, n_items)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Ragged rows, items (N,) and lengths (B,), to codes (B, D)."""
        return torch.tanh(self.first(items, lengths, self.dropout(unit_profiles(lengths, len(items)))))


class MultDAE(ProfileRecommender):
    """Denoising autoencoder of a user's set of items; serves anyone from a history."""

    embedding_dim: PositiveInt = 200
    """Length of the code between encoder and decoder."""
    dropout: Fraction = 0.5
    """Share of a profile's items that a training step leaves out."""
    weight_decay: NonNegative = 4e-5
    """Squared-norm penalty that the optimizer adds to the gradient; half of it times the squared weights."""
    batch_size: PositiveInt = 500
    """Users a step."""
    epochs: PositiveInt = 50
    """Passes over the users, at most."""
    monitor: str = "ndcg@100"
    """Metric of the validation data that picks the best epoch, any name of `recsys.metrics`."""

    def _network(self) -> MultDAENet:
        return MultDAENet(len(self.items_), self.embedding_dim, self.dropout)

    def _loss(self, net: Any, batch: ProfileBatch) -> Tensor:
        return multinomial_loss(net(batch.items, batch.lengths), net.output, batch.items, batch.lengths)

    def _logits(self, net: Any, batch: ProfileBatch) -> Tensor:
        return net.output(net(batch.items, batch.lengths))
