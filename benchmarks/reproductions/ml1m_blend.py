"""SASRec and EASE blended on MovieLens 1M, next item."""

from collections.abc import Iterator

import next_item
from next_item import Parts
from reproduce import Row

from recsys import EASE, Blend, Recommender, SASRec

TITLE = "SASRec and EASE blended on MovieLens 1M, next item"
PROTOCOL = """Movies with fewer than five ratings left out, every rating an interaction in the order of time: 6,040
users, 3,416 items, 999,611 interactions, as in the SASRec paper. Each user's last item is the test, the one before it
the validation. Both models are trained on all but these two; SASRec stops by NDCG@10 on the validation items, and so
are weights picked, in steps of 0.05. Then the history is read up to and with the validation item; the test item is
looked for in the whole catalog without the user's earlier items."""

SEQUENCE = SASRec(
    loss="softmax", embedding_dim=64, max_len=200, dropout=0.2, batch_size=128, learning_rate=0.001, epochs=40,
    patience=5, monitor="ndcg@10",
)  # fmt: skip


def run() -> Iterator[Row]:
    parts = next_item.movielens()
    models = [next_item.trained(SEQUENCE, parts), EASE().fit(parts.fit)]
    for model in models:
        yield row(model, parts)
    for method in ("zscore", "minmax", "rrf"):
        blend = Blend(models, method=method, prefit=True).fit(parts.fit, validation_data=parts.validation)
        yield {
            **row(blend, parts),
            "model": f"Blend, {method}",
            "weights": " / ".join(f"{w:.2f}" for w in blend.weights_),
        }


def row(model: Recommender, parts: Parts) -> Row:
    return {"model": repr(model), **next_item.cells([next_item.measured(model, parts)])}
