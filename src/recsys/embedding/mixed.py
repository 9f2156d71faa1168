"""Fields with vectors of different lengths: long ones for the small fields, whose codes are seen often."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from recsys.embedding.fields import FieldEmbedding
from recsys.errors import ParameterError


def mixed_dims(sizes: Sequence[int], dim: int, temperature: float = 0.3) -> tuple[int, ...]:
    """A length for each field: dim (size / smallest size)^-temperature, rounded, at least 1 (Ginart et al. 2019).

    A code of a field with many is seen seldom, as one in `size` where nothing else is known. Temperature 0 gives all
    the same length, 1 all fields the same number of weights.
    """
    smallest = max(min((size for size in sizes if size > 0), default=1), 1)
    return tuple(max(round(dim * (max(size, smallest) / smallest) ** -temperature), 1) for size in sizes)


class MixedEmbedding(nn.Module):
    """A `FieldEmbedding` whose field f has vectors of length dims[f], mapped to `dim` by a matrix of the field's own.

    `dims` are by default `mixed_dims` of the sizes (Ginart et al., "Mixed Dimension Embeddings with Application to
    Memory-Efficient Recommendation Systems", ISIT 2021). Fields of length `dim` have no matrix. Memory is the sum of
    sizes[f] dims[f] instead of dim times that of sizes; the matrices cost B dims[f] dim multiplications a field.
    """

    slot_order: Tensor
    field_order: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        dims: Sequence[int] | None = None,
        temperature: float = 0.3,
        *,
        fields: Sequence[int] | None = None,
        std: float = 0.01,
        sparse: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        if not temperature >= 0:
            raise ParameterError(
                f"MixedEmbedding: temperature={temperature} is not allowed; give a number of at least 0"
            )
        self.dims = mixed_dims(sizes, dim, temperature) if dims is None else tuple(dims)
        if len(self.dims) != len(sizes) or any(not 1 <= length <= dim for length in self.dims):
            raise ParameterError(
                f"MixedEmbedding: dims={self.dims} is not allowed; give {len(sizes)} lengths, one a field, from 1 to {dim}"
            )
        slots = list(range(len(sizes)) if fields is None else fields)
        if any(not 0 <= field < len(sizes) for field in slots):
            raise ParameterError(f"MixedEmbedding has fields 0 to {len(sizes) - 1}, got fields={tuple(slots)}")
        # One table for the fields of one length; that of length `dim` is the last one.
        lengths = sorted(set(self.dims))
        groups = [[field for field, one in enumerate(self.dims) if one == length] for length in lengths]
        columns = [[at for at, field in enumerate(slots) if field in group] for group in groups]
        self.widths = [len(part) for part in columns]
        self.tables, self.projections = nn.ModuleList(), nn.ParameterList()
        for length, group, part in zip(lengths, groups, columns, strict=True):
            own = [group.index(slots[at]) for at in part]
            sizes_here = [sizes[field] for field in group]
            self.tables.append(FieldEmbedding(sizes_here, length, fields=own, std=std, sparse=sparse, dtype=dtype))
            if length < dim:
                self.projections.append(nn.Parameter(torch.randn(len(group), length, dim) * length**-0.5))
        self.register_buffer("slot_order", torch.tensor([*chain(*columns)], dtype=torch.long), persistent=False)
        self.register_buffer("field_order", torch.tensor([*chain(*groups)]).argsort(), persistent=False)

    def forward(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to vectors (B, F, dim)."""
        own_codes = codes[:, self.slot_order].split(self.widths, 1)
        own_values = [None] * len(self.widths) if values is None else values[:, self.slot_order].split(self.widths, 1)
        parts = [table(*given) for table, *given in zip(self.tables, own_codes, own_values, strict=True)]
        for i, projection in enumerate(self.projections):
            parts[i] = torch.einsum("bfd,fde->bfe", parts[i], projection)
        return torch.cat(parts, 1)[:, self.field_order]
