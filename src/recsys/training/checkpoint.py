"""Where a training run stands, on disk after every epoch, so that a killed fit goes on where it was."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from recsys.data import Dataset, StreamedDataset
from recsys.embedding.sharded import AT
from recsys.errors import LoadError
from recsys.training.distributed import Processes
from recsys.training.shards import files_of, read_manifest, read_shards, write_shards, write_tensors


@dataclass(frozen=True)
class Progress:
    """What one epoch leaves behind: tensors by name, and plain values (epoch, log, best metric)."""

    tensors: Mapping[str, Tensor]
    values: dict[str, Any]


class Checkpoint:
    """One file; `key` says which run it belongs to, so that another model's or data set's file is refused.

    Where tables are sharded it is a manifest, with one file a process beside it.
    """

    def __init__(self, path: str | Path, key: str):
        self.path, self.key = Path(path), key

    def read(self) -> Progress | None:
        """The last epoch's state, or None where no run was cut off."""
        if not self.path.exists():
            return None
        try:
            head = read_manifest(self.path)
            if head is not None:
                tensors = read_shards(self.path)
            else:
                with safe_open(str(self.path), framework="pt") as file:
                    head = json.loads(file.metadata()["run"])
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            key, values = head["key"], head["values"]
        except Exception as error:  # safetensors raises its own kinds for a cut file
            raise LoadError(f"{self.path} is no checkpoint or is damaged ({error}); remove it to start over") from error
        if key != self.key:
            raise LoadError(
                f"{self.path} belongs to another model, other hyperparameters or other data; remove it or name another "
                "checkpoint"
            )
        return Progress(tensors, values)

    def write(self, progress: Progress, processes: Processes | None = None) -> None:
        """Replace the file in one step: a kill leaves the old one or the new one. Of several processes the first writes.

        Where some of them hold parts of tables all have to call it, and each writes its parts.
        """
        processes = Processes() if processes is None else processes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if processes.any(any(AT in name for name in progress.tensors)):
            head = {"key": self.key, "values": progress.values}
            write_shards(self.path, head, progress.tensors, processes)
            return
        if processes.rank > 0:
            return
        before = files_of(self.path)
        write_tensors(self.path, progress.tensors, {"run": json.dumps({"key": self.key, "values": progress.values})})
        for file in before:
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget a run that came to its end."""
        for file in files_of(self.path):
            file.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimizer's state as named tensors; its numbers become tensors too."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}."):
            index, key = name.removeprefix(f"{prefix}.").split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def run_key(settings: Any, *datasets: Dataset | None) -> str:
    """Digest of what makes a run the same: settings that JSON can hold, and all that models read of the data sets."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode())
    for data in datasets:
        digest.update(b"no data" if data is None else b"data")
        if data is not None:
            digest.update(json.dumps([data.n_users, data.n_items]).encode())
            if isinstance(data, StreamedDataset):
                digest.update(data.stream.fingerprint)
                rows = ()
            else:
                rows = (data.user_codes, data.item_codes, data.ratings, data.labels, data.weights, data.timestamps)
            for values in (*rows, data.social_edges, data.social_weights):
                digest_array(digest, values)
            for table in (data.user_features, data.item_features, data.context):
                for column in () if table is None else table.columns:
                    made = [column.name, column.kind, column.n_codes, repr(column.encoder)]
                    digest.update(json.dumps(made).encode())
                    for values in (column.codes, column.indptr, column.values, column.vectors, column.absent):
                        digest_array(digest, values)
    return digest.hexdigest()


def digest_array(digest: Any, values: Any) -> None:
    """Feed an array to a digest, with its type and shape, so that no two feeds read alike."""
    head = None if values is None else [values.dtype.str, values.shape]
    digest.update(json.dumps(head).encode())
    if values is not None:
        digest.update(np.ascontiguousarray(values).tobytes())
