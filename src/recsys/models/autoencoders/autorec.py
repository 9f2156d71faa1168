"""AutoRec: an autoencoder that fills in the missing ratings of an item, or of a user.

Sedhain et al., "AutoRec: Autoencoders Meet Collaborative Filtering", WWW 2015.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.data import Dataset
from recsys.errors import ParameterError, UnsupportedError
from recsys.families.profile import RatingProfileRecommender, profiles
from recsys.nn.losses import entries
from recsys.nn.ragged import RaggedLinear
from recsys.params import NonNegative, PositiveInt
from recsys.training import Examples, RatingProfileExamples, WholeExamples, make_optimizers
from recsys.training.examples import RatingBatch

ITERATIONS = 10
"""Steps of L-BFGS an epoch, each of one evaluation of the objective or a few more."""

Activation = Literal["sigmoid", "identity", "relu", "tanh"]
HIDDEN = {"sigmoid": torch.sigmoid, "identity": nn.Identity(), "relu": torch.relu, "tanh": torch.tanh}


class AutoRecNet(nn.Module):
    """W g(V r + mu) + b of the ratings r of a row, absent ones being 0; it has 2 n D + D + n parameters for n columns."""

    codes: Tensor

    def __init__(self, n_columns: int, n_factors: int, activation: Activation, level: float, n_items: int = 0):
        super().__init__()
        self.activation = HIDDEN[activation]
        self.first = RaggedLinear(n_columns, n_factors)
        self.output = nn.Linear(n_factors, n_columns)
        nn.init.xavier_uniform_(self.output.weight)
        # What a row says at the start is the mean of all ratings, and the rest has only differences to learn.
        nn.init.constant_(self.output.bias, level)
        self.register_buffer("codes", torch.zeros(n_items, n_factors))

    def encode(self, columns: Tensor, lengths: Tensor, ratings: Tensor) -> Tensor:
        """Ratings (N,) at columns (N,) of ragged rows, lengths (B,), to codes (B, D)."""
        return self.activation(self.first(columns, lengths, ratings))


class AutoRec(RatingProfileRecommender):
    """h(r) = f(W g(V r + mu) + b), fitted to the ratings that a row has; the others are what it predicts.

    Minimizes the sum of squared errors over observed ratings + regularization / 2 (|W|^2 + |V|^2). `training_log_` has
    that over the number of ratings. A row is an item, whose columns are the users ("item"), or a user, whose columns
    are the items ("user"); only the latter serves a `history=`, which then needs ratings. The output f is the identity,
    or the logistic function spread over the scale of the ratings.
    """

    reads_history: ClassVar[bool] = False

    axis: Literal["item", "user"] = "item"
    """Whose ratings are a row: the more accurate "item", or "user"."""
    n_factors: PositiveInt = 500
    """Length of the code."""
    activation: Activation = "sigmoid"
    """What the code goes through, g."""
    output_activation: Literal["identity", "sigmoid"] = "identity"
    """What the output goes through, f."""
    regularization: NonNegative = 10.0
    """Penalty on both matrices, beside the squared errors of all ratings."""
    optimizer: Literal["adam", "lbfgs"] = "adam"
    """How parameters move: in batches of rows, or, "lbfgs", by ten steps of L-BFGS an epoch on all rows, which
    reads no `batch_size`, `learning_rate` or `weight_decay`."""
    batch_size: PositiveInt = 256
    """Rows a step."""
    epochs: PositiveInt = 200
    """Passes over the rows, at most."""

    def _fit(self, data: Dataset, validation: Dataset | None) -> None:
        if self.optimizer == "lbfgs" and self.checkpoint is not None:
            raise ParameterError(
                "AutoRec: checkpoint=... cannot hold what optimizer='lbfgs' remembers; take optimizer='adam'"
            )
        super()._fit(data, validation)

    def _network(self) -> AutoRecNet:
        sizes = (len(self.users_), len(self.items_)) if self.axis == "item" else (len(self.items_), 0)
        return AutoRecNet(sizes[0], self.n_factors, self.activation, self._level(), sizes[1])

    def _level(self) -> float:
        if self.output_activation == "identity":
            return self.mean_
        share = float(np.clip((self.mean_ - self.low_) / max(self.high_ - self.low_, 1e-6), 0.01, 0.99))
        return float(np.log(share / (1 - share)))

    def _examples(self, data: Dataset) -> Examples:
        matrix = data.to_csr("rating")
        examples = RatingProfileExamples(profiles(matrix.T.tocsr() if self.axis == "item" else matrix))
        self._n_ratings = max(matrix.nnz, 1)
        return WholeExamples(examples) if self.optimizer == "lbfgs" else examples

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        if self.optimizer == "lbfgs":
            # Gradients of a mean over many ratings are small from the start: their size says nothing about the end.
            never = {"tolerance_grad": 0.0, "tolerance_change": 0.0}
            return [torch.optim.LBFGS(net.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe", **never)]
        return make_optimizers(net, "adam", self.learning_rate, self.weight_decay)

    def _loss(self, net: Any, batch: RatingBatch) -> Tensor:
        codes = net.encode(batch.items, batch.lengths, batch.ratings)
        found = self._output(entries(codes, net.output.weight, net.output.bias, batch.items, batch.lengths))
        norms = net.first.table.weight.square().sum() + net.output.weight.square().sum()
        errors = (found - batch.ratings).square().mean()
        return errors + 0.5 * self.regularization / self._n_ratings * norms

    def _output(self, scores: Tensor) -> Tensor:
        if self.output_activation == "identity":
            return scores
        return self.low_ + (self.high_ - self.low_) * torch.sigmoid(scores)

    # -- scoring -----------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        if self.axis == "item":
            net: Any = self.module_
            items = self._ratings(self.history_).T.tocsr()
            with torch.inference_mode():
                net.codes.copy_(net.encode(*self._ragged(items), self._to_device(items.data)))

    def _logits(self, net: Any, batch: RatingBatch) -> Tensor:
        if self.axis == "user":
            return net.output(net.encode(batch.items, batch.lengths, batch.ratings))
        # A user is a column of every item's output.
        return net.output.weight[batch.rows] @ net.codes.T + net.output.bias[batch.rows, None]

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return super()._link(self._output(torch.from_numpy(scores)).numpy())

    def _serves_histories(self) -> bool:
        return self.axis == "user"

    def _cannot(self, what: str) -> UnsupportedError:
        if what == "history":
            return UnsupportedError(
                "AutoRec(axis='item') knows users by its own weights; take axis='user' for history="
            )
        return super()._cannot(what)
