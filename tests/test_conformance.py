"""Every model of the library keeps every promise of the interface; a new model is tested by existing."""

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import recsys
import recsys.models
from recsys import (
    ALS,
    BPR,
    CDAE,
    DCN,
    EASE,
    FM,
    FPMC,
    NCFMLP,
    PMF,
    AutoRec,
    Blend,
    ContentKNN,
    DeepFM,
    DeepRec,
    GRU4Rec,
    ItemKNN,
    MultVAE,
    NeuMF,
    Popular,
    Recommender,
    SASRec,
    UserKNN,
)
from recsys.testing import checks
from recsys.testing.contract import Check, Model


def public_models() -> list[type[Recommender]]:
    """Concrete public recommenders defined under `recsys.models`, by name."""
    found: list[type[Recommender]] = []
    for module in pkgutil.walk_packages(recsys.models.__path__, "recsys.models."):
        for name, value in vars(importlib.import_module(module.name)).items():
            ours = inspect.isclass(value) and issubclass(value, Recommender) and value.__module__ == module.name
            if ours and not inspect.isabstract(value) and not name.startswith("_"):
                found.append(value)
    return sorted(found, key=lambda model: model.__name__)


class RatingUserKNN(UserKNN):
    """The form for ratings."""

    shape = "rating"


class RatingItemKNN(ItemKNN):
    """The form for ratings."""

    shape = "rating"


class RatingDeepFM(DeepFM):
    """The same network for ratings."""

    shape = "rating"


class ImplicitDeepFM(DeepFM):
    """The same network for data of positives alone, with drawn negatives."""

    shape = "top-n"


class RatingFM(FM):
    """The machine for ratings."""

    shape = "rating"


FEW_STEPS: dict[str, Any] = {"epochs": 5, "embedding_dim": 8, "batch_size": 128, "learning_rate": 0.03, "verbose": 0}
"""Settings of networks in a blend, which the checks leave as they are."""

VARIANTS: list[Recommender] = [
    RatingUserKNN(),
    RatingItemKNN(),
    RatingUserKNN(similarity="pearson"),
    RatingUserKNN(similarity="msd", prediction="baseline"),
    RatingItemKNN(similarity="adjusted_cosine"),
    RatingItemKNN(similarity="pearson_mean", prediction="zscore"),
    RatingUserKNN(similarity="pearson_baseline", prediction="baseline", baseline="als"),
    RatingItemKNN(similarity="pearson_baseline", prediction="baseline", baseline="sgd"),
    DCN(version=1, structure="stacked"),
    DCN(version="mix", batch_norm=True),
    RatingDeepFM(),
    ImplicitDeepFM(),
    FM(order=3),
    FM(solver="mcmc"),
    RatingFM(solver="mcmc"),
    UserKNN(similarity="jaccard", weighting="bm25"),
    ItemKNN(similarity="tversky", weighting="tfidf"),
    ItemKNN(similarity="dice", popularity_discount=0.5),
    ContentKNN(metric="dot"),
    ContentKNN(metric="euclidean"),
    Popular(half_life=100.0),
    ALS(objective="unobserved"),
    ALS(solver="cholesky"),
    ALS(objective="unobserved", solver="blocks", block_size=16),
    PMF(link="sigmoid"),
    BPR(optimizer="adagrad", item_bias=False, negatives="popularity"),
    FPMC(n_last=3, hardest_of=2),
    AutoRec(axis="user"),
    AutoRec(output_activation="sigmoid", activation="relu"),
    AutoRec(axis="user", optimizer="lbfgs", regularization=1.0),
    DeepRec(tied=True, refeeds=0, output_activation="identity", optimizer="adam"),
    CDAE(loss="square", user_node=False),
    CDAE(tied=True, dropout=1.0, optimizer="adam"),
    MultVAE(prior="composite"),
    NCFMLP(hidden_dims=(64, 32), dropout=0.2),
    NeuMF(pretrain=True, descent_rate=0.1),
    GRU4Rec(batching="windows", loss="softmax", optimizer="adam", learning_rate=0.005),
    GRU4Rec(embedding="tied", loss="bpr-max", elu=0.5, momentum=0.2, n_layers=2),
    GRU4Rec(embedding="onehot", loss="softmax", session_order="random"),
    SASRec(loss="bce"),
    SASRec(loss="gbce", variant="preln", n_heads=2),
    Blend([EASE(), ItemKNN()]),
    Blend([SASRec(epochs=5, embedding_dim=16, verbose=0), EASE(), Popular()], method="rrf"),
    Blend(
        [
            SASRec(epochs=10, embedding_dim=16, batch_size=32, learning_rate=0.01, verbose=0),
            GRU4Rec(epochs=10, batching="windows", loss="softmax", optimizer="adam", learning_rate=0.01, verbose=0),
        ],
        method="minmax",
    ),
    Blend([ImplicitDeepFM(**FEW_STEPS), ImplicitDeepFM(**FEW_STEPS, hidden_dims=(16,))]),
]
"""Forms of models that their defaults do not reach."""

MODELS = public_models()


def cases(models: list[type[Recommender]] | list[Recommender]) -> list[object]:
    """One case a model and check, named by both."""
    return [
        pytest.param(model, check, id=f"{model.__name__ if isinstance(model, type) else model}-{name}")
        for model in models
        for name, check in checks(model)
    ]


@pytest.mark.parametrize("model, check", cases(MODELS))
def test_model_keeps_the_contract(model: Model, check: Check) -> None:
    check(model)


@pytest.mark.parametrize("model, check", cases(VARIANTS))
def test_variant_keeps_the_contract(model: Model, check: Check) -> None:
    check(model)


def test_every_public_model_is_checked() -> None:
    public = [getattr(recsys, name) for name in recsys.__all__]
    offered = {one for one in public if inspect.isclass(one) and issubclass(one, Recommender)} - {Recommender}
    assert len(offered) >= 13
    # A model that is made of others has a variant instead: by itself it is made of none.
    assert offered <= {*MODELS, *map(type, VARIANTS)}


def test_every_model_is_public_under_a_name_of_its_own() -> None:
    assert [getattr(recsys, model.__name__, None) for model in MODELS] == MODELS
