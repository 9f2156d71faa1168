"""One epoch of NeuMF with four negatives on MovieLens 1M, beside RecBole's same network, on the CPU.

The sizes are those of the authors' code: products of 8 numbers, a tower of 64, 32, 16, 8. All contenders see 1,000,209
pairs and four drawn ones beside each. RecBole counts the drawn ones in its batch and ours does not; in each group both
step on as many rows. Beside them stand the bare products of the tower behind its first layer, forward and backward.
"""

import contextlib
import itertools
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from speed import Bar, Contender, Measures

from tasks import common
from tasks.click_peers import LISTED, old_names, quiet

TITLE = "NeuMF on MovieLens 1M: one epoch with four negatives a positive, 2 threads"
DIM, TOWER_DIM, HIDDEN, NEGATIVES = 8, 32, (32, 16, 8), 4
POSITIVES = {"2,045 rows a step": 409, "40,960 rows a step": 8192}
EPOCHS = 3
COST = "s an epoch"


def prepare(data: Path, scratch: Path) -> None:
    users, items, _ = common.movielens(data, "ml-1m")
    np.savez(scratch / "pairs.npz", users=users, items=items)


def pairs(scratch: Path) -> Any:
    import pandas as pd

    with np.load(scratch / "pairs.npz") as found:
        return pd.DataFrame({"user_id": found["users"], "item_id": found["items"]})


def ours(positives: int) -> Callable[[Path], Measures]:
    """The first epoch warms up; the log of the fit has the seconds of each."""

    def run(scratch: Path) -> Measures:
        import torch

        from recsys import NeuMF

        torch.set_num_threads(common.N_JOBS)
        model = NeuMF(
            embedding_dim=DIM, tower_dim=TOWER_DIM, hidden_dims=HIDDEN, n_negatives=NEGATIVES, batch_size=positives,
            epochs=EPOCHS, device="cpu", verbose=0,
        ).fit(pairs(scratch))  # fmt: skip
        return {COST: statistics.mean(model.training_log_["seconds"].tolist()[1:])}

    return run


def recbole(positives: int) -> Callable[[Path], Measures]:
    def run(scratch: Path) -> Measures:
        old_names()
        import torch
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.model.general_recommender import NeuMF
        from recbole.trainer import Trainer

        write_atomic_files(scratch)
        with contextlib.chdir(scratch), quiet():
            config = Config("NeuMF", "ml", config_dict=options(scratch, positives * (1 + NEGATIVES)))
            train, *_ = data_preparation(config, create_dataset(config))
            torch.set_num_threads(common.N_JOBS)
            torch.manual_seed(0)
            trainer = Trainer(config, NeuMF(config, train.dataset))
            # `fit` has no hook at the beginning of an epoch. The first one warms up.
            seconds = [common.seconds(partial(trainer._train_epoch, train, epoch)) for epoch in range(2)]
        return {COST: seconds[-1]}

    return run


def options(scratch: Path, rows: int) -> dict[str, Any]:
    drawn = {"distribution": "uniform", "sample_num": NEGATIVES, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    return {
        "data_path": str(scratch / "atomic"), "benchmark_filename": ["train", "valid", "test"],
        "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "load_col": {"inter": ["user_id", "item_id"]},
        "train_neg_sample_args": drawn, "train_batch_size": rows, "mf_embedding_size": DIM,
        "mlp_embedding_size": TOWER_DIM, "mlp_hidden_size": list(HIDDEN), "dropout_prob": 0.0,
        "eval_args": {"mode": "full", "order": "RO", "group_by": "user"}, "use_gpu": False, "worker": 0,
        "state": "ERROR", "show_progress": False, "checkpoint_dir": str(scratch / "saved"),
    }  # fmt: skip


def write_atomic_files(scratch: Path) -> None:
    """The pairs in RecBole's own text files; validation and test parts, which it asks for, are the head of them."""
    folder = scratch / "atomic" / "ml"
    if folder.exists():
        return
    folder.mkdir(parents=True)
    frame = pairs(scratch).set_axis(["user_id:token", "item_id:token"], axis=1)
    for part, n in (("train", None), ("valid", 1000), ("test", 1000)):
        frame[:n].to_csv(folder / f"ml.{part}.inter", sep="\t", index=False)


def bare_products(positives: int) -> Callable[[Path], Measures]:
    """The products behind the first layer on random numbers, as many rows at a time as a step has."""

    def run(scratch: Path) -> Measures:
        import torch

        torch.set_num_threads(common.N_JOBS)
        rows, n = positives * (1 + NEGATIVES), len(pairs(scratch))

        def layer(fan_in: int, fan_out: int) -> Callable[[], object]:
            x, weight, gradient = (torch.randn(*s) for s in ((rows, fan_in), (fan_out, fan_in), (rows, fan_out)))
            return lambda: (x @ weight.T, gradient @ weight, gradient.T @ x)

        step = [layer(*sizes) for sizes in itertools.pairwise((*HIDDEN, 1))]
        seconds = [common.seconds(lambda: [product() for product in step]) for _ in range(60)]
        return {COST: statistics.median(seconds[10:]) * n / positives}

    return run


CONTENDERS = {
    f"{name}, {group}": contender
    for group, positives in POSITIVES.items()
    for name, contender in {
        "recsys": Contender(ours(positives), group=group),
        "bare products": Contender(bare_products(positives), group=group),
        "RecBole": Contender(recbole(positives), peer=True, listed=LISTED, group=group),
    }.items()
}
BARS = [Bar(f"recsys, {group}", COST, 1 / 8, (f"RecBole, {group}",)) for group in POSITIVES]
