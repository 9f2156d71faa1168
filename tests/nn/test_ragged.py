import numpy as np
import pytest
import torch

from recsys.errors import DataError
from recsys.nn.ragged import RaggedLinear, without_zeros

ROWS = [[0, 3], [], [1, 2, 4], [4]]
CODES, LENGTHS = torch.tensor([code for row in ROWS for code in row]), torch.tensor([len(row) for row in ROWS])
VALUES = torch.tensor([2.0, 0.0, -1.0, 0.5, 0.0, 3.0])


def layer() -> RaggedLinear:
    torch.manual_seed(0)
    one = RaggedLinear(5, 3)
    torch.nn.init.normal_(one.bias)
    return one


def whole() -> torch.Tensor:
    x, at = torch.zeros(4, 5), 0
    for row, codes in enumerate(ROWS):
        for code in codes:
            x[row, code] = VALUES[at]
            at += 1
    return x


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_linear_layer_of_the_rows_that_are_meant(training: bool) -> None:
    one = layer().train(training)
    wanted = whole() @ one.table.vectors + one.bias
    found = one(CODES, LENGTHS, VALUES)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(one.dense(whole()), wanted)
    parts = (one.table.weight, one.bias)
    shape = torch.arange(12.0).view(4, 3)
    both = zip(*(torch.autograd.grad((made * shape).sum(), parts) for made in (found, wanted)), strict=True)
    for ours, theirs in both:
        torch.testing.assert_close(ours, theirs)


def test_entries_without_values_are_ones() -> None:
    one = layer()
    torch.testing.assert_close(one(CODES, LENGTHS), one(CODES, LENGTHS, torch.ones(6)))


def test_lengths_that_do_not_fit_are_refused_before_anything_is_read() -> None:
    with pytest.raises(DataError, match="RaggedLinear got 6 codes for bags of 9 in all"):
        layer()(CODES, torch.tensor([9]), VALUES)


def test_zeros_are_taken_out_of_the_row_they_stand_in() -> None:
    codes, lengths, values = without_zeros(CODES, LENGTHS, VALUES)
    assert codes.tolist() == [0, 1, 2, 4]
    assert lengths.tolist() == [1, 0, 2, 1]
    assert values.tolist() == [2.0, -1.0, 0.5, 3.0]
    nothing = without_zeros(CODES, LENGTHS, torch.zeros(6))
    assert nothing[0].shape == (0,)
    assert nothing[1].tolist() == [0] * 4


def test_weights_start_uniform_with_variance_2_over_the_sizes() -> None:
    vectors = RaggedLinear(400, 200).table.vectors.detach().numpy()
    assert vectors.var() == pytest.approx(2 / 600, rel=0.02)
    assert np.abs(vectors).max() <= np.sqrt(6 / 600)
