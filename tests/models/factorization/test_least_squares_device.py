"""Half-steps in torch against those of the CPU; on a GPU where there is one."""

import numpy as np
import pytest
import torch
from tests.models.factorization.test_als import as_data, model, weighted

from recsys.models.factorization import least_squares_device
from recsys.models.factorization.least_squares_device import batches, solve_on

GPU = torch.cuda.is_available()
cuda = [pytest.mark.cuda, pytest.mark.skipif(not GPU, reason="needs a CUDA device")]
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=cuda)])


@pytest.fixture(params=["confidence", "unobserved"])
def half(request):
    return model(request.param, alpha=3.0)._half(as_data(weighted()).to_csr("weight"))


@pytest.fixture
def factors():
    return np.random.default_rng(0).normal(size=(18, 6)).astype(np.float32)


@devices
def test_cholesky_is_the_exact_solve(half, factors, device):
    start = np.ones((25, 6), np.float32)
    found = solve_on(torch.device(device), half, factors, start, None)
    np.testing.assert_allclose(found, half.exact(factors), rtol=1e-3, atol=1e-4)


@devices
def test_many_gradients_are_the_exact_solve_and_each_brings_it_nearer(half, factors, device):
    start = np.zeros((25, 6), np.float32)
    wanted = half.value(half.exact(factors), factors)
    off = [half.value(solve_on(torch.device(device), half, factors, start, n), factors) - wanted for n in (0, 1, 3, 12)]
    assert off[0] > off[1] > off[2] > off[3]
    assert abs(off[3]) < 1e-4 * abs(wanted)


def test_a_row_that_has_arrived_stays_where_it_is(half, factors):
    arrived = half.exact(factors).astype(np.float32)
    found = solve_on(torch.device("cpu"), half, factors, arrived, 20)
    np.testing.assert_allclose(found, arrived, rtol=1e-3, atol=1e-4)


def test_batches_cover_every_entry_once_and_stay_within_their_bytes(monkeypatch):
    monkeypatch.setattr(least_squares_device, "BATCH_BYTES", 4 * 8 * 40)
    lengths = np.random.default_rng(0).integers(0, 20, 50)
    seen_rows, seen_places = [], []
    for rows, places in batches(np.append(0, np.cumsum(lengths)), 8):
        assert len(rows) == 1 or 4 * 8 * len(rows) * max(places.shape[1], 8) <= 4 * 8 * 40
        assert ((places >= 0).sum(1) == lengths[rows]).all()
        seen_rows.extend(rows)
        seen_places.extend(places[places >= 0])
    assert sorted(seen_rows) == np.flatnonzero(lengths).tolist()
    assert sorted(seen_places) == list(range(lengths.sum()))


@pytest.mark.cuda
@pytest.mark.skipif(not GPU, reason="needs a CUDA device")
@pytest.mark.parametrize("solver", ["gradients", "cholesky"])
def test_a_fit_on_the_gpu_comes_to_the_objective_of_the_cpu(solver):
    fits = [
        model("confidence", epochs=20, solver=solver, device=name).fit(as_data(weighted())) for name in ("cpu", "cuda")
    ]
    cpu, gpu = (one.training_log_["loss"].iloc[-1] for one in fits)
    # Gradients end where they stand after their steps: the two may differ while neither is at the minimum.
    assert gpu == pytest.approx(cpu, rel=1e-4) if solver == "cholesky" else gpu < cpu * (1 + 1e-4)
