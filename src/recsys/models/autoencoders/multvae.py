"""Mult-VAE: a variational autoencoder of users' profiles with a multinomial likelihood.

Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018.
"""

from typing import Any

import torch
from torch import Tensor, nn

from recsys.embedding import EmbeddingBag
from recsys.families import ProfileRecommender
from recsys.nn.losses import kl_loss, multinomial_loss
from recsys.params import Fraction, NonNegative, PositiveInt
from recsys.training.examples import ProfileBatch


class MultVAENet(nn.Module):
    """I - hidden - 2 x latent, latent - hidden - I. The first layer reads ragged rows: no (B, I) input is ever made."""

    steps: Tensor

    def __init__(self, n_items: int, hidden_dim: int, embedding_dim: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.first = EmbeddingBag(n_items, hidden_dim)
        self.first_bias = nn.Parameter(torch.zeros(hidden_dim))
        self.code = nn.Linear(hidden_dim, 2 * embedding_dim)
        self.decoder = nn.Sequential(nn.Linear(embedding_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, n_items))
        self.register_buffer("steps", torch.zeros(()))
        nn.init.xavier_uniform_(self.first.table.weight.data[1:])
        for layer in (self.code, self.decoder[0], self.decoder[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.trunc_normal_(layer.bias, std=0.001, a=-0.002, b=0.002)

    def encode(self, items: Tensor, lengths: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Ragged rows, items (N,) and lengths (B,), to mean and log variance of the code, (B, D) each.

        A row is divided by its norm, sqrt(length), before dropout; `kept` (N,) are dropout's multipliers, if given.
        """
        weights = torch.repeat_interleave(lengths.clamp(min=1).to(self.first_bias.dtype).rsqrt(), lengths)
        weights = self.dropout(weights) if kept is None else weights * kept
        hidden = torch.tanh(self.first(items, lengths, weights) + self.first_bias)
        mean, log_variance = self.code(hidden).chunk(2, 1)
        return mean, log_variance

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Ragged rows to logits of all items from the code's mean, (B, I)."""
        return self.decoder(self.encode(items, lengths)[0])


class MultVAE(ProfileRecommender):
    """Variational autoencoder of a user's set of items; serves anyone from a history."""

    hidden_dim: PositiveInt = 600
    """Width of the hidden layer on either side."""
    embedding_dim: PositiveInt = 200
    """Length of the code between encoder and decoder."""
    dropout: Fraction = 0.5
    """Share of a profile's items that a training step leaves out."""
    kl_cap: NonNegative = 0.2
    """Largest weight of the KL term."""
    kl_steps: PositiveInt = 200_000
    """The KL term's weight grows by 1 / kl_steps a step, up to `kl_cap`."""
    batch_size: PositiveInt = 500
    """Users a step."""
    epochs: PositiveInt = 50
    """Passes over the users, at most."""

    def _network(self) -> MultVAENet:
        return MultVAENet(len(self.items_), self.hidden_dim, self.embedding_dim, self.dropout)

    def _logits(self, net: Any, items: Tensor, lengths: Tensor) -> Tensor:
        return net(items, lengths)

    def _loss(self, net: Any, batch: ProfileBatch) -> Tensor:
        mean, log_variance = net.encode(batch.items, batch.lengths)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        beta = self._kl_weight(net.steps)
        net.steps += 1
        likelihood = multinomial_loss(net.decoder(code), batch.items, batch.lengths)
        return likelihood + beta * kl_loss(mean, log_variance)

    def _kl_weight(self, steps: Tensor) -> Tensor:
        return (steps / self.kl_steps).clamp(max=self.kl_cap)
