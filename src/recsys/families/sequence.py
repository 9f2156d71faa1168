"""Models whose network reads a user's history in order and gives a state that item vectors are multiplied with."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.base import Query, Recommender
from recsys.data import Dataset, Histories
from recsys.factor import FactorRecommender
from recsys.families.neural import NeuralRecommender, as_table
from recsys.families.slots import Slots, Table, column_width
from recsys.params import PositiveInt
from recsys.training import Examples, SequenceExamples
from recsys.training.examples import SequenceBatch, parts_of


class SequenceRecommender(NeuralRecommender, FactorRecommender):
    """A network that maps histories (B, L) to states (B, L, D) and owns item vectors `items` (I, D)."""

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "next-item"
    reads_history: ClassVar[bool] = True
    reads_events: ClassVar[bool] = True

    max_len: PositiveInt = 50
    """Items of a history that the network sees, counted from its end."""
    sessions: Literal["joined", "apart"] = "joined"
    """Whether a history runs over the sessions of its user (`session_col` of the data), or each session stands alone."""

    context_widths_: tuple[int, ...]

    def _prepare(self, data: Dataset) -> None:
        self.context_widths_ = () if data.context is None else tuple(map(column_width, data.context.columns))

    @property
    def _context_fields(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Codes of each context column, and the column of each slot; none without context."""
        slots = Slots.of(0, self.context_, with_id=False, widths=self.context_widths_)
        return slots.sizes, slots.fields

    def _context_table(self, history: Histories) -> Table:
        """Slots of the contexts of all events of the histories: codes and values (n, S)."""
        slots = Slots.of(len(history.items), history.context, with_id=False, widths=self.context_widths_)
        return slots.tensors(next(self.module_.parameters()).device)

    def _histories(self, data: Dataset) -> tuple[Histories, NDArray[np.int64]]:
        """What is trained on, a row a user or a session, and the user of each row."""
        history = data.histories(events=True)
        return history.by_session() if self.sessions == "apart" else (history, np.arange(len(history)))

    def _examples(self, data: Dataset) -> Examples:
        history, users = self._histories(data)
        return SequenceExamples(history, self.max_len, users, self._context_table(history))

    def _item_table(self, net: Any) -> Tensor:
        """Item vectors that states are multiplied with, (I, D)."""
        return net.items

    def _states(self, history: Tensor, lengths: Tensor, context: Table) -> Tensor:
        """What follows each history, to multiply item vectors with: (B, D).

        Histories are codes (B, L), their lengths (B,) are from 1 on, and contexts are slots (B, L, S).
        """
        return self.module_(history, context)[torch.arange(len(lengths), device=lengths.device), lengths - 1]

    def _real_states(self, net: Any, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Of every step with a target its state (N, D), the target (N,) and the user (N,)."""
        found = []
        for history, targets, users, *context in batch.parts():
            real = targets >= 0
            found.append((net(history, context)[real], targets[real], users[:, None].expand_as(real)[real]))
        states, targets, users = (torch.cat(one) for one in zip(*found, strict=True))
        return states, targets, users

    def _refresh(self) -> None:
        with torch.inference_mode():
            self.item_factors_ = as_table(self._item_table(self.module_))

    def _item_vectors(self) -> NDArray[np.float32]:
        return self.item_factors_

    def _user_vectors(self, query: Query) -> NDArray[np.float32]:
        vectors = np.zeros((len(query), self.item_factors_.shape[1]), np.float32)
        histories = query.history if self.sessions == "joined" else query.history.last_session()
        lengths, table = np.minimum(histories.lengths, self.max_len), self._context_table(histories)
        # By length, so that a batch is no wider than its longest history.
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        for part in self._parts(lengths[order]):
            rows = order[part]
            places = histories.last_places(int(lengths[rows[-1]]), rows)
            codes = np.where(places >= 0, histories.items[places], -1)
            with torch.inference_mode():
                at = self._to_device(np.maximum(places, 0))
                context = table[0][at], table[1][at]
                states = self._states(self._to_device(codes), self._to_device(lengths[rows]), context)
                vectors[rows] = states.float().cpu().numpy()
        return vectors

    def _parts(self, lengths: NDArray[np.integer]) -> list[slice]:
        """Which of ascending lengths (B,) are read at a time."""
        if next(self.module_.parameters()).is_cuda:
            return [slice(start, start + self.batch_size) for start in range(0, len(lengths), self.batch_size)]
        return [rows for rows, _ in parts_of(torch.from_numpy(lengths))]

    # States follow from histories; no vector of a user is kept.
    _user_similarity = Recommender._user_similarity
