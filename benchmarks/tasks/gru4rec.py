"""One epoch of GRU4Rec beside RecBole's, on the CPU, and a stream that answers click by click.

All read vectors of 64 numbers in one layer of 64 units. In a group all learn from the same next items, and a step has
as many of them. RecBole makes an example of every prefix, cut to 50 items, and ranks its target against the catalog, as
"whole catalog" does; "shared negatives" are the 2,048 drawn items and the others' targets of the session-parallel form.
"""

import contextlib
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from speed import Bar, Contender, Measures

from tasks import click_peers, common

TITLE = "GRU4Rec, 64 units: one epoch, 2 threads; a stream of clicks, 100 units, 43,000 items, 1 thread"
COST, TARGETS = "s an epoch", "next items"
DIM, MAX_LEN, EPOCHS = 64, 50, 2
MOVIES, CLICKS, STREAM = "movies", "clicks", "stream"
GROUPS = {
    MOVIES: "MovieLens 1M, every fourth user",
    CLICKS: "Diginetica, the last tenth of the training sessions",
    STREAM: "a stream",
}
STEP = {MOVIES: 6400, CLICKS: 2048}
"""Next items of a step: 128 windows of 50 movies; of clicks, sessions of some four next items."""
STREAM_ITEMS, STREAM_DIM, STREAM_CLICKS = 43_000, 100, 2000


def prepare(data: Path, scratch: Path) -> None:
    import pandas as pd

    ratings = pd.read_parquet(data / "ml-1m" / "ratings.parquet").query("user_id % 4 == 0")
    ratings = ratings.sort_values(["user_id", "time_rank"])
    save(scratch, MOVIES, ratings["user_id"].to_numpy(), ratings["item_id"].to_numpy())
    sessions = pd.read_parquet(data / "diginetica" / "sessions.parquet").query("split == 'train'")
    sessions = sessions[-len(sessions) // 10 :]
    lengths = sessions["items"].str.len()
    save(scratch, CLICKS, np.repeat(sessions["session_id"], lengths), np.concatenate(sessions["items"].to_list()))


def save(scratch: Path, group: str, users: np.ndarray, items: np.ndarray) -> None:
    """Users of at least four items: RecBole holds the last two of each back, and ours are not given them."""
    _, users, counts = np.unique(users, return_inverse=True, return_counts=True)
    from_end = np.cumsum(counts)[users] - np.arange(len(users))
    long = counts[users] > 3
    np.savez(scratch / f"{group}.npz", users=users[long], items=items[long], held=from_end[long] <= 2)


def load(scratch: Path, group: str) -> Any:
    import pandas as pd

    with np.load(scratch / f"{group}.npz") as found:
        rows = pd.DataFrame({"user_id": found["users"], "item_id": found["items"], "held": found["held"]})
    return rows.assign(timestamp=rows.groupby("user_id").cumcount())


# -- an epoch ----------------------------------------------------------------------------------------------------------


def ours(group: str, **options: Any) -> Callable[[Path], Measures]:
    """The first epoch warms up; the log of the fit has the seconds of each."""

    def run(scratch: Path) -> Measures:
        import torch

        from recsys import GRU4Rec

        torch.set_num_threads(common.N_JOBS)
        rows = load(scratch, group)
        rows = rows[~rows["held"]].drop(columns="held")
        model = GRU4Rec(
            embedding_dim=DIM, hidden_dim=DIM, max_len=MAX_LEN, epochs=EPOCHS, device="cpu", verbose=0, **options
        ).fit(rows)  # fmt: skip
        n_targets = len(rows) - rows["user_id"].nunique()
        return {COST: statistics.mean(model.training_log_["seconds"].tolist()[1:]), TARGETS: n_targets}

    return run


def whole_catalog(group: str, batch_size: int) -> Callable[[Path], Measures]:
    options = {"batching": "windows", "loss": "softmax", "optimizer": "adam", "learning_rate": 0.001}
    return ours(group, batch_size=batch_size, **options)


def recbole(group: str) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        click_peers.old_names()
        import torch
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model.sequential_recommender import GRU4Rec
        from recbole.trainer import Trainer

        write_atomic_file(scratch, group)
        # It writes its logs into the folder that it is called in.
        with contextlib.chdir(scratch), click_peers.quiet():
            config = Config("GRU4Rec", "log", config_dict=recbole_options(scratch, group))
            train, *_ = data_preparation(config, create_dataset(config))
            torch.set_num_threads(common.N_JOBS)
            torch.manual_seed(0)
            trainer = Trainer(config, GRU4Rec(config, train.dataset))
            seconds = [common.seconds(partial(trainer._train_epoch, train, epoch)) for epoch in range(EPOCHS)]
        return {COST: statistics.mean(seconds[1:]), TARGETS: len(train.dataset)}

    return run


def recbole_options(scratch: Path, group: str) -> dict[str, Any]:
    return {
        "data_path": str(scratch / "atomic" / group), "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp", "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": MAX_LEN, "embedding_size": DIM, "hidden_size": DIM,
        "num_layers": 1, "dropout_prob": 0.0, "loss_type": "CE", "train_batch_size": STEP[group],
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": None},
        "learning_rate": 0.001, "use_gpu": False, "worker": 0, "state": "ERROR", "show_progress": False,
        "checkpoint_dir": str(scratch / "saved"),
    }  # fmt: skip


def write_atomic_file(scratch: Path, group: str) -> None:
    folder = scratch / "atomic" / group / "log"
    if folder.exists():
        return
    folder.mkdir(parents=True)
    kinds = {"user_id": "token", "item_id": "token", "timestamp": "float"}
    rows = load(scratch, group)[list(kinds)].rename(columns={name: f"{name}:{kind}" for name, kind in kinds.items()})
    rows.to_csv(folder / "log.inter", sep="\t", index=False)


# -- a stream ----------------------------------------------------------------------------------------------------------


def stream(scratch: Path) -> Measures:
    """A click at a time of sessions of ten: how long its list takes, in the median and at the 99th percentile."""
    import torch

    torch.set_num_threads(1)
    model = fitted_stream()
    rng, items = np.random.default_rng(0), model.items_.ids
    found, spent = model.step(None, items[0]), []
    for click, item in enumerate(rng.choice(items, STREAM_CLICKS)):
        state = None if click % 10 == 0 else found.state
        found, seconds = common.timed(partial(model.step, state, item, k=common.K))
        spent.append(1000 * seconds)
    return {"median, ms": statistics.median(spent), "99th percentile, ms": float(np.percentile(spent, 99))}


def fitted_stream() -> Any:
    """A model of walks on a ring of items: real vectors, of a short training."""
    import pandas as pd

    from recsys import GRU4Rec

    rng = np.random.default_rng(0)
    starts = rng.permutation(STREAM_ITEMS)
    rows = pd.DataFrame({
        "user_id": np.repeat(np.arange(STREAM_ITEMS), 4),
        "item_id": ((starts[:, None] + np.arange(4)) % STREAM_ITEMS).ravel(),
    })  # fmt: skip
    return GRU4Rec(hidden_dim=STREAM_DIM, embedding_dim=STREAM_DIM, epochs=3, device="cpu", verbose=0).fit(rows)


def bare_product(scratch: Path) -> Measures:
    """The product of one state with all item vectors alone, by BLAS on one thread."""
    rng = np.random.default_rng(0)
    items, users = (rng.normal(size=(n, STREAM_DIM + 1)).astype(np.float32) for n in (STREAM_ITEMS, STREAM_CLICKS))
    spent = [1000 * common.seconds(partial(np.dot, items, user)) for user in users]
    return {"median, ms": statistics.median(spent), "99th percentile, ms": float(np.percentile(spent, 99))}


CONTENDERS = {
    "recsys, whole catalog": Contender(whole_catalog(MOVIES, 128), group=GROUPS[MOVIES]),
    "RecBole": Contender(recbole(MOVIES), peer=True, listed=click_peers.LISTED, group=GROUPS[MOVIES]),
    "recsys, shared negatives, clicks": Contender(ours(CLICKS), group=GROUPS[CLICKS]),
    "recsys, whole catalog, clicks": Contender(whole_catalog(CLICKS, 512), group=GROUPS[CLICKS]),
    "RecBole, clicks": Contender(recbole(CLICKS), peer=True, listed=click_peers.LISTED, group=GROUPS[CLICKS]),
    "recsys, stream": Contender(stream, group=GROUPS[STREAM]),
    "bare product": Contender(bare_product, group=GROUPS[STREAM], environment=common.ONE_BLAS),
}
BARS = [
    Bar("recsys, whole catalog", COST, 1 / 3, ("RecBole",)),
    Bar("recsys, shared negatives, clicks", COST, 1 / 3, ("RecBole, clicks",)),
    Bar("recsys, stream", "median, ms", 1.0),
]
