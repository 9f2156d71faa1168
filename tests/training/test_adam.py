"""Adam in one call beside torch's."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recsys.kernels import adam as kernel
from recsys.training import seeded
from recsys.training.adam import Adam

SHAPES = [(), (3,), (7, 5), (40, 30)]


def parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    with seeded(0):
        return [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]


def move(some: list[Tensor], optimizer: torch.optim.Optimizer, steps: int, left_out: int | None = None) -> None:
    """Steps by gradients that are the same for all."""
    with seeded(1):
        for _ in range(steps):
            for i, one in enumerate(some):
                gradient = torch.randn(one.shape, dtype=one.dtype)
                one.grad = None if i == left_out else gradient
            optimizer.step()


def groups(some: list[Tensor]) -> list[dict[str, Any]]:
    return [{"params": some[:2], "weight_decay": 0.0}, {"params": some[2:], "weight_decay": 0.3}]


def assert_near(some: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("piece, small", [(1 << 14, 1 << 17), (100, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch(dtype: torch.dtype, piece: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "PIECE", piece)
    monkeypatch.setattr(kernel, "SMALL", small)
    mine, theirs = parameters(dtype), parameters(dtype)
    move(mine, Adam(groups(mine), 0.1), 5)
    move(theirs, torch.optim.Adam(groups(theirs), 0.1), 5)
    assert_near(mine, theirs)


def test_a_parameter_without_a_gradient_stands_still_and_counts_its_own_steps() -> None:
    mine, theirs = parameters(), parameters()
    one, other = Adam(mine, 0.1), torch.optim.Adam(theirs, 0.1)
    for some, optimizer in ((mine, one), (theirs, other)):
        move(some, optimizer, 2, left_out=2)
        assert torch.equal(some[2], parameters()[2])
        move(some, optimizer, 2)
    assert_near(mine, theirs)
    assert [float(one.state[p]["step"]) for p in mine] == [4, 4, 2, 4]


def test_a_rate_that_changes_is_taken_at_once() -> None:
    some = parameters()
    optimizer = Adam(some, 0.1)
    move(some, optimizer, 1)
    before = [one.detach().clone() for one in some]
    optimizer.param_groups[0]["lr"] = 0.0
    move(some, optimizer, 1)
    assert all(torch.equal(one, other) for one, other in zip(some, before, strict=True))


def test_state_goes_on_in_torchs_adam_and_back() -> None:
    mine, theirs = parameters(), parameters()
    first = Adam(mine, 0.1)
    move(mine, first, 3)
    following = torch.optim.Adam(mine, 0.1)
    following.load_state_dict(first.state_dict())
    move(mine, following, 3)
    last = Adam(mine, 0.1)
    last.load_state_dict(following.state_dict())
    move(mine, last, 3)
    other = torch.optim.Adam(theirs, 0.1)
    for _ in range(3):
        move(theirs, other, 3)
    assert_near(mine, theirs)


def test_a_closure_gives_the_loss_before_the_step() -> None:
    (weight,) = some = [nn.Parameter(torch.tensor([3.0]))]
    optimizer = Adam(some, 0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 9.0
    assert weight.item() == pytest.approx(2.9)


def test_gradients_are_taken_away_or_set_to_zero() -> None:
    some = parameters()
    optimizer = Adam(some, 0.1)
    move(some, optimizer, 1)
    optimizer.zero_grad(set_to_none=False)
    assert [float(one.grad.abs().sum()) for one in some if one.grad is not None] == [0] * 4
    optimizer.zero_grad()
    assert [one.grad for one in some] == [None] * 4
