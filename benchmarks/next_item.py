"""What the reproductions of next-item models share: leave-one-out, and the figures of lists over the whole catalog.

Each user's last item is the test and the one before it the validation. A model is trained on the rest, may stop by
NDCG@10 on the validation items, and then reads the history up to and with the validation item; its weights stay as they
are. The test item is looked for in the whole catalog without the user's earlier items.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from reproduce import Row

import recsys
from recsys import Dataset, Recommender
from recsys.training import run_key

METRICS = ("hit@10", "ndcg@10")


class Parts(NamedTuple):
    """Of every user: all but the last item, the last one; and all but the last two, the one before the last."""

    known: Dataset
    test: Dataset
    fit: Dataset
    validation: Dataset

    @classmethod
    def of(cls, data: Dataset) -> "Parts":
        known, test = recsys.split.leave_last_out(data)
        return cls(known, test, *recsys.split.leave_last_out(known))


def movielens() -> Parts:
    """MovieLens 1M as the SASRec paper has it: items with at least five ratings, every rating an interaction."""
    data = recsys.datasets.movielens("1m").filter(min_item_interactions=5)
    return Parts.of(Dataset(data.to_frame()[["user_id", "item_id", "timestamp"]]))


def row(model: Recommender, parts: Parts, published: str, n_seeds: int = 1) -> Row:
    """Train a sequence model, once a seed, and measure it."""
    return row_of([trained(model.clone(random_state=seed), parts) for seed in range(n_seeds)], parts, published)


def row_of(fits: Sequence[Recommender], parts: Parts, published: str) -> Row:
    """The figures of a sequence model's fits, one a seed from 0, which is the default."""
    figures = cells([measured(one, parts) for one in fits])
    return {"model": repr(fits[0]), **figures, **trainings(fits), "published": published}


def trainings(fits: Sequence[Recommender]) -> Row:
    """Epochs and minutes of fits, by their logs: a fit that was cut off has those of before too."""
    logs = [one.training_log_ for one in fits]
    minutes = [f"{log['seconds'].sum() / 60:.0f}" for log in logs]
    return {"epochs": " ".join(str(len(log)) for log in logs), "training, min": " ".join(minutes)}


def trained(model: Recommender, parts: Parts) -> Recommender:
    """A copy of a sequence model, fitted.

    If a folder for checkpoints is given, a fit that was cut off goes on from there, and one that came to its end is not
    made again.
    """
    folder = os.environ.get("RECSYS_CHECKPOINTS")
    if folder is None:
        return model.clone().fit(parts.fit, validation_data=parts.validation)
    # Named for the data too: another set's model with these options is another one.
    path = Path(folder, run_key([type(model).__name__, model.get_params()], parts.fit, parts.validation)[:16])
    if not path.exists():
        fitted = model.clone(checkpoint=f"{path}.ckpt").fit(parts.fit, validation_data=parts.validation)
        # A page names the model, not a folder of this machine.
        fitted.set_params(checkpoint=None).save(path)
    return recsys.load(path)


def best_of(models: Sequence[Recommender], parts: Parts) -> Recommender:
    """The fitted model with the best figure on the validation data, by which all of them may stop; one alone needs no other."""
    fits = []
    for model in models:
        fits.append(trained(model, parts))
        log = fits[-1].training_log_
        print(
            f"  validation {log[model.monitor].max():.4f} in {log['seconds'].sum():.0f} s: {model!r}", file=sys.stderr
        )
    return max(fits, key=lambda one: one.training_log_[one.monitor].max())


def evaluated(model: Recommender, parts: Parts) -> Row:
    """A model that is fitted on all known items, and its figures on the test items."""
    found = recsys.evaluate(model, parts.test, metrics=METRICS)
    return {"model": repr(model), **cells([[found[name] for name in METRICS]])}


def measured(model: Recommender, parts: Parts) -> list[float]:
    """HR@10 and NDCG@10 of a fitted sequence model on the test items."""
    lists = model.recommend(history=parts.known.to_frame(), k=10, on_unknown="skip")
    found = recsys.evaluate_lists(lists, parts.test, METRICS)
    return [found[name] for name in METRICS]


def cells(figures: Sequence[Sequence[float]]) -> Row:
    """HR@10 and NDCG@10, mean and standard deviation over fits."""
    both = zip(("HR@10", "NDCG@10"), np.mean(figures, 0), np.std(figures, 0), strict=True)
    return {name: f"{mean:.4f}" + (f" ± {spread:.4f}" if len(figures) > 1 else "") for name, mean, spread in both}
