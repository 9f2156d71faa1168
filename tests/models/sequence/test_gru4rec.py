from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tests.models.sequence.test_sasrec import N_ITEMS, walks

import recsys
from recsys import Dataset, GRU4Rec
from recsys.errors import DataError, NotFittedError, ParameterError
from recsys.models.sequence.gru4rec import GRU4RecNet, Step
from recsys.nn.recurrent import GRULayer
from recsys.nn.sampled_losses import bpr, bpr_max, cross_entropy, top1, top1_max

FORMS: Any = ["separate", "tied", "onehot"]
WINDOWS = {"batching": "windows", "loss": "softmax", "optimizer": "adam", "learning_rate": 0.01}


def quick(**parameters: Any) -> GRU4Rec:
    small = {"embedding_dim": 24, "hidden_dim": 32, "max_len": 8, "epochs": 25, "batch_size": 32, "n_negatives": 8}
    return GRU4Rec(verbose=0, device="cpu", **(small | {"learning_rate": 0.1} | parameters))


def random_net(embedding: Any = "separate", n_layers: int = 2) -> GRU4RecNet:
    net = GRU4RecNet(N_ITEMS, 12, 16, n_layers, embedding, 0.3, 0.2).eval()
    for parameter in net.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        for table in {net.output, getattr(net, "table", net.output)}:
            table.weight[0] = 0
    return net


def stepped(net: GRU4RecNet, history: torch.Tensor) -> torch.Tensor:
    """States of the last layer after each item of (B, L), one step after the other."""
    states, seen = torch.zeros(len(net.layers), len(history), net.hidden_dim), []
    for codes in history.T:
        states = net.step(codes, states)
        seen.append(states[-1])
    return torch.stack(seen, 1)


# -- the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("embedding", FORMS)
def test_what_comes_later_changes_no_earlier_state(embedding: Any) -> None:
    net, history = random_net(embedding), torch.randint(N_ITEMS, (5, 8))
    for t in range(7):
        changed = history.clone()
        changed[:, t + 1 :] = (changed[:, t + 1 :] + 1) % N_ITEMS
        one, other = net(history), net(changed)
        torch.testing.assert_close(one[:, : t + 1], other[:, : t + 1])
        assert (one[:, t + 1 :] - other[:, t + 1 :]).abs().max() > 1e-3


@pytest.mark.parametrize("embedding", FORMS)
def test_padding_moves_nothing(embedding: Any) -> None:
    net, history = random_net(embedding), torch.randint(N_ITEMS, (3,))
    alone = net(history[None])[0]
    for width in (4, 8):
        padded = torch.full((2, width), -1)
        padded[0, :3] = history
        padded[1] = torch.randint(N_ITEMS, (width,))
        torch.testing.assert_close(net(padded)[0, :3], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("embedding", FORMS)
@pytest.mark.parametrize("n_layers", [1, 3])
def test_a_state_carried_step_by_step_is_that_of_the_whole_session(embedding: Any, n_layers: int) -> None:
    net, history = random_net(embedding, n_layers), torch.randint(N_ITEMS, (4, 7))
    torch.testing.assert_close(stepped(net, history), net(history), atol=1e-6, rtol=1e-5)


def test_a_row_of_the_input_matrix_is_an_embedding_of_identity() -> None:
    onehot, separate = random_net("onehot", 1), GRU4RecNet(N_ITEMS, N_ITEMS, 16).eval()
    with torch.no_grad():
        separate.table.vectors.copy_(torch.eye(N_ITEMS))
        separate.layers.load_state_dict(onehot.layers.state_dict() | {"0.weight_ih_l0": onehot.table.vectors.T.clone()})
    history = torch.randint(N_ITEMS, (4, 7))
    torch.testing.assert_close(onehot(history), separate(history), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(stepped(onehot, history), stepped(separate, history), atol=1e-6, rtol=1e-5)


def test_tied_inputs_share_the_memory_of_the_item_vectors() -> None:
    net = random_net("tied")
    assert not hasattr(net, "table")
    before = net.inputs(torch.tensor([3]))
    with torch.no_grad():
        net.items[3, : net.hidden_dim] += 1
    torch.testing.assert_close(net.inputs(torch.tensor([3])), before + 1)
    assert random_net("separate").table.weight.shape == (N_ITEMS + 1, 12)


def test_parameters_are_counted_by_the_layers() -> None:
    gates = 3 * (64 * 32 + 64 * 64 + 2 * 64)

    def count(embedding: Any) -> int:
        net = GRU4RecNet(100, 32, 64, 1, embedding)
        return sum(p.numel() for p in net.parameters() if p.requires_grad)

    assert count("separate") == 101 * 65 + 101 * 32 + gates
    assert count("tied") == 101 * 65 + gates + 3 * 64 * 32
    assert count("onehot") == 101 * 65 + 101 * 3 * 64 + gates - 3 * 64 * 32


def test_gates_start_uniformly_by_their_own_sizes() -> None:
    layer = GRULayer(50, 200)
    for name, sizes in (("weight_ih_l0", 250), ("weight_hh_l0", 400)):
        for gate in getattr(layer, name).detach().chunk(3):
            bound = (6 / sizes) ** 0.5
            assert 0.98 * bound < gate.abs().max() <= bound
            assert abs(float(gate.std()) / (bound / 3**0.5) - 1) < 0.02
    assert not layer.bias_ih_l0.any()
    net = GRU4RecNet(300, 50, 200, embedding="onehot")
    assert float(net.table.vectors.detach().abs().max()) <= (6 / 500) ** 0.5
    assert not net.items[:, -1].any()


def test_a_step_and_its_gradients_are_those_of_torchs_cell() -> None:
    layer, cell = GRULayer(5, 7), torch.nn.GRUCell(5, 7)
    with torch.no_grad():
        for bias in (layer.bias_ih_l0, layer.bias_hh_l0):
            bias.uniform_(-1, 1)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, h, aim = torch.randn(4, 5), torch.randn(4, 7), torch.randn(4, 7)
    found = []
    for step, module in ((layer.step, layer), (cell, cell)):
        inputs = x.clone().requires_grad_(), h.clone().requires_grad_()
        after = step(*inputs)
        gradients = torch.autograd.grad((after * aim).sum(), [*inputs, *module.parameters()])
        found.append([after, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# -- training ----------------------------------------------------------------------------------------------------------

TRAINED: dict[str, dict[str, Any]] = {
    "default": {},
    "two layers": {"n_layers": 2},
    "tied, bpr-max": {"embedding": "tied", "loss": "bpr-max", "elu": 0.5, "momentum": 0.2},
    "onehot, top1-max": {"embedding": "onehot", "loss": "top1-max", "momentum": 0.3},
    "top1": {"loss": "top1", "momentum": 0.3},
    "bpr": {"loss": "bpr", "session_order": "random"},
    "softmax": {"loss": "softmax"},
    "windows": WINDOWS,
    "windows, tied": {**WINDOWS, "embedding": "tied", "dropout": 0.1},
    "windows, onehot": {**WINDOWS, "embedding": "onehot", "n_layers": 2},
}


@pytest.mark.parametrize("name", TRAINED)
def test_the_order_of_a_history_says_what_comes_next(name: str) -> None:
    model = quick(**TRAINED[name]).fit(walks())
    starts = np.arange(N_ITEMS)
    forward = [[int(s + step) % N_ITEMS for step in range(4)] for s in starts]
    # The same items in the other order: a bag of items, or the last one alone, cannot tell these apart.
    lists = model.recommend(history=forward + [one[::-1] for one in forward], k=1, filter_seen=False)
    wanted = [(s + 4) % N_ITEMS for s in starts] + [(s - 1) % N_ITEMS for s in starts]
    assert np.mean(lists["item_id"].to_numpy() == np.array(wanted)) > 0.9


LOSSES: Any = {
    "cross-entropy": lambda scores, log_q: cross_entropy(scores, log_q),
    "bpr-max": lambda scores, _: bpr_max(scores, 0.7, 0.3),
    "top1": lambda scores, _: top1(scores),
    "top1-max": lambda scores, _: top1_max(scores),
    "bpr": lambda scores, _: bpr(scores),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_that_of_the_states_after_all_clicks_of_each_session(loss: Any) -> None:
    frame = walks(n_users=40)
    options = {"elu": 0.7, "bpr_regularization": 0.3, "logq": 0.6, "sample_alpha": 0.4, "batch_size": 7}
    model = quick(loss=loss, epochs=1, n_layers=2, **options).fit(frame)
    net, data = model.module_, Dataset(frame)
    popularity = torch.from_numpy(np.bincount(data.item_codes, minlength=N_ITEMS)).float()
    sessions: list[list[int]] = [[] for _ in range(7)]
    parts = list(model._examples(data).batches(7))
    assert len(parts) > 20
    for batch in parts:
        for lane, (item, goes_on) in enumerate(zip(batch.items.tolist(), batch.goes_on.tolist(), strict=True)):
            sessions[lane] = [*sessions[lane], item] if goes_on else [item]
        with torch.no_grad():
            states = torch.stack([net(torch.tensor([one]))[0, -1] for one in sessions[: len(batch.items)]])
            columns = torch.cat([batch.targets, batch.negatives])
            scores = states @ net.items[columns, :-1].T + net.items[columns, -1]
        powers = torch.tensor([1.0] * len(batch.targets) + [0.4] * 8)
        wanted = LOSSES[loss](scores, 0.6 * powers * popularity[columns].log())
        torch.testing.assert_close(model._loss(net, batch).detach(), wanted, atol=1e-5, rtol=1e-4)


def test_a_new_epoch_begins_without_what_the_last_one_left() -> None:
    frame = walks(n_users=40)
    model = quick(epochs=1).fit(frame)
    examples = model._examples(Dataset(frame))
    losses = [[float(model._loss(model.module_, b).detach()) for b in batches(examples)] for _ in range(2)]
    assert losses[0] == losses[1]


def batches(examples: Any) -> Any:
    torch.manual_seed(3)  # the same negatives
    return examples.batches(16)


@pytest.mark.parametrize("batching", ["windows", "session-parallel"])
def test_the_whole_catalog_is_ranked_with_every_target_once(batching: Any) -> None:
    frame = walks(n_users=40)
    model = quick(**(WINDOWS | {"batching": batching}), epochs=1, embedding_dim=6).fit(frame)
    net, data = model.module_, Dataset(frame)
    total = count = 0.0
    examples = model._examples(data)
    parts = examples.batches(16) if batching != "windows" else [examples.batch(torch.arange(len(examples)))]
    for batch in parts:
        n = int((batch.targets >= 0).sum())
        total, count = total + n * float(model._loss(net, batch).detach()), count + n
    wanted = []
    for _, one in frame.groupby("user_id"):
        codes = torch.tensor(one["item_id"].to_numpy())
        with torch.no_grad():
            scores = net(codes[None, :-1])[0] @ net.items[:, :-1].T + net.items[:, -1]
        wanted += F.cross_entropy(scores, codes[1:], reduction="none").tolist()
    assert count == len(wanted)
    assert total / count == pytest.approx(np.mean(wanted), rel=1e-4)


def test_a_step_moves_the_rows_of_its_batch_alone() -> None:
    # Ten more items are of sessions without a step.
    frame = pd.concat([walks(), pd.DataFrame({"user_id": 900 + np.arange(10), "item_id": 20 + np.arange(10)})])
    frame["timestamp"] = frame["timestamp"].fillna(0).astype(int)
    model = quick(epochs=1, n_negatives=0).fit(frame)
    torch.manual_seed(0)
    start = model._network()
    for name in ("output", "table"):
        after, before = (getattr(net, name).vectors for net in (model.module_, start))
        moved = (after != before).any(1)
        assert moved[:20].all()
        assert not moved[20:].any()


def test_dropout_acts_in_training_alone() -> None:
    model = quick(dropout=0.5, embedding_dropout=0.5, epochs=2).fit(walks())
    twice = [model.recommend(history=[[1, 2, 3]], k=5)["score"].tolist() for _ in range(2)]
    assert twice[0] == twice[1]
    model.module_.train()
    states = torch.zeros(1, 1, 32)
    one, other = (model.module_.step(torch.tensor([2]), states) for _ in range(2))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("options", [{}, WINDOWS, {"loss": "bpr-max"}], ids=["sessions", "windows", "bpr-max"])
def test_low_precision_learns_too(options: dict[str, Any]) -> None:
    model = quick(precision="bf16", **options).fit(walks())
    log = model.training_log_["loss"].to_numpy()
    assert log[-1] < 0.9 * log[0]
    assert model.item_factors_.dtype == np.float32


def test_what_training_alone_needs_is_gone_afterwards() -> None:
    assert not [name for name in vars(quick(epochs=1).fit(walks())) if name.startswith("_")]


def test_windows_are_for_the_softmax() -> None:
    with pytest.raises(ParameterError, match=r"loss='bpr-max' .*loss=\"softmax\""):
        quick(batching="windows", loss="bpr-max").fit(walks())


def test_a_fit_goes_on_from_its_checkpoint(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quick(epochs=4, dropout=0.1).fit(walks())
    torn = quick(epochs=4, dropout=0.1, checkpoint=str(tmp_path / "fit"))
    epochs, step = [0], GRU4Rec._loss

    def killed(self: GRU4Rec, net: Any, batch: Any) -> Any:
        epochs[0] += not batch.goes_on.any() and len(batch.items) == 32
        if epochs[0] > 2:
            raise KeyboardInterrupt
        return step(self, net, batch)

    monkeypatch.setattr(GRU4Rec, "_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        torn.clone().fit(walks())
    monkeypatch.undo()
    np.testing.assert_array_equal(torn.fit(walks()).item_factors_, whole.item_factors_)


# -- serving -----------------------------------------------------------------------------------------------------------


def test_a_score_is_the_last_state_times_the_items_vector_and_its_bias() -> None:
    frame = walks()
    model = quick(epochs=2).fit(frame)
    history = torch.tensor(frame.loc[frame["user_id"] == 5, "item_id"].to_numpy())[None]
    with torch.no_grad():
        wanted = model.module_(history)[0, -1] @ model.module_.items[:, :-1].T + model.module_.items[:, -1]
    assert model.module_.items[:, -1].abs().max() > 1e-3
    np.testing.assert_allclose(model.predict([5] * N_ITEMS, range(N_ITEMS)), wanted, atol=1e-5)


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("embedding", FORMS)
def test_steps_of_a_stream_are_the_lists_of_its_history(embedding: Any, n_layers: int) -> None:
    model = quick(epochs=2, embedding=embedding, n_layers=n_layers, dropout=0.2).fit(walks())
    state, clicks = None, [3, 4, 5, 4, 4, 19, 0]
    for n, item in enumerate(clicks):
        found = model.step(state, item, k=6)
        wanted = model.recommend(history=[clicks[: n + 1]], k=6, filter_seen=False)
        assert isinstance(found, Step)
        assert found.items.tolist() == wanted["item_id"].tolist()
        np.testing.assert_allclose(found.scores, wanted["score"], rtol=1e-4, atol=1e-5)
        assert found.state.shape == (n_layers, 32)
        assert found.state.dtype == np.float32
        state = found.state
    # A state is the caller's own: the same click from it gives the same again.
    again = model.step(state, 1), model.step(state, 1)
    np.testing.assert_array_equal(again[0].state, again[1].state)
    assert again[0].items.tolist() == again[1].items.tolist()


def test_a_stream_has_strings_and_small_catalogs() -> None:
    frame = walks().assign(item_id=lambda rows: "item " + rows["item_id"].astype(str))
    model = quick(epochs=1).fit(frame)
    found = model.step(None, "item 3", k=100)
    assert sorted(found.items.tolist()) == sorted({f"item {n}" for n in range(N_ITEMS)})
    assert (np.diff(found.scores) <= 0).all()


def test_a_stream_says_what_it_cannot_take() -> None:
    model = quick(epochs=1).fit(walks())
    with pytest.raises(DataError, match=r"GRU4Rec does not know .* 77"):
        model.step(None, 77)
    with pytest.raises(DataError, match=r"state has the shape \(32,\), not \(1, 32\)"):
        model.step(np.zeros(32, np.float32), 3)
    with pytest.raises(ParameterError, match="k=0"):
        model.step(None, 3, k=0)
    with pytest.raises(NotFittedError, match="GRU4Rec"):
        quick().step(None, 3)


def test_a_saved_model_goes_on_with_a_stream(tmp_path: Any) -> None:
    model = quick(epochs=2, n_layers=2).fit(walks())
    state = model.step(None, 3).state
    model.save(tmp_path / "model")
    again = recsys.load(tmp_path / "model")
    assert isinstance(again, GRU4Rec)
    one, other = model.step(state, 4), again.step(state, 4)
    assert one.items.tolist() == other.items.tolist()
    np.testing.assert_array_equal(one.scores, other.scores)


def test_anonymous_sessions_are_served_whatever_their_lengths() -> None:
    model = quick(epochs=2).fit(walks())
    sessions = [[3], [5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [1, 1]]
    together = model.recommend(history=sessions, k=4)
    for number, session in enumerate(sessions):
        mine = together[together["user_id"] == number]
        alone = model.recommend(history=session, k=4)
        assert mine["item_id"].tolist() == alone["item_id"].tolist()
        np.testing.assert_allclose(mine["score"], alone["score"], rtol=1e-4, atol=1e-6)


def test_similar_items_are_told_without_their_biases() -> None:
    model = quick(epochs=2).fit(walks())
    found = model.similar_items([0], k=N_ITEMS - 1)
    vectors = model.item_factors_[:, :-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found["score"], np.sort((unit @ unit[0])[1:])[::-1], rtol=1e-4, atol=1e-6)
