"""Attention both ways against its definition, by loops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.nn.attention import BidirectionalBlock, attention

B, L, D = 3, 7, 6
REAL = torch.arange(L) < torch.tensor([[L], [4], [1]])


def block(n_heads: int, dropout: float = 0.0) -> BidirectionalBlock:
    """A block with parameters of its own everywhere, so that nothing is hidden by a norm of 1 and a bias of 0."""
    made = BidirectionalBlock(D, n_heads, dropout, 4 * D).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made.eval()


def one_position_at_a_time(made: BidirectionalBlock, x: Tensor) -> Tensor:
    """The definition at the real positions, by loops over rows, positions and heads."""
    out, width = torch.zeros_like(x), D // made.n_heads
    for row in range(B):
        real = x[row, REAL[row]]
        q, k, v = made.query(real), made.key(real), made.value(real)
        for t in range(len(real)):
            heads = []
            for head in range(made.n_heads):
                part = slice(head * width, (head + 1) * width)
                heads.append(torch.softmax(k[:, part] @ q[t, part] / width**0.5, 0) @ v[:, part])
            y = made.attention_norm(real[t] + made.mix(torch.cat(heads)))
            out[row, t] = made.forward_norm(y + made.outer(F.gelu(made.inner(y))))
    return out


@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_a_block_is_attention_over_the_real_positions_a_position_at_a_time(n_heads: int) -> None:
    made, x = block(n_heads), torch.randn(B, L, D, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(made(x, REAL)[REAL], one_position_at_a_time(made, x)[REAL])


@pytest.mark.parametrize("n_heads", [1, 2])
def test_the_path_with_dropout_is_the_plain_one_but_for_what_is_left_out(n_heads: int) -> None:
    query, key, value = (torch.randn(B, n_heads, L, D, dtype=torch.float64) for _ in range(3))
    # So small a share leaves out nothing, yet takes the path with dropout.
    dropped = attention(query, key, value, 1e-9, REAL)
    torch.testing.assert_close(dropped, attention(query, key, value, 0.0, REAL))


def test_weights_that_are_left_out_are_made_up_for_on_the_average() -> None:
    query, key, value = (torch.randn(B, 2, L, D) for _ in range(3))
    draws = torch.stack([attention(query, key, value, 0.3, REAL) for _ in range(3000)])
    assert draws.std(0).min() > 0.01
    torch.testing.assert_close(draws.mean(0), attention(query, key, value, 0.0, REAL), atol=0.1, rtol=0)


def test_no_gradient_reaches_padding_with_dropout_or_without() -> None:
    for dropout in (0.0, 0.3):
        key, value = (torch.randn(B, 2, L, D, requires_grad=True) for _ in range(2))
        attention(torch.randn(B, 2, L, D), key, value, dropout, REAL).square().sum().backward()
        for part in (key, value):
            assert part.grad is not None
            assert part.grad.transpose(1, 2)[~REAL].count_nonzero() == 0
        # A row of one position has nothing to choose, so its keys have no gradient either.
        assert key.grad is not None
        assert key.grad.transpose(1, 2)[:2][REAL[:2]].count_nonzero() > 0
