"""A click model in one process or in many, the same program:

    python examples/distributed_dlrm.py
    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node=2 examples/distributed_dlrm.py
    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node=2 examples/distributed_dlrm.py --sharding planner

The last line spreads the tables (`pip install "recsys[distributed]"`). Clicks are planted: what is learned is known.
"""

import argparse
import logging

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist

from recsys import DLRM, Dataset
from recsys.metrics import auc

FIELDS = {"person": 400, "ad": 300, "shop": 50, "hour": 24}


def planted(n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Clicks and their true chances: each field has a part in them, and so have person and ad together."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({name: rng.integers(0, size, n_rows) for name, size in FIELDS.items()})
    logits = sum(rng.normal(0, 0.7, size)[rows[name]] for name, size in FIELDS.items())
    tastes, kinds = rng.normal(size=(FIELDS["person"], 3)), rng.normal(size=(FIELDS["ad"], 3))
    chances = 1 / (1 + np.exp(-logits - (tastes[rows["person"]] * kinds[rows["ad"]]).sum(1)))
    rows["label"] = (rng.random(n_rows) < chances).astype(float)
    return rows, chances


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sharding", choices=["auto", "replicated", "planner"], default="auto")
    parser.add_argument("--rows", type=int, default=200_000)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torchrec").setLevel(logging.ERROR)

    rows, chances = planted(settings.rows)
    cut = int(0.9 * len(rows))
    data = Dataset(rows[:cut], user_col=None, item_col=None, context_cols=list(FIELDS))
    model = DLRM(
        embedding_dim=8, hidden_dims=(64,), optimizer="rowwise_adagrad", learning_rate=0.05, epochs=8,
        sharding=settings.sharding,
    ).fit(data)  # fmt: skip

    first = not dist.is_initialized() or dist.get_rank() == 0
    if first:
        world = dist.get_world_size() if dist.is_initialized() else 1
        labels = rows["label"][cut:].to_numpy()
        print(f"processes     {world}")
        print(f"AUC           {auc(labels, model.predict(rows[cut:])):.4f}")
        print(f"at best       {auc(labels, chances[cut:]):.4f}")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
