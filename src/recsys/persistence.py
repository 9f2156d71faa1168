"""Saved models are data: a directory with `model.json` and `model.safetensors`, both under a checksum.

Nothing is unpickled, executed or imported by a name in the file: the JSON is a tree of tagged plain values, the tags
are the few types below, and the class is one that the program has already defined.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.data import Categories, Column, Features, Histories, Numbers, Vocabulary
from recsys.errors import DataError, LoadError

FORMAT = 1
JSON, ARRAYS = "model.json", "model.safetensors"

Arrays = dict[str, NDArray[Any]]


def save(path: Path, model: str, parameters: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    """Write a model to a directory, which appears whole or not at all; an older model there is replaced.

    The old one stands until the new one is on disk; a failure to put that in its place puts the old one back. Only a
    kill in the instant between the two moves leaves neither at the path, and both in a directory `.<name>-...` beside it.
    """
    refuse_taken(path, model)
    # Through symbolic links, so that a link stays one.
    path = path.resolve()
    arrays: Arrays = {}
    tree = {name: _encode(value, name, arrays) for name, value in {**parameters, **fitted}.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        fresh = Path(folder) / "model"
        fresh.mkdir()
        save_file(arrays, str(fresh / ARRAYS))
        head = {
            "format": FORMAT,
            "model": model,
            "parameters": list(parameters),
            "arrays_sha256": _file_digest(fresh / ARRAYS),
            "state": tree,
        }
        text = json.dumps({**head, "sha256": _digest(head)}, indent=1)
        (fresh / JSON).write_text(text, encoding="utf-8")
        replace(path, fresh, Path(folder) / "old")


def refuse_taken(path: Path, model: str) -> None:
    """Refuse a place that holds anything but a saved model."""
    if path.exists() and path.resolve() == Path.cwd():
        raise DataError(f"{model}.save: {str(path)!r} is the working directory; give a directory in it")
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or (path / JSON).exists())):
        raise DataError(f"{model}.save: {str(path)!r} exists and is no saved model; give a new directory")


def replace(path: Path, fresh: Path, aside: Path) -> None:
    """Move `fresh` to `path`, and what was there aside; on any failure that comes back."""
    try:
        if path.exists():
            path.replace(aside)
        fresh.replace(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.replace(path)
        raise


def read(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Class name, hyperparameters and fitted attributes of a saved model."""
    head = _read_head(path)
    try:
        digest = _file_digest(path / ARRAYS)
    except OSError as error:
        raise _absent(path / ARRAYS, error) from error
    if digest != head.get("arrays_sha256"):
        raise LoadError(f"{path / ARRAYS} is cut short or was changed after saving; save the model again")
    try:
        arrays = load_file(path / ARRAYS)
        state = {str(name): _decode(node, arrays) for name, node in head["state"].items()}
        parameters = {name: state.pop(name) for name in head["parameters"]}
        check_fitted(state)
        return str(head["model"]), parameters, state
    except Exception as error:  # a file under a right checksum can still hold anything
        what = f"{type(error).__name__}: {error}"
        raise LoadError(f"{path} holds no model that this version can read ({what}); fit and save it again") from error


def _absent(file: Path, error: OSError) -> LoadError:
    return LoadError(
        f"{file.parent} holds no saved model: {file.name} cannot be read ({error.strerror}); give the directory that "
        "a model was saved to"
    )


def _read_head(path: Path) -> dict[str, Any]:
    try:
        blob = (path / JSON).read_bytes()
    except OSError as error:
        raise _absent(path / JSON, error) from error
    try:
        head = json.loads(blob)
        version, digest = head["format"], head.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise LoadError(f"{path / JSON} is no saved model or is cut short ({what}); save the model again") from error
    if version != FORMAT:
        raise LoadError(
            f"{path / JSON} has format version {version!r}; this version of recsys reads {FORMAT}: load it with the "
            "version that wrote it, or fit and save again"
        )
    if _digest(head) != digest:
        raise LoadError(f"{path / JSON} was changed after saving: its checksum does not match; save the model again")
    return head


def _digest(head: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(head, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- what must hold of the parts ---------------------------------------------------------------------------------------

ROWS = {
    "history_": "users_",
    "user_features_": "users_",
    "user_factors_": "users_",
    "item_features_": "items_",
    "item_factors_": "items_",
    "item_counts_": "items_",
}
"""Fitted attributes that hold a row a user or an item, and the vocabulary that says how many there are."""


def check_fitted(fitted: Mapping[str, Any]) -> None:
    """Refuse attributes that are no fitted state, or that do not fit each other: kernels would read beyond an end."""
    strange = [name for name in fitted if not name.endswith("_") or name.startswith("_")]
    if strange:
        raise ValueError(f"{strange[0]!r} is no fitted attribute")
    for name, vocabulary in ROWS.items():
        rows, ids = fitted.get(name), fitted.get(vocabulary)
        if rows is not None and ids is not None and len(rows) != len(ids):
            raise ValueError(f"{name} has {len(rows)} rows for the {len(ids)} ids of {vocabulary}")
    history, items = fitted.get("history_"), fitted.get("items_")
    if history is not None and items is not None and history.items.max(initial=-1) >= len(items):
        raise ValueError(f"history_ names items beyond the {len(items)} of items_")


def check_vocabulary(one: Vocabulary) -> None:
    """Ids are distinct."""
    if one.ids.ndim != 1 or len(pd.unique(one.ids)) != len(one.ids):
        raise ValueError("a vocabulary holds an id twice")


def check_ragged(indptr: NDArray[np.int64], *columns: NDArray[Any] | None) -> None:
    """Row pointers rise from 0 to the length of every column."""
    lengths = {len(column) for column in columns if column is not None}
    if indptr.ndim != 1 or indptr[0] != 0 or bool((np.diff(indptr) < 0).any()) or lengths != {int(indptr[-1])}:
        raise ValueError("row pointers do not fit what they point into")


def check_histories(one: Histories) -> None:
    """Row pointers fit; items are codes."""
    check_ragged(one.indptr, one.items, one.ratings, one.weights, one.times, one.sessions)
    if one.context is not None and len(one.context) != len(one.items):
        raise ValueError(f"a history of {len(one.items)} items has {len(one.context)} contexts")
    if one.items.min(initial=0) < 0:
        raise ValueError("a history holds an item that is no code")


def check_features(one: Features) -> None:
    """Every column has as many rows as the table, and codes below the size of its vocabulary."""
    for column in one.columns:
        if column.kind == "tags":
            check_ragged(column.indptr, column.codes)
        n_rows = len(column.indptr) - 1 if column.kind == "tags" else len(parts_of(column))
        if column.absent is not None and len(column.absent) != n_rows:
            raise ValueError(
                f"the column {column.name!r} has {len(column.absent)} marks of missing values for its rows"
            )
        codes = column.codes if column.kind in ("tags", "categorical") else np.empty(0, np.int64)
        if n_rows != one.n_rows or codes.min(initial=-1) < -1 or codes.max(initial=-1) >= max(column.size, 1):
            raise ValueError(f"the column {column.name!r} does not fit its table")


def parts_of(column: Column) -> NDArray[Any]:
    """The array of a column that has an entry a row."""
    return {"categorical": column.codes, "numeric": column.values, "vector": column.vectors}[column.kind]


RECORDS: Mapping[str, tuple[type, Callable[[Any], None]]] = {
    "Vocabulary": (Vocabulary, check_vocabulary),
    "Histories": (Histories, check_histories),
    "Features": (Features, check_features),
    "Column": (Column, lambda one: None),
    "Categories": (Categories, lambda one: None),
    "Numbers": (Numbers, lambda one: None),
}
"""Dataclasses that are stored field by field, and what must hold of each."""


# -- values to nodes and back: each pair of functions is one tag -------------------------------------------------------


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    """A JSON node for a value; its arrays go to `arrays` under names that start with `name`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.generic):
        return {"scalar": _encode_array(np.asarray(value), name, arrays)}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, arrays)
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_encode(one, f"{name}.{i}", arrays) for i, one in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": _encode_pairs(value.items(), name, arrays)}
    if sp.issparse(value):
        rows = value.tocsr()
        parts = {part: _encode(getattr(rows, part), f"{name}.{part}", arrays) for part in ("data", "indices", "indptr")}
        return {"csr": parts, "shape": list(rows.shape)}
    if isinstance(value, pd.DataFrame):
        columns = [(column, value.iloc[:, i].to_numpy()) for i, column in enumerate(value.columns)]
        return {"frame": _encode_pairs(columns, name, arrays)}
    if isinstance(value, torch.nn.Module):
        weights = {key: _numpy(tensor) for key, tensor in value.state_dict().items()}
        return {"weights": {key: _encode(array, f"{name}.{key}", arrays) for key, array in weights.items()}}
    if type(value).__name__ in RECORDS:
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        parts = {key: _encode(part, f"{name}.{key}", arrays) for key, part in fields.items()}
        return {"record": type(value).__name__, "fields": parts}
    raise DataError(f"{name} is a {type(value).__name__}, which a saved model cannot hold")


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _encode_pairs(pairs: Any, name: str, arrays: Arrays) -> list[Any]:
    return [[_encode(key, f"{name} key", arrays), _encode(value, f"{name}.{key}", arrays)] for key, value in pairs]


def _encode_array(value: NDArray[Any], name: str, arrays: Arrays) -> Any:
    kind = value.dtype.kind
    if kind in "OUT":
        return _encode_strings(value, name, arrays)
    if kind in "mM":
        return {"time": _encode_array(value.view(np.int64), name, arrays), "dtype": value.dtype.str}
    if kind not in "biuf" or value.dtype.itemsize > 8:
        raise DataError(f"{name} is an array of {value.dtype}, which a saved model cannot hold")
    return {"array": _store(value, name, arrays), "dtype": value.dtype.name, "shape": list(value.shape)}


def _encode_strings(value: NDArray[Any], name: str, arrays: Arrays) -> Any:
    words = value.ravel().tolist()
    strange = next((word for word in words if not isinstance(word, str)), None)
    if strange is not None or None in words:
        raise DataError(f"{name} holds a {type(strange).__name__} among strings, which a saved model cannot hold")
    # Text from a file system can hold lone surrogates, which plain UTF-8 refuses.
    blobs = [word.encode("utf-8", "surrogatepass") for word in words]
    utf8 = _store(np.frombuffer(b"".join(blobs), np.uint8), f"{name}.utf8", arrays)
    ends = _store(np.cumsum([len(blob) for blob in blobs], dtype=np.int64), f"{name}.ends", arrays)
    return {"strings": utf8, "ends": ends, "shape": list(value.shape)}


def _store(array: NDArray[Any], name: str, arrays: Arrays) -> str:
    """Hold an array by its name, or by one like it where that is taken, as by the other key of {1: ..., "1": ...}."""
    while name in arrays:
        name += "'"
    arrays[name] = np.asarray(array, order="C")
    return name


def _decode(node: Any, arrays: Arrays) -> Any:
    if not isinstance(node, dict):
        return node
    tag = next(iter(node), None)
    if tag not in DECODERS:
        raise ValueError(f"a value of the unknown kind {tag!r}")
    return DECODERS[tag](node, arrays)


def _decode_array(node: Any, arrays: Arrays) -> NDArray[Any]:
    array = arrays[node["array"]]
    if list(array.shape) != node["shape"] or array.dtype.name != node["dtype"]:
        held, said = f"{array.dtype} {list(array.shape)}", f"{node['dtype']} {node['shape']}"
        raise ValueError(f"the array {node['array']!r} is {held} and should be {said}")
    return array


def _decode_strings(node: Any, arrays: Arrays) -> NDArray[Any]:
    blob, ends = arrays[node["strings"]].tobytes(), arrays[node["ends"]]
    check_ragged(np.concatenate([[0], ends]), np.empty(len(blob)))
    words = np.empty(len(ends), object)
    stops: Sequence[int] = ends.tolist()
    words[:] = [blob[a:b].decode("utf-8", "surrogatepass") for a, b in zip([0, *stops], stops, strict=False)]
    return words.reshape(node["shape"])


def _decode_csr(node: Any, arrays: Arrays) -> Any:
    parts = {name: _decode(part, arrays) for name, part in node["csr"].items()}
    matrix = sp.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=tuple(node["shape"]))
    matrix.check_format(full_check=True)
    return matrix


def _decode_time(node: Any, arrays: Arrays) -> NDArray[Any]:
    dtype = np.dtype(node["dtype"])
    if dtype.kind not in "mM":
        raise ValueError(f"times of the kind {dtype}")
    return _decode(node["time"], arrays).view(dtype)


def _decode_pairs(pairs: Any, arrays: Arrays) -> dict[Any, Any]:
    return {_decode(key, arrays): _decode(value, arrays) for key, value in pairs}


def _decode_record(node: Any, arrays: Arrays) -> Any:
    cls, check = RECORDS[node["record"]]
    one = cls(**{key: _decode(part, arrays) for key, part in node["fields"].items()})
    check(one)
    return one


DECODERS: Mapping[str, Callable[[Any, Arrays], Any]] = {
    "float": lambda node, _: float.fromhex(node["float"]),
    "scalar": lambda node, arrays: _decode(node["scalar"], arrays)[()],
    "array": _decode_array,
    "strings": _decode_strings,
    "time": _decode_time,
    "tuple": lambda node, arrays: tuple(_decode(one, arrays) for one in node["tuple"]),
    "list": lambda node, arrays: [_decode(one, arrays) for one in node["list"]],
    "dict": lambda node, arrays: _decode_pairs(node["dict"], arrays),
    "csr": _decode_csr,
    "frame": lambda node, arrays: pd.DataFrame(_decode_pairs(node["frame"], arrays)),
    "weights": lambda node, arrays: {k: torch.from_numpy(_decode(part, arrays)) for k, part in node["weights"].items()},
    "record": _decode_record,
}
