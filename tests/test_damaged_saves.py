"""Saved models that were cut short, changed, or written by something else: an error that says what to do, never a crash."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

import recsys
from recsys.data import Dataset
from recsys.errors import LoadError
from recsys.models.factorization import ALS

JSON, ARRAYS = "model.json", "model.safetensors"
ROWS = pd.DataFrame({"user_id": ["ann", "bob", "bob", "çe"], "item_id": [3, 3, 5, 7]})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = ROWS.assign(rating=[1.0, 2, 3, 4], place=["h", "t", "h", None])
    items = pd.DataFrame({"item_id": [3, 5, 7], "tags": [["x"], ["y", "x"], []], "size": [1.0, 2, 3]})
    model = ALS(n_factors=4, epochs=1).fit(Dataset(rows, context_cols=["place"], item_features=items))
    model.matrix_ = sp.csr_matrix(np.array([[0, 1, 0], [2, 0, 3]], np.float32))
    model.save(tmp_path / "model")
    return tmp_path / "model"


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any] | None = None, **arrays: Any) -> None:
    """Change the tree or some arrays of a saved model, and make every checksum right again."""
    head = json.loads((path / JSON).read_text(encoding="utf-8"))
    del head["sha256"]
    held = load_file(path / ARRAYS)
    for name, value in arrays.items():
        held[name] = value(held[name]) if callable(value) else value
    save_file({name: np.ascontiguousarray(array) for name, array in held.items()}, path / ARRAYS)
    head["arrays_sha256"] = hashlib.sha256((path / ARRAYS).read_bytes()).hexdigest()
    if change is not None:
        change(head)
    text = json.dumps(head, sort_keys=True, separators=(",", ":"))
    head["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (path / JSON).write_text(json.dumps(head), encoding="utf-8")


def test_a_rewritten_file_without_a_change_loads(saved: Path) -> None:
    """Otherwise the tests below would fail for their checksums alone."""
    before = recsys.load(saved).recommend(k=3)
    rewrite(saved)
    pd.testing.assert_frame_equal(recsys.load(saved).recommend(k=3), before)


@pytest.mark.parametrize("name", [JSON, ARRAYS])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_an_error_that_says_what_to_do(saved: Path, name: str, share: float) -> None:
    blob = (saved / name).read_bytes()
    (saved / name).write_bytes(blob[: int(len(blob) * share)])
    with pytest.raises(LoadError, match=rf"{name} is .*cut short.*; save the model again"):
        recsys.load(saved)


@pytest.mark.parametrize("name", [JSON, ARRAYS])
def test_a_changed_byte_is_an_error_that_says_what_to_do(saved: Path, name: str) -> None:
    blob = bytearray((saved / name).read_bytes())
    at = blob.rindex(b"ALS") if name == JSON else len(blob) - 1
    blob[at] ^= 1
    (saved / name).write_bytes(bytes(blob))
    with pytest.raises(LoadError, match=rf"{name} .*changed after saving.*; save the model again"):
        recsys.load(saved)


@pytest.mark.parametrize("name", [JSON, ARRAYS])
def test_a_missing_file_is_an_error_that_says_what_to_do(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(LoadError, match=rf"holds no saved model: {name} cannot be read .*; give the directory"):
        recsys.load(saved)


def test_a_path_that_is_no_directory_is_an_error(saved: Path) -> None:
    for path in (saved / "nowhere", saved / JSON):
        with pytest.raises(LoadError, match="holds no saved model"):
            recsys.load(path)


@pytest.mark.parametrize("text", ["", "[1, 2]", "3", '{"format": 1}', '{"sha256": "x"}', "[" * 100_000, '{"format":'])
def test_json_of_another_kind_is_an_error(saved: Path, text: str) -> None:
    (saved / JSON).write_text(text)
    with pytest.raises(LoadError, match=r"model\.json is no saved model or is cut short"):
        recsys.load(saved)


def test_bytes_that_are_no_text_are_an_error(saved: Path) -> None:
    (saved / JSON).write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(LoadError, match=r"model\.json is no saved model"):
        recsys.load(saved)


@pytest.mark.parametrize("version", [0, 2, 999, "1", None])
def test_another_format_version_is_an_error_that_says_what_to_do(saved: Path, version: Any) -> None:
    rewrite(saved, lambda head: head.update(format=version))
    with pytest.raises(LoadError, match=rf"format version {version!r}; this version of recsys reads 1: load it with"):
        recsys.load(saved)


@pytest.mark.parametrize("name", ["NoSuchModel", "os.system", "Recommender", "FactorRecommender", ""])
def test_a_class_that_is_no_model_is_an_error_that_says_what_to_do(saved: Path, name: str) -> None:
    rewrite(saved, lambda head: head.update(model=name))
    with pytest.raises(LoadError, match=rf"holds a {name}, which is no known model; import the module"):
        recsys.load(saved)


def test_the_hyperparameters_of_another_version_are_an_error(saved: Path) -> None:
    def change(head: dict[str, Any]) -> None:
        head["state"]["n_factors"] = -1

    rewrite(saved, change)
    with pytest.raises(LoadError, match="another version of ALS: ALS: n_factors=-1 is not allowed"):
        recsys.load(saved)


SHAPES: dict[str, Any] = {
    "user_factors_": lambda array: array[:1],
    "item_factors_": lambda array: array.T,
    "item_counts_": lambda array: array.astype(np.int32),
    "history_.items": lambda array: array[:-1],
    "history_.indptr": lambda array: array[None],
    "users_.ids.utf8": lambda array: array[:-1],
    "users_.ids.ends": lambda array: array[:-1],
    "items_.ids": lambda array: array[:0],
    "matrix_.indices": lambda array: array[:1],
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_array_of_another_shape_or_type_is_an_error(saved: Path, name: str) -> None:
    rewrite(saved, **{name: SHAPES[name]})
    with pytest.raises(LoadError, match=r"holds no model that this version can read .*; fit and save it again"):
        recsys.load(saved)


def set_shapes(node: Any, arrays: dict[str, Any]) -> None:
    """Let the tree say of every array the shape that it has."""
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        set_shapes(one, arrays)
    if isinstance(node, dict) and "array" in node:
        node |= {"shape": list(arrays[node["array"]].shape), "dtype": arrays[node["array"]].dtype.name}


CONTENTS: dict[str, Any] = {
    "user_factors_": lambda array: array[:1],
    "item_factors_": lambda array: np.concatenate([array, array]),
    "item_counts_": lambda array: array[:1],
    "history_.indptr": lambda array: array[:-1],
    "history_.items": lambda array: array + 99,
    "history_.ratings": lambda array: array[:-1],
    "users_.ids.ends": lambda array: array + 1000,
    "users_.ids.utf8": lambda array: array + 120,
    "items_.ids": lambda array: np.repeat(array[:1], len(array)),
    "matrix_.indices": lambda array: array + 9,
    "matrix_.indptr": lambda array: array * 7,
    "item_features_.columns.0.codes": lambda array: array + 5,
    "item_features_.columns.0.indptr": lambda array: array[:-1],
    "item_features_.columns.1.values": lambda array: array[:-1],
    "context_.columns.0.codes": lambda array: np.full(9, 0),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_arrays_that_do_not_fit_each_other_are_an_error_even_where_the_tree_agrees(saved: Path, name: str) -> None:
    def agree(head: dict[str, Any]) -> None:
        set_shapes(head["state"], load_file(saved / ARRAYS))

    rewrite(saved, agree, **{name: CONTENTS[name]})
    with pytest.raises(LoadError, match=r"holds no model that this version can read .*; fit and save it again"):
        recsys.load(saved)


def test_a_history_beyond_its_end_in_the_middle_is_an_error(saved: Path) -> None:
    rewrite(saved, **{"history_.indptr": lambda array: np.array([0, 9, 1, array[-1]], array.dtype)})
    with pytest.raises(LoadError, match="row pointers do not fit what they point into"):
        recsys.load(saved)


NODES: dict[str, Any] = {
    "an unknown tag": {"pickle": "gASV"},
    "no tag": {},
    "an unknown record": {"record": "Path", "fields": {}},
    "a record of other fields": {"record": "Vocabulary", "fields": {"words": []}},
    "an absent array": {"array": "nothing", "shape": [1], "dtype": "int64"},
    "an array without a shape": {"array": "user_factors_"},
    "a number that is none": {"float": "one"},
    "a list that is none": {"list": 3},
    "a dict with keys that are lists": {"dict": [[{"list": []}, 1]]},
    "times that are objects": {"time": {"array": "history_.items", "shape": [4], "dtype": "int64"}, "dtype": "O"},
    "a sparse matrix of nothing": {"csr": {}, "shape": [1, 1]},
    "a tree too deep": None,
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_of_another_kind_is_an_error(saved: Path, name: str) -> None:
    node = NODES[name]
    if node is None:
        node = 1
        for _ in range(400):
            node = {"list": [node]}

    def change(head: dict[str, Any]) -> None:
        head["state"]["item_counts_"] = node

    rewrite(saved, change)
    with pytest.raises(LoadError):
        recsys.load(saved)


HEADS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no state": lambda head: head.pop("state"),
    "no parameters": lambda head: head.pop("parameters"),
    "no class": lambda head: head.pop("model"),
    "no checksum of the arrays": lambda head: head.pop("arrays_sha256"),
    "a state that is a list": lambda head: head.update(state=[1]),
    "a parameter that is not there": lambda head: head["parameters"].append("nothing"),
    "an attribute that is a method": lambda head: head["state"].update(predict=1),
    "an attribute that is Python's": lambda head: head["state"].update(__class__=1),
    "a hyperparameter among the fitted": lambda head: head["parameters"].remove("alpha"),
}


@pytest.mark.parametrize("change", HEADS.values(), ids=HEADS.keys())
def test_a_tree_without_its_parts_is_an_error(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    rewrite(saved, change)
    with pytest.raises(LoadError, match="again"):
        recsys.load(saved)


def test_weights_of_another_network_are_an_error(tmp_path: Path) -> None:
    model = recsys.SASRec(epochs=1, embedding_dim=4, max_len=3, verbose=0, device="cpu").fit(ROWS)
    model.save(tmp_path / "model")

    def change(head: dict[str, Any]) -> None:
        head["state"]["embedding_dim"] = 8

    rewrite(tmp_path / "model", change)
    with pytest.raises(LoadError, match=r"does not fit the class SASRec .*; fit and save it again"):
        recsys.load(tmp_path / "model")


def test_a_network_without_weights_is_an_error(tmp_path: Path) -> None:
    model = recsys.SASRec(epochs=1, embedding_dim=4, max_len=3, verbose=0, device="cpu").fit(ROWS)
    model.save(tmp_path / "model")
    rewrite(tmp_path / "model", lambda head: head["state"].pop("module_"))
    with pytest.raises(LoadError, match="does not fit the class SASRec"):
        recsys.load(tmp_path / "model")
