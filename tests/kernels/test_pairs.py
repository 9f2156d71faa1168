"""The log loss of pairs and its gradients, beside a loop over pairs in double precision."""

from itertools import pairwise

import numpy as np
import pytest

from recsys.kernels import pairs as kernel
from recsys.kernels.pairs import Gradients, Pairs, pair_gradients

SHAPES = [(3, ()), (0, (5, 4, 2)), (3, (5, 4, 2)), (0, (4,)), (2, (4,)), (8, (32, 16, 8))]


def drawn(dim: int, widths: tuple[int, ...], n_users: int = 23, n_items: int = 7, k: int = 3) -> Pairs:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    tower = [normal(1, widths[-1])] if widths else []
    for below, above in pairwise(widths):
        tower += [normal(above, below), normal(above)]
    width = dim + (widths[0] if widths else 0)
    items = rng.integers(0, n_items, (n_users, 1 + k))
    return Pairs(normal(n_users, width), normal(n_items, width), items, dim, [normal(1), *tower])


def by_loops(x: Pairs) -> tuple[float, Gradients]:
    """The same, pair by pair: the chain rule written out."""
    people, things = x.people.astype(float), x.things.astype(float)
    bias, *tower = (one.astype(float) for one in x.weights)
    found = Gradients(np.zeros_like(people), np.zeros_like(things), [np.zeros(one.shape) for one in x.weights])
    loss = 0.0
    for user, items in enumerate(x.items):
        for place, item in enumerate(items):
            u, i = people[user], things[item]
            hidden = [np.maximum(u[x.dim :] + i[x.dim :], 0)]
            for weight, shift in zip(tower[1::2], tower[2::2], strict=True):
                hidden.append(np.maximum(weight @ hidden[-1] + shift, 0))
            logit = bias[0] + u[: x.dim] @ i[: x.dim] + (tower[0][0] @ hidden[-1] if tower else 0)
            loss += np.logaddexp(0, -logit if place == 0 else logit)
            slope = 1 / (1 + np.exp(-logit)) - (place == 0)
            found.weights[0][0] += slope
            found.people[user, : x.dim] += slope * i[: x.dim]
            found.things[item, : x.dim] += slope * u[: x.dim]
            if not tower:
                continue
            found.weights[1][0] += slope * hidden[-1]
            gradient = slope * tower[0][0] * (hidden[-1] > 0)
            for level in range(len(hidden) - 1, 0, -1):
                found.weights[2 * level] += np.outer(gradient, hidden[level - 1])
                found.weights[2 * level + 1] += gradient
                gradient = (tower[2 * level - 1].T @ gradient) * (hidden[level - 1] > 0)
            found.people[user, x.dim :] += gradient
            found.things[item, x.dim :] += gradient
    return loss, found


def near(one: tuple[float, Gradients], other: tuple[float, Gradients]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    for left, right in zip(
        (one[1].people, one[1].things, *one[1].weights),
        (other[1].people, other[1].things, *other[1].weights),
        strict=True,
    ):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, atol=2e-4)


@pytest.mark.parametrize("numbers", [1, 50, 1 << 16])
@pytest.mark.parametrize("dim, widths", SHAPES)
def test_loss_and_gradients_are_those_of_loops(
    dim: int, widths: tuple[int, ...], numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "BLOCK_NUMBERS", numbers)
    x = drawn(dim, widths)
    near(pair_gradients(x, n_jobs=1), by_loops(x))


@pytest.mark.parametrize("dim, widths", SHAPES)
def test_threads_share_the_users(dim: int, widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LEAST", 16)
    x = drawn(dim, widths)
    found, again = pair_gradients(x, n_jobs=3), pair_gradients(x, n_jobs=3)
    near(found, by_loops(x))
    assert found[0] == again[0]
    assert np.array_equal(found[1].things, again[1].things)


def test_large_logits_neither_overflow_nor_lose_their_cost() -> None:
    people, things = np.array([[1e4], [-1e4]], np.float32), np.array([[1.0], [-1.0]], np.float32)
    x = Pairs(people, things, np.array([[0, 1], [0, 1]]), 1, [np.zeros(1, np.float32)])
    loss, found = pair_gradients(x, n_jobs=1)
    assert loss == pytest.approx(4 * 1e4 / 2)  # user 0 has both right, user 1 both wrong
    np.testing.assert_allclose(found.people, [[0], [-2]], atol=1e-6)


def test_thousands_of_pairs_that_say_nothing_cost_ln_2_each() -> None:
    x = drawn(2, (4,), n_users=4000)
    for one in (x.people, x.things, *x.weights):
        one[:] = 0
    assert pair_gradients(x, n_jobs=1)[0] == pytest.approx(4000 * 4 * np.log(2))


def test_no_users_have_no_loss() -> None:
    loss, found = pair_gradients(drawn(2, (4,), n_users=0), n_jobs=1)
    assert loss == 0
    assert found.people.shape == (0, 6)
    assert not found.things.any()
