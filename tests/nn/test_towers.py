"""Towers over the same rows: the kernels and torch give the same numbers, forward and back."""

import torch

from recsys.nn.cross import MatrixCross
from recsys.nn.mlp import mlp
from recsys.nn.towers import Crosses, Linears, in_blocks, sum_of_towers


def drawn(*shapes, dtype=torch.float32):
    return tuple((0.5 * torch.randn(shape, dtype=dtype)).requires_grad_() for shape in shapes)


def two_towers(dtype=torch.float32):
    """Cross layers and one more, beside hidden layers, and all their weights."""
    crossing = drawn((5, 5), (5,), (5, 5), (5,), dtype=dtype)
    weight, bias, *deep = drawn((2, 14), (2,), (9, 5), (9,), dtype=dtype)
    towers = (
        # Slices, as of weights that two towers share.
        [Crosses(crossing), Linears().then(weight[:, :5], bias)],
        [Linears(tuple(deep), (True,)).then(weight[:, 5:], torch.zeros(2, dtype=dtype))],
    )
    return towers, (*crossing, weight, bias, *deep)


def gradients(out, *parameters):
    slope = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return torch.autograd.grad(out, parameters, slope)


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other.to(one.dtype), rtol=1e-4, atol=1e-5)


def test_towers_are_one_pass_and_give_what_torch_gives():
    (towers, weights), (wide_towers, wide_weights) = two_towers(), two_towers(torch.float64)
    with torch.no_grad():
        for one, other in zip(weights, wide_weights, strict=True):
            other.copy_(one)
    x = torch.randn(70, 5, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    out, wanted = sum_of_towers(x, *towers), sum_of_towers(wide, *wide_towers)
    assert type(out.grad_fn).__name__ == "_TowersBackward"
    assert type(wanted.grad_fn).__name__ == "AddBackward0"
    same([out, *gradients(out, x, *weights)], [wanted, *gradients(wanted, wide, *wide_weights)])


def test_rows_without_a_gradient_and_rows_out_of_order():
    towers, weights = two_towers()
    x = torch.randn(5, 11).T
    out = sum_of_towers(x, *towers)
    wanted = sum(tower[-1](tower[0](x) if len(tower) == 2 else x) for tower in towers)
    same([out, *gradients(out, *weights)], [wanted, *gradients(wanted, *weights)])


def test_crossing_alone_is_a_tower():
    net, x = MatrixCross(5, 3), torch.randn(70, 5, requires_grad=True)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    out = net(x)
    assert type(out.grad_fn).__name__ == "_TowersBackward"
    found = [out, *gradients(out, x, *net.parameters())]
    wide = x.detach().double().requires_grad_()
    wanted = net.double()(wide)
    same(found, [wanted, *gradients(wanted, wide, *net.parameters())])
    assert MatrixCross(5, 3, rank=2).bare is None


def test_what_needs_no_gradient_or_is_not_float32_is_torchs():
    net, x = mlp(4, 9, 3), torch.randn(11, 4)
    assert in_blocks(x, net.parameters())
    with torch.no_grad():
        assert not in_blocks(x, net.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert not in_blocks(x, net.parameters())
        assert net(x).dtype == torch.bfloat16
    assert not in_blocks(x[None], net.parameters())
    assert not in_blocks(x.double(), net.double().parameters())
    assert type(net(x.double()).grad_fn).__name__ == "AddmmBackward0"
