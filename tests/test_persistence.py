import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file, save_file

import recsys
from recsys import persistence
from recsys.data import Column, Dataset, Features, Histories, Vocabulary
from recsys.errors import DataError, LoadError
from recsys.models.baseline import Popular
from recsys.models.factorization import ALS
from recsys.models.linear import EASE

JSON, ARRAYS = "model.json", "model.safetensors"


def there_and_back(value: Any, path: Path) -> Any:
    """A fitted attribute after a save and a load."""
    persistence.save(path, "Toy", {}, {"value_": value})
    return persistence.read(path)[2]["value_"]


def same(one: Any, other: Any) -> bool:
    """Whether two values are alike: type, dtype, shape and every bit, NaN like NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray | np.generic):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return bool(alike and (one.tolist() == other.tolist() or np.array_equal(one, other, equal_nan=True)))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


# -- values ------------------------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "none": None,
    "booleans": [True, False],
    "integers": [0, -1, 2**63, -(10**40)],
    "numbers": [0.1, -0.0, 1e-300, math.inf, -math.inf, math.nan, 2.0],
    "text": ["", "naïve 日本 🎵", "line\nbreak", '"quoted"', "\udcff", "\x00"],
    "tuples in lists": [(), (1, (2.5, "a")), [None]],
    "dicts": {"a": 1, 2: {"b": (3,)}, (1, "x"): None, 0.5: [], None: True},
    "dicts of arrays by keys alike": {1: np.arange(2), "1": np.arange(3), "a.b": np.ones(1), "a": {"b": np.ones(2)}},
    "keys that are NumPy scalars": {"a": {str(np.str_("k")): 1}, "b": 2},
    "scalars": [np.float32(0.1), np.int8(-3), np.bool_(True), np.uint64(2**63), np.float64(np.nan)],
    "times": [np.datetime64("2020-01-02"), np.timedelta64(3, "h"), np.datetime64("NaT", "ns")],
    "float arrays": [np.array([0.1, np.nan, np.inf], kind) for kind in (np.float16, np.float32, np.float64)],
    "integer arrays": [np.array([0, 1, 100], kind) for kind in "bBhHiIlLqQ"],
    "a boolean array": np.array([[True], [False]]),
    "arrays of times": np.array(["2020-01-01", "NaT"], "datetime64[ms]"),
    "an array without dimensions": np.array(3.5),
    "arrays without rows": [np.empty((0, 3), np.float32), np.empty(0, np.int64), np.empty((2, 0))],
    "an array in Fortran's order": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "a part of an array": np.arange(24).reshape(4, 6)[::2, 1::3],
    "strings": np.array(["a", "", "naïve", "日本", "\udcff", "🎵" * 50], object),
    "strings in two dimensions": np.array([["a", "b", "c"], ["d", "e", "f"]], object),
    "no strings": np.empty(0, object),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_value_comes_back_as_it_was(value: Any, tmp_path: Path) -> None:
    assert same(there_and_back(value, tmp_path / "model"), value)


def test_arrays_of_fixed_width_strings_come_back_as_objects(tmp_path: Path) -> None:
    found = there_and_back(np.array(["a", "naïve"]), tmp_path / "model")
    assert same(found, np.array(["a", "naïve"], object))


def test_arrays_of_the_other_byte_order_come_back_with_their_numbers(tmp_path: Path) -> None:
    found = there_and_back(np.arange(5, dtype=">i4"), tmp_path / "model")
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_loaded_arrays_can_be_written_to(tmp_path: Path) -> None:
    found = there_and_back(np.arange(3), tmp_path / "model")
    found[0] = 9
    assert found.tolist() == [9, 1, 2]


def sparse(*rows: list[float]) -> Any:
    return sp.csr_matrix(np.array(rows, np.float32))


@pytest.mark.parametrize(
    "matrix",
    [sparse([0, 1.5, 0], [2, 0, -3]), sp.csr_matrix((0, 5)), sp.csr_matrix((3, 4), dtype=bool), sparse([1, 2]).tocoo()],
)
def test_sparse_matrices_come_back_by_rows(matrix: Any, tmp_path: Path) -> None:
    found = there_and_back(matrix, tmp_path / "model")
    assert found.format == "csr"
    assert found.dtype == matrix.dtype
    assert found.shape == matrix.shape
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


FRAMES = [
    pd.DataFrame(
        {"epoch": [1, 2], "loss": [0.5, np.nan], "name": ["a", "日本"], "at": pd.to_datetime(["2020", "2021"])}
    ),
    pd.DataFrame({1: [1.0], "1": [2]}),
    pd.DataFrame({"a": np.empty(0), "b": np.empty(0, np.int64)}),
    pd.DataFrame(),
]


@pytest.mark.parametrize("frame", FRAMES, ids=["all kinds", "names alike", "no rows", "nothing"])
def test_frames_come_back(frame: pd.DataFrame, tmp_path: Path) -> None:
    found = there_and_back(frame, tmp_path / "model")
    pd.testing.assert_frame_equal(found, frame, check_column_type=False)


def test_weights_come_back_bitwise_in_half_precision_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        net = torch.nn.BatchNorm1d(3).to(dtype)
        net.weight.data.normal_()
        net.num_batches_tracked += 2**40
        found = there_and_back(net, tmp_path / "model")
        twin = torch.nn.BatchNorm1d(3).to(dtype)
        twin.load_state_dict(found)
        assert found["num_batches_tracked"].shape == ()
        assert all(torch.equal(tensor, twin.state_dict()[name]) for name, tensor in net.state_dict().items())


def test_the_librarys_tables_come_back(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"user_id": ["b", "a", "ü"], "item_id": [3, 1, 3], "rating": [1.0, 2, 3], "place": [1, 2, None]}
    )
    items = pd.DataFrame({"item_id": [1, 3], "tags": [["x", "y"], []], "v": [[0.5, 1], [2, 3]], "size": [1.5, None]})
    data = Dataset(rows.assign(place=["h", None, "t"]), context_cols=["place"], item_features=items)
    for value in (data.users, data.items, data.histories(), data.item_features, data.context):
        found = there_and_back(value, tmp_path / "model")
        assert type(found) is type(value)
        assert fields_alike(found, value)


def fields_alike(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(fields_alike, one, other))
    if isinstance(one, Vocabulary | Histories | Features | Column):
        return all(fields_alike(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)
    return same(one, other)


UNFIT: dict[str, Any] = {
    "a set": {1, 2},
    "bytes": b"x",
    "a complex number": 1j,
    "an array of complex numbers": np.array([1j]),
    "an array of bytes": np.array([b"x"]),
    "numbers wider than 8 bytes": np.array([1], np.longdouble),
    "objects that are no strings": np.array(["a", 1], object),
    "objects among which some are missing": np.array(["a", None], object),
    "a frame with missing strings": pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}),
    "a function": len,
    "a tensor": torch.zeros(1),
}


@pytest.mark.parametrize("value", UNFIT.values(), ids=UNFIT.keys())
def test_what_no_file_can_hold_is_named_and_nothing_is_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"value_\S* (is an?|holds an?) .*, which a saved model cannot hold"):
        persistence.save(tmp_path / "model", "Toy", {}, {"value_": value})
    assert list(tmp_path.iterdir()) == []


# -- models ------------------------------------------------------------------------------------------------------------

ROWS = pd.DataFrame({"user_id": ["ann", "bob", "bob", "çe"], "item_id": [3, 3, 5, 7]})


class Toy(Popular):
    """A model outside the library, with hyperparameters of its own."""

    steps: ClassVar[int] = 3
    spread: tuple[float, ...] = (0.5, 1.0)
    """Numbers."""


def popular() -> Popular:
    return Popular(count="interactions").fit(ROWS)


@pytest.mark.parametrize("name", ["model", "mein modell", "модель/日本 🎵/v1.2", "a/b/c"])
def test_a_model_goes_to_any_path_and_comes_back(name: str, tmp_path: Path) -> None:
    one = popular()
    one.save(tmp_path / name)
    loaded = recsys.load(str(tmp_path / name))
    assert loaded.get_params() == one.get_params()
    pd.testing.assert_frame_equal(loaded.recommend(k=3), one.recommend(k=3))


def test_a_bare_relative_path_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    popular().save("model")
    popular().save("model/")
    popular().save(Path("./other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]
    assert recsys.load("model/").is_fitted


@pytest.mark.parametrize("path", [".", "../here", ""])
def test_the_working_directory_itself_is_no_place(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match="is the working directory; give a directory in it"):
        popular().save(path)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_link_to_a_directory_stays_one(tmp_path: Path) -> None:
    popular().save(tmp_path / "v1")
    (tmp_path / "latest").symlink_to("v1", target_is_directory=True)
    EASE().fit(ROWS).save(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert isinstance(recsys.load(tmp_path / "v1"), EASE)


def test_a_users_own_model_comes_back_with_its_hyperparameters(tmp_path: Path) -> None:
    Toy(spread=[2.0, 3.0]).fit(ROWS).save(tmp_path / "model")
    loaded = recsys.load(tmp_path / "model")
    assert type(loaded) is Toy
    assert loaded.get_params()["spread"] == (2.0, 3.0)


def test_the_kind_of_frames_comes_back(tmp_path: Path) -> None:
    Popular().fit(pl.from_pandas(ROWS)).save(tmp_path / "model")
    assert isinstance(recsys.load(tmp_path / "model").recommend(k=1), pl.DataFrame)


def test_the_files_are_json_and_plain_arrays(tmp_path: Path) -> None:
    ALS(epochs=1, verbose=0).fit(ROWS).save(tmp_path / "model") if "verbose" in ALS().get_params() else ALS(
        epochs=1
    ).fit(ROWS).save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [JSON, ARRAYS]
    head = json.loads((tmp_path / "model" / JSON).read_text(encoding="utf-8"))
    assert head["model"] == "ALS"
    assert head["format"] == persistence.FORMAT
    arrays = load_file(tmp_path / "model" / ARRAYS)
    assert {array.dtype.kind for array in arrays.values()} <= set("iuf")
    assert arrays["users_.ids.utf8"].tobytes().decode() == "annbobçe"


def test_many_strings_are_decoded_in_a_moment(tmp_path: Path) -> None:
    ids = np.array([f"user-{number:09d}-ü" for number in range(100_000)], object)
    persistence.save(tmp_path / "model", "Toy", {}, {"users_": Vocabulary(ids)})
    start = time.process_time()
    found = persistence.read(tmp_path / "model")[2]["users_"]
    spent = time.process_time() - start
    assert found.ids.tolist() == ids.tolist()
    assert spent < 5


# -- replacing ---------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_save_replaces_an_older_one(tmp_path: Path) -> None:
    popular().save(tmp_path / "model")
    EASE().fit(ROWS).save(tmp_path / "model")
    assert isinstance(recsys.load(tmp_path / "model"), EASE)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    popular().save(tmp_path / "model")
    assert recsys.load(tmp_path / "model").is_fitted


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("Dear reader")
    (tmp_path / "file").write_text("Dear reader")
    before = contents(tmp_path)
    for name in ("letters", "file", "letters/letter.txt"):
        with pytest.raises(DataError, match=r"Popular\.save: .* exists and is no saved model; give a new directory"):
            popular().save(tmp_path / name)
    assert contents(tmp_path) == before


def test_a_save_that_fails_leaves_the_old_model(tmp_path: Path) -> None:
    popular().save(tmp_path / "model")
    before = contents(tmp_path)
    broken = EASE().fit(ROWS)
    broken.strange_ = object()
    with pytest.raises(DataError, match="strange_ is a object"):
        broken.save(tmp_path / "model")
    assert contents(tmp_path) == before


def test_a_move_that_fails_brings_the_old_model_back(tmp_path: Path) -> None:
    """The old one is aside already when the new one cannot take its place: here because there is none."""
    popular().save(tmp_path / "model")
    before = contents(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        persistence.replace(tmp_path / "model", tmp_path / "nothing", tmp_path / "aside")
    assert contents(tmp_path / "model") == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_move_without_an_old_model_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        persistence.replace(tmp_path / "model", tmp_path / "nothing", tmp_path / "aside")
    assert list(tmp_path.iterdir()) == []


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = ROWS.assign(rating=[1.0, 2, 3, 4], place=["h", "t", "h", None])
    items = pd.DataFrame({"item_id": [3, 5, 7], "tags": [["x"], ["y", "x"], []], "size": [1.0, 2, 3]})
    model = ALS(n_factors=4, epochs=1).fit(Dataset(rows, context_cols=["place"], item_features=items))
    model.matrix_ = sparse([0, 1, 0], [2, 0, 3])
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
    with pytest.raises(LoadError, match="holds no model that this version can read .*; fit and save it again"):
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
    "items_.ids": lambda array: array[::-1],
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
    with pytest.raises(LoadError, match="holds no model that this version can read .*; fit and save it again"):
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
