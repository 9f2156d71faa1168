"""Cloze examples: windows of histories with some items masked, which are to be named (Sun et al., CIKM 2019)."""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from recsys.data import Histories
from recsys.training.examples import parts_of

MASK = -2
"""The code of an item that is masked; -1 is nothing."""


class ClozeBatch(NamedTuple):
    """Histories (B, L), MASK where an item is to be named and padded on the right with -1, and those items (B, L).

    Targets are -1 elsewhere. Short histories come first. Beside them are the slots of their events' contexts, codes and
    values (B, L, S), nothing for those that are masked; S is 0 where there is no context.
    """

    history: Tensor
    targets: Tensor
    codes: Tensor
    values: Tensor

    def parts(self) -> Iterator["ClozeBatch"]:
        """The batch in parts of like length, each no wider than its longest; on a GPU, where small work waits, itself."""
        if self.history.is_cuda:
            yield self
            return
        for rows, width in parts_of((self.history != -1).sum(1)):
            yield ClozeBatch(*(one[rows, :width] for one in self))


class ClozeExamples:
    """Each window of at most `length` items `n_maskings` times with a share of its items masked, drawn anew each time,
    and with `mask_last` once with the last one alone masked. A share is no more than `max_masked` items.

    Windows of a long history begin at its end and go back by `step` items, the last one to its beginning. Histories of
    one item have none.
    """

    def __init__(
        self,
        history: Histories,
        length: int,
        step: int,
        mask_share: float,
        n_maskings: int,
        context: tuple[Tensor, Tensor] | None = None,
        max_masked: int | None = None,
        mask_last: bool = True,
    ):
        indptr = np.asarray(history.indptr).astype(np.int64)
        lengths = np.where(np.diff(indptr) > 1, np.diff(indptr), 0)
        beyond = np.maximum(lengths - length, 0)
        n_windows = np.where(lengths > 0, 1 - (-beyond // step), 0)
        first = np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
        number = np.arange(int(n_windows.sum())) - first
        starts = np.maximum(np.repeat(beyond, n_windows) - number * step, 0)
        self.starts = torch.from_numpy(np.repeat(indptr[:-1], n_windows) + starts)
        self.lengths = torch.from_numpy(np.minimum(np.repeat(lengths, n_windows), length))
        self.items = torch.from_numpy(np.asarray(history.items).astype(np.int64))
        nothing = torch.empty(len(self.items), 0)
        self.codes, self.values = (nothing.long(), nothing) if context is None else context
        self.mask_share, self.n_maskings = mask_share, n_maskings
        self.max_masked, self.mask_last = max_masked, mask_last

    def __len__(self) -> int:
        return len(self.starts) * (self.n_maskings + self.mask_last)

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        self.starts, self.lengths, self.items = (x.to(device) for x in (self.starts, self.lengths, self.items))
        self.codes, self.values = self.codes.to(device), self.values.to(device)
        return self

    def batch(self, rows: Tensor) -> ClozeBatch:
        """Examples of these numbers, as wide as the longest of them, short ones first."""
        rows = rows[self.lengths[rows % len(self.starts)].argsort(stable=True)]
        windows, masking = rows % len(self.starts), rows // len(self.starts)
        starts, lengths = self.starts[windows], self.lengths[windows]
        steps = torch.arange(int(lengths.max()), device=rows.device)
        real = steps < lengths[:, None]
        at = torch.where(real, starts[:, None] + steps, 0)
        last = (masking == self.n_maskings)[:, None]
        some = some_of(real, self.mask_share, self.max_masked)
        masked = torch.where(last, steps == lengths[:, None] - 1, some)
        items = self.items[at].masked_fill(~real, -1)
        history, targets = items.masked_fill(masked, MASK), items.masked_fill(~masked, -1)
        codes = self.codes[at].masked_fill(masked[..., None], -1)
        return ClozeBatch(history, targets, codes, self.values[at].masked_fill(masked[..., None], 0))


def some_of(real: Tensor, share: float, most: int | None = None) -> Tensor:
    """A share of each row's real places (B, L), drawn at random: round(share times their number), from 1 to `most`."""
    order = torch.rand(real.shape, device=real.device).masked_fill_(~real, 2).argsort(1).argsort(1)
    wanted = (real.sum(1, keepdim=True) * share).round().clamp(1, most)
    return order < wanted


def masked_places(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Places (B, M) of the targets of each row (B, L), which are -1 elsewhere, ascending, and which of them are some.

    M is the most that a row has.
    """
    masked = targets >= 0
    counts = masked.sum(1, keepdim=True)
    n_places = int(counts.max())
    places = (~masked).byte().argsort(dim=1, stable=True)[:, :n_places]
    return places, torch.arange(n_places, device=targets.device) < counts
