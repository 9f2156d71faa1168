"""`evaluate` among sampled candidates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys import SVD, Dataset
from recsys.errors import ParameterError
from recsys.evaluation.sampled import sample_others, taken_items
from recsys.evaluation.truth import find_truth
from tests.evaluation.planted import ORACLES, RANKING, Given, loop, table


def test_figures_of_sampled_candidates_are_named_so(planted: Any, model: Given) -> None:
    found = recsys.evaluate(model, planted[1], ["ndcg@10", "hit@5"], candidates=("sampled", 7))
    assert list(found) == ["ndcg@10(sampled-7)", "hit@5(sampled-7)"] == list(found.per_user.columns)


@pytest.mark.parametrize("ties", ["index", "average"])
def test_with_all_others_sampled_each_relevant_item_is_ranked_among_them(planted: Any, model: Given, ties: Any) -> None:
    names = [f"{name}@6" for name in RANKING]
    found = recsys.evaluate(model, planted[1], names, candidates=("sampled", 100), ties=ties)
    for user, (_, wanted, candidates) in loop(model, *planted).items():
        others = [score for item, score in candidates.items() if item not in wanted]
        for name in RANKING:
            figures = []
            for one in wanted:
                if one not in candidates:
                    figures.append(0.0)
                    continue
                greater, equal = (sum(flags) for flags in zip(*compared(candidates[one], others), strict=True))
                places = range(greater, greater + equal + 1) if ties == "average" else [greater + equal]
                figures.append(np.mean([ORACLES[name]([-1] * p + [one], {one}, 6) for p in places]))
            assert found.per_user.loc[user, f"{name}@6(sampled-100)"] == pytest.approx(np.mean(figures))


def compared(score: float, others: Sequence[float]) -> list[tuple[bool, bool]]:
    return [(other > score, other == score) for other in others] or [(False, False)]


def test_sampled_others_are_distinct_and_free(planted: Any, model: Given) -> None:
    truth = find_truth(model, Dataset(planted[1]), None, None, False)
    taken = taken_items(truth, 25)
    rows = np.repeat(np.arange(len(truth)), 20)
    drawn = sample_others(taken, rows, 25, 9, np.random.default_rng(0))
    for row, items in zip(rows, drawn, strict=True):
        forbidden = set(taken.items[taken.indptr[row] : taken.indptr[row + 1]].tolist())
        real = items[items >= 0]
        assert len(set(real.tolist())) == len(real) == min(9, 25 - len(forbidden))
        assert not forbidden & set(real.tolist())


def test_sampled_others_are_uniform() -> None:
    model = Given().fit(table([(0, i) for i in range(12)] + [(1, 0), (1, 5), (1, 11)]))
    truth = find_truth(model, Dataset(table([(1, 3)])), None, None, False)
    drawn = sample_others(taken_items(truth, 12), np.zeros(8000, np.int64), 12, 4, np.random.default_rng(0))
    times = np.bincount(drawn.ravel(), minlength=12)
    assert times[[0, 3, 5, 11]].tolist() == [0, 0, 0, 0]
    free = np.delete(times, [0, 3, 5, 11])
    # Each of the 8 free items is in half of the samples; 8,000 draws deviate by about 45.
    assert np.abs(free - 4000).max() < 4 * 45


def test_a_constant_scorer_is_no_better_than_chance_among_samples() -> None:
    model = Given().fit(table([(0, i) for i in range(200)] + [(1, 0)]))
    model.scores_ = np.zeros((2, 200), np.float32)
    options: dict[str, Any] = {"candidates": ("sampled", 99)}
    assert recsys.evaluate(model, table([(1, 7)]), "hit@10", **options)["hit@10(sampled-99)"] == 0
    averaged = recsys.evaluate(model, table([(1, 7)]), "hit@10", ties="average", **options)
    assert averaged["hit@10(sampled-99)"] == pytest.approx(0.1)


def test_samples_follow_the_random_state() -> None:
    rng = np.random.default_rng(0)
    model = Given().fit(table(rng.integers(0, [30, 200], (300, 2))))
    test = table(rng.integers(0, [30, 200], (100, 2)))
    one, same, other = (
        recsys.evaluate(model, test, "mrr@20", candidates=("sampled", 10), random_state=seed).per_user
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_a_clip_of_shown_scores_ties_nothing() -> None:
    rng = np.random.default_rng(0)
    frame = table(rng.integers(0, [20, 15], (150, 2))).drop_duplicates().assign(rating=5.0)
    model = SVD(epochs=2, n_factors=4, verbose=0).fit(frame)
    model.item_factors_ = model.item_factors_ * 50
    test = table([(u, u % 15) for u in range(20)])
    options: dict[str, Any] = {"candidates": ("sampled", 15)}
    found = [recsys.evaluate(model, test, "mrr@15", ties=ties, **options) for ties in ("index", "average")]  # type: ignore[arg-type]
    assert len(np.unique(model.predict(test))) == 1
    pd.testing.assert_frame_equal(found[0].per_user, found[1].per_user)


@pytest.mark.parametrize("name", ["coverage@10", "ranking_auc"])
def test_figures_of_the_whole_catalog_take_no_samples(planted: Any, model: Given, name: str) -> None:
    with pytest.raises(ParameterError, match='use candidates="full"'):
        recsys.evaluate(model, planted[1], name, candidates=("sampled", 10))
