"""Crosses of fields: a feature for each combination of their codes, hashed where there are too many."""

import itertools
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from recsys.embedding.fields import FieldEmbedding, first_codes
from recsys.embedding.hashed import GOLDEN, mixed, signed
from recsys.errors import ParameterError

POSITIVE = 2**63 - 1
"""Bits of an int64 but for its sign."""


class CrossedEmbedding(nn.Module):
    """One vector a cross: that of the combination of its fields' codes, zeros where one of them is -1.

    A cross is the product of its fields' one-hot columns (AND). Up to `buckets` combinations have a vector each; more
    are hashed into `buckets`, so that some share one. `slot_fields` names each slot's field; of a field with several
    slots (tags) each enters, and the vectors of a cross, each times the product of its slots' values, are summed.

    What `parts` gives for some of a row's slots and for the others adds up to what it gives for all of them.
    """

    slots: Tensor
    strides: Tensor
    used: Tensor
    rows: Tensor
    hashed: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        slot_fields: Sequence[int],
        crosses: Sequence[Sequence[int]],
        dim: int,
        *,
        buckets: int,
        std: float = 0.01,
        sparse: bool = False,
    ):
        super().__init__()
        outside = [cross for cross in crosses if not cross or any(not 0 <= field < len(sizes) for field in cross)]
        if outside:
            raise ParameterError(f"CrossedEmbedding has fields 0 to {len(sizes) - 1}, got crosses={tuple(crosses)!r}")
        self.sizes, self.slot_fields, self.crosses, self.buckets = tuple(sizes), slot_fields, crosses, buckets
        counts = [prod(sizes[field] for field in cross) for cross in crosses]
        self.n_rows = tuple(min(count, buckets) for count in counts)
        # Strides of a hashed cross do not follow from the sizes: a field that grows leaves its combinations in place.
        # They are powers of an odd number, none of which is 0 modulo 2^64: that would drop a field.
        steps = [
            [
                prod(sizes[f] for f in cross[:place]) if count <= buckets else GOLDEN**place
                for place in range(len(cross))
            ]
            for cross, count in zip(crosses, counts, strict=True)
        ]
        slots, strides, owners = combinations(slot_fields, crosses, steps)
        self.owners = owners
        longest = max(map(len, slots), default=0)
        self.table = FieldEmbedding(self.n_rows, dim, fields=owners, std=std, sparse=sparse)

        def buffer(name: str, rows: Sequence[Sequence[int]]) -> None:
            padded = [[*row, *[0] * (longest - len(row))] for row in rows]
            self.register_buffer(name, torch.tensor(padded).long().view(len(rows), longest), persistent=False)

        buffer("slots", slots)
        buffer("strides", strides)
        buffer("used", [[1] * len(row) for row in slots])
        self.register_buffer("rows", torch.tensor([self.n_rows[k] for k in owners]).long(), persistent=False)
        self.register_buffer("hashed", torch.tensor([counts[k] > buckets for k in owners]).bool(), persistent=False)

    @torch.no_grad()
    def grow(self, sizes: Sequence[int]) -> None:
        """Make room for codes up to sizes[f] - 1 in each field f; combinations that were there keep their vectors.

        The table's parameter is a new one afterwards. A cross that now has too many combinations is hashed, and those
        that then share a bucket take the vector of one of them.
        """
        table = self.table.table
        old, starts = table.vectors, first_codes(self.n_rows)
        larger = type(self)(
            sizes,
            self.slot_fields,
            self.crosses,
            old.shape[1],
            buckets=self.buckets,
            std=table.std,
            sparse=table.sparse,
        ).to(old)
        fresh, places = larger.table.table.vectors, first_codes(larger.n_rows)
        for k, cross in enumerate(self.crosses):
            rows = torch.arange(self.n_rows[k], device=old.device)
            to = rows
            if 0 < prod(self.sizes[field] for field in cross) <= self.buckets:
                codes = torch.unravel_index(rows, [self.sizes[field] for field in reversed(cross)])
                to = larger.row_of(k, torch.stack(codes[::-1], 1))
            fresh[places[k] + to] = old[starts[k] + rows]
        self.__dict__.update(larger.train(self.training).__dict__)

    def row_of(self, cross: int, codes: Tensor) -> Tensor:
        """Rows (n,) that one cross gives to combinations of its fields' codes (n, P)."""
        at = self.owners.index(cross)
        return address((codes * self.strides[at, : codes.shape[1]]).sum(1), self.hashed[at], self.rows[at])

    def forward(self, codes: Tensor, values: Tensor) -> Tensor:
        """Slots (B, S) and their values (B, S), above 0 where a cross reads them, to vectors (B, K, dim) of K crosses."""
        return self.look_up(*self.parts(codes, values))

    def parts(self, codes: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the known slots say of each of X combinations of slots, (B, X) each.

        Keys (sums of codes times strides, int64 modulo 2^64), how many slots are known, the logarithm of the product
        of their values.
        """
        chosen = codes[:, self.slots]  # (B, X, P)
        known = (chosen >= 0) & (self.used > 0)
        keys = torch.where(known, chosen, 0) * self.strides
        return keys.sum(2), known.sum(2), torch.where(known, values[:, self.slots], 1).log().sum(2)

    def look_up(self, keys: Tensor, known: Tensor, logs: Tensor) -> Tensor:
        """Parts of whole rows (B, X) to vectors (B, K, dim)."""
        rows = torch.where(known == self.used.sum(1), address(keys, self.hashed, self.rows), -1)
        return self.table(rows, logs.exp())


def address(keys: Tensor, hashed: Tensor, n_rows: Tensor) -> Tensor:
    """Rows of keys: the keys themselves, or where they are hashed one of n_rows.

    Without the hash keys a stride apart would share a row together with all their likes.
    """
    return torch.where(hashed, (mixed(keys) & POSITIVE) % n_rows, keys)


def combinations(
    slot_fields: Sequence[int], crosses: Sequence[Sequence[int]], steps: Sequence[Sequence[int]]
) -> tuple[list[tuple[int, ...]], list[list[int]], list[int]]:
    """Every combination of slots that is part of a cross: its slots, their strides and the cross."""
    of_field: dict[int, list[int]] = {}
    for slot, field in enumerate(slot_fields):
        of_field.setdefault(field, []).append(slot)
    slots: list[tuple[int, ...]] = []
    strides: list[list[int]] = []
    owners: list[int] = []
    for owner, (cross, step) in enumerate(zip(crosses, steps, strict=True)):
        for chosen in itertools.product(*(of_field[field] for field in cross)):
            slots.append(chosen)
            strides.append([signed(one) for one in step])
            owners.append(owner)
    return slots, strides, owners
