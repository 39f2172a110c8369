"""Read a CSV table row by row, with texts of many lines in it, so that every fault names the file and the row.

DuckDB reads the tables of numbers; here a row is a note of pages, must be named when it is at fault, and goes one by one to
an encoder that is a thousand times slower than this reader.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from datasets.cohort import CohortError

LONGEST = 1 << 27
"""A field of more characters than this is taken as a quotation mark that was never closed."""
NO_TIME = np.datetime64("NaT", "s")


def find_file(folders: Sequence[Path], name: str) -> Path | None:
    """Return ``name``.csv.gz, else ``name``.csv, in the first of ``folders`` that has one."""
    paths = (folder / (name + ending) for folder in folders for ending in (".csv.gz", ".csv"))
    return next((path for path in paths if path.is_file()), None)


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row (1 is the first below the head) and its values of ``columns``, without blanks around them.

    Raises:
        CohortError: naming the file, and the column it lacks, or the row that is ragged, badly quoted, not UTF-8 or the
            last one before the file breaks off.
    """
    csv.field_size_limit(LONGEST)
    number = 0
    try:
        with path.open("rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
            decoded = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
            reader = csv.reader(decoded, strict=True)
            head = [name.strip().lower() for name in next(reader, [])]
            if not head:
                raise CohortError(f"{path} is empty; its first line must name the columns")
            head[0] = head[0].removeprefix("\ufeff")
            lacking = [column for column in columns if column.lower() not in head]
            if lacking:
                raise CohortError(f"{path} lacks column {lacking[0]}; it has {', '.join(head)}")
            places = [head.index(column.lower()) for column in columns]
            for row in reader:
                if not row:
                    continue
                number += 1
                if len(row) != len(head):
                    raise CohortError(f"{path}: row {number:,} has {len(row)} fields, its head has {len(head)}")
                values = [row[place].strip() for place in places]
                for column, value in zip(columns, values, strict=True):
                    if not value.isascii():
                        _check_utf8(path, number, column, value)
                yield number, values
    except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        raise CohortError(
            f"{path} is truncated or corrupt after row {number:,} ({' '.join(str(error).split())}); fetch it again"
        ) from None
    except csv.Error as error:
        raise CohortError(
            f"{path}: row {number + 1:,} is cut short or badly quoted ({error}); fetch it again"
        ) from None


def _check_utf8(path: Path, number: int, column: str, value: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(value[error.start]) & 0xFF
        raise CohortError(
            f"{path}: row {number:,}: {column} is not UTF-8 (byte 0x{byte:02x} at character {error.start:,}); convert a copy to UTF-8"
        ) from None


def parse_integer(path: Path, number: int, column: str, value: str) -> int:
    """Parse a value as an integer.

    Raises:
        CohortError: naming the file, the row and the column.
    """
    try:
        return int(value)
    except ValueError:
        raise CohortError(f"{path}: row {number:,}: {column} {value!r} is no whole number") from None


def parse_moment(path: Path, number: int, column: str, value: str) -> np.datetime64:
    """Parse a value such as 2180-05-07 12:30:00 as datetime64[s]; NaT where it is blank.

    Raises:
        CohortError: naming the file, the row and the column.
    """
    if not value:
        return NO_TIME
    try:
        return np.datetime64(datetime.fromisoformat(value).replace(tzinfo=None), "s")
    except ValueError:
        raise CohortError(f"{path}: row {number:,}: {column} {value!r} is no date and time") from None
