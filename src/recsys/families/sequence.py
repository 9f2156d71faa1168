"""Models whose network reads a user's history in order and gives a state that item vectors are multiplied with."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.base import Query, Recommender
from recsys.data import Dataset
from recsys.factor import FactorRecommender
from recsys.families.neural import NeuralRecommender, as_table
from recsys.params import PositiveInt
from recsys.training import Examples, SequenceExamples
from recsys.training.examples import SequenceBatch


class SequenceRecommender(NeuralRecommender, FactorRecommender):
    """A network that maps histories (B, L) to states (B, L, D) and owns item vectors `items` (I, D)."""

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "next-item"
    reads_history: ClassVar[bool] = True

    max_len: PositiveInt = 50
    """Items of a history that the network sees, counted from its end."""

    def _examples(self, data: Dataset) -> Examples:
        return SequenceExamples(data.histories(), self.max_len)

    def _item_table(self, net: Any) -> Tensor:
        """Item vectors that states are multiplied with, (I, D)."""
        return net.items

    def _states(self, history: Tensor, lengths: Tensor) -> Tensor:
        """What follows each history, to multiply item vectors with: codes (B, L), lengths (B,) from 1 on, to (B, D)."""
        return self.module_(history)[torch.arange(len(lengths), device=lengths.device), lengths - 1]

    def _real_states(self, net: Any, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Of every step with a target its state (N, D), the target (N,) and the user (N,)."""
        found = []
        for history, targets, users in batch.parts():
            real = targets >= 0
            found.append((net(history)[real], targets[real], users[:, None].expand_as(real)[real]))
        states, targets, users = (torch.cat(one) for one in zip(*found, strict=True))
        return states, targets, users

    def _refresh(self) -> None:
        with torch.inference_mode():
            self.item_factors_ = as_table(self._item_table(self.module_))

    def _item_vectors(self) -> NDArray[np.float32]:
        return self.item_factors_

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        vectors = np.zeros((len(query), self.item_factors_.shape[1]), np.float32)
        lengths = np.minimum(query.history.lengths, self.max_len)
        # By length, so that a batch is no wider than its longest history.
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            codes = query.history[rows].last(int(lengths[rows].max()))
            with torch.inference_mode():
                states = self._states(self._to_device(codes), self._to_device(lengths[rows]))
                vectors[rows] = states.float().cpu().numpy()
        return vectors

    # States follow from histories; no vector of a user is kept.
    _user_similarity = Recommender._user_similarity
