"""SASRec and what does not read order on MovieLens 1M, next item."""

import itertools
from collections.abc import Iterator

import next_item
from reproduce import Row, best_of

from recsys import EASE, FPMC, Popular, SASRec

TITLE = "Next item on MovieLens 1M"
PROTOCOL = """Movies with fewer than five ratings left out, every rating an interaction in the order of time: 6,040
users, 3,416 items, 999,611 interactions, as in the SASRec paper. Each user's last item is the test, the one before it
the validation. SASRec is trained on all but these two and stops by NDCG@10 on the validation items; EASE's penalty is
picked on them, and so are the options and the epochs of FPMC. The test item is looked for in the whole catalog without
the user's earlier items; SASRec and EASE read the history up to and with the validation item, and FPMC, whose users
have vectors, is trained on it too."""

MONITOR = "recall@20"
"""What FPMC stops by."""


def run() -> Iterator[Row]:
    parts = next_item.movielens()
    ease = best_of(
        (EASE(regularization=v) for v in (250.0, 500.0, 1000.0, 2000.0)), parts.fit, parts.validation, "ndcg@10"
    )
    for model in (Popular(), ease):
        yield next_item.evaluated(model.fit(parts.known), parts)
    yield markov(parts)
    model = SASRec(
        loss="softmax", embedding_dim=64, max_len=200, dropout=0.2, batch_size=128, learning_rate=0.001,
        epochs=40, patience=5, monitor="ndcg@10",
    )  # fmt: skip
    yield next_item.row(model, parts, "0.3152 / 0.1821 (SASRec with cross-entropy)")


def markov(parts: next_item.Parts) -> Row:
    """FPMC: items before, penalty and epochs by the validation items, then trained for as long on these too."""
    fits = []
    for n_last, regularization in itertools.product((1, 3), (0.003, 0.01)):
        one = FPMC(epochs=40, patience=5, hardest_of=8, n_last=n_last, regularization=regularization)
        fits.append(one.fit(parts.fit, validation_data=parts.validation))
    best = max(fits, key=lambda one: one.training_log_[MONITOR].max())
    epochs = int(best.training_log_[MONITOR].idxmax()) + 1
    model = best.clone(epochs=epochs, patience=None).fit(parts.known)
    return {**next_item.evaluated(model, parts), "epochs": str(epochs)}
