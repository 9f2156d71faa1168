import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from tests.models.tables import table

from recsys import EASE, Dataset
from recsys.errors import DataError, ParameterError
from recsys.models.linear import ease


def as_frame(x: np.ndarray) -> pd.DataFrame:
    users, items = np.nonzero(x)
    return pd.DataFrame({"user_id": users, "item_id": items})


@pytest.mark.parametrize("regularization", [0.5, 10.0, 300.0])
def test_weights_are_stationary_with_a_zero_diagonal(regularization: float) -> None:
    x = table()
    b = EASE(regularization=regularization).fit(as_frame(x)).weights_.astype(float)
    assert (np.diag(b) == 0).all()
    # Half the gradient of ||X - X B||^2 + regularization ||B||^2; the diagonal is held by its constraint.
    gradient = -x.T @ (x - x @ b) + regularization * b
    np.fill_diagonal(gradient, 0)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_each_column_is_a_ridge_regression_on_the_other_items() -> None:
    x, penalty = table(), 3.0
    b = EASE(regularization=penalty).fit(as_frame(x)).weights_
    for j in range(x.shape[1]):
        others = [i for i in range(x.shape[1]) if i != j]
        z = x[:, others]
        wanted = np.linalg.solve(z.T @ z + penalty * np.eye(len(others)), z.T @ x[:, j])
        np.testing.assert_allclose(b[others, j], wanted, atol=1e-6)
    assert np.abs(b - b.T).max() > 0.05  # rows divided in place of columns would be seen


def test_scores_are_the_history_times_the_weights() -> None:
    x = table()
    model = EASE(regularization=3.0).fit(as_frame(x))
    users, items = np.indices(x.shape).reshape(2, -1)
    wanted = x @ model.weights_
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), wanted, atol=1e-5)
    found = model.recommend(history=[2, 5, 7], k=12, filter_seen=False)
    np.testing.assert_allclose(found["score"], model.weights_[[2, 5, 7]].sum(0)[found["item_id"]], atol=1e-6)


def test_a_large_penalty_leaves_weights_in_proportion_to_common_users() -> None:
    x = table()
    b = EASE(regularization=1e7).fit(as_frame(x)).weights_
    gram = x.T @ x
    np.fill_diagonal(gram, 0)
    np.testing.assert_allclose(b, gram / 1e7, rtol=1e-4, atol=1e-10)


def test_repeated_interactions_count_once() -> None:
    frame = as_frame(table())
    twice = pd.concat([frame, frame.iloc[::3]])
    np.testing.assert_array_equal(EASE().fit(twice).weights_, EASE().fit(frame).weights_)


def test_an_explanation_adds_up_to_the_score() -> None:
    x = table()
    model = EASE(regularization=3.0).fit(as_frame(x))
    for item in range(x.shape[1]):
        parts = model.explain(4, item, k=12)
        assert set(parts["item_id"]) == set(np.flatnonzero(x[4]))
        np.testing.assert_allclose(parts["contribution"].sum(), model.predict([4], [item])[0], atol=1e-5)


def test_weights_of_interactions_are_read_unless_switched_off() -> None:
    x = table() * np.random.default_rng(1).integers(1, 5, (40, 12)) / 2
    frame = as_frame(x).assign(weight=x[np.nonzero(x)])
    b, penalty = EASE(regularization=3.0).fit(frame).weights_.astype(float), 3.0
    gradient = -x.T @ (x - x @ b) + penalty * b
    np.fill_diagonal(gradient, 0)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    users, items = np.indices(x.shape).reshape(2, -1)
    np.testing.assert_allclose(EASE(regularization=3.0).fit(frame).predict(users, items), (x @ b).ravel(), atol=1e-5)
    plain = EASE(use_weights=False).fit(frame)
    np.testing.assert_array_equal(plain.weights_, EASE().fit(as_frame(x)).weights_)


def test_each_column_of_weighted_data_is_a_ridge_regression() -> None:
    x = table() * np.random.default_rng(1).integers(1, 5, (40, 12)) / 2
    b = EASE(regularization=2.0).fit(as_frame(x).assign(weight=x[np.nonzero(x)])).weights_
    for j in range(12):
        z = np.delete(x, j, axis=1)
        wanted = np.linalg.solve(z.T @ z + 2 * np.eye(11), z.T @ x[:, j])
        np.testing.assert_allclose(np.delete(b[:, j], j), wanted, atol=1e-6)


def test_more_data_gives_what_a_fit_on_everything_gives() -> None:
    x = table(n_users=60)
    x[:30, 9:] = 0
    frame = as_frame(x)
    early = frame["user_id"] < 30
    grown = EASE().fit(frame[early]).partial_fit(frame[~early])
    np.testing.assert_array_equal(grown.weights_, EASE().fit(frame).weights_)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("weighted", [False, True])
def test_torch_gives_what_the_packed_inverse_gives(
    device: str, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    monkeypatch.setattr(ease, "ROWS", 16)  # so that users come in several blocks
    x = table() * (np.random.default_rng(1).integers(1, 5, (40, 12)) / 2 if weighted else 1)
    wanted = EASE(regularization=3.0, device="cpu").fit(as_frame(x).assign(weight=x[np.nonzero(x)])).weights_
    found = ease.torch_weights(sp.csr_matrix(x.astype(np.float32)), 3.0, torch.device(device))
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-7)
    assert ease.torch_weights(sp.csr_matrix(np.ones((3, 2), np.float32)), -1.0, torch.device(device)) is None


@pytest.mark.cuda
def test_a_gpu_gives_the_weights_of_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    frame = as_frame(table(n_users=300, n_items=90))
    one, other = (EASE(device=device).fit(frame).weights_ for device in ("cuda", "cpu"))
    np.testing.assert_allclose(one, other, atol=1e-7)


def test_more_items_than_packed_routines_count_go_through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = as_frame(table())
    packed = EASE().fit(frame).weights_
    monkeypatch.setattr(ease, "MOST_PACKED", 11)
    monkeypatch.setattr(ease, "packed_gram", None)
    np.testing.assert_allclose(EASE(device="cpu").fit(frame).weights_, packed, atol=1e-7)


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(ParameterError, match="device='tpu'"):
        EASE(device="tpu").fit(as_frame(table()))


def test_a_catalog_that_cannot_fit_is_refused_before_anything_is_allocated() -> None:
    items = pd.DataFrame({"item_id": np.arange(3_000_000)})
    data = Dataset(pd.DataFrame({"user_id": [0], "item_id": [0]}), item_features=items)
    tracemalloc.start()
    with pytest.raises(
        DataError, match=r"EASE needs 201,165\.7 GiB for 3,000,000 items and .* has [\d,.]+ free; filter"
    ):
        EASE(device="cpu").fit(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500 * 2**20  # the smallest of the refused arrays has 9 * 10**12 numbers


def test_memory_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        EASE(device="cpu").fit(as_frame(table()))
    assert "EASE needs 0.0 GiB for 12 items and this machine has" in caplog.text


def test_memory_is_what_the_fit_takes() -> None:
    rows = np.arange(3000)
    data = Dataset(pd.DataFrame({"user_id": rows % 1000, "item_id": rows % 1501}))
    model = EASE(device="cpu").fit(data)
    tracemalloc.start()
    model.fit(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 7 * 1501**2 < peak < (ease.PACKED_BYTES + 1) * 1501**2


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / {"meminfo": "proc/meminfo"}.get(name, f"sys/fs/cgroup/memory.{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:       2000 kB\nMemFree:          10 kB\nMemAvailable:    600 kB\n"


def test_available_memory_is_what_linux_or_a_container_leaves(tmp_path: Path) -> None:
    machine = ease.available_memory(tmp_path / "nowhere")
    assert machine > 2**20
    assert ease.available_memory(write(tmp_path / "linux", meminfo=MEMINFO)) == 600 * 1024
    free = write(tmp_path / "free", meminfo=MEMINFO, max="max\n", current="5\n")
    assert ease.available_memory(free) == 600 * 1024
    tight = write(tmp_path / "tight", meminfo=MEMINFO, max="5000\n", current="1000\n")
    assert ease.available_memory(tight) == 4000
    assert 0 < ease.available_memory() <= machine


def test_items_that_cannot_be_told_apart_need_a_penalty() -> None:
    frame = pd.DataFrame({"user_id": [0, 0], "item_id": [0, 1]})
    with pytest.raises(DataError, match="cannot be inverted with regularization=1e-300; raise it"):
        EASE(regularization=1e-300).fit(frame)
    np.testing.assert_allclose(EASE(regularization=1.0).fit(frame).weights_, [[0, 0.5], [0.5, 0]], atol=1e-6)
