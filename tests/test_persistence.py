import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file

import recsys
from recsys import persistence
from recsys.data import Column, Dataset, Features, Histories, Vocabulary
from recsys.errors import DataError
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
    ALS(n_factors=4, epochs=1).fit(ROWS).save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [JSON, ARRAYS]
    head = json.loads((tmp_path / "model" / JSON).read_text(encoding="utf-8"))
    assert head["model"] == "ALS"
    assert head["format"] == persistence.FORMAT
    arrays = load_file(tmp_path / "model" / ARRAYS)
    assert {array.dtype.kind for array in arrays.values()} <= set("iuf")
    assert arrays["users_.ids.utf8"].tobytes().decode() == "annbobçe"


def test_a_large_vocabulary_comes_back(tmp_path: Path) -> None:
    ids = np.array([f"user-{number:09d}-ü" for number in range(100_000)], object)
    persistence.save(tmp_path / "model", "Toy", {}, {"users_": Vocabulary(ids)})
    assert persistence.read(tmp_path / "model")[2]["users_"].ids.tolist() == ids.tolist()


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
