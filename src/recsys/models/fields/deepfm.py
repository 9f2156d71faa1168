"""DeepFM: a factorization machine and a deep network over the same embeddings.

Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.embedding import FieldEmbedding
from recsys.families import FieldRecommender
from recsys.families.field import FieldNet, Parts
from recsys.nn.interactions import pairwise_interaction, with_pairwise_interaction
from recsys.nn.mlp import both, mlp, product
from recsys.params import Fraction, NonNegative, PositiveInt


class DeepFMNet(FieldNet):
    """Logit of a row: bias + linear + pairwise interactions + a deep network, over one table of vectors."""

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        embedding_dim: int,
        hidden_dims: Sequence[int],
        *,
        init_std: float | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        sparse: bool = True,
    ):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.linear = FieldEmbedding(sizes, 1, fields=slot_fields, std=0.0, sparse=sparse)
        self.embedding = FieldEmbedding(sizes, embedding_dim, fields=slot_fields, std=init_std, sparse=sparse)
        self.deep = mlp(len(sizes) * embedding_dim, *hidden_dims, 1, dropout=dropout, batch_norm=batch_norm)

    def embed(self, codes: Tensor, values: Tensor) -> Parts:
        """Slots (B, S) and values (B, S) to linear parts (B,) and field vectors (B, F, D)."""
        return self.linear.total(codes, values)[:, 0], self.embedding(codes, values)

    def head(self, parts: Parts) -> Tensor:
        """Linear parts (B,) and field vectors (B, F, D) to logits (B,)."""
        linear, vectors = parts
        products, vectors = with_pairwise_interaction(vectors)
        return self.bias + linear + products + self.deep(vectors.flatten(1)).squeeze(1)

    def side(self, parts: Parts) -> Parts:
        """Linear parts with the products inside a side (B,), sums of the vectors (B, D), the first layer's sums (B, H)."""
        linear, vectors = parts
        return linear + pairwise_interaction(vectors), vectors.sum(1), product(self.deep[0], vectors.flatten(1))

    def pairs(self, people: Parts, things: Parts) -> Tensor:
        """Logits (B, C): products across the sides are one dot product, and the deep network goes on from its first sums."""
        deep = self.deep[1:](both(people[2], things[2], self.deep[0])).view(len(people[0]), -1)
        return self.bias + people[0][:, None] + things[0] + people[1] @ things[1].T + deep


class DeepFM(FieldRecommender):
    """Factorization machine and deep network, trained together on shared embeddings."""

    embedding_dim: PositiveInt = 16
    """Length of each field's vector."""
    hidden_dims: tuple[PositiveInt, ...] = (400, 400, 400)
    """Widths of the deep network's hidden layers."""
    init_std: NonNegative | None = None
    """Standard deviation of the vectors at the start; None is (2 / (n + embedding_dim))^1/2 for the n codes of all
    fields, at least 0.01. Large ones are noise that short trainings do not make up for, above all in rare rows."""
    dropout: Fraction = 0.5
    """Share of hidden units that a training step leaves out."""
    batch_norm: bool = False
    """Whether hidden layers are normalized over the batch, before their activation."""

    def _network(self) -> DeepFMNet:
        return DeepFMNet(
            self.field_sizes_, self.slot_fields_, self.embedding_dim, self.hidden_dims, init_std=self.init_std,
            dropout=self.dropout, batch_norm=self.batch_norm, sparse=self._sparse,
        )  # fmt: skip
