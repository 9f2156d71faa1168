from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tests.models.sequence.test_sasrec import N_ITEMS, next_items, walks

import recsys
from recsys import BERT4Rec, Dataset
from recsys.data import Histories
from recsys.errors import ParameterError
from recsys.models.sequence.bert4rec import BERT4RecNet
from recsys.training.cloze import MASK, ClozeExamples


def quick(**parameters: Any) -> BERT4Rec:
    small = {
        "embedding_dim": 24, "max_len": 8, "epochs": 40, "batch_size": 32, "learning_rate": 0.005, "dropout": 0.1,
        "n_layers": 1, "mask_share": 0.3, "warmup_steps": 10,
    }  # fmt: skip
    return BERT4Rec(verbose=0, device="cpu", **(small | parameters))


def random_net(max_len: int = 8) -> BERT4RecNet:
    net = BERT4RecNet(N_ITEMS, max_len, 16, 2, 2, 0.3).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        net.table.weight[0] = 0
    return net


def test_weights_start_as_a_normal_distribution_cut_at_two_deviations() -> None:
    net = BERT4RecNet(500, 200, 32, 1, 2, 0.0)
    matrices = [net.table.vectors, net.positions, *(m.weight for m in net.modules() if isinstance(m, torch.nn.Linear))]
    for matrix in matrices:
        assert matrix.abs().max() <= 0.04
        # Of a normal distribution cut at two deviations the deviation is 0.88 times as large.
        assert float(matrix.detach().std()) == pytest.approx(0.0176, rel=0.05)
    assert net.mask.count_nonzero() == 32
    assert net.mask.abs().max() <= 0.04
    assert not net.table.weight[0].any()


def test_a_later_item_changes_earlier_states() -> None:
    net = random_net()
    history = torch.randint(N_ITEMS, (1, 6))
    changed = history.clone()
    changed[0, 5] = (changed[0, 5] + 1) % N_ITEMS
    assert (net(history)[0, :5] - net(changed)[0, :5]).abs().amax(1).min() > 1e-3


def test_padding_behind_a_history_changes_nothing_of_it() -> None:
    net = random_net()
    history = torch.randint(N_ITEMS, (3,))
    alone = net(history[None])[0]
    for width in (4, 8):
        padded = torch.full((2, width), -1)
        padded[0, :3] = history
        padded[1] = torch.randint(N_ITEMS, (width,))
        states = net(padded)
        torch.testing.assert_close(states[0, :3], alone, atol=1e-5, rtol=1e-4)
        assert torch.isfinite(states).all()


def test_training_attends_as_serving_does_but_for_dropout() -> None:
    net = random_net()
    history = torch.randint(N_ITEMS, (4, 8))
    history[1, 5:] = -1
    wanted = net(history)
    net.train()
    for module in net.modules():
        for name in ("dropout", "share"):
            if hasattr(module, name):
                setattr(module, name, 1e-9)
    torch.testing.assert_close(net(history)[history >= 0], wanted[history >= 0], atol=1e-4, rtol=1e-3)


def test_what_is_known_at_some_places_is_what_is_known_at_all() -> None:
    net = random_net()
    history = torch.randint(N_ITEMS, (3, 6))
    history[1, 4:] = -1
    places = torch.tensor([[0, 5], [3, 1], [2, 2]])
    wanted = net(history).gather(1, places[..., None].expand(-1, -1, 16))
    torch.testing.assert_close(net(history, (), places), wanted, atol=1e-5, rtol=1e-4)


def test_the_item_of_a_masked_place_is_not_read() -> None:
    net = random_net()
    history = torch.randint(N_ITEMS, (1, 6))
    history[0, 2] = MASK
    with torch.no_grad():
        before = net(history)
        # A norm would take away what is added to all numbers alike.
        net.mask[0] += 1
    assert (net(history) - before).abs().max() > 1e-3


def test_the_order_of_a_history_says_what_comes_next() -> None:
    # The first layer tells which way the walk goes, the second one goes on with it.
    model = quick(n_layers=2, epochs=60, dropout=0.0).fit(walks())
    starts = np.arange(N_ITEMS)
    forward = [[int(s + step) % N_ITEMS for step in range(4)] for s in starts]
    backward = [one[::-1] for one in forward]
    found = next_items(model, forward + backward)
    wanted = [(s + 4) % N_ITEMS for s in starts] + [(s - 1) % N_ITEMS for s in starts]
    assert np.mean(np.array(found) == np.array(wanted)) > 0.9


def test_a_score_is_that_of_a_mask_behind_the_last_items() -> None:
    frame = walks()
    model = quick(epochs=1, max_len=5).fit(frame)
    net = model.module_
    for items in ([3], [3, 4, 5, 6], [9, 9, 3, 4, 5, 6], [1, 2, 3, 4, 5]):
        with torch.no_grad():
            hidden = net(torch.tensor([[*items[-4:], MASK]]))[:, -1]
            wanted = net.states(hidden) @ net.table.vectors.T + net.bias
        lists = model.recommend(history=[items], k=N_ITEMS, filter_seen=False).sort_values("item_id")
        np.testing.assert_allclose(lists["score"], wanted[0], atol=1e-5)
    together = model.recommend(history=[[3], [3, 4, 5, 6], [1, 2, 3, 4, 5]], k=N_ITEMS, filter_seen=False)
    alone = model.recommend(history=[[3]], k=N_ITEMS, filter_seen=False)
    np.testing.assert_allclose(together[together["user_id"] == 0]["score"], alone["score"], atol=1e-5)


def test_the_loss_is_that_of_the_masked_places() -> None:
    frame = walks(n_users=40)
    model = quick(epochs=1, dropout=0.0).fit(frame)
    examples = model._examples(Dataset(frame))
    batch = examples.batch(torch.arange(len(examples)))
    net, masked = model.module_.eval(), batch.targets >= 0
    with torch.no_grad():
        logits = net.states(net(batch.history)[masked]) @ net.table.vectors.T + net.bias
        found = model._loss(net, batch)
    torch.testing.assert_close(found, F.cross_entropy(logits, batch.targets[masked]))


def test_a_context_beside_the_masked_event_is_unknown_in_training_as_in_serving() -> None:
    frame = walks(n_users=60).assign(arrow=lambda f: f["user_id"] % 2)
    model = quick(epochs=2).fit(Dataset(frame, context_cols=["arrow"]))
    served = model.recommend(history=frame, k=3)
    own = model.recommend(k=3)
    pd.testing.assert_frame_equal(served, own, check_dtype=False, rtol=1e-4)
    turned = model.recommend(history=frame.assign(arrow=1 - frame["arrow"]), k=3)
    assert np.abs(turned["score"].to_numpy() - own["score"].to_numpy()).max() > 1e-4


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    frame = walks(n_users=20)
    model = quick(epochs=1).fit(frame)
    groups = model._optimizers(model.module_)[0].param_groups
    decays = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
    assert len(decays) == len(list(model.module_.parameters()))
    for name, parameter in model.module_.named_parameters():
        free = name.endswith("bias") or "norm" in name or name == "mask"
        assert decays[id(parameter)] == (0.0 if free else 0.01), name


def test_the_learning_rate_rises_and_falls() -> None:
    # Ten histories of five items, each masked twice: 20 examples, four a step, 20 epochs.
    history = Histories(np.arange(0, 51, 5), np.zeros(50, np.int64))
    examples = ClozeExamples(history, 8, 4, 0.2, 1)
    options = {"warmup_steps": 9, "epochs": 20, "batch_size": 4}
    share = BERT4Rec(**options, schedule="linear")._share_of_rate(examples)
    assert [share(0), share(4)] == pytest.approx([0.1, 0.5 * 0.96])
    assert share(9) == pytest.approx(0.91)
    assert share(100) == 0
    steady = BERT4Rec(**options)._share_of_rate(examples)
    assert [steady(0), steady(9), steady(99)] == pytest.approx([0.1, 1, 1])
    late = BERT4Rec(**options, schedule="trapezoid")._share_of_rate(examples)
    assert [late(0), late(9), late(50), late(75), late(100)] == pytest.approx([0.1, 1, 1, 0.5, 0])


def test_a_saved_model_gives_the_same_lists_and_similar_items_leave_the_bias_out(tmp_path: Path) -> None:
    model = quick(epochs=2).fit(walks(n_users=40))
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(recsys.load(tmp_path / "model").recommend(k=3), model.recommend(k=3))
    near = model.similar_items([0], k=3)
    vectors = model.item_factors_[:, :-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(near["score"], np.sort(np.delete(unit @ unit[0], 0))[::-1][:3], rtol=1e-5)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ParameterError, match="n_heads=5 does not divide embedding_dim=24"):
        quick(n_heads=5).fit(walks())
    with pytest.raises(ParameterError, match="max_len=1 has no room"):
        quick(max_len=1).fit(walks())
    with pytest.raises(ParameterError, match="n_maskings=0 and mask_last=False mask no item"):
        quick(n_maskings=0, mask_last=False).fit(walks())


def test_options_of_masking_reach_the_examples() -> None:
    frame = walks(n_users=20)
    model = quick(epochs=1, mask_share=1.0, max_masked=2, n_maskings=3, mask_last=False).fit(frame)
    examples = model._examples(Dataset(frame))
    masked = (examples.batch(torch.arange(len(examples))).targets >= 0).sum(1)
    assert (masked == 2).all()
    assert len(examples) == 3 * len(model.clone(n_maskings=0, mask_last=True).fit(frame)._examples(Dataset(frame)))
