"""One table of vectors, in which code -1 is nothing."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.embedding.memory import new_table, new_table_like
from recsys.errors import ParameterError
from recsys.kernels import gpu


class _SparseLookup(torch.autograd.Function):
    """Rows (...) of a weight to vectors (..., D), and a gradient that is the rows and what came back, nothing copied.

    Row 0 is left out of it unless `spared` says that the optimizer does that. Torch's own function copies both to that
    end, whether or not a row 0 is there.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, spared: bool) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape, ctx.dtype, ctx.spared = weight.shape, weight.dtype, spared
        return gpu.gather_gpu().gather_rows(rows, weight) if gpu.takes(weight) else F.embedding(rows, weight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor, None]:
        return None, gradient_of_rows(ctx.saved_tensors[0], grad_outputs[0].to(ctx.dtype), ctx.shape, ctx.spared), None


def gradient_of_rows(rows: Tensor, values: Tensor, shape: torch.Size, spared: bool) -> Tensor:
    """The sparse gradient of a weight (n, D) from rows (...) and values (..., D); without row 0 unless it is spared."""
    rows, values = rows.reshape(-1), values.reshape(-1, shape[1])
    if not spared:
        inside = rows != 0
        if not bool(inside.all()):
            rows, values = rows[inside], values[inside]
    return torch.sparse_coo_tensor(rows[None], values, shape, check_invariants=False)


def is_spared(weight: Tensor) -> bool:
    """Whether an optimizer leaves row 0 of a weight out, told here that it is a spare one; on a GPU alone.

    There looking for it among the rows of a batch would have to wait.
    """
    spared = weight.is_cuda and hasattr(weight, "spare_row")
    if spared:
        weight.spare_row = True
    return spared


def look_up(rows: Tensor, weight: Tensor, sparse: bool) -> Tensor:
    """Rows (...) of a weight (n, D) to vectors (..., D); row 0 is zeros and never trained. Low precision is widened."""
    vectors = (
        _SparseLookup.apply(rows, weight, is_spared(weight)) if sparse else F.embedding(rows, weight, padding_idx=0)
    )
    return vectors.float() if weight.dtype == torch.bfloat16 else vectors  # type: ignore[union-attr]


class Embedding(nn.Module):
    """Vectors of codes 0..num-1; code -1 is zeros and is never trained.

    `weight` is (num + 1, dim): its first row is the spare one that -1 reads. Rows start as N(0, std^2). With
    `sparse=True` gradients hold the batch's rows alone, for the optimizers of `recsys.embedding`. With
    `dtype=torch.bfloat16` the table takes half the memory and vectors still come out as float32; those optimizers
    round its steps so that the small ones are not lost.
    """

    def __init__(
        self, num: int, dim: int, *, std: float = 0.01, sparse: bool = False, dtype: torch.dtype = torch.float32
    ):
        super().__init__()
        self.std, self.sparse = std, sparse
        self.weight = nn.Parameter(new_rows(type(self).__name__, num, dim, std, dtype))

    @property
    def vectors(self) -> Tensor:
        """The vectors of all codes, (num, dim)."""
        return self.weight[1:]

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (...) to vectors (..., dim)."""
        return look_up(codes + 1, self.weight, self.sparse)

    def grow(self, num: int) -> Tensor:
        """Make room for codes up to num - 1; new rows start as rows do, old ones stay bitwise what they were.

        The parameter is a new one afterwards. Returns where its rows of before are in it, (old num + 1,), with which
        `grow_state` of an optimizer takes its memory along; other optimizers must be made anew.
        """
        places = torch.arange(len(self.weight), device=self.weight.device)
        if num + 1 > len(self.weight):
            self.spread_rows(places, num + 1)
        return places

    def spread_rows(self, places: Tensor, n_rows: int) -> None:
        """A new parameter of n_rows rows, with the old ones at `places` and new ones between."""
        old = self.weight.detach()
        weight = new_table_like(old, (n_rows, old.shape[1]))
        new = torch.ones(n_rows, dtype=torch.bool, device=old.device)
        new[places] = False
        weight[places] = old
        weight[new] = torch.randn(n_rows - len(old), old.shape[1], dtype=old.dtype, device=old.device) * self.std
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)


def new_rows(name: str, num: int, dim: int, std: float, dtype: torch.dtype) -> Tensor:
    """The weight (num + 1, dim) that a table starts with: a row of zeros, then N(0, std^2)."""
    if num < 0 or dim < 1:
        raise ParameterError(f"{name} needs num at least 0 and dim at least 1, got num={num}, dim={dim}")
    if not std >= 0:
        raise ParameterError(f"{name} needs std at least 0, got std={std}")
    if dtype not in (torch.float32, torch.float64, torch.bfloat16):
        raise ParameterError(f"{name}: dtype={dtype} is not allowed; give torch.float32, float64 or bfloat16")
    weight = new_table((num + 1, dim), dtype)
    if dtype == torch.float32:
        # In place: a copy of a table is gigabytes too. Other types are drawn in this one, and start alike.
        weight[1:].normal_(0, std)
    else:
        weight[1:] = torch.randn(num, dim) * std
    return weight
