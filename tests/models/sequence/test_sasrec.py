import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recsys import Dataset, SASRec
from recsys.errors import ParameterError
from recsys.models.sequence.sasrec import SASRecNet
from recsys.training import Negatives

N_ITEMS = 20


def walks(n_users: int = 160, length: int = 6, seed: int = 0) -> pd.DataFrame:
    """Walks around a ring of items, half of them forward and half backward: two items in order tell which."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        start, way = user // 2 % N_ITEMS, 1 if user % 2 else -1
        rows += [(user, (start + way * step) % N_ITEMS, step) for step in range(length - int(rng.integers(3)))]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def quick(**parameters: Any) -> SASRec:
    small = {"embedding_dim": 24, "max_len": 8, "epochs": 30, "batch_size": 16, "learning_rate": 0.01, "dropout": 0.1}
    return SASRec(verbose=0, device="cpu", **(small | parameters))


def next_items(model: SASRec, histories: list[list[int]], filter_seen: bool = False) -> list[int]:
    found = model.recommend(history=histories, k=1, filter_seen=filter_seen)
    return found["item_id"].tolist()


def random_net(variant: Any = "official", max_len: int = 8, n_heads: int = 2) -> SASRecNet:
    net = SASRecNet(N_ITEMS, max_len, 16, 2, n_heads, 0.3, variant).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        net.table.weight[0] = 0
    return net


@pytest.mark.parametrize("variant", ["official", "preln"])
def test_what_comes_later_changes_no_earlier_state(variant: Any) -> None:
    net = random_net(variant)
    history = torch.randint(N_ITEMS, (5, 8))
    for t in range(7):
        changed = history.clone()
        changed[:, t + 1 :] = (changed[:, t + 1 :] + 1) % N_ITEMS
        one, other = net(history), net(changed)
        torch.testing.assert_close(one[:, : t + 1], other[:, : t + 1])
        assert (one[:, t + 1 :] - other[:, t + 1 :]).abs().max() > 1e-3


@pytest.mark.parametrize("variant", ["official", "preln"])
def test_padding_moves_nothing(variant: Any) -> None:
    net = random_net(variant)
    history = torch.randint(N_ITEMS, (3,))
    alone = net(history[None])[0]
    for width in (4, 8):
        padded = torch.full((2, width), -1)
        padded[0, :3] = history
        padded[1] = torch.randint(N_ITEMS, (width,))
        states = net(padded)
        torch.testing.assert_close(states[0, :3], alone, atol=1e-5, rtol=1e-4)
        assert torch.isfinite(states).all()


def test_the_newest_item_is_always_at_the_last_position() -> None:
    net = random_net()
    history = torch.randint(N_ITEMS, (1, 3))
    before = net(history)
    with torch.no_grad():
        net.positions[:5] += 10  # no history of three items stands there
    torch.testing.assert_close(net(history), before)
    with torch.no_grad():
        net.positions[-1] += 1
    assert (net(history)[0, 2] - before[0, 2]).abs().max() > 1e-3
    torch.testing.assert_close(net(history)[0, :2], before[0, :2])


def test_parameters_are_counted_by_the_papers_layers() -> None:
    # One table for both ends, no projection after attention: (I + 1) D + L D + blocks (5 (D^2 + D) + 4 D) + 2 D.
    net = SASRecNet(3416, 200, 50, 2, 1, 0.2)
    assert sum(p.numel() for p in net.parameters()) == 206_850
    assert net.items.data_ptr() == net.table.weight[1:].data_ptr()
    apart = SASRecNet(3416, 200, 50, 2, 1, 0.2, tied=False)
    assert sum(p.numel() for p in apart.parameters()) == 206_850 + 3417 * 50
    assert apart.items.data_ptr() == apart.output.weight[1:].data_ptr()


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "bce", "gbce"])
def test_vectors_of_their_own_are_what_states_are_multiplied_with(loss: Any) -> None:
    frame = walks()
    model = quick(loss=loss, tied=False, n_negatives=8, epochs=2).fit(frame)
    net = model.module_
    np.testing.assert_array_equal(model.item_factors_, net.output.vectors.detach())
    assert (net.output.weight - net.table.weight).abs().max() > 0.01
    batch = model._examples(Dataset(frame)).batch(torch.arange(20))
    torch.manual_seed(0)
    before = model._loss(net, batch)
    before.backward()
    assert net.output.weight.grad.abs().sum() > 0
    assert net.table.weight.grad.abs().sum() > 0
    with torch.no_grad():
        net.output.weight *= 2
    torch.manual_seed(0)
    assert not torch.isclose(model._loss(net, batch), before)


def test_sampled_softmax_draws_by_popularity_and_corrects_for_it() -> None:
    # The ring's first items are in many more walks than the others.
    frame = pd.concat(
        [walks(), *[walks(length=3).assign(user_id=lambda f, n=n: f["user_id"] + 1000 * n) for n in (1, 2)]]
    )
    frame = frame[(frame["item_id"] < 5) | (frame["user_id"] < 1000)]
    data = Dataset(frame)
    model = quick(loss="sampled_softmax", n_negatives=2000, sample_alpha=1.0, epochs=1, dropout=0.0).fit(data)
    batch = model._examples(data).batch(torch.arange(40))
    with torch.no_grad():
        sampled = model._loss(model.module_, batch)
        states, targets, _ = model._real_states(model.module_, batch)
        whole = torch.nn.functional.cross_entropy(states @ model.module_.items.T, targets)
    drawn, _ = model._shared.draw(50_000)
    counts = torch.bincount(drawn, minlength=N_ITEMS) / 50_000
    np.testing.assert_allclose(counts, model.item_counts_ / model.item_counts_.sum(), atol=0.01)
    assert abs(sampled - whole) < 0.05


@pytest.mark.parametrize("variant", ["official", "preln"])
@pytest.mark.parametrize(
    "loss, n_negatives",
    [("softmax", 1), ("sampled_softmax", 30), ("bce", 1), ("gbce", 4)],
    ids=["softmax", "sampled", "bce", "gbce"],
)
def test_the_order_of_a_history_says_what_comes_next(loss: Any, n_negatives: int, variant: Any) -> None:
    model = quick(loss=loss, n_negatives=n_negatives, variant=variant).fit(walks())
    starts = np.arange(N_ITEMS)
    forward = [[int(s + step) % N_ITEMS for step in range(4)] for s in starts]
    backward = [one[::-1] for one in forward]
    # The same items in the other order: a bag of items, or the last one alone, cannot tell these apart.
    # A user's own items are never drawn as negatives: the binary losses leave their order open.
    found = next_items(model, forward + backward, filter_seen="bce" in loss)
    wanted = [(s + 4) % N_ITEMS for s in starts] + [(s - 1) % N_ITEMS for s in starts]
    assert np.mean(np.array(found) == np.array(wanted)) > 0.95


def test_known_users_continue_their_own_walk() -> None:
    frame = walks()
    model = quick().fit(frame)
    found = model.recommend(k=1).set_index("user_id")["item_id"]
    last = frame.groupby("user_id")["item_id"].last()
    wanted = (last + np.where(last.index % 2, 1, -1)) % N_ITEMS
    assert (found == wanted).mean() > 0.95


def test_only_the_last_items_of_a_long_history_count() -> None:
    model = quick(epochs=1, max_len=5).fit(walks())
    long = [3, 7, 1, 0, 9, 8, 7, 6, 5]
    one, other, first = (
        model.recommend(history=history, k=N_ITEMS, filter_seen=False) for history in (long, long[-5:], long[:5])
    )
    np.testing.assert_allclose(one["score"], other["score"], atol=1e-6)
    assert one["item_id"].tolist() == other["item_id"].tolist()
    assert np.abs(one["score"].to_numpy() - first["score"].to_numpy()).max() > 1e-4


def test_the_whole_of_a_long_history_is_trained_on() -> None:
    # Steps from the first ten items are never among the last four of a walk.
    rows = [(user, step, step) for user in range(40) for step in range(14 + user % 4)]
    model = quick(max_len=4).fit(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))
    assert next_items(model, [[0, 1], [1, 2, 3], [3, 4]]) == [2, 4, 5]


@pytest.mark.parametrize("variant", ["official", "preln"])
def test_the_state_of_one_place_is_what_it_is_among_all(variant: Any) -> None:
    net = random_net(variant)
    history = torch.randint(N_ITEMS, (3, 6))
    history[1, 4:] = -1
    last = torch.tensor([5, 3, 2])
    wanted = net(history)[torch.arange(3), last]
    torch.testing.assert_close(net(history, (), last)[:, 0], wanted, atol=1e-5, rtol=1e-4)


def test_a_score_is_the_last_state_times_the_items_vector() -> None:
    frame = walks()
    model = quick(epochs=1).fit(frame)
    history = torch.tensor(frame.loc[frame["user_id"] == 5, "item_id"].to_numpy())[None]
    with torch.no_grad():
        wanted = model.module_(history)[0, -1] @ model.module_.table.weight[1:].T
    np.testing.assert_allclose(model.predict([5] * N_ITEMS, range(N_ITEMS)), wanted, atol=1e-5)


def test_drawn_negatives_are_none_of_the_users_items() -> None:
    frame = walks(n_users=40)
    data = Dataset(frame)
    model = quick(loss="bce", epochs=1).fit(data)
    model._examples(data)
    negatives: Negatives = model._negatives
    users = torch.arange(40).repeat(200)
    drawn = negatives.draw(users, 3)
    has = frame.groupby("user_id")["item_id"].agg(set)
    assert not any(int(item) in has[int(user)] for user, row in zip(users, drawn, strict=True) for item in row)
    assert set(drawn.flatten().tolist()) == set(range(N_ITEMS))


def test_a_loss_has_one_term_for_every_step_of_every_history() -> None:
    frame = walks(n_users=40)
    for loss in ("softmax", "bce", "gbce"):
        model = quick(loss=loss, epochs=1, dropout=0.0).fit(frame)
        batch = model._examples(Dataset(frame)).batch(torch.arange(40))
        real = batch.targets >= 0
        assert int(real.sum()) == len(frame) - 40
        states, targets = model.module_(batch.history)[real], batch.targets[real]
        if loss == "softmax":
            wanted = torch.nn.functional.cross_entropy(states @ model.module_.items.T, targets)
            torch.testing.assert_close(model._loss(model.module_, batch), wanted)
            continue
        torch.manual_seed(1)
        found = model._loss(model.module_, batch)
        torch.manual_seed(1)
        drawn = model._negatives.draw(batch.users[:, None].expand_as(real)[real], 1)[:, 0]
        positive = (states * model.module_.table(targets)).sum(-1)
        negative = (states * model.module_.table(drawn)).sum(-1)
        share = 1 / (N_ITEMS - 1)
        beta = 1.0 if loss == "bce" else share * (0.75 * (1 - 1 / share) + 1 / share)
        base = math.log(beta)
        terms = -beta * torch.sigmoid(positive + base).log() - (1 - torch.sigmoid(negative + base)).log()
        torch.testing.assert_close(found, terms.mean() / (1 if loss == "bce" else 2))


@pytest.mark.parametrize("loss", ["bce", "gbce"])
def test_many_negatives_do_not_push_all_items_at_the_start(loss: Any) -> None:
    # Of a network that knows nothing, the slopes of each step's 1 + K logits add up to 0.
    frame = walks(n_users=40)
    model = quick(loss=loss, n_negatives=16, tied=False, epochs=1, dropout=0.0).fit(frame)
    items = model.module_.output.weight
    with torch.no_grad():
        items.zero_()
    model._loss(model.module_, model._examples(Dataset(frame)).batch(torch.arange(40))).backward()
    assert items.grad.abs().max() > 1e-3
    torch.testing.assert_close(items.grad.sum(0), torch.zeros(24), atol=1e-6, rtol=0)


def test_calibration_0_is_binary_cross_entropy_and_more_weighs_positives_less() -> None:
    frame = walks(n_users=40)
    found = {}
    for calibration in (0.0, 0.5, 1.0):
        model = quick(loss="gbce", n_negatives=4, calibration=calibration, epochs=1, dropout=0.0).fit(frame)
        batch = model._examples(Dataset(frame)).batch(torch.arange(40))
        for name, one in (("mine", model), ("bce", model.clone(loss="bce"))):
            one.__dict__ |= {key: value for key, value in vars(model).items() if key.endswith("_") or key[0] == "_"}
            torch.manual_seed(0)
            found[name, calibration] = one._loss(model.module_, batch).item()
    assert found["mine", 0.0] == pytest.approx(found["bce", 0.0] / 5)
    assert found["mine", 1.0] < found["bce", 1.0] / 5
    assert found["mine", 0.5] < found["bce", 0.5] / 5


def test_a_catalog_of_one_item_is_fitted_by_every_loss() -> None:
    frame = pd.DataFrame({"user_id": [0, 0, 1, 1], "item_id": [5, 5, 5, 5], "timestamp": [1, 2, 1, 2]})
    for loss in ("softmax", "sampled_softmax", "bce", "gbce"):
        model = quick(loss=loss, epochs=1).fit(frame)
        assert next_items(model, [[5]]) == [5]


def test_heads_must_divide_the_dimension() -> None:
    with pytest.raises(ParameterError, match="n_heads=5 does not divide embedding_dim=24"):
        quick(n_heads=5).fit(walks())
