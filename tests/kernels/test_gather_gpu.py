"""The gather in Triton against a plain loop: on a GPU where there is one, else in Triton's interpreter, on the CPU."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from recsys.kernels.gather_gpu import gather_rows, gather_slots

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def twin(codes, start, values, weight):
    """Vectors (B, S, D) and rows (B, S) by a plain loop."""
    rows, vectors = np.zeros(codes.shape, np.int64), np.zeros((*codes.shape, weight.shape[1]), np.float32)
    for (b, s), code in np.ndenumerate(codes):
        if code >= 0:
            rows[b, s] = start[s] + code + 1
            vectors[b, s] = weight[rows[b, s]] * (1 if values is None else values[b, s])
    return vectors, rows


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("dim", [1, 10, 64, 100])
def test_vectors_are_those_of_the_rows_of_each_slot_times_their_values(dim, valued):
    rng = np.random.default_rng(dim)
    start, sizes = np.array([0, 7, 7, 12]), np.array([7, 5, 5, 30])
    codes = (rng.random((37, 4)) * (sizes + 1)).astype(np.int64) - 1
    values = rng.normal(size=codes.shape).astype(np.float32) if valued else None
    weight = rng.normal(size=(43, dim)).astype(np.float32)
    given = [None if part is None else torch.as_tensor(part).to(DEVICE) for part in (codes, start, values, weight)]
    for got, wanted in zip(gather_slots(*given), twin(codes, start, values, weight), strict=True):
        np.testing.assert_array_equal(got.cpu().numpy(), wanted)


def test_code_minus_one_is_zeros_whatever_the_spare_row_holds():
    weight = torch.full((3, 2), torch.nan, device=DEVICE)
    vectors, rows = gather_slots(
        torch.full((2, 1), -1, device=DEVICE), torch.zeros(1, dtype=torch.long, device=DEVICE), None, weight
    )
    assert vectors.tolist() == [[[0, 0]], [[0, 0]]]
    assert rows.tolist() == [[0], [0]]


def test_slots_that_are_not_in_one_piece_are_read_as_they_are():
    codes = torch.tensor([[0, 1], [2, 0], [1, -1]], device=DEVICE)
    start, weight = torch.tensor([0, 3], device=DEVICE), torch.arange(12.0, device=DEVICE).view(6, 2)
    plain, turned = (gather_slots(one, start, None, weight) for one in (codes, codes.T.contiguous().T))
    for one, other in zip(plain, turned, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dim", [1, 10, 64])
def test_rows_of_any_shape_give_their_vectors_and_row_0_zeros(dim):
    rows = torch.tensor([[3, 0, 2], [2, 5, 1]])
    weight = torch.randn(6, dim, generator=torch.Generator().manual_seed(0))
    wanted = torch.where((rows > 0)[..., None], weight[rows], 0)
    assert torch.equal(gather_rows(rows.to(DEVICE), weight.to(DEVICE)).cpu(), wanted)


def test_a_row_outside_the_table_gives_nan():
    weight = torch.ones(3, 2, device=DEVICE)
    found = gather_rows(torch.tensor([2, 3, 10**12], device=DEVICE), weight)
    assert found.isnan()[:, 0].tolist() == [False, True, True]
    codes, start = torch.tensor([[1, 2]], device=DEVICE), torch.tensor([0, 0], device=DEVICE)
    assert gather_slots(codes, start, None, weight)[0].isnan()[0, :, 1].tolist() == [False, True]


def test_low_precision_is_widened():
    weight = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).bfloat16().to(DEVICE)
    codes, start = torch.tensor([[0], [4]], device=DEVICE), torch.zeros(1, dtype=torch.long, device=DEVICE)
    vectors = gather_slots(codes, start, None, weight)[0]
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors[:, 0], weight[[1, 5]].float())


def test_no_rows_give_no_vectors():
    codes, start = torch.zeros(0, 2, dtype=torch.long, device=DEVICE), torch.zeros(2, dtype=torch.long, device=DEVICE)
    vectors, rows = gather_slots(codes, start, None, torch.ones(3, 4, device=DEVICE))
    assert vectors.shape == (0, 2, 4)
    assert rows.shape == (0, 2)
