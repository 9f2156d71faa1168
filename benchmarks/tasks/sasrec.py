"""Training of SASRec with the softmax over the catalog on MovieLens 1M, windows of 50 and of 200, 2 threads.

Vectors of 64 numbers, two layers, one head, dropout 0.2, batches of 128 histories.
"""

from typing import Any

import numpy as np
from speed import Bar, Contender

from tasks import sequences
from tasks.sequences import COST, LISTED, RECBOLE_LISTED, Setting

TITLE = "SASRec, softmax over 3,416 items: MovieLens 1M, 2 layers of 64, batches of 128, 2 threads"
prepare = sequences.prepare


def every_step(lengths: Any) -> int:
    """Targets of all windows of histories of these lengths (U,)."""
    return int((lengths - 1).sum())


def last_steps(length: int) -> Any:
    """Counts the targets of the last window of each history."""
    return lambda lengths: int(np.minimum(lengths - 1, length).sum())


SETTINGS = {f"length {length}": Setting(length, n_heads=1) for length in (50, 200)}
CONTENDERS = {
    f"{name}, {group}": contender
    for group, setting in SETTINGS.items()
    for name, contender in {
        "recsys": Contender(sequences.ours("SASRec", setting, every_step, loss="softmax"), group=group),
        "RecTools": Contender(
            sequences.rectools("SASRecModel", setting, last_steps(setting.length)),
            peer=True, listed=LISTED, group=group,
        ),
        "RecBole": Contender(sequences.recbole("SASRec", setting), peer=True, listed=RECBOLE_LISTED, group=group),
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
