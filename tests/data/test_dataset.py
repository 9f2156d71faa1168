import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys.data import Dataset, frames
from recsys.errors import DataError

ROWS = {
    "user_id": ["b", "a", "b", "a", "b"],
    "item_id": [20, 10, 10, 30, 20],
    "rating": [1.0, 2.0, 3.0, 4.0, 5.0],
    "weight": [1.0, 1.0, 2.0, 1.0, 4.0],
    "timestamp": [5, 9, 2, 1, 7],
}
PAIR = {"user_id": [1, 2], "item_id": [1, 2]}


def listed(frame, name):
    return frames.read(frame)[name].to_list()


@pytest.fixture
def data(make):
    return Dataset(make(ROWS))


def test_rows_are_held_by_user_then_time(data):
    assert data.users.ids.tolist() == ["a", "b"]
    assert data.items.ids.tolist() == [10, 20, 30]
    assert (data.n_users, data.n_items, len(data)) == (2, 3, 5)
    assert data.user_codes.tolist() == [0, 0, 1, 1, 1]
    assert data.item_codes.tolist() == [2, 0, 0, 1, 1]
    assert data.timestamps.tolist() == [1, 9, 2, 5, 7]
    assert data.ratings.tolist() == [4, 2, 3, 1, 5]
    assert data.weights.tolist() == [1, 1, 2, 1, 4]
    assert (data.user_codes.dtype, data.item_codes.dtype, data.timestamps.dtype) == (np.int64,) * 3
    assert (data.ratings.dtype, data.weights.dtype) == (np.float32,) * 2


def test_ties_in_time_go_by_item_then_by_row(make):
    data = Dataset(make({"user_id": [1] * 4, "item_id": [3, 2, 3, 1], "timestamp": [0] * 4, "rating": [1.0, 2, 3, 4]}))
    assert data.item_codes.tolist() == [0, 1, 2, 2]
    assert data.ratings.tolist() == [4, 2, 1, 3]


def test_without_times_a_users_rows_keep_their_order(make):
    data = Dataset(make({"user_id": [2, 1, 2, 1], "item_id": [3, 9, 1, 4]}))
    assert data.items.decode(data.item_codes).tolist() == [9, 4, 3, 1]


def test_order_is_the_same_where_times_are_too_wide_for_one_key(make):
    rng = np.random.default_rng(0)
    columns = {"user_id": rng.integers(0, 9, 300), "item_id": rng.integers(0, 9, 300)}
    small = rng.integers(0, 5, 300)
    narrow, wide = (
        Dataset(make({**columns, "timestamp": small})),
        Dataset(make({**columns, "timestamp": small * 2**60})),
    )
    np.testing.assert_array_equal(narrow.user_codes, wide.user_codes)
    np.testing.assert_array_equal(narrow.item_codes, wide.item_codes)


def test_negative_times_sort_before_positive(make):
    data = Dataset(make({"user_id": [1, 1, 1], "item_id": [1, 2, 3], "timestamp": [5, -5, 0]}))
    assert data.timestamps.tolist() == [-5, 0, 5]


def test_shuffled_rows_with_times_change_nothing():
    frame = pd.DataFrame(ROWS)
    first, second = Dataset(frame), Dataset(frame.sample(frac=1, random_state=3))
    np.testing.assert_array_equal(first.item_codes, second.item_codes)
    np.testing.assert_array_equal(first.ratings, second.ratings)


def test_all_kinds_of_frame_give_the_same(data, kind):
    assert data.frame_kind == kind
    reference = Dataset(pd.DataFrame(ROWS))
    np.testing.assert_array_equal(data.item_codes, reference.item_codes)
    assert (data.to_csr("weight") != reference.to_csr("weight")).nnz == 0


def test_to_frame_has_the_callers_columns_in_held_order_and_its_kind(data, kind):
    frame = data.to_frame()
    assert frames.frame_kind(frame) == kind
    assert frames.read(frame).columns == list(ROWS)
    assert listed(frame, "user_id") == ["a", "a", "b", "b", "b"]
    assert listed(frame, "item_id") == [30, 10, 10, 20, 20]


def test_the_callers_frames_are_never_changed(make):
    given, features = make(ROWS), make({"item_id": [10], "x": [1]})
    before = {name: listed(given, name) for name in ROWS}
    Dataset(given, item_features=features).filter(min_item_interactions=2)
    assert {name: listed(given, name) for name in ROWS} == before
    assert listed(features, "x") == [1]


def test_later_changes_of_the_callers_frame_do_not_reach_the_data():
    frame = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "rating": [1.0, 2.0]})
    features = pd.DataFrame({"item_id": [1, 2], "x": [1.0, 2.0]})
    data = Dataset(frame, item_features=features)
    frame.loc[0, "rating"], features.loc[0, "x"] = 99.0, 99.0
    assert data.ratings.tolist() == [1, 2]
    assert listed(data.to_frame(), "rating") == [1, 2]
    assert data.subset([0, 1]).item_features["x"].mean == 1.5


def test_index_of_a_pandas_frame_does_not_matter():
    frame = pd.DataFrame(ROWS, index=[7, 7, 7, 1, 0])
    np.testing.assert_array_equal(Dataset(frame).item_codes, Dataset(pd.DataFrame(ROWS)).item_codes)


def test_lazy_frames_are_collected():
    data = Dataset(pl.DataFrame(ROWS).lazy(), item_features=pl.DataFrame({"item_id": [10], "x": [1]}).lazy())
    assert data.frame_kind == "polars"
    assert len(data) == 5
    assert data.item_features["x"].codes.tolist() == [0, -1, -1]


# -- roles -------------------------------------------------------------------------------------------------------------


def test_canonical_names_take_their_roles(make):
    assert Dataset(make({**PAIR, "label": [0, 1]})).labels.tolist() == [0, 1]
    plain = Dataset(make(PAIR))
    assert (plain.ratings, plain.labels, plain.weights, plain.timestamps) == (None,) * 4
    assert (plain.user_features, plain.item_features, plain.context) == (None,) * 3


def test_roles_are_renamed_and_switched_off(make):
    columns = {"session": [1, 1], "movie": [5, 6], "stars": [3, 4], "rating": [1, 1], "when": [2, 1], "weight": [1, 1]}
    data = Dataset(
        make(columns), user_col="session", item_col="movie", rating_col="stars", timestamp_col="when", weight_col=None
    )
    assert data.ratings.tolist() == [4, 3]
    assert data.timestamps.tolist() == [1, 2]
    assert data.weights is None
    assert (data.user_col, data.item_col) == ("session", "movie")


def test_a_named_column_that_is_absent_is_refused_with_those_there_are(make):
    for argument, role in [
        ("user_col", "users"),
        ("item_col", "items"),
        ("rating_col", "rating"),
        ("label_col", "label"),
    ]:
        with pytest.raises(DataError, match=f"no column 'z' for the {role}; the frame has user_id, item_id"):
            Dataset(make(PAIR), **{argument: "z"})
    with pytest.raises(DataError, match="no column 'z' for the context"):
        Dataset(make(PAIR), context_cols=["z"])
    with pytest.raises(DataError, match="no column 'user_id' for the users; the frame has item_id"):
        Dataset(make({"item_id": [1]}))


def test_users_without_items_are_refused(make):
    for names in ({"user_col": None}, {"item_col": None}):
        with pytest.raises(DataError, match="give both, or None for both"):
            Dataset(make(PAIR), **names)


def test_an_empty_frame_is_refused(make):
    with pytest.raises(DataError, match="empty"):
        Dataset(make({"user_id": [], "item_id": []}))


def test_missing_and_infinite_ratings_are_refused(make):
    for wrong in (float("nan"), float("inf"), None):
        rows = {"user_id": [1, 2, 3], "item_id": [1, 2, 3], "rating": [1.0, wrong, wrong]}
        with pytest.raises(DataError, match="column 'rating' has 2 missing or infinite ratings, first in row 1"):
            Dataset(make(rows))


def test_row_of_an_error_is_the_callers_row_not_the_held_one(make):
    rows = {"user_id": [9, 5, 1], "item_id": [1, 2, 3], "stars": [float("nan"), 1.0, 1.0]}
    with pytest.raises(DataError, match=r"column 'stars' has 1 .* first in row 0"):
        Dataset(make(rows), rating_col="stars")
    with pytest.raises(DataError, match="column 'price' has 1 infinite numbers, first in row 0"):
        Dataset(make({"user_id": [9, 5], "item_id": [1, 2], "price": [float("inf"), 1.0]}), context_cols=["price"])


def test_labels_other_than_zero_and_one_are_refused(make):
    with pytest.raises(DataError, match=r"column 'label' has 1 labels other than 0 and 1, first in row 1 \(2.0\)"):
        Dataset(make({**PAIR, "label": [1, 2]}))
    with pytest.raises(DataError, match="column 'label' has 1 missing or infinite labels"):
        Dataset(make({**PAIR, "label": [1.0, float("nan")]}))


def test_boolean_labels_are_labels(make):
    assert Dataset(make({**PAIR, "label": [True, False]})).labels.tolist() == [1, 0]


def test_negative_and_missing_weights_are_refused(make):
    with pytest.raises(DataError, match=r"column 'weight' has 1 negative weights, first in row 1 \(-1.0\)"):
        Dataset(make({**PAIR, "weight": [1.0, -1.0]}))
    with pytest.raises(DataError, match="column 'weight' has 1 missing or infinite weights"):
        Dataset(make({**PAIR, "weight": [1.0, float("nan")]}))


def test_dates_are_times_in_their_own_resolution(make):
    days = np.array(["2020-01-02", "2020-01-01"], "datetime64[ms]")
    data = Dataset(make({"user_id": [1, 1], "item_id": [1, 2], "timestamp": days}))
    assert data.item_codes.tolist() == [1, 0]
    assert data.timestamps.tolist() == [1577836800000, 1577923200000]


def test_dates_with_a_zone_are_times():
    when = pd.to_datetime(["2020-01-02", "2020-01-01"]).tz_localize("Europe/Berlin").as_unit("ms")
    given = pd.DataFrame({**PAIR, "timestamp": when})
    for frame in (given, pl.from_pandas(given)):
        times = Dataset(frame).timestamps
        assert times[0] - times[1] == 86_400_000


def test_whole_floats_are_times(make):
    assert Dataset(make({**PAIR, "timestamp": [2.0, 1.0]})).timestamps.tolist() == [2, 1]


def test_missing_fractional_and_worded_times_are_refused(make):
    with pytest.raises(DataError, match="column 'timestamp' has 1 missing timestamps, first in row 1"):
        Dataset(make({**PAIR, "timestamp": [1.0, float("nan")]}))
    with pytest.raises(DataError, match="column 'timestamp' has 1 missing timestamps, first in row 1"):
        Dataset(make({**PAIR, "timestamp": np.array(["2020-01-01", "NaT"], "datetime64[us]")}))
    with pytest.raises(DataError, match=r"1 fractional timestamps.*first in row 0 \(1.5\)"):
        Dataset(make({**PAIR, "timestamp": [1.5, 2.0]}))
    with pytest.raises(DataError, match="'timestamp' holds String; timestamps are numbers or dates"):
        Dataset(make({**PAIR, "timestamp": ["2020-01-01", "2020-01-02"]}))


def test_missing_nullable_times_are_refused():
    for frame in (
        pd.DataFrame({**PAIR, "timestamp": pd.array([1, None], "Int64")}),
        pl.DataFrame({**PAIR, "timestamp": [1, None]}),
    ):
        with pytest.raises(DataError, match="column 'timestamp' has 1 missing timestamps, first in row 1"):
            Dataset(frame)


# -- context, field data, social edges ---------------------------------------------------------------------------------


def test_context_follows_its_rows(make):
    rows = {"user_id": [2, 1], "item_id": [1, 2], "device": ["tv", "phone"], "price": [1.0, 3.0], "hour": [7, 8]}
    data = Dataset(make(rows), context_cols=["device", "price", "hour"], numeric_cols=["hour"])
    assert [column.kind for column in data.context.columns] == ["categorical", "numeric", "numeric"]
    assert data.context["device"].codes.tolist() == [0, 1]
    assert data.context["price"].values.tolist() == [1, -1]
    assert data.context["hour"].values.tolist() == [1, -1]


def test_numeric_cols_that_name_nothing_are_refused(make):
    with pytest.raises(DataError, match="numeric_cols: 'price' is no column of the features"):
        Dataset(make({**PAIR, "price": [1, 2]}), numeric_cols=["price"])


def test_field_data_keeps_the_order_of_rows(make):
    rows = {"c1": ["b", "a", "b"], "i1": [3, 1, 2], "label": [1, 0, 1], "timestamp": [3, 2, 1]}
    data = Dataset(make(rows), user_col=None, item_col=None, context_cols=["c1", "i1"], numeric_cols=["i1"])
    assert data.labels.tolist() == [1, 0, 1]
    assert data.timestamps.tolist() == [3, 2, 1]
    assert data.context["c1"].codes.tolist() == [1, 0, 1]
    assert (data.users, data.items, data.n_users, data.n_items) == (None, None, 0, 0)
    assert "3 interactions" in repr(data)
    assert data.subset([2, 0]).labels.tolist() == [1, 1]


def test_field_data_says_what_it_cannot_do(make):
    data = Dataset(make({"c1": [1, 2], "label": [0, 1]}), user_col=None, item_col=None, context_cols=["c1"])
    for act in (data.histories, data.to_csr, data.report, data.filter):
        with pytest.raises(DataError, match="needs users and items, and this data set has user_col=None"):
            act()


def test_features_of_field_data_are_refused(make):
    for name in ("user_features", "item_features", "social"):
        with pytest.raises(DataError, match=f"{name} needs users and items"):
            Dataset(make({"c1": [1]}), user_col=None, item_col=None, **{name: make({"user_id": [1]})})


def test_social_edges_are_codes_and_their_ids_join_the_users(make):
    edges = make({"user_id": [2, 7], "friend_id": [1, 2], "weight": [0.5, 2.0]})
    data = Dataset(make(PAIR), social=edges)
    assert data.users.ids.tolist() == [1, 2, 7]
    assert data.social_edges.tolist() == [[1, 0], [2, 1]]
    assert data.social_weights.tolist() == [0.5, 2.0]


def test_social_edges_without_weights_weigh_one(make):
    data = Dataset(make(PAIR), social=make({"user_id": [2], "friend_id": [1]}))
    assert data.social_weights.tolist() == [1]
    assert Dataset(make(PAIR)).social_edges is None


def test_social_edges_are_checked(make):
    with pytest.raises(DataError, match="no column 'friend_id' for the friends"):
        Dataset(make(PAIR), social=make({"user_id": [2], "friend": [1]}))
    with pytest.raises(DataError, match="holds integers in one frame and strings in another"):
        Dataset(make(PAIR), social=make({"user_id": ["2"], "friend_id": ["1"]}))


# -- histories and matrices --------------------------------------------------------------------------------------------


def test_histories_are_items_in_time_order(data):
    histories = data.histories()
    assert len(histories) == 2
    assert histories.items.tolist() == [2, 0, 0, 1, 1]
    assert histories.indptr.tolist() == [0, 2, 5]
    assert histories.times.tolist() == [1, 9, 2, 5, 7]
    assert histories.ratings.tolist() == [4, 2, 3, 1, 5]


def test_matrices_of_ones_ratings_and_weights(data):
    assert data.to_csr().toarray().tolist() == [[1, 0, 1], [1, 1, 0]]
    assert data.to_csr("rating").toarray().tolist() == [[2, 0, 4], [3, 3, 0]]
    assert data.to_csr("weight").toarray().tolist() == [[1, 0, 1], [2, 5, 0]]
    assert data.to_csr().dtype == np.float32
    assert data.to_csr().has_sorted_indices


def test_a_matrix_of_what_is_not_there_is_refused(make):
    for values in ("rating", "weight", "stars"):
        with pytest.raises(DataError, match=values):
            Dataset(make(PAIR)).to_csr(values)  # type: ignore[arg-type]


def test_only_positive_labels_enter_histories_and_matrices(make):
    data = Dataset(make({"user_id": [1, 1, 2], "item_id": [5, 6, 7], "label": [1, 0, 0]}))
    assert data.histories().items.tolist() == [0]
    assert data.histories().lengths.tolist() == [1, 0]
    assert data.to_csr().toarray().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert (len(data), data.n_items) == (3, 3)


# -- making others -----------------------------------------------------------------------------------------------------


def test_a_subset_has_its_own_vocabularies(data, kind):
    for rows in (np.array([True, True, False, False, False]), [0, 1], np.array([1, 0], np.int32)):
        part = data.subset(rows)
        assert part.users.ids.tolist() == ["a"]
        assert part.items.ids.tolist() == [10, 30]
        assert part.item_codes.tolist() == [1, 0]
        assert part.frame_kind == kind


def test_a_subset_keeps_roles_and_features(make):
    rows = {"session": [1, 2], "movie": [5, 6], "stars": [3, 4], "device": ["a", "b"], "rating": [0, 0]}
    data = Dataset(
        make(rows),
        user_col="session",
        item_col="movie",
        rating_col="stars",
        context_cols=["device"],
        item_features=make({"movie": [6, 7], "year": [1, 2]}),
        numeric_cols=["year"],
    )
    part = data.subset([0])
    assert part.ratings.tolist() == [3]
    assert part.roles.timestamp_col is None
    assert part.items.ids.tolist() == [5, 6, 7]
    assert part.item_features["year"].kind == "numeric"
    assert part.context["device"].codes.tolist() == [0]


def test_rows_outside_the_data_are_refused(data):
    with pytest.raises(DataError, match=r"mask has shape \(2,\) and the data set 5 rows"):
        data.subset(np.array([True, False]))
    for rows in ([5], [-1], [0.5]):
        with pytest.raises(DataError, match="row numbers from 0 to 4"):
            data.subset(rows)
    for rows in ([], np.zeros(5, bool)):
        with pytest.raises(DataError, match="no row is left"):
            data.subset(rows)


def test_filter_repeats_until_nothing_changes(make):
    # Item 3 has one user; without it user 2 has one item; without user 2 item 1 has one user, and so on to users 8
    # and 9.
    users, items = [1, 2, 2, 8, 8, 9, 9], [1, 1, 3, 7, 6, 7, 6]
    left = Dataset(make({"user_id": users, "item_id": items})).filter(min_user_interactions=2, min_item_interactions=2)
    assert left.users.ids.tolist() == [8, 9]
    assert left.items.ids.tolist() == [6, 7]
    assert len(left) == 4


def test_filter_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user_id": rng.integers(0, 40, 260), "item_id": rng.integers(0, 40, 260)})
    left = frame
    while True:
        of_user = left.groupby("user_id").item_id.transform("size")
        of_item = left.groupby("item_id").user_id.transform("size")
        keep = of_user.ge(5) & of_item.ge(4)
        if keep.all():
            break
        left = left[keep]
    assert 0 < len(left) < 260
    found = Dataset(frame).filter(min_user_interactions=5, min_item_interactions=4)
    assert found.users.ids.tolist() == sorted(set(left.user_id))
    assert len(found) == len(left)


def test_a_filter_that_leaves_nothing_is_refused(data):
    with pytest.raises(DataError, match=r"min_user_interactions=99.*leaves no interaction"):
        data.filter(min_user_interactions=99)


def test_wrap_takes_frames_and_data_sets(make, data):
    assert Dataset.wrap(data) is data
    assert Dataset.wrap(make(PAIR)).n_users == 2


# -- looking -----------------------------------------------------------------------------------------------------------


def test_report_counts_what_was_planted(make):
    rows = {"user_id": [1, 1, 1, 2], "item_id": [5, 5, 6, 5], "timestamp": [1, 1, 2, 1]}
    found = Dataset(make(rows), item_features=make({"item_id": [5, 9], "x": [1, 2]})).report()
    assert (found.interactions, found.users, found.items) == (4, 2, 3)
    assert found.repeated == 1
    assert found.density == 3 / 6
    assert (found.single_users, found.single_items) == (1, 1)
    assert (found.cold_users, found.cold_items) == (0, 1)
    assert found.equal_times == 0.5
    assert "cold items    1" in repr(found)


def test_report_without_times_has_no_share_of_equal_times(make):
    assert np.isnan(Dataset(make(PAIR)).report().equal_times)


def test_repr_shows_counts_and_roles(data):
    assert repr(data) == (
        "Dataset(5 interactions of 2 users with 3 items, rating='rating', weight='weight', timestamp='timestamp')"
    )
    assert "5 interactions" in data._repr_html_()


def test_html_escapes_the_names_of_columns():
    html = Dataset(pd.DataFrame({**PAIR, "<b>": [1.0, 2.0]}), rating_col="<b>")._repr_html_()
    assert "<b>" not in html
