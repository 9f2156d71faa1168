"""DeepRec: a deep autoencoder of users' ratings, trained on its own output too.

Kuchaiev & Ginsburg, "Training Deep AutoEncoders for Collaborative Filtering", arXiv:1708.01715, 2017.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.families.profile import RatingProfileRecommender
from recsys.nn.dropout import Dropout
from recsys.nn.losses import ragged_rows
from recsys.nn.mlp import linear
from recsys.nn.ragged import RaggedLinear
from recsys.params import Fraction, NonNegativeInt, Positive, PositiveInt
from recsys.training import make_optimizers
from recsys.training.examples import RatingBatch


class DenseBatch(NamedTuple):
    """Whole rows of ratings (B, I): what the network gave, to be given again."""

    ratings: Tensor


class DeepRecNet(nn.Module):
    """n - hidden_dims - n: down to the code and back up through the same widths, SELU after every layer.

    `tied` layers on the way up are those on the way down, transposed, with biases of their own.
    """

    def __init__(self, n_items: int, hidden_dims: Sequence[int], dropout: float, *, tied: bool, last: bool):
        super().__init__()
        self.dropout, self.last = Dropout(dropout), last
        self.first = RaggedLinear(n_items, hidden_dims[0])
        self.encoder = nn.ModuleList(linear(*dims) for dims in pairwise(hidden_dims))
        sizes = (*hidden_dims[::-1], n_items)
        self.decoder = None if tied else nn.ModuleList(linear(*dims) for dims in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(dim) for dim in sizes[1:]) if tied else None

    def forward(self, items: Tensor, lengths: Tensor, ratings: Tensor) -> Tensor:
        """Ratings (N,) of items (N,) in ragged rows, lengths (B,), to ratings of all items, (B, I)."""
        return self.decode(self.encode(self.first(items, lengths, ratings)))

    def again(self, ratings: Tensor) -> Tensor:
        """The same of whole rows: (B, I) to (B, I)."""
        return self.decode(self.encode(self.first.dense(ratings)))

    def encode(self, hidden: Tensor) -> Tensor:
        """What the first layer gives, (B, H), to codes (B, D)."""
        hidden = F.selu(hidden)
        for layer in self.encoder:
            hidden = F.selu(layer(hidden))
        return hidden

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, D) to ratings of all items, (B, I)."""
        hidden = self.dropout(code)
        layers = self._way_up()
        for at, (weight, bias) in enumerate(layers, 1):
            hidden = F.linear(hidden, weight, bias)
            hidden = F.selu(hidden) if at < len(layers) or self.last else hidden
        return hidden

    def _way_up(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer of the decoder."""
        if self.decoder is not None:
            return [(layer.weight, layer.bias) for layer in self.decoder]  # type: ignore[misc]
        assert self.biases is not None
        # That of the first layer is held transposed already.
        weights = [*(layer.weight.T for layer in reversed(self.encoder)), self.first.table.vectors]  # type: ignore[operator]
        return list(zip(weights, self.biases, strict=True))


class DeepRec(RatingProfileRecommender):
    """A deep autoencoder of users' ratings; serves anyone from a `history=` with ratings.

    The loss is the mean squared error over a batch's observed ratings. What the network makes of a batch is close to a
    whole row of ratings, and a good network gives back what it is fed: after each step the output, detached, is fed
    again as input and target of a step of its own.
    """

    hidden_dims: tuple[PositiveInt, ...] = (512, 512, 1024)
    """Widths on the way to the code, which is the last; the way back has the same."""
    dropout: Fraction = 0.8
    """Share of the code that a training step leaves out."""
    tied: bool = False
    """Whether layers on the way back are the transposed ones of the way there."""
    output_activation: Literal["selu", "identity"] = "selu"
    """What the last layer goes through."""
    refeeds: NonNegativeInt = 1
    """Steps on the network's own output after each step on a batch."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """How parameters move: descent with a momentum of 0.9, or Adam."""
    learning_rate: Positive = 0.005
    """Step size of the optimizer."""
    batch_size: PositiveInt = 128
    """Users a step."""
    epochs: PositiveInt = 100
    """Passes over the users, at most."""

    def _network(self) -> DeepRecNet:
        last = self.output_activation == "selu"
        return DeepRecNet(len(self.items_), self.hidden_dims, self.dropout, tied=self.tied, last=last)

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        if self.optimizer == "adam":
            return make_optimizers(net, "adam", self.learning_rate, self.weight_decay)
        rest = {"momentum": 0.9, "weight_decay": self.weight_decay}
        return [torch.optim.SGD(net.parameters(), self.learning_rate, **rest)]

    def _steps(self, batch: RatingBatch) -> Iterator[Any]:
        yield batch
        for _ in range(self.refeeds):
            yield DenseBatch(self._output)

    def _loss(self, net: Any, batch: RatingBatch | DenseBatch) -> Tensor:
        if isinstance(batch, DenseBatch):
            output, wanted = net.again(batch.ratings), batch.ratings
            found = output
        else:
            output, wanted = net(batch.items, batch.lengths, batch.ratings), batch.ratings
            found = output[ragged_rows(batch.lengths, len(batch.items)), batch.items]
        # Made before the step, and of no gradient.
        self._output = output.detach()
        return (found - wanted).square().mean()

    def _logits(self, net: Any, batch: RatingBatch) -> Tensor:
        return net(batch.items, batch.lengths, batch.ratings)
