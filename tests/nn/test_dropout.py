"""Dropout that decides on four numbers by one draw."""

import pytest
import torch
import torch.nn.functional as F

from recsys.nn.attention import causal_attention
from recsys.nn.dropout import Dropout, drop


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_a_share_is_0_and_the_rest_is_scaled_up(share):
    found = drop(torch.ones(401, 499), share)
    kept = found != 0
    # Five standard deviations of the share of 200,000 draws.
    assert abs(float(kept.double().mean()) - (1 - share)) < 5 * (share * (1 - share) / kept.numel()) ** 0.5
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - share)), rtol=2e-4, atol=0)


def test_numbers_that_share_a_draw_are_left_out_independently_of_each_other():
    kept = (drop(torch.ones(4 * 50_000), 0.3) != 0).view(-1, 4).double()
    covariance = torch.corrcoef(kept.T)
    assert (covariance - torch.eye(4)).abs().max() < 5 / 50_000**0.5


@pytest.mark.parametrize("n", [1, 3, 4, 5, 17])
def test_sizes_that_no_draw_fills_are_dropped_too(n):
    found = torch.stack([drop(torch.ones(n), 0.5) for _ in range(64)])
    assert found.shape == (64, n)
    assert ((found == 0).any(0) & (found == 2).any(0)).all()


def test_gradients_are_left_out_and_scaled_alike():
    x = torch.randn(1000, requires_grad=True)
    out = drop(x, 0.4)
    out.sum().backward()
    torch.testing.assert_close(out, x * x.grad)
    assert 0 < int((x.grad == 0).sum()) < 1000


def test_nothing_is_left_out_by_a_share_of_0_or_after_training_and_all_by_1():
    x = torch.randn(100)
    assert torch.equal(drop(x, 0.0), x)
    assert not drop(x, 1.0).any()
    layer = Dropout(0.5)
    assert not torch.equal(layer(x), x)
    assert torch.equal(layer.eval()(x), x)


def test_a_seed_gives_the_same_again():
    x = torch.ones(1000)
    torch.manual_seed(1)
    one = drop(x, 0.5)
    other = drop(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(drop(x, 0.5), one)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("n", [5, 1000])
def test_bfloat16_leaves_out_the_same_numbers_and_rounds_the_others(n):
    x = torch.randn(n)
    x[:2] = torch.tensor([torch.inf, torch.nan])
    x = x.bfloat16()
    torch.manual_seed(4)
    wanted = drop(x.float(), 0.3).bfloat16()
    torch.manual_seed(4)
    found = drop(x, 0.3)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_causal_attention_without_dropout_is_torchs_and_with_some_its_mean():
    query, key, value = torch.randn(3, 2, 2, 5, 4).unbind()
    wanted = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(causal_attention(query, key, value, 0.0), wanted)
    many = torch.stack([causal_attention(query, key, value, 0.3) for _ in range(20_000)])
    torch.testing.assert_close(many.mean(0), wanted, atol=0.05, rtol=0)
    assert many.std(0).max() > 0.1


def test_causal_attention_with_dropout_sees_nothing_of_later_positions():
    query, key, value = torch.randn(3, 1, 1, 6, 4).unbind()
    later = value.clone()
    later[..., 3:, :] += 100
    torch.manual_seed(2)
    one = causal_attention(query, key, value, 0.2)
    torch.manual_seed(2)
    assert torch.equal(causal_attention(query, key, later, 0.2)[..., :3, :], one[..., :3, :])


def test_the_weights_that_dropout_leaves_are_those_of_the_softmax():
    # Values that are unit vectors show the weights themselves.
    query, key = torch.randn(2, 1, 1, 4, 3).unbind()
    value = torch.eye(4)[None, None]
    weights = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    found = causal_attention(query, key, value, 0.5)
    kept = found != 0
    torch.testing.assert_close(found[kept], 2 * weights[kept])
