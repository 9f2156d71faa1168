"""Session-parallel examples: many sessions side by side, a step of each at a time (Hidasi et al., ICLR 2016)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.data import Histories
from recsys.kernels.lanes import assign_lanes

DRAWN_AT_A_TIME = 1 << 20
"""Negatives that are drawn by one call, for many steps."""


class SessionBatch(NamedTuple):
    """A step of the sessions on B lanes, and K items that all of them have as negatives."""

    items: Tensor
    """What has just been clicked, (B,)."""
    targets: Tensor
    """What is clicked next, (B,)."""
    goes_on: Tensor
    """Whether a session goes on, (B,): False where its first item is the input, so that nothing has been before."""
    codes: Tensor
    values: Tensor
    """Slots of the context of what has just been clicked, (B, S) each; S is 0 where there is none."""
    negatives: Tensor
    """Items in proportion to a power of their popularity, (K,)."""


class Schedule(NamedTuple):
    """Which step of which session lies on which lane at which time, an epoch of T times and N steps in all.

    Time t is at `offsets[t]:offsets[t + 1]` of the others, lane by lane. Lanes that are busy for longer come first, so
    that those that are left at a time are the first of those before it.
    """

    offsets: NDArray[np.int64]
    """(T + 1,)."""
    places: NDArray[np.int64]
    """Where the input is among the items, (N,); its target is behind it."""
    goes_on: NDArray[np.bool_]
    """Whether the step before it was one of the same session, (N,)."""


def session_parallel(indptr: NDArray[np.int64], sessions: NDArray[np.int64], n_lanes: int) -> Schedule:
    """The schedule of some sessions, in their order; session s is at `indptr[s]:indptr[s + 1]` of the items.

    A lane whose session ends takes the next one; when none is left it is dropped. Sessions of one item have no step.
    """
    sessions = sessions[np.diff(indptr)[sessions] > 1]
    steps = np.diff(indptr)[sessions] - 1
    lanes, begins = assign_lanes(steps, n_lanes)
    busy = np.bincount(lanes, steps, minlength=n_lanes).astype(np.int64)
    rank = np.empty(n_lanes, np.int64)
    rank[np.argsort(-busy, kind="stable")] = np.arange(n_lanes)
    widths = n_lanes - np.searchsorted(np.sort(busy), np.arange(busy.max(initial=0)), side="right")
    offsets = np.concatenate([[0], np.cumsum(widths)])
    # All steps, session by session, and where in the epoch each is.
    step = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    at = offsets[np.repeat(begins, steps) + step] + np.repeat(rank[lanes], steps)
    places, goes_on = np.empty(len(at), np.int64), np.empty(len(at), bool)
    places[at], goes_on[at] = np.repeat(indptr[sessions], steps) + step, step > 0
    return Schedule(offsets, places, goes_on)


class SessionExamples:
    """Every two items that follow each other in a session, once an epoch, as batches of as many lanes.

    Sessions are in the order of their first item's time, or of their rows where there are no times; or, with
    `order="random"`, in a fresh one each epoch. Of several processes each has every `world`-th session.
    """

    def __init__(
        self,
        history: Histories,
        n_items: int,
        n_negatives: int,
        alpha: float,
        order: Literal["time", "random"] = "time",
        part: tuple[int, int] = (0, 1),
        context: tuple[Tensor, Tensor] | None = None,
    ):
        """`context` has the slots of all events, (n, S) each."""
        self.indptr = np.asarray(history.indptr).astype(np.int64)
        self.order, self.n_negatives = order, n_negatives
        sessions = np.flatnonzero(np.diff(self.indptr) > 1)
        if history.times is not None:
            sessions = sessions[np.argsort(history.times[self.indptr[sessions]], kind="stable")]
        self.sessions = sessions[part[0] :: part[1]]
        self.items = torch.from_numpy(np.asarray(history.items).astype(np.int64))
        nothing = torch.empty(len(self.items), 0)
        self.codes, self.values = (nothing.long(), nothing) if context is None else context
        self.popularity = torch.bincount(self.items, minlength=n_items)
        # In double precision: the shares of rare items are lost in sums of single precision.
        self.cumulative = self.popularity.double().pow(alpha).cumsum(0)

    def __len__(self) -> int:
        return int((np.diff(self.indptr)[self.sessions] - 1).sum())

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.items, self.popularity = self.items.to(device), self.popularity.to(device)
        self.cumulative = self.cumulative.to(device)
        self.codes, self.values = self.codes.to(device), self.values.to(device)
        return self

    def batches(self, batch_size: int) -> Iterator[SessionBatch]:
        """One epoch, `batch_size` lanes wide until sessions run out."""
        sessions = self.sessions
        if self.order == "random":
            sessions = sessions[torch.randperm(len(sessions)).numpy()]
        schedule = session_parallel(self.indptr, sessions, batch_size)
        device = self.items.device
        places, goes_on = (torch.from_numpy(one).to(device) for one in schedule[1:])
        items, targets = self.items[places], self.items[places + 1]
        offsets = schedule.offsets.tolist()
        for (start, stop), negatives in zip(pairwise(offsets), self._negatives(len(offsets) - 1), strict=True):
            rows = slice(start, stop)
            context = self.codes[places[rows]], self.values[places[rows]]
            yield SessionBatch(items[rows], targets[rows], goes_on[rows], *context, negatives)

    def _negatives(self, n_steps: int) -> Iterator[Tensor]:
        """Negatives for each of so many steps, drawn for many of them at once."""
        at_a_time = max(1, DRAWN_AT_A_TIME // max(1, self.n_negatives))
        for start in range(0, n_steps, at_a_time):
            yield from self.draw((min(at_a_time, n_steps - start), self.n_negatives))

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """Items in proportion to popularity^alpha."""
        uniform = torch.rand(shape, device=self.items.device, dtype=torch.float64) * self.cumulative[-1]
        # To the right of equal sums: an item of weight 0 ends where it begins.
        return torch.searchsorted(self.cumulative, uniform, right=True).clamp_(max=len(self.cumulative) - 1)
