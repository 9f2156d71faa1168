"""Attention, graph propagation, stacks of layers and field interactions against their definitions."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from recsys.nn.attention import CausalBlock
from recsys.nn.dropout import Dropout
from recsys.nn.graph import normalized_adjacency, propagate
from recsys.nn.interactions import pairwise_interaction
from recsys.nn.mlp import BatchNorm, mlp

# -- attention -----------------------------------------------------------------------------------------------------------

VARIANTS = ["official", "preln"]
B, L, D = 3, 7, 6


def block(variant, n_heads=2, dropout=0.0):
    """A block with parameters of its own everywhere, so that nothing is hidden by a norm of 1 and a bias of 0."""
    made = CausalBlock(D, n_heads, dropout, variant).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made.eval()


def one_position_at_a_time(made, x):
    """The definition, by loops over rows, positions and heads."""
    out, width = torch.zeros_like(x), D // made.n_heads
    for row in range(len(x)):
        normed = made.attention_norm(x[row])
        source = x[row] if made.variant == "official" else normed
        q, k, v = made.query(normed), made.key(source), made.value(source)
        for t in range(x.shape[1]):
            heads = []
            for head in range(made.n_heads):
                part = slice(head * width, (head + 1) * width)
                weights = torch.softmax(k[: t + 1, part] @ q[t, part] / width**0.5, 0)
                heads.append(weights @ v[: t + 1, part])
            y = torch.cat(heads) + (normed[t] if made.variant == "official" else x[row, t])
            z = made.forward_norm(y)
            out[row, t] = made.outer(torch.relu(made.inner(z))) + (z if made.variant == "official" else y)
    return out


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_a_block_is_attention_over_the_past_a_position_at_a_time(variant, n_heads):
    made, x = block(variant, n_heads), torch.randn(B, L, D, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(made(x), one_position_at_a_time(made, x))


@pytest.mark.parametrize("variant", VARIANTS)
def test_future_items_never_change_a_state(variant):
    made, x = block(variant), torch.randn(B, L, D, dtype=torch.float64)
    with torch.no_grad():
        states = made(x)
        for t in range(L - 1):
            other = x.clone()
            other[:, t + 1 :] = 100 * torch.randn(B, L - t - 1, D, dtype=torch.float64)
            changed = made(other)
            torch.testing.assert_close(changed[:, : t + 1], states[:, : t + 1], rtol=1e-12, atol=1e-12)
            assert (changed[:, t + 1 :] != states[:, t + 1 :]).any(-1).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_gradient_flows_back_from_a_state_to_the_future(variant):
    made, x = block(variant), torch.randn(1, L, D, dtype=torch.float64, requires_grad=True)
    for t in range(L):
        gradient = torch.autograd.grad(made(x)[0, t].sum(), x)[0][0]
        assert gradient[t + 1 :].count_nonzero() == 0
        assert (gradient[: t + 1] != 0).any(-1).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fill", [0.0, -1.0, 1e3])
def test_padding_on_the_right_never_changes_a_real_state(variant, fill):
    made, x = block(variant), torch.randn(B, L, D, dtype=torch.float64)
    padded = torch.cat([x, torch.full((B, 9, D), fill, dtype=torch.float64)], 1)
    with torch.no_grad():
        torch.testing.assert_close(made(padded)[:, :L], made(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_do_not_depend_on_the_other_rows_of_the_batch(variant):
    made, x = block(variant), torch.randn(B, L, D, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(made(x)[1:2], made(x[1:2]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_acts_in_training_alone(variant):
    made, x = block(variant, dropout=0.5), torch.randn(B, L, D, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(made(x), made(x))
        torch.testing.assert_close(made(x), one_position_at_a_time(made, x))
        made.train()
        assert not torch.equal(made(x), made(x))


def test_the_two_variants_differ():
    official, preln = block("official"), block("preln")
    preln.load_state_dict(official.state_dict())
    x = torch.randn(B, L, D, dtype=torch.float64)
    assert (official(x) - preln(x)).abs().max() > 0.1


# -- graph ---------------------------------------------------------------------------------------------------------------


def interactions(weighted=False):
    """5 users, 4 items; user 2 and item 3 have none."""
    seen = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0]], float)
    return seen * np.random.default_rng(0).uniform(1, 5, seen.shape) if weighted else seen


def dense_adjacency(matrix):
    """D^-1/2 A D^-1/2 with the users' nodes before the items'."""
    n_users, n_items = matrix.shape
    a = np.block([[np.zeros((n_users, n_users)), matrix], [matrix.T, np.zeros((n_items, n_items))]])
    degree = a.sum(1)
    return np.array(
        [[a[i, j] / np.sqrt(degree[i] * degree[j]) if a[i, j] else 0.0 for j in range(len(a))] for i in range(len(a))]
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_the_adjacency_is_divided_by_the_roots_of_both_degrees(weighted):
    matrix = interactions(weighted)
    found = normalized_adjacency(sp.csr_matrix(matrix)).to_dense()
    torch.testing.assert_close(found, torch.tensor(dense_adjacency(matrix), dtype=torch.float32))
    assert torch.equal(found, found.T)
    assert found[[2, 8]].count_nonzero() == 0


@pytest.mark.parametrize("shape", [(3, 2), (1, 1)])
def test_a_graph_without_edges_is_zeros(shape):
    found = normalized_adjacency(sp.csr_matrix(shape)).to_dense()
    assert torch.equal(found, torch.zeros(sum(shape), sum(shape)))


@pytest.mark.parametrize("n_layers", [0, 1, 2, 4])
def test_propagation_is_the_mean_of_the_dense_matrix_powers(n_layers):
    matrix = interactions(weighted=True)
    a, x = dense_adjacency(matrix), np.random.default_rng(1).normal(size=(9, 3))
    wanted = sum(np.linalg.matrix_power(a, k) @ x for k in range(n_layers + 1)) / (n_layers + 1)
    found = propagate(normalized_adjacency(sp.csr_matrix(matrix)), torch.tensor(x, dtype=torch.float32), n_layers)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_the_gradient_of_propagation_is_autograds_through_the_dense_matrix(n_layers):
    matrix = interactions(weighted=True)
    a, aim = torch.tensor(dense_adjacency(matrix), dtype=torch.float32), torch.randn(9, 3)
    x = torch.randn(9, 3, requires_grad=True)
    layers = [x]
    for _ in range(n_layers):
        layers.append(a @ layers[-1])
    wanted = torch.autograd.grad(((sum(layers) / len(layers) - aim) ** 2).sum(), x)[0]
    found = propagate(normalized_adjacency(sp.csr_matrix(matrix)), x, n_layers)
    torch.testing.assert_close(torch.autograd.grad(((found - aim) ** 2).sum(), x)[0], wanted, rtol=1e-5, atol=1e-6)


def test_a_node_without_edges_keeps_a_share_of_its_own_vector():
    x = torch.randn(9, 3)
    found = propagate(normalized_adjacency(sp.csr_matrix(interactions())), x, 3)
    torch.testing.assert_close(found[[2, 8]], x[[2, 8]] / 4)


def test_propagation_stays_in_full_precision_under_autocast():
    adjacency, x = normalized_adjacency(sp.csr_matrix(interactions())), torch.randn(9, 3, requires_grad=True)
    wanted = propagate(adjacency, x, 2)
    with torch.autocast("cpu", torch.bfloat16):
        found = propagate(adjacency, x, 2)
        found.square().sum().backward()
    assert torch.equal(found, wanted)
    assert torch.equal(x.grad, torch.autograd.grad(wanted.square().sum(), x)[0])


# -- layers and interactions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(4, 1), (5, 3, 2), (7, 8, 8, 8, 1)])
def test_layers_lead_from_width_to_width(dims):
    net = mlp(*dims)
    assert net(torch.randn(10, dims[0])).shape == (10, dims[-1])
    shapes = [tuple(layer.weight.shape) for layer in net if isinstance(layer, nn.Linear)]
    assert shapes == list(zip(dims[1:], dims[:-1], strict=True))


def kinds(net):
    return [type(layer) for layer in net]


def test_all_layers_but_the_last_are_followed_by_norm_activation_and_dropout():
    net = mlp(4, 3, 2, dropout=0.3, activation=nn.Tanh, batch_norm=True)
    assert kinds(net) == [nn.Linear, BatchNorm, nn.Tanh, Dropout, nn.Linear]
    assert net[3].share == 0.3
    assert net[1].num_features == 3
    assert kinds(mlp(4, 3, 2)) == [nn.Linear, nn.ReLU, nn.Linear]
    assert kinds(mlp(4, 2, dropout=0.3, batch_norm=True)) == [nn.Linear]


def test_a_stack_is_its_layers_one_after_the_other():
    net, x = mlp(4, 6, 2), torch.randn(5, 4)
    torch.testing.assert_close(net(x), torch.relu(x @ net[0].weight.T + net[0].bias) @ net[2].weight.T + net[2].bias)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_activation_in_place_leaves_values_and_gradients_as_they_are(batch_norm):
    inner, x = mlp(5, 7, 6, 1, batch_norm=batch_norm), torch.randn(9, 5, requires_grad=True)
    kept, outer = x.detach().clone(), mlp(5, 7, 6, 1, batch_norm=batch_norm, activation=nn.ReLU)
    outer.load_state_dict(inner.state_dict())
    results = []
    for net in (inner, outer):
        logits = net(x)
        results.append((logits, *torch.autograd.grad(logits.square().sum(), [x, *net.parameters()])))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("n_fields", [2, 3, 7])
def test_pairwise_interaction_is_the_double_loop_over_fields(n_fields):
    e = torch.randn(4, n_fields, 3, dtype=torch.float64, requires_grad=True)
    wanted = torch.zeros(4, dtype=torch.float64)
    for i in range(n_fields):
        for j in range(i + 1, n_fields):
            wanted = wanted + (e[:, i] * e[:, j]).sum(1)
    torch.testing.assert_close(pairwise_interaction(e), wanted)
    assert torch.autograd.gradcheck(pairwise_interaction, (e,))


@pytest.mark.parametrize("form", ["apart in memory", "bfloat16"])
def test_vectors_that_no_kernel_takes_interact_the_same(form):
    e = torch.randn(4, 5, 6)
    other = e.transpose(0, 1).contiguous().transpose(0, 1) if form == "apart in memory" else e.bfloat16()
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if form == "apart in memory" else {"atol": 0.3, "rtol": 0.05}
    results = []
    for one in (e, other):
        vectors = one.detach().requires_grad_()
        sums = pairwise_interaction(vectors)
        results.append((sums.float(), *torch.autograd.grad(sums.sum(), vectors)))
    torch.testing.assert_close(results[1][0], results[0][0], **tolerance)
    torch.testing.assert_close(results[1][1].float(), results[0][1], **tolerance)


def test_one_field_interacts_with_nothing():
    e = torch.randn(4, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(pairwise_interaction(e), torch.zeros(4, dtype=torch.float64))


def test_a_batch_of_one_row_is_normalized_by_what_was_met_before():
    norm, plain = BatchNorm(4), nn.BatchNorm1d(4)
    for rows in (torch.randn(9, 4), 3 + torch.randn(7, 4)):
        torch.testing.assert_close(norm(rows), plain(rows))
    row = torch.randn(1, 4)
    before = norm.running_mean.clone()
    torch.testing.assert_close(norm(row), plain.eval()(row))
    torch.testing.assert_close(norm.running_mean, before)


def test_linear_layers_keep_the_size_of_what_passes_through_them():
    layers = [layer for layer in mlp(300, 500, 400, 1) if isinstance(layer, torch.nn.Linear)]
    for layer in layers[:2]:
        wanted = (2 / (layer.in_features + layer.out_features)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(wanted, rel=0.03)
    assert all((layer.bias == 0).all() for layer in layers)
