"""Open a raw table of a release with DuckDB: by its official name, every column as text, faults named in one line.

A table is ``NAME.csv`` or ``NAME.csv.gz`` under the release's folder; NAME may begin with a folder (``hosp/patients``).
Names are matched whatever their case. Columns are read by the names in the header, so their order does not matter. An
empty or blank field is NULL; a number that cannot be read is NULL.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from datasets.cohort import CohortError

SUFFIXES = (".csv.gz", ".csv")


def text(column: str) -> str:
    """Return SQL for a column as trimmed text, NULL where it is blank."""
    return f"nullif(trim({column}), '')"


def number(column: str) -> str:
    """Return SQL for a column as a number, NULL where it is blank or no number."""
    return f"TRY_CAST({text(column)} AS DOUBLE)"


def identifier(column: str) -> str:
    """Return SQL for an identifier as a 64-bit integer, NULL where it is blank or no integer."""
    return f"TRY_CAST({text(column)} AS BIGINT)"


def literal(value: str) -> str:
    """Return SQL for a text constant."""
    return "'" + value.replace("'", "''") + "'"


class Release:
    """The folder of one release; ``holds`` says what lies in it, for the error where it does not exist.

    Raises:
        CohortError: where the folder does not exist.
    """

    def __init__(self, root: Path, holds: str = "its tables") -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise CohortError(f"{self.root} is no folder; give the folder that holds {holds}")
        self._files: dict[Path, list[Path]] = {}

    def _list_files(self, folder: Path) -> list[Path]:
        if folder not in self._files:
            there = folder.iterdir() if folder.is_dir() else ()
            self._files[folder] = sorted(p for p in there if p.name.lower().endswith(SUFFIXES))
        return self._files[folder]

    def path(self, table: str) -> Path:
        """Return the file of ``table``; ``.csv.gz`` where both forms lie there.

        Raises:
            CohortError: where it is missing, or stands twice under names that differ only in case.
        """
        wanted = self.root / table
        for suffix in SUFFIXES:
            files = [p for p in self._list_files(wanted.parent) if p.name.lower() == (wanted.name + suffix).lower()]
            if len(files) > 1:
                raise CohortError(
                    f"table {table} stands twice in {self.root}: {', '.join(p.name for p in files)}; keep one"
                )
            if files:
                return files[0]
        raise CohortError(f"table {table} is missing from {self.root}: {table}.csv.gz (or {table}.csv) is needed")

    def header(self, table: str) -> list[str]:
        """Return the column names of ``table`` in the order of the file, in lower case.

        Raises:
            CohortError: where the first line cannot be read, is empty, or names a column twice.
        """
        path = self.path(table)
        try:
            opener = gzip.open if path.name.lower().endswith(".gz") else open
            with opener(path, "rt", encoding="utf-8-sig") as stream:
                line = stream.readline()
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise CohortError(f"table {table}: {path.name} cannot be read ({error}); fetch it again") from None
        names = [name.strip().strip('"').lower() for name in line.rstrip("\r\n").split(",")]
        if names == [""]:
            raise CohortError(f"table {table}: {path.name} is empty; its first line must name the columns")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise CohortError(f"table {table}: column {twice[0]} stands twice in the first line of {path.name}")
        return names

    def scan(self, table: str, columns: Iterable[str]) -> str:
        """Return SQL for the rows of ``table``, all columns as text; to stand after FROM.

        Raises:
            CohortError: naming the table and the first of ``columns`` that it lacks.
        """
        names = self.header(table)
        for column in columns:
            if column not in names:
                raise CohortError(
                    f"table {table} lacks column {column}; {self.path(table).name} has {', '.join(names)}"
                )
        struct = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        return (
            f"read_csv({literal(str(self.path(table)))}, columns = {{{struct}}}, auto_detect = false, header = true, "
            "delim = ',', quote = '\"', escape = '\"', nullstr = '', null_padding = false, ignore_errors = false)"
        )

    @contextmanager
    def reading(self, table: str) -> Iterator[None]:
        """Turn a fault of the file of ``table``, in a block that reads it, into one line that names it.

        Raises:
            CohortError: where the file is truncated, corrupt or has a row of another width.
        """
        try:
            yield
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "unknown fault")
            detail = [x.strip() for x in str(error).splitlines() if x.strip().startswith("Expected Number of Columns")]
            raise CohortError(
                f"table {table}: {self.path(table).name} is truncated or corrupt ({'; '.join([reason, *detail])}); fetch it again"
            ) from None


def connect(scratch: Path, memory: str = "3GB", threads: int = 2) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB database on disk in ``scratch``, which also takes what does not fit into ``memory``."""
    con = duckdb.connect(str(scratch / "staged.duckdb"))
    con.execute(f"SET memory_limit = {literal(memory)}")
    con.execute(f"SET threads = {int(threads)}")
    con.execute(f"SET temp_directory = {literal(str(scratch / 'spill'))}")
    con.execute("SET preserve_insertion_order = false")
    con.execute("SET enable_progress_bar = false")
    return con
