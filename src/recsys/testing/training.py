"""Checks of what training shows and leaves: a log, vectors in the order of the vocabularies, and silence."""

import contextlib
import io

import numpy as np

from recsys.factor import FactorRecommender
from recsys.testing.contract import Model, columns_of, expect, fitted, quick, tables_for


def check_training_log(model: Model) -> None:
    """A model that trains in epochs leaves `training_log_`: a row an epoch, with its loss and seconds."""
    one = quick(model)
    params = one.get_params()
    if "epochs" not in params:
        return
    one.fit(tables_for(model).dataset())
    expect(hasattr(one, "training_log_"), model, "fit leaves no training_log_")
    log = columns_of(one.training_log_)
    absent = [name for name in ("epoch", "loss", "seconds") if name not in log]
    expect(not absent, model, f"training_log_ has no column {', '.join(absent)}")
    counted = log["epoch"].tolist() == list(range(1, params["epochs"] + 1))
    expect(counted, model, f"training_log_ has the epochs {log['epoch'].tolist()} of {params['epochs']}")
    expect(bool(np.isfinite(log["loss"]).all()), model, "training_log_ has a loss that is NaN or infinite")


def check_silence(model: Model) -> None:
    """With `verbose=0`, or without such a hyperparameter, a fit and its lists print nothing."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        one = fitted(model)
        if one.supports("recommend"):
            one.recommend(k=3)
    text = shown.getvalue().strip()
    expect(not text, model, f"fit or recommend prints {text[:60]!r}")


def check_factors(model: Model) -> None:
    """A factor model leaves `user_factors_` (U, D) and `item_factors_` (I, D), finite, in the order of the vocabularies."""
    one = fitted(model)
    if not isinstance(one, FactorRecommender) or "n_factors" not in one.get_params():
        return
    for name, vocabulary in (("user_factors_", one.users_), ("item_factors_", one.items_)):
        factors = getattr(one, name, None)
        expect(factors is not None, model, f"fit leaves no {name}")
        wanted = (len(vocabulary), one.get_params()["n_factors"])
        expect(np.shape(factors) == wanted, model, f"{name} has the shape {np.shape(factors)}, not {wanted}")
        expect(bool(np.isfinite(np.asarray(factors)).all()), model, f"{name} is not finite")
