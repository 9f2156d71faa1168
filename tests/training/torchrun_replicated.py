"""What two processes of `torchrun` find; the first writes it as JSON for the tests of `test_distributed.py`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

import recsys
from recsys import SASRec
from recsys.embedding import CachedEmbedding
from recsys.errors import RecsysError
from recsys.training import Processes, join
from tests.training.replicated import MODELS, click_frame, clicks, dense_model, likes, scores, stream, streamed_model


def same_everywhere(values: np.ndarray) -> bool:
    """Whether all processes hold bitwise the same values."""
    own = torch.from_numpy(np.ascontiguousarray(values))
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    return all(torch.equal(parts[0], part) for part in parts)


def message(act: Callable[[], object]) -> str:
    try:
        act()
    except RecsysError as error:
        return str(error)
    return "nothing was refused"


def fits() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, make in MODELS.items():
        model, data = make()
        values = scores(model.fit(data), data)
        found[name] = {
            "scores": values.tolist(),
            "log": list(model.training_log_.loss),
            "same": same_everywhere(values),
        }
    return found


def drawn() -> dict[str, Any]:
    """A model that draws negatives and drops units, and the random state around it."""
    state = torch.get_rng_state()
    model = SASRec(loss="bce", embedding_dim=16, epochs=2, batch_size=16, learning_rate=0.01, verbose=0).fit(likes())
    processes = join(torch.device("cpu"))
    seeds = processes.gather(torch.tensor([processes.own_seed()])).tolist()
    untouched = torch.equal(state, torch.get_rng_state())
    return {"same": same_everywhere(model.item_factors_), "seeds": seeds, "untouched": untouched}


def chosen() -> dict[str, Any]:
    """Early stopping by validation data."""
    model = dense_model()[0].clone(epochs=30, patience=2, monitor="auc", learning_rate=0.1)
    model.fit(clicks().subset(np.arange(400)), validation_data=clicks().subset(np.arange(400, 600)))
    return {"auc": list(model.training_log_.auc), "same": same_everywhere(scores(model, clicks()))}


class Cut(SASRec):
    """Draws negatives; a fit is cut off at a step of the second epoch where it is told to be."""

    steps: ClassVar[int] = 0

    def _loss(self, net: Any, batch: Any) -> Any:
        Cut.steps -= 1
        if Cut.steps == 0:
            raise KeyboardInterrupt
        return super()._loss(net, batch)


def cut(path: Path | None, steps: int = 0) -> Cut:
    """The model, fitted or cut off after so many steps; all processes are cut off at the same one."""
    shape = {"loss": "bce", "embedding_dim": 8, "epochs": 3, "batch_size": 16, "verbose": 0}
    model = Cut(**shape, checkpoint=None if path is None else str(path))
    Cut.steps = steps
    try:
        model.fit(likes())
    except KeyboardInterrupt:
        dist.barrier()
    return model


def resumed(folder: Path) -> dict[str, Any]:
    """A fit cut off in its second epoch, and gone on with."""
    path = folder / "run.ckpt"
    cut(path, steps=6)
    left = path.exists()
    again, whole = cut(path), cut(None)
    dist.barrier()
    same = np.array_equal(again.item_factors_, whole.item_factors_)
    return {"same": same, "left": left, "gone": not path.exists(), "epochs": len(again.training_log_)}


def refused(folder: Path, rank: int) -> dict[str, str]:
    cached = nn.Sequential(CachedEmbedding(4, 2, 2))

    def enter() -> None:
        with Processes(rank, 2).synchronized(cached):
            pass

    # Only the first process writes, so that the others find nothing in places of their own.
    of_one = folder / f"of-{rank}.ckpt"
    cut(of_one, steps=6)
    return {
        "batch": message(lambda: dense_model()[0].clone(batch_size=1).fit(clicks())),
        "shard": message(lambda: streamed_model().fit(stream(folder, shard=(0, 3)))),
        "checkpoint": message(lambda: cut(of_one)),
        "cache": message(enter),
    }


def main(folder: Path) -> None:
    found: dict[str, Any] = {"fits": fits(), "drawn": drawn(), "chosen": chosen(), "resumed": resumed(folder)}
    rank = dist.get_rank()
    model = streamed_model().fit(stream(folder))
    values = model.predict(click_frame())
    found["stream"] = {
        "scores": values.tolist(),
        "same": same_everywhere(values),
        "loss": list(model.training_log_.loss),
    }
    model.save(folder / f"saved-by-{rank}")
    dist.barrier()
    found["saved"] = sorted(path.name for path in folder.glob("saved-by-*"))
    found["loaded"] = np.array_equal(recsys.load(folder / "saved-by-0").predict(click_frame()), values)
    found["refused"] = refused(folder, rank)
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
