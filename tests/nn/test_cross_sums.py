"""Cross networks from the first layer's sums of two parts, and from their sum."""

import pytest
import torch

from recsys.nn.cross import MatrixCross, MixCross, VectorCross

NETWORKS = {
    "vector": lambda: VectorCross(6, 2),
    "matrix": lambda: MatrixCross(6, 3),
    "low rank": lambda: MatrixCross(6, 2, 2),
    "mix": lambda: MixCross(6, 2, 3, 4),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_first_sums_add_up_over_parts_of_the_input(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, left, right = NETWORKS[name](), torch.randn(5, 6), torch.randn(5, 6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1
        sums = network.first_sums(left) + network.first_sums(right)
        torch.testing.assert_close(network(left + right, sums), network(left + right))
        assert not torch.allclose(network(left + right, sums + 1), network(left + right))
