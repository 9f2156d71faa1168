import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from recsys.metrics import auc
from recsys.training import Processes, is_first, join
from tests.training.replicated import (
    MODELS,
    click_frame,
    clicks,
    dense_model,
    scores,
    stream,
    streamed_model,
    write_stream,
)

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
"""Seconds until processes count as hanging."""


def torchrun(script: str, folder: Path, *arguments: str, world: int = 2) -> subprocess.CompletedProcess[str]:
    """Run a script beside this file in some processes of `torchrun`, on one thread each."""
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={world}", str(Path(__file__).with_name(script)), str(folder), *arguments]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes found, all of it from one start of them."""
    pytest.importorskip("pyarrow")
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this torch was built without gloo")
    folder = tmp_path_factory.mktemp("processes")
    write_stream(folder)
    ended = torchrun("torchrun_replicated.py", folder)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads((folder / "found.json").read_text()) | {"shown": ended.stderr}


# -- two processes are as one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sparse", "dense", "normalized", "sequence"])
def test_two_processes_learn_what_one_learns(found: dict[str, Any], name: str) -> None:
    model, data = MODELS[name]()
    one = scores(model.fit(data), data)
    np.testing.assert_allclose(found["fits"][name]["scores"], one, atol=2e-4)
    np.testing.assert_allclose(found["fits"][name]["log"], model.training_log_.loss, rtol=1e-4)


def test_noise_of_their_own_leads_two_processes_to_the_same_scores_but_for_noise(found: dict[str, Any]) -> None:
    model, data = MODELS["profile"]()
    one = scores(model.fit(data), data)
    assert np.corrcoef(one, found["fits"]["profile"]["scores"])[0, 1] > 0.9


@pytest.mark.parametrize("name", list(MODELS))
def test_all_processes_end_with_bitwise_the_same_model(found: dict[str, Any], name: str) -> None:
    assert found["fits"][name]["same"]


def test_processes_stop_together_at_the_epoch_where_one_would(found: dict[str, Any]) -> None:
    model = dense_model()[0].clone(epochs=30, patience=2, monitor="auc", learning_rate=0.1)
    model.fit(clicks().subset(np.arange(400)), validation_data=clicks().subset(np.arange(400, 600)))
    assert len(model.training_log_) < 30
    np.testing.assert_allclose(found["chosen"]["auc"], model.training_log_.auc, atol=2e-3)
    assert found["chosen"]["same"]


# -- random numbers ------------------------------------------------------------------------------------------------------


def test_each_process_draws_for_itself_and_all_learn_the_same(found: dict[str, Any]) -> None:
    assert len(set(found["drawn"]["seeds"])) == 2
    assert found["drawn"]["same"]


def test_the_random_state_of_a_process_is_left_alone(found: dict[str, Any]) -> None:
    assert found["drawn"]["untouched"]


# -- rows in Parquet files -----------------------------------------------------------------------------------------------


def test_processes_stream_their_own_row_groups_and_learn_what_all_rows_say(
    found: dict[str, Any], tmp_path: Path
) -> None:
    write_stream(tmp_path)
    model = streamed_model().fit(stream(tmp_path))
    one, many = (
        auc(click_frame().label.to_numpy(), np.asarray(one))
        for one in (model.predict(click_frame()), found["stream"]["scores"])
    )
    assert abs(one - many) < 0.01
    assert one > 0.8
    assert found["stream"]["same"]


def test_each_row_group_is_one_processs_own(tmp_path: Path) -> None:
    write_stream(tmp_path)
    table = stream(tmp_path).stream.table
    parts = [Processes(rank, 3).pieces(table) for rank in range(3)]
    groups = sorted((piece.file, group) for part in parts for piece in part for group in piece.groups)
    assert groups == [(0, group) for group in range(7)]
    assert table.shard == (0, 1)


# -- files ---------------------------------------------------------------------------------------------------------------


def test_a_fit_that_was_cut_off_ends_as_one_that_was_not(found: dict[str, Any]) -> None:
    assert found["resumed"] == {"same": True, "left": True, "gone": True, "epochs": 3}


def test_the_first_process_alone_saves_and_any_loads(found: dict[str, Any]) -> None:
    assert found["saved"] == ["saved-by-0"]
    assert found["loaded"]


# -- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what, words",
    [
        ("batch", ["batch_size=1", "2 processes"]),
        ("shard", ["shard=(0, 3)", "leave shard out"]),
        ("checkpoint", ["epochs", "a place that all of them see"]),
        ("cache", ["CachedEmbedding", "one process"]),
    ],
)
def test_what_many_processes_cannot_do_is_said(found: dict[str, Any], what: str, words: list[str]) -> None:
    for word in words:
        assert word in found["refused"][what]


# -- one process ---------------------------------------------------------------------------------------------------------


def test_a_program_of_its_own_is_one_process_and_makes_no_group() -> None:
    assert join(torch.device("cpu")) == Processes(0, 1, torch.device("cpu"))
    assert not dist.is_initialized()
    assert is_first()


def test_parts_of_a_batch_are_disjoint_and_all_of_it() -> None:
    rows = torch.arange(11)
    parts = [Processes(rank, 3).share(rows) for rank in range(3)]
    assert torch.equal(torch.cat(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_fewer_rows_than_processes_are_everyones() -> None:
    assert [Processes(rank, 3).share(torch.arange(2)).tolist() for rank in range(3)] == [[0, 1]] * 3


def test_the_seed_of_an_epoch_moves_nothing() -> None:
    before = torch.get_rng_state()
    assert Processes(0, 2).own_seed() != Processes(1, 2).own_seed()
    assert torch.equal(before, torch.get_rng_state())
