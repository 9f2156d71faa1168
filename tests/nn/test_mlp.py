"""Stacks of layers: whoever works them out, a kernel or torch, the numbers are the same."""

import pytest
import torch
from torch import nn

from recsys.nn.cross import MatrixCross
from recsys.nn.mlp import Layers, hidden_layers, in_blocks, linear_layers, mlp


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


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
    assert kernel_of(out) == "_LinearLayersBackward"
    assert kernel_of(wanted) != "_LinearLayersBackward"
    same([out, *gradients(out, x, *net.parameters())], [wanted, *gradients(wanted, x, *net.parameters())])


def test_one_more_layer_is_one_more_layer():
    net, x = hidden_layers(4, 9, 6), torch.randn(11, 4, requires_grad=True)
    weight, bias = torch.randn(2, 12, requires_grad=True), torch.randn(2, requires_grad=True)
    # A slice, as of weights that two networks share.
    out = net.followed_by(x, weight[:, 6:], bias)
    wanted = nn.functional.linear(nn.Sequential.forward(net, x), weight[:, 6:], bias)
    assert kernel_of(out) == "_LinearLayersBackward"
    same([out, *gradients(out, x, weight, bias)], [wanted, *gradients(wanted, x, weight, bias)])
    with_dropout = hidden_layers(4, 9, 6, dropout=0.5).eval()
    with_dropout.load_state_dict(dict(zip(with_dropout.state_dict(), net.state_dict().values(), strict=True)))
    same([with_dropout.followed_by(x, weight[:, 6:], bias)], [wanted])


def test_rows_without_a_gradient_and_rows_out_of_order():
    net, x = mlp(4, 9, 1), torch.randn(4, 11).T
    out, wanted = net(x), nn.Sequential.forward(net, x)
    same([out, *gradients(out, *net.parameters())], [wanted, *gradients(wanted, *net.parameters())])


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"batch_norm": True}, {"activation": nn.Tanh}])
def test_other_modules_are_called_one_after_the_other(options):
    net, x = mlp(4, 9, 3, **options), torch.randn(11, 4)
    assert kernel_of(net(x)) == "AddmmBackward0"


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
    assert kernel_of(net(x.double())) == "AddmmBackward0"


def test_layers_after_the_first_are_layers_too():
    net, x = mlp(4, 9, 3), torch.randn(11, 4)
    assert isinstance(net[1:], Layers)
    with torch.no_grad():
        torch.testing.assert_close(net[1:](net[0](x)), net(x))
    assert linear_layers(x, [net[0].weight, net[0].bias], [True]).min() == 0


def test_crossing_takes_the_kernel_and_both_gradients_of_the_rows():
    net, x = MatrixCross(5, 3), torch.randn(70, 5, requires_grad=True)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    crossed, again = net.with_input(x)
    assert kernel_of(crossed) == "_CrossBackward"
    wanted = net.double()(x.double()) + x.double().square()
    of_wanted = gradients(wanted, x, *net.parameters())
    net.float()
    crossed, again = net.with_input(x)
    out = crossed + again.square()
    same([out, *gradients(out, x, *net.parameters())], [one.float() for one in (wanted, *of_wanted)])
    # Either alone has a gradient too.
    same(gradients(again.square(), x), gradients(x.square(), x))
