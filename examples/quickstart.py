"""MovieLens, five kinds of model, one comparison, and lists one can read. Runs in about a minute on two cores."""

import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import recsys
from recsys import ALS, EASE, ItemKNN, Popular, SASRec

HERE = Path(__file__).parent


def main() -> None:
    data = recsys.datasets.movielens("latest-small")
    titles = recsys.datasets.movielens_items("latest-small").set_index("item_id")["title"]
    print(data, "\n")
    print(data.report(), "\n")

    train, test = recsys.split.temporal(data, test_size=0.2)
    print(f"Trained on what came before, tested on what came after:\n  {train}\n  {test}\n")

    models = {
        "Popular": Popular(),
        "ItemKNN": ItemKNN(feedback="implicit", n_neighbors=100, shrinkage=10.0),
        "EASE": EASE(regularization=300.0),
        "ALS": ALS(n_factors=32, alpha=10.0, regularization=10.0, verbose=0),
        "SASRec": SASRec(embedding_dim=48, n_layers=1, epochs=12, dropout=0.3, verbose=0),
    }
    table = recsys.compare(models, train, test, metrics=["ndcg@10", "recall@20", "coverage@10"])
    print(table, "\n")
    print(
        "Most test users are new to the model, which the figures above count as zero: a temporal split is honest about it.\n"
    )

    model = models["EASE"]
    user = train.users.ids[train.to_csr().getnnz(axis=1).argmax()]
    seen = train.to_csr()[train.users.encode([user])[0]].indices
    print(f"User {user} has rated {len(seen)} movies. Ten more, by EASE:")
    show(model.recommend([user], k=10), titles)

    history = titles[titles.str.contains("Matrix, The|Terminator, The|Alien|Blade Runner")].index
    history = [int(item) for item in history if item in set(train.items.ids)]
    print(f"\nSomebody new, who liked {', '.join(titles[item] for item in history)}:")
    show(model.recommend(history=[history], k=10), titles)

    picture = HERE / "quickstart.png"
    recsys.plot.comparison(table, "ndcg@10").figure.savefig(picture, dpi=150)
    print(f"\nThe comparison as a picture: {picture.name}")

    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/ease")
        again = recsys.load(f"{folder}/ease")
    same = again.recommend([user], k=10).equals(model.recommend([user], k=10))
    print(f"Saved, loaded, same list: {same}")


def show(lists: object, titles: object) -> None:
    for row in lists.itertuples():
        print(f"  {row.rank:>2}  {row.score:.3f}  {titles[row.item_id]}")


if __name__ == "__main__":
    main()
