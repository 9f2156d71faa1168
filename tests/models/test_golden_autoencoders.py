"""The worked examples of the autoencoders: every system's numbers by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.models.worked import Golden, near

from recsys import CDAE, AutoRec, Dataset, DeepRec, MultVAE
from recsys.models.autoencoders.autorec import AutoRecNet
from recsys.models.autoencoders.cdae import CDAENet
from recsys.models.autoencoders.deeprec import DeepRecNet, DenseBatch
from recsys.models.autoencoders.multdae import MultDAENet
from recsys.models.autoencoders.multvae import MultVAENet
from recsys.nn.losses import composite_log_prior, entries, kl_loss, multinomial_loss
from recsys.training.examples import ProfileBatch, RatingBatch


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ragged(matrix: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Columns, lengths and values of the entries that are not 0."""
    x = np.array(matrix)
    rows, columns = np.nonzero(x)
    lengths = np.bincount(rows, minlength=len(x))
    return torch.tensor(columns), torch.tensor(lengths), tensor(x[rows, columns])


# -- AutoRec -----------------------------------------------------------------------------------------------------------


def autorec(g: dict[str, Any], axis: str) -> AutoRecNet:
    i = {name.removeprefix(f"{axis[0].upper()}_"): value for name, value in g["inputs"].items()}
    net = AutoRecNet(len(i["V"]), 2, "sigmoid", 0.0, 4 if axis == "item" else 0).double()
    with torch.no_grad():
        net.first.table.vectors.copy_(tensor(i["V"]))
        net.first.bias.copy_(tensor(i["mu"]))
        net.output.weight.copy_(tensor(i["W"]).T)
        net.output.bias.copy_(tensor(i["b"]))
    return net


@pytest.mark.parametrize("axis", ["item", "user"])
def test_15_autorec_reconstructs_and_counts_observed_ratings_alone(golden: Golden, axis: Any) -> None:
    g = golden("15_autorec")
    wanted, letter = g["expected"], axis[0].upper()
    r = np.array(g["inputs"]["R_users_by_items"])
    rows = r.T if axis == "item" else r
    net, batch = autorec(g, axis), ragged(rows)
    with torch.no_grad():
        codes = net.encode(*batch)
        found = net.output(codes)
        near(found, wanted["I_reconstruction_items_by_users" if axis == "item" else "U_reconstruction"])
        seen = entries(codes, net.output.weight, net.output.bias, batch[0], batch[1])
        near((seen - batch[2]).square().sum(), wanted[f"{letter}_masked_sse"])
        model = AutoRec(axis=axis, regularization=g["inputs"]["lam"])
        model._n_ratings = int((r > 0).sum())
        loss = model._n_ratings * model._loss(net, RatingBatch(batch[0], batch[1], torch.arange(len(rows)), batch[2]))
    if axis == "item":
        near(loss, wanted["I_loss"])
        near((seen - batch[2]).square().mean().sqrt(), wanted["I_train_rmse"])
        near((found - tensor(rows)).square().sum(), wanted["I_unmasked_sse_for_contrast"])


def test_15_autorec_predicts_through_the_public_model(golden: Golden) -> None:
    g = golden("15_autorec")
    r = np.array(g["inputs"]["R_users_by_items"])
    users, items = np.nonzero(r)
    data = Dataset(pd.DataFrame({"user_id": users, "item_id": items, "rating": r[users, items]}))
    model = AutoRec(n_factors=2, epochs=1, verbose=0, device="cpu").fit(data)
    model.module_ = autorec(g, "item").float()
    model._refresh()
    near(model.predict([0], [1]), [g["expected"]["I_pred_user0_item1"]])


def test_15_parameters_of_autorec_are_counted_by_the_formula() -> None:
    net = AutoRecNet(60, 5, "sigmoid", 3.0)
    assert sum(one.numel() for one in net.parameters()) == 2 * 60 * 5 + 60 + 5 + 5  # and the spare row


# -- DeepRec -----------------------------------------------------------------------------------------------------------


def deeprec(g: dict[str, Any], *, tied: bool = False, last: bool = True) -> DeepRecNet:
    net = DeepRecNet(4, (3, 2), 0.0, tied=tied, last=last).double()
    i = g["inputs"]
    with torch.no_grad():
        net.first.table.vectors.copy_(tensor(i["W1"]))
        net.encoder[0].weight.copy_(tensor(i["W2"]).T)
        if net.decoder is not None:
            for layer, name in zip(net.decoder, ("W3", "W4"), strict=True):
                layer.weight.copy_(tensor(i[name]).T)
    return net


def test_16_deeprec(golden: Golden) -> None:
    g = golden("16_deeprec")
    wanted, batch = g["expected"], ragged(g["inputs"]["x"])
    net = deeprec(g)
    with torch.no_grad():
        near(net.encode(net.first(*batch)), wanted["code"])
        near(net(*batch), wanted["output_selu_last"])
        near(deeprec(g, last=False)(*batch), wanted["output_linear_last"])
        near(deeprec(g, tied=True)(*batch), wanted["tied_output"])
        near(torch.nn.functional.selu(tensor([-1.0, 0.5])), list(wanted["selu_examples"].values()))


def test_16_deeprec_feeds_its_output_again_as_it_was_before_the_step(golden: Golden) -> None:
    g = golden("16_deeprec")
    wanted, (items, lengths, ratings) = g["expected"], ragged(g["inputs"]["x"])
    net, model = deeprec(g), DeepRec(refeeds=1)
    steps = model._steps(RatingBatch(items, lengths, torch.arange(2), ratings))
    loss = model._loss(net, next(steps))
    near(loss.detach(), wanted["masked_mse"])
    near(loss.detach().sqrt(), wanted["rmse"])
    again = next(steps)
    assert isinstance(again, DenseBatch)
    near(again.ratings, wanted["output_selu_last"])
    assert not again.ratings.requires_grad
    with torch.no_grad():
        near(net.again(again.ratings), wanted["refeed_output"])
        near(model._loss(net, again), wanted["refeed_mse"])
    assert next(steps, None) is None


# -- CDAE --------------------------------------------------------------------------------------------------------------


def test_17_cdae(golden: Golden) -> None:
    g = golden("17_cdae")
    i, wanted = g["inputs"], g["expected"]
    net = CDAENet(1, 4, 2, i["q"], user_node=True, tied=False).double()
    assert net.nodes is not None
    with torch.no_grad():
        net.first.table.vectors.copy_(tensor(i["W"]))
        net.nodes.vectors.copy_(tensor([i["V_u"]]))
        net.first.bias.copy_(tensor(i["b"]))
        net.items.copy_(tensor(i["W_prime"]).T)
        net.bias.copy_(tensor(i["b_prime"]))
        items, lengths, _ = ragged([i["y"]])
        user = torch.tensor([0])
        kept = tensor(i["keep_mask"])[items] / (1 - i["q"])
        near(kept, [wanted["x_tilde"][item] for item in items])
        code = net(items, lengths, user, kept)
        outputs = code @ net.items.T + net.bias
        near(code, [wanted["z"]])
        near(outputs, [wanted["outputs"]])
        positive, negative = outputs[0, [0, 1, 3]], outputs[0, [2]]
        near(CDAE()._summed(positive, negative), wanted["logistic_loss"])
        near(CDAE(loss="square")._summed(positive, negative), wanted["square_loss"])
        net.eval()
        near(net(items, lengths, user), [wanted["inference_z"]])
        scores = CDAE()._logits(net, ProfileBatch(items, lengths, user))
        near(scores, [wanted["inference_outputs"]])
        best = scores[0].argsort(descending=True).tolist()
        assert [item for item in best if item not in items.tolist()] == wanted["inference_rank_unseen"]


@pytest.mark.parametrize("tied", [False, True])
def test_17_parameters_of_cdae_are_counted_by_the_formula(tied: bool) -> None:
    n, k, m = 30, 4, 20
    net = CDAENet(m, n, k, 0.5, user_node=True, tied=tied)
    formula = (n * k if tied else 2 * n * k) + k + m * k + n
    assert sum(one.numel() for one in net.parameters()) == formula + 2 * k  # and two spare rows


# -- Mult-VAE and Mult-DAE ---------------------------------------------------------------------------------------------


def multvae(g: dict[str, Any]) -> MultVAENet:
    net = MultVAENet(4, (3,), 2, 0.5).double().eval()
    i = g["inputs"]
    with torch.no_grad():
        net.encoder.first.table.vectors.copy_(tensor(i["enc_W1"]))
        net.encoder.first.bias.copy_(tensor(i["enc_b1"]))
        layers = ((net.encoder.rest[1], "enc_{}2"), (net.decoder[0], "dec_{}1"), (net.output, "dec_{}2"))
        for layer, name in layers:
            layer.weight.copy_(tensor(i[name.format("W")]).T)
            layer.bias.copy_(tensor(i[name.format("b")]))
    return net


@pytest.mark.parametrize("mode", ["train", "test"])
def test_18_multvae(golden: Golden, mode: str) -> None:
    g = golden("18_multvae")
    x, wanted = np.array(g["inputs"]["x"]), g["expected"][mode]
    items, lengths, _ = ragged(x)
    multipliers = tensor(np.array(g["inputs"]["dropout_multiplier"])[np.nonzero(x)])
    net = multvae(g)
    with torch.no_grad():
        kept = multipliers if mode == "train" else torch.ones(len(items))
        mean, log_variance = net.encoder(items, lengths, kept)
        code = mean + (tensor(g["inputs"]["eps"]) * (0.5 * log_variance).exp() if mode == "train" else 0)
        hidden = net.decoder(code)
        likelihood, kl = multinomial_loss(hidden, net.output, items, lengths), kl_loss(mean, log_variance)
        near(net.output(hidden), wanted["logits"])
    near(mean, wanted["mu"])
    near(log_variance, wanted["logvar"])
    near(code, wanted["z"])
    near([likelihood, kl, likelihood + g["inputs"]["beta"] * kl], [wanted["nll"], wanted["kl"], wanted["loss"]])


def test_18_normalized_profiles_and_annealing(golden: Golden) -> None:
    g = golden("18_multvae")
    items, lengths, _ = ragged(g["inputs"]["x"])
    net, seen = multvae(g).encoder, []
    net.first.table.weight = torch.nn.Parameter(torch.cat([torch.zeros(1, 4), torch.eye(4)]).double())
    net.first.bias = torch.nn.Parameter(torch.zeros(4).double())
    net.first.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    net.rest = torch.nn.Linear(4, 2).double()
    net(items, lengths)
    near(seen[0], g["expected"]["l2_normalised"])
    for name, weight in g["expected"]["anneal"].items():
        near(MultVAE()._kl_weight(torch.tensor(float(name.removeprefix("step")))), weight)


def test_18_parameters_are_counted_by_the_formulas(golden: Golden) -> None:
    assert "24511308; Mult-DAE" in golden("18_multvae")["notes"]["parameter_count"]
    n_items = 20_108
    with torch.device("meta"):
        vae, dae = MultVAENet(n_items, (600,), 200, 0.5), MultDAENet(n_items, 200, 0.5)
    counts = [sum(one.numel() for one in net.parameters()) for net in (vae, dae)]
    assert counts == [24_511_308 + 600, 8_063_508 + 200]  # and a spare row


def test_19_the_composite_prior(golden: Golden) -> None:
    g = golden("19_recvae_prior")
    i, wanted = g["inputs"], g["expected"]
    found = composite_log_prior(tensor(i["z"]), tensor(i["post_mu"]), tensor(i["post_logvar"]))
    near(found, wanted["log_prior_per_dim"])
    near(found.sum(), wanted["log_prior"])
