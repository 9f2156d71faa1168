"""All fields of a row in one table, so that a batch is one gather."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding.table import Embedding
from recsys.errors import ParameterError


class FieldEmbedding(nn.Module):
    """One vector a field: field f has codes 0..sizes[f]-1, and -1 is zeros.

    A field may have several slots (tags, the numbers of a vector): `fields` names each slot's field, and the vectors
    of a field's slots, each times its value, are summed. Without `fields` slot f is field f. That a code is below its
    field's size is not checked: it would read the next field's vectors.
    """

    start: Tensor
    pool: Tensor | None

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        fields: Sequence[int] | None = None,
        std: float = 0.01,
        sparse: bool = False,
    ):
        super().__init__()
        slots = list(range(len(sizes)) if fields is None else fields)
        if any(size < 0 for size in sizes):
            raise ParameterError(f"FieldEmbedding needs sizes of at least 0, got sizes={tuple(sizes)}")
        if any(not 0 <= field < len(sizes) for field in slots):
            raise ParameterError(f"FieldEmbedding has fields 0 to {len(sizes) - 1}, got fields={tuple(slots)}")
        self.table = Embedding(sum(sizes), dim, std=std, sparse=sparse)
        at = torch.tensor(slots, dtype=torch.long)
        pool = None if slots == list(range(len(sizes))) else F.one_hot(at, len(sizes)).T.float()
        self.register_buffer("start", torch.tensor([0, *sizes]).cumsum(0)[at], persistent=False)
        self.register_buffer("pool", pool, persistent=False)

    def forward(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to vectors (B, F, dim)."""
        vectors = self.table(torch.where(codes >= 0, codes + self.start, -1))
        if values is not None:
            vectors = vectors * values[..., None].to(vectors.dtype)
        if self.pool is None:
            return vectors
        # A product with ones and zeros, because adding in place is not repeatable on a GPU; in full precision.
        with torch.autocast(vectors.device.type, enabled=False):
            return self.pool.to(vectors.dtype) @ vectors
