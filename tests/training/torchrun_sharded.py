"""What two processes of `torchrun` find with sharded tables; the first writes it as JSON for `test_sharded.py`."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

import recsys
from recsys import DLRM
from recsys.embedding import FieldEmbedding
from recsys.embedding.sharded import ShardedFieldEmbedding
from recsys.errors import UnsupportedError
from recsys.training import join
from tests.training.sharded_clicks import click_frames, clicks, dlrm, wide

STEPS_AN_EPOCH = 32


class Watched(DLRM):
    """Notes what of the table this process holds while it trains; is cut off at a step where it is told to be."""

    steps: ClassVar[int] = 0
    held: ClassVar[float] = 0.0

    def _loss(self, net: Any, batch: Any) -> Tensor:
        if isinstance(net.embedding, ShardedFieldEmbedding):
            held = sum(part.numel() for _, _, part in net.embedding.pieces())
            Watched.held = held / (sum(net.embedding.sizes) * net.embedding.dim)
        Watched.steps -= 1
        if Watched.steps == 0:
            raise KeyboardInterrupt
        return super()._loss(net, batch)


def watched(path: Path | None = None, steps: int = 0) -> Watched:
    """A model fitted on the clicks, or cut off after so many steps; all processes are cut off at the same one."""
    train, test = click_frames()
    model = Watched(**{**dlrm().get_params(), "checkpoint": None if path is None else str(path)})
    Watched.steps = steps
    try:
        model.fit(clicks(train), validation_data=clicks(test))
    except KeyboardInterrupt:
        dist.barrier()
    return model


def fitted(folder: Path, rank: int) -> dict[str, Any]:
    test = click_frames()[1]
    model = watched()
    scores = model.predict(test)
    processes = join(torch.device("cpu"))
    model.save(folder / "model")
    dist.barrier()
    return {
        "scores": scores.tolist(),
        "auc": list(model.training_log_.auc),
        "held": processes.gather(torch.tensor([Watched.held])).tolist(),
        "whole": type(model.module_.embedding) is FieldEmbedding,
        "agree": bool((processes.gather(torch.from_numpy(scores)[None]).diff(dim=0) == 0).all()),
        "loaded": np.array_equal(recsys.load(folder / "model").predict(test), scores),
    }


def resumed(folder: Path, rank: int, scores: list[float]) -> dict[str, Any]:
    """A fit cut off in its second epoch, its files kept aside for one process, and gone on with."""
    path = folder / "run" / "run.ckpt"
    watched(path, steps=STEPS_AN_EPOCH + 7)
    left = sorted(one.name for one in path.parent.iterdir())
    dist.barrier()
    if rank == 0:
        shutil.copytree(path.parent, folder / "kept")
    dist.barrier()
    again = watched(path)
    dist.barrier()
    same = again.predict(click_frames()[1]).tolist() == scores
    return {"left": left, "same": same, "epochs": len(again.training_log_), "gone": not list(path.parent.iterdir())}


def rules() -> dict[str, Any]:
    """Scores after an epoch by each rule, by rates that fall, and of a network of two embeddings."""
    train, test = click_frames()
    some = clicks(train[:5000])
    models = {name: wide(name) for name in ("sgd", "adagrad", "falling", "two")}
    return {
        name: model.fit(some, validation_data=clicks(test)).predict(test).tolist() for name, model in models.items()
    }


def refused() -> dict[str, str]:
    found = {}
    some = clicks(click_frames()[0][:1000])
    for name, changes in {"adam": {"optimizer": "adam"}, "decay": {"embedding_decay": 0.1}}.items():
        try:
            dlrm(**changes).fit(some)
        except UnsupportedError as error:
            found[name] = str(error)
    found["small tables"] = type(dlrm(sharding="auto", epochs=1).fit(some).module_.embedding).__name__
    return found


def main(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    rank = dist.get_rank()
    found: dict[str, Any] = {"fitted": fitted(folder, rank)}
    found["resumed"] = resumed(folder, rank, found["fitted"]["scores"])
    found["rules"], found["refused"] = rules(), refused()
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
