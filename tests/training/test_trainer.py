import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recsys.errors import TrainingError
from recsys.training import Checkpoint, make_optimizers, seeded
from tests.training.toy import (
    LEVELS,
    SLOPES,
    LineExamples,
    LineNet,
    Rows,
    same_state,
    scores,
    squares,
    train,
    trainer,
)


def test_training_finds_the_planted_line() -> None:
    net, log = train(epochs=150)
    torch.testing.assert_close(net.line.weight[0], SLOPES, atol=1e-3, rtol=0)
    levels = net.levels.vectors[:3, 0] + net.line.bias
    torch.testing.assert_close(levels, LEVELS[:3], atol=1e-3, rtol=0)
    assert log["loss"].iloc[-1] < 1e-5


def test_each_epoch_runs_over_every_example_once_in_another_order() -> None:
    examples = LineExamples(50)
    with seeded(0):
        trainer(epochs=3, batch_size=16).run(LineNet(), examples, squares)
    assert [len(batch) for batch in examples.seen_batches] == [16, 16, 16, 2] * 3
    epochs = [[row for batch in examples.seen_batches[4 * e : 4 * e + 4] for row in batch] for e in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(50))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != sorted(epochs[0])


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    examples = LineExamples(5)
    trainer(epochs=1, batch_size=1000).run(LineNet(), examples, squares)
    assert [sorted(batch) for batch in examples.seen_batches] == [[0, 1, 2, 3, 4]]


def test_steps_are_those_of_adam_with_decayed_weights() -> None:
    trained, _ = train(epochs=2, batch_size=60, weight_decay=0.1)
    with seeded(0):
        net, examples = LineNet(), LineExamples()
    adam = torch.optim.Adam(net.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(2):
        adam.zero_grad()
        loss = squares(net, examples.batch(torch.arange(60)))
        loss.backward()
        net.levels.weight.grad = net.levels.weight.grad.to_dense()  # type: ignore[union-attr]
        adam.step()
    # All rows in one batch: the order in which they are added up is all that differs.
    torch.testing.assert_close(trained.line.weight, net.line.weight)
    torch.testing.assert_close(trained.levels.vectors[:3], net.levels.vectors[:3])


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_a_gradient_is_cut_to_the_norm_with_rows_that_are_named_twice_added_up(clip: float) -> None:
    with seeded(0):
        net, examples = LineNet(), LineExamples()
    twin = LineNet()
    twin.load_state_dict(net.state_dict())
    trainer(epochs=1, batch_size=60, clip=clip, optimizers=lambda net: make_optimizers(net, "sgd", 1.0)).run(
        net, examples, squares
    )
    squares(twin, examples.batch(torch.arange(60))).backward()
    twin.levels.weight.grad = twin.levels.weight.grad.to_dense()  # type: ignore[union-attr]
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
    assert 0.01 < float(norm) < 1e6
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other - other.grad)


def test_steps_are_taken_with_a_share_of_the_learning_rate_that_resuming_goes_on_with(tmp_path: Path) -> None:
    asked: list[int] = []

    def share(step: int) -> float:
        asked.append(step)
        return 1 / (1 + step)

    whole, _ = train(epochs=4, batch_size=20, share_of_rate=share)
    assert asked == list(range(12))
    checkpoint = Checkpoint(str(tmp_path / "run"), "key")

    def dying(step: int) -> float:
        if step == 7:
            raise KeyboardInterrupt
        return 1 / (1 + step)

    with pytest.raises(KeyboardInterrupt):
        train(epochs=4, batch_size=20, share_of_rate=dying, checkpoint=checkpoint)
    asked.clear()
    resumed, _ = train(epochs=4, batch_size=20, share_of_rate=share, checkpoint=checkpoint)
    assert asked == list(range(6, 12))
    assert same_state(whole, resumed)
    plain, _ = train(epochs=4, batch_size=20)
    assert not same_state(whole, plain)


def test_rows_of_a_sparse_table_that_no_batch_names_stay_bitwise_what_they_were() -> None:
    with seeded(0):
        before = LineNet()
    after, _ = train(weight_decay=0.1)
    assert torch.equal(before.levels.weight[[0, 4]], after.levels.weight[[0, 4]])
    assert not torch.equal(before.levels.weight[1:4], after.levels.weight[1:4])


def test_frozen_weights_stay_what_they_were() -> None:
    with seeded(0):
        net = LineNet()
        net.line.requires_grad_(False)
        before = net.line.weight.clone()
        trainer(weight_decay=0.1).run(net, LineExamples(), squares)
    assert torch.equal(net.line.weight, before)


def test_no_examples_leave_the_weights_as_they_were() -> None:
    with seeded(0):
        net = LineNet()
    with seeded(0):
        twin = LineNet()
    log = trainer(epochs=2).run(net, LineExamples(0), squares)
    assert same_state(net, twin)
    assert log["loss"].tolist() == [0.0, 0.0]


def test_a_batch_can_make_several_steps_and_the_log_has_the_loss_of_the_first() -> None:
    made: list[tuple[str, float]] = []
    with seeded(0):
        net, examples = LineNet(), LineExamples()

        def steps(batch: Rows) -> Iterator[tuple[str, Rows]]:
            for name in ("first", "second"):
                made.append((name, float(net.line.bias.detach())))
                yield name, batch

        def loss(net: LineNet, batch: tuple[str, Rows]) -> torch.Tensor:
            return squares(net, batch[1]) * (1 if batch[0] == "first" else 100)

        log = trainer(epochs=1, batch_size=30, steps=steps).run(net, examples, loss)
    assert [name for name, _ in made] == ["first", "second"] * 2
    assert len({bias for _, bias in made}) == 4  # each is asked for when the step before it has moved the weights
    assert int(net.steps) == 4
    assert log["loss"][0] < 10


def test_lbfgs_asks_for_the_loss_of_a_batch_until_it_is_satisfied() -> None:
    def optimizers(net: nn.Module) -> list[torch.optim.Optimizer]:
        return [torch.optim.LBFGS(net.parameters(), max_iter=30, line_search_fn="strong_wolfe")]

    net, log = train(epochs=2, batch_size=60, optimizers=optimizers)
    torch.testing.assert_close(net.line.weight[0], SLOPES, atol=1e-3, rtol=0)
    assert int(net.steps) > 4
    assert log["loss"].iloc[1] < 1e-6 * log["loss"].iloc[0]  # each is the loss before the epoch's step


def test_a_trained_network_holds_no_gradients() -> None:
    net, _ = train()
    assert all(one.grad is None for one in net.parameters())


def test_dropout_is_on_while_training_and_off_afterwards() -> None:
    modes: list[bool] = []

    def loss(net: nn.Module, batch: Rows) -> torch.Tensor:
        modes.append(net.training)
        return squares(net, batch)

    with seeded(0):
        net = LineNet()

        def validate() -> float:
            modes.append(net.training)
            return 0.0

        trainer(epochs=2, batch_size=60, monitor="rmse").run(net, LineExamples(), loss, validate)
    assert modes == [True, False] * 2
    assert not net.training


# -- the log -----------------------------------------------------------------------------------------------------------


def test_the_log_has_a_row_an_epoch() -> None:
    _, log = train(epochs=3, monitor="ndcg@10", validate=scores([0.1, 0.3, 0.2]))
    assert list(log.columns) == ["epoch", "loss", "ndcg@10", "seconds"]
    assert log["epoch"].tolist() == [1, 2, 3]
    assert log["ndcg@10"].tolist() == [0.1, 0.3, 0.2]
    assert (log["seconds"] > 0).all()


def test_the_log_without_validation_has_no_metric() -> None:
    _, log = train(epochs=2, monitor="ndcg@10")
    assert list(log.columns) == ["epoch", "loss", "seconds"]


def test_the_loss_of_an_epoch_is_the_mean_over_its_batches() -> None:
    examples = LineExamples(50)

    def numbers(net: LineNet, batch: Rows) -> torch.Tensor:
        return batch.y.mean() + 0 * net.line.weight.sum() + 0 * net.levels.weight.sum()

    with seeded(0):
        log = trainer(epochs=2, batch_size=16).run(LineNet(), examples, numbers)
    means = [float(examples.y[batch].mean()) for batch in examples.seen_batches]
    np.testing.assert_allclose(log["loss"], [np.mean(means[:4]), np.mean(means[4:])], rtol=1e-5)


def test_a_progress_bar_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    train(epochs=2, verbose=1, monitor="ndcg@10", validate=scores([0.25, 0.5]))
    out, err = capfd.readouterr()
    assert out == ""
    assert "Line: 100%" in err
    assert "2/2" in err
    assert "ndcg@10=0.5" in err


def test_verbose_0_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    train(epochs=2, verbose=0, patience=1, monitor="ndcg@10", validate=scores([0.5, 0.5]))
    assert capfd.readouterr() == ("", "")


# -- validation --------------------------------------------------------------------------------------------------------

RUNS: dict[str, tuple[list[float], dict[str, Any], int, int]] = {
    "greater is better": ([1, 3, 2, 2, 9], {"patience": 2}, 4, 2),
    "smaller is better": ([3, 1, 2, 2, 0], {"patience": 2, "greater_is_better": False}, 4, 2),
    "one epoch of patience": ([1, 1, 9], {"patience": 1}, 2, 1),
    "an equal figure is no better one": ([2, 2, 2, 9], {"patience": 2}, 3, 1),
    "a late gain starts the count anew": ([1, 0, 2, 0, 3, 0, 0], {"patience": 2}, 7, 5),
    "no patience runs all epochs": ([1, 3, 2, 2, 2, 2, 2], {"patience": None}, 7, 2),
    "negative figures": ([-3, -1, -2, -2], {"patience": 2}, 4, 2),
    "the first figure is NaN": ([np.nan, 1, 0, 0], {"patience": 2}, 4, 2),
    "the first figure is NaN and small is good": ([np.nan, 1, 2, 2], {"patience": 2, "greater_is_better": False}, 4, 2),
    "a NaN in between is no gain": ([1, np.nan, np.nan, 9], {"patience": 2}, 3, 1),
    "the last is the best": ([1, 2, 3, 4, 5, 6, 7], {"patience": 2}, 7, 7),
}


@pytest.mark.parametrize("figures, settings, n_epochs, best", RUNS.values(), ids=RUNS.keys())
def test_the_weights_of_the_best_epoch_are_kept(
    figures: list[float], settings: dict[str, Any], n_epochs: int, best: int
) -> None:
    left, log = train(epochs=7, monitor="figure", validate=scores(figures), **settings)
    assert len(log) == n_epochs
    assert same_state(left, train(epochs=best)[0])


def test_figures_that_are_all_nan_keep_the_last_weights() -> None:
    left, log = train(epochs=4, monitor="figure", patience=1, validate=scores([np.nan] * 4))
    assert len(log) == 4
    assert same_state(left, train(epochs=4)[0])


def test_validation_alone_changes_nothing_of_the_training() -> None:
    plain, seen = train(epochs=4), train(epochs=4, monitor="figure", validate=scores([1, 2, 3, 4]))
    assert plain[1]["loss"].tolist() == seen[1]["loss"].tolist()
    assert same_state(plain[0], seen[0])


def test_stopping_early_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recsys.training.trainer"):
        train(epochs=9, monitor="ndcg@10", patience=2, validate=scores([3, 2, 2]))
    assert "Line: stopped, no better ndcg@10 for 2 epochs" in caplog.text


# -- divergence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_do(value: float) -> None:
    def loss(net: Any, batch: Rows) -> torch.Tensor:
        return squares(net, batch) * (value if int(net.steps) == 6 else 1)

    with pytest.raises(TrainingError, match=r"Line: the loss became NaN or infinite in epoch 2 .* lower it"):
        train(loss=loss)


def test_a_last_step_too_large_is_an_error_though_every_loss_was_a_number() -> None:
    def steep(net: Any, batch: Rows) -> torch.Tensor:
        return squares(net, batch) + (0 * net.line.weight.sum()).sqrt()

    with pytest.raises(TrainingError, match=r"Line: the weights became NaN .* in epoch 1 with learning_rate=0\.05"):
        train(epochs=1, batch_size=60, loss=steep)


# -- precision ---------------------------------------------------------------------------------------------------------


def test_bf16_finds_about_the_same_line() -> None:
    dtypes: set[torch.dtype] = set()

    def loss(net: Any, batch: Rows) -> torch.Tensor:
        dtypes.add(net(batch.x, batch.group).dtype)
        return squares(net, batch)

    net, _ = train(epochs=100, precision="bf16", loss=loss)
    full, _ = train(epochs=100)
    assert net.line.weight.dtype == torch.float32
    assert not same_state(net, full)
    torch.testing.assert_close(net.line.weight, full.line.weight, atol=0.05, rtol=0)


# -- reproducibility ---------------------------------------------------------------------------------------------------


def test_one_seed_gives_one_network() -> None:
    assert same_state(train(dropout=0.5)[0], train(dropout=0.5)[0])
    assert not same_state(train(dropout=0.5)[0], train(seed=1, dropout=0.5)[0])
