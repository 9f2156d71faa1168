"""One epoch of Mult-VAE, 600-200, on all of MovieLens 1M, and the most memory of one on Gowalla.

Every contender has the same sizes, batches of 500 users, Adam and 2 threads; the first of four epochs warms up. Ours and
RecBole's are there in mixed precision too. Beside them stand the bare products of the dense matrices of a step, forward
and backward, on random numbers.
"""

import contextlib
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from speed import Bar, Contender, Measures

from tasks import click_peers, common

TITLE = "Mult-VAE 600-200: batches of 500 users, Adam, 2 threads"
SPEED, MEMORY = "MovieLens 1M", "Gowalla"
EPOCH, PEAK = "s an epoch", "peak MB"
BATCH, EPOCHS = 500, 4
N_USERS, N_ITEMS = 6040, 3706
LAYERS = ((600, 400), (200, 600), (600, N_ITEMS))
"""Inputs and outputs of the dense matrices; the first layer reads no more than the items that users have."""


def prepare(data: Path, scratch: Path) -> None:
    import pandas as pd

    ratings = pd.read_parquet(data / "ml-1m" / "ratings.parquet")[["user_id", "item_id"]]
    ratings.to_parquet(scratch / "train.parquet")
    frame = pd.read_parquet(data / "gowalla-lightgcn" / "interactions.parquet")
    frame.loc[frame.split == "train", ["user_id", "item_id"]].to_parquet(scratch / "gowalla.parquet")
    folder = scratch / "atomic" / "ml-1m"
    folder.mkdir(parents=True)
    # RecBole wants a validation and a test part; neither is read.
    for part, rows in (("train", ratings), ("valid", ratings[:1000]), ("test", ratings[-1000:])):
        named = rows.rename(columns={name: f"{name}:token" for name in rows})
        named.to_csv(folder / f"ml-1m.{part}.inter", sep="\t", index=False)


def model(**options: Any) -> Any:
    import torch

    import recsys

    torch.set_num_threads(common.N_JOBS)
    return recsys.MultVAE(hidden_dims=(600,), embedding_dim=200, batch_size=BATCH, device="cpu", verbose=0, **options)


def ours(scratch: Path, precision: str = "fp32") -> Measures:
    import pandas as pd

    log = model(epochs=EPOCHS, precision=precision).fit(pd.read_parquet(scratch / "train.parquet")).training_log_
    return {EPOCH: statistics.mean(log["seconds"].tolist()[1:])}


def held(scratch: Path) -> Measures:
    """One epoch from its start to its end, the interpreter and its libraries counted."""
    import pandas as pd

    log = model(epochs=1).fit(pd.read_parquet(scratch / "gowalla.parquet")).training_log_
    return {PEAK: common.peak_memory(), EPOCH: log["seconds"].tolist()[0]}


def bare_products(scratch: Path) -> Measures:
    import torch

    torch.set_num_threads(common.N_JOBS)

    def layer(fan_in: int, fan_out: int) -> Callable[[], object]:
        x, weight, gradient = (torch.randn(*shape) for shape in ((BATCH, fan_in), (fan_out, fan_in), (BATCH, fan_out)))
        y, to_x, to_weight = (torch.empty_like(one) for one in (gradient, x, weight))
        return lambda: (
            torch.mm(x, weight.T, out=y), torch.mm(gradient, weight, out=to_x), torch.mm(gradient.T, x, out=to_weight),
        )  # fmt: skip

    step = [layer(*sizes) for sizes in LAYERS]
    seconds = [common.seconds(lambda: [product() for product in step]) for _ in range(30)]
    return {EPOCH: statistics.median(seconds[5:]) * N_USERS / BATCH}


def recbole(scratch: Path, *, half: bool = False) -> Measures:
    click_peers.old_names()
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender import MultiVAE
    from recbole.trainer import Trainer

    # Its code is as long as the mean and the log variance together.
    options = {
        "data_path": str(scratch / "atomic"), "benchmark_filename": ["train", "valid", "test"],
        "USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "load_col": {"inter": ["user_id", "item_id"]},
        "train_neg_sample_args": None, "mlp_hidden_size": [600], "latent_dimension": 400, "train_batch_size": BATCH,
        "learning_rate": 0.001, "use_gpu": False, "worker": 0, "state": "ERROR", "show_progress": False,
        "checkpoint_dir": str(scratch / "saved"), "enable_amp": half,
    }  # fmt: skip
    # It writes its logs into the folder that it is called in.
    with contextlib.chdir(scratch), click_peers.quiet():
        config = Config("MultiVAE", "ml-1m", config_dict=options)
        train = data_preparation(config, create_dataset(config))[0]
        torch.set_num_threads(common.N_JOBS)
        torch.manual_seed(0)
        trainer = Trainer(config, MultiVAE(config, train.dataset))
        seconds = [common.seconds(partial(trainer._train_epoch, train, epoch)) for epoch in range(EPOCHS)]
    return {EPOCH: statistics.mean(seconds[1:])}


CONTENDERS = {
    "recsys": Contender(ours, group=SPEED),
    "recsys, bf16": Contender(partial(ours, precision="bf16"), group=SPEED),
    "bare products": Contender(bare_products, group=SPEED),
    "RecBole": Contender(recbole, peer=True, listed=click_peers.LISTED, group=SPEED),
    "RecBole, bf16": Contender(partial(recbole, half=True), peer=True, listed=click_peers.LISTED, group=SPEED),
    "recsys, Gowalla": Contender(held, group=MEMORY),
}
BARS = [
    Bar("recsys", EPOCH, 0.5, ("RecBole",)),
    Bar("recsys, bf16", EPOCH, 0.5, ("RecBole", "RecBole, bf16")),
    Bar("recsys, Gowalla", PEAK, 3000),
]
