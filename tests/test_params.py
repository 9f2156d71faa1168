import math
from fractions import Fraction as Ratio
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from recsys.errors import ParameterError
from recsys.params import (
    Bound,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Parametrized,
    Positive,
    PositiveInt,
    UnitInterval,
    accepts,
    allowed,
)

METRICS = Literal["cosine", "dot"]


class Base(Parametrized):
    """How to train."""

    flag: ClassVar[bool] = True
    epochs: PositiveInt = 20
    """Passes."""


class Model(Base):
    """What to train."""

    fitted_: Any

    penalty: Positive = 250.0
    """Penalty."""
    metric: METRICS = "cosine"
    """Similarity."""
    widths: tuple[PositiveInt, ...] = (400, 400)
    """Widths."""
    patience: PositiveInt | None = None
    """Patience."""
    bias: bool = True
    """Bias."""


# -- what an annotation allows -----------------------------------------------------------------------------------------

BOUNDS = [
    (Positive, [1e-12, 1, 250.0], [0, 0.0, -1, math.inf, math.nan]),
    (NonNegative, [0, 0.0, 3.5], [-1e-12, math.inf, math.nan]),
    (Fraction, [0, 0.5, 0.999], [1, 1.0, -0.1, math.nan]),
    (UnitInterval, [0, 1, 0.5], [1.001, -0.001]),
    (PositiveInt, [1, 10**40], [0, -1, 1.0, 2.5]),
    (NonNegativeInt, [0, 7], [-1, 0.0]),
]


@pytest.mark.parametrize("annotation, inside, outside", BOUNDS)
def test_numbers_are_allowed_within_their_bounds(annotation: Any, inside: list[Any], outside: list[Any]) -> None:
    assert [accepts(annotation, value) for value in inside] == [True] * len(inside)
    assert [accepts(annotation, value) for value in outside] == [False] * len(outside)


@pytest.mark.parametrize("annotation", [Positive, NonNegative, Fraction, UnitInterval, PositiveInt, float, int])
@pytest.mark.parametrize("value", [True, np.True_, "1", None, [1], 1j])
def test_what_is_no_number_is_refused(annotation: Any, value: Any) -> None:
    assert not accepts(annotation, value)


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), np.int32(3)])
def test_numpy_integers_are_integers_and_numbers(value: Any) -> None:
    assert accepts(PositiveInt, value)
    assert accepts(Positive, value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), Ratio(1, 2)])
def test_real_numbers_of_any_type_are_numbers(value: Any) -> None:
    assert accepts(Positive, value)
    assert not accepts(PositiveInt, value)


def test_a_choice_is_one_of_its_own_type() -> None:
    assert [accepts(METRICS, value) for value in ("cosine", "dot", "euclidean", "Cosine", None)] == [True, True] + [
        False
    ] * 3
    assert accepts(Literal[1, None], 1)
    assert accepts(Literal[1, None], None)
    assert not accepts(Literal[1], True)
    assert not accepts(Literal[1], 1.0)


def test_a_union_allows_what_any_of_its_parts_does() -> None:
    annotation = PositiveInt | METRICS | None
    assert all(accepts(annotation, value) for value in (1, "dot", None))
    assert not any(accepts(annotation, value) for value in (0, "euclidean", 1.5, False))


def test_a_tuple_of_any_length_checks_each_element() -> None:
    annotation = tuple[PositiveInt, ...]
    assert all(accepts(annotation, value) for value in ((), (1,), [1, 2], (1, 2, 3)))
    assert not any(accepts(annotation, value) for value in ((1, 0), (1.0,), 1, "12", None))


def test_a_tuple_of_fixed_length_checks_each_place() -> None:
    annotation = tuple[METRICS, PositiveInt]
    assert accepts(annotation, ("dot", 3))
    assert not any(accepts(annotation, value) for value in (("dot",), ("dot", 3, 3), (3, "dot"), ()))
    assert allowed(annotation) == "a tuple ('cosine' or 'dot', an integer at least 1)"


def test_a_class_allows_its_instances() -> None:
    assert accepts(Base, Model())
    assert not accepts(Model, Base())
    assert accepts(Any, object())
    assert accepts(dict[str, int], {})


@pytest.mark.parametrize(
    "annotation, words",
    [
        (Positive, "a number above 0"),
        (NonNegativeInt, "an integer at least 0"),
        (Fraction, "a number in [0, 1)"),
        (UnitInterval, "a number in [0, 1]"),
        (METRICS, "'cosine' or 'dot'"),
        (PositiveInt | None, "an integer at least 1 or None"),
        (tuple[PositiveInt, ...], "a tuple of an integer at least 1"),
        (bool, "True or False"),
        (Base, "Base"),
    ],
)
def test_messages_say_what_is_allowed(annotation: Any, words: str) -> None:
    assert allowed(annotation) == words


def test_a_bound_open_on_both_sides_leaves_out_its_ends() -> None:
    bound = Bound(-1, 1, open_low=True, open_high=True)
    assert [bound.holds(value) for value in (-1, -0.5, 1)] == [False, True, False]
    assert str(bound) == "in (-1, 1)"


# -- a class of hyperparameters ----------------------------------------------------------------------------------------


def test_a_class_body_is_the_list_of_hyperparameters_its_own_first() -> None:
    assert list(Model().get_params()) == ["penalty", "metric", "widths", "patience", "bias", "epochs"]


def test_flags_and_fitted_state_are_no_hyperparameters() -> None:
    assert "flag" not in Model().get_params()
    assert "fitted_" not in Model().get_params()
    assert not hasattr(Model(), "fitted_")


def test_a_hyperparameter_given_again_takes_the_new_default() -> None:
    class Shorter(Model):
        """Fewer epochs."""

        epochs: PositiveInt = 5
        """Passes."""

    assert Shorter().epochs == 5
    assert next(iter(Shorter().get_params())) == "epochs"
    assert Model().epochs == 20


def test_a_hyperparameter_without_a_default_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Unfinished\.alpha needs a default"):

        class Unfinished(Parametrized):
            """No default."""

            alpha: Positive


def test_a_default_out_of_bounds_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.alpha: the default -1\.0 is not allowed; give a number above 0"):

        class Wrong(Parametrized):
            """A default that its own annotation refuses."""

            alpha: Positive = -1.0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"penalty": 0}, "Model: penalty=0 is not allowed; give a number above 0"),
        ({"epochs": True}, "Model: epochs=True is not allowed; give an integer at least 1"),
        ({"epochs": 2.0}, "Model: epochs=2.0 is not allowed; give an integer at least 1"),
        ({"metric": "l2"}, "Model: metric='l2' is not allowed; give 'cosine' or 'dot'"),
        ({"bias": 1}, "Model: bias=1 is not allowed; give True or False"),
        ({"widths": (4, 0)}, "Model: widths=(4, 0) is not allowed; give a tuple of an integer at least 1"),
    ],
)
def test_errors_name_the_class_the_hyperparameter_the_value_and_what_is_allowed(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as constructed:
        Model(**changes)
    with pytest.raises(ParameterError) as changed:
        Model().set_params(**changes)
    assert str(constructed.value) == str(changed.value) == message


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ParameterError, match="Model has no hyperparameter 'penality'; it has: penalty, metric, widths"):
        Model(penality=1.0)


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="positional"):
        Model(250.0)  # type: ignore[call-arg]


def test_set_params_changes_all_or_nothing() -> None:
    model = Model(penalty=3.0)
    with pytest.raises(ParameterError, match="epochs=0"):
        model.set_params(penalty=5.0, metric="dot", epochs=0)
    with pytest.raises(ParameterError, match="nothing"):
        model.set_params(penalty=5.0, nothing=1)
    assert model.get_params() == Model(penalty=3.0).get_params()
    assert model.set_params(penalty=5.0, metric="dot") is model
    assert (model.penalty, model.metric) == (5.0, "dot")


def test_numpy_scalars_are_kept_as_plain_numbers() -> None:
    model = Model(
        penalty=np.float32(0.5), epochs=np.int64(3), widths=[np.int32(8), 4], bias=np.False_, metric=np.str_("dot")
    )
    kept = [model.penalty, model.epochs, *model.widths, model.bias, model.metric]
    assert kept == [0.5, 3, 8, 4, False, "dot"]
    assert [type(value) for value in kept] == [float, int, int, int, bool, str]


def test_lists_are_kept_as_tuples_that_no_one_else_holds() -> None:
    given = [8, 4]
    model = Model(widths=given)
    given.append(2)
    assert model.widths == (8, 4)


def test_clone_is_a_twin_with_changes() -> None:
    model = Model(penalty=3.0, widths=(8,))
    model.fitted_ = 1
    twin = model.clone(metric="dot")
    assert twin.get_params() == {**model.get_params(), "metric": "dot"}
    assert not hasattr(twin, "fitted_")
    assert model.metric == "cosine"
    with pytest.raises(ParameterError, match="metric"):
        model.clone(metric="l2")


def test_repr_names_what_was_changed_the_models_own_first() -> None:
    assert repr(Model()) == "Model()"
    assert repr(Model(epochs=3, patience=2, penalty=1.5)) == "Model(penalty=1.5, patience=2, epochs=3)"
    assert repr(Model(penalty=250)) == "Model()"


@pytest.mark.parametrize(
    "changes",
    [{}, {"penalty": np.float64(0.1)}, {"widths": [np.int64(3)], "metric": "dot"}, {"patience": 4, "bias": False}],
)
def test_repr_makes_the_model_again(changes: dict[str, Any]) -> None:
    model = Model(**changes)
    assert eval(repr(model), {"Model": Model}).get_params() == model.get_params()


def test_get_params_is_a_copy() -> None:
    model = Model()
    model.get_params()["penalty"] = -1
    assert model.penalty == 250.0
