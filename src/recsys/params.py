"""Hyperparameters: a class body is the list of them, and their annotations are the checks.

A hyperparameter is one annotated line with a default and a docstring; the annotation says what is allowed:
`regularization: Positive = 250.0`, `metric: Literal["cosine", "dot"] = "cosine"`, `patience: PositiveInt | None =
None`.
"""

import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from recsys.errors import ParameterError


@dataclass(frozen=True)
class Bound:
    """An interval of allowed numbers; an end is open where `open_low` or `open_high` says so."""

    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is a number inside the interval."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(above and below and (isinstance(value, Integral) or math.isfinite(value)))

    def __str__(self) -> str:
        if self.high == np.inf:
            return f"{'above' if self.open_low else 'at least'} {self.low:g}"
        return f"in {'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"


Positive = Annotated[float, Bound(0, open_low=True)]
NonNegative = Annotated[float, Bound(0)]
Fraction = Annotated[float, Bound(0, 1, open_high=True)]
Factor = Annotated[float, Bound(0, 1, open_low=True)]
UnitInterval = Annotated[float, Bound(0, 1)]
PositiveInt = Annotated[int, Bound(1)]
NonNegativeInt = Annotated[int, Bound(0)]


def allowed(annotation: Any) -> str:
    """Words for the values that an annotation allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *extras = get_args(annotation)
        return " ".join([allowed(base), *(str(extra) for extra in extras)])
    if origin is Literal:
        return " or ".join(repr(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(option) for option in get_args(annotation))
    if origin is tuple:
        elements = get_args(annotation)
        if elements[-1] is Ellipsis:
            return f"a tuple of {allowed(elements[0])}"
        return f"a tuple ({', '.join(map(allowed, elements))})"
    names = {int: "an integer", float: "a number", bool: "True or False", str: "a string", type(None): "None"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value is allowed by a hyperparameter's annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *extras = get_args(annotation)
        return accepts(base, value) and all(extra.holds(value) for extra in extras if isinstance(extra, Bound))
    if origin is Literal:
        return any(
            value is choice or (type(value) is type(choice) and value == choice) for choice in get_args(annotation)
        )
    if origin in (Union, types.UnionType):
        return any(accepts(option, value) for option in get_args(annotation))
    if origin is tuple:
        elements = get_args(annotation)
        if not isinstance(value, tuple | list):
            return False
        if elements[-1] is Ellipsis:
            return all(accepts(elements[0], one) for one in value)
        return len(value) == len(elements) and all(map(accepts, elements, value))
    if annotation is bool:
        return isinstance(value, bool | np.bool_)
    if annotation is int:
        return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if annotation is float:
        return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if annotation is Any:
        return True
    return isinstance(value, origin or annotation)


def plain(value: Any) -> Any:
    """A hyperparameter as it is kept: NumPy's scalars as Python's, lists as tuples."""
    if isinstance(value, tuple | list):
        return tuple(plain(one) for one in value)
    return value.item() if isinstance(value, np.generic) else value


class OfClassOrSelf:
    """A method that a class answers as it is by default, and an instance for the hyperparameters that it has."""

    def __init__(self, function: Callable[[Any, str], bool]):
        self.function, self.__doc__ = function, function.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[[str], bool]:
        return partial(self.function, owner if instance is None else instance)


@dataclass_transform(kw_only_default=True)
class Parametrized:
    """Keyword-only constructor, checks, `repr`, `get_params`, `set_params` and `clone` from the class body."""

    _annotations: ClassVar[Mapping[str, Any]] = {}
    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        hints = get_type_hints(cls, include_extras=True)
        # A name that ends in `_` is fitted state, declared for the type checker alone.
        fields = {
            name: hint
            for name, hint in hints.items()
            if get_origin(hint) is not ClassVar and hint is not ClassVar and not name.endswith("_")
        }
        missing = [name for name in fields if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__}.{missing[0]} needs a default; a flag or fitted attribute is no annotation")
        for name, hint in fields.items():
            if not accepts(hint, getattr(cls, name)):
                default = f"{cls.__name__}.{name}: the default {getattr(cls, name)!r}"
                raise TypeError(f"{default} is not allowed; give {allowed(hint)}")
        # The model's own hyperparameters first: what is inherited says how to train, not what the model is.
        own = [name for name in inspect.get_annotations(cls) if name in fields]
        cls._annotations = {name: fields[name] for name in [*own, *(name for name in fields if name not in own)]}
        cls._defaults = {name: plain(getattr(cls, name)) for name in cls._annotations}

    def __init__(self, **parameters: Any) -> None:
        self.__dict__.update(self._defaults)
        self.set_params(**parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name; `deep` is there for scikit-learn's callers and changes nothing."""
        return {name: getattr(self, name) for name in self._annotations}

    def set_params(self, **parameters: Any) -> Self:
        """Change hyperparameters by name, all of them or (on an error) none."""
        given = {name: plain(value) for name, value in parameters.items()}
        for name, value in given.items():
            self._check(name, value)
        self.__dict__.update(given)
        return self

    def clone(self, **changes: Any) -> Self:
        """Unfitted twin with the same hyperparameters, but for the `changes`."""
        return type(self)(**{**self.get_params(), **changes})

    def _check(self, name: str, value: Any) -> None:
        model = type(self).__name__
        if name not in self._annotations:
            known = ", ".join(self._annotations) or "none"
            raise ParameterError(f"{model} has no hyperparameter {name!r}; it has: {known}")
        if not accepts(self._annotations[name], value):
            raise ParameterError(f"{model}: {name}={value!r} is not allowed; give {allowed(self._annotations[name])}")

    def __repr__(self) -> str:
        changed = {n: v for n, v in self.get_params().items() if v is not self._defaults[n] and v != self._defaults[n]}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"
