"""What the tasks of sequence models share: MovieLens 1M in the order of time, RecTools and RecBole, bare products.

An epoch is not the same everywhere: ours trains on every step of every history, in windows; RecTools on the last steps
of each user, one window; RecBole on one target of each prefix, a row with a window of its own. So the cost is a million
targets'. Peers import this too.
"""

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from speed import Measures

from tasks import common
from tasks.click_peers import old_names, quiet

LISTED, RECBOLE_LISTED = "peers-sequences", "peers-fields"
COST = "s a million targets"
DIM, LAYERS, DROPOUT, BATCH = 64, 2, 0.2, 128
EPOCHS = 2
"""The first one warms up."""
RECBOLE_ROWS, RECBOLE_STEPS = 2048, 6
"""Its own batches, and how many of them are timed: an epoch takes hours."""


class Setting(NamedTuple):
    """What all contenders share: the length of a window, and heads of attention."""

    length: int
    n_heads: int


def prepare(data: Path, scratch: Path) -> None:
    """The interactions of the SASRec paper: movies with at least five ratings, in the order of time."""
    import pandas as pd

    ratings = pd.read_parquet(data / "ml-1m" / "ratings.parquet")[["user_id", "item_id", "time_rank"]]
    counts = ratings["item_id"].value_counts()
    kept = ratings[ratings["item_id"].map(counts) >= 5].sort_values(["user_id", "time_rank"], kind="stable")
    kept = kept.rename(columns={"time_rank": "timestamp"}).astype(np.int64)
    kept.to_parquet(scratch / "train.parquet")
    folder = scratch / "atomic" / "ml"
    folder.mkdir(parents=True)
    named = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    kept.rename(columns=named).to_csv(folder / "ml.inter", sep="\t", index=False)


def threads() -> None:
    import torch

    torch.set_num_threads(common.N_JOBS)


def ours(name: str, setting: Setting, n_targets: Callable[[Any], int], **options: Any) -> Callable[[Path], Measures]:
    """Fit by the public call; the log of the fit has the seconds of each epoch. `n_targets` counts those of an epoch."""

    def run(scratch: Path) -> Measures:
        import pandas as pd

        import recsys

        threads()
        frame = pd.read_parquet(scratch / "train.parquet")
        model = getattr(recsys, name)(
            embedding_dim=DIM, n_layers=LAYERS, n_heads=setting.n_heads, dropout=DROPOUT, max_len=setting.length,
            batch_size=BATCH, epochs=EPOCHS, device="cpu", verbose=0, **options,
        ).fit(frame)  # fmt: skip
        seconds = model.training_log_["seconds"].tolist()
        return cost(seconds[1:], n_targets(frame["user_id"].value_counts().to_numpy()))

    return run


def cost(seconds: list[float], n_targets: float) -> Measures:
    return {COST: 1e6 * statistics.mean(seconds) / n_targets, "s an epoch": statistics.mean(seconds)}


def rectools(
    name: str, setting: Setting, n_targets: Callable[[Any], int], **options: Any
) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        import pandas as pd
        import rectools.models
        from pytorch_lightning import Callback, Trainer
        from rectools.dataset import Dataset

        threads()
        marks: list[float] = []

        class Clock(Callback):
            def on_train_epoch_start(self, *arguments: Any) -> None:
                marks.append(time.perf_counter())

            def on_train_epoch_end(self, *arguments: Any) -> None:
                marks.append(time.perf_counter())

        def trainer() -> Any:
            return Trainer(
                max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[Clock()],
                enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip

        frame = pd.read_parquet(scratch / "train.parquet")
        rows = frame.assign(weight=1.0, datetime=pd.to_datetime(frame["timestamp"], unit="s"))
        model = getattr(rectools.models, name)(
            n_blocks=LAYERS, n_heads=setting.n_heads, n_factors=DIM, dropout_rate=DROPOUT, loss="softmax",
            session_max_len=setting.length, batch_size=BATCH, get_trainer_func=trainer, **options,
        )  # fmt: skip
        with contextlib.chdir(scratch), quiet():
            model.fit(Dataset.construct(rows.drop(columns="timestamp")))
        seconds = [end - start for start, end in zip(marks[::2], marks[1::2], strict=True)]
        return cost(seconds[1:], n_targets(frame["user_id"].value_counts().to_numpy()))

    return run


def recbole(
    name: str, setting: Setting, n_targets: Callable[[Any], int] = len, **options: Any
) -> Callable[[Path], Measures]:
    """A few steps of its training loop. `n_targets` counts those of a batch of rows."""

    def run(scratch: Path) -> Measures:
        old_names()
        import torch
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model import sequential_recommender

        network = getattr(sequential_recommender, name)
        with contextlib.chdir(scratch), quiet():
            config = Config(network.__name__, "ml", config_dict=recbole_options(scratch, setting) | options)
            train, *_ = data_preparation(config, create_dataset(config))
            threads()
            torch.manual_seed(0)
            model = network(config, train.dataset)
            optimizer = torch.optim.Adam(model.parameters(), 0.001)
            seconds, counts = [], []
            for _, rows in zip(range(RECBOLE_STEPS), train, strict=False):
                start = time.perf_counter()
                optimizer.zero_grad()
                model.calculate_loss(rows).backward()
                optimizer.step()
                seconds.append(time.perf_counter() - start)
                counts.append(n_targets(rows))
        step, n_rows = statistics.median(seconds[2:]), len(train.dataset)
        return {COST: 1e6 * step / statistics.mean(counts), "s an epoch": step * n_rows / RECBOLE_ROWS}

    return run


def recbole_options(scratch: Path, setting: Setting) -> dict[str, Any]:
    return {
        "data_path": str(scratch / "atomic"), "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp", "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": setting.length, "train_neg_sample_args": None, "loss_type": "CE",
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "n_layers": LAYERS, "n_heads": setting.n_heads, "hidden_size": DIM, "inner_size": 4 * DIM,
        "hidden_dropout_prob": DROPOUT, "attn_dropout_prob": DROPOUT, "embedding_size": DIM,
        "train_batch_size": RECBOLE_ROWS, "use_gpu": False, "worker": 0, "state": "ERROR", "show_progress": False,
        "checkpoint_dir": str(scratch / "saved"),
    }  # fmt: skip
