"""What the worked examples are compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np

Golden = Callable[[str], dict[str, Any]]


def near(value: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(value, float), np.asarray(wanted, float), atol=tolerance, rtol=0)
