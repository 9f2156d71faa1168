"""SASRec: self-attention over a user's history, trained to name the next item at every step.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. Losses: binary cross-entropy as in the paper;
the softmax over the catalog (Klenitskiy & Vasilev, "Turning Dross Into Gold Loss", RecSys 2023); gBCE (Petrov &
Macdonald,
"gSASRec", RecSys 2023).
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.data import Dataset
from recsys.embedding import Embedding
from recsys.errors import ParameterError
from recsys.families import SequenceRecommender
from recsys.nn.attention import CausalBlock
from recsys.nn.losses import bce_loss, gbce_loss, softmax_loss
from recsys.params import Fraction, PositiveInt
from recsys.training import Examples, Negatives
from recsys.training.examples import SequenceBatch


class SASRecNet(nn.Module):
    """sqrt(D) E[item] + P[position], causal blocks, a final norm; the score of an item is state . E[item].

    Positions count back from the end of a history, as in the authors' left-padded windows: the newest item is always
    at the last one, and padding never moves anything.
    """

    def __init__(
        self,
        n_items: int,
        max_len: int,
        embedding_dim: int,
        n_layers: int,
        n_heads: int,
        dropout: float,
        variant: Literal["official", "preln"] = "official",
    ):
        super().__init__()
        self.table = Embedding(n_items, embedding_dim, std=0.02)
        self.positions = nn.Parameter(torch.randn(max_len, embedding_dim) * 0.02)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(CausalBlock(embedding_dim, n_heads, dropout, variant) for _ in range(n_layers))
        self.norm = nn.LayerNorm(embedding_dim, eps=1e-8)

    @property
    def items(self) -> Tensor:
        """Item vectors that states are multiplied with, (I, D)."""
        return self.table.vectors

    def forward(self, history: Tensor) -> Tensor:
        """State after each item: codes (B, L), padded on the right with -1, to (B, L, D)."""
        real = history >= 0
        place = len(self.positions) - real.sum(1, keepdim=True) + torch.arange(history.shape[1], device=history.device)
        x = self.table(history) * self.table.weight.shape[1] ** 0.5
        x = x + self.positions[place.clamp(max=len(self.positions) - 1)]
        x = self.drop(x) * real[..., None]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class SASRec(SequenceRecommender):
    """Causal self-attention over the last `max_len` items; scores follow from a history, so anyone with one is served."""

    embedding_dim: PositiveInt = 64
    """Length of item vectors and states."""
    n_layers: PositiveInt = 2
    """Attention blocks."""
    n_heads: PositiveInt = 1
    """Attention heads; divides `embedding_dim`."""
    dropout: Fraction = 0.2
    """Share of activations and attention weights that a training step leaves out."""
    loss: Literal["softmax", "bce", "gbce"] = "softmax"
    """Cross-entropy over the catalog, or binary cross-entropy (plain or gBCE) with drawn negatives."""
    n_negatives: PositiveInt = 1
    """Negatives a step of the history for "bce" and "gbce"."""
    variant: Literal["official", "preln"] = "official"
    """The authors' block, or the pre-norm block of the paper's equation."""
    batch_size: PositiveInt = 128
    """Histories a step."""

    def _network(self) -> SASRecNet:
        if self.embedding_dim % self.n_heads:
            raise ParameterError(f"SASRec: n_heads={self.n_heads} does not divide embedding_dim={self.embedding_dim}")
        sizes = len(self.items_), self.max_len, self.embedding_dim, self.n_layers, self.n_heads
        return SASRecNet(*sizes, self.dropout, self.variant)

    def _examples(self, data: Dataset) -> Examples:
        if self.loss != "softmax":
            rows = data.positive
            users, items = torch.from_numpy(data.user_codes[rows]), torch.from_numpy(data.item_codes[rows])
            self._negatives = Negatives(users, items, data.n_items).to(next(self.module_.parameters()).device)
        return super()._examples(data)

    def _loss(self, net: Any, batch: SequenceBatch) -> Tensor:
        real = batch.targets >= 0
        states, targets = net(batch.history)[real], batch.targets[real]
        if self.loss == "softmax":
            return softmax_loss(states, net.items, targets)
        negatives = self._negatives.draw(batch.users[:, None].expand_as(real)[real], self.n_negatives)
        positive = (states * net.table(targets)).sum(-1)
        negative = (states[:, None] * net.table(negatives)).sum(-1)
        if self.loss == "bce":
            return bce_loss(positive, negative)
        return gbce_loss(positive, negative, len(self.items_))
