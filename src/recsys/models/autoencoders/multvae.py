"""Mult-VAE: a variational autoencoder of users' profiles with a multinomial likelihood.

Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018. The composite prior is that of
Shenbin et al., "RecVAE: A New Variational Autoencoder for Top-N Recommendations with Implicit Feedback", WSDM 2020.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.data import Dataset
from recsys.families import ProfileRecommender
from recsys.models.autoencoders.profiles import output_layer, unit_profiles
from recsys.nn.dropout import Dropout
from recsys.nn.losses import composite_log_prior, kl_loss, multinomial_loss, normal_log_density
from recsys.nn.ragged import RaggedLinear
from recsys.params import Fraction, NonNegative, Positive, PositiveInt
from recsys.training import Examples
from recsys.training.examples import ProfileBatch


class MultVAEEncoder(nn.Module):
    """I - hidden_dims - 2 x latent. The first layer reads ragged rows: no (B, I) input is ever made."""

    def __init__(self, n_items: int, hidden_dims: Sequence[int], embedding_dim: int, dropout: float):
        super().__init__()
        self.dropout = Dropout(dropout)
        first, *rest = *hidden_dims, 2 * embedding_dim
        self.first = RaggedLinear(n_items, first)
        self.rest = tanh_layers(first, *rest)

    def forward(self, items: Tensor, lengths: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Ragged rows, items (N,) and lengths (B,), to mean and log variance of the code, (B, D) each.

        A row is divided by its norm, sqrt(length), before dropout; `kept` (N,) are dropout's multipliers, if given.
        """
        values = unit_profiles(lengths, len(items))
        values = self.dropout(values) if kept is None else values * kept
        mean, log_variance = self.rest(self.first(items, lengths, values)).chunk(2, 1)
        return mean, log_variance


def tanh_layers(*dims: int) -> nn.Sequential:
    """tanh and a linear layer between any two of these widths."""
    return nn.Sequential(*(layer for sizes in pairwise(dims) for layer in (nn.Tanh(), output_layer(*sizes))))


class MultVAENet(nn.Module):
    """I - hidden_dims - 2 x latent, and latent - hidden_dims, in reverse - I."""

    steps: Tensor

    def __init__(self, n_items: int, hidden_dims: Sequence[int], embedding_dim: int, dropout: float):
        super().__init__()
        self.encoder = MultVAEEncoder(n_items, hidden_dims, embedding_dim, dropout)
        dims = embedding_dim, *hidden_dims[::-1]
        self.decoder = nn.Sequential(
            *(layer for sizes in pairwise(dims) for layer in (output_layer(*sizes), nn.Tanh()))
        )
        self.output = output_layer(dims[-1], n_items)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Ragged rows to logits of all items from the code's mean, (B, I)."""
        return self.output(self.decoder(self.encoder(items, lengths)[0]))


class MultVAE(ProfileRecommender):
    """Variational autoencoder of a user's set of items; serves anyone from a history.

    The loss is the multinomial negative log likelihood plus the weighted divergence of the code from its prior. The
    "composite" prior of a user mixes, dimension by dimension, a standard normal, what the encoder of the epoch before
    made of the user's whole profile, and a wide normal, at 3/20, 3/4 and 1/10; the divergence is then that of the
    drawn code and weighs more the more items a profile has.
    """

    hidden_dims: tuple[PositiveInt, ...] = (600,)
    """Widths of the hidden layers before the code; those behind it have the same in reverse. Small data may do best
    without any, ()."""
    embedding_dim: PositiveInt = 200
    """Length of the code between encoder and decoder."""
    dropout: Fraction = 0.5
    """Share of a profile's items that a training step leaves out."""
    prior: Literal["normal", "composite"] = "normal"
    """Prior of the code: a standard normal, or RecVAE's mixture."""
    kl_cap: NonNegative = 0.2
    """Largest weight of the KL term, with the normal prior."""
    kl_steps: PositiveInt = 200_000
    """The KL term's weight grows by 1 / kl_steps a step, up to `kl_cap`."""
    kl_per_item: Positive = 0.005
    """Weight of the KL term for each item of a profile, with the composite prior."""
    batch_size: PositiveInt = 500
    """Users a step."""
    epochs: PositiveInt = 50
    """Passes over the users, at most."""
    monitor: str = "ndcg@100"
    """Metric of the validation data that picks the best epoch, any name of `recsys.metrics`."""

    def _network(self) -> MultVAENet:
        return MultVAENet(len(self.items_), self.hidden_dims, self.embedding_dim, self.dropout)

    def _logits(self, net: Any, batch: ProfileBatch) -> Tensor:
        return net(batch.items, batch.lengths)

    def _examples(self, data: Dataset) -> Examples:
        examples = super()._examples(data)
        self._step, self._steps_an_epoch = 0, max(1, -(-len(examples) // self.batch_size))
        return examples

    def _loss(self, net: Any, batch: ProfileBatch) -> Tensor:
        # In full precision: a GPU draws other noise for bfloat16.
        mean, log_variance = (part.float() for part in net.encoder(batch.items, batch.lengths))
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        likelihood = multinomial_loss(net.decoder(code), net.output, batch.items, batch.lengths)
        return likelihood + self._divergence(net, batch, code, mean, log_variance)

    def _divergence(self, net: Any, batch: ProfileBatch, code: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """The weighted divergence of the code from the prior, mean over users."""
        if self.prior == "normal":
            beta = self._kl_weight(net.steps)
            net.steps += 1
            return beta * kl_loss(mean, log_variance)
        if self._step % self._steps_an_epoch == 0:
            self._old = deepcopy(net.encoder).eval()
        self._step += 1
        with torch.no_grad():
            old = self._old(batch.items, batch.lengths)
        gap = normal_log_density(code, mean, log_variance) - composite_log_prior(code, *old)
        return self.kl_per_item * (batch.lengths * gap.sum(1)).mean()

    def _kl_weight(self, steps: Tensor) -> Tensor:
        return (steps / self.kl_steps).clamp(max=self.kl_cap)
