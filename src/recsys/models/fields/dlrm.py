"""DLRM: numbers through a network of their own, then dot products of all vectors with each other.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding import FieldEmbedding
from recsys.families import FieldRecommender
from recsys.families.field import FieldNet, Parts
from recsys.nn.interactions import pairwise_products, place_of_product
from recsys.nn.mlp import both, hidden_layers, mlp, product
from recsys.params import Fraction, NonNegative, PositiveInt


class DLRMNet(FieldNet):
    """Logit of a row: a top network over the bottom network's vector and the products of all vectors."""

    numbers: Tensor
    categories: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        numeric_slots: Sequence[int],
        embedding_dim: int,
        bottom_dims: Sequence[int],
        hidden_dims: Sequence[int],
        *,
        interaction: Literal["dot", "cat"] = "dot",
        init_std: float | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        sparse: bool = True,
    ):
        super().__init__()
        self.interaction = interaction
        # The mark of a missing number is a number too: 1 where it is missing.
        numeric = {slot_fields[slot] for slot in numeric_slots}
        numbers = [slot for slot, field in enumerate(slot_fields) if field in numeric]
        categories = [slot for slot, field in enumerate(slot_fields) if field not in numeric]
        # Lists of slots would be copied to a GPU at every batch.
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.long), persistent=False)
        self.register_buffer("categories", torch.tensor(categories, dtype=torch.long), persistent=False)
        self.fields = fields = sorted({slot_fields[slot] for slot in categories})
        place = {field: at for at, field in enumerate(fields)}
        self.embedding = FieldEmbedding(
            [sizes[field] for field in fields], embedding_dim,
            fields=[place[slot_fields[slot]] for slot in categories], sparse=sparse,
        )  # fmt: skip
        bottom = (len(numbers), *bottom_dims, embedding_dim) if numbers else ()
        self.bottom = hidden_layers(*bottom, batch_norm=batch_norm)
        n_vectors = len(fields) + bool(numbers)
        n_products = n_vectors * (n_vectors - 1) // 2
        width = n_products + embedding_dim * bool(numbers) if interaction == "dot" else n_vectors * embedding_dim
        # One vector alone has no product: what is left is its own numbers.
        self.alone = width == 0
        self.top = mlp(width or embedding_dim, *hidden_dims, 1, dropout=dropout, batch_norm=batch_norm)
        self._initialize([sizes[field] for field in fields], init_std)

    @torch.no_grad()
    def _initialize(self, sizes: Sequence[int], std: float | None) -> None:
        """Of a layer of n inputs and m outputs W ~ N(0, 2 / (m + n)), b ~ N(0, 1 / m); n rows ~ U(-n^-1/2, n^-1/2)."""
        for layer in (one for net in (self.bottom, self.top) for one in net if isinstance(one, nn.Linear)):
            layer.weight.normal_(0, (2 / (layer.in_features + layer.out_features)) ** 0.5)
            layer.bias.normal_(0, layer.out_features**-0.5)
        bounds = torch.tensor(sizes, dtype=torch.float32).clamp(min=1).rsqrt()
        rows = self.embedding.table.vectors
        if std is not None:
            rows.normal_(0, std)
            return
        of_rows = bounds.repeat_interleave(torch.tensor(sizes, dtype=torch.long), output_size=sum(sizes))
        rows.uniform_(-1, 1).mul_(of_rows[:, None])

    def embed(self, codes: Tensor, values: Tensor) -> Parts:
        """Slots (B, S) and values (B, S) to numbers (B, N) and field vectors (B, F, D)."""
        # A tag's value is its share of the row's mean: here the vectors of a row's tags are summed.
        members = (values[:, self.categories] > 0).to(values.dtype)
        return values[:, self.numbers], self.embedding(codes[:, self.categories], members)

    def grow(self, sizes: Sequence[int]) -> None:
        """Make room for more codes in the fields that have vectors."""
        self.embedding.grow([sizes[field] for field in self.fields])

    def head(self, parts: Parts) -> Tensor:
        """Numbers (B, N) and field vectors (B, F, D) to logits (B,)."""
        return self.top(self._inputs(self._with_numbers(*parts))).squeeze(1)

    def _with_numbers(self, numbers: Tensor, vectors: Tensor) -> Tensor:
        """All vectors (B, V, D): before the fields' the one that the bottom network makes of the numbers, if there are any."""
        return torch.cat([self.bottom(numbers)[:, None], vectors], 1) if len(self.numbers) else vectors

    def _inputs(self, vectors: Tensor) -> Tensor:
        """Vectors (B, V, D) to what the top network reads."""
        if self.interaction == "cat" or self.alone:
            return vectors.flatten(1)
        products = pairwise_products(vectors)
        return torch.cat([vectors[:, 0], products], 1) if len(self.numbers) else products

    def side(self, parts: Parts) -> Parts:
        """Numbers (B, N), field vectors (B, F, D), all vectors (B, V, D), which of them are not 0, (B, V), and the top
        network's first sums of them (B, H).

        The vector of the numbers is among them where the side has any that is not 0.
        """
        numbers, vectors = parts
        own = self._with_numbers(numbers, vectors) if bool(numbers.any()) else self._without_numbers(vectors)
        return numbers, vectors, own, own.any(2), product(self.top[0], self._inputs(own))

    def _without_numbers(self, vectors: Tensor) -> Tensor:
        return F.pad(vectors, (0, 0, int(len(self.numbers) > 0), 0))

    def pairs(self, people: Parts, things: Parts) -> Tensor:
        """Logits (B, C) of every pair: products within a side are the side's, those across come of one matrix product."""
        if bool(things[0].any()):
            if bool(people[0].any()):
                # What the bottom network makes of both sides' numbers is no sum.
                return super().pairs(people[:2], things[:2])
            left = self._without_numbers(people[1])
        else:
            left = self._with_numbers(*people[:2])
        sums = both(product(self.top[0], self._inputs(left)), things[4], self.top[0])
        if self.interaction == "dot" and not self.alone:
            self._add_products_across(sums, left, things[2], things[3])
        return self.top[1:](sums).view(len(left), -1)

    def _add_products_across(self, sums: Tensor, left: Tensor, right: Tensor, used: Tensor) -> None:
        """Add W z of the products z between vectors (B, V, D) and (C, V, D) to sums (B C, H), in place."""
        # A side has no vector in the other one's fields.
        mine, theirs = (torch.nonzero(one.any(0))[:, 0] for one in (left.any(2), used))
        i, j = mine.repeat_interleave(len(theirs)), theirs.repeat(len(mine))
        later, earlier = torch.maximum(i, j), torch.minimum(i, j)
        n_products = left.shape[1] * (left.shape[1] - 1) // 2
        place = self.top[0].in_features - n_products + place_of_product(later, earlier)
        weight = self.top[0].weight.index_select(1, place)
        products = left[:, mine].flatten(0, 1) @ right[:, theirs].flatten(0, 1).T
        products = products.view(len(left), len(mine), len(right), len(theirs)).transpose(1, 2).reshape(len(sums), -1)
        sums.addmm_(products, weight.T)


class DLRM(FieldRecommender):
    """Dot products of all fields' vectors, and of one vector that a network makes of all numbers.

    The vectors of a row's tags are summed. A row costs O(F^2 D) for F vectors, and the two
    networks.
    """

    embedding_dim: PositiveInt = 16
    """Length of each field's vector, and of the numbers' one."""
    bottom_dims: tuple[PositiveInt, ...] = (512, 256, 64)
    """Widths of the hidden layers between the numbers and their vector."""
    hidden_dims: tuple[PositiveInt, ...] = (512, 256)
    """Widths of the hidden layers of the top network."""
    interaction: Literal["dot", "cat"] = "dot"
    """What the top network reads: the products of the vectors, or the vectors themselves."""
    init_std: NonNegative | None = None
    """Standard deviation of the vectors at the start. None is the paper's code: a field of n codes starts within
    +-n^-1/2, which is large for fields of few codes; under a strong `embedding_decay` 0.01 trains better."""
    dropout: Fraction = 0.0
    """Share of the top network's hidden units that a training step leaves out."""
    batch_norm: bool = False
    """Whether hidden layers are normalized over the batch, before their activation."""

    def _network(self) -> DLRMNet:
        return DLRMNet(
            self.field_sizes_, self.slot_fields_, self.numeric_slots_, self.embedding_dim, self.bottom_dims,
            self.hidden_dims, interaction=self.interaction, init_std=self.init_std, dropout=self.dropout,
            batch_norm=self.batch_norm, sparse=self._sparse,
        )  # fmt: skip
