"""All fields of a row in one table, so that a batch is one gather."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.embedding.table import Embedding


class FieldEmbedding(nn.Module):
    """One vector a field: field f has codes 0..sizes[f]-1, and -1 is zeros.

    A field may have several slots (tags, the numbers of a vector): `fields` names each slot's field, and the vectors
    of a field's slots, each times its value, are summed. Without `fields` slot f is field f.
    """

    start: Tensor
    fields: Tensor

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
        self.n_fields = len(sizes)
        self.table = Embedding(sum(sizes), dim, std=std, sparse=sparse)
        slots = torch.arange(len(sizes)) if fields is None else torch.tensor(list(fields), dtype=torch.long)
        first = torch.tensor([0, *sizes]).cumsum(0)
        self.pooled = fields is not None and slots.tolist() != list(range(len(sizes)))
        self.register_buffer("fields", slots, persistent=False)
        self.register_buffer("start", first[slots], persistent=False)

    def forward(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to vectors (B, F, dim)."""
        vectors = self.table(torch.where(codes >= 0, codes + self.start, -1))
        if values is not None:
            vectors = vectors * values[..., None].to(vectors.dtype)
        if not self.pooled:
            return vectors
        pooled = vectors.new_zeros(len(codes), self.n_fields, vectors.shape[-1])
        return pooled.index_add(1, self.fields, vectors)
