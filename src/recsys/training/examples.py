"""Training examples as tensors on the device, indexed by a permutation: no per-row Python, no worker processes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recsys.data import Histories


class Examples(Protocol):
    """What the training loop asks of examples: how many, where, and a batch of them by their numbers."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self:
        """The same examples on a device."""
        ...

    def batch(self, rows: Tensor) -> NamedTuple:
        """The examples of these numbers (B,)."""
        ...


@runtime_checkable
class Stream(Protocol):
    """Examples that are not held all at once: they come in batches, shuffled as they see fit."""

    def batches(self, batch_size: int) -> Iterator[NamedTuple]:
        """One epoch; every call draws its order from torch's default generator."""
        ...


def shuffled(examples: Examples | Stream, batch_size: int, device: torch.device) -> Iterator[NamedTuple]:
    """One epoch of batches, in a fresh order drawn from torch's default generator."""
    if isinstance(examples, Stream):
        yield from examples.batches(batch_size)
        return
    if isinstance(examples, PairExamples):
        n_ahead = max(1, PAIRS_AHEAD // batch_size)
        for rows in rows_of_batches(examples, batch_size * n_ahead, device):
            parts = (one.split(batch_size) for one in examples.batch(rows))
            yield from (PairBatch(*part) for part in zip(*parts, strict=True))
        return
    for rows in rows_of_batches(examples, batch_size, device):
        yield examples.batch(rows)


def rows_of_batches(examples: Examples, batch_size: int, device: torch.device) -> Sequence[Tensor]:
    """The numbers of the examples of each batch of an epoch, in an order drawn from torch's default generator."""
    order = torch.randperm(len(examples))
    if isinstance(examples, PairExamples):
        examples.start_epoch()
    if not isinstance(examples, ProfileExamples):
        order = order.to(device)
    return order.split(batch_size) if len(order) else ()


PAIRS_AHEAD = 1 << 14
"""Pairs that are made at a time, many small batches, each of which then is a view: one takes longer to ask for than to make."""


class PairBatch(NamedTuple):
    """Users and the items they interacted with, both (B,); with items drawn beside each, items are (B, 1 + K)."""

    users: Tensor
    items: Tensor


class PairExamples:
    """Interactions as (user, item) pairs."""

    def __init__(self, users: np.ndarray, items: np.ndarray):
        self.users, self.items = torch.from_numpy(users).long(), torch.from_numpy(items).long()

    def __len__(self) -> int:
        return len(self.users)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.users, self.items = self.users.to(device), self.items.to(device)
        return self

    def start_epoch(self) -> None:
        """Draw what batches hold beside the pairs: nothing."""

    def batch(self, rows: Tensor) -> PairBatch:
        """Pairs of these numbers."""
        # Brackets would wake torch's threads, which then take the processors from the kernels' own for a while.
        return PairBatch(self.users.index_select(0, rows), self.items.index_select(0, rows))


class UserPairExamples:
    """As many draws as there are pairs, each of a user, uniform among those with items, and one of the user's items."""

    def __init__(self, history: Histories):
        self.indptr = torch.from_numpy(np.asarray(history.indptr)).long()
        self.items = torch.from_numpy(np.asarray(history.items)).long()
        self.users = torch.nonzero(self.indptr.diff() > 0)[:, 0]

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.indptr, self.items, self.users = self.indptr.to(device), self.items.to(device), self.users.to(device)
        return self

    def batch(self, rows: Tensor) -> PairBatch:
        """As many fresh draws as there are numbers."""
        users = self.users[torch.randint(len(self.users), rows.shape, device=rows.device)]
        lengths = self.indptr[users + 1] - self.indptr[users]
        place = (torch.rand(rows.shape, device=rows.device, dtype=torch.float64) * lengths).long()
        return PairBatch(users, self.items[self.indptr[users] + torch.minimum(place, lengths - 1)])


class ProfileBatch(NamedTuple):
    """Rows of the interaction matrix, ragged: items (N,) of all rows one after the other, lengths (B,), rows (B,)."""

    items: Tensor
    lengths: Tensor
    rows: Tensor


class RatingBatch(NamedTuple):
    """Rows of the rating matrix, ragged: items (N,) and their ratings (N,), lengths (B,), rows (B,)."""

    items: Tensor
    lengths: Tensor
    rows: Tensor
    ratings: Tensor


class ProfileExamples:
    """Each user's items as one example; users without any are left out.

    How long rows are is kept on the host: asking the device how many items a batch has would wait for it.
    """

    def __init__(self, history: Histories):
        self.indptr = torch.from_numpy(np.asarray(history.indptr)).long()
        self.items = torch.from_numpy(np.asarray(history.items)).long()
        self.rows = torch.nonzero(self.indptr.diff() > 0)[:, 0]

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.items = self.items.to(device)
        return self

    def batch(self, rows: Tensor) -> NamedTuple:
        """Profiles of these numbers."""
        return ProfileBatch(*self._ragged(rows)[1:])

    def _ragged(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places of the entries (N,), items (N,), lengths (B,) and rows (B,) of examples of these numbers."""
        rows = self.rows[rows.cpu()]
        starts, lengths = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        n_entries, device = int(lengths.sum()), self.items.device
        moved = torch.stack([starts, lengths, rows]).to(device, non_blocking=True)
        places = ragged_positions(moved[0], moved[1], n_entries)
        return places, self.items[places], moved[1], moved[2]


class RatingProfileExamples(ProfileExamples):
    """Each row's items and ratings as one example."""

    def __init__(self, history: Histories):
        super().__init__(history)
        self.ratings = torch.from_numpy(np.asarray(history.ratings, np.float32))

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.ratings = self.ratings.to(device)
        return super().to(device)

    def batch(self, rows: Tensor) -> RatingBatch:
        """Profiles of these numbers."""
        places, items, lengths, rows = self._ragged(rows)
        return RatingBatch(items, lengths, rows, self.ratings[places])


class WholeExamples:
    """All examples as the one batch of an epoch, for methods that step on the whole objective."""

    def __init__(self, examples: Examples):
        self.examples = examples

    def __len__(self) -> int:
        return min(1, len(self.examples))

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.examples = self.examples.to(device)
        return self

    def batch(self, rows: Tensor) -> NamedTuple:
        """All examples, whatever is asked for."""
        return self.examples.batch(torch.arange(len(self.examples), device=rows.device))


PART = 6400
"""Places that a CPU's network reads at a time: their states stay in the caches, and few of them are padding."""


def parts_of(lengths: Tensor) -> list[tuple[slice, int]]:
    """Rows of ascending lengths (B,) in parts of at most `PART` places or of one row, and how wide each is."""
    parts, widths, stop = [], lengths.tolist(), len(lengths)
    while stop:
        width = max(widths[stop - 1], 1)
        start = max(0, stop - max(1, PART // width))
        parts.append((slice(start, stop), width))
        stop = start
    return parts[::-1]


class SequenceBatch(NamedTuple):
    """Histories (B, L) and the item that follows each position (B, L), padded on the right with -1; users (B,).

    Short ones come first. Beside the histories are the slots of their events' contexts, codes and values (B, L, S); S
    is 0 where there is no context.
    """

    history: Tensor
    targets: Tensor
    users: Tensor
    codes: Tensor
    values: Tensor

    def parts(self) -> Iterator["SequenceBatch"]:
        """The batch in parts of like length, each no wider than its longest; on a GPU, where small work waits, itself."""
        if self.history.is_cuda:
            yield self
            return
        for rows, width in parts_of((self.targets >= 0).sum(1)):
            history, targets, codes, values = (
                one[rows, :width] for one in (self.history, self.targets, self.codes, self.values)
            )
            yield SequenceBatch(history, targets, self.users[rows], codes, values)


class SequenceExamples:
    """Windows of at most `length` steps over users' histories, one target a step; the last window ends at the last item."""

    def __init__(
        self,
        history: Histories,
        length: int,
        users: np.ndarray | None = None,
        context: tuple[Tensor, Tensor] | None = None,
    ):
        """`users` are those of the rows, by default their numbers; `context` the slots of all events, (n, S) each."""
        indptr = np.asarray(history.indptr).astype(np.int64)
        steps = np.maximum(np.diff(indptr) - 1, 0)
        n_windows = -(-steps // length)
        self.users = torch.from_numpy(np.repeat(np.arange(len(steps)) if users is None else users, n_windows))
        # Windows are counted back from the end, so that the newest step is never cut off and only a user's first is
        # short.
        first = np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        back = np.repeat(n_windows, n_windows) - 1 - (np.arange(int(n_windows.sum())) - first)
        stop = np.repeat(steps, n_windows) - back * length
        start = np.maximum(stop - length, 0)
        self.starts = torch.from_numpy(np.repeat(indptr[:-1], n_windows) + start)
        self.lengths = torch.from_numpy(stop - start)
        self.items = torch.from_numpy(np.asarray(history.items).astype(np.int64))
        nothing = torch.empty(len(self.items), 0)
        self.codes, self.values = (nothing.long(), nothing) if context is None else context

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.users, self.starts = self.users.to(device), self.starts.to(device)
        self.lengths, self.items = self.lengths.to(device), self.items.to(device)
        self.codes, self.values = self.codes.to(device), self.values.to(device)
        return self

    def batch(self, rows: Tensor) -> SequenceBatch:
        """Windows of these numbers, as wide as the longest of them, short ones first."""
        rows = rows[self.lengths[rows].argsort(stable=True)]
        starts, lengths = self.starts[rows], self.lengths[rows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        real = steps < lengths[:, None]
        at = torch.where(real, starts[:, None] + steps, 0)
        history, targets = self.items[at], self.items[torch.where(real, at + 1, 0)]
        padded = (one.masked_fill(~real, -1) for one in (history, targets))
        # What stands beside padding is the context of some event; no state of a real one reads it.
        return SequenceBatch(*padded, self.users[rows], self.codes[at], self.values[at])


def ragged_positions(starts: Tensor, lengths: Tensor, n_entries: int | None = None) -> Tensor:
    """Positions of several runs one after the other: runs start at `starts` (B,) and are `lengths` (B,) long.

    With `n_entries`, what the lengths add up to, a GPU is not waited for.
    """
    n_entries = int(lengths.sum()) if n_entries is None else n_entries
    shifts = starts - torch.cumsum(lengths, 0) + lengths
    return torch.arange(n_entries, device=starts.device) + torch.repeat_interleave(
        shifts, lengths, output_size=n_entries
    )
