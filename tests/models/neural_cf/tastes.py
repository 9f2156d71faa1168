"""Data and small models for neural collaborative filtering, and its formulas as loops over pairs."""

from typing import Any

import numpy as np
import pandas as pd


def taste_frame(n_users: int = 40, seed: int = 0) -> pd.DataFrame:
    """User u likes six of the ten items of group u % 4."""
    rng = np.random.default_rng(seed)
    rows = [(u, 10 * (u % 4) + i) for u in range(n_users) for i in rng.permutation(10)[:6]]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


def quick(model: Any, **changes: Any) -> Any:
    """A model of some epochs on the CPU."""
    small = {"epochs": 2, "batch_size": 20, "learning_rate": 0.01, "verbose": 0, "device": "cpu"}
    return model(**(small | changes))


def weights(model: Any) -> dict[str, np.ndarray]:
    """The network's arrays by name, in double precision; tables without their spare row."""
    state = {name: tensor.double().numpy() for name, tensor in model.module_.state_dict().items()}
    return {name: one[1:] if "users" in name or "items" in name else one for name, one in state.items()}


def gmf_logit(w: dict[str, np.ndarray], user: int, item: int, prefix: str = "") -> float:
    """h . (p * q) + b, one dimension after the other."""
    p, q, h = w[f"{prefix}users.weight"][user], w[f"{prefix}items.weight"][item], w[f"{prefix}head.weight"][0]
    return sum(float(h[d] * p[d] * q[d]) for d in range(len(h))) + float(w[f"{prefix}head.bias"][0])


def tower_logit(w: dict[str, np.ndarray], user: int, item: int, prefix: str = "") -> float:
    """Hidden layers with ReLU over [p; q], then h . z + b, whose b may be another part's."""
    z = np.concatenate([w[f"{prefix}users.weight"][user], w[f"{prefix}items.weight"][item]])
    for name in sorted(name for name in w if name.startswith(f"{prefix}hidden.") and name.endswith("weight")):
        z = np.maximum(w[name] @ z + w[name.replace("weight", "bias")], 0)
    return float(w[f"{prefix}head.weight"][0] @ z + w.get(f"{prefix}head.bias", np.zeros(1))[0])
