import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recsys.embedding.sharded import put_back
from recsys.errors import LoadError
from recsys.training import Checkpoint
from recsys.training.checkpoint import Progress
from recsys.training.shards import files_of, put_together

WHOLE = torch.arange(1.0, 25.0).view(6, 4)


def parts(whole: Tensor) -> dict[str, Tensor]:
    """A table without its spare row 0: two of its rows, and two halves of the columns of the others."""
    return {"net.t@1:0": whole[1:3], "net.t@3:0": whole[3:, :2].clone(), "net.t@3:2": whole[3:, 2:].clone()}


def progress(tensors: dict[str, Tensor], epochs: int = 1) -> Progress:
    return Progress(tensors, {"log": [{"loss": 0.5}] * epochs})


def test_parts_are_read_as_one_table_whose_spare_row_is_zeros(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", "key")
    checkpoint.write(progress({**parts(WHOLE), "net.b": torch.ones(3), "o.sum@1:0": torch.tensor([3.0, 4.0])}))
    found = checkpoint.read()
    assert found is not None
    assert found.values == {"log": [{"loss": 0.5}]}
    assert torch.equal(found.tensors["net.t"], torch.cat([torch.zeros(1, 4), WHOLE[1:]]))
    assert torch.equal(found.tensors["net.b"], torch.ones(3))
    assert found.tensors["o.sum"].tolist() == [0, 3, 4]


def test_the_files_of_an_epoch_give_way_to_those_of_the_next(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", "key")
    checkpoint.write(progress(parts(WHOLE)))
    checkpoint.write(progress(parts(WHOLE + 1), epochs=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.ckpt", "run.ckpt.2.0-of-1.safetensors"]
    found = checkpoint.read()
    assert found is not None
    assert torch.equal(found.tensors["net.t"][1:], WHOLE[1:] + 1)


def test_a_kill_before_the_manifest_leaves_the_epoch_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", "key")
    checkpoint.write(progress(parts(WHOLE)))
    replace, calls = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        calls.append(target.name)
        if target.name == "run.ckpt":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(progress(parts(WHOLE + 1), epochs=2))
    assert calls == ["run.ckpt.2.0-of-1.safetensors", "run.ckpt"]
    found = checkpoint.read()
    assert found is not None
    assert torch.equal(found.tensors["net.t"][1:], WHOLE[1:])


def test_a_file_of_one_process_takes_the_place_of_parts(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", "key")
    checkpoint.write(progress(parts(WHOLE)))
    checkpoint.write(progress({"net.t": WHOLE}, epochs=2))
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def test_all_files_go_with_the_run(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", "key")
    checkpoint.write(progress(parts(WHOLE)))
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "cut", "other run"])
def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    checkpoint = Checkpoint(tmp_path / "run.ckpt", "key")
    checkpoint.write(progress(parts(WHOLE)))
    (file,) = files_of(checkpoint.path)
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:50])
    else:
        checkpoint = Checkpoint(checkpoint.path, "other")
    with pytest.raises(LoadError, match=r"run\.ckpt"):
        checkpoint.read()


def test_a_manifest_names_files_beside_it_alone(tmp_path: Path) -> None:
    (tmp_path / "run.ckpt").write_text(json.dumps({"key": "key", "values": {}, "files": ["../../elsewhere"]}))
    assert files_of(tmp_path / "run.ckpt") == [tmp_path / "elsewhere"]


def test_parts_take_their_own_values_or_those_of_the_whole() -> None:
    pieces = [(1, 0, torch.zeros(2, 4)), (3, 2, torch.zeros(3, 2)), (3, 0, torch.zeros(2))]
    put_back(pieces[:2], "t", {"t": WHOLE})
    assert torch.equal(pieces[0][2], WHOLE[1:3])
    assert torch.equal(pieces[1][2], WHOLE[3:, 2:])
    put_back(pieces[:1], "t", {"t": WHOLE, "t@1:0": -WHOLE[1:3]})
    assert torch.equal(pieces[0][2], -WHOLE[1:3])
    put_back(pieces[2:], "sum", {"sum": torch.arange(6.0)})
    assert pieces[2][2].tolist() == [3, 4]


def test_parts_in_any_order_make_the_same_table() -> None:
    pieces = [(3, 2, WHOLE[3:, 2:]), (0, 0, WHOLE[:3]), (3, 0, WHOLE[3:, :2])]
    assert torch.equal(put_together(pieces), WHOLE)
    assert torch.equal(put_together(pieces[::-1]), WHOLE)
