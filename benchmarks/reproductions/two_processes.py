"""DLRM on Frappe with its tables spread over two processes, beside one process.

Needs `pip install "recsys[distributed]"`, or on machines without a GPU the lines of the guide to many machines.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor

from recsys import DLRM
from recsys.embedding.sharded import ShardedFieldEmbedding
from recsys.metrics import auc
from recsys.training import Checkpoint, join

TITLE = "DLRM on Frappe in two processes"
PROTOCOL = """The split of Frappe_x1 as in "Click models on Frappe"; vectors of 16 numbers, top network 256-128, row-wise
Adagrad, batches of 4,096, five epochs, the same seed. Two processes of `torchrun` on one thread each, over gloo, hold
the tables as TorchRec's planner puts them. Bytes are those of the tables' parts that a process held in training. The
run that was cut off was killed after the checkpoint of its third epoch and started again."""

EPOCHS, KILLED_AFTER = 5, 3


class Watched(DLRM):
    """Notes what of the tables this process holds in training, and is killed where it is told to be."""

    held: ClassVar[float] = 1.0

    def _loss(self, net: Any, batch: Any) -> Tensor:
        if isinstance(net.embedding, ShardedFieldEmbedding):
            held = sum(part.numel() for _, _, part in net.embedding.pieces())
            Watched.held = held / (sum(net.embedding.sizes) * net.embedding.dim)
        return super()._loss(net, batch)


def run() -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {}
        for label, processes, arguments in (
            ("one process", 1, []),
            ("two processes", 2, []),
            ("two processes, killed", 2, ["--kill", str(folder / "run.ckpt")]),
            ("two processes, killed and gone on with", 2, ["--checkpoint", str(folder / "run.ckpt")]),
        ):
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            start = [sys.executable, "-W", "ignore", *(launcher if processes > 1 else []), __file__, str(folder)]
            ended = subprocess.run(
                [*start, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False
            )
            if "--kill" in arguments:
                assert ended.returncode != 0, "it was to be killed"
                continue
            assert ended.returncode == 0, ended.stderr.decode()[-3000:]
            found[label] = json.loads((folder / "found.json").read_text())
            yield {
                "run": label,
                "AUC": found[label]["auc"],
                "apart from one process": found[label]["auc"] - found["one process"]["auc"],
                "share of the table bytes": ", ".join(f"{share:.2f}" for share in found[label]["held"]),
                "scores as of the run that was not killed": (
                    "" if "gone on" not in label else str(found[label]["scores"] == found["two processes"]["scores"])
                ),
            }


def main(folder: Path, *arguments: str) -> None:
    from reproductions.frappe import parts

    torch.set_num_threads(1)
    train = parts()[0]
    rows = pd.read_parquet(Path(os.environ["RECSYS_DATA"], "frappe", "frappe_x1.parquet"))
    test = rows[rows["split"] == "test"]
    path = arguments[1] if arguments else None
    model = Watched(
        embedding_dim=16, hidden_dims=(256, 128), optimizer="rowwise_adagrad", sharding="planner", learning_rate=0.02,
        batch_size=4096, epochs=EPOCHS, checkpoint=path, device="cpu", verbose=0,
    )  # fmt: skip
    if "--kill" in arguments:
        kill_after(KILLED_AFTER)
    model.fit(train)
    scores = model.predict(test)
    held = join(torch.device("cpu")).gather(torch.tensor([Watched.held])).tolist()
    if not dist.is_initialized() or dist.get_rank() == 0:
        found = {"auc": auc(test["label"].to_numpy(), scores), "held": held, "scores": scores.tolist()}
        (folder / "found.json").write_text(json.dumps(found))


def kill_after(epochs: int) -> None:
    """Have this process killed, unasked, once that many epochs are in the checkpoint."""
    write, count = Checkpoint.write, [0]

    def written(self: Checkpoint, *arguments: Any) -> None:
        write(self, *arguments)
        count[0] += 1
        if count[0] == epochs:
            if dist.is_initialized():
                dist.barrier()
            os.kill(os.getpid(), 9)

    Checkpoint.write = written  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main(Path(sys.argv[1]), *sys.argv[2:])
