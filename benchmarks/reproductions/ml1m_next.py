"""SASRec and what does not read order on MovieLens 1M, next item."""

from collections.abc import Iterator, Mapping

from reproduce import Row, best_of

import recsys
from recsys import EASE, Dataset, Popular, SASRec

TITLE = "Next item on MovieLens 1M"
PROTOCOL = """Movies with fewer than five ratings left out, every rating an interaction in the order of time: 6,040
users, 3,416 items, 999,611 interactions, as in the SASRec paper. Each user's last item is the test, the one before it
the validation. SASRec is trained on all but these two and stops by NDCG@10 on the validation items; EASE's penalty is
picked on them. The test item is looked for in the whole catalog without the user's earlier items; SASRec and EASE
read the history up to and with the validation item."""
METRICS = ("hit@10", "ndcg@10")


def run() -> Iterator[Row]:
    # The published data keeps items with at least five ratings, in one pass.
    data = recsys.datasets.movielens("1m").filter(min_item_interactions=5)
    data = Dataset(data.to_frame()[["user_id", "item_id", "timestamp"]])
    known, test = recsys.split.leave_last_out(data)
    fit, validation = recsys.split.leave_last_out(known)
    popular = Popular().fit(known)
    yield row(popular, recsys.evaluate(popular, test, metrics=METRICS))
    ease = best_of((EASE(regularization=v) for v in (250.0, 500.0, 1000.0, 2000.0)), fit, validation, "ndcg@10")
    yield row(ease, recsys.evaluate(ease.fit(known), test, metrics=METRICS))
    model = SASRec(
        loss="softmax", embedding_dim=64, max_len=200, dropout=0.2, batch_size=128, learning_rate=0.001,
        epochs=40, patience=5, monitor="ndcg@10",
    )  # fmt: skip
    figure = "0.3152 / 0.1821 (SASRec with cross-entropy)"
    # The weights stay as they are; what is read before the test item is the history with the validation item.
    lists = model.fit(fit, validation_data=validation).recommend(history=known.to_frame(), k=10, on_unknown="skip")
    yield row(model, recsys.evaluate_lists(lists, test, METRICS), figure)


def row(model: recsys.Recommender, found: Mapping[str, float], published: str = "") -> Row:
    return {"model": repr(model), "HR@10": found["hit@10"], "NDCG@10": found["ndcg@10"], "published": published}
