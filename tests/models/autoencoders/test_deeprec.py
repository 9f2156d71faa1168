from typing import Any

import numpy as np
import pytest
import torch
from tests.models.autoencoders.tastes import ratings_frame

import recsys
from recsys import Dataset, DeepRec
from recsys.models.autoencoders.deeprec import DeepRecNet, DenseBatch


def quick(**parameters: Any) -> DeepRec:
    small = {"hidden_dims": (24, 12), "dropout": 0.2, "epochs": 60, "batch_size": 16, "learning_rate": 0.02}
    return DeepRec(verbose=0, device="cpu", **(small | parameters))


def selu(x: np.ndarray) -> np.ndarray:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * (np.exp(x) - 1))


@pytest.mark.parametrize("last", ["selu", "identity"])
@pytest.mark.parametrize("tied", [False, True])
def test_predictions_are_those_of_a_loop_over_the_layers(last: Any, tied: bool) -> None:
    frame = ratings_frame()
    model = quick(epochs=3, output_activation=last, tied=tied).fit(frame)
    weights = {name: value.numpy().astype(float) for name, value in model.module_.state_dict().items()}
    down = [weights["first.table.weight"][1:], weights["encoder.0.weight"].T]
    up = [one.T for one in down[::-1]] if tied else [weights[f"decoder.{n}.weight"].T for n in range(2)]
    biases = [weights["first.bias"], weights["encoder.0.bias"]]
    biases += [weights[f"biases.{n}" if tied else f"decoder.{n}.bias"] for n in range(2)]
    x = frame.pivot(index="user_id", columns="item_id", values="rating").fillna(0).to_numpy()
    for n, (weight, bias) in enumerate(zip([*down, *up], biases, strict=True)):
        x = x @ weight + bias
        x = selu(x) if n < 3 or last == "selu" else x
    users, items = np.indices(x.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), np.clip(x, 1, 5), atol=1e-3)


def test_a_tied_decoder_has_biases_of_its_own_and_no_matrix() -> None:
    sizes = {
        tied: sum(p.numel() for p in DeepRecNet(50, (8, 4), 0.5, tied=tied, last=True).parameters()) for tied in (0, 1)
    }
    assert sizes[0] - sizes[1] == 50 * 8 + 8 * 4


def test_dropout_acts_on_the_code_alone() -> None:
    net = DeepRecNet(6, (5, 4), 0.5, tied=False, last=True)
    seen: list[torch.Tensor] = []
    net.dropout.register_forward_hook(lambda _, given, made: seen.extend([given[0], made]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        args = torch.tensor([0, 3, 4]), torch.tensor([3]), torch.tensor([5.0, 1.0, 2.0])
        codes = [net(*args) is not None and seen[-2:] for _ in range(3)]
    assert all(torch.equal(given, codes[0][0]) for given, _ in codes)  # nothing before it is random
    assert codes[0][0].shape == (1, 4)
    assert any(bool((made == 0).any()) for _, made in codes)


def test_the_loss_is_the_mean_over_observed_ratings() -> None:
    frame = ratings_frame(10, 9)
    model = quick(dropout=0.0, epochs=1).fit(frame)
    net, examples = model.module_, model._examples(Dataset(frame))
    batch: Any = examples.batch(torch.arange(len(examples)))
    output = net(batch.items, batch.lengths, batch.ratings).detach().numpy()
    r = frame.pivot(index="user_id", columns="item_id", values="rating").to_numpy()
    found = float(model._loss(net, batch).detach())
    assert found == pytest.approx(np.nanmean((output - r) ** 2), rel=1e-5)


class Watched(DeepRec):
    """Remembers what each step was made on, the weights before it, and the output."""

    def _loss(self, net: Any, batch: Any) -> Any:
        loss = super()._loss(net, batch)
        state = {name: value.clone() for name, value in net.state_dict().items()}
        self.seen_ = [*getattr(self, "seen_", []), (batch, state, self._output)]
        return loss


@pytest.mark.parametrize("refeeds", [0, 1, 2])
def test_each_batch_is_followed_by_steps_on_the_output_of_before(refeeds: int) -> None:
    frame = ratings_frame()
    settings = quick(refeeds=refeeds, epochs=2, dropout=0.0).get_params()
    model = Watched(**settings).fit(frame)
    steps, n_batches = model.seen_, 2 * -(-60 // 16)
    assert len(steps) == n_batches * (1 + refeeds)
    for at, (batch, state, _) in enumerate(steps):
        assert isinstance(batch, DenseBatch) == (at % (1 + refeeds) > 0)
        if at and isinstance(batch, DenseBatch):
            _, before, output = steps[at - 1]
            # Fed is what came out before the last step moved the weights, and nothing flows back through it.
            assert torch.equal(batch.ratings, output)
            assert not batch.ratings.requires_grad
            assert not torch.equal(before["first.table.weight"], state["first.table.weight"])


def test_refed_outputs_need_no_gap_filled_to_be_their_own_target() -> None:
    frame = ratings_frame()
    model = quick(refeeds=1, epochs=1, dropout=0.0).fit(frame)
    net: Any = model.module_
    fed = torch.rand(3, 30) * 4 + 1
    wanted = (net.again(fed) - fed).square().mean()
    torch.testing.assert_close(model._loss(net, DenseBatch(fed)), wanted)


def test_feeding_again_pulls_the_network_to_its_fixed_points() -> None:
    frame = ratings_frame()
    gaps = []
    for refeeds in (0, 1):
        model = quick(refeeds=refeeds, dropout=0.0).fit(frame)
        examples = model._examples(Dataset(frame))
        batch: Any = examples.batch(torch.arange(60))
        net: Any = model.module_
        with torch.no_grad():
            once = net(batch.items, batch.lengths, batch.ratings)
            gaps.append(float((net.again(once) - once).square().mean().sqrt()))
    assert gaps[1] < 0.5 * gaps[0]


@pytest.mark.parametrize("options", [{}, {"refeeds": 0}, {"tied": True}, {"optimizer": "adam", "learning_rate": 0.005}])
def test_held_out_ratings_are_filled_in(options: Any) -> None:
    train, test = recsys.split.random(ratings_frame(90), 0.2)
    found = recsys.evaluate(quick(**options).fit(train), test, metrics=["rmse"])["rmse"]
    assert found < 0.85  # half of the ratings are one off by chance, which leaves 0.5; their mean leaves 1.6
    assert np.std(test.ratings) > 1.5


def test_strangers_are_served_by_a_history_with_ratings() -> None:
    model = quick().fit(ratings_frame(90))
    found = model.recommend(history=ratings_frame(30, seed=5), k=3)
    assert (found["item_id"] // 10 == found["user_id"] % 3).mean() > 0.9
