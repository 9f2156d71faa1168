"""GRU4Rec: recurrent units over a session's clicks, trained to rank the next one above the items of other sessions.

Hidasi, Karatzoglou, Baltrunas & Tikk, "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016; losses,
shared negatives and tied embeddings: Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains for
Session-based Recommendations", CIKM 2018.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.optim import Optimizer

from recsys import request
from recsys.data import Dataset
from recsys.embedding import Embedding, FieldEmbedding, MomentumAdagrad
from recsys.errors import DataError, ParameterError
from recsys.factor import cosine
from recsys.families import SequenceRecommender
from recsys.families.slots import Table
from recsys.kernels.topk import top_k_few
from recsys.nn.dropout import Dropout
from recsys.nn.losses import softmax_loss, widened
from recsys.nn.recurrent import GRULayer, uniform_start
from recsys.nn.sampled_losses import bpr, bpr_max, cross_entropy, top1, top1_max
from recsys.params import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt
from recsys.training import join
from recsys.training.examples import SequenceBatch
from recsys.training.sessions import SessionBatch, SessionExamples

InputForm = Literal["separate", "tied", "onehot"]


class GRU4RecNet(nn.Module):
    """Item vectors, layers of recurrent units, and an output vector and bias for each item.

    The bias is the last column of `items` (I, D + 1), against a 1 behind each state. Inputs are vectors of their own
    ("separate"), the output vectors ("tied"), or the rows of the first layer's input matrix ("onehot").
    """

    def __init__(
        self,
        n_items: int,
        embedding_dim: int,
        hidden_dim: int,
        n_layers: int = 1,
        embedding: InputForm = "separate",
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        sparse: bool = False,
        context_fields: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ):
        super().__init__()
        self.output = Embedding(n_items, hidden_dim + 1, sparse=sparse)
        uniform_start(self.output.vectors.data[:, :hidden_dim])
        self.output.vectors.data[:, hidden_dim] = 0
        width = {"separate": embedding_dim, "tied": hidden_dim, "onehot": 3 * hidden_dim}[embedding]
        if embedding != "tied":
            self.table = Embedding(n_items, width, sparse=sparse)
            for part in self.table.vectors.data.chunk(3 if embedding == "onehot" else 1, 1):
                uniform_start(part)
        sizes, slots = context_fields
        self.context = FieldEmbedding(sizes, width, fields=slots, sparse=sparse) if sizes else None
        first = GRULayer(width, hidden_dim, reads_gates=embedding == "onehot")
        self.layers = nn.ModuleList([first, *(GRULayer(hidden_dim, hidden_dim) for _ in range(1, n_layers))])
        self.drop_input, self.drop = Dropout(embedding_dropout), Dropout(dropout)
        self.hidden_dim, self.embedding = hidden_dim, embedding

    @property
    def items(self) -> Tensor:
        """Output vectors and, in the last column, biases: (I, D + 1)."""
        return self.output.vectors

    def inputs(self, codes: Tensor, context: Sequence[Tensor] = ()) -> Tensor:
        """What the first layer reads: codes (N,), and slots of their contexts, (N, S) each, to (N, D)."""
        x = self.output(codes)[:, : self.hidden_dim] if self.embedding == "tied" else self.table(codes)
        return self.drop_input(x + self.context.total(*context) if self.context is not None and context else x)

    def step(self, codes: Tensor, states: Tensor, context: Sequence[Tensor] = ()) -> Tensor:
        """States after one more item: codes (B,), states of all layers (n, B, D), contexts (B, S), to (n, B, D).

        As in the authors' code, dropout acts on the state that the next step starts from, too.
        """
        x, after = self.inputs(codes, context), []
        for layer, state in zip(self.layers, states, strict=True):
            x = self.drop(layer.step(x, state))
            after.append(x)
        return torch.stack(after)

    def run(self, history: PackedSequence, context: Sequence[Tensor] = ()) -> tuple[PackedSequence, Tensor]:
        """States after each item of packed codes, and those after the last item of each history, (B, D).

        Slots of contexts (N, S) are in the same order.
        """
        x, last = history._replace(data=self.inputs(history.data, context)), torch.empty(0)
        for layer in self.layers:
            x, last = layer(x)
            x = x._replace(data=self.drop(x.data))
        return x, last[0]

    def slots(self, context: Sequence[Tensor], lengths: Tensor) -> list[Tensor]:
        """Slots of contexts (B, L, S) without those of padding, (N, S); none where there is no context."""
        return [] if self.context is None else [packed(one, lengths).data for one in context]

    def forward(self, history: Tensor, context: Sequence[Tensor] = ()) -> Tensor:
        """State after each item: codes (B, L), padded on the right with -1, to (B, L, D); no history is empty.

        Slots of the events' contexts are codes and values, (B, L, S) each.
        """
        lengths = (history >= 0).sum(1)
        states, _ = self.run(packed(history, lengths), self.slots(context, lengths))
        return pad_packed_sequence(states, batch_first=True, total_length=history.shape[1])[0]


def packed(rows: Tensor, lengths: Tensor) -> PackedSequence:
    """Rows (B, L) without their padding: step by step, no work is done for what is not there."""
    return pack_padded_sequence(rows, lengths.cpu(), batch_first=True, enforce_sorted=False)


def with_one(states: Tensor) -> Tensor:
    """States (B, D) and a 1 behind each, which meets the bias: (B, D + 1)."""
    return F.pad(states, (0, 1), value=1.0)


class Step(NamedTuple):
    """What a stream gets for a click."""

    state: NDArray[np.float32]
    """What has been clicked so far, for the next step: (n_layers, hidden_dim)."""
    items: NDArray[Any]
    """Ids of the best items, best first, (k,)."""
    scores: NDArray[np.float32]
    """Their scores, (k,)."""


class GRU4Rec(SequenceRecommender):
    """Gated recurrent units over sessions; scores follow from the clicks so far, so that anonymous sessions are served.

    By default it trains as its authors do: `batch_size` sessions lie side by side, a step moves each by one click from
    the state that the step before left, and the targets of all are negatives of each, beside `n_negatives` drawn ones;
    a step costs O(batch_size (batch_size + n_negatives) hidden_dim), whatever the catalog. With
    `batching="windows"` it trains through whole histories of up to `max_len` items at once and ranks against the whole
    catalog, which suits long histories and catalogs of up to some ten thousand items; `optimizer="adam"` and
    `learning_rate=0.001` go with it.
    """

    embedding_dim: PositiveInt = 100
    """Length of the vectors that items are read as, where they are "separate"."""
    hidden_dim: PositiveInt = 100
    """Length of the states and of the vectors that items are scored by."""
    n_layers: PositiveInt = 1
    """Layers of recurrent units."""
    embedding: InputForm = "separate"
    """What is read of an item: a vector of its own, the one that scores it, or its row of the input matrix."""
    batching: Literal["session-parallel", "windows"] = "session-parallel"
    """Sessions side by side, a step at a time, or windows of histories as wholes."""
    session_order: Literal["time", "random"] = "time"
    """Session-parallel: sessions by the time of their first click, or in a fresh order each epoch."""
    loss: Literal["cross-entropy", "bpr-max", "top1-max", "bpr", "top1", "softmax"] = "cross-entropy"
    """What is asked of a target among its negatives; "softmax" is the cross-entropy over the whole catalog, and the
    only one for windows."""
    n_negatives: NonNegativeInt = 2048
    """Items drawn for each step, beside the targets of the other sessions."""
    sample_alpha: NonNegative = 0.5
    """They are drawn in proportion to their popularity to this power; 0 is uniform."""
    logq: NonNegative = 1.0
    """For "cross-entropy": share of the logarithm of its popularity (to the power `sample_alpha` for drawn ones) that
    an item's score is lowered by, so that popular items are not pushed down for being negatives often."""
    elu: Positive | None = None
    """For "bpr-max": scores level off at minus this number; None leaves them as they are."""
    bpr_regularization: NonNegative = 1.0
    """For "bpr-max": penalty on the squared scores of negatives."""
    dropout: Fraction = 0.0
    """Share of the states that a training step leaves out."""
    embedding_dropout: Fraction = 0.0
    """Share of what is read of an item that a training step leaves out."""
    optimizer: Literal["adagrad", "adam"] = "adagrad"
    """Adagrad with momentum, as the authors use it, or Adam."""
    momentum: Fraction = 0.0
    """Share of its last step that Adagrad goes on with."""
    learning_rate: Positive = 0.05
    """Step size of the optimizer; Adam wants about 0.001."""
    batch_size: PositiveInt = 128
    """Sessions side by side, or windows a step."""
    epochs: PositiveInt = 10
    """Passes over the sessions, at most."""

    # -- training ----------------------------------------------------------------------------------------------------

    def _network(self) -> GRU4RecNet:
        if self.batching == "windows" and self.loss != "softmax":
            raise ParameterError(
                f'GRU4Rec: loss={self.loss!r} needs batching="session-parallel"; with windows give loss="softmax"'
            )
        return GRU4RecNet(
            len(self.items_), self.embedding_dim, self.hidden_dim, self.n_layers, self.embedding, self.dropout,
            self.embedding_dropout, sparse=self.loss != "softmax", context_fields=self._context_fields,
        )  # fmt: skip

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        if self.optimizer == "adam":
            return super()._optimizers(net)
        rates = self.learning_rate, self.momentum
        return [MomentumAdagrad(net.parameters(), *rates, weight_decay=self.weight_decay)]

    def _examples(self, data: Dataset) -> Any:
        if self.batching == "windows":
            return super()._examples(data)
        device = next(self.module_.parameters()).device
        processes = join(device)
        n_negatives = 0 if self.loss == "softmax" else self.n_negatives
        history, _ = self._histories(data)
        examples = SessionExamples(
            history, data.n_items, n_negatives, self.sample_alpha, self.session_order,
            (processes.rank, processes.world), self._context_table(history),
        )  # fmt: skip
        # Of one that never occurs the logarithm would be infinite; it is drawn with sample_alpha=0 alone.
        self._log_popularity = examples.popularity.clamp(min=1).float().log().to(device)
        self._state = torch.empty(self.n_layers, 0, self.hidden_dim, device=device)
        return examples

    def _loss(self, net: Any, batch: Any) -> Tensor:
        if self.batching == "windows":
            return self._window_loss(net, batch)
        states = net.step(batch.items, self._carried(batch), (batch.codes, batch.values))
        self._state = states.detach()
        if self.loss == "softmax":
            return softmax_loss(with_one(states[-1]), net.items, batch.targets)
        return self._sampled_loss(net, states[-1], batch)

    def _window_loss(self, net: Any, batch: SequenceBatch) -> Tensor:
        lengths = (batch.targets >= 0).sum(1)
        slots = net.slots((batch.codes, batch.values), lengths)
        states, _ = net.run(packed(batch.history, lengths), slots)
        return softmax_loss(with_one(states.data), net.items, packed(batch.targets, lengths).data)

    def _carried(self, batch: SessionBatch) -> Tensor:
        """States that the step starts from: those that the last one left, and zeros where a session begins."""
        n_lanes = len(batch.items)
        # Lanes are only ever dropped within an epoch, the last ones first: more of them are those of a new one.
        if self._state.shape[1] < n_lanes:
            self._state = self._state.new_zeros(self.n_layers, n_lanes, self.hidden_dim)
        return self._state[:, :n_lanes] * batch.goes_on[:, None]

    def _sampled_loss(self, net: Any, states: Tensor, batch: SessionBatch) -> Tensor:
        vectors = net.output(torch.cat([batch.targets, batch.negatives]))
        with torch.autocast(states.device.type, enabled=False):
            states, vectors = widened(with_one(states), vectors)
            scores = states @ vectors.T
            if self.loss == "cross-entropy":
                return cross_entropy(scores, self._log_q(batch) if self.logq else None)
            if self.loss == "bpr-max":
                return bpr_max(scores, self.elu, self.bpr_regularization)
            return {"top1": top1, "top1-max": top1_max, "bpr": bpr}[self.loss](scores)

    def _log_q(self, batch: SessionBatch) -> Tensor:
        """What the scores of targets and drawn negatives are lowered by, (B + K,)."""
        drawn = self.sample_alpha * self._log_popularity[batch.negatives]
        return self.logq * torch.cat([self._log_popularity[batch.targets], drawn])

    # -- serving -----------------------------------------------------------------------------------------------------

    def _states(self, history: Tensor, lengths: Tensor, context: Table) -> Tensor:
        net: Any = self.module_
        return with_one(net.run(packed(history, lengths), net.slots(context, lengths))[1])

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        # Without the biases.
        return cosine(self.item_factors_[:, :-1], items)

    def step(self, state: NDArray[np.float32] | None, item: Any, k: int = 10) -> Step:
        """The `k` best next items after one more click of a session, in constant time, however long it is.

        `state` is that of the step before, None at the first click. Scores are those of `recommend(history=...,
        filter_seen=False)` as long as the session has no more than `max_len` items, and whatever was clicked may be
        listed again. An unknown item raises a `DataError`; the state before it is still good. Of the click's context
        nothing is known.
        """
        self._check_ranks()
        k = request.check_count("GRU4Rec", "k", k)
        code = request.known_code(item, self.items_, "GRU4Rec", "item")
        shape = self.n_layers, self.hidden_dim
        before = np.zeros(shape, np.float32) if state is None else np.asarray(state, np.float32)
        if before.shape != shape:
            raise DataError(f"GRU4Rec: state has the shape {before.shape}, not {shape}; give that of the step before")
        with torch.inference_mode():
            after = self.module_.step(self._to_device(np.array([code])), self._to_device(before[:, None]))[:, 0]
            user = with_one(after[-1:]).cpu().numpy()
        codes, scores = top_k_few(user, self._catalog(), min(k, len(self.items_)))
        listed = codes[0] >= 0
        return Step(after.cpu().numpy(), self.items_.decode(codes[0][listed]), scores[0][listed])
