"""All fields of a row in one table, so that a batch is one gather."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding.lookup import sums_of_slots
from recsys.embedding.placement import CachedEmbedding
from recsys.embedding.table import Embedding, gradient_of_rows, is_spared
from recsys.errors import ParameterError
from recsys.kernels import gpu
from recsys.kernels.slots import Layout


class _SlotLookup(torch.autograd.Function):
    """Codes (B, S), the first row of each slot, values (B, S) or None and a weight to vectors (B, S, D), on a GPU."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, start: Tensor, values: Tensor | None, weight: Tensor, spared: bool) -> Tensor:
        vectors, rows = gpu.gather_gpu().gather_slots(codes, start, values, weight)
        ctx.save_for_backward(rows, values)
        ctx.shape, ctx.dtype, ctx.spared = weight.shape, weight.dtype, spared
        return vectors

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, None, Tensor, None]:
        rows, values = ctx.saved_tensors
        gradient = grad_outputs[0] if values is None else grad_outputs[0] * values[..., None]
        return None, None, None, gradient_of_rows(rows, gradient.to(ctx.dtype), ctx.shape, ctx.spared), None


class FieldEmbedding(nn.Module):
    """One vector a field: field f has codes 0..sizes[f]-1, and -1 is zeros.

    A field may have several slots (tags, the numbers of a vector): `fields` names each slot's field, and the vectors
    of a field's slots, each times its value, are summed. Without `fields` slot f is field f. That a code is below its
    field's size is not checked: it would read the next field's vectors.

    Vectors start normal with `std`. None is (2 / (n + dim))^1/2 for n codes, at least 0.01: a layer that reads them all,
    one input a code, would start so (Glorot & Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural
    Networks", AISTATS 2010).

    `table` is one of sum(sizes) codes made elsewhere, as by `place`; `std`, `sparse` and `dtype` are then its own.
    """

    start: Tensor
    pool: Tensor | None

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        fields: Sequence[int] | None = None,
        std: float | None = 0.01,
        sparse: bool = False,
        dtype: torch.dtype = torch.float32,
        table: Embedding | CachedEmbedding | None = None,
    ):
        super().__init__()
        std = max(0.01, (2 / (sum(sizes) + dim)) ** 0.5) if std is None else std
        slots = list(range(len(sizes)) if fields is None else fields)
        if any(size < 0 for size in sizes):
            raise ParameterError(f"FieldEmbedding needs sizes of at least 0, got sizes={tuple(sizes)}")
        if any(not 0 <= field < len(sizes) for field in slots):
            raise ParameterError(f"FieldEmbedding has fields 0 to {len(sizes) - 1}, got fields={tuple(slots)}")
        self.table = Embedding(sum(sizes), dim, std=std, sparse=sparse, dtype=dtype) if table is None else table
        shape = tuple(self.table.vectors.shape)
        if shape != (sum(sizes), dim):
            raise ParameterError(f"FieldEmbedding needs a table of {(sum(sizes), dim)}, got one of {shape}")
        self.sizes, self.slots = tuple(sizes), torch.tensor(slots, dtype=torch.long)
        pool = None if slots == list(range(len(sizes))) else F.one_hot(self.slots, len(sizes)).T.float()
        self.register_buffer("start", first_codes(sizes)[self.slots], persistent=False)
        self.register_buffer("pool", pool, persistent=False)

    def slot_vectors(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to the vectors of the slots, times their values: (B, S, dim)."""
        if values is not None and self._sums_on_cpu(codes, values):
            return self._sums(codes, values, torch.arange(len(self.slots)), len(self.slots))
        weight = self.table.weight
        valued = values is not None and values.requires_grad
        if isinstance(self.table, Embedding) and self.table.sparse and not valued and gpu.takes(weight):
            return _SlotLookup.apply(codes, self.start, values, weight, is_spared(weight))  # type: ignore[return-value]
        vectors = self.table(torch.where(codes >= 0, codes + self.start, -1))
        return vectors if values is None else vectors * values[..., None].to(vectors.dtype)

    def total(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to the sum of all slots' vectors, times their values: (B, dim)."""
        if values is not None and self._sums_on_cpu(codes, values):
            return self._sums(codes, values, torch.zeros_like(self.slots), 1)[:, 0]
        return self.slot_vectors(codes, values).sum(1)

    def forward(self, codes: Tensor, values: Tensor | None = None) -> Tensor:
        """Codes (B, S) and values (B, S), by default ones, to vectors (B, F, dim)."""
        if values is not None and self._sums_on_cpu(codes, values):
            return self._sums(codes, values, self.slots, len(self.sizes))
        vectors = self.slot_vectors(codes, values)
        if self.pool is None:
            return vectors
        # A product with ones and zeros, because adding in place is not repeatable on a GPU; in full precision.
        with torch.autocast(vectors.device.type, enabled=False):
            return self.pool.to(vectors.dtype) @ vectors

    def _sums_on_cpu(self, codes: Tensor, values: Tensor) -> bool:
        """Whether a kernel of the CPU looks up, multiplies and adds up at once."""
        weight = self.table.weight
        plain = isinstance(self.table, Embedding) and weight.dtype == torch.float32 and weight.is_contiguous()
        here = codes.device.type == weight.device.type == "cpu"
        return plain and here and codes.ndim == 2 and not values.requires_grad

    def _sums(self, codes: Tensor, values: Tensor, owner: Tensor, n_owners: int) -> Tensor:
        first = self.start + 1
        layout = Layout(first.numpy(), owner.numpy(), self.slots.numpy(), n_owners)
        return sums_of_slots(codes, values, self.table.weight, layout, sparse=self.table.sparse)

    def grow(self, sizes: Sequence[int]) -> Tensor:
        """Make room for codes up to sizes[f] - 1 in each field f, behind those it has, which keep their vectors bitwise.

        The table's parameter is a new one afterwards, O(table). Returns where its rows of before are in it, for
        `grow_state` of an optimizer.
        """
        if len(sizes) != len(self.sizes) or any(new < old for new, old in zip(sizes, self.sizes, strict=True)):
            raise ParameterError(
                f"FieldEmbedding.grow: sizes={tuple(sizes)} is not allowed; give one size a field, none below those of "
                f"{self.sizes}"
            )
        if isinstance(self.table, CachedEmbedding):
            raise ParameterError("FieldEmbedding.grow is for tables on the device; make a larger one and load it")
        device = self.start.device
        old, new = first_codes(self.sizes), first_codes(sizes)
        shift = (new - old)[:-1].repeat_interleave(torch.tensor(self.sizes, dtype=torch.long))
        places = torch.arange(sum(self.sizes) + 1, device=device) + F.pad(shift, (1, 0)).to(device)
        if sum(sizes) > sum(self.sizes):
            self.table.spread_rows(places, sum(sizes) + 1)
        self.sizes, self.start = tuple(sizes), new[self.slots].to(device)
        return places


def first_codes(sizes: Sequence[int]) -> Tensor:
    """The first code of each field in the common table, and behind them the number of all codes, (F + 1,)."""
    return torch.tensor([0, *sizes]).cumsum(0)
