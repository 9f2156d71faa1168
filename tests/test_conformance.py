"""Every model of the library keeps every promise of the interface; a new model is tested by existing."""

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import recsys.models
from recsys.base import Recommender
from recsys.testing import CHECKS
from tests.planted import for_model


def models() -> list[type[Recommender]]:
    """Concrete public recommenders defined under `recsys.models`, by name."""
    found: dict[str, type[Recommender]] = {}
    for module in pkgutil.walk_packages(recsys.models.__path__, "recsys.models."):
        for name, value in vars(importlib.import_module(module.name)).items():
            ours = inspect.isclass(value) and issubclass(value, Recommender) and value.__module__ == module.name
            if ours and not inspect.isabstract(value) and not name.startswith("_"):
                found[name] = value
    return [found[name] for name in sorted(found)]


MODELS = models()
CASES = [pytest.param(model, check, id=f"{model.__name__}-{check.__name__}") for model in MODELS for check in CHECKS]


def quick(model: type[Recommender]) -> Recommender:
    """The model with settings that suit the small planted data."""
    small = {"epochs": 2, "verbose": 0, "device": "cpu", "embedding_dim": 8, "n_jobs": 1}
    names = model().get_params()
    return model(**{name: value for name, value in small.items() if name in names})


@pytest.mark.parametrize("model, check", CASES)
def test_contract(model: type[Recommender], check: Any) -> None:
    one = quick(model)
    check(one, for_model(one))


def test_every_public_model_is_checked() -> None:
    public = {getattr(recsys, name) for name in recsys.__all__}
    offered = {one for one in public if inspect.isclass(one) and issubclass(one, Recommender)} - {Recommender}
    assert {one for one in offered if one.__module__.startswith("recsys.models")} <= set(MODELS)


def test_every_model_has_a_name_of_its_own() -> None:
    assert len({model.__name__ for model in MODELS}) == len(MODELS)
