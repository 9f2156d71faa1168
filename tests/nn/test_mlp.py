"""Stacks of layers: whoever works them out, a kernel or torch, the numbers are the same."""

import pytest
import torch
from torch import nn

from recsys.nn.mlp import Layers, hidden_layers, mlp


def kernel_of(out):
    """Name of the function that made a tensor."""
    return type(out.grad_fn).__name__


def gradients(out, *parameters):
    slope = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return torch.autograd.grad(out, parameters, slope)


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [mlp, hidden_layers])
@pytest.mark.parametrize("dims", [(3, 2), (7, 20, 1), (5, 40, 17, 6)])
def test_training_on_the_cpu_takes_the_kernel_and_gives_what_torch_gives(make, dims):
    net, x = make(*dims), torch.randn(70, dims[0], requires_grad=True)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    out, wanted = net(x), nn.Sequential.forward(net, x)
    assert kernel_of(out) == "_TowersBackward"
    assert kernel_of(wanted) != "_TowersBackward"
    same([out, *gradients(out, x, *net.parameters())], [wanted, *gradients(wanted, x, *net.parameters())])


def test_rows_without_a_gradient_and_rows_out_of_order():
    net, x = mlp(4, 9, 1), torch.randn(4, 11).T
    out, wanted = net(x), nn.Sequential.forward(net, x)
    same([out, *gradients(out, *net.parameters())], [wanted, *gradients(wanted, *net.parameters())])


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"batch_norm": True}, {"activation": nn.Tanh}])
def test_other_modules_are_called_one_after_the_other(options):
    net, x = mlp(4, 9, 3, **options), torch.randn(11, 4)
    assert kernel_of(net(x)) == "AddmmBackward0"


def test_layers_after_the_first_are_layers_too():
    net, x = mlp(4, 9, 3), torch.randn(11, 4)
    assert isinstance(net[1:], Layers)
    with torch.no_grad():
        torch.testing.assert_close(net[1:](net[0](x)), net(x))


@pytest.mark.parametrize(
    ("modules", "rectified"),
    [
        ([], ()),
        ([nn.Linear(4, 3)], (False,)),
        ([nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)], (True, False)),
        ([nn.Linear(4, 3), nn.ReLU(), nn.ReLU()], None),
        ([nn.ReLU(), nn.Linear(4, 3)], None),
        ([nn.Linear(4, 3), nn.Tanh()], None),
    ],
)
def test_layers_are_bare_without_anything_but_linear_ones_and_relus(modules, rectified):
    layers = Layers(*modules)
    if rectified is None:
        assert layers.bare is None
    else:
        assert layers.bare.rectified == rectified
        assert len(layers.bare.weights) == 2 * len(rectified)
    x = torch.randn(6, 4)
    torch.testing.assert_close(layers(x), nn.Sequential.forward(layers, x), rtol=1e-4, atol=1e-5)
