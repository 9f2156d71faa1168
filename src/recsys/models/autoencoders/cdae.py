"""CDAE: a denoising autoencoder of a user's items with a node of the user's own.

Wu, DuBois, Zheng & Ester, "Collaborative Denoising Auto-Encoders for Top-N Recommender Systems", WSDM 2016.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.data import Dataset
from recsys.embedding import Embedding
from recsys.families import ProfileRecommender
from recsys.nn.dropout import Dropout
from recsys.nn.losses import entries, ragged_rows
from recsys.nn.ragged import RaggedLinear
from recsys.params import NonNegative, Positive, PositiveInt, UnitInterval
from recsys.training import Examples, Negatives, make_optimizers, pick_device
from recsys.training.examples import ProfileBatch


class CDAENet(nn.Module):
    """y = W' z + b' with z = sigmoid(W x + V_u + b); W' is W transposed where it is `tied`.

    x is a user's items: in training each is left out with chance q and counts 1 / (1 - q) otherwise. With q = 1
    nothing is ever read, and what is left is a factorization with a node V_u a user.
    """

    def __init__(self, n_users: int, n_items: int, dim: int, dropout: float, *, user_node: bool, tied: bool):
        super().__init__()
        self.dropout = Dropout(dropout)
        self.first = RaggedLinear(n_items, dim)
        self.nodes = Embedding(n_users, dim, sparse=True) if user_node else None
        self.weight = None if tied else nn.Parameter(torch.empty(n_items, dim))
        self.bias = nn.Parameter(torch.zeros(n_items))
        limit = 4 * (6 / (n_items + dim)) ** 0.5
        tables = [self.first.table, *([] if self.nodes is None else [self.nodes])]
        for start in [*(table.weight.data[1:] for table in tables), *([] if self.weight is None else [self.weight])]:
            nn.init.uniform_(start, -limit, limit)

    @property
    def items(self) -> Tensor:
        """Vectors of the items in the output, (I, D)."""
        return self.first.table.vectors if self.weight is None else self.weight

    def forward(self, items: Tensor, lengths: Tensor, users: Tensor, kept: Tensor | None = None) -> Tensor:
        """Ragged rows, items (N,) and lengths (B,), and users (B,), -1 for one without a node, to z (B, D).

        `kept` (N,) are the corruption's multipliers, if given.
        """
        values = self.bias.new_full(items.shape, float(self.dropout.share < 1)) if kept is None else kept
        hidden = self.first(items, lengths, self.dropout(values) if kept is None else values)
        return torch.sigmoid(hidden if self.nodes is None else hidden + self.nodes(users))


class CDAE(ProfileRecommender):
    """Autoencoder of corrupted profiles; a step reads the positives of a batch of users and negatives drawn for them.

    The loss is summed over a user's positives and negatives and averaged over users. Users of the training data have a
    node of their own; somebody known by a `history=` alone has none, as if it were zero.
    """

    knows_users: ClassVar[bool] = True

    embedding_dim: PositiveInt = 50
    """Length of the code."""
    dropout: UnitInterval = 0.5
    """Share q of a profile's items that a training step leaves out; with 1 none is ever read."""
    loss: Literal["logistic", "square"] = "logistic"
    """-ln sigmoid(y) for positives and -ln sigmoid(-y) for negatives, or half the squared distance of y to 1 and to 0."""
    user_node: bool = True
    """Whether each user of the training data has a node."""
    tied: bool = False
    """Whether items have one vector for input and output."""
    n_negatives: PositiveInt = 5
    """Negatives drawn for each positive, anew in every epoch."""
    optimizer: Literal["adagrad", "adam"] = "adagrad"
    """How parameters move."""
    learning_rate: Positive = 0.1
    """Step size of the optimizer."""
    weight_decay: NonNegative = 1e-4
    """Squared-norm penalty that the optimizer adds to the gradient; half of it times the squared weights."""
    batch_size: PositiveInt = 128
    """Users a step."""
    epochs: PositiveInt = 50
    """Passes over the users, at most."""

    def _network(self) -> CDAENet:
        sizes = len(self.users_), len(self.items_), self.embedding_dim
        return CDAENet(*sizes, self.dropout, user_node=self.user_node, tied=self.tied)

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        return make_optimizers(net, self.optimizer, self.learning_rate, self.weight_decay)

    def _examples(self, data: Dataset) -> Examples:
        pairs = data.to_csr().tocoo()
        users, items = (torch.from_numpy(codes.astype(np.int64)) for codes in (pairs.row, pairs.col))
        self._negatives = Negatives(users, items, data.n_items).to(pick_device(self.device))
        return super()._examples(data)

    def _loss(self, net: Any, batch: ProfileBatch) -> Tensor:
        code = net(batch.items, batch.lengths, batch.rows)
        drawn = self._negatives.draw(batch.rows[ragged_rows(batch.lengths, len(batch.items))], self.n_negatives)
        columns = torch.cat([batch.items[:, None], drawn], 1)
        lengths = batch.lengths * columns.shape[1]
        scores = entries(code, net.items, net.bias, columns.flatten(), lengths).view(columns.shape)
        return self._summed(scores[:, :1], scores[:, 1:]) / len(batch.lengths)

    def _summed(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of scores of positives and of negatives, summed."""
        if self.loss == "logistic":
            return F.softplus(-positive).sum() + F.softplus(negative).sum()
        return 0.5 * ((1 - positive).square().sum() + negative.square().sum())

    def _logits(self, net: Any, batch: ProfileBatch) -> Tensor:
        return net(batch.items, batch.lengths, batch.rows) @ net.items.T + net.bias
