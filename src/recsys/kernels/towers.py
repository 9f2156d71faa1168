"""Towers of layers beside each other over the same rows, forward and back, on ranges of rows that threads share."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from recsys.kernels.mlp import BLOCK_ROWS, Floats, Stack, summed
from recsys.kernels.parallel import n_threads, ranges, run_all

T = TypeVar("T")
Tower = Sequence[Stack]
"""Stacks behind each other, at least one."""
Kept = Sequence[Sequence[Floats]]
"""What each stack of each tower leaves for the way back, of its `kept_shape`; it may come as it is."""

SHARES = 2
"""Ranges of rows a thread: who began early does more of them."""


def forward_towers(x: Floats, towers: Sequence[Tower], kept: Kept, out: Floats, n_jobs: int) -> None:
    """Rows (B, D) through all towers; what comes out of them, added up, in `out` (B, N)."""

    def some(start: int, stop: int) -> None:
        _through(towers[0], x[start:stop], _blocks(kept[0], start, stop), out[start:stop])
        for tower, memory in zip(towers[1:], kept[1:], strict=True):
            more = np.empty_like(out[start:stop])
            _through(tower, x[start:stop], _blocks(memory, start, stop), more)
            out[start:stop] += more

    _over_ranges(some, len(x), n_jobs)


def back_towers(
    gradient: Floats, towers: Sequence[Tower], kept: Kept, of_x: Floats | None, n_jobs: int
) -> list[Floats]:
    """Gradients of weight and bias of each layer, from that of what came out (B, N); that of the rows in `of_x` (B, D).

    Bitwise the same for one number of threads.
    """

    def some(start: int, stop: int) -> list[Floats]:
        to = None if of_x is None else of_x[start:stop]
        found = _back_through(towers[0], gradient[start:stop], _blocks(kept[0], start, stop), to)
        for tower, memory in zip(towers[1:], kept[1:], strict=True):
            more = None if to is None else np.empty_like(to)
            found += _back_through(tower, gradient[start:stop], _blocks(memory, start, stop), more)
            if to is not None:
                to += more
        return found

    found = summed(_over_ranges(some, len(gradient), n_jobs))
    stacks = [stack for tower in towers for stack in tower]
    pairs = zip(stacks, found[::2], found[1::2], strict=True)
    return [one for stack, of_weights, of_shifts in pairs for one in stack.gradients(of_weights, of_shifts)]


def _blocks(memory: Sequence[Floats], start: int, stop: int) -> list[Floats]:
    """What is kept of these rows."""
    return [one[start // BLOCK_ROWS : -(-stop // BLOCK_ROWS)] for one in memory]


def _through(tower: Tower, rows: Floats, memory: Sequence[Floats], out: Floats) -> None:
    for at, (stack, kept) in enumerate(zip(tower, memory, strict=True), 1):
        above = out if at == len(tower) else np.empty((len(rows), stack.widths[-1]), np.float32)
        stack.forward(rows, kept, above)
        rows = above


def _back_through(tower: Tower, gradient: Floats, memory: Sequence[Floats], of_rows: Floats | None) -> list[Floats]:
    """Weights and biases of each stack, flat."""
    found: list[Floats] = []
    for at in range(len(tower) - 1, -1, -1):
        below = of_rows if at == 0 else np.empty((len(gradient), tower[at].widths[0]), np.float32)
        found = [*tower[at].back(gradient, memory[at], below), *found]
        gradient = below  # type: ignore[assignment]
    return found


def _over_ranges(call: Callable[[int, int], T], n_rows: int, n_jobs: int) -> list[T]:
    """What `call(start, stop)` returns of ranges of whole blocks, in their order; of none where there are no rows."""
    threads = n_threads(n_jobs)
    some = [one for one in ranges(n_rows, SHARES * threads, BLOCK_ROWS) if one[1] > one[0]] or [(0, 0)]
    return run_all([partial(call, *one) for one in some], threads)
