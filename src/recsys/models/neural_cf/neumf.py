"""NeuMF: GMF and a tower of layers beside each other, with vectors of their own, under one logit.

He et al., "Neural Collaborative Filtering", WWW 2017.
"""

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.data import Dataset
from recsys.models.neural_cf.gmf import GMF, GMFNet
from recsys.models.neural_cf.mlp import NCFMLP, NCFMLPNet, check_layers
from recsys.models.neural_cf.pairs import NCFRecommender, PairNet, start_logit
from recsys.nn.pair_tables import PairTables
from recsys.nn.pairs import PairLayers
from recsys.params import Fraction, Positive, PositiveInt, UnitInterval
from recsys.training import make_optimizers


class NeuMFNet(PairNet):
    """Logit h . [p * q; z] + b: what GMF multiplies, and the last hidden layer z of a tower over other vectors."""

    def __init__(self, gmf: GMFNet, mlp: NCFMLPNet):
        super().__init__()
        self.gmf, self.mlp, self.n_items = gmf, mlp, gmf.n_items
        # One bias is enough for both.
        mlp.head.bias = None  # type: ignore[assignment]
        start_logit(gmf.head.weight, mlp.head.weight)

    @property
    def layers(self) -> PairLayers:
        """A product and a tower."""
        (dim, (bias,), _), (_, (_, *tower), dropout) = self.gmf.layers, self.mlp.layers
        return PairLayers(dim, (bias, *tower), dropout)

    @property
    def tables(self) -> PairTables:
        """Those of both."""
        gmf, mlp = self.gmf.tables, self.mlp.tables
        return PairTables(gmf.multiplied, gmf.factor, mlp.read, mlp.first)

    def user_side(self, users: Tensor) -> Tensor:
        """Codes (B,) to the sides of both parts beside each other, (B, D + H)."""
        return torch.cat([self.gmf.user_side(users), self.mlp.user_side(users)], 1)

    def item_side(self, items: Tensor | None = None) -> Tensor:
        """Codes (C,), or all of them, to the sides of both parts beside each other, (C, D + H)."""
        return torch.cat([self.gmf.item_side(items), self.mlp.item_side(items)], 1)

    @torch.no_grad()
    def fuse(self, gmf: GMFNet, mlp: NCFMLPNet, alpha: float) -> None:
        """Start from trained parts: h = [alpha h_GMF; (1 - alpha) h_MLP], and b likewise."""
        for part, trained, weight in ((self.gmf, gmf, alpha), (self.mlp, mlp, 1 - alpha)):
            part.load_state_dict(trained.state_dict(), strict=False)
            part.head.weight.mul_(weight)
        self.gmf.head.bias.copy_(alpha * gmf.head.bias + (1 - alpha) * mlp.head.bias)


class NeuMF(NCFRecommender):
    """Neural matrix factorization: GMF and the tower of `NCFMLP`, each with its own vectors, under one logit.

    Trained from scratch by Adam, or as in the paper from a trained `GMF` and a trained `NCFMLP`, by plain descent.
    """

    embedding_dim: PositiveInt = 8
    """Length of the vectors that are multiplied."""
    tower_dim: PositiveInt = 32
    """Length of the vectors that the tower reads."""
    hidden_dims: tuple[PositiveInt, ...] = (32, 16, 8)
    """Widths of the tower's hidden layers, at least one."""
    dropout: Fraction = 0.0
    """Share of hidden units that a training step leaves out."""
    pretrain: bool = False
    """Whether a `GMF` and an `NCFMLP` are trained first and this network starts from them, moved by plain descent."""
    alpha: UnitInterval = 0.5
    """Weight of the trained `GMF` in the logit that they start with; the `NCFMLP` has the rest."""
    pretrain_epochs: tuple[PositiveInt, PositiveInt] | None = None
    """Epochs of the `GMF` and of the `NCFMLP`, at most; None takes `epochs` for both."""
    descent_rate: Positive = 0.01
    """Step size of plain descent after `pretrain`, whose parts take `learning_rate`."""

    pretraining_log_: pd.DataFrame | None

    def _network(self) -> NeuMFNet:
        check_layers(type(self).__name__, self.hidden_dims)
        gmf = GMFNet(*self._tables(self.embedding_dim))
        return NeuMFNet(gmf, NCFMLPNet(*self._tables(self.tower_dim), self.hidden_dims, self.dropout))

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        if not self.pretrain:
            return super()._optimizers(net)
        return make_optimizers(net, "sgd", self.descent_rate, self.weight_decay)

    @property
    def _rate(self) -> str:
        return "descent_rate" if self.pretrain else "learning_rate"

    def _train(self, data: Dataset, validation: Dataset | None, device: torch.device) -> None:
        self.pretraining_log_ = None
        if self.pretrain:
            gmf, mlp = (part.fit(data, validation_data=validation) for part in self._parts())
            self.module_.fuse(gmf.module_, mlp.module_, self.alpha)
            logs = {type(part).__name__: part.training_log_ for part in (gmf, mlp)}
            self.pretraining_log_ = pd.concat(logs, names=["part"]).reset_index("part").reset_index(drop=True)
        super()._train(data, validation, device)

    def _parts(self) -> tuple[GMF, NCFMLP]:
        """The models to start from, with this one's settings; they are trained anew by a fit that goes on."""
        epochs = self.pretrain_epochs or (self.epochs, self.epochs)
        ours = {**self.get_params(), "checkpoint": None}

        def part(model: Any, **changes: Any) -> Any:
            return model(**{name: ours[name] for name in model().get_params()} | changes)

        tower = part(NCFMLP, embedding_dim=self.tower_dim, epochs=epochs[1])
        return part(GMF, epochs=epochs[0]), tower
