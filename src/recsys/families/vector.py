"""Models trained on pairs with drawn negatives, and those whose network holds one vector a user and one an item."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.base import Query
from recsys.data import Dataset
from recsys.factor import FactorRecommender
from recsys.families.neural import NeuralRecommender, as_table
from recsys.nn.losses import bpr_loss
from recsys.params import PositiveInt
from recsys.training import Examples, Negatives, PairExamples, pick_device
from recsys.training.examples import PairBatch


class PairRecommender(NeuralRecommender):
    """A network trained on pairs of users and items, with negatives drawn for each."""

    n_negatives: PositiveInt = 1
    """Negatives drawn for each positive pair."""

    def _examples(self, data: Dataset) -> Examples:
        matrix = data.to_csr().tocoo()
        examples = PairExamples(matrix.row.astype(np.int64), matrix.col.astype(np.int64))
        self._negatives = Negatives(examples.users, examples.items, data.n_items).to(pick_device(self.device))
        return examples


class VectorRecommender(PairRecommender, FactorRecommender):
    """A network that maps nothing to users (U, D) and items (I, D); trained on pairs with drawn negatives."""

    def _loss(self, net: Any, batch: PairBatch) -> Tensor:
        users, items = net()
        negatives = self._negatives.draw(batch.users, self.n_negatives)
        vectors = users[batch.users]
        positive = (vectors * items[batch.items]).sum(-1, keepdim=True)
        return bpr_loss(positive, (vectors[:, None] * items[negatives]).sum(-1))

    def _refresh(self) -> None:
        with torch.inference_mode():
            users, items = self.module_()
        self.user_factors_, self.item_factors_ = as_table(users), as_table(items)

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        return np.where(query.users[:, None] >= 0, self.user_factors_[query.users], 0).astype(np.float32)

    def _item_vectors(self) -> NDArray[np.float32]:
        return self.item_factors_
