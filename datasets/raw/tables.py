"""Open a raw table of a release with DuckDB: by its official name, every column as text, faults named in one line.

A table is ``NAME.csv`` or ``NAME.csv.gz`` under the release's folder; NAME may begin with a folder (``hosp/patients``).
Names are matched whatever their case. Columns are read by the names in the header, so their order does not matter. An
empty or blank field is NULL; a number that cannot be read is NULL.
"""

from __future__ import annotations

import csv
import glob
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import duckdb

from datasets.cohort import CohortError
from datasets.raw.checksums import LIST, compute_digest, read_checksums

SUFFIXES = (".csv.gz", ".csv")
EXAMPLE = 60
"""Characters of a value that an error shows."""


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

    A builder's release names ``owner``, the column of its event tables that says whose a row is; ``read_moment``, SQL for a column of
    moments, NULL where one is blank or unreadable; and ``moment_form``, how a moment is written.

    Raises:
        CohortError: where the folder does not exist.
    """

    owner = ""
    moment_form = ""
    read_moment = staticmethod(number)

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
            # As bytes: decoding a stream would also judge the rows after the first line.
            with _open_bytes(path) as stream:
                line = stream.readline().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise CohortError(f"table {table}: {self._describe_encoding(path, [])}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise CohortError(f"table {table}: {path.name} cannot be read ({error}); {self._advise(path)}") from None
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
        # The engine takes a path for a pattern ("eicu[12]" would be read from a folder "eicu1" next to it), and what follows a
        # question mark for no part of the name, so it would not see the ending either.
        path = glob.escape(str(self.path(table)))
        compression = "gzip" if path.lower().endswith(".gz") else "none"
        return (
            f"read_csv({literal(path)}, columns = {{{struct}}}, auto_detect = false, header = true, "
            "delim = ',', quote = '\"', escape = '\"', nullstr = '', null_padding = false, ignore_errors = false, "
            f"compression = '{compression}')"
        )

    @contextmanager
    def reading(self, table: str) -> Iterator[None]:
        """Turn a fault of the file of ``table``, in a block that reads it, into one line that names it.

        Raises:
            CohortError: where the file is truncated, corrupt, not UTF-8 or has a row of another width.
        """
        try:
            yield
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            path = self.path(table)
            # A block may read a second table that is joined to it: the engine says of which file it speaks.
            said = re.search(r"^\s*file = (.+?)\s*$", str(error), re.MULTILINE)
            if said and Path(said[1]) != path and Path(said[1]).is_relative_to(self.root):
                path = Path(said[1])
                table = re.sub(r"\.csv(\.gz)?$", "", path.relative_to(self.root).as_posix(), flags=re.IGNORECASE)
            if "not utf-8" in str(error).lower():
                raise CohortError(f"table {table}: {self._describe_encoding(path, self.header(table))}") from None
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "unknown fault")
            detail = [x.strip() for x in str(error).splitlines() if x.strip().startswith("Expected Number of Columns")]
            raise CohortError(
                f"table {table}: {path.name} is truncated or corrupt ({'; '.join([reason, *detail])}); {self._advise(path)}"
            ) from None

    def is_as_released(self, path: Path) -> bool:
        """Return whether the checksum of a file of the release is the one that the release's own list has for it."""
        if not (self.root / LIST).is_file():
            return False
        return read_checksums(self.root / LIST).get(path.relative_to(self.root).as_posix()) == compute_digest(path)

    def _advise(self, path: Path) -> str:
        if self.is_as_released(path):
            return f"it is as released, by {LIST}: the fault is not in the transfer"
        return "fetch it again"

    def _describe_encoding(self, path: Path, names: list[str]) -> str:
        """Return where a file is first not UTF-8: line, column where it can be told, and the value."""
        found = ""
        with suppress(OSError, EOFError, zlib.error), _open_bytes(path) as stream:
            for line_number, line in enumerate(stream, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    fields = next(csv.reader([line.decode("utf-8", "surrogateescape")]))
                    place, value = next((i, x) for i, x in enumerate(fields) if _escape(x) != x)
                    column = f", column {names[place]}" if place < len(names) else ""
                    found = f" (line {line_number:,}{column}, e.g. {_escape(value.strip())[:EXAMPLE]!r})"
                    break
        what = "it is as released; convert a copy" if self.is_as_released(path) else "convert it"
        return f"{path.name} is not UTF-8{found}; {what}, as by iconv -f latin1 -t utf-8"


def _open_bytes(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _escape(value: str) -> str:
    """Return a text decoded with ``surrogateescape``, its undecodable bytes written as escapes (``\\xe9``)."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def connect(scratch: Path, memory: str = "3GB", threads: int = 2) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB database on disk in ``scratch``, which also takes what does not fit into ``memory``."""
    con = duckdb.connect(str(scratch / "staged.duckdb"))
    con.execute(f"SET memory_limit = {literal(memory)}")
    con.execute(f"SET threads = {int(threads)}")
    con.execute(f"SET temp_directory = {literal(str(scratch / 'spill'))}")
    con.execute("SET preserve_insertion_order = false")
    con.execute("SET enable_progress_bar = false")
    return con
