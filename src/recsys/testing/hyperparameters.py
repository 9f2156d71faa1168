"""Checks of a model's hyperparameters: constructor, bounds, documentation, copies."""

import ast
import inspect
import itertools
import textwrap
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np

from recsys.base import Recommender
from recsys.errors import ParameterError
from recsys.params import accepts
from recsys.testing.contract import Model, expect, expect_error, fresh

OUTSIDE = (-1, 0, 2, -1.0, 0.0, 2.0, float("nan"), "no such choice", None)
"""Values of which every bounded hyperparameter refuses one."""


def check_constructor(model: Model) -> None:
    """The class is made without arguments, and making a model sets its hyperparameters and nothing else."""
    cls = model if isinstance(model, type) else type(model)
    made = cls()
    extra = sorted(set(vars(made)) - set(made.get_params()))
    expect(not extra, model, f"the constructor sets {', '.join(extra)}, which are no hyperparameters")
    expect(not made.is_fitted, model, "a new model says that it is fitted")


def check_hyperparameters_are_documented(model: Model) -> None:
    """Every hyperparameter has a docstring under its line, in the class or a base."""
    cls = model if isinstance(model, type) else type(model)
    documented: set[str] = set()
    for base in cls.__mro__:
        source = source_of(base)
        if source is None:
            return  # a class typed into a session has no source to read
        documented |= documented_names(source)
    absent = [name for name in fresh(model).get_params() if name not in documented]
    expect(not absent, model, f"hyperparameters without a docstring under them: {', '.join(absent)}")


def check_annotations_are_hyperparameters(model: Model) -> None:
    """What a class body annotates is a hyperparameter: a public name that is nothing else of the interface.

    A flag needs `ClassVar`, and fitted state a name that ends in `_`, or they become hyperparameters as well.
    """
    for name in fresh(model).get_params():
        flag = name.startswith("_") or hasattr(Recommender, name)
        expect(not flag, model, f"{name} became a hyperparameter; annotate it as ClassVar, or give it another name")


def check_params_round_trip(model: Model) -> None:
    """`get_params`, `set_params` and `clone` give back what they were given; a clone shares nothing that is fitted."""
    one = fresh(model)
    params = one.get_params()
    expect(one.clone().get_params() == params, model, "clone() changes hyperparameters")
    expect(fresh(type(one)).set_params(**params).get_params() == params, model, "set_params(get_params()) changes them")
    expect(one.set_params() is one, model, "set_params does not return the model")
    for name, value in other_values(one).items():
        twin = one.clone(**{name: value})
        expect(twin.get_params()[name] == value, model, f"clone({name}={value!r}) has {twin.get_params()[name]!r}")
        expect(one.get_params() == params, model, f"clone({name}=...) changes the original")
        expect(f"{name}={value!r}" in repr(twin) or value == default(one, name), model, f"repr leaves out {name}")


def check_repr_round_trips(model: Model) -> None:
    """`eval(repr(model))` is a model with the same hyperparameters."""
    one = fresh(model)
    again = read_repr(repr(one), type(one))
    expect(same_params(again, one), model, f"{one!r} does not stand for the model's hyperparameters")


def check_bounds_name_the_hyperparameter(model: Model) -> None:
    """A value out of bounds raises a `ParameterError` that names the hyperparameter, as does an unknown name."""
    one = fresh(model)
    for name, annotation in type(one)._annotations.items():
        for value in [value for value in OUTSIDE if not accepts(annotation, value)][:3]:
            changes = {name: value}
            expect_error(ParameterError, lambda c=changes: type(one)(**c), model, f"{name}={value!r}", name)
            expect_error(ParameterError, lambda c=changes: one.set_params(**c), model, f"set_params({name}=...)", name)
    unknown = {"no_such_hyperparameter": 1}
    expect_error(ParameterError, lambda: type(one)(**unknown), model, "an unknown hyperparameter", next(iter(unknown)))


def check_set_params_is_all_or_nothing(model: Model) -> None:
    """`set_params` with one wrong name among good ones changes nothing."""
    one = fresh(model)
    before = one.get_params()
    wrong = {**other_values(one), "no_such_hyperparameter": 1}
    expect_error(ParameterError, lambda: one.set_params(**wrong), model, "set_params with an unknown name")
    expect(one.get_params() == before, model, "a set_params that raised has changed some hyperparameters")


# -- what the checks are made of ---------------------------------------------------------------------------------------


def source_of(cls: type) -> str | None:
    """Source of a class of Python code; empty for built-in ones, None where it cannot be read."""
    if cls.__module__ in ("builtins", "abc"):
        return ""
    try:
        return textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return None


def documented_names(source: str) -> set[str]:
    """Annotated names in the body of a class that have a string under them."""
    body: list[ast.stmt] = [
        line for node in ast.parse(source).body if isinstance(node, ast.ClassDef) for line in node.body
    ]
    names: set[str] = set()
    for line, under in itertools.pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and is_text(under):
            names.add(line.target.id)
    return names


def is_text(line: ast.stmt) -> bool:
    """Whether a statement is a string that says something."""
    value = line.value if isinstance(line, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(value.value.strip())


def default(model: Recommender, name: str) -> Any:
    """A hyperparameter's default."""
    return type(model)._defaults[name]


def other_values(model: Recommender) -> dict[str, Any]:
    """For each hyperparameter where one is easily found, an allowed value other than the present one."""
    found: dict[str, Any] = {}
    for name, annotation in type(model)._annotations.items():
        value = getattr(model, name)
        tries = [*choices(annotation), not value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            tries = [value + 1, value / 2]
        allowed = [one for one in tries if type(one) is type(value) and one != value and accepts(annotation, one)]
        if allowed:
            found[name] = allowed[0]
    return found


def choices(annotation: Any) -> tuple[Any, ...]:
    """What a `Literal` names; nothing for another annotation."""
    if get_origin(annotation) is Annotated:
        return choices(get_args(annotation)[0])
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def read_repr(text: str, cls: type[Recommender]) -> Recommender:
    """The model that a `repr` stands for: one call of its class with literals or other models as keywords."""
    return made_by(ast.parse(text, mode="eval").body, cls)


def same_params(one: Recommender, other: Recommender) -> bool:
    """Whether two models have the same hyperparameters; models among them are others, which are written alike."""
    mine, theirs = one.get_params(), other.get_params()
    return mine.keys() == theirs.keys() and all(v == theirs[n] or repr(v) == repr(theirs[n]) for n, v in mine.items())


def made_by(call: ast.expr, cls: type[Recommender]) -> Recommender:
    """The model that a call of its class gives."""
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != cls.__name__ or call.args:
        raise ValueError(f"{ast.unparse(call)} is no call of {cls.__name__}")
    return cls(**{str(one.arg): value_of(one.value) for one in call.keywords})


def value_of(node: ast.expr) -> Any:
    """What a keyword stands for."""
    if isinstance(node, ast.Name):
        return {"inf": np.inf, "nan": np.nan}[node.id]
    if isinstance(node, ast.Tuple):
        return tuple(map(value_of, node.elts))
    if isinstance(node, ast.Call):
        return made_by(node, Recommender.known[ast.unparse(node.func)])
    return ast.literal_eval(node)
