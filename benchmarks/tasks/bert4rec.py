"""Training of BERT4Rec on MovieLens 1M, windows of 50 and of 200, a fifth of the items masked, 2 threads.

Vectors of 64 numbers, two layers, two heads, dropout 0.2, batches of 128 windows. A target is an item that is masked.
No contender has windows whose last item alone is masked.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from speed import Bar, Contender

from tasks import sequences
from tasks.sequences import COST, LISTED, RECBOLE_LISTED, Setting

TITLE = "BERT4Rec over 3,416 items: MovieLens 1M, 2 layers of 64, batches of 128, 2 threads"
SHARE = 0.2
prepare = sequences.prepare


def masked_in_windows(length: int) -> Callable[[Any], int]:
    """Counts the masked items of an epoch of ours, a share of each window, from the lengths of histories (U,)."""

    def count(lengths: Any) -> int:
        beyond = np.maximum(lengths - length, 0)
        n_windows = 1 - (-beyond // (length // 2))
        return int((n_windows * np.maximum(np.round(SHARE * np.minimum(lengths, length)), 1)).sum())

    return count


def masked_at_the_end(length: int) -> Callable[[Any], int]:
    """Counts those of one window at the end of each history, each item masked with a chance of its own."""
    return lambda lengths: int(SHARE * np.minimum(lengths, length).sum())


def masked_in_rows(rows: Any) -> int:
    """Those of RecBole's rows, each a beginning of a history."""
    return int((rows["MASK_INDEX"] > 0).sum())


SETTINGS = {f"length {length}": Setting(length, n_heads=2) for length in (50, 200)}
CONTENDERS = {
    f"{name}, {group}": contender
    for group, setting in SETTINGS.items()
    for name, contender in {
        "recsys": Contender(
            sequences.ours("BERT4Rec", setting, masked_in_windows(setting.length), mask_share=SHARE, mask_last=False),
            group=group,
        ),
        "RecTools": Contender(
            sequences.rectools("BERT4RecModel", setting, masked_at_the_end(setting.length), mask_prob=SHARE),
            peer=True, listed=LISTED, group=group,
        ),
        "RecBole": Contender(
            sequences.recbole("BERT4Rec", setting, masked_in_rows, mask_ratio=SHARE, ft_ratio=0.0),
            peer=True, listed=RECBOLE_LISTED, group=group,
        ),
    }.items()
}  # fmt: skip
BARS = [
    bar
    for group in SETTINGS
    for bar in (
        Bar(f"recsys, {group}", COST, 1 / 3, (f"RecTools, {group}",)),
        Bar(f"recsys, {group}", COST, 1 / 20, (f"RecBole, {group}",)),
    )
]
