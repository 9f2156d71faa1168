"""The definitions as plain loops over one list: the slow twins that the fast code must agree with."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, permutations

Ids = Sequence[int]


def hits(items: Ids, wanted: set[int], k: int) -> list[int]:
    return [1 if item in wanted else 0 for item in items[:k]]


def precision(items: Ids, wanted: set[int], k: int, divide_by: str = "k") -> float:
    found = sum(hits(items, wanted, k))
    return found / (k if divide_by == "k" else len(items[:k]))


def recall(items: Ids, wanted: set[int], k: int, cap: bool = False) -> float:
    return sum(hits(items, wanted, k)) / (min(k, len(wanted)) if cap else len(wanted))


def hit(items: Ids, wanted: set[int], k: int) -> float:
    return 1.0 if any(hits(items, wanted, k)) else 0.0


def f1(items: Ids, wanted: set[int], k: int) -> float:
    p, r = precision(items, wanted, k), recall(items, wanted, k)
    return 0.0 if p + r == 0 else 2 * p * r / (p + r)


def mrr(items: Ids, wanted: set[int], k: int) -> float:
    for place, one in enumerate(hits(items, wanted, k), 1):
        if one:
            return 1 / place
    return 0.0


def average_precision(items: Ids, wanted: set[int], k: int, norm: str = "min") -> float:
    total = found = 0.0
    for place, one in enumerate(hits(items, wanted, k), 1):
        found += one
        total += one * found / place
    return total / {"min": min(k, len(wanted)), "relevant": len(wanted), "k": k, "hits": max(found, 1)}[norm]


def ndcg(
    items: Ids,
    wanted: set[int],
    k: int,
    gains: dict[int, float] | None = None,
    gain: str = "binary",
    ideal: str = "relevant",
    discount: str = "log2",
) -> float:
    def value(item: int) -> float:
        if item not in wanted:
            return 0.0
        relevance = max((gains or {}).get(item, 1.0), 0.0)
        return {"binary": 1.0, "linear": relevance, "exp": 2**relevance - 1}[gain]

    def dcg(values: list[float]) -> float:
        return sum(
            v / (math.log2(max(i, 2)) if discount == "lenskit" else math.log2(i + 1)) for i, v in enumerate(values, 1)
        )

    listed = [value(item) for item in items[:k]]
    best = {"relevant": [value(item) for item in wanted], "k": [1.0] * k, "list": listed}[ideal]
    whole = dcg(sorted(best, reverse=True)[:k])
    return dcg(listed) / whole if whole > 0 else 0.0


def r_precision(items: Ids, wanted: set[int], k: int = 0) -> float:
    return sum(hits(items, wanted, len(wanted))) / len(wanted)


def auc(scores: dict[int, float], wanted: set[int]) -> float:
    """Of a user's candidates and their scores; a wanted item without a score loses to all others."""
    wins = pairs = 0.0
    for one in wanted:
        for other, score in scores.items():
            if other not in wanted:
                pairs += 1
                if one in scores:
                    wins += 1.0 if scores[one] > score else 0.5 if scores[one] == score else 0.0
    return wins / pairs if pairs else math.nan


def over_tie_orders(scores: Sequence[float], figure: Callable[[Ids], float]) -> float:
    """Mean of a figure of the ranking over all orders of equal scores; -inf is no candidate."""
    candidates = [item for item, score in enumerate(scores) if score > -math.inf]
    figures = [
        figure(order) for order in permutations(candidates) if all(scores[a] >= scores[b] for a, b in pairwise(order))
    ]
    return sum(figures) / len(figures)
