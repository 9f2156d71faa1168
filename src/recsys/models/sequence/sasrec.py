"""SASRec: self-attention over a user's history, trained to name the next item at every step.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. Losses: binary cross-entropy as in the paper;
the softmax over the catalog or over drawn items (Klenitskiy & Vasilev, "Turning Dross Into Gold Loss", RecSys 2023);
gBCE (Petrov & Macdonald, "gSASRec", RecSys 2023).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.data import Dataset
from recsys.embedding import Embedding, FieldEmbedding
from recsys.errors import ParameterError
from recsys.families import SequenceRecommender
from recsys.families.slots import Table
from recsys.nn.attention import CausalBlock
from recsys.nn.dropout import Dropout
from recsys.nn.losses import base_logit, bce_loss, entries, gbce_loss, gbce_power, sampled_softmax_loss, softmax_loss
from recsys.params import Fraction, NonNegative, PositiveInt, UnitInterval
from recsys.training import Examples, Negatives, SharedNegatives
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
        tied: bool = True,
        context_fields: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ):
        super().__init__()
        self.table = Embedding(n_items, embedding_dim, std=0.02)
        self.output = self.table if tied else Embedding(n_items, embedding_dim, std=0.02)
        sizes, slots = context_fields
        self.context = FieldEmbedding(sizes, embedding_dim, fields=slots, std=0.02) if sizes else None
        self.positions = nn.Parameter(torch.randn(max_len, embedding_dim) * 0.02)
        self.drop = Dropout(dropout)
        self.blocks = nn.ModuleList(CausalBlock(embedding_dim, n_heads, dropout, variant) for _ in range(n_layers))
        self.norm = nn.LayerNorm(embedding_dim, eps=1e-8)

    @property
    def items(self) -> Tensor:
        """Item vectors that states are multiplied with, (I, D)."""
        return self.output.vectors

    def forward(self, history: Tensor, context: Sequence[Tensor] = (), last: Tensor | None = None) -> Tensor:
        """State after each item: codes (B, L), padded on the right with -1, to (B, L, D).

        The context of each item is slots of codes and values, (B, L, S) each, whose vectors are added to its own. With
        `last` (B,) it is the state after the item of that place alone, (B, 1, D).
        """
        real = history >= 0
        place = len(self.positions) - real.sum(1, keepdim=True) + torch.arange(history.shape[1], device=history.device)
        x = self.table(history)
        if self.context is not None:
            x = x + self.context.total(*(one.flatten(0, 1) for one in context)).view_as(x)
        x = x * self.table.weight.shape[1] ** 0.5
        x = x + self.positions[place.clamp(max=len(self.positions) - 1)]
        x = self.drop(x) * real[..., None]
        *lower, top = self.blocks
        for block in lower:
            x = block(x)
        return self.norm(top(x, last))


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
    loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] = "softmax"
    """Cross-entropy over the catalog or over drawn items, or binary cross-entropy (plain or gBCE) with drawn items.

    In the binary ones the logit of an item is its score + ln(beta / n_negatives), beta the power of gBCE and 1 for "bce":
    a score of 0 stands for the odds of any item.
    """
    n_negatives: PositiveInt = 1
    """Items drawn for each step of a history ("bce", "gbce"), or once for all steps of a batch ("sampled_softmax")."""
    sample_alpha: NonNegative = 0.0
    """Items are drawn in proportion to popularity^sample_alpha; 0 draws all alike. "sampled_softmax" corrects for it."""
    calibration: UnitInterval = 0.75
    """How far "gbce" undoes the overconfidence that drawn negatives lead to, the paper's t: 0 is "bce", 1 all of it."""
    tied: bool = True
    """Whether states are multiplied with the vectors that histories are read by, or with vectors of their own."""
    variant: Literal["official", "preln"] = "official"
    """The authors' block, or the pre-norm block of the paper's equation."""
    batch_size: PositiveInt = 128
    """Histories a step."""

    def _network(self) -> SASRecNet:
        if self.embedding_dim % self.n_heads:
            raise ParameterError(f"SASRec: n_heads={self.n_heads} does not divide embedding_dim={self.embedding_dim}")
        sizes = len(self.items_), self.max_len, self.embedding_dim, self.n_layers, self.n_heads
        return SASRecNet(*sizes, self.dropout, self.variant, self.tied, self._context_fields)

    def _examples(self, data: Dataset) -> Examples:
        device = next(self.module_.parameters()).device
        weights = torch.from_numpy(self.item_counts_).double() ** self.sample_alpha
        if self.loss == "sampled_softmax":
            self._shared = SharedNegatives(weights).to(device)
        elif self.loss != "softmax":
            rows = data.positive
            users, items = torch.from_numpy(data.user_codes[rows]), torch.from_numpy(data.item_codes[rows])
            self._negatives = Negatives(users, items, data.n_items, weights if self.sample_alpha else None).to(device)
        return super()._examples(data)

    def _states(self, history: Tensor, lengths: Tensor, context: Table) -> Tensor:
        return self.module_(history, context, lengths - 1)[:, 0]

    def _loss(self, net: Any, batch: SequenceBatch) -> Tensor:
        states, targets, users = self._real_states(net, batch)
        if self.loss == "softmax":
            return softmax_loss(states, net.items, targets)
        if self.loss == "sampled_softmax":
            drawn, log_expected = self._shared.draw(self.n_negatives)
            return sampled_softmax_loss(states, net.output(targets), net.output(drawn), targets, drawn, log_expected)
        negatives = self._negatives.draw(users, self.n_negatives)
        calibration = self.calibration if self.loss == "gbce" else 0.0
        # Scores start at 0. If that meant even odds, many negatives would first have to be pushed down all together, on
        # which the network spends itself: every history comes to the same state, and nothing leads out of there.
        base = base_logit(self.n_negatives, gbce_power(self.n_negatives, len(self.items_), calibration))
        positive = (states * net.output(targets)).sum(-1) + base
        lengths = torch.full_like(targets, self.n_negatives)
        no_bias = states.new_zeros(len(self.items_))
        negative = entries(states, net.items, no_bias, negatives.flatten(), lengths).view_as(negatives) + base
        if self.loss == "bce":
            return bce_loss(positive, negative)
        return gbce_loss(positive, negative, len(self.items_), self.calibration)
