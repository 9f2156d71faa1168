"""The speed suite: tasks name their contenders and bars rightly, pages say what was measured, figures are the right ones."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import recsys

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SHARED_PARTS = ("__init__", "common", "ranking", "clicks", "click_peers", "fields", "sequences")
TASKS = sorted(path.stem for path in (BENCHMARKS / "tasks").glob("*.py") if path.stem not in SHARED_PARTS)


@pytest.fixture(scope="module")
def speed() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("speed")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def common(speed: ModuleType) -> ModuleType:
    return importlib.import_module("tasks.common")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_all_that_the_runner_asks_for(speed: ModuleType, name: str) -> None:
    task = importlib.import_module(f"tasks.{name}")
    assert task.TITLE
    assert callable(task.prepare)
    assert all(isinstance(contender, speed.Contender) for contender in task.CONTENDERS.values())
    ours = {name for name, contender in task.CONTENDERS.items() if not contender.peer}
    groups = {contender.group for contender in task.CONTENDERS.values()}
    assert groups == {task.CONTENDERS[name].group for name in ours}, "every group needs one of ours"


@pytest.mark.parametrize("name", TASKS)
def test_bars_set_ours_against_contenders_of_the_same_group(speed: ModuleType, name: str) -> None:
    task = importlib.import_module(f"tasks.{name}")
    for bar in getattr(task, "BARS", ()):
        assert not task.CONTENDERS[bar.ours].peer
        assert {task.CONTENDERS[other].group for other in bar.of} <= {task.CONTENDERS[bar.ours].group}


def contender(speed: ModuleType, **options: Any) -> Any:
    return speed.Contender(lambda scratch: {}, **options)


def test_a_page_shows_medians_and_how_many_times_ours_they_are(speed: ModuleType) -> None:
    contenders = {"peer": contender(speed, peer=True), "recsys": contender(speed)}
    runs = {"recsys": [{"s": 2.0}, {"s": 1.0}, {"s": 9.0}], "peer": [{"s": 4.0}, {"s": 5.0}, {"s": 6.0}]}
    page = speed.page("A task", contenders, runs, {}, [])
    assert "Median of 3 runs" in page
    assert "| recsys | 2 (1.00x) |" in page
    assert "| peer | 5 (2.50x) |" in page


def test_each_group_has_a_table_set_against_its_own_first_of_ours(speed: ModuleType) -> None:
    contenders = {f"{who}, {group}": contender(speed, group=group) for group in ("a", "b") for who in ("recsys", "x")}
    seconds = {"recsys, a": 1.0, "x, a": 2.0, "recsys, b": 10.0, "x, b": 5.0}
    page = speed.page("A task", contenders, {name: [{"s": s}] for name, s in seconds.items()}, {}, [])
    assert page.index("## a") < page.index("| x | 2 (2.00x) |") < page.index("## b") < page.index("| x | 5 (0.50x) |")


def test_a_measure_that_a_contender_lacks_or_never_reaches_says_so(speed: ModuleType) -> None:
    contenders = {name: contender(speed) for name in ("recsys", "without", "never")}
    runs = {"recsys": [{"s": 1.0, "MB": 3.0}], "without": [{"s": 2.0}], "never": [{"s": float("inf"), "MB": 6.0}]}
    page = speed.page("A task", contenders, runs, {}, [])
    assert "| without | 2 (2.00x) |  |" in page
    assert "| never | never | 6 (2.00x) |" in page


def test_a_bar_is_held_against_the_best_of_the_others_in_each_turn(speed: ModuleType) -> None:
    # In turns of 2, 8 and 6: the ratios to the best of the others are 1, 2 and 3.
    runs = {
        "recsys": [{"s": 2.0}, {"s": 8.0}, {"s": 6.0}],
        "a": [{"s": 2.0}, {"s": 9.0}, {"s": 2.0}],
        "b": [{"s": 3.0}, {"s": 4.0}, {"s": 7.0}],
    }
    assert "measured 2 (turns from 1 to 3): held" in speed.verdict(speed.Bar("recsys", "s", 2.0, ("a", "b")), runs)
    assert speed.verdict(speed.Bar("recsys", "s", 1.9, ("a", "b")), runs).endswith(": NOT HELD")


def test_a_bar_without_others_is_on_the_measure_itself(speed: ModuleType) -> None:
    runs = {"recsys": [{"ms": 0.4}, {"ms": 0.6}, {"ms": 0.5}]}
    assert "at most 0.5; measured 0.5" in speed.verdict(speed.Bar("recsys", "ms", 0.5), runs)


def test_a_bar_with_slack_allows_that_much_more(speed: ModuleType) -> None:
    runs = {"recsys": [{"error": 0.0205}], "a": [{"error": 0.02}]}
    assert "NOT HELD" in speed.verdict(speed.Bar("recsys", "error", 1.0, ("a",)), runs)
    assert speed.verdict(speed.Bar("recsys", "error", 1.0, ("a",), slack=0.001), runs).endswith(": held")
    assert "NOT HELD" in speed.verdict(speed.Bar("recsys", "error", 1.0, ("a",), slack=0.0001), runs)


@pytest.mark.parametrize("name", TASKS)
def test_every_peer_has_a_list_of_what_to_install(speed: ModuleType, name: str) -> None:
    task = importlib.import_module(f"tasks.{name}")
    lists = {contender.listed for contender in task.CONTENDERS.values() if contender.peer}
    assert all((BENCHMARKS / f"{listed}.txt").exists() for listed in lists)


def test_only_known_contenders_can_be_asked_for(speed: ModuleType) -> None:
    contenders = {name: contender(speed) for name in ("b", "a", "c")}
    assert list(speed.chosen(contenders, ["c", "b"])) == ["b", "c"]
    with pytest.raises(SystemExit, match="no contender"):
        speed.chosen(contenders, ["d"])


def test_the_peers_are_built_again_when_their_list_changes(speed: ModuleType, tmp_path: Path) -> None:
    listed = tmp_path / "peers.txt"
    listed.write_text("implicit==1\n")
    assert not speed.is_built(tmp_path, listed)
    speed.call_built(tmp_path, listed)
    assert speed.is_built(tmp_path, listed)
    listed.write_text("implicit==2\n")
    assert not speed.is_built(tmp_path, listed)


def test_implicit_itself_is_put_back_over_the_copy_that_rectools_brings(speed: ModuleType) -> None:
    everything, without_copy, itself = speed.installation(BENCHMARKS / "peers.txt")
    assert everything == ["install", "-r", str(BENCHMARKS / "peers.txt")]
    assert without_copy[0] == "uninstall"
    assert itself[0] == "install"
    assert re.fullmatch(r"implicit==[\d.]+", itself[-1])


def test_packages_that_stand_alone_are_installed_last_and_bring_nothing(speed: ModuleType, tmp_path: Path) -> None:
    listed = tmp_path / "peers-some.txt"
    listed.write_text("# Why.\na==1\nb==2  # alone\nc==3\n")
    assert speed.installation(listed) == [["install", "a==1", "c==3"], ["install", "--no-deps", "b==2"]]


def random_factors(n_users: int = 40, n_items: int = 60) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(n_users, 5)), rng.normal(size=(n_items, 5))
    kind = rng.integers(4, size=(n_users, n_items))
    kind[3] = 0
    seen, wanted = (sp.csr_matrix((kind == value).astype(np.float32)) for value in (1, 2))
    return users, items, seen, wanted


def test_recall_of_factors_is_that_of_plain_loops(common: ModuleType) -> None:
    users, items, seen, wanted = random_factors()
    expected = []
    for user in range(len(users)):
        scores = items @ users[user]
        scores[seen[user].indices] = -np.inf
        best = set(np.argsort(-scores)[:20])
        relevant = set(wanted[user].indices)
        if relevant:
            expected.append(len(best & relevant) / len(relevant))
    goal = common.RecallGoal(seen, wanted, 0.0)
    assert len(expected) == len(users) - 1
    assert goal.recall(users, items) == pytest.approx(np.mean(expected))


def test_short_lists_hit_nothing_where_they_end(common: ModuleType) -> None:
    wanted = sp.csr_matrix(np.array([[1, 1, 0], [0, 0, 1]]))
    lists = np.array([[1, -1], [-1, -1]])
    assert common.list_recall(lists, wanted) == 0.25


def test_objective_is_the_sum_over_all_pairs(common: ModuleType) -> None:
    users, items, seen, _ = random_factors()
    dense, scores = seen.toarray(), users @ items.T
    confidence = np.where(dense > 0, 7.0, 1.0)
    expected = (confidence * (dense - scores) ** 2).sum() + 0.3 * ((users**2).sum() + (items**2).sum())
    assert common.confidence_objective(seen, users, items, 7.0, 0.3) == pytest.approx(expected)


@pytest.mark.parametrize("needed", [1, 2, 4, 5, 17, 50])
def test_first_epoch_finds_the_fewest_that_reach(common: ModuleType, needed: int) -> None:
    assert common.first_epoch(lambda epochs: epochs >= needed, 50) == needed


def test_first_epoch_is_none_where_the_most_do_not_reach(common: ModuleType) -> None:
    assert common.first_epoch(lambda epochs: epochs >= 51, 50) is None


def test_training_stops_at_the_goal(common: ModuleType) -> None:
    trained = [0]
    found = common.stepwise(lambda n: trained.__setitem__(0, trained[0] + n), lambda: trained[0] / 10, 0.55, 2, 60.0)
    assert (found["epochs"], found["reached"], trained[0]) == (6, 1.0, 6)


def test_what_the_first_run_found_is_remembered(common: ModuleType, tmp_path: Path) -> None:
    assert common.remembered(tmp_path / "found", lambda: 7) == 7
    assert common.remembered(tmp_path / "found", lambda: 8) == 7


def test_neighbors_in_a_tie_at_the_end_are_not_different(speed: ModuleType, tmp_path: Path) -> None:
    knn_fit = importlib.import_module("tasks.knn_fit")
    values = np.array([[0.9, 0.5], [0.8, 0.3]])
    assert knn_fit.different(tmp_path / "near.npz", np.array([[1, 2], [3, 4]]), values) == 0
    tied, better, short = np.array([[1, 7], [3, 4]]), np.array([[1, 2], [9, 3]]), np.array([[1, -1], [3, 4]])
    assert knn_fit.different(tmp_path / "near.npz", tied, values) == 0
    assert knn_fit.different(tmp_path / "near.npz", better, values) == 25
    assert knn_fit.different(tmp_path / "near.npz", short, np.array([[0.9, 0.0], [0.8, 0.3]])) == 25


@pytest.fixture(scope="module")
def clicks(speed: ModuleType) -> ModuleType:
    return importlib.import_module("tasks.clicks")


def test_auc_is_the_share_of_pairs_in_the_right_order(clicks: ModuleType) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(2, size=50), rng.integers(10, size=50)
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels == 1] for b in scores[labels == 0]]
    assert clicks.auc(labels, scores) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("kind", ["DeepFM", "DCN"])
def test_the_bare_products_are_those_of_our_networks(clicks: ModuleType, kind: str) -> None:
    rows = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 2, 1], "label": [0, 1, 1]})
    setting = clicks.Setting("some", embedding_dim=3, hidden_dims=(5, 4))
    model = getattr(recsys, kind)(embedding_dim=3, hidden_dims=(5, 4), epochs=1, verbose=0, device="cpu").fit(rows)
    matrices = [one.shape for name, one in model.module_.named_parameters() if one.ndim == 2 and "table" not in name]
    assert sorted((fan_in, fan_out) for fan_out, fan_in in matrices) == sorted(setting.layers(kind, 2))


def test_columns_of_a_data_set_come_back_as_they_were_left(clicks: ModuleType, tmp_path: Path) -> None:
    fields = [clicks.Field("user", 3, 1), clicks.Field("genres", 5, 2)]
    columns = {"user": np.array([2, 0]), "genres": np.array([[1, 4], [3, 0]])}
    clicks.save(tmp_path, "some", fields, train=columns)
    assert clicks.load_fields(tmp_path, "some") == fields
    found = clicks.load(tmp_path, "some", "train")
    assert found.keys() == columns.keys()
    assert all(np.array_equal(found[name], columns[name]) for name in columns)


def test_tags_are_coded_from_one_on_and_padded_behind_the_last(clicks: ModuleType) -> None:
    movies = importlib.import_module("tasks.fields_movies")
    assert movies.tag_codes([["b"], ["a", "c"], ["c"]]).tolist() == [[2, 0], [1, 3], [3, 0]]


def test_ids_of_large_tables_follow_a_power_law(clicks: ModuleType) -> None:
    large = importlib.import_module("tasks.large_tables")
    codes, _ = large.drawn(1000, 4000)
    assert codes.shape == (4000, large.N_FIELDS)
    assert codes.min() >= 0
    assert codes.max() < 1000
    counts = np.sort(np.bincount(codes[:, 0], minlength=1000))[::-1]
    # Of a law x^-1.05 on [1, 1001) the first id takes the share of [1, 2), that is 1 in 8.6.
    assert counts[0] / 4000 == pytest.approx((1 - 2**-0.05) / (1 - 1000**-0.05), rel=0.1)


def test_generated_files_hold_what_was_asked_for(
    clicks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = importlib.import_module("tasks.parquet")
    monkeypatch.setattr(parquet, "GROUP_ROWS", 300)
    parquet.write(tmp_path / "some.parquet", 1000, 0)
    found = pd.read_parquet(tmp_path / "some.parquet")
    assert len(found) == 1000
    assert set(found["label"]) == {0, 1}
    assert 0.05 < found[parquet.NUMBERS].isna().to_numpy().mean() < 0.15
    distinct = [found[name].nunique() for name in parquet.CATEGORIES]
    assert all(n <= size for n, size in zip(distinct, parquet.SIZES, strict=True))
    assert np.corrcoef(np.log(found["number0"].fillna(1)), found["label"])[0, 1] > 0.1
