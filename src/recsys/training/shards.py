"""Checkpoints of sharded tables: each process writes the parts that it holds, and a small manifest names the files.

The files of an epoch stand beside the manifest until that of the next epoch is in its place, so that a kill leaves one
whole checkpoint. What is read are whole tensors under the names that one process gives them: a run may go on in
another number of processes, each of which takes its parts.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from recsys.embedding.sharded import AT, Piece, cut_piece
from recsys.training.distributed import Processes


def write_shards(path: Path, head: Mapping[str, Any], tensors: Mapping[str, Tensor], processes: Processes) -> None:
    """Write this process's parts, and in the first one all tensors that every process has; the manifest comes last."""
    before = files_of(path) if processes.rank == 0 else []
    stamp = len(head["values"]["log"])
    file = path.with_name(f"{path.name}.{stamp}.{processes.rank}-of-{processes.world}.safetensors")
    mine = {name: tensor for name, tensor in tensors.items() if AT in name or processes.rank == 0}
    write_tensors(file, mine)
    names = processes.texts(file.name)
    if processes.rank > 0:
        return
    fresh = path.with_name(f"{path.name}.part")
    fresh.write_text(json.dumps({**head, "files": names}), encoding="utf-8")
    fresh.replace(path)
    for old in before:
        if old.name not in names:
            old.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Replace a file in one step: a kill leaves the old one or the new one."""
    fresh = path.with_name(f"{path.name}.part")
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, str(fresh), about)
    fresh.replace(path)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at a path, or None where something else is."""
    try:
        head = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return head if isinstance(head, dict) and "files" in head else None


def files_of(path: Path) -> list[Path]:
    """Files that the manifest at a path names."""
    head = read_manifest(path)
    return [] if head is None else [path.with_name(Path(str(name)).name) for name in head["files"]]


def read_shards(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, parts put together; the spare row of a table, which no part holds, is zeros."""
    whole: dict[str, Tensor] = {}
    parts: dict[str, list[Piece]] = {}
    for file in files_of(path):
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                base, _, place = name.partition(AT)
                if place:
                    row, column = map(int, place.split(":"))
                    parts.setdefault(base, []).append((row, column, opened.get_tensor(name)))
                else:
                    whole[name] = opened.get_tensor(name)
    return whole | {name: put_together(pieces) for name, pieces in parts.items()}


def put_together(pieces: list[Piece]) -> Tensor:
    """Parts (n, D), or (n,) where rows have one number each, with their first rows and columns, as one tensor."""
    n_rows = max(row + len(part) for row, _, part in pieces)
    columns = [max(column + part.shape[1] for _, column, part in pieces)] if pieces[0][2].ndim > 1 else []
    whole = torch.zeros(n_rows, *columns, dtype=pieces[0][2].dtype)
    for row, column, part in pieces:
        cut_piece(whole, row, column, part).copy_(part)
    return whole
