import json
import shutil
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.embedding.sharded import ShardedFieldEmbedding
from recsys.errors import UnsupportedError
from recsys.metrics import auc
from recsys.training import Processes
from tests.training.sharded_clicks import click_frames, clicks, dlrm, wide
from tests.training.test_distributed import torchrun
from tests.training.torchrun_sharded import Watched


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left, all of it from one start of them."""
    pytest.importorskip("torchrec", reason='sharded tables need pip install "recsys[distributed]"')
    where = tmp_path_factory.mktemp("processes")
    ended = torchrun("torchrun_sharded.py", where)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return where


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def one() -> Any:
    """The model of one process."""
    train, test = click_frames()
    return dlrm().fit(clicks(train), validation_data=clicks(test))


# -- two processes are as one --------------------------------------------------------------------------------------------


def test_sharded_tables_learn_what_those_of_one_process_learn(found: dict[str, Any], one: Any) -> None:
    test = click_frames()[1]
    sharded, whole = (auc(test.label.to_numpy(), np.asarray(s)) for s in (found["fitted"]["scores"], one.predict(test)))
    assert abs(sharded - whole) < 0.002
    assert whole > 0.85
    np.testing.assert_allclose(found["fitted"]["auc"], one.training_log_.auc, atol=0.002)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "falling", "two"])
def test_each_rule_moves_rows_as_in_one_process(found: dict[str, Any], name: str) -> None:
    train, test = click_frames()
    model = wide(name).fit(clicks(train[:5000]), validation_data=clicks(test))
    np.testing.assert_allclose(found["rules"][name], model.predict(test), atol=5e-3)


def test_each_process_holds_about_half_of_the_table(found: dict[str, Any]) -> None:
    assert sum(found["fitted"]["held"]) == pytest.approx(1)
    assert all(0.35 < share < 0.65 for share in found["fitted"]["held"])


def test_after_the_fit_every_process_has_the_whole_model(found: dict[str, Any]) -> None:
    assert found["fitted"]["whole"]
    assert found["fitted"]["agree"]


def test_what_was_saved_loads_in_one_process(found: dict[str, Any], folder: Path) -> None:
    assert found["fitted"]["loaded"]
    head = json.loads((folder / "model" / "model.json").read_text())
    assert head["model"] == "Watched"


# -- checkpoints ---------------------------------------------------------------------------------------------------------


def test_a_fit_that_was_cut_off_ends_as_one_that_was_not(found: dict[str, Any]) -> None:
    assert found["resumed"]["same"]
    assert found["resumed"]["epochs"] == 3


def test_each_process_writes_a_file_and_all_go_at_the_end(found: dict[str, Any]) -> None:
    files = [f"run.ckpt.1.{rank}-of-2.safetensors" for rank in range(2)]
    assert found["resumed"]["left"] == ["run.ckpt", *files]
    assert found["resumed"]["gone"]


def test_one_process_goes_on_from_the_checkpoint_of_two(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "kept", tmp_path / "kept")
    path = tmp_path / "kept" / "run.ckpt"
    train, test = click_frames()
    Watched.steps = 0
    model = Watched(**{**dlrm().get_params(), "checkpoint": str(path)})
    model.fit(clicks(train), validation_data=clicks(test))
    # The first epoch is the two processes' own, read bitwise.
    assert model.training_log_.auc[0] == found["fitted"]["auc"][0]
    np.testing.assert_allclose(model.training_log_.auc, found["fitted"]["auc"], atol=0.002)
    assert list((tmp_path / "kept").iterdir()) == []


# -- one process ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Any:
    return dlrm(epochs=1).fit(clicks(click_frames()[0][:1000]))


def test_one_process_shards_nothing(small: Any) -> None:
    assert not small._shards(Processes(0, 1))


@pytest.mark.parametrize("changes", [{"optimizer": "adam"}, {"weight_decay": 0.1}, {"embedding_decay": 0.1}])
def test_what_cannot_be_spread_is_refused_with_the_ways_out(small: Any, changes: dict[str, Any]) -> None:
    (value,) = changes.values()
    with pytest.raises(UnsupportedError, match=f'recsys\\[distributed\\].*here {value!r}.*sharding="replicated"'):
        copy(small).set_params(**changes)._shards(Processes(0, 2))


@pytest.mark.parametrize("sharding", ["auto", "replicated"])
def test_small_tables_stay_on_every_process(small: Any, sharding: str) -> None:
    assert not copy(small).set_params(sharding=sharding)._shards(Processes(0, 2))


def test_a_network_that_reads_its_tables_itself_is_told_so() -> None:
    # As FM does; nothing of the module is needed to say so.
    with pytest.raises(UnsupportedError, match='sharding="replicated"'):
        _ = ShardedFieldEmbedding.__new__(ShardedFieldEmbedding).table


# -- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what, words", [("adam", "'adam'"), ("decay", "here 0.1")])
def test_what_cannot_be_sharded_is_said(found: dict[str, Any], what: str, words: str) -> None:
    assert 'sharding="planner"' in found["refused"][what]
    assert words in found["refused"][what]
    assert 'sharding="replicated"' in found["refused"][what]


def test_small_tables_are_not_sharded_by_themselves(found: dict[str, Any]) -> None:
    assert found["refused"]["small tables"] == "FieldEmbedding"
