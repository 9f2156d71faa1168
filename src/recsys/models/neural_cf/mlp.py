"""NCFMLP: a tower of layers over a user's and an item's vector, trained to tell a user's items from drawn ones.

He et al., "Neural Collaborative Filtering", WWW 2017.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding import Embedding
from recsys.errors import ParameterError
from recsys.models.neural_cf.pairs import NCFRecommender, PairNet, start_logit, vectors_of
from recsys.nn.mlp import linear
from recsys.nn.pair_tables import PairTables
from recsys.nn.pairs import PairLayers
from recsys.params import Fraction, PositiveInt


class NCFMLPNet(PairNet):
    """Logit h . z + b of the last hidden layer z over [p; q], a user's and an item's vector beside each other.

    The first layer's product splits into W_p p + c of the user and W_q q of the item.
    """

    def __init__(self, users: Embedding, items: Embedding, hidden_dims: Sequence[int], dropout: float = 0.0):
        super().__init__()
        self.users, self.items, self.n_items = users, items, len(items.vectors)
        self.dim, self.dropout = users.vectors.shape[1], dropout
        self.hidden = nn.ModuleList(linear(*sizes) for sizes in pairwise((2 * self.dim, *hidden_dims)))
        self.head = nn.Linear(hidden_dims[-1], 1)
        start_logit(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def layers(self) -> PairLayers:
        """A tower alone."""
        _, *later = self.hidden
        weights = [one for layer in later for one in (layer.weight, layer.bias)]
        head = self.head
        return PairLayers(0, (head.bias, head.weight, *weights), self.dropout if self.training else 0.0)

    @property
    def tables(self) -> PairTables:
        """Vectors that the first layer reads."""
        return PairTables(read=(self.users, self.items), first=self.hidden[0])

    def user_side(self, users: Tensor) -> Tensor:
        """Codes (B,) to W_p p + c, (B, H)."""
        return F.linear(self.users(users), self.hidden[0].weight[:, : self.dim], self.hidden[0].bias)

    def item_side(self, items: Tensor | None = None) -> Tensor:
        """Codes (C,), or all of them, to W_q q, (C, H)."""
        return F.linear(vectors_of(self.items, items), self.hidden[0].weight[:, self.dim :])


class NCFMLP(NCFRecommender):
    """The tower of neural collaborative filtering alone: hidden layers over the vectors of a user and an item.

    Ranking the catalog takes the first layer once a user and once an item, and the layers behind it for each pair.
    """

    embedding_dim: PositiveInt = 32
    """Length of a user's and of an item's vector."""
    hidden_dims: tuple[PositiveInt, ...] = (32, 16, 8)
    """Widths of the hidden layers, at least one; the last one is the number of predictive factors."""
    dropout: Fraction = 0.0
    """Share of hidden units that a training step leaves out."""

    def _network(self) -> NCFMLPNet:
        check_layers(type(self).__name__, self.hidden_dims)
        return NCFMLPNet(*self._tables(self.embedding_dim), self.hidden_dims, self.dropout)


def check_layers(model: str, hidden_dims: Sequence[int]) -> None:
    """Refuse a tower without layers."""
    if not hidden_dims:
        raise ParameterError(f"{model}: hidden_dims=() is not allowed; give one width or more, as in (32, 16, 8)")
