"""Saved models are data: a directory with `model.json` and `model.safetensors`, both under a checksum.

Nothing is unpickled, executed or imported by a name in the file: the JSON is a tree of tagged plain values, the tags
are the few types below, and the class is one that the program has already defined.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as dump_arrays

from recsys.data import Column, Features, Histories, Vocabulary
from recsys.errors import DataError, LoadError

FORMAT = 1
JSON, ARRAYS = "model.json", "model.safetensors"
RECORDS: Mapping[str, type] = {cls.__name__: cls for cls in (Vocabulary, Histories, Features, Column)}
"""Dataclasses that are stored field by field."""

Arrays = dict[str, NDArray[Any]]


def save(path: Path, model: str, parameters: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    """Write a model to a directory, which appears whole or not at all; an older model there is replaced."""
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or (path / JSON).exists())):
        raise DataError(f"{model}.save: {str(path)!r} exists and is no saved model; give a new directory")
    arrays: Arrays = {}
    tree = {name: _encode(value, name, arrays) for name, value in {**parameters, **fitted}.items()}
    blob = dump_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    head = {
        "format": FORMAT,
        "model": model,
        "parameters": list(parameters),
        "arrays_sha256": _digest(blob),
        "state": tree,
    }
    text = json.dumps({**head, "sha256": _digest(_canonical(head))}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        fresh = Path(folder) / "model"
        fresh.mkdir()
        (fresh / ARRAYS).write_bytes(blob)
        (fresh / JSON).write_text(text, encoding="utf-8")
        if path.exists():
            path.replace(Path(folder) / "old")
        fresh.replace(path)


def read(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Class name, hyperparameters and fitted attributes of a saved model."""
    head, blob = _read_head(path), _read_bytes(path / ARRAYS)
    if _digest(blob) != head["arrays_sha256"]:
        raise LoadError(f"{path / ARRAYS} is cut short or was changed after saving; save the model again")
    arrays = load_arrays(blob)
    state = {name: _decode(node, arrays) for name, node in head["state"].items()}
    names = head["parameters"]
    return head["model"], {n: state[n] for n in names}, {n: value for n, value in state.items() if n not in names}


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path.parent} holds no saved model: {path.name} cannot be read ({error.strerror})") from error


def _read_head(path: Path) -> dict[str, Any]:
    try:
        head = json.loads(_read_bytes(path / JSON).decode("utf-8"))
        version, digest = head["format"], head.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"{path / JSON} is no saved model or is cut short ({error}); save the model again") from error
    if version != FORMAT:
        raise LoadError(
            f"{path / JSON} has format version {version!r}; this version of recsys reads {FORMAT}: load it with the "
            "version that wrote it, or fit and save again"
        )
    if _digest(_canonical(head)) != digest:
        raise LoadError(f"{path / JSON} was changed after saving: its checksum does not match; save the model again")
    return head


def _canonical(head: Mapping[str, Any]) -> bytes:
    return json.dumps(head, sort_keys=True, separators=(",", ":")).encode()


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


# -- values to nodes and back: each pair of functions is one tag -------------------------------------------------------


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    """A JSON node for a value; its arrays go to `arrays` under names that start with `name`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, np.generic):
        return {"scalar": _encode(np.asarray(value).reshape(1), name, arrays)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, arrays)
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_encode(one, f"{name}.{i}", arrays) for i, one in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": [[_encode(k, "", {}), _encode(v, f"{name}.{k}", arrays)] for k, v in value.items()]}
    if sp.issparse(value):
        parts = {
            part: _encode(getattr(value.tocsr(), part), f"{name}.{part}", arrays)
            for part in ("data", "indices", "indptr")
        }
        return {"csr": parts, "shape": list(value.shape)}
    if isinstance(value, pd.DataFrame):
        return {"frame": {str(c): _encode(value[c].to_numpy(), f"{name}.{c}", arrays) for c in value.columns}}
    if isinstance(value, torch.nn.Module):
        weights = {key: tensor.detach().cpu() for key, tensor in value.state_dict().items()}
        return {"weights": {key: _encode(_plain(t), f"{name}.{key}", arrays) for key, t in weights.items()}}
    if type(value).__name__ in RECORDS:
        fields = dataclasses.fields(value)
        return {
            "record": type(value).__name__,
            "fields": {f.name: _encode(getattr(value, f.name), f"{name}.{f.name}", arrays) for f in fields},
        }
    raise DataError(f"{name} is a {type(value).__name__}, which a saved model cannot hold")


def _plain(tensor: torch.Tensor) -> NDArray[Any]:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _encode_array(value: NDArray[Any], name: str, arrays: Arrays) -> Any:
    if value.dtype.kind in "OUT":
        words = [str(one).encode() for one in value]
        arrays[f"{name}.utf8"] = np.frombuffer(b"".join(words), np.uint8)
        arrays[f"{name}.ends"] = np.cumsum([len(word) for word in words], dtype=np.int64)
        return {"strings": name}
    if value.dtype.kind in "mM":
        return {"time": _encode_array(value.view(np.int64), name, arrays), "dtype": value.dtype.str}
    arrays[name] = value
    return {"array": name}


def _decode(node: Any, arrays: Arrays) -> Any:
    if not isinstance(node, dict):
        return node
    tag = next(iter(node))
    if tag not in DECODERS:
        raise LoadError(f"the saved model holds a value of unknown kind {tag!r}")
    return DECODERS[tag](node, arrays)


def _decode_strings(node: Any, arrays: Arrays) -> NDArray[Any]:
    blob, ends = arrays[f"{node['strings']}.utf8"].tobytes(), arrays[f"{node['strings']}.ends"]
    starts = np.concatenate([[0], ends[:-1]])
    return np.array([blob[a:b].decode() for a, b in zip(starts, ends, strict=True)] if len(ends) else [], dtype=object)


def _decode_csr(node: Any, arrays: Arrays) -> Any:
    parts = {name: _decode(part, arrays) for name, part in node["csr"].items()}
    return sp.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=tuple(node["shape"]))


DECODERS: Mapping[str, Callable[[Any, Arrays], Any]] = {
    "float": lambda node, _: float.fromhex(node["float"]),
    "scalar": lambda node, arrays: _decode(node["scalar"], arrays)[0],
    "array": lambda node, arrays: arrays[node["array"]],
    "strings": _decode_strings,
    "time": lambda node, arrays: _decode(node["time"], arrays).view(node["dtype"]),
    "tuple": lambda node, arrays: tuple(_decode(one, arrays) for one in node["tuple"]),
    "list": lambda node, arrays: [_decode(one, arrays) for one in node["list"]],
    "dict": lambda node, arrays: {_decode(k, arrays): _decode(v, arrays) for k, v in node["dict"]},
    "csr": _decode_csr,
    "frame": lambda node, arrays: pd.DataFrame({c: _decode(part, arrays) for c, part in node["frame"].items()}),
    "weights": lambda node, arrays: {k: torch.from_numpy(_decode(part, arrays)) for k, part in node["weights"].items()},
    "record": lambda node, arrays: RECORDS[node["record"]](
        **{k: _decode(v, arrays) for k, v in node["fields"].items()}
    ),
}
