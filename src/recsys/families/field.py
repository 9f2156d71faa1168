"""Models of rows of fields: user columns, item columns and context columns in, one logit out.

A field is a column; a slot is one of its entries in a row (a tag column has as many as its longest row). Every slot
is a code and a value that multiplies the code's vector: 1 for a category, the number itself for a numeric column.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.base import Query
from recsys.data import Column, Dataset, Features
from recsys.data.features import encode_rows
from recsys.errors import DataError
from recsys.families.neural import NeuralRecommender
from recsys.params import PositiveInt
from recsys.training import Examples, Negatives

PAIR_CHUNK = 32_768
"""Pairs of user and item whose fields are held at a time when the catalog is ranked."""


class FieldNet(nn.Module):
    """A network of two halves: `embed` looks rows up, `head` turns vectors into logits.

    What `embed` gives for the user's slots alone and for the item's slots alone adds up to what it gives for both.
    """

    @abstractmethod
    def embed(self, codes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Slots (B, S) and their values to the linear part (B,) and field vectors (B, F, D)."""

    @abstractmethod
    def head(self, linear: Tensor, vectors: Tensor) -> Tensor:
        """Linear parts (B,) and field vectors (B, F, D) to logits (B,)."""

    def forward(self, codes: Tensor, values: Tensor) -> Tensor:
        """Slots (B, S) and their values (B, S) to logits (B,)."""
        return self.head(*self.embed(codes, values))


Table = tuple[Tensor, Tensor]
"""Codes and values of slots, (n, S) each."""


@dataclass(frozen=True)
class Slots:
    """Encoded rows of one side (users, items or contexts): codes and values (n, S), the field of each slot, field sizes."""

    codes: NDArray[np.int64]
    values: NDArray[np.float32]
    fields: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls, n_rows: int, features: Features | None, *, with_id: bool, widths: Sequence[int] | None = None
    ) -> "Slots":
        """Slots of the id (where the side has one) and of every column, as many as it needs or as `widths` says."""
        parts: list[tuple[NDArray[Any], NDArray[Any], int]] = []
        if with_id:
            parts.append((np.arange(n_rows)[:, None], np.ones((n_rows, 1)), n_rows))
        columns = () if features is None else features.columns
        fitted = [column_width(column) for column in columns] if widths is None else widths
        parts += [column_slots(column, n_rows, width) for column, width in zip(columns, fitted, strict=True)]
        codes = [np.empty((n_rows, 0), np.int64), *(part[0] for part in parts)]
        values = [np.empty((n_rows, 0)), *(part[1] for part in parts)]
        fields = [field for field, part in enumerate(parts) for _ in range(part[0].shape[1])]
        return cls(
            np.concatenate(codes, 1).astype(np.int64),
            np.concatenate(values, 1).astype(np.float32),
            tuple(fields),
            tuple(part[2] for part in parts),
        )

    def tensors(self, device: torch.device) -> Table:
        """Codes and values."""
        return torch.from_numpy(self.codes).to(device), torch.from_numpy(self.values).to(device)

    def table(self, device: torch.device) -> Table:
        """Codes and values with one more row, which stands for an unknown id: all -1."""
        codes, values = self.tensors(device)
        return F.pad(codes, (0, 0, 0, 1), value=-1), F.pad(values, (0, 0, 0, 1))


def column_width(column: Column) -> int:
    """Slots of one column: a tag column has as many as its longest row."""
    if column.kind == "vector":
        return column.vectors.shape[1]
    return max(int(np.diff(column.indptr).max(initial=0)), 1) if column.kind == "tags" else 1


def column_slots(column: Column, n_rows: int, width: int) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Codes (n, s), values (n, s) and number of distinct codes of one column, s = `width`."""
    if column.kind == "categorical":
        return column.codes[:, None], np.ones((n_rows, 1)), max(column.size, 1)
    if column.kind == "numeric":
        return np.zeros((n_rows, 1), np.int64), column.values[:, None], 1
    if column.kind == "vector":
        return np.tile(np.arange(column.vectors.shape[1]), (n_rows, 1)), column.vectors, column.vectors.shape[1]
    lengths = np.diff(column.indptr)
    if lengths.max(initial=0) > width:
        rows = int((lengths > width).sum())
        raise DataError(
            f"column {column.name!r} has {rows} rows of more than {width} tags, the most of a row when the model was "
            "fitted; shorten them, or fit on such rows too"
        )
    codes = np.full((n_rows, width), -1, np.int64)
    row = np.repeat(np.arange(n_rows), lengths)
    codes[row, np.arange(len(column.codes)) - column.indptr[row]] = column.codes
    # A mean over the tags, so that a row with many weighs no more than a row with one.
    values = np.where(codes >= 0, 1 / np.maximum(lengths, 1)[:, None], 0)
    return codes, values, max(column.size, 1)


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
        self.weights = torch.ones(len(targets)) if weights is None else weights
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
        users, items, targets, weights = self.users[rows], self.items[rows], self.targets[rows], self.weights[rows]
        if self.negatives is not None:
            drawn = self.negatives.draw(users, self.n_negatives).T.reshape(-1)
            copies = self.n_negatives + 1
            rows, users, weights = rows.repeat(copies), users.repeat(copies), weights.repeat(copies)
            items, targets = (
                torch.cat([items, drawn]),
                torch.cat([targets, torch.zeros(len(drawn), device=drawn.device)]),
            )
        context = self.context[0][rows], self.context[1][rows]
        return FieldBatch(*joined(at(self.sides[0], users), at(self.sides[1], items), context), targets, weights)


def at(table: Table, rows: Tensor) -> Table:
    """Some rows of a table; row -1 is its last, the unknown id."""
    return table[0][rows], table[1][rows]


def joined(*parts: Table) -> Table:
    """Slots of the user, the item and the context beside each other."""
    return torch.cat([codes for codes, _ in parts], 1), torch.cat([values for _, values in parts], 1)


def unknown(n_rows: int, like: Table) -> Table:
    """Rows of a table of which nothing is known."""
    codes, values = like
    return codes.new_full((n_rows, codes.shape[1]), -1), values.new_zeros((n_rows, values.shape[1]))


class FieldRecommender(NeuralRecommender):
    """A network over fields. Its target is `label` where the data has one, else `rating`, else drawn negatives.

    `predict` is a probability for labels, a rating for ratings and a logit otherwise. Ranking the catalog costs a
    pass of the network's head for each pair of user and item, a bounded block of pairs at a time.
    """

    shape: ClassVar[Literal["rating", "top-n", "click", "next-item"]] = "click"
    reads_context: ClassVar[bool] = True
    reads_field_data: ClassVar[bool] = True

    n_negatives: PositiveInt = 4
    """Negatives drawn for each row of data that has neither labels nor ratings."""

    target_: str
    field_sizes_: tuple[int, ...]
    slot_fields_: tuple[int, ...]
    context_widths_: tuple[int, ...]

    def _prepare(self, data: Dataset) -> None:
        roles = {"label": data.labels, "rating": data.ratings}
        self.target_ = next((name for name, values in roles.items() if values is not None), "implicit")
        if self.target_ == "implicit" and data.users is None:
            model = type(self).__name__
            raise DataError(f"{model}: data without users and items needs a label; pass label_col=... to Dataset")
        self.mean_, self.low_, self.high_ = 0.0, -np.inf, np.inf
        if self.target_ == "rating" and data.ratings is not None:
            self.mean_ = float(data.ratings.mean(dtype=np.float64))
            self.low_, self.high_ = float(data.ratings.min()), float(data.ratings.max())
        self.context_widths_ = () if data.context is None else tuple(map(column_width, data.context.columns))
        sides = [*self._sides(), self._context_slots(0, self.context_)]
        starts = np.cumsum([0, *(len(side.sizes) for side in sides)])
        self.field_sizes_ = tuple(size for side in sides for size in side.sizes)
        self.slot_fields_ = tuple(
            int(start) + f for start, side in zip(starts, sides, strict=False) for f in side.fields
        )
        if not self.field_sizes_:
            model = type(self).__name__
            raise DataError(f"{model}: this data has no column to learn from; pass context_cols=... to Dataset")

    def _sides(self) -> tuple[Slots, Slots]:
        """Slots of all users and of all items."""
        sizes = [0 if vocabulary is None else len(vocabulary) for vocabulary in (self.users_, self.items_)]
        with_id = self.users_ is not None
        return (
            Slots.of(sizes[0], self.user_features_, with_id=with_id),
            Slots.of(sizes[1], self.item_features_, with_id=with_id),
        )

    def _context_slots(self, n_rows: int, context: Features | None) -> Slots:
        """Slots of contexts, as many a column as in the training data."""
        return Slots.of(n_rows, context, with_id=False, widths=self.context_widths_)

    @cached_property
    def _tables(self) -> tuple[Table, Table]:
        """Slots of all users and of all items on the device, the unknown one last; made once."""
        device = next(self.module_.parameters()).device
        users, items = self._sides()
        return users.table(device), items.table(device)

    def _examples(self, data: Dataset) -> Examples:
        n = len(data)
        users = torch.full((n,), -1) if data.user_codes is None else torch.from_numpy(data.user_codes).long()
        items = torch.full((n,), -1) if data.item_codes is None else torch.from_numpy(data.item_codes).long()
        values = {"label": data.labels, "rating": data.ratings}.get(self.target_)
        targets = torch.ones(n) if values is None else torch.from_numpy(np.asarray(values, np.float32)) - self.mean_
        weights = None if data.weights is None else torch.from_numpy(np.asarray(data.weights, np.float32))
        examples = FieldExamples(users, items, self._context_slots(n, data.context), targets, weights)
        examples.sides = self._tables
        if self.target_ == "implicit":
            examples.negatives, examples.n_negatives = Negatives(users, items, data.n_items), self.n_negatives
        return examples

    def _loss(self, net: Any, batch: FieldBatch) -> Tensor:
        logits = net(batch.codes, batch.values).float()
        if self.target_ == "rating":
            return (batch.weights * (logits - batch.targets).square()).mean()
        return F.binary_cross_entropy_with_logits(logits, batch.targets, batch.weights)

    def _link(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.target_ == "label":
            return (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
        return np.clip(scores + np.float32(self.mean_), self.low_, self.high_).astype(np.float32)

    # -- scores ------------------------------------------------------------------------------------------------------

    def predict(self, users: Any, items: Any = None) -> NDArray[np.float32]:
        """Score of each row of a frame with the training data's columns, or of pairs of users and items: float32 (n,)."""
        self._check_fitted()
        if self.context_ is None or items is not None:
            return super().predict(users, items)
        context = encode_rows(users, self.context_)
        if self.users_ is None:
            nobody = np.full(len(context), -1)
            return self.predict_codes(nobody, nobody, context)
        user_codes, item_codes = self._pair_codes(users, None)
        return self.predict_codes(user_codes, item_codes, context)

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
            people = joined(some, unknown(len(query), catalog), context)
            for first in range(0, len(self.items_), PAIR_CHUNK):
                # The last row of the item table stands for an unknown item, which is no candidate.
                chunk = slice(first, min(first + PAIR_CHUNK, len(self.items_)))
                part = catalog[0][chunk], catalog[1][chunk]
                n = len(part[0])
                things = self.module_.embed(*joined(unknown(n, users), part, unknown(n, context)))
                step = max(1, PAIR_CHUNK // n)
                for start in range(0, len(query), step):
                    rows = slice(start, start + step)
                    scores[rows, chunk] = self._cross(self.module_.embed(people[0][rows], people[1][rows]), things)
        return scores

    def _cross(self, people: tuple[Tensor, Tensor], things: tuple[Tensor, Tensor]) -> NDArray[np.float32]:
        """Scores (B, C) of every pair, from linear parts (B,) and (C,) and field vectors (B, F, D) and (C, F, D)."""
        linear = (people[0][:, None] + things[0]).flatten()
        vectors = (people[1][:, None] + things[1]).flatten(0, 1)
        logits: Tensor = self.module_.head(linear, vectors)
        return logits.float().cpu().numpy().reshape(len(people[0]), -1)

    def _context(self, query: Query) -> Table:
        """Slots of each row's context; all -1 where there is none."""
        device = next(self.module_.parameters()).device
        if query.context is None:
            return unknown(len(query), self._context_slots(0, self.context_).tensors(device))
        return self._context_slots(len(query), query.context).tensors(device)
