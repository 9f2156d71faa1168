"""Models of rows of fields: user columns, item columns and context columns in, one logit out."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.base import Query
from recsys.data import Dataset, Features, StreamedDataset
from recsys.data.growth import recoded
from recsys.data.streamed import Rows
from recsys.embedding import FieldEmbedding
from recsys.embedding.sharded import (
    ShardedFieldEmbedding,
    ShardedOptimizer,
    can_shard,
    gather_tables,
    shard_tables,
    shardable,
)
from recsys.errors import DataError, UnsupportedError
from recsys.families.neural import NeuralRecommender
from recsys.families.slots import Slots, Table, at, beside, column_width, joined, unknown
from recsys.nn.compiled import compiled
from recsys.params import NonNegative, PositiveInt
from recsys.training import Examples, Negatives, Processes, StreamedExamples, join, make_optimizers, seeded
from recsys.training.optimizers import Rule

CPU_PAIRS, GPU_PAIRS = 1 << 12, 1 << 15
"""Pairs of user and item whose layers are held at a time when the catalog is ranked: on a CPU they stay in its cache."""


SHARD_BYTES = 2**30
"""Tables of more bytes than this are sharded over the processes where `sharding` is "auto"."""


Parts = tuple[Tensor, ...]
"""What rows are to a network, one tensor a part; the first dimension of each is the rows."""


class FieldNet(nn.Module):
    """A network of two halves: `embed` looks rows up, `head` turns what it found into logits.

    What `embed` gives for the user's slots alone and for the item's slots alone adds up to what it gives for both.
    """

    @abstractmethod
    def embed(self, codes: Tensor, values: Tensor) -> Parts:
        """Slots (B, S) and their values to parts that add up: a linear part (B,), field vectors (B, F, D) and such."""

    @abstractmethod
    def head(self, parts: Parts) -> Tensor:
        """Parts of B rows, as `embed` gives them, to logits (B,)."""

    def forward(self, codes: Tensor, values: Tensor) -> Tensor:
        """Slots (B, S) and their values (B, S) to logits (B,)."""
        return self.head(self.embed(codes, values))

    def grow(self, sizes: Sequence[int]) -> None:
        """Make room for sizes[f] codes in each field f; what the codes of before have learned stays bitwise the same."""
        for module in self.modules():
            if isinstance(module, FieldEmbedding):
                module.grow(sizes)

    def side(self, parts: Parts) -> Parts:
        """What rows of one side bring to every pair, from what `embed` gives for them.

        A network whose first step is linear takes it here, once a row instead of once a pair.
        """
        return parts

    def pairs(self, people: Parts, things: Parts) -> Tensor:
        """Logits (B, C) of every pair of B rows of one side and C of the other, from what `side` gives."""
        both = tuple((left[:, None] + right).flatten(0, 1) for left, right in zip(people, things, strict=True))
        return self.head(both).view(len(people[0]), -1)


class FieldBatch(NamedTuple):
    """Slots (B, S), their values (B, S), targets (B,) and weights (B,)."""

    codes: Tensor
    values: Tensor
    targets: Tensor
    weights: Tensor


class FieldExamples:
    """Rows of a data set: the codes of a user's and an item's slots are looked up once a batch, in tables on the device."""

    def __init__(self, users: Tensor, items: Tensor, context: Slots, targets: Tensor, weights: Tensor | None):
        self.users, self.items, self.targets = users, items, targets
        self.context = context.tensors(users.device)
        # Ones are one number in memory, which no batch has to fetch from afar.
        self.weights = torch.ones(()).expand(len(targets)) if weights is None else weights
        self.sides: tuple[Table, Table]
        self.negatives: Negatives | None = None
        self.n_negatives = 0

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.users, self.items = self.users.to(device), self.items.to(device)
        self.targets, self.weights = self.targets.to(device), self.weights.to(device)
        self.context = self.context[0].to(device), self.context[1].to(device)
        self.negatives = None if self.negatives is None else self.negatives.to(device)
        return self

    def batch(self, rows: Tensor) -> FieldBatch:
        """Rows of these numbers, each followed by its drawn negatives where the data has positives alone."""
        return self.complete(*(values.index_select(0, rows) for values in self.values))

    @property
    def values(self) -> tuple[Tensor, ...]:
        """Users (n,), items (n,), codes and values of the context's slots (n, S), targets (n,) and weights (n,)."""
        return self.users, self.items, *self.context, self.targets, self.weights

    def complete(
        self, users: Tensor, items: Tensor, codes: Tensor, values: Tensor, targets: Tensor, weights: Tensor
    ) -> FieldBatch:
        """A batch of such values, those of B rows: negatives behind the rows, slots of users and items beside them."""
        if self.negatives is not None:
            drawn = self.negatives.draw(users, self.n_negatives).T.reshape(-1)
            copies = self.n_negatives + 1
            users, weights = users.repeat(copies), weights.repeat(copies)
            codes, values = codes.repeat(copies, 1), values.repeat(copies, 1)
            items, targets = (
                torch.cat([items, drawn]),
                torch.cat([targets, torch.zeros(len(drawn), device=drawn.device)]),
            )
        every = torch.arange(len(users), device=users.device)
        slots = beside((*self.sides, (codes, values)), (users, items, every))
        return FieldBatch(*slots, targets, weights)


class FieldRecommender(NeuralRecommender):
    """A network over fields. Its target is `label` where the data has one, else `rating`, else drawn negatives.

    `predict` is a probability for labels, a rating for ratings and a logit otherwise. Ranking the catalog costs a
    pass of the network's head for each pair of user and item, a bounded block of pairs at a time.
    """

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "click"
    reads_context: ClassVar[bool] = True
    reads_field_data: ClassVar[bool] = True
    reads_stream: ClassVar[bool] = True

    n_negatives: PositiveInt = 4
    """Negatives drawn for each row of data that has neither labels nor ratings."""
    optimizer: Rule = "adam"
    """How parameters move; "rowwise_adagrad" keeps one number for each row of a table and is Adagrad elsewhere."""
    embedding_decay: NonNegative | None = None
    """`weight_decay` of the embedding tables, where that is another one. A table with more rows than a batch looks up
    decays only in the rows that it does."""
    sharding: Literal["auto", "replicated", "planner"] = "auto"
    """Under `torchrun`, whether each process holds all tables or TorchRec's planner spreads them: "auto" where it can
    and they take more than 1 GiB, "planner" always. Needs `pip install "recsys[distributed]"`."""
    compiled: bool = False
    """Whether training compiles the network behind its tables (`torch.compile`), which takes seconds: for GPUs whose
    small steps wait for Python. On a CPU epochs take as long as before."""

    target_: str
    field_sizes_: tuple[int, ...]
    slot_fields_: tuple[int, ...]
    numeric_slots_: tuple[int, ...]
    widths_: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def _prepare(self, data: Dataset) -> None:
        roles = {"label": data.labels, "rating": data.ratings}
        self.target_ = next((name for name, values in roles.items() if values is not None), "implicit")
        if self.target_ == "implicit" and data.users is None:
            model = type(self).__name__
            raise DataError(f"{model}: data without users and items needs a label; pass label_col=... to Dataset")
        self.mean_, self.low_, self.high_ = 0.0, -np.inf, np.inf
        if self.target_ == "rating" and isinstance(data, StreamedDataset):
            self.mean_, self.low_, self.high_ = data.stream.ranges["rating"]
        elif self.target_ == "rating" and data.ratings is not None:
            self.mean_ = float(data.ratings.mean(dtype=np.float64))
            self.low_, self.high_ = float(data.ratings.min()), float(data.ratings.max())
        features = (self.user_features_, self.item_features_, data.context)
        self.widths_ = tuple(() if one is None else tuple(map(column_width, one.columns)) for one in features)
        self._lay_out()
        if not self.field_sizes_:
            model = type(self).__name__
            raise DataError(f"{model}: this data has no column to learn from; pass context_cols=... to Dataset")

    def _lay_out(self) -> None:
        """Set the sizes of the fields and the field of each slot."""
        sides = [*self._sides(), self._context_slots(0, self.context_)]
        starts = np.cumsum([0, *(len(side.sizes) for side in sides)])
        self.field_sizes_ = tuple(size for side in sides for size in side.sizes)
        self.slot_fields_ = tuple(
            int(start) + f for start, side in zip(starts, sides, strict=False) for f in side.fields
        )
        self.numeric_slots_ = tuple(np.flatnonzero([one for side in sides for one in side.numeric]).tolist())

    def _partial_fit(self, data: Dataset) -> None:
        """Make room for new users, items and values of columns, then train on the new rows for `epochs` epochs."""
        self._lay_out()
        device = next(self.module_.parameters()).device
        with seeded(self.random_state, device):
            # The model that this one grows from keeps its own.
            self.module_ = deepcopy(self.module_)
            self.module_.grow(self.field_sizes_)
            self._train(recoded(data, self.users_, self.items_, self.context_), None, device)

    @property
    def _field_names(self) -> tuple[str, ...]:
        """Column of each field."""
        sides = ((self.user_col_, self.user_features_), (self.item_col_, self.item_features_), (None, self.context_))
        names: list[str] = []
        for id_col, features in sides:
            names += [] if id_col is None else [id_col]
            names += [] if features is None else [column.name for column in features.columns]
        return tuple(names)

    @property
    def _sparse(self) -> bool:
        """Whether a step should touch the rows of the batch alone: where the table has more rows than a batch looks up."""
        # A sharded table moves so anyway.
        return self.sharding == "planner" or sum(self.field_sizes_) > self.batch_size * len(self.slot_fields_)

    def _optimizers(self, net: nn.Module) -> list[Optimizer]:
        made = make_optimizers(net, self.optimizer, self.learning_rate, self.weight_decay, self.embedding_decay)
        if not any(isinstance(module, ShardedFieldEmbedding) for module in net.modules()):
            return made
        small = made.pop() if any(getattr(module, "sparse", False) for module in net.modules()) else None
        return [*made, ShardedOptimizer(net, self.learning_rate, small)]

    def _train(self, data: Dataset, validation: Dataset | None, device: torch.device) -> None:
        with compiled(self.module_, "head") if self.compiled else nullcontext():
            self._train_tables(data, validation, device)

    def _train_tables(self, data: Dataset, validation: Dataset | None, device: torch.device) -> None:
        """Train, with the tables in every process or spread over them."""
        if not self._shards(join(device)):
            super()._train(data, validation, device)
            return
        # How many numbers the new tables draw depends on the process, and all have to go on from the same state.
        with seeded(self.random_state, device):
            shard_tables(self.module_, self.optimizer, self.learning_rate)  # type: ignore[arg-type]
        super()._train(data, validation, device)
        gather_tables(self.module_)

    def _shards(self, processes: Processes) -> bool:
        """Whether the tables are spread over the processes."""
        if processes.world == 1 or self.sharding == "replicated":
            return False
        decay = self.weight_decay if self.embedding_decay is None else self.embedding_decay
        tables = [module.table.weight for module in self.module_.modules() if shardable(module)]
        able = can_shard(self.optimizer) and decay == 0 and bool(tables)
        if self.sharding == "planner" and not able:
            raise UnsupportedError(
                f'{type(self).__name__}: sharding="planner" needs pip install "recsys[distributed]", optimizer="sgd", '
                f'"adagrad" or "rowwise_adagrad" (here {self.optimizer!r}), no decay of tables (here {decay}) and an '
                'embedding_dim that 4 divides; change that, or give sharding="replicated"'
            )
        n_bytes = sum(weight.numel() * weight.element_size() for weight in tables)
        return self.sharding == "planner" or (able and self._sparse and n_bytes > SHARD_BYTES)

    def _sides(self) -> tuple[Slots, Slots]:
        """Slots of all users and of all items."""
        sizes = [0 if vocabulary is None else len(vocabulary) for vocabulary in (self.users_, self.items_)]
        with_id = self.users_ is not None
        return (
            Slots.of(sizes[0], self.user_features_, with_id=with_id, widths=self.widths_[0]),
            Slots.of(sizes[1], self.item_features_, with_id=with_id, widths=self.widths_[1]),
        )

    def _context_slots(self, n_rows: int, context: Features | None) -> Slots:
        """Slots of contexts, as many a column as in the training data."""
        return Slots.of(n_rows, context, with_id=False, widths=self.widths_[2])

    @cached_property
    def _tables(self) -> tuple[Table, Table]:
        """Slots of all users and of all items on the device, the unknown one last; made once."""
        device = next(self.module_.parameters()).device
        users, items = self._sides()
        return users.table(device), items.table(device)

    def _examples(self, data: Dataset) -> Examples | StreamedExamples:
        streamed = isinstance(data, StreamedDataset)
        examples = self._of_rows(data.no_rows if streamed else data)
        examples.sides = self._tables
        if self.target_ == "implicit":
            users = torch.from_numpy(np.repeat(np.arange(len(self.history_)), self.history_.lengths))
            items = torch.from_numpy(self.history_.items).long()
            examples.negatives, examples.n_negatives = Negatives(users, items, len(self.items_)), self.n_negatives
        if not streamed:
            return examples
        device = next(self.module_.parameters()).device
        examples.to(device)
        pieces = join(device).pieces(data.stream.table)

        def load(piece: int) -> Iterator[tuple[NDArray[Any], ...]]:
            for rows in data.rows(pieces[piece]):
                yield tuple(values.numpy() for values in self._of_rows(rows).values)

        n_rows = sum(piece.n_rows for piece in pieces)
        return StreamedExamples(n_rows, len(pieces), load, examples.complete, data.shuffle_buffer)

    def _of_rows(self, data: Dataset | Rows) -> FieldExamples:
        """Examples of rows in memory, with neither the users' and items' slots nor negatives."""
        n = len(data)
        users = torch.full((n,), -1) if data.user_codes is None else torch.from_numpy(data.user_codes).long()
        items = torch.full((n,), -1) if data.item_codes is None else torch.from_numpy(data.item_codes).long()
        values = {"label": data.labels, "rating": data.ratings}.get(self.target_)
        targets = torch.ones(n) if values is None else torch.from_numpy(np.asarray(values, np.float32)) - self.mean_
        weights = None if data.weights is None else torch.from_numpy(np.asarray(data.weights, np.float32))
        return FieldExamples(users, items, self._context_slots(n, data.context), targets, weights)

    def _loss(self, net: Any, batch: FieldBatch) -> Tensor:
        logits = net(batch.codes, batch.values).float()
        if self.target_ == "rating":
            return (batch.weights * (logits - batch.targets).square()).mean()
        # Torch's own log loss has all threads start at any size, which at a batch's takes longer than the loss.
        return (batch.weights * (F.softplus(logits) - batch.targets * logits)).mean()

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.target_ == "label":
            return (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
        return np.clip(scores + np.float32(self.mean_), self.low_, self.high_).astype(np.float32)

    # -- scores ------------------------------------------------------------------------------------------------------

    def _score_pairs(self, query: Query, items: NDArray[np.int64]) -> NDArray[np.float32]:
        users, catalog = self._tables
        with torch.inference_mode():
            rows = joined(
                at(users, self._to_device(query.users)), at(catalog, self._to_device(items)), self._context(query)
            )
            return self.module_(*rows).float().cpu().numpy()

    def _score_items(self, query: Query) -> NDArray[np.float32]:
        users, catalog = self._tables
        scores = np.empty((len(query), len(self.items_)), np.float32)
        with torch.inference_mode():
            context = self._context(query)
            some = at(users, self._to_device(query.users))
            people = self._side(joined(some, unknown(len(query), catalog), context))
            n_pairs = GPU_PAIRS if catalog[0].is_cuda else CPU_PAIRS
            for first in range(0, len(self.items_), n_pairs):
                # The last row of the item table stands for an unknown item, which is no candidate.
                chunk = slice(first, min(first + n_pairs, len(self.items_)))
                part = catalog[0][chunk], catalog[1][chunk]
                n = len(part[0])
                things = self._side(joined(unknown(n, users), part, unknown(n, context)))
                step = max(1, n_pairs // n)
                for start in range(0, len(query), step):
                    rows = slice(start, start + step)
                    some_people = tuple(tensor[rows] for tensor in people)
                    scores[rows, chunk] = self.module_.pairs(some_people, things).float().cpu().numpy()
        return scores

    def _side(self, slots: Table) -> Parts:
        return self.module_.side(self.module_.embed(*slots))

    def _context(self, query: Query) -> Table:
        """Slots of each row's context; all -1 where there is none."""
        device = next(self.module_.parameters()).device
        if query.context is None:
            return unknown(len(query), self._context_slots(0, self.context_).tensors(device))
        return self._context_slots(len(query), query.context).tensors(device)
