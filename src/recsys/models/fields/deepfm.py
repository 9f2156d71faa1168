"""DeepFM: a factorization machine and a deep network over the same embeddings.

Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.embedding import FieldEmbedding
from recsys.families import FieldRecommender
from recsys.families.field import FieldNet
from recsys.nn.interactions import pairwise_interaction
from recsys.nn.mlp import mlp
from recsys.params import Fraction, PositiveInt


class DeepFMNet(FieldNet):
    """Logit of a row: bias + linear + pairwise interactions + a deep network, over one table of vectors."""

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        embedding_dim: int,
        hidden_dims: Sequence[int],
        dropout: float,
    ):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.linear = FieldEmbedding(sizes, 1, fields=slot_fields, std=0.0, sparse=True)
        self.embedding = FieldEmbedding(sizes, embedding_dim, fields=slot_fields, sparse=True)
        self.deep = mlp(len(sizes) * embedding_dim, *hidden_dims, 1, dropout=dropout)

    def embed(self, codes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (B, S) and values (B, S) to linear parts (B,) and field vectors (B, F, D)."""
        return self.linear(codes, values).sum((1, 2)), self.embedding(codes, values)

    def head(self, linear: Tensor, vectors: Tensor) -> Tensor:
        """Linear parts (B,) and field vectors (B, F, D) to logits (B,)."""
        return self.bias + linear + pairwise_interaction(vectors) + self.deep(vectors.flatten(1)).squeeze(1)


class DeepFM(FieldRecommender):
    """Factorization machine and deep network, trained together on shared embeddings."""

    embedding_dim: PositiveInt = 16
    """Length of each field's vector."""
    hidden_dims: tuple[PositiveInt, ...] = (400, 400, 400)
    """Widths of the deep network's hidden layers."""
    dropout: Fraction = 0.5
    """Share of hidden units that a training step leaves out."""

    def _network(self) -> DeepFMNet:
        return DeepFMNet(self.field_sizes_, self.slot_fields_, self.embedding_dim, self.hidden_dims, self.dropout)
