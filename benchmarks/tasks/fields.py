"""What training tasks of DeepFM and DCN (version 2, parallel) share: contenders of one data set, and what is promised.

Every contender has the same sizes, batches of 4,096 rows, dense Adam and 2 threads. The first of three epochs warms up,
the others are timed; training then goes on off the clock, and the test rows are scored with the epoch that has the best
AUC of the validation rows, two epochs after which it ends. Ours and RecBole's are there in mixed precision too, which
helps on processors that multiply bfloat16 numbers; what is promised in full precision is held against peers in full
precision, and in mixed precision against all. Beside them stand the bare products of the matrices of a step, forward
and backward, on random numbers: nothing is looked up, added or moved there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speed import Bar, Contender

from tasks import click_peers, clicks
from tasks.clicks import Setting

CROSS = {"version": 2, "structure": "parallel", "n_layers": clicks.CROSS_LAYERS}


def both_models(
    setting: Setting, dataset: Callable[[Path, str], Any], title: str, n_fields: int
) -> dict[str, Contender]:
    """Contenders of DeepFM and of DCN on a data set of so many fields."""
    return {
        **contenders(setting, dataset, title, "DeepFM", n_fields),
        **contenders(setting, dataset, title, "DCN", n_fields, **CROSS),
    }


def contenders(
    setting: Setting, dataset: Callable[[Path, str], Any], title: str, kind: str, n_fields: int, **options: Any
) -> dict[str, Contender]:
    """Ours, the bare products and the peers, for one model and one data set."""
    group = f"{kind} on {title}"
    half = clicks.ours(setting, kind, dataset, precision="bf16", **options)
    return {
        f"recsys, {group}": Contender(clicks.ours(setting, kind, dataset, **options), group=group),
        f"recsys, bf16, {group}": Contender(half, group=group),
        f"bare products, {group}": Contender(clicks.bare_products(setting, kind, n_fields), group=group),
        **click_peers.contenders(setting, kind, group),
    }


def bars(contenders: Mapping[str, Contender]) -> list[Bar]:
    """What is promised in each group: against the peers, and against the bare products."""
    return [
        bar
        for group in dict.fromkeys(one.group for one in contenders.values())
        for bar in [
            *clicks.bars(
                f"recsys, {group}", f"bare products, {group}", [f"{name}, {group}" for name in click_peers.FULL]
            ),
            *clicks.bars(
                f"recsys, bf16, {group}", f"bare products, {group}", [f"{name}, {group}" for name in click_peers.PEERS]
            ),
        ]
    ]
