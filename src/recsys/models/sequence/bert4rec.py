"""BERT4Rec: attention both ways over a history, trained to name items that are masked.

Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer", CIKM
2019. How long it has to train: Petrov & Macdonald, "A Systematic Review and Replicability Study of BERT4Rec", RecSys
2022.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.data import Dataset
from recsys.embedding import Embedding, FieldEmbedding
from recsys.errors import ParameterError
from recsys.factor import cosine
from recsys.families import SequenceRecommender
from recsys.families.slots import Table
from recsys.nn.attention import BidirectionalBlock
from recsys.nn.dropout import Dropout
from recsys.nn.losses import softmax_loss
from recsys.params import Factor, Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt
from recsys.training import Examples
from recsys.training.cloze import MASK, ClozeBatch, ClozeExamples, masked_places

STD = 0.02


class BERT4RecNet(nn.Module):
    """LN(E[item] + P[position]), blocks that see both ways, and at masked places scores LN(gelu(W h + c)) . E[item] + b.

    Positions count from the first item of the window.
    """

    def __init__(
        self,
        n_items: int,
        max_len: int,
        embedding_dim: int,
        n_layers: int,
        n_heads: int,
        dropout: float,
        context_fields: tuple[Sequence[int], Sequence[int]] = ((), ()),
        inner_dim: int | None = None,
    ):
        super().__init__()
        self.table = Embedding(n_items, embedding_dim, std=STD)
        sizes, slots = context_fields
        self.context = FieldEmbedding(sizes, embedding_dim, fields=slots, std=STD) if sizes else None
        self.mask = nn.Parameter(torch.empty(embedding_dim))
        self.positions = nn.Parameter(torch.empty(max_len, embedding_dim))
        self.norm, self.drop = nn.LayerNorm(embedding_dim, eps=1e-12), Dropout(dropout)
        sizes = embedding_dim, n_heads, dropout, 4 * embedding_dim if inner_dim is None else inner_dim
        self.blocks = nn.ModuleList(BidirectionalBlock(*sizes) for _ in range(n_layers))
        self.transform = nn.Linear(embedding_dim, embedding_dim)
        self.transform_norm = nn.LayerNorm(embedding_dim, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(n_items))
        layers = [one for one in self.modules() if isinstance(one, nn.Linear)]
        with torch.no_grad():
            for start in (self.table.vectors, self.mask, self.positions, *(layer.weight for layer in layers)):
                nn.init.trunc_normal_(start, std=STD, a=-2 * STD, b=2 * STD)
        for layer in layers:
            nn.init.zeros_(layer.bias)

    @property
    def items(self) -> Tensor:
        """Item vectors and, in the last column, biases: (I, D + 1)."""
        return torch.cat([self.table.vectors, self.bias[:, None]], 1)

    def forward(self, history: Tensor, context: Sequence[Tensor] = (), places: Tensor | None = None) -> Tensor:
        """What is known at each place: codes (B, L), MASK where one is to be named and -1 for padding, to (B, L, D).

        Slots of the events' contexts are codes and values, (B, L, S) each. Every history has an item or a mask. With
        `places` (B, M) it is what is known at these alone, (B, M, D): the last block then works out no others.
        """
        x = self.table(history.clamp(min=-1))
        if self.context is not None:
            x = x + self.context.total(*(one.flatten(0, 1) for one in context)).view_as(x)
        x = torch.where((history == MASK)[..., None], self.mask, x)
        x = self.drop(self.norm(x + self.positions[: history.shape[1]]))
        real = history != -1
        *lower, top = self.blocks
        for block in lower:
            x = block(x, real)
        return top(x, real, places)

    def states(self, hidden: Tensor) -> Tensor:
        """What is known at some places (N, D) to what item vectors are multiplied with, (N, D)."""
        return self.transform_norm(F.gelu(self.transform(hidden)))


class BERT4Rec(SequenceRecommender):
    """Bidirectional self-attention over the last `max_len` - 1 items and a masked place behind them.

    It learns from items that are masked at random, so each pass tells it about a share of the steps only, and it needs
    many more epochs than a model that learns from every step. The softmax ranges over the catalog, in blocks.

    The authors train 400,000 steps at a learning rate of 0.0001. The default is ten times that, for runs of far fewer
    steps, behind a warm-up and with clipped gradients.
    """

    embedding_dim: PositiveInt = 64
    """Length of item vectors and states."""
    n_layers: PositiveInt = 2
    """Attention blocks."""
    n_heads: PositiveInt = 2
    """Attention heads; divides `embedding_dim`."""
    dropout: Fraction = 0.2
    """Share of activations and attention weights that a training step leaves out."""
    mask_share: Factor = 0.2
    """Share of a window's items that is masked, at least one."""
    max_masked: PositiveInt | None = None
    """Items of a window that are masked at most; None leaves it to `mask_share`."""
    n_maskings: NonNegativeInt = 1
    """Times that an epoch masks each window anew."""
    mask_last: bool = True
    """Whether an epoch has each window once more with the last item alone masked, as it is when lists are made."""
    window_step: Factor = 0.5
    """Share of `max_len` by which windows of a long history lie apart."""
    weight_decay: NonNegative = 0.01
    """Decay of matrices and item vectors, apart from the gradient (Loshchilov & Hutter, ICLR 2019)."""
    clip: Positive | None = 5.0
    """Norm that the gradient of a step is cut to; None leaves it as it is."""
    warmup_steps: NonNegativeInt = 100
    """Steps over which the learning rate rises to its height."""
    schedule: Literal["constant", "linear", "trapezoid"] = "constant"
    """Whether the learning rate then stays, falls to 0 over all `epochs`, as in the authors' code, or stays for half of
    the epochs and falls to 0 over the others (Hägele et al., NeurIPS 2024). Where it falls, leave `patience` out: much
    of the gain is in the last epochs."""
    batch_size: PositiveInt = 128
    """Windows a step."""
    epochs: PositiveInt = 200
    """Passes over the windows, at most; with fewer, as third-party versions have them, it is far from what it can be."""

    def _network(self) -> BERT4RecNet:
        if self.embedding_dim % self.n_heads:
            raise ParameterError(f"BERT4Rec: n_heads={self.n_heads} does not divide embedding_dim={self.embedding_dim}")
        if self.max_len < 2:
            raise ParameterError(f"BERT4Rec: max_len={self.max_len} has no room for an item and a mask; give 2 or more")
        if not self.n_maskings and not self.mask_last:
            raise ParameterError("BERT4Rec: n_maskings=0 and mask_last=False mask no item; give one of them")
        sizes = len(self.items_), self.max_len, self.embedding_dim, self.n_layers, self.n_heads
        return BERT4RecNet(*sizes, self.dropout, self._context_fields)

    def _examples(self, data: Dataset) -> Examples:
        history, _ = self._histories(data)
        step = max(1, int(self.max_len * self.window_step))
        settings = self.mask_share, self.n_maskings, self._context_table(history), self.max_masked, self.mask_last
        return ClozeExamples(history, self.max_len, step, *settings)

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        matrices = [one for one in net.parameters() if one.ndim > 1]
        others = [one for one in net.parameters() if one.ndim == 1]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, self.learning_rate, eps=1e-6, fused=True)]

    def _share_of_rate(self, examples: ClozeExamples) -> Callable[[int], float]:
        n_steps = self.epochs * -(-len(examples) // self.batch_size)

        def share(step: int) -> float:
            rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
            left = max(0.0, 1 - step / max(n_steps, 1))
            return rise * {"constant": 1.0, "linear": left, "trapezoid": min(1.0, 2 * left)}[self.schedule]

        return share

    def _loss(self, net: Any, batch: ClozeBatch) -> Tensor:
        hidden, targets = [], []
        for part in batch.parts():
            places, real = masked_places(part.targets)
            hidden.append(net(part.history, (part.codes, part.values), places)[real])
            targets.append(part.targets.gather(1, places)[real])
        return softmax_loss(net.states(torch.cat(hidden)), net.table.vectors, torch.cat(targets), net.bias)

    def _states(self, history: Tensor, lengths: Tensor, context: Table) -> Tensor:
        rows = torch.arange(len(lengths), device=lengths.device)
        # Of a full window the first item makes room.
        too_long = lengths == self.max_len
        first = too_long.long()[:, None] + torch.arange(history.shape[1], device=lengths.device)
        first = first.clamp(max=history.shape[1] - 1)
        kept = lengths - too_long.long()
        history = F.pad(history.gather(1, first), (0, 1), value=-1)[:, : self.max_len]
        codes, values = (F.pad(one[rows[:, None], first], (0, 0, 0, 1))[:, : self.max_len] for one in context)
        real = torch.arange(history.shape[1], device=lengths.device) < kept[:, None]
        history = torch.where(real, history, -1)
        history[rows, kept] = MASK
        codes, values = codes.masked_fill(~real[..., None], -1), values.masked_fill(~real[..., None], 0)
        hidden = self.module_(history, (codes, values), kept[:, None])[:, 0]
        return F.pad(self.module_.states(hidden), (0, 1), value=1.0)

    def _item_similarity(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        # Without the biases.
        return cosine(self.item_factors_[:, :-1], items)
