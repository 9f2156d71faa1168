"""Parquet files as one table of row groups: found, checked to be of one schema, read a few row groups at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

from recsys.data import frames
from recsys.errors import DataError, ParameterError

PIECE_ROWS = 65_536
"""Row groups smaller than this are read together, as many as it takes."""
Paths = str | Path | Sequence[str | Path]


def arrow() -> Any:
    """The package pyarrow, which is optional, with its Parquet part."""
    try:
        import pyarrow.parquet  # noqa: PLC0415 (optional)  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise DataError('Dataset.from_parquet needs pyarrow: pip install "recsys[datasets]"') from error
    return pyarrow


@dataclass(frozen=True)
class ParquetFile:
    """One file: its footer, and what its size and time were when the footer was read."""

    path: Path
    footer: Any
    stamp: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> "ParquetFile":
        """Read the footer of a file; one that is no Parquet is named."""
        pa = arrow()
        try:
            return cls(path, pa.parquet.read_metadata(path), stamp(path))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} is no Parquet file or is damaged ({error}); write it again") from error

    def read(self, groups: Sequence[int], columns: Sequence[str], dictionaries: Sequence[str]) -> Any:
        """Some columns of some row groups; text columns among `dictionaries` come as dictionaries and codes."""
        pa = arrow()
        try:
            changed = stamp(self.path) != self.stamp
            if not changed:
                with pa.parquet.ParquetFile(
                    self.path, metadata=self.footer, read_dictionary=list(dictionaries), pre_buffer=True
                ) as file:
                    return file.read_row_groups(list(groups), list(columns))
        except (OSError, pa.ArrowException) as error:
            where = f"row groups {groups[0]} to {groups[-1]}"
            raise DataError(f"{self.path}: {where} cannot be read ({error}); write the file again") from error
        raise DataError(f"{self.path} has changed since its vocabularies were read; call Dataset.from_parquet again")

    def footer_bytes(self) -> bytes:
        """The footer as it is written: where each column chunk lies, its size and the range of its values."""
        with self.path.open("rb") as file:
            file.seek(-8 - self.footer.serialized_size, 2)
            return file.read(self.footer.serialized_size)


@dataclass(frozen=True)
class Piece:
    """Row groups of one file, read at once; `first` is the number of their first row in the whole data."""

    file: int
    groups: tuple[int, ...]
    first: int
    n_rows: int


class ParquetTable:
    """The rows of all files, one file after the other, in the order of their names.

    `path` is a file, a folder with everything below it, a pattern such as "clicks/*.parquet", or a list of these.
    `pieces` are what is read at once. `shard=(rank, world)` takes every `world`-th row group from the `rank`-th on, as
    `shard_pieces`: disjoint, and together all of them.
    """

    def __init__(self, path: Paths, shard: tuple[int, int] = (0, 1)):
        # Without pyarrow nothing else matters.
        arrow()
        self.shard = check_shard(shard)
        self.files = [ParquetFile.open(one) for one in find_files(path)]
        self.schemas = [file.footer.schema.to_arrow_schema() for file in self.files]
        self.names: list[str] = list(self.schemas[0].names)
        if len(set(self.names)) < len(self.names):
            raise DataError(
                f"two columns of {self.files[0].path} have one name: {frames.listed(sorted(self.names))}; rename one"
            )
        if self.n_rows == 0:
            raise DataError(f"{path} holds no row in {len(self.files)} Parquet files; give at least one row")
        self.pieces, self.shard_pieces = self.pieces_of(0, 1), self.pieces_of(*self.shard)

    @cached_property
    def n_rows(self) -> int:
        """Rows of all files, of every shard."""
        return sum(file.footer.num_rows for file in self.files)

    def type_of(self, name: str, role: str) -> Any:
        """The one type that a column has in all files; dictionaries and kinds of text count as what they stand for."""
        pa = arrow()
        found: Any = None
        for file, schema in zip(self.files, self.schemas, strict=True):
            if name not in schema.names:
                there = frames.listed(schema.names)
                raise DataError(
                    f"there is no column {name!r} for the {role} in {file.path}; it has {there}: name one, or rename it"
                )
            here = plain_type(schema.field(name).type)
            # A file in which every value is missing may not know what they would be.
            if found is not None and here != found[0] and not pa.types.is_null(here):
                raise DataError(
                    f"column {name!r} is {found[0]} in {found[1]} and {here} in {file.path}; write both with one type"
                )
            if found is None and not pa.types.is_null(here):
                found = here, file.path
        return pa.null() if found is None else found[0]

    def pieces_of(self, rank: int, world: int) -> list[Piece]:
        """What is read at once of every `world`-th row group from the `rank`-th on."""
        every: list[Piece] = []
        for at, file in enumerate(self.files):
            for group in range(file.footer.num_row_groups):
                first = every[-1].first + every[-1].n_rows if every else 0
                every.append(Piece(at, (group,), first, file.footer.row_group(group).num_rows))
        every = [piece for piece in every if piece.n_rows]
        if len(every) < world:
            raise DataError(f"{len(every)} row groups cannot be shared by {world} processes; write smaller row groups")
        return merge(every[rank::world])

    def read(self, piece: Piece, columns: Sequence[str]) -> Any:
        """Some columns of a piece as a pyarrow table."""
        pa = arrow()
        schema = self.schemas[piece.file]
        texts = [name for name in columns if pa.types.is_string(plain_type(schema.field(name).type))]
        return self.files[piece.file].read(piece.groups, columns, texts)


def find_files(path: Paths) -> list[Path]:
    """The files that a path, a folder, a pattern or a list of them stands for, each once, by name."""
    if not isinstance(path, str | Path):
        return list(dict.fromkeys(file for one in path for file in find_files(one)))
    at = Path(path)
    if at.is_dir():
        found = sorted(at.rglob("*.parquet"))
    else:
        found = [at] if at.exists() else sorted(Path(one) for one in glob(str(path), recursive=True))
    if not found:
        raise DataError(f"{path} is no file, no folder with *.parquet files and no pattern that some file matches")
    return found


def check_shard(shard: tuple[int, int]) -> tuple[int, int]:
    """Rank and number of processes that fit each other."""
    rank, world = shard
    if not 0 <= rank < world:
        raise ParameterError(
            f"Dataset.from_parquet: shard={shard!r} is not allowed; give (rank, world), 0 <= rank < world"
        )
    return rank, world


def merge(pieces: Sequence[Piece]) -> list[Piece]:
    """Small pieces of one file made one, up to `PIECE_ROWS` rows: reading has a cost a time beside its cost a row."""
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else piece
        if merged and last.file == piece.file and last.n_rows + piece.n_rows <= PIECE_ROWS:
            merged[-1] = Piece(last.file, last.groups + piece.groups, last.first, last.n_rows + piece.n_rows)
        else:
            merged.append(piece)
    return merged


def plain_type(kind: Any) -> Any:
    """The type of the values: of a dictionary's values, and one type for all kinds of text."""
    pa = arrow()
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    return pa.string() if str(kind) in ("large_string", "string_view") else kind


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, which tell that it was written anew."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns
