"""Wide & Deep: a linear model with crosses of columns and a deep network, trained together.

Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recsys.data import frames
from recsys.embedding import FTRL, FieldEmbedding
from recsys.embedding.crossed import CrossedEmbedding
from recsys.errors import DataError, ParameterError
from recsys.families import FieldRecommender
from recsys.families.field import FieldNet, Parts
from recsys.nn.mlp import mlp, product
from recsys.params import Fraction, NonNegative, Positive, PositiveInt
from recsys.training import make_optimizers
from recsys.training.optimizers import Rule


class WidePart(nn.Module):
    """w . [x, phi(x)] + b over the fields' one-hot columns and numbers x and their crosses phi(x)."""

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        crosses: Sequence[Sequence[int]] = (),
        *,
        buckets: int = 100_000,
        sparse: bool = True,
    ):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.linear = FieldEmbedding(sizes, 1, fields=slot_fields, std=0.0, sparse=sparse)
        self.crossed = CrossedEmbedding(sizes, slot_fields, crosses, 1, buckets=buckets, std=0.0, sparse=True)


class DeepPart(nn.Module):
    """A deep network over the fields' vectors side by side; its last layer has the other half of the bias."""

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        embedding_dim: int,
        hidden_dims: Sequence[int],
        *,
        init_std: float = 0.1,
        dropout: float = 0.0,
        batch_norm: bool = False,
        sparse: bool = True,
    ):
        super().__init__()
        self.embedding = FieldEmbedding(sizes, embedding_dim, fields=slot_fields, std=init_std, sparse=sparse)
        self.network = mlp(len(sizes) * embedding_dim, *hidden_dims, 1, dropout=dropout, batch_norm=batch_norm)


class WideDeepNet(FieldNet):
    """Logit of a row: the wide part + the deep part, one sum under one loss. One of them may be absent."""

    def __init__(self, wide: WidePart | None, deep: DeepPart | None):
        super().__init__()
        self.wide, self.deep = wide, deep

    def embed(self, codes: Tensor, values: Tensor) -> Parts:
        """Slots (B, S) and values (B, S) to linear parts (B,), field vectors (B, F, D) and what crosses add up."""
        nothing = values.new_zeros(len(values), 0, 0)
        vectors = nothing if self.deep is None else self.deep.embedding(codes, values)
        if self.wide is None:
            return nothing.sum((1, 2)), vectors
        return (
            self.wide.linear.total(codes, values)[:, 0],
            vectors,
            *self.wide.crossed.parts(codes, values),
        )

    def grow(self, sizes: Sequence[int]) -> None:
        """Make room for more codes in the fields' tables and in their crosses."""
        if self.wide is not None:
            self.wide.linear.grow(sizes)
            self.wide.crossed.grow(sizes)
        if self.deep is not None:
            self.deep.embedding.grow(sizes)

    def side(self, parts: Parts) -> Parts:
        """The same, but for field vectors (B, F, D) the deep network's first sums (B, H), which add up too."""
        linear, vectors, *crossed = parts
        sums = vectors.flatten(1) if self.deep is None else product(self.deep.network[0], vectors.flatten(1))
        return linear, sums, *crossed

    def head(self, parts: Parts) -> Tensor:
        """Parts of B rows, as `embed` gives them, to logits (B,)."""
        return self.logits(*self.side(parts))

    def pairs(self, people: Parts, things: Parts) -> Tensor:
        """Logits (B, C) of every pair: sides add up, those of a cross of both too."""
        whole = [(left[:, None] + right).flatten(0, 1) for left, right in zip(people, things, strict=True)]
        return self.logits(*whole).view(len(people[0]), -1)

    def logits(self, linear: Tensor, sums: Tensor, *crossed: Tensor) -> Tensor:
        """Whole rows, as `side` gives them, to logits (B,): wide + deep."""
        logits = linear
        if self.wide is not None:
            logits = logits + self.wide.bias + self.wide.crossed.look_up(*crossed).sum((1, 2))
        if self.deep is not None:
            logits = logits + self.deep.network[1:](sums + self.deep.network[0].bias).squeeze(1)
        return logits


class WideDeep(FieldRecommender):
    """A linear model that remembers combinations of columns and a deep network that generalizes, trained together.

    Without `crosses` the wide part is linear: what is particular to a combination is remembered where they name its
    columns. The wide part is moved by FTRL, which leaves weights that little speaks for at exactly 0; the deep part by
    `optimizer`, `learning_rate` and the decays.
    """

    crosses: tuple[tuple[str, ...], ...] = ()
    """Columns of which every combination is a feature of the wide part, as in (("education", "occupation"),): the
    columns of users and items, of their features and of contexts; numbers cannot be crossed."""
    cross_buckets: PositiveInt = 100_000
    """Weights of one cross at most; more combinations are hashed into as many, so that some share a weight."""
    part: Literal["both", "wide", "deep"] = "both"
    """"wide" leaves the deep part out and "deep" the wide part with its crosses; what is left out has no options."""
    embedding_dim: PositiveInt = 16
    """Length of each field's vector in the deep part."""
    hidden_dims: tuple[PositiveInt, ...] = (256, 128, 64)
    """Widths of the deep network's hidden layers."""
    init_std: NonNegative = 0.1
    """Standard deviation of the vectors at the start: all that the deep network gets, which learns slowly from small
    ones."""
    dropout: Fraction = 0.0
    """Share of hidden units that a training step leaves out."""
    batch_norm: bool = False
    """Whether hidden layers are normalized over the batch, before their activation."""
    wide_learning_rate: Positive = 0.1
    """FTRL's step size."""
    wide_l1: NonNegative = 0.0
    """FTRL's L1 penalty, in examples of full batches: a weight is 0 until its gradients, which for labels are at most 1
    an example, add up to more."""
    wide_l2: NonNegative = 0.0
    """FTRL's L2 penalty, in examples: what it adds to the curvature of the loss, where an example adds up to 1 / 4."""
    optimizer: Rule = "adagrad"
    """How the deep part moves; "rowwise_adagrad" keeps one number for each row of a table."""
    learning_rate: Positive = 0.01
    """Step size of the deep part."""

    def _network(self) -> WideDeepNet:
        fields, sparse = (self.field_sizes_, self.slot_fields_), self._sparse
        wide = WidePart(*fields, self._crossed_fields(), buckets=self.cross_buckets, sparse=sparse)
        deep = DeepPart(
            *fields, self.embedding_dim, self.hidden_dims, init_std=self.init_std,
            dropout=self.dropout, batch_norm=self.batch_norm, sparse=sparse,
        )  # fmt: skip
        return WideDeepNet(wide if self.part != "deep" else None, deep if self.part != "wide" else None)

    def _crossed_fields(self) -> list[list[int]]:
        """Fields of each cross."""
        for cross in self.crosses:
            if len(set(cross)) < max(len(cross), 2):
                model = type(self).__name__
                raise ParameterError(f"{model}: crosses has {cross!r}; a cross takes two or more different columns")
        return [[self._crossed_field(name) for name in cross] for cross in self.crosses]

    def _crossed_field(self, name: str) -> int:
        names = self._field_names
        numeric = {self.slot_fields_[slot] for slot in self.numeric_slots_}
        if name not in names:
            what = f"which this data does not have; its columns are {frames.listed(names)}"
        elif names.count(name) > 1:
            what = f"and {names.count(name)} columns have this name; rename one"
        elif names.index(name) in numeric:
            what = "which holds numbers; cross a column of their ranges instead"
        else:
            return names.index(name)
        raise DataError(f"{type(self).__name__}: crosses names {name!r}, {what}")

    def _optimizers(self, net: Any) -> list[Optimizer]:
        rates = (self.learning_rate, self.weight_decay, self.embedding_decay)
        optimizers = [] if net.deep is None else make_optimizers(net.deep, self.optimizer, *rates)
        if net.wide is None:
            return optimizers
        # The loss is a mean over a batch's rows: divided by them, what FTRL counts in examples fits its gradients.
        rows = self.batch_size * (1 + self.n_negatives if self.target_ == "implicit" else 1)
        tables = [*net.wide.linear.parameters(), *net.wide.crossed.parameters()]
        groups = [
            {"params": tables, "l1": self.wide_l1 / rows, "l2": self.wide_l2 / rows},
            {"params": [net.wide.bias]},
        ]
        return [*optimizers, FTRL(groups, lr=self.wide_learning_rate, beta=1 / rows)]
