from typing import Any

import numpy as np
import pytest
import torch
from tests.models.autoencoders.tastes import taste_frame

import recsys
from recsys import Dataset, MultVAE, Popular
from recsys.models.autoencoders.multvae import MultVAENet
from recsys.nn.losses import composite_log_prior, kl_loss, multinomial_loss


def quick(**parameters: Any) -> MultVAE:
    small = {"hidden_dims": (32,), "embedding_dim": 8, "epochs": 60, "batch_size": 20, "learning_rate": 0.01}
    return MultVAE(verbose=0, device="cpu", **(small | {"kl_steps": 1000} | parameters))


@pytest.fixture(autouse=True)
def _torch_seed_kept() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def ragged(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([item for row in rows for item in row]), torch.tensor([len(row) for row in rows])


def test_the_divergence_is_that_of_two_normals() -> None:
    mean, log_variance = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    wanted = torch.distributions.kl_divergence(q, standard).sum(1).mean()
    torch.testing.assert_close(kl_loss(mean, log_variance), wanted)


def test_the_divergence_is_annealed_a_step_at_a_time_up_to_its_cap() -> None:
    model = MultVAE(kl_steps=200, kl_cap=0.3)
    weights = [float(model._kl_weight(torch.tensor(float(step)))) for step in (0, 20, 59, 60, 61, 10_000)]
    assert weights == pytest.approx([0, 0.1, 0.295, 0.3, 0.3, 0.3])
    trained = quick(epochs=3, batch_size=7).fit(taste_frame(20))
    assert float(trained.module_.steps) == 3 * 3


def test_dropout_acts_on_the_normalized_profile() -> None:
    net = MultVAENet(6, (6,), 2, 0.5).encoder
    with torch.no_grad():
        net.first.table.vectors.copy_(torch.eye(6))
        net.rest[1].weight.zero_()
        net.rest[1].weight[0] = 1.0
        net.rest[1].bias.zero_()
    full = 1 / np.sqrt(4)
    net.train()
    drawn = np.array([float(net(*ragged([[0, 1, 3, 5]]))[0][0, 0].detach()) for _ in range(400)])
    # Each item is left out or doubled; normalizing after dropout would give 1 / sqrt(items left).
    able = np.tanh(2 * full) * np.arange(5)
    assert np.abs(drawn[:, None] - able).min(1).max() < 1e-6
    shares = np.array([(np.abs(drawn - value) < 1e-6).mean() for value in able])
    np.testing.assert_allclose(shares, np.array([1, 4, 6, 4, 1]) / 16, atol=0.12)
    net.eval()
    assert float(net(*ragged([[0, 1, 3, 5]]))[0][0, 0].detach()) == pytest.approx(4 * np.tanh(full), abs=1e-6)


def test_a_step_adds_the_weighted_divergence_of_a_drawn_code() -> None:
    frame = taste_frame(12)
    model = quick(epochs=1, dropout=0.0).fit(frame)
    net, data = model.module_.train(), Dataset(frame)
    batch = model._examples(data).batch(torch.arange(12))
    net.steps.fill_(100)  # weight 0.1
    torch.manual_seed(3)
    found = model._loss(net, batch)
    torch.manual_seed(3)
    mean, log_variance = net.encoder(batch.items, batch.lengths)
    code = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
    likelihood = multinomial_loss(net.decoder(code), net.output, batch.items, batch.lengths)
    wanted = likelihood + 0.1 * kl_loss(mean, log_variance)
    torch.testing.assert_close(found, wanted)
    assert float(net.steps) == 101


def test_the_composite_prior_weighs_a_profile_by_its_items_and_knows_the_encoder_of_the_epoch_before() -> None:
    frame = taste_frame(12).iloc[5:]  # of the first user one item is left
    model = quick(epochs=1, dropout=0.0, prior="composite", kl_per_item=0.02).fit(frame)
    net, data = model.module_.train(), Dataset(frame)
    batch = model._examples(data).batch(torch.arange(12))
    model._steps_an_epoch = 2  # two steps of an epoch, and the first of the next
    old: list[Any] = []
    for step in range(3):
        with torch.no_grad():
            if step != 1:
                old = net.encoder(batch.items, batch.lengths)
            mean, log_variance = net.encoder(batch.items, batch.lengths)
            torch.manual_seed(step)
            found = model._loss(net, batch)
            torch.manual_seed(step)
            deviation = torch.exp(log_variance / 2)
            code = mean + torch.randn_like(mean) * deviation
            gap = torch.distributions.Normal(mean, deviation).log_prob(code) - composite_log_prior(code, *old)
            wanted = multinomial_loss(net.decoder(code), net.output, batch.items, batch.lengths)
            wanted += 0.02 * (gap.sum(1) * batch.lengths).mean()
            torch.testing.assert_close(found, wanted)
            for parameter in net.encoder.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    assert batch.lengths.tolist() == [1, *[6] * 11]


def test_with_the_composite_prior_people_are_ranked_by_what_they_have_too() -> None:
    train, others = taste_frame(80), taste_frame(40, first_user=1000, seed=1)
    given = others[others.groupby("user_id").cumcount() < 4]
    found = quick(prior="composite").fit(train).recommend(history=given, k=6)
    assert (found["item_id"] // 10 == found["user_id"] % 4).mean() > 0.95


def test_lists_follow_from_the_mean_of_the_code() -> None:
    frame = taste_frame(30)
    model = quick(epochs=3).fit(frame)
    weights = {name: value.numpy().astype(float) for name, value in model.module_.state_dict().items()}
    x = Dataset(frame).to_csr().toarray()
    first, bias = weights["encoder.first.table.weight"][1:], weights["encoder.first.bias"]
    hidden = np.tanh(x / np.sqrt(x.sum(1, keepdims=True)) @ first + bias)
    mean = (hidden @ weights["encoder.rest.1.weight"].T + weights["encoder.rest.1.bias"])[:, :8]
    hidden = np.tanh(mean @ weights["decoder.0.weight"].T + weights["decoder.0.bias"])
    wanted = hidden @ weights["output.weight"].T + weights["output.bias"]
    users, items = np.indices(x.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), wanted, atol=1e-4)


def test_parameters_are_counted_by_the_papers_layers() -> None:
    n_items = 50
    net = MultVAENet(n_items, (600,), 200, 0.5)
    layers = 600 * n_items + 600 + 600 * 400 + 400 + 200 * 600 + 600 + 600 * n_items + n_items
    assert sum(p.numel() for p in net.parameters()) == layers + 600  # and the bag's spare row


def test_a_history_gives_the_list_of_the_user_who_has_it_in_any_order() -> None:
    frame = taste_frame(30)
    model = quick(epochs=5).fit(frame)
    mine = frame.loc[frame["user_id"] == 6, "item_id"].tolist()
    wanted = model.recommend([6], k=20)
    for history in (mine, mine[::-1], mine + mine[:3]):
        found = model.recommend(history=history, k=20)
        assert found["item_id"].tolist() == wanted["item_id"].tolist()
        np.testing.assert_allclose(found["score"], wanted["score"], atol=1e-5)


def test_people_it_never_saw_are_ranked_by_what_they_have() -> None:
    train, others = taste_frame(80), taste_frame(40, first_user=1000, seed=1)
    hidden = others.groupby("user_id").cumcount() >= 4
    given, held_out = others[~hidden], others[hidden]
    model = quick().fit(train)
    found = model.recommend(history=given, k=6)
    right = (found["item_id"] // 10 == found["user_id"] % 4).mean()
    assert right > 0.95
    hits = found.merge(held_out, on=["user_id", "item_id"])
    assert len(hits) / len(held_out) > 0.9  # the six left of a group hold both
    popular = Popular().fit(train).recommend(history=given, k=6).merge(held_out, on=["user_id", "item_id"])
    assert len(popular) / len(held_out) < 0.5


def test_small_data_is_learned_by_heart() -> None:
    frame = taste_frame(8)
    model = quick(epochs=400, kl_cap=0.0, dropout=0.0, learning_rate=0.02).fit(frame)
    # The least -sum of ln softmax over 6 items is 6 ln 6, all probability on them.
    least = 6 * np.log(6)
    log = model.training_log_["loss"]
    assert log.iloc[0] > 1.5 * least
    assert least <= log.iloc[-20:].mean() < 1.1 * least


def test_validation_picks_the_best_epoch() -> None:
    frame = taste_frame(60)
    data = Dataset(frame)
    train, rest = recsys.split.random(data, 0.3, random_state=0)
    model = quick(epochs=40, patience=3, monitor="recall@10").fit(train, validation_data=rest)
    log = model.training_log_["recall@10"]
    found = recsys.evaluate(model, rest, metrics=["recall@10"])["recall@10"]
    assert found == pytest.approx(log.max(), abs=1e-6)


def test_without_hidden_layers_the_code_is_linear_in_the_profile() -> None:
    frame = taste_frame(30)
    model = quick(epochs=3, hidden_dims=()).fit(frame)
    weights = {name: value.numpy().astype(float) for name, value in model.module_.state_dict().items()}
    x = Dataset(frame).to_csr().toarray()
    code = (
        x / np.sqrt(x.sum(1, keepdims=True)) @ weights["encoder.first.table.weight"][1:] + weights["encoder.first.bias"]
    )
    assert code.shape[1] == 2 * 8
    wanted = code[:, :8] @ weights["output.weight"].T + weights["output.bias"]
    users, items = np.indices(x.shape).reshape(2, -1)
    np.testing.assert_allclose(model.predict(users, items).reshape(x.shape), wanted, atol=1e-4)
