"""Mult-VAE on the LightGCN paper's split of Gowalla."""

import time
from collections.abc import Iterator, Mapping

import numpy as np
from reproduce import Row, best_of

import recsys
from recsys import MultVAE
from reproductions.gowalla_topn import METRICS

TITLE = "Mult-VAE on Gowalla, the split of the LightGCN paper"
PROTOCOL = """Training and test interactions as published (29,858 users, 40,981 items, 810,128 and 217,242
interactions). Options are picked by Recall@20 on a fifth of the training interactions, drawn at random; the best ones
are fitted on all of the training data with three seeds and measured on the test data, over the whole catalog without
training items. Mean and standard deviation over the seeds. "fit" is the seconds of one last fit."""

SEEDS = 3
COMMON: Mapping[str, object] = {"kl_steps": 3000, "batch_size": 500, "verbose": 0}
OPTIONS = [
    MultVAE(**COMMON, kl_cap=cap, dropout=dropout, epochs=epochs)
    for cap, dropout, epochs in ((0.5, 0.5, 30), (0.5, 0.5, 50), (1.0, 0.5, 50), (0.5, 0.7, 50), (0.5, 0.8, 80))
]


def run() -> Iterator[Row]:
    train, test = recsys.datasets.gowalla()
    fit, validation = recsys.split.random(train, 0.2, random_state=0)
    best = best_of(OPTIONS, fit, validation, "recall@20")
    spent, found = 0.0, []
    for seed in range(SEEDS):
        start = time.perf_counter()
        model = best.clone(random_state=seed).fit(train)
        spent += time.perf_counter() - start
        result = recsys.evaluate(model, test, metrics=METRICS)
        found.append([result[metric] for metric in METRICS])
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
    yield {
        "model": repr(best),
        "Recall@20": f"{mean[0]:.4f} ± {spread[0]:.4f}",
        "NDCG@20": f"{mean[1]:.4f} ± {spread[1]:.4f}",
        "published Recall@20 / NDCG@20": "0.1641 / 0.1335",
        "fit": round(spent / SEEDS, 1),
    }
