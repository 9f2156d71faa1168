import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from recsys import SASRec
from recsys.data import Dataset
from recsys.errors import LoadError
from recsys.training import Checkpoint, run_key, seeded
from recsys.training.checkpoint import Progress
from tests.training.toy import LineExamples, LineNet, open_checkpoint, same_state, squares, stopping, train, trainer

FIGURES = [1.0, 3.0, 2.0, 4.0, 0.0, 0.0, 9.0, 9.0]
"""What the validation of an epoch gives; with a patience of 2 the run ends with the sixth."""
STEPS = 4
"""Steps an epoch: 60 rows, 16 at a time."""


def run(folder: Path | None, loss: Any = squares, seed: int = 0, done: int = 0) -> tuple[LineNet, pd.DataFrame]:
    """A run with dropout, a sparse table, a buffer, validation and patience; `done` epochs are validated already."""
    remaining = iter(FIGURES[done:])
    checkpoint = None if folder is None else open_checkpoint(folder)
    with seeded(seed):
        net = LineNet(dropout=0.3)
        once = trainer(epochs=8, patience=2, monitor="figure", checkpoint=checkpoint, weight_decay=0.01)
        return net, once.run(net, LineExamples(), loss, lambda: next(remaining))


def same_log(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return one.drop(columns="seconds").equals(other.drop(columns="seconds"))


@pytest.mark.parametrize("step", [1, STEPS, STEPS + 1, 2 * STEPS + 3, 4 * STEPS + 2, 6 * STEPS])
def test_a_run_cut_off_anywhere_ends_bitwise_as_one_that_was_not(tmp_path: Path, step: int) -> None:
    whole, log = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(step))
    # The new start has other weights and another random state, which the checkpoint replaces.
    done = (step - 1) // STEPS
    resumed, resumed_log = run(tmp_path, seed=0 if done == 0 else 99, done=done)
    assert same_state(resumed, whole)
    assert same_log(resumed_log, log)
    assert len(log) == 6


def test_a_run_cut_off_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, log = run(None)
    for step, done in ((6, 0), (10, 1), (11, 2), (19, 2)):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, stopping(step), done=done)
    resumed, resumed_log = run(tmp_path, done=4)
    assert same_state(resumed, whole)
    assert same_log(resumed_log, log)


class Kept(Checkpoint):
    """A checkpoint whose run is cut off after its last epoch, before the file is removed."""

    def remove(self) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("epochs", [3, 8], ids=["all epochs", "stopped early"])
def test_a_run_cut_off_at_its_very_end_is_not_trained_on(tmp_path: Path, epochs: int) -> None:
    def once(checkpoint: Checkpoint, figures: list[float]) -> LineNet:
        remaining = iter(figures)
        with seeded(0):
            net = LineNet()
            settings = trainer(epochs=epochs, patience=2, monitor="figure", checkpoint=checkpoint)
            settings.run(net, LineExamples(), squares, lambda: next(remaining))
        return net

    with pytest.raises(KeyboardInterrupt):
        once(Kept(tmp_path / "run.ckpt", "run"), FIGURES)
    resumed = once(open_checkpoint(tmp_path), [])
    assert same_state(resumed, train(epochs=2 if epochs == 3 else 4)[0])


def test_a_finished_run_leaves_no_file(tmp_path: Path) -> None:
    run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_cut_off_in_its_first_epoch_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(2))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_one_file_at_any_path(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "läufe mit leerzeichen" / "v1.2", "run")
    checkpoint.write(Progress({"a": torch.arange(3)}, {"log": [1]}))
    assert [path.name for path in (tmp_path / "läufe mit leerzeichen").iterdir()] == ["v1.2"]
    found = checkpoint.read()
    assert found is not None
    assert found.tensors["a"].tolist() == [0, 1, 2]
    assert found.values == {"log": [1]}


def test_a_write_cut_off_leaves_the_last_state(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tmp_path)
    checkpoint.write(Progress({}, {"log": [1]}))
    (tmp_path / "run.ckpt.part").write_bytes(b"half of a file")
    found = checkpoint.read()
    assert found is not None
    assert found.values == {"log": [1]}


def test_what_is_no_run_is_none(tmp_path: Path) -> None:
    assert open_checkpoint(tmp_path).read() is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut short": cut,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("Dear reader"),
    "other tensors": lambda path: save_file({"a": torch.zeros(2)}, str(path)),
    "other metadata": lambda path: save_file({"a": torch.zeros(2)}, str(path), {"who": "me"}),
    "a list": lambda path: save_file({"a": torch.zeros(2)}, str(path), {"run": "[1, 2]"}),
    "no values": lambda path: save_file({"a": torch.zeros(2)}, str(path), {"run": '{"key": "run"}'}),
    "no json": lambda path: save_file({"a": torch.zeros(2)}, str(path), {"run": "{"}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(6))
    damage(tmp_path / "run.ckpt")
    with pytest.raises(LoadError, match=r"run\.ckpt is no checkpoint or is damaged .* remove it to start over"):
        run(tmp_path)
    assert (tmp_path / "run.ckpt").exists()


UNFIT: dict[str, Progress] = {
    "no weights": Progress({"rng.cpu": torch.get_rng_state()}, {"log": [], "best_score": 0.0, "best_epoch": 0}),
    "other values": Progress({f"net.{n}": t for n, t in LineNet().state_dict().items()}, {"log": []}),
}


@pytest.mark.parametrize("progress", UNFIT.values(), ids=UNFIT.keys())
def test_a_state_of_another_network_is_an_error_that_says_what_to_do(tmp_path: Path, progress: Progress) -> None:
    open_checkpoint(tmp_path).write(progress)
    with pytest.raises(LoadError, match=r"run\.ckpt does not fit Line .* remove it to start over"):
        run(tmp_path)


def test_the_file_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_checkpoint(tmp_path, key="other").write(Progress({}, {}))
    with pytest.raises(LoadError, match=r"run\.ckpt belongs to another model, other hyperparameters or other data"):
        run(tmp_path)
    assert open_checkpoint(tmp_path, key="other").read() is not None


# -- what makes a run the same -----------------------------------------------------------------------------------------

ROWS = {"user_id": [1, 1, 2], "item_id": [5, 6, 6], "rating": [1.0, 2.0, 3.0], "timestamp": [1, 2, 3]}
ITEMS = pd.DataFrame({"item_id": [5, 6], "tags": [["a"], ["b", "a"]], "size": [0.5, 1.5]})
VECTORS = pd.DataFrame({"item_id": [5, 6], "sound": [[0.5, 1.5], [2.5, 1.0]]})


def make(changes: dict[str, Any] | None = None, **options: Any) -> Dataset:
    return Dataset(pd.DataFrame({**ROWS, **(changes or {})}), **options)


OTHERS: dict[str, Callable[[], Dataset]] = {
    "items": lambda: make({"item_id": [5, 6, 5]}),
    "ratings": lambda: make({"rating": [1.0, 2.0, 4.0]}),
    "no ratings": lambda: make(rating_col=None),
    "times": lambda: make({"timestamp": [1, 3, 4]}),
    "weights": lambda: make({"weight": [1.0, 1.0, 2.0]}),
    "labels": lambda: make({"label": [1, 0, 1]}),
    "other labels": lambda: make({"label": [1, 1, 0]}),
    "a context": lambda: make({"place": ["a", "b", "a"]}, context_cols=["place"]),
    "another context": lambda: make({"place": ["a", "b", "b"]}, context_cols=["place"]),
    "the context's name": lambda: make({"where": ["a", "b", "b"]}, context_cols=["where"]),
    "features": lambda: make(item_features=ITEMS),
    "tags": lambda: make(item_features=ITEMS.assign(tags=[["a"], ["b"]])),
    "numbers": lambda: make(item_features=ITEMS.assign(size=[0.5, 0.5])),
    "vectors": lambda: make(item_features=VECTORS),
    "other vectors": lambda: make(item_features=VECTORS.assign(sound=[[0.5, 1.5], [2.5, 1.25]])),
    "an item more": lambda: make(item_features=pd.concat([VECTORS, VECTORS.assign(item_id=[7, 8])])),
    "friends": lambda: make(social=pd.DataFrame({"user_id": [1], "friend_id": [2]})),
    "other friends": lambda: make(social=pd.DataFrame({"user_id": [2], "friend_id": [1]})),
    "friends' weights": lambda: make(social=pd.DataFrame({"user_id": [1], "friend_id": [2], "weight": [0.5]})),
    "field data": lambda: make({"label": [1, 0, 1], "a": [1, 2, 3]}, user_col=None, item_col=None, context_cols=["a"]),
}


def test_equal_data_and_settings_are_the_same_run() -> None:
    settings = {"epochs": 3, "widths": (4, 2)}
    assert run_key(settings, make(), None) == run_key(dict(reversed(settings.items())), make(), None)
    assert run_key(settings, make(), None) == run_key(settings, Dataset(pd.DataFrame(ROWS).iloc[::-1]), None)


def test_every_part_of_the_data_tells_runs_apart() -> None:
    keys = {name: run_key({}, other()) for name, other in OTHERS.items()}
    keys |= {"the data itself": run_key({}, make()), "other settings": run_key({"epochs": 3}, make())}
    keys |= {"validation": run_key({}, make(), make()), "no validation": run_key({}, make(), None)}
    keys |= {"other validation": run_key({}, make(), OTHERS["ratings"]())}
    assert len(set(keys.values())) == len(keys)


# -- a process that is killed ------------------------------------------------------------------------------------------

KILLED = """
import json, os, signal, sys
import pandas as pd, torch
from recsys import SASRec
torch.set_num_threads(1)

class Doomed(SASRec):
    def _validation_score(self, metric, validation):
        score = super()._validation_score(metric, validation)
        Doomed.epoch = getattr(Doomed, "epoch", 0) + 1
        if Doomed.epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return score

Doomed.__name__ = "SASRec"
settings, train, test = json.load(sys.stdin)
Doomed(**settings).fit(pd.DataFrame(train), validation_data=pd.DataFrame(test))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill a process")
def test_a_fit_whose_process_was_killed_gives_bitwise_the_same_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    walk = np.concatenate([(start + np.arange(8)) % 12 for start in rng.integers(12, size=40)])
    rows = pd.DataFrame({"user_id": np.repeat(np.arange(40), 8), "item_id": walk, "timestamp": np.arange(320)})
    test = rows["timestamp"] % 8 == 7
    train, held_out = rows[~test].reset_index(drop=True), rows[test].reset_index(drop=True)
    settings = {"embedding_dim": 8, "loss": "bce", "epochs": 6, "patience": 4, "batch_size": 16, "verbose": 0}
    settings |= {"dropout": 0.3, "max_len": 6, "device": "cpu", "checkpoint": str(tmp_path / "run.ckpt")}
    given = json.dumps([settings, train.to_dict("list"), held_out.to_dict("list")])
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", KILLED], input=given, text=True, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "run.ckpt").exists()
    resumed = SASRec(**settings).fit(train, validation_data=held_out)
    whole = SASRec(**{**settings, "checkpoint": None}).fit(train, validation_data=held_out)
    assert same_state(resumed.module_, whole.module_)
    assert same_log(resumed.training_log_, whole.training_log_)
    assert not (tmp_path / "run.ckpt").exists()
