"""The conformance suite: what every `Recommender` promises, as named checks that a model passes or breaks.

`check_recommender(MyModel)` runs them all; `checks(MyModel)` lists them, one test each:

    @pytest.mark.parametrize("name, check", recsys.testing.checks(MyModel))
    def test_contract(name, check):
        check(MyModel)
"""

from importlib.util import find_spec

import torch

from recsys.base import Recommender
from recsys.errors import ParameterError
from recsys.testing import columns, fitting, history, hyperparameters, quality, serving, storage, training
from recsys.testing.contract import Check, ConformanceError, Model, name_of, quick
from recsys.testing.planted import held_out, planted

__all__ = ["ConformanceError", "check_recommender", "checks", "held_out", "planted", "quick"]


def check_recommender(model: Model) -> None:
    """Run every check that applies to a model, a class or an instance; the first broken one is a `ConformanceError`."""
    for name, check in checks(model):
        run_check(model, name, check)


def run_check(model: Model, name: str, check: Check) -> None:
    """Run one check; an error that it did not expect is a broken contract too."""
    try:
        check(model)
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"{name_of(model)}: {name} ends in {type(error).__name__}: {error}") from error


def checks(model: Model) -> list[tuple[str, Check]]:
    """Names and functions of the checks that apply to a model."""
    cls: type = model if isinstance(model, type) else type(model)
    if not issubclass(cls, Recommender):
        raise ParameterError(f"recsys.testing takes a Recommender, class or instance; got {model!r}")
    chosen = [*HYPERPARAMETERS, *FITTING, *TRAINING, *COLUMNS, *PREDICTING, *STORING]
    if model.supports("recommend"):
        chosen += RECOMMENDING
        chosen += READING_HISTORIES if model.supports("history") else [history.check_history_is_refused]
        chosen.append(columns.check_context if model.supports("context") else columns.check_context_is_refused)
    else:
        chosen.append(serving.check_recommend_is_refused)
    chosen += [check for package, check in OPTIONAL.items() if find_spec(package)]
    if torch.cuda.is_available():
        chosen.append(storage.check_gpu_agrees)
    if model.personal:
        chosen.append(quality.check_learns_the_planted_tastes)
    return [(check.__name__.removeprefix("check_"), check) for check in chosen]


HYPERPARAMETERS: tuple[Check, ...] = (
    hyperparameters.check_constructor,
    hyperparameters.check_hyperparameters_are_documented,
    hyperparameters.check_annotations_are_hyperparameters,
    hyperparameters.check_params_round_trip,
    hyperparameters.check_repr_round_trips,
    hyperparameters.check_bounds_name_the_hyperparameter,
    hyperparameters.check_set_params_is_all_or_nothing,
)
FITTING: tuple[Check, ...] = (
    fitting.check_unfitted_use_is_refused,
    fitting.check_fit_returns_self,
    fitting.check_fit_keeps_hyperparameters,
    fitting.check_fit_keeps_the_data,
    fitting.check_same_seed_same_model,
    fitting.check_refit_forgets,
    fitting.check_global_rng_is_untouched,
    fitting.check_failed_fit_leaves_the_model,
    fitting.check_row_order_changes_nothing,
    fitting.check_shuffled_frames_change_nothing,
    fitting.check_relabeled_ids_change_nothing,
    fitting.check_one_user,
    fitting.check_one_item,
    fitting.check_one_row,
    fitting.check_repeated_rows,
    fitting.check_partial_fit,
    fitting.check_validation_data_is_accepted,
)
TRAINING: tuple[Check, ...] = (training.check_training_log, training.check_silence, training.check_factors)
COLUMNS: tuple[Check, ...] = (
    columns.check_missing_role_is_named,
    columns.check_missing_columns_are_named,
    columns.check_renamed_columns_change_nothing,
    columns.check_field_data,
    columns.check_ids_keep_their_dtype,
)
PREDICTING: tuple[Check, ...] = (
    serving.check_predict,
    serving.check_predict_is_in_its_units,
    serving.check_unknown_ids_predict_finite,
    serving.check_user_without_history,
    serving.check_similar,
    serving.check_explain,
)
RECOMMENDING: tuple[Check, ...] = (
    serving.check_lists_are_well_formed,
    serving.check_users_come_in_the_order_asked,
    serving.check_recommend_agrees_with_predict,
    serving.check_ties_go_to_the_smaller_code,
    serving.check_seen_items_are_left_out,
    serving.check_candidates_and_exclusions,
    serving.check_k,
    serving.check_unknown_users,
    serving.check_unknown_candidates,
)
READING_HISTORIES: tuple[Check, ...] = (
    history.check_history_gives_the_users_list,
    history.check_history_filters_what_it_holds,
    history.check_history_as_lists,
    history.check_history_with_unknown_items,
    history.check_empty_history,
    history.check_users_and_history_exclude_each_other,
)
STORING: tuple[Check, ...] = (
    storage.check_save_and_load,
    storage.check_damaged_saves_are_refused,
    storage.check_saving_over,
)
OPTIONAL = {"polars": storage.check_polars_frames, "pyarrow": storage.check_arrow_tables}
"""Checks that need a package of their own."""
