"""The step of `recsys.kernels.sparse_step` on a GPU, in Triton: the same rules, constants and order of duplicates.

Rows are sorted, stably, and the sorted list is cut into chunks of equal length, so that a row that a batch names often
keeps no program waiting. A chunk adds up the values of each row in their order and steps the rows that lie in it as a
whole, in place. Of a row that lies in several chunks each leaves its part of the sum; these parts are a list of the
same kind, a sixteenth as long, and so on until few chunks are left, whose rows a last kernel finishes. Additions are in
an order that the list alone decides: the result is bitwise the same each time. Nothing waits for the GPU.
"""

# Triton is optional, also for the type checker.
# pyright: reportMissingImports=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from recsys.kernels import sparse_step

SGD = tl.constexpr(sparse_step.SGD)
ADAM = tl.constexpr(sparse_step.ADAM)
ADAGRAD = tl.constexpr(sparse_step.ADAGRAD)
ROWWISE_ADAGRAD = tl.constexpr(sparse_step.ROWWISE_ADAGRAD)
MOMENTUM_ADAGRAD = tl.constexpr(sparse_step.MOMENTUM_ADAGRAD)


class Cut(NamedTuple):
    """How the work is cut into programs."""

    length: int = 32
    """Entries of a chunk."""
    length_of_parts: int = 8
    """Parts of a chunk of them, at least 3, so that the two that it leaves are fewer: few steps, for few programs."""
    numbers: int = 512
    """Numbers that a program holds at a time: it works on as many chunks side by side as make so many columns."""
    few: int = 1 << 14
    """Chunks whose rows the last kernel finishes, at least 1."""
    block: int = 32
    """Parts of a row that the last kernel adds up at a time."""
    warps: int = 4
    """Warps of a program, of which one of the last kernel has half."""


@triton.jit
def _rounded(w, at, seed, LOW: tl.constexpr):  # pragma: no cover
    """As `round_stochastically`: numbers as float32 that bfloat16 holds, the neighbor above or below by chance."""
    if LOW:
        noise = tl.randint(tl.load(seed), at.to(tl.int32)).to(tl.uint32, bitcast=True) & 0xFFFF
        bits = (w.to(tl.uint32, bitcast=True) + noise) & 0xFFFF0000
        # Neither infinity nor NaN is below infinity.
        w = tl.where(tl.abs(w) < float("inf"), bits.to(tl.float32, bitcast=True), w)
    return w


@triton.jit
def _step(
    row, g, mask, weight, first, second, decay, c0, c1, c2, c3, c4, seed,
    RULE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, LOW: tl.constexpr,
):  # pragma: no cover  # fmt: skip
    """Step rows (P,) by gradients (P, WIDTH), where the mask (P,) says so.

    Several threads may hold the same number: a barrier has all of them read it before one writes.
    """
    column = tl.arange(0, WIDTH)[None, :]
    at = row.to(tl.int64)[:, None] * D + column
    here = mask[:, None] & (column < D)
    w = tl.load(weight + at, mask=here, other=0.0).to(tl.float32)
    g += decay * w
    if RULE == SGD:
        tl.debug_barrier()
        w -= c0 * g
    elif RULE == ADAM:
        mean = tl.load(first + at, mask=here, other=0.0)
        square = tl.load(second + at, mask=here, other=0.0)
        tl.debug_barrier()
        mean += (1.0 - c1) * (g - mean)
        square = c2 * square + (1.0 - c2) * g * g
        w -= c0 * mean / (c4 * tl.sqrt(square) + c3)
        tl.store(first + at, mean, mask=here)
        tl.store(second + at, square, mask=here)
    elif RULE == ADAGRAD:
        total = tl.load(first + at, mask=here, other=0.0)
        tl.debug_barrier()
        total += g * g
        w -= c0 * g / (tl.sqrt(total) + c1)
        tl.store(first + at, total, mask=here)
    elif RULE == ROWWISE_ADAGRAD:
        total = tl.load(first + row, mask=mask, other=0.0)
        tl.debug_barrier()
        total += tl.sum(g * g, axis=1) / D
        w -= (c0 / (tl.sqrt(total) + c1))[:, None] * g
        tl.store(first + row, total, mask=mask)
    elif RULE == MOMENTUM_ADAGRAD:
        total = tl.load(first + at, mask=here, other=0.0)
        velocity = tl.load(second + at, mask=here, other=0.0)
        tl.debug_barrier()
        total += g * g
        velocity = c2 * velocity - c0 * g / tl.sqrt(total + c1)
        w += velocity
        tl.store(first + at, total, mask=here)
        tl.store(second + at, velocity, mask=here)
    else:
        z = tl.load(first + at, mask=here, other=0.0)
        n = tl.load(second + at, mask=here, other=0.0)
        tl.debug_barrier()
        before = tl.sqrt(n)
        n += g * g
        root = tl.sqrt(n)
        z += g - (root - before) / c0 * w
        pull = tl.maximum(tl.abs(z) - c2, 0.0) / ((c1 + root) / c0 + c3)
        w = tl.where(z > 0, -pull, pull)
        tl.store(first + at, z, mask=here)
        tl.store(second + at, n, mask=here)
    tl.store(weight + at, _rounded(w, at, seed, LOW), mask=here)


# What is named differs from batch to batch, and should not have the kernel compiled anew.
@triton.jit(do_not_specialize=["n", "n_chunks", "lowest", "n_rows"])
def _add_up(
    rows, places, values, n, part_rows, parts, n_chunks, lowest, n_rows,
    weight, first, second, decay, c0, c1, c2, c3, c4, seed,
    RULE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, LOW: tl.constexpr,
    CHUNKS: tl.constexpr, LENGTH: tl.constexpr, PLACED: tl.constexpr,
):  # pragma: no cover  # fmt: skip
    """Go through CHUNKS chunks side by side: step rows that lie in one as a whole, leave parts of the others.

    Part 2 c of chunk c is that of a row that an earlier chunk begins, part 2 c + 1 that of one that later chunks end.
    A row that fills the chunk and goes on has both, the second of them zeros. Row -1 is no part.
    """
    chunk = tl.program_id(0) * CHUNKS + tl.arange(0, CHUNKS)
    start = chunk * LENGTH
    column = tl.arange(0, WIDTH)[None, :]
    inside = column < D
    head = parts + (2 * chunk).to(tl.int64)[:, None] * D + column
    before = tl.load(rows + start - 1, mask=(start > 0) & (start < n), other=-1)
    row = tl.load(rows + start, mask=start < n, other=-1)
    following = tl.load(rows + start + 1, mask=start + 1 < n, other=-1)
    known = (row >= lowest) & (row < n_rows)
    begun = known & (before == row)
    tl.store(part_rows + 2 * chunk, tl.where(begun, row, -1), mask=chunk < n_chunks)
    # Values are asked for a step ahead, and their places two: memory answers meanwhile.
    place, next_place = start.to(tl.int64), (start + 1).to(tl.int64)
    if PLACED:
        place = tl.load(places + start, mask=start < n, other=0)
        next_place = tl.load(places + start + 1, mask=start + 1 < n, other=0)
    value = tl.load(values + place[:, None] * D + column, mask=known[:, None] & inside, other=0.0)
    total = tl.zeros((CHUNKS, WIDTH), tl.float32)
    for i in range(LENGTH):
        soon = start + i + 2
        awaited = (following >= lowest) & (following < n_rows)
        here = (awaited & (i + 1 < LENGTH))[:, None] & inside
        next_value = tl.load(values + next_place[:, None] * D + column, mask=here, other=0.0)
        after = tl.load(rows + soon, mask=soon < n, other=-1)
        next_place = soon.to(tl.int64)
        if PLACED:
            next_place = tl.load(places + soon, mask=soon < n, other=0)
        total += value.to(tl.float32)
        ends = following != row
        whole = known & ends & ~begun
        _step(
            row, total, whole, weight, first, second, decay, c0, c1, c2, c3, c4, seed, RULE, D, WIDTH, LOW
        )  # fmt: skip
        tl.store(head, total, mask=(begun & ends)[:, None] & inside)
        if i == LENGTH - 1:
            goes_on = known & ~ends
            tl.store(part_rows + 2 * chunk + 1, tl.where(goes_on, row, -1), mask=chunk < n_chunks)
            tl.store(head, total, mask=(goes_on & begun)[:, None] & inside)
            tl.store(head + D, tl.where(begun[:, None], 0.0, total), mask=goes_on[:, None] & inside)
        total = tl.where(ends[:, None], 0.0, total)
        begun = begun & ~ends
        row, following, known, value = following, after, awaited, next_value


@triton.jit(do_not_specialize=["n_chunks"])
def _finish(
    part_rows, parts, n_chunks,
    weight, first, second, decay, c0, c1, c2, c3, c4, seed,
    RULE: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, LOW: tl.constexpr, BLOCK: tl.constexpr,
):  # pragma: no cover  # fmt: skip
    """Add up all parts of the row that begins in one chunk and ends in a later one, and step it."""
    chunk = tl.program_id(0) + tl.zeros((1,), tl.int32)
    column = tl.arange(0, WIDTH)[None, :]
    inside = column < D
    row = tl.load(part_rows + 2 * chunk + 1)
    begins = (row >= 0) & (row != tl.load(part_rows + 2 * chunk))
    tail = (2 * chunk + 1).to(tl.int64)[:, None] * D
    total = tl.load(parts + tail + column, mask=begins[:, None] & inside, other=0.0)
    later = chunk + 1 + tl.arange(0, BLOCK)
    going = tl.sum(begins.to(tl.int32), axis=0) > 0
    while going:
        same = tl.load(part_rows + 2 * later, mask=later < n_chunks, other=-1) == row
        at = (2 * later).to(tl.int64)[:, None] * D + column
        total += tl.sum(tl.load(parts + at, mask=same[:, None] & inside, other=0.0), axis=0)[None, :]
        later += BLOCK
        going = tl.sum(same.to(tl.int32), axis=0) == BLOCK
    _step(
        row, total, begins, weight, first, second, decay, c0, c1, c2, c3, c4, seed, RULE, D, WIDTH, LOW
    )  # fmt: skip


def step_rows(
    rule: int,
    rows: Tensor,
    values: Tensor,
    weight: Tensor,
    state: Sequence[Tensor],
    constants: tuple[float, ...],
    decay: float = 0.0,
    *,
    lowest: int = 0,
    seed: Tensor | None = None,
    cut: Cut = Cut(),  # noqa: B008 (immutable)
) -> None:
    """Step `weight` (n, D) and its state in place by a gradient of rows (N,) and values (N, D) plus decay times weight.

    All are contiguous and on one device; state is float32, weight and values are that or bfloat16, D is at most
    `gpu.WIDEST`. A bfloat16 weight is rounded stochastically by a `seed` (1,), int32. Rows below `lowest` or not below
    n are left out.
    """
    if not values.numel():
        return
    # Half the bytes to sort, and half the passes.
    keys, places = torch.sort(rows.int() if len(weight) < 2**31 else rows, stable=True)
    dim = values[0].numel()
    first, second = (*state, weight, weight)[:2]
    numbers = (float(number) for number in (decay, *constants, 0, 0, 0, 0)[:6])
    table = (weight, first, second, *numbers, weight if seed is None else seed)
    low = weight.dtype == torch.bfloat16
    kinds = {"RULE": rule, "D": dim, "WIDTH": triton.next_power_of_2(dim), "LOW": low}
    with torch.cuda.device_of(weight):
        _start(keys, places, values, table, kinds, lowest, len(weight), cut)


def _start(
    rows: Tensor,
    places: Tensor,
    values: Tensor,
    table: tuple[Any, ...],
    kinds: dict[str, int],
    lowest: int,
    n_rows: int,
    cut: Cut,
) -> None:
    """Start the kernels for sorted rows (N,), whose values are at `places` (N,)."""
    n, side_by_side = len(rows), max(1, min(cut.numbers // kinds["WIDTH"], 256))
    length, placed = cut.length, True
    while True:
        n_chunks = triton.cdiv(n, length)
        part_rows = rows.new_empty(2 * n_chunks)
        parts = torch.empty(2 * n_chunks, kinds["D"], device=values.device)
        _add_up[(triton.cdiv(n_chunks, side_by_side),)](
            rows, places, values, n, part_rows, parts, n_chunks, lowest, n_rows, *table,
            CHUNKS=side_by_side, LENGTH=length, PLACED=placed, num_warps=cut.warps, **kinds,
        )  # fmt: skip
        if n_chunks <= cut.few:
            break
        rows, values, n = part_rows, parts, 2 * n_chunks
        length, placed = cut.length_of_parts, False
    _finish[(n_chunks,)](
        part_rows, parts, n_chunks, *table, BLOCK=cut.block, num_warps=max(1, cut.warps // 2), **kinds
    )  # fmt: skip
