"""Losses of a mini-batch whose items are each other's negatives, against loops over rows and columns."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recsys.nn.sampled_losses import bpr, bpr_max, cross_entropy, softmax_of_negatives, top1, top1_max

Loss = Callable[[Tensor], Tensor]
LOG_Q = torch.linspace(-3, 2, 9, dtype=torch.float64)
LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "cross-entropy, corrected": lambda scores: cross_entropy(scores, LOG_Q[: scores.shape[1]]),
    "top1": top1,
    "top1-max": top1_max,
    "bpr": bpr,
    "bpr-max": bpr_max,
    "bpr-max, elu": lambda scores: bpr_max(scores, elu=0.5),
    "bpr-max, elu, regularized": lambda scores: bpr_max(scores, 0.5, 0.7),
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax_twin(row: list[float], target: int) -> list[float]:
    powers = [0.0 if j == target else math.exp(x) for j, x in enumerate(row)]
    return [power / sum(powers) if sum(powers) else 0.0 for power in powers]


def twin(name: str, row: list[float], i: int) -> float:
    """The loss of one row by the formula, a column at a time."""
    if "elu" in name:
        row = [x if x > 0 else 0.5 * (math.exp(x) - 1) for x in row]
    if name == "cross-entropy, corrected":
        row = [x - q for x, q in zip(row, LOG_Q.tolist(), strict=False)]
    weights = softmax_twin(row, i)
    if name.startswith("cross-entropy"):
        return math.log(sum(math.exp(x) for x in row)) - row[i]
    if name == "top1":
        return (sum(sigmoid(x - row[i]) + sigmoid(x * x) for x in row) - sigmoid(row[i] ** 2)) / len(row)
    if name == "top1-max":
        return sum(w * (sigmoid(x - row[i]) + sigmoid(x * x)) for w, x in zip(weights, row, strict=True))
    if name == "bpr":
        return sum(-math.log(sigmoid(row[i] - x)) for x in row)
    chance = sum(w * sigmoid(row[i] - x) for w, x in zip(weights, row, strict=True)) + 1e-24
    penalty = sum(w * x * x for w, x in zip(weights, row, strict=True))
    return -math.log(chance) + (0.7 * penalty if "regularized" in name else 0.0)


def scores_of(n_rows: int, n_columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n_rows, n_columns, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("shape", [(4, 9), (4, 4), (1, 5)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_sum_of_its_rows_divided_by_their_number(name: str, shape: tuple[int, int]) -> None:
    scores = scores_of(*shape)
    wanted = [twin(name, row, i) for i, row in enumerate(scores.tolist())]
    assert float(LOSSES[name](scores)) == pytest.approx(sum(wanted) / len(wanted), rel=1e-9)


@pytest.mark.parametrize("shape", [(4, 9), (1, 5)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_small_differences(name: str, shape: tuple[int, int]) -> None:
    scores = scores_of(*shape, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: 3 * LOSSES[name](x), scores)


@pytest.mark.parametrize("name", LOSSES)
def test_an_example_without_negatives_teaches_nothing(name: str) -> None:
    scores = torch.tensor([[1.5]], dtype=torch.float64, requires_grad=True)
    LOSSES[name](scores).backward()
    assert scores.grad is not None
    assert scores.grad.abs().max() < 1e-12


@pytest.mark.parametrize("name", [name for name in LOSSES if "corrected" not in name])
def test_the_order_of_shared_negatives_changes_nothing(name: str) -> None:
    scores = scores_of(4, 9)
    turned = scores[:, [0, 1, 2, 3, *range(8, 3, -1)]]
    torch.testing.assert_close(LOSSES[name](turned), LOSSES[name](scores))


def test_which_losses_see_differences_alone() -> None:
    scores = scores_of(4, 9)
    moved = scores + torch.tensor([[1.0], [-2.0], [0.5], [3.0]], dtype=torch.float64)
    for name in ("cross-entropy", "bpr", "bpr-max"):
        torch.testing.assert_close(LOSSES[name](moved), LOSSES[name](scores))
    for name in ("top1", "top1-max", "bpr-max, elu, regularized"):
        assert abs(float(LOSSES[name](moved) - LOSSES[name](scores))) > 1e-3


def test_negatives_share_a_softmax_without_the_target() -> None:
    weights = softmax_of_negatives(scores_of(4, 9))
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
    assert (weights.diagonal() == 0).all()
    assert softmax_of_negatives(scores_of(1, 1)).tolist() == [[0]]


@pytest.mark.parametrize("name", LOSSES)
def test_large_scores_leave_losses_and_gradients_finite(name: str) -> None:
    scores = (100 * scores_of(4, 9)).float().requires_grad_()
    loss = LOSSES[name](scores)
    loss.backward()
    assert torch.isfinite(loss)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def test_a_correction_by_how_often_items_are_drawn_makes_the_sampled_softmax_unbiased() -> None:
    # Of the whole softmax, in expectation: sum over the catalog of exp(o), here from items drawn by popularity.
    generator = torch.Generator().manual_seed(0)
    scores, popularity = torch.randn(50, generator=generator), torch.arange(1.0, 51)
    whole = torch.logsumexp(scores, 0)
    share = popularity / popularity.sum()
    drawn = torch.multinomial(share, 200_000, replacement=True, generator=generator)
    table = torch.cat([scores[:1], scores[drawn]])[None]
    log_q = torch.cat([torch.full((1,), 40.0), share.log()[drawn] + math.log(len(drawn))])
    found = cross_entropy(table, log_q) + table[0, 0] - 40
    assert float(found) == pytest.approx(float(whole), abs=0.02)
