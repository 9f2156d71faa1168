"""MovieLens, five kinds of model, one comparison, and lists that one can read. Takes under a minute on two cores."""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

import recsys
from recsys import ALS, EASE, Dataset, ItemKNN, MultVAE, Popular, Recommender
from recsys.compare import Comparison

PICTURE = Path(__file__).with_suffix(".png")


def main(picture: Path = PICTURE) -> None:
    plt.switch_backend("agg")  # a file, no window
    torch.set_num_threads(1)  # a network this small gains nothing from more

    heading("Data: what people liked, a rating of 4 stars or more, of movies that at least 10 people liked")
    ratings = recsys.datasets.movielens("latest-small").to_frame()
    titles = readable(recsys.datasets.movielens_items("latest-small"))
    liked = ratings.loc[ratings["rating"] >= 4, ["user_id", "item_id", "timestamp"]]
    data = Dataset(liked).filter(min_item_interactions=10)
    print(data)

    heading("Split: the first 80% in time to learn from, the people of the last 20% to test on")
    train, future = recsys.split.temporal(data, test_size=0.2)
    first_half, test = halves(future)
    n_known = len(set(train.users.ids) & set(future.users.ids))
    print(f"train  {train}")
    print(f"test   {future}")
    print(
        f"\nMost people rate all their movies in one evening: of the {future.n_users} people of the last 20%, only {n_known} "
        "were\nthere before. So each model is asked what it would be asked in use: here is somebody new, and the\n"
        "first half of what they liked. What is the other half?"
    )

    heading("Comparison")
    models = five_models()
    metrics = ["ndcg@10", "recall@20", "hit@10", "coverage@10"]
    table = recsys.compare(models, train, test, metrics, history=first_half)
    print(table)
    print(
        "\nndcg@10      how high up the other half is in the first 10, at best 1\n"
        "recall@20    share of the other half that is among the first 20\n"
        "hit@10       share of people with at least one of it among the first 10\n"
        "coverage@10  share of all movies that anybody is shown in the first 10"
    )
    recommend(models["EASE"], train, titles)
    draw(table, picture)
    print(f"\nThe comparison as a picture: {picture}")


def five_models() -> dict[str, Recommender]:
    """A yardstick, neighbors, a linear model, a factorization and a network; settings by hand, not tuned."""
    return {
        "Popular": Popular(),
        "ItemKNN": ItemKNN(n_neighbors=100, shrinkage=10.0),
        "EASE": EASE(regularization=200.0),
        "ALS": ALS(n_factors=64, alpha=10.0, regularization=30.0, verbose=0),
        "MultVAE": MultVAE(
            hidden_dims=(200,),
            embedding_dim=64,
            epochs=10,
            batch_size=32,
            learning_rate=0.002,
            kl_steps=2000,
            verbose=0,
        ),
    }


def recommend(model: Recommender, train: Dataset, titles: pd.Series) -> None:
    """Lists for a user of the training data and for somebody new, and the same from a saved model."""
    counts = train.to_csr().getnnz(axis=1)
    row = abs(counts - 40).argmin()
    user, seen = train.users.ids[row], train.items.decode(train.to_csr()[row].indices)
    heading(f"Ten movies for user {user}, who liked {len(seen)}, by EASE")
    print("liked  " + ", ".join(titles[seen[:6]]) + ", ...")
    lists = model.recommend([user], k=10)
    show(lists, titles)
    best = lists["item_id"].iloc[0]
    reasons = model.explain(user, best, k=3)["item_id"]
    print(f"\n{titles[best]} comes first because of " + ", ".join(titles[reasons]) + ".")

    heading("Ten movies for somebody new, by EASE")
    favorites = ["The Matrix (1999)", "Blade Runner (1982)", "Alien (1979)", "The Terminator (1984)"]
    history = titles.index[titles.isin(favorites)].to_list()
    print("liked  " + ", ".join(titles[history]))
    show(model.recommend(history=[history], k=10), titles)

    heading("Saved and loaded")
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/ease")
        again = recsys.load(f"{folder}/ease")
    same = again.recommend([user], k=10).equals(lists)
    print(f"The loaded model gives the same list: {same}")


def halves(test: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The earlier and the later half of each person's rows; with one row there is nothing to find."""
    rows = test.to_frame()
    place = rows.groupby("user_id").cumcount()
    size = rows.groupby("user_id")["item_id"].transform("size")
    early = place < size / 2
    return rows[early & (size > 1)], rows[~early]


def readable(movies: pd.DataFrame) -> pd.Series:
    """Titles by movie, without second titles and with the article in front: "The Matrix (1999)"."""
    titles = movies["title"].str.replace(r" \(.*\)(?= \(\d{4}\)$)", "", regex=True)
    titles = titles.str.replace(r"^(.+), (The|A|An|La|Le|Les|Il|El|Das|Der|Die)(?= \(|$)", r"\2 \1", regex=True)
    return titles.set_axis(movies["item_id"])


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def show(lists: pd.DataFrame, titles: pd.Series) -> None:
    for row in lists.itertuples():
        print(f"{row.rank:>5}  {titles[row.item_id]}")


def draw(table: Comparison, picture: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    recsys.plot.comparison(table, "ndcg@10", axes=left)
    recsys.plot.trade_off(table, "coverage@10", "ndcg@10", axes=right)
    left.set_title("How well the other half is found")
    right.set_title("... and how much of the catalog is shown")
    right.margins(0.25)
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
