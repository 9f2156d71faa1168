"""DCN: a cross network, which multiplies the fields with each other, and a deep network.

Wang, Fu, Fu & Wang, "Deep & Cross Network for Ad Click Predictions", ADKDD 2017 (version 1); Wang et al., "DCN V2:
Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021 (the others).
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.embedding import FieldEmbedding
from recsys.families import FieldRecommender
from recsys.families.field import FieldNet, Parts
from recsys.nn.cross import MatrixCross, MixCross, VectorCross
from recsys.nn.mlp import Layers, both, hidden_layers, linear, product
from recsys.nn.towers import Linears, Tower, sum_of_towers
from recsys.params import Fraction, NonNegative, PositiveInt


class DCNNet(FieldNet):
    """Logit of a row from the field vectors side by side, which `cross` and `deep` read beside or after each other."""

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        embedding_dim: int,
        cross: VectorCross | MatrixCross | MixCross,
        hidden_dims: Sequence[int],
        *,
        stacked: bool,
        init_std: float | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        sparse: bool = True,
    ):
        super().__init__()
        self.dim = dim = len(sizes) * embedding_dim
        self.stacked = stacked
        self.embedding = FieldEmbedding(sizes, embedding_dim, fields=slot_fields, std=init_std, sparse=sparse)
        self.cross = cross
        self.deep = hidden_layers(dim, *hidden_dims, dropout=dropout, batch_norm=batch_norm)
        hidden = hidden_dims[-1] if hidden_dims else dim
        # Without a hidden layer what the deep network would say is the input itself, which the cross network passes on.
        self.logit = linear(hidden if stacked or not hidden_dims else dim + hidden, 1)

    @property
    def _one_after_the_other(self) -> bool:
        return self.stacked or len(self.deep) == 0

    def embed(self, codes: Tensor, values: Tensor) -> Parts:
        """Slots (B, S) and values (B, S) to field vectors (B, F, D)."""
        return (self.embedding(codes, values),)

    def head(self, parts: Parts) -> Tensor:
        """Field vectors (B, F, D) to logits (B,)."""
        x, towers = parts[0].flatten(1), self._towers()
        return sum_of_towers(x, *towers).squeeze(1) if towers else self._logits(self.cross(x), x, self.deep)

    def _towers(self) -> list[Tower]:
        """The networks, each with its part of the last layer, where they have no other than linear and cross layers."""
        cross = self.cross.bare if isinstance(self.cross, MatrixCross) else None
        deep = self.deep.bare
        if cross is None or deep is None:
            return []
        if self._one_after_the_other:
            return [[cross, deep.then(self.logit.weight, self.logit.bias)]]
        of_crossed, of_deep = self._weights_of_both()
        known = Linears().then(of_crossed, self.logit.bias)
        return [[cross, known], [deep.then(of_deep, torch.zeros_like(self.logit.bias))]]

    def _weights_of_both(self) -> tuple[Tensor, Tensor]:
        """Columns of the last layer's weights for either network: beside each other the rows would have to be copied, and
        their gradients too."""
        of_crossed, of_deep = self.logit.weight.split((self.dim, self.logit.in_features - self.dim), 1)
        return of_crossed, of_deep

    def _logits(self, crossed: Tensor, x: Tensor, deep: Layers) -> Tensor:
        """What the cross network gives, (N, D), to logits (N,). `deep`, the deep network or what is left of it, reads that
        or, beside the cross network, x."""
        if self._one_after_the_other:
            return self.logit(deep(crossed)).squeeze(1)
        of_crossed, of_deep = self._weights_of_both()
        return (F.linear(crossed, of_crossed, self.logit.bias) + F.linear(deep(x), of_deep)).squeeze(1)

    def side(self, parts: Parts) -> Parts:
        """The fields' vectors side by side (B, F D), the cross network's first sums, and, where the deep network reads
        the vectors, its first layer's sums (B, H)."""
        x = parts[0].flatten(1)
        sides = x, self.cross.first_sums(x)
        return sides if self._one_after_the_other else (*sides, product(self.deep[0], x))

    def pairs(self, people: Parts, things: Parts) -> Tensor:
        """Logits (B, C) of every pair."""
        x, sums = ((left[:, None] + right).flatten(0, 1) for left, right in zip(people[:2], things[:2], strict=True))
        crossed, deep = self.cross(x, sums), self.deep
        if not self._one_after_the_other:
            x, deep = both(people[2], things[2], self.deep[0]), self.deep[1:]
        return self._logits(crossed, x, deep).view(len(people[0]), -1)


class DCN(FieldRecommender):
    """Deep & cross network: every cross layer raises the degree of the fields' products by one.

    A row costs O(L D^2) for L cross layers over all fields' vectors, D numbers (version 1: O(L D)), and the deep
    network.
    """

    embedding_dim: PositiveInt = 16
    """Length of each field's vector."""
    version: Literal[1, 2, "mix"] = 2
    """1 crosses by a vector a layer, 2 by a matrix, "mix" by gated experts of low rank."""
    structure: Literal["parallel", "stacked"] = "parallel"
    """"parallel": both networks read the input, and one layer their outputs; "stacked": the deep one reads the cross
    one's output."""
    n_layers: PositiveInt = 3
    """Cross layers."""
    rank: PositiveInt | None = None
    """Rank of version 2's matrices, None for full ones, and of the experts, None for a quarter of their size."""
    n_experts: PositiveInt = 4
    """Experts of version "mix"."""
    hidden_dims: tuple[PositiveInt, ...] = (400, 400, 400)
    """Widths of the deep network's hidden layers; () leaves the cross network alone."""
    init_std: NonNegative | None = None
    """Standard deviation of the vectors at the start; None is (2 / (n + embedding_dim))^1/2 for the n codes of all
    fields, at least 0.01. All that the networks get are these vectors and their products: small ones begin near a flat
    spot, large ones are noise that stays for long in rare codes."""
    dropout: Fraction = 0.0
    """Share of hidden units that a training step leaves out."""
    batch_norm: bool = False
    """Whether hidden layers are normalized over the batch, before their activation."""

    def _network(self) -> DCNNet:
        return DCNNet(
            self.field_sizes_, self.slot_fields_, self.embedding_dim, self._cross_network(), self.hidden_dims,
            stacked=self.structure == "stacked", init_std=self.init_std, dropout=self.dropout,
            batch_norm=self.batch_norm, sparse=self._sparse,
        )  # fmt: skip

    def _cross_network(self) -> VectorCross | MatrixCross | MixCross:
        dim = len(self.field_sizes_) * self.embedding_dim
        if self.version == 1:
            return VectorCross(dim, self.n_layers)
        if self.version == 2:
            return MatrixCross(dim, self.n_layers, self.rank)
        rank = max(1, dim // 4) if self.rank is None else self.rank
        return MixCross(dim, self.n_layers, rank, self.n_experts)
