"""Checks of saved models, and of the kinds of frames that go in and come out."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from recsys.base import Recommender, load
from recsys.errors import DataError, LoadError
from recsys.testing.contract import (
    Model,
    all_scores,
    all_users,
    close,
    columns_of,
    expect,
    expect_error,
    fitted,
    quick,
    same_lists,
    tables_for,
)
from recsys.testing.history import past
from recsys.testing.hyperparameters import same_params
from recsys.testing.planted import USER, as_kind


def check_save_and_load(model: Model) -> None:
    """A loaded model has the hyperparameters, scores and lists of the saved one, and can be saved again."""
    one = fitted(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        one.save(path)
        loaded = load(path)
        loaded.save(path)
        again = load(path)
    expect(type(loaded) is type(one), model, f"load gives a {type(loaded).__name__}")
    expect(same_params(loaded, one), model, "load changes hyperparameters")
    kept, back = ({name for name in vars(each) if name.endswith("_")} for each in (one, loaded))
    expect(kept == back, model, f"saving loses or invents {', '.join(sorted(kept ^ back))}")
    for each in (loaded, again):
        expect(close(all_scores(each), all_scores(one), 1e-6), model, "a loaded model gives other scores")
        if one.supports("recommend"):
            expect(same_lists(each.recommend(), one.recommend(), 1e-6), model, "a loaded model gives other lists")


def check_damaged_saves_are_refused(model: Model) -> None:
    """A file cut short, changed, of another version or class, or missing is a `LoadError`."""
    one = fitted(model)
    with tempfile.TemporaryDirectory() as folder:
        for name, damage in DAMAGES.items():
            path = Path(folder) / name.replace(" ", "-")
            one.save(path)
            damage(path)
            expect_error(LoadError, lambda p=path: load(p), model, f"loading {name}")
        expect_error(LoadError, lambda: load(Path(folder) / "nowhere"), model, "loading what does not exist")


def check_saving_over(model: Model) -> None:
    """Saving over a model replaces it; saving into a directory of other files is refused and leaves them."""
    one, other = fitted(model), quick(model).fit(tables_for(model, seed=1).dataset())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        one.save(path)
        other.save(path)
        expect(close(all_scores(load(path)), all_scores(other), 1e-6), model, "saving over a model keeps the old one")
        taken = Path(folder) / "letters"
        taken.mkdir()
        (taken / "letter.txt").write_text("Dear reader")
        expect_error(DataError, lambda: one.save(taken), model, "saving into a directory of other files")
        expect([file.name for file in taken.iterdir()] == ["letter.txt"], model, "a refused save leaves files behind")


def check_polars_frames(model: Model) -> None:
    """Polars frames give what pandas ones give, as polars frames."""
    kind_agrees(model, "polars")


def check_arrow_tables(model: Model) -> None:
    """PyArrow tables give what pandas frames give, as PyArrow tables."""
    kind_agrees(model, "pyarrow")


def check_gpu_agrees(model: Model) -> None:
    """A fitted network scores on the GPU as it does on the CPU, within a thousandth."""
    one = fitted(model)
    if "device" not in one.get_params():
        return
    cpu, gpu = moved(one, "cpu"), moved(one, "cuda")
    expect(close(all_scores(gpu), all_scores(cpu), 1e-3), model, "the GPU gives other scores than the CPU")
    if one.supports("recommend"):
        expect(same_lists(gpu.recommend(), cpu.recommend(), 1e-3), model, "the GPU gives other lists than the CPU")


# -- what the checks are made of ---------------------------------------------------------------------------------------


def moved(one: Recommender, device: str) -> Recommender:
    """A fitted model as it is on another device."""
    state = {name: value for name, value in vars(one).items() if name.endswith("_")}
    weights = {name: value.state_dict() for name, value in state.items() if isinstance(value, torch.nn.Module)}
    twin = one.clone(device=device)
    twin._restore({**state, **weights})
    return twin


def kind_agrees(model: Model, kind: str) -> None:
    """The same scores and lists from frames of another kind, which come back as that kind."""
    tables = tables_for(model)
    one, other = fitted(model), quick(model).fit(tables.dataset(kind))
    expect(close(all_scores(other), all_scores(one)), model, f"{kind} frames give another model than pandas ones")
    rows = as_kind(tables.interactions, kind)
    expect(close(other.predict(rows), one.predict(tables.interactions)), model, f"predict differs on a {kind} frame")
    if one.supports("recommend"):
        lists, ours = other.recommend(k=4), one.recommend(k=4)
        module = type(lists).__module__.split(".")[0]
        expect(module == kind, model, f"a model fitted on {kind} frames gives a frame of {module}")
        expect(same_lists(lists, ours), model, f"{kind} frames give other lists than pandas ones")
        if other.supports("history"):
            asked = past(model)
            asked = asked[asked[USER].isin(all_users()[:3])]
            given, ours_too = other.recommend(history=as_kind(asked, kind), k=4), one.recommend(history=asked, k=4)
            expect(
                type(given) is type(lists), model, f"a history that is a {kind} frame gives a {type(given).__name__}"
            )
            expect(same_lists(given, ours_too), model, f"a history gives another list as a {kind} frame")
        kinds = [column.dtype.kind for column in columns_of(lists).values()]
        expect(kinds == [column.dtype.kind for column in columns_of(ours).values()], model, f"{kind}: other dtypes")


def cut(name: str) -> Callable[[Path], None]:
    """Damage that cuts a file of a saved model short."""

    def damage(path: Path) -> None:
        blob = (path / name).read_bytes()
        (path / name).write_bytes(blob[: len(blob) * 2 // 3])

    return damage


def change_a_byte(path: Path) -> None:
    """Flip the last byte of the arrays."""
    blob = bytearray((path / "model.safetensors").read_bytes())
    blob[-1] ^= 0xFF
    (path / "model.safetensors").write_bytes(bytes(blob))


def rewrite(key: str, value: object) -> Callable[[Path], None]:
    """Damage that changes an entry of the JSON."""

    def damage(path: Path) -> None:
        head = json.loads((path / "model.json").read_text(encoding="utf-8"))
        (path / "model.json").write_text(json.dumps({**head, key: value}), encoding="utf-8")

    return damage


def overwrite(name: str, text: str) -> Callable[[Path], None]:
    """Damage that puts another text in a file's place."""

    def damage(path: Path) -> None:
        (path / name).write_text(text, encoding="utf-8")

    return damage


def remove(name: str) -> Callable[[Path], None]:
    """Damage that takes a file away."""
    return lambda path: (path / name).unlink()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "arrays cut short": cut("model.safetensors"),
    "json cut short": cut("model.json"),
    "a changed byte": change_a_byte,
    "another version": rewrite("format", 999),
    "an unknown class": rewrite("model", "NoSuchModel"),
    "json of another kind": overwrite("model.json", "[1, 2]"),
    "no arrays": remove("model.safetensors"),
    "no json": remove("model.json"),
}
"""What can befall a saved model."""
