"""Cross networks against loops, and what the paper says of them."""

import pytest
import torch

from recsys.nn.cross import MatrixCross, MixCross, VectorCross

DIM, LAYERS = 5, 3


def randomized(net):
    net = net.double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


NETS = {
    "vector": lambda: VectorCross(DIM, LAYERS),
    "matrix": lambda: MatrixCross(DIM, LAYERS),
    "low rank": lambda: MatrixCross(DIM, LAYERS, 2),
    "mix": lambda: MixCross(DIM, LAYERS, 2, 3),
}


def a_row_at_a_time(name, net, row):
    """The definitions, an output at a time."""
    x = row.clone()
    for layer in range(LAYERS):
        new = torch.empty_like(x)
        for d in range(DIM):
            if name == "vector":
                new[d] = row[d] * sum(x[e] * net.weight[layer, e] for e in range(DIM)) + net.bias[layer, d] + x[d]
            elif name == "matrix":
                new[d] = row[d] * (net.layers[layer].weight[d] @ x + net.layers[layer].bias[d]) + x[d]
            elif name == "low rank":
                down, up = net.layers[layer]
                new[d] = row[d] * ((up.weight @ down.weight)[d] @ x + up.bias[d]) + x[d]
            else:
                gates = torch.softmax(net.gate[layer].weight @ x, 0)
                new[d] = x[d]
                for k in range(3):
                    narrow = torch.tanh(net.core[layer, k] @ torch.tanh(net.down[layer, k].T @ x))
                    new[d] += gates[k] * row[d] * (net.up[layer, k, d] @ narrow + net.bias[layer, d])
        x = new
    return x


@pytest.mark.parametrize("name", NETS)
def test_layers_are_those_of_the_definition(name):
    net, x = randomized(NETS[name]()), torch.randn(4, DIM, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.stack([a_row_at_a_time(name, net, row) for row in x]))


@pytest.mark.parametrize("name", ["vector", "matrix", "low rank"])
def test_a_layer_raises_the_degree_by_one(name):
    net, x = randomized(NETS[name]()), torch.randn(1, DIM, dtype=torch.float64)
    with torch.no_grad():
        for parameter_name, parameter in net.named_parameters():
            if "bias" in parameter_name:
                parameter.zero_()
        # A polynomial of degree L + 1 without a constant in the scale of the input: L + 1 values tell it, the next obeys.
        scales = torch.arange(1, LAYERS + 3, dtype=torch.float64)
        values = torch.cat([net(scale * x) for scale in scales])
    powers = scales[:, None] ** torch.arange(1, LAYERS + 2)
    coefficients = torch.linalg.solve(powers[:-1], values[:-1])
    torch.testing.assert_close(powers[-1] @ coefficients, values[-1])
    assert (coefficients[-1].abs() > 1e-6).all()
    # One power less does not do.
    fewer = torch.linalg.lstsq(powers[:, :-1], values).solution
    assert (powers[:, :-1] @ fewer - values).abs().max() > 1e-3


def test_a_vector_is_a_matrix_of_rank_one_with_the_bias_outside():
    vector, matrix = randomized(VectorCross(DIM, 2)), MatrixCross(DIM, 2).double()
    x = torch.randn(1, DIM, dtype=torch.float64)
    with torch.no_grad():
        for n, layer in enumerate(matrix.layers):
            layer.weight.copy_(vector.weight[n].expand(DIM, DIM))
            layer.bias.copy_(vector.bias[n] / x[0])
        torch.testing.assert_close(matrix(x), vector(x))


def test_parameters_are_as_many_as_the_papers_say():
    counts = {name: sum(p.numel() for p in make().parameters()) for name, make in NETS.items()}
    assert counts == {
        "vector": 2 * DIM * LAYERS,
        "matrix": LAYERS * (DIM**2 + DIM),
        "low rank": LAYERS * (2 * DIM * 2 + DIM),
        "mix": LAYERS * (3 * (2 * DIM * 2 + 2**2) + DIM + 3 * DIM),
    }


@pytest.mark.parametrize("name", NETS)
def test_first_sums_add_up_over_parts_of_the_input(name):
    net, left, right = randomized(NETS[name]()), torch.randn(5, DIM).double(), torch.randn(5, DIM).double()
    sums = net.first_sums(left) + net.first_sums(right)
    torch.testing.assert_close(net(left + right, sums), net(left + right))
    assert not torch.allclose(net(left + right, sums + 1), net(left + right))
