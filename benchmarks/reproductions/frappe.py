"""Click models on Frappe, by the published recipes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from reproduce import Row

import recsys
from recsys import DCN, DLRM, FM, Dataset, DeepFM, WideDeep
from recsys.families import FieldRecommender

TITLE = "Click models on Frappe"
PROTOCOL = """App launches with drawn contexts, the split of Frappe_x1: the official validation and test parts, its
training part rebuilt (the negatives' items are drawn anew), ten categorical fields. Adam, batches of 4,096, vectors of
10 numbers and three hidden layers of 400, as the recipes of the published figures have them; of a small grid around
each recipe the options with the best AUC on the validation part are kept, and epochs end by early stopping there, the
learning rate falling to a tenth after each epoch without gain. The test part is read once a seed; mean and standard
deviation over three seeds."""

COMMON: Mapping[str, object] = {
    "embedding_dim": 10, "batch_size": 4096, "learning_rate": 0.001, "epochs": 100, "patience": 2, "plateau_factor": 0.1,
    "monitor": "auc", "verbose": 0,
}  # fmt: skip
DEEP: Mapping[str, object] = {**COMMON, "hidden_dims": (400, 400, 400), "batch_norm": True}
CROSSES = (("user", "item"), ("item", "city"), ("item", "country"))

GRIDS: Mapping[str, tuple[Sequence[FieldRecommender], str]] = {
    "FM": ([FM(**COMMON, weight_decay=decay) for decay in (5e-6, 5e-5)], "0.9671 / 0.2065"),
    "FM, order 3": ([FM(**COMMON, order=3, weight_decay=decay) for decay in (5e-6, 1e-5)], "0.9742 / 0.2073"),
    "DeepFM": ([DeepFM(**DEEP, init_std=0.001, dropout=0.2, embedding_decay=decay) for decay in (0.05, 0.1)], "0.9842 / 0.1482"),
    "WideDeep": (
        [
            WideDeep(
                **DEEP, crosses=CROSSES, optimizer="adam", dropout=0.2, wide_l2=1.0, embedding_decay=decay
            )
            for decay in (0.05, 0.1)
        ],
        "0.9841 / 0.1490",
    ),
    "DCN, version 1": (
        [DCN(**DEEP, version=1, n_layers=3, init_std=0.1, dropout=0.2, embedding_decay=decay) for decay in (0.05, 0.1)],
        "0.9839 / 0.1527",
    ),
    "DCN, version 2": (
        [
            DCN(**DEEP, version=2, n_layers=4, init_std=0.1, dropout=dropout, embedding_decay=0.1)
            for dropout in (0.2, 0.4)
        ],
        "0.9845 / 0.1491",
    ),
    "DLRM": (
        [
            DLRM(**DEEP, interaction="cat", init_std=0.01, dropout=0.2, embedding_decay=decay)
            for decay in (0.05, 0.1)
        ],
        "0.9840 / 0.1444",
    ),
}  # fmt: skip
"""Options of each model, and its published AUC and log loss."""
SEEDS = 3


def run() -> Iterator[Row]:
    train, validation, test = parts()
    for name, (options, published) in GRIDS.items():
        yield {"model": name, **figures(options, train, validation, test), "published AUC / log loss": published}


def parts() -> Sequence[Dataset]:
    rows = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "frappe", "frappe_x1.parquet"))
    fields = [name for name in rows.columns if name not in ("split", "label", "origin")]
    return [
        Dataset(rows.loc[rows["split"] == part, ["label", *fields]], user_col=None, item_col=None, context_cols=fields)
        for part in ("train", "valid", "test")
    ]


def figures(options: Sequence[FieldRecommender], train: Dataset, validation: Dataset, test: Dataset) -> Row:
    """What the best of the options on the validation part reaches on the test part."""
    fitted = [one.clone().fit(train, validation_data=validation) for one in options]
    at = int(np.argmax([one.training_log_["auc"].max() for one in fitted]))
    best = options[at]
    # The options' own fits are those of the first seed.
    fitted = [fitted[at], *(best.clone(random_state=s).fit(train, validation_data=validation) for s in range(1, SEEDS))]
    results = [recsys.evaluate(one, test, metrics=["auc", "logloss"]) for one in fitted]
    found = [[result["auc"], result["logloss"]] for result in results]
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    names = ("embedding_decay", "weight_decay", "dropout", "interaction")
    return {
        "AUC": f"{mean[0]:.4f} ± {spread[0]:.4f}",
        "log loss": f"{mean[1]:.4f} ± {spread[1]:.4f}",
        "options": ", ".join(f"{name}={getattr(best, name)!r}" for name in names if hasattr(best, name)),
        "epochs": " ".join(str(len(one.training_log_)) for one in fitted),
    }
