"""FTRL-Proximal against a loop and the worked step of a wide and deep network, and what its l1 is for."""

import itertools

import pytest
import torch

from recsys.embedding import FTRL, Adagrad, Embedding
from tests.embedding.steps import batches, train

N, D = 30, 4


def given(case, name):
    return torch.tensor(case[name], dtype=torch.float64)


def test_ftrl_takes_the_worked_step(golden):
    file = golden("12_wide_deep")
    case, wanted = file["inputs"]["ftrl"], file["expected"]["ftrl"]
    weight = torch.nn.Parameter(given(wanted, "w_before"))
    optimizer = FTRL([weight], lr=case["alpha"], beta=case["beta"], l1=case["l1"], l2=case["l2"])
    rate = torch.tensor(case["alpha"], dtype=torch.float64)
    optimizer.state[weight].update(z=given(case, "z"), n=given(case, "n"), rate=rate)
    weight.grad = given(case, "g")
    optimizer.step()
    state = optimizer.state[weight]
    for name, value in [("w_after", weight), ("z", state["z"]), ("n", state["n"])]:
        torch.testing.assert_close(value.detach(), given(wanted, name), rtol=0, atol=1e-6)


def test_adagrad_takes_the_worked_step(golden):
    file = golden("12_wide_deep")
    case, wanted = file["inputs"]["adagrad"], file["expected"]["adagrad"]
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = Adagrad([weight], lr=case["lr"])
    optimizer.state[weight]["sum"] = given(case, "acc")
    weight.grad = given(case, "g")
    optimizer.step()
    torch.testing.assert_close(weight.detach(), given(wanted, "delta"), rtol=0, atol=1e-6)
    torch.testing.assert_close(optimizer.state[weight]["sum"], given(wanted, "acc"))


@pytest.mark.parametrize("sparse", [True, False])
def test_ftrl_is_a_loop_over_weights(sparse):
    ours, lr, beta, l1, l2 = Embedding(N, D, std=1.0, sparse=sparse).double(), 0.1, 0.7, 0.6, 0.3
    w = ours.weight.detach().clone()
    z, n = -w * (beta / lr + l2) - l1 * w.sign(), torch.zeros_like(w)
    optimizer = FTRL(ours.parameters(), lr, beta, l1, l2)
    for codes, aim in batches(N, D, rows=9, dtype=torch.float64):
        train(ours, optimizer, [(codes, aim)])
        gradient = ours.weight.grad.to_dense()
        for row, d in itertools.product({code + 1 for code in codes.tolist()}, range(D)):
            g, before = gradient[row, d], n[row, d].clone()
            n[row, d] += g**2
            z[row, d] += g - (n[row, d].sqrt() - before.sqrt()) / lr * w[row, d]
            pull = z[row, d] - l1 * z[row, d].sign()
            w[row, d] = -pull / ((beta + n[row, d].sqrt()) / lr + l2) if z[row, d].abs() > l1 else 0
        torch.testing.assert_close(ours.weight.detach(), w, rtol=1e-10, atol=1e-12)


def test_ftrl_keeps_starting_weights_until_a_gradient_speaks():
    weight = torch.nn.Parameter(torch.randn(N, D, dtype=torch.float64))
    start = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    FTRL([weight], l1=3.0, l2=2.0).step()
    torch.testing.assert_close(weight.detach(), start)


def test_ftrl_sets_weights_that_nothing_speaks_for_to_zero_exactly():
    x, rng = torch.randn(500, 10, dtype=torch.float64), torch.randn(500, dtype=torch.float64)
    weight = torch.nn.Parameter(torch.zeros(10, dtype=torch.float64))
    optimizer = FTRL([weight], lr=0.5, l1=20.0)
    for row, noise in zip(x, rng, strict=True):
        optimizer.zero_grad()
        (row @ weight - 2 * row[0] + row[1] - 0.1 * noise).square().mul(0.5).backward()
        optimizer.step()
    assert weight[2:].count_nonzero() == 0
    assert weight[0] > 1.5
    assert weight[1] < -0.5


@pytest.mark.parametrize("sparse", [True, False])
def test_another_rate_moves_no_weight_by_itself(sparse):
    ours = Embedding(N, D, std=1.0, sparse=sparse).double()
    optimizer = FTRL(ours.parameters(), lr=0.1, l1=0.01, l2=0.3)
    train(ours, optimizer, batches(N, D, rows=9, dtype=torch.float64))
    before = ours.weight.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.01
    ours.weight.grad = torch.zeros_like(ours.weight)
    optimizer.step()
    torch.testing.assert_close(ours.weight.detach(), before, rtol=1e-9, atol=1e-12)
