"""What was encoded once: vectors by a hash of the encoder and the text, in one SQLite file, kept as they come."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datasets.cohort import CohortError

FILE = "notes.sqlite"


class NoteCache:
    """The vectors of one encoder in a folder; None keeps them for as long as the object lives.

    Each ``put`` is on disk when it returns: a run that was stopped goes on from there. A text comes back under the same
    encoder only, whatever file or patient it came from.

    Raises:
        CohortError: where the file is damaged or cannot be written.
    """

    def __init__(self, folder: Path | None, encoder_key: str, width: int) -> None:
        self._salt, self._width = encoder_key.encode() + b"\0", width
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._path = ":memory:" if folder is None else str(folder / FILE)
        with self._named():
            self._con = sqlite3.connect(self._path, timeout=60)
            self._con.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise CohortError(f"cache of notes {self._path}: {error}; delete it to encode the notes again") from None

    def key(self, text: str) -> bytes:
        """Return the key of a text under this encoder."""
        return hashlib.sha256(self._salt + text.encode()).digest()

    def __contains__(self, key: bytes) -> bool:
        with self._named():
            return self._con.execute("SELECT 1 FROM vectors WHERE key = ?", (key,)).fetchone() is not None

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Store float32 [n, width] under n keys."""
        rows = [(key, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors, strict=True)]
        with self._named(), self._con:
            self._con.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def get(self, key: bytes) -> np.ndarray:
        """Return the vector under a key that is there, float32 [width]."""
        with self._named():
            (blob,) = self._con.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
        if len(blob) != 4 * self._width:
            raise CohortError(
                f"cache of notes {self._path}: a vector has {len(blob)} bytes, not {4 * self._width}; delete it"
            )
        return np.frombuffer(blob, dtype="<f4").astype(np.float32)

    def close(self) -> None:
        """Close the file."""
        self._con.close()
