import os
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data import Categories, Dataset, Numbers, StreamedDataset, parquet, streamed
from recsys.errors import DataError, ParameterError, UnsupportedError

N = 997
FIELDS = {"user_col": None, "item_col": None}
CONTEXT = ["city", "device", "mobile", "price", "age"]


def clicks(n_rows=N, seed=0):
    """Users, items and contexts of every kind, some of them missing."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Zürich", "Aarau", "Bern", "東京"], n_rows).astype(object)
    city[rng.random(n_rows) < 0.1] = None
    age = pd.array(rng.integers(18, 80, n_rows), "Int64")
    age[rng.random(n_rows) < 0.2] = pd.NA
    return pd.DataFrame(
        {
            "user_id": [f"u{code:03}" for code in rng.integers(90, size=n_rows)],
            "item_id": rng.integers(1000, 1050, n_rows).astype(np.int32),
            "label": rng.integers(2, size=n_rows),
            "weight": rng.random(n_rows),
            "timestamp": rng.integers(10**9, size=n_rows),
            "city": city,
            "device": rng.integers(5, size=n_rows),
            "mobile": rng.random(n_rows) < 0.5,
            "price": np.where(rng.random(n_rows) < 0.1, np.nan, rng.normal(7, 3, n_rows)),
            "age": age,
        }
    )


def write(frame, path, rows=100, **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    frame.to_parquet(path, row_group_size=rows, index=False, **options)
    return path


@pytest.fixture
def small(monkeypatch):
    """Pieces and chunks far smaller than the data, so that every seam between them is crossed."""
    monkeypatch.setattr(parquet, "PIECE_ROWS", 128)
    monkeypatch.setattr(streamed, "CHUNK_ROWS", 37)


@pytest.fixture
def folder(tmp_path, small):
    """Three files of ragged row groups, one of them empty."""
    frame = clicks()
    write(frame[:433], tmp_path / "clicks" / "a.parquet", 50)
    write(frame[:0], tmp_path / "clicks" / "b.parquet")
    write(frame[433:], tmp_path / "clicks" / "deep" / "c.parquet", 171)
    return tmp_path / "clicks"


def all_rows(data):
    return [rows for piece in data.stream.table.shard_pieces for rows in data.rows(piece)]


def joined(data):
    """Everything that is encoded, by name, in the order of the files."""
    parts = all_rows(data)
    names = ("user_codes", "item_codes", "ratings", "labels", "weights")
    found = {name: [getattr(rows, name) for rows in parts if getattr(rows, name) is not None] for name in names}
    columns = {f"{c.name} {what}": [] for c in data.context.columns for what in ("codes", "values", "absent")}
    for rows in parts:
        for column in rows.context.columns:
            for what in ("codes", "values", "absent"):
                if getattr(column, what) is not None:
                    columns[f"{column.name} {what}"].append(getattr(column, what))
    return {name: np.concatenate(values) for name, values in {**found, **columns}.items() if values}


def held(data):
    """The same of a data set in memory."""
    names = ("user_codes", "item_codes", "ratings", "labels", "weights")
    found = {name: getattr(data, name) for name in names}
    for column in data.context.columns:
        found |= {f"{column.name} {what}": getattr(column, what) for what in ("codes", "values", "absent")}
    return {name: values for name, values in found.items() if values is not None}


# -- the same as in memory ---------------------------------------------------------------------------------------------


ENCODERS = {
    "default": {},
    "rare": {"city": Categories(min_count=220), "device": Categories(missing="nothing"), "age": Categories()},
    "hashed": {"city": Categories(hash_buckets=3), "device": Categories(hash_buckets=11)},
    "numbers": {
        "price": Numbers("log1p"),
        "age": Numbers("quantile", n_bins=7),
        "device": Numbers("buckets", n_bins=3),
    },
}


@pytest.mark.parametrize("encoders", ENCODERS.values(), ids=ENCODERS)
def test_field_data_is_encoded_as_in_memory(folder, encoders):
    numeric = [name for name in ("age",) if name not in encoders]
    options = {**FIELDS, "context_cols": CONTEXT, "numeric_cols": numeric, "encoders": encoders}
    memory, stream = Dataset(clicks(), **options), Dataset.from_parquet(folder, **options)
    expected, found = held(memory), joined(stream)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7, err_msg=name)
    for one, other in zip(memory.context.columns, stream.context.columns, strict=True):
        assert (one.name, one.kind, one.size, one.n_codes) == (other.name, other.kind, other.size, other.n_codes)
        assert one.vocabulary is None or one.vocabulary == other.vocabulary
        assert (one.mean, one.scale) == pytest.approx((other.mean, other.scale), rel=1e-12)
    assert len(stream) == len(memory) == N


def test_interactions_are_encoded_as_in_memory_up_to_their_order(folder):
    options = {"context_cols": CONTEXT, "numeric_cols": ["age"]}
    memory, stream = Dataset(clicks(), **options), Dataset.from_parquet(folder, **options)
    assert memory.users == stream.users
    assert memory.items == stream.items
    assert stream.items.ids.dtype == np.int32
    assert (stream.n_users, stream.n_items) == (memory.n_users, memory.n_items)

    def table(columns):
        frame = pd.DataFrame({name: np.asarray(values, np.float64).round(5) for name, values in columns.items()})
        return frame.sort_values(list(frame.columns)).to_numpy()

    expected, found = held(memory), joined(stream)
    np.testing.assert_allclose(table({name: found[name] for name in expected}), table(expected), atol=2e-5)


def test_seen_items_are_the_distinct_ones_labeled_1(folder):
    memory, stream = Dataset(clicks()), Dataset.from_parquet(folder)
    indptr, items = memory.histories().distinct
    np.testing.assert_array_equal(stream.seen.indptr, indptr)
    np.testing.assert_array_equal(stream.seen.items, items)
    assert stream.seen is stream.seen


def test_without_labels_every_row_is_seen(folder):
    stream = Dataset.from_parquet(folder, label_col=None)
    expected = clicks().drop_duplicates(["user_id", "item_id"]).groupby("user_id").size()
    assert stream.seen.lengths.tolist() == expected.sort_index().tolist()


def test_ids_of_features_and_friends_join_the_vocabularies(folder):
    users = pd.DataFrame({"user_id": ["new", "u000"], "group": ["x", "y"]})
    social = pd.DataFrame({"user_id": ["u000"], "friend_id": ["friend"]})
    options = {"user_features": users, "social": social}
    memory, stream = Dataset(clicks(), **options), Dataset.from_parquet(folder, **options)
    assert memory.users == stream.users
    assert {"new", "friend"} < set(stream.users.ids)
    np.testing.assert_array_equal(stream.user_features["group"].codes, memory.user_features["group"].codes)
    np.testing.assert_array_equal(stream.social_edges, memory.social_edges)


def test_ranges_of_roles_are_those_of_the_columns(folder):
    stream = Dataset.from_parquet(folder)
    weights = clicks()["weight"].astype(np.float32)
    assert stream.stream.ranges["weight"] == pytest.approx((weights.mean(), weights.min(), weights.max()), rel=1e-6)
    assert (stream.stream.ranges["label"][1:], set(stream.stream.ranges)) == ((0, 1), {"label", "weight"})


@pytest.mark.parametrize("kind", ["dictionary", "large_string", "string_view", "plain"])
def test_text_is_text_however_it_is_stored(tmp_path, small, kind):
    table = pa.Table.from_pandas(clicks()[["label", "city"]], preserve_index=False)
    types = {"dictionary": pa.dictionary(pa.int8(), pa.string()), "large_string": pa.large_string()}
    types |= {"string_view": pa.string_view(), "plain": pa.string()}
    array = (
        table["city"].dictionary_encode().cast(types[kind]) if kind == "dictionary" else table["city"].cast(types[kind])
    )
    pq.write_table(table.set_column(1, "city", array), tmp_path / "x.parquet", row_group_size=90, use_dictionary=False)
    stream = Dataset.from_parquet(tmp_path / "x.parquet", **FIELDS, context_cols=["city"])
    memory = Dataset(clicks(), **FIELDS, context_cols=["city"])
    np.testing.assert_array_equal(joined(stream)["city codes"], memory.context["city"].codes)


def test_categories_that_a_dictionary_names_but_no_row_has_are_not_there(tmp_path):
    city = pa.DictionaryArray.from_arrays(pa.array([2, None, 0], pa.int8()), pa.array(["a", "unused", "b"]))
    pq.write_table(pa.table({"label": [0, 1, 0], "city": city}), tmp_path / "x.parquet")
    stream = Dataset.from_parquet(tmp_path / "x.parquet", **FIELDS, context_cols=["city"])
    assert stream.context["city"].vocabulary.ids.tolist() == ["a", "b"]
    assert joined(stream)["city codes"].tolist() == [1, -1, 0]


def test_a_file_without_a_known_value_may_not_know_the_type(tmp_path):
    write(pd.DataFrame({"label": [0, 1], "city": ["b", "a"]}), tmp_path / "1.parquet")
    write(pd.DataFrame({"label": [1, 1], "city": [None, None]}), tmp_path / "2.parquet")
    assert str(pq.read_schema(tmp_path / "2.parquet").field("city").type) == "null"
    stream = Dataset.from_parquet(tmp_path, **FIELDS, context_cols=["city"])
    assert joined(stream)["city codes"].tolist() == [1, 0, -1, -1]


# -- files and row groups ----------------------------------------------------------------------------------------------


def test_a_file_a_folder_a_pattern_and_a_list_are_paths(folder):
    a, c = folder / "a.parquet", folder / "deep" / "c.parquet"
    assert len(Dataset.from_parquet(a)) == len(Dataset.from_parquet(str(a))) == 433
    for path in (folder, str(folder / "**" / "*.parquet"), [a, c], [a, folder], (str(folder / "a*"), c)):
        assert len(Dataset.from_parquet(path)) == N
    assert len(Dataset.from_parquet(str(folder / "*.parquet"))) == 433


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shards_are_disjoint_and_cover_all_rows(tmp_path, small, world):
    path = write(clicks().assign(label=0, device=np.arange(N)), tmp_path / "x.parquet", 60)
    options = {**FIELDS, "context_cols": ["device"]}
    shards = [Dataset.from_parquet(path, **options, shard=(rank, world)) for rank in range(world)]
    parts = [joined(shard)["device codes"] for shard in shards]
    assert [len(part) for part in parts] == [len(shard) for shard in shards]
    assert sorted(np.concatenate(parts)) == list(range(N))
    assert {shard.context["device"].size for shard in shards} == {N}


def test_small_row_groups_are_read_together_and_large_ones_in_chunks(tmp_path, small):
    path = write(clicks(), tmp_path / "x.parquet", 30)
    stream = Dataset.from_parquet(path)
    assert [piece.n_rows for piece in stream.stream.table.pieces] == [120] * 8 + [37]
    assert {len(rows) for rows in all_rows(stream)} == {37, 120 - 3 * 37}


def test_columns_without_a_role_are_not_read(tmp_path):
    path = write(clicks(), tmp_path / "x.parquet")
    stream = Dataset.from_parquet(path, **FIELDS, weight_col=None, context_cols=["device"])
    assert stream.stream.names == ["label", "device"]


def test_the_same_files_have_one_fingerprint_wherever_they_lie(tmp_path):
    one = write(clicks(), tmp_path / "1" / "x.parquet")
    same = write(clicks(), tmp_path / "2" / "y.parquet")
    other = write(clicks(seed=1), tmp_path / "3" / "x.parquet")
    prints = [Dataset.from_parquet(path).stream.fingerprint for path in (one, same, other)]
    prints.append(Dataset.from_parquet(one, context_cols=["city"]).stream.fingerprint)
    prints.append(Dataset.from_parquet(one, shard=(0, 2)).stream.fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


# -- what a stream is not ----------------------------------------------------------------------------------------------


def test_a_stream_is_a_data_set_that_shows_its_counts(folder):
    stream = Dataset.from_parquet(folder)
    assert isinstance(stream, StreamedDataset)
    assert Dataset.wrap(stream) is stream
    assert "997 interactions of 90 users with 50 items" in repr(stream)


@pytest.mark.parametrize(
    "use",
    [
        lambda data: data.user_codes,
        lambda data: data.item_codes,
        lambda data: data.positive,
        lambda data: data.histories(),
        lambda data: data.to_csr(),
        lambda data: data.to_frame(),
        lambda data: data.subset([0]),
        lambda data: data.filter(min_user_interactions=2),
        lambda data: data.report(),
    ],
)
def test_what_needs_all_rows_is_refused(folder, use):
    with pytest.raises(UnsupportedError, match=r"holds no rows, so it has no .*; rows that fit into memory"):
        use(Dataset.from_parquet(folder))


# -- errors ------------------------------------------------------------------------------------------------------------

N_BAD = 300
"""Rows of the files with wrong values, in row groups of 100."""
WRONG = {
    "missing rating": ("rating", {"rating": 1.5}, np.nan),
    "infinite rating": ("rating", {"rating": 1.5}, np.inf),
    "rating beyond float32": ("rating", {"rating": 1.5}, 1e300),
    "label": ("label", {"label": 1}, 2),
    "weight": ("weight", {"weight": 1.0}, -0.5),
    "missing user": ("user_id", {}, None),
    "missing item": ("item_id", {}, None),
    "infinite number": ("price", {"price": 0.5}, -np.inf),
    "fraction that is to be a category": ("whole", {"whole": 3.0}, 2.5),
}


@pytest.mark.parametrize(("column", "more", "value"), WRONG.values(), ids=WRONG)
def test_wrong_rows_raise_as_in_memory_with_their_number_in_the_whole_data(tmp_path, small, column, more, value):
    frame = pd.DataFrame({"user_id": ["a", "b", "c"] * 100, "item_id": ["x", "y", "z"] * 100, **more})
    values = frame[column].astype(object if value is None else type(value)).copy()
    values.iloc[[257, 171, 280]] = value
    frame[column] = values
    context = [name for name in ("price", "whole") if name in frame]
    options = {"context_cols": context, "encoders": {"whole": Categories()} if "whole" in frame else {}}
    with pytest.raises(DataError) as memory:
        Dataset(frame, **options)
    with pytest.raises(DataError) as stream:
        Dataset.from_parquet(write(frame, tmp_path / "x.parquet"), **options)
    assert str(stream.value) == str(memory.value)
    assert "has 3 " in str(stream.value)
    assert "row 171" in str(stream.value)


SHAPES = {
    "float ids": ({"user_id": [1.5]}, {}, "column 'user_id' holds floats, which are no ids"),
    "boolean ids": ({"item_id": [True]}, {}, "column 'item_id' holds bool; ids are integers or strings"),
    "text as ratings": ({"rating": ["5"]}, {}, "the rating column 'rating' holds string, not numbers"),
    "text as numbers": ({"x": ["5"]}, {"context_cols": ["x"], "numeric_cols": ["x"]}, "the numeric column 'x' holds"),
    "lists": ({"x": [[1, 2]]}, {"context_cols": ["x"]}, "column 'x' holds lists, which cannot be streamed"),
    "no such column": ({}, {"context_cols": ["x"]}, r"no column 'x' for the context in .*x.parquet; it has user_id"),
    "one id column": ({}, {"item_col": None}, "give both, or None for both"),
    "features without users": (
        {},
        {**FIELDS, "user_features": pd.DataFrame({"user_id": [1]})},
        "needs users and items",
    ),
    "unused numeric": ({}, {"numeric_cols": ["x"]}, "numeric_cols: 'x' is no column"),
    "unused encoder": ({}, {"encoders": {"x": Numbers()}}, "encoders: 'x' is no column"),
}


@pytest.mark.parametrize(("columns", "options", "message"), SHAPES.values(), ids=SHAPES)
def test_columns_that_do_not_fit_their_role_are_named(tmp_path, columns, options, message):
    path = write(pd.DataFrame({"user_id": [1], "item_id": [1], **columns}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        Dataset.from_parquet(path, **options)


def test_a_column_of_another_type_in_another_file_is_named_with_both(tmp_path):
    write(pd.DataFrame({"user_id": [1], "item_id": [1]}), tmp_path / "1.parquet")
    write(pd.DataFrame({"user_id": ["a"], "item_id": [1]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"'user_id' is int64 in .*1\.parquet and string in .*2\.parquet"):
        Dataset.from_parquet(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no Parquet at all", b"PAR1 and then nothing PAR1"])
def test_a_file_that_is_no_parquet_is_named(tmp_path, content):
    write(clicks(), tmp_path / "1.parquet")
    (tmp_path / "2.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"2\.parquet is no Parquet file or is damaged"):
        Dataset.from_parquet(tmp_path)


def test_a_damaged_row_group_is_named(tmp_path, small):
    path = write(clicks(), tmp_path / "x.parquet", compression="gzip")
    content = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(4).column(0).dictionary_page_offset
    content[at : at + 400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet: row groups 4 to 4 cannot be read"):
        Dataset.from_parquet(path)


def test_a_file_written_anew_after_the_pass_is_named(tmp_path):
    path = write(clicks(), tmp_path / "x.parquet")
    stream = Dataset.from_parquet(path)
    write(clicks(seed=1), path)
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match=r"x\.parquet has changed"):
        all_rows(stream)


def test_a_file_that_is_gone_after_the_pass_is_named(tmp_path):
    path = write(clicks(), tmp_path / "x.parquet")
    stream = Dataset.from_parquet(path)
    path.unlink()
    with pytest.raises(DataError, match=r"x\.parquet: row groups 0 to 9 cannot be read"):
        all_rows(stream)


def test_files_without_a_row_are_refused(tmp_path):
    write(clicks(0), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds no row in 1 Parquet files"):
        Dataset.from_parquet(tmp_path)


@pytest.mark.parametrize("path", ["nothing", "nothing-*.parquet", "."])
def test_a_path_without_files_is_named(tmp_path, path):
    with pytest.raises(DataError, match=r"is no file, no folder with .* and no pattern"):
        Dataset.from_parquet(tmp_path / path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (2, 2)}, r"shard=\(2, 2\) is not allowed; give \(rank, world\)"),
        ({"shard": (-1, 2)}, r"shard=\(-1, 2\)"),
        ({"shuffle_buffer": -1}, "shuffle_buffer=-1 is not allowed"),
        ({"shuffle_buffer": 1.5}, r"shuffle_buffer=1\.5 is not allowed"),
        ({"shuffle_buffer": True}, "shuffle_buffer=True is not allowed"),
    ],
)
def test_arguments_out_of_bounds_are_named(tmp_path, options, message):
    path = write(clicks(), tmp_path / "x.parquet")
    with pytest.raises(ParameterError, match=message):
        Dataset.from_parquet(path, **options)


def test_more_processes_than_row_groups_are_refused(tmp_path):
    path = write(clicks(), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="10 row groups cannot be shared by 11 processes; write smaller row groups"):
        Dataset.from_parquet(path, shard=(0, 11))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'pip install "recsys\[datasets\]"'):
        Dataset.from_parquet(tmp_path / "x.parquet")
