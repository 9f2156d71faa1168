"""Vectors of codes on a GPU, in Triton: codes to rows of a table, gathered and multiplied by values, in one pass.

In torch that is five passes over the codes and, with values, a second one over the vectors, and its gather takes three
times as long.
"""

# Triton is optional, also for the type checker.
# pyright: reportMissingImports=false

import torch
import triton
import triton.language as tl
from torch import Tensor

NUMBERS = 2048
"""Numbers that a program holds at a time."""
WARPS = 4


# What is named differs from batch to batch, and should not have the kernel compiled anew.
@triton.jit(do_not_specialize=["n", "n_rows"])
def _gather(
    codes, start, values, weight, rows, vectors, n, n_rows,
    SLOTS: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, LOOKUPS: tl.constexpr, VALUED: tl.constexpr,
):  # pragma: no cover  # fmt: skip
    """Vectors of LOOKUPS codes; without slots codes are rows."""
    at = tl.program_id(0).to(tl.int64) * LOOKUPS + tl.arange(0, LOOKUPS)
    live = at < n
    row = tl.load(codes + at, mask=live, other=-1).to(tl.int64)
    if SLOTS > 0:
        first = tl.load(start + at % SLOTS, mask=live, other=0)
        row = tl.where(row >= 0, row + first + 1, 0)
        tl.store(rows + at, row, mask=live)
    column = tl.arange(0, WIDTH)[None, :]
    inside = column < D
    # The spare row is zeros without being read.
    known = (row > 0) & (row < n_rows)
    vector = tl.load(weight + row[:, None] * D + column, mask=known[:, None] & inside, other=0.0).to(tl.float32)
    vector = tl.where((row < n_rows)[:, None], vector, float("nan"))
    if VALUED:
        vector *= tl.load(values + at, mask=live, other=0.0).to(tl.float32)[:, None]
    tl.store(vectors + at[:, None] * D + column, vector, mask=live[:, None] & inside)


def gather_rows(rows: Tensor, weight: Tensor) -> Tensor:
    """Vectors (..., D), float32, of rows (...) of a weight (n, D), which is contiguous; that of row 0 is zeros.

    A row not below n gives NaN: to tell otherwise would mean to wait for the GPU.
    """
    vectors = torch.empty(*rows.shape, weight.shape[1], device=weight.device)
    _start(rows.contiguous(), None, None, weight, rows, vectors)
    return vectors


def gather_slots(codes: Tensor, start: Tensor, values: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (B, S, D), float32, of codes (B, S) times their values (B, S), by default ones, and their rows (B, S).

    The row of code c in slot s is start[s] + c + 1 of a weight (n, D), which is contiguous; that of code -1 is 0, whose
    vector is zeros. A row not below n gives NaN.
    """
    codes = codes.contiguous()
    rows = torch.empty_like(codes, dtype=torch.long)
    vectors = torch.empty(*codes.shape, weight.shape[1], device=weight.device)
    _start(codes, start, None if values is None else values.contiguous(), weight, rows, vectors)
    return vectors, rows


def _start(
    codes: Tensor, start: Tensor | None, values: Tensor | None, weight: Tensor, rows: Tensor, vectors: Tensor
) -> None:
    n, dim = codes.numel(), weight.shape[1]
    if not n:
        return
    width = triton.next_power_of_2(dim)
    lookups = max(1, min(NUMBERS // width, 512))
    # Pointers that the kernel does not read.
    given = (codes, codes if start is None else start, codes if values is None else values)
    with torch.cuda.device_of(weight):
        _gather[(triton.cdiv(n, lookups),)](
            *given, weight, rows, vectors, n, len(weight),
            SLOTS=0 if start is None else len(start), D=dim, WIDTH=width, LOOKUPS=lookups, VALUED=values is not None,
            num_warps=WARPS,
        )  # fmt: skip
