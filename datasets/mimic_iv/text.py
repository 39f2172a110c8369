"""Notes of MIMIC-IV-Note: one vector a note, with the moments it was charted and entered the record.

Two passes over a file: the first reads every row, so that a fault is found before hours of encoding and the work is known; the
second encodes what the cache does not hold. Progress says how many notes are done, how fast, and for how long it will go on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.cohort import CohortError
from datasets.mimic_iv.dated import Dated
from datasets.mimic_iv.note_cache import NoteCache
from datasets.mimic_iv.records import find_file, parse_integer, parse_moment, read_rows

COLUMNS = ("note_id", "subject_id", "hadm_id", "charttime", "storetime", "text")
CHUNK = 100_000
"""Characters that are encoded between two commits of the cache, times the encoder's batch."""
SAY_EVERY = 10.0
"""Seconds between two lines of progress."""

_MARKS = re.compile(r"\[\*\*.*?\*\*\]|_{2,}|([=\-*#~.])\1{3,}", re.DOTALL)
Progress = Callable[[str], None]


class TextEncoder(Protocol):
    """What is needed of ``encoder.Encoder``."""

    name: str
    key: str
    width: int
    batch: int

    def encode(self, texts: list[str]) -> np.ndarray:
        """Encode each text as a vector: float32 [n, width]."""
        ...


def clean_text(text: str) -> str:
    """Return the text without de-identification marks (``___``, ``[** **]``), ruled lines and runs of blanks."""
    return " ".join(_MARKS.sub(" ", text).split())


def read_discharge_notes(
    note_root: Path,
    subjects: Iterable[int],
    encoder: TextEncoder,
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    until: Mapping[int, np.datetime64] | None = None,
    patients: Collection[int] | None = None,
    admissions: Collection[int] | None = None,
) -> Dated:
    """Read the discharge summaries of ``subjects`` in ``note/discharge.csv.gz``, in the order of the file.

    ``known`` is the note's ``storetime``, else its ``charttime``; NaT where it has neither. ``cache`` is a folder (None: nothing
    is kept). ``until``, a moment by subject, is the last landmark of interest: a note known at or after it is listed, not
    encoded, and its vector is NaN; so is that of a note without a moment. ``patients`` are the subjects of the patients table:
    a note of another one is counted and said to ``progress``, as notes and tables of different versions are known to differ.
    Where ``admissions`` are given, a note of none of them is listed, not encoded.

    Raises:
        CohortError: naming the file, and the column it lacks or the row at fault (cut short, not UTF-8, an id that is none).
    """
    return _read_notes("discharge", note_root, subjects, encoder, cache, progress, until, patients, admissions)


def read_radiology_notes(
    note_root: Path,
    subjects: Iterable[int],
    encoder: TextEncoder,
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    until: Mapping[int, np.datetime64] | None = None,
    patients: Collection[int] | None = None,
) -> Dated:
    """Read the radiology reports of ``subjects`` in ``note/radiology.csv.gz``; all else as in ``read_discharge_notes``."""
    return _read_notes("radiology", note_root, subjects, encoder, cache, progress, until, patients)


@dataclass
class _Listed:
    """What the first pass finds: one entry a note of the subjects, and counts."""

    subject: list[int] = field(default_factory=list)
    admission: list[int] = field(default_factory=list)
    event: list[np.datetime64] = field(default_factory=list)
    known: list[np.datetime64] = field(default_factory=list)
    key: list[bytes | None] = field(default_factory=list)
    todo: dict[int, bytes] = field(default_factory=dict)
    characters: int = 0
    rows: int = 0
    blank: int = 0
    strange: int = 0
    first_strange: str = ""


def _read_notes(
    table: str,
    note_root: Path,
    subjects: Iterable[int],
    encoder: TextEncoder,
    cache: Path | None,
    progress: Progress | None,
    until: Mapping[int, np.datetime64] | None,
    patients: Collection[int] | None,
    admissions: Collection[int] | None = None,
) -> Dated:
    say = progress or (lambda line: None)
    root = Path(note_root)
    path = find_file([root / "note", root], table)
    if path is None:
        raise CohortError(f"{root}: note/{table}.csv.gz of MIMIC-IV-Note is needed")
    vectors = NoteCache(None if cache is None else Path(cache), encoder.key, encoder.width)
    try:
        known_patients = None if patients is None else {int(p) for p in patients}
        own = None if admissions is None else {int(a) for a in admissions}
        listed = _list_notes(path, {int(s) for s in subjects}, vectors, until, known_patients, own)
        _report_listed(say, table, listed)
        _encode_notes(path, listed, encoder, vectors, lambda line: say(f"{table}: {line}"))
        values = np.full((len(listed.key), encoder.width), np.nan, dtype=np.float32)
        for i, key in enumerate(listed.key):
            if key is not None:
                values[i] = vectors.get(key)
    finally:
        vectors.close()
    return Dated(
        np.array(listed.subject, dtype=np.int64),
        np.array(listed.admission, dtype=np.int64),
        np.array(listed.event, dtype="datetime64[s]"),
        np.array(listed.known, dtype="datetime64[s]"),
        values,
    )


def _list_notes(
    path: Path,
    wanted: set[int],
    vectors: NoteCache,
    until: Mapping[int, np.datetime64] | None,
    patients: set[int] | None,
    admissions: set[int] | None,
) -> _Listed:
    listed, planned = _Listed(), set()
    for number, (note, subject, hadm, charted, stored, text) in read_rows(path, COLUMNS):
        listed.rows = number
        patient = parse_integer(path, number, "subject_id", subject)
        if patients is not None and patient not in patients:
            listed.strange += 1
            listed.first_strange = listed.first_strange or f"row {number:,}, note {note}"
        if patient not in wanted:
            continue
        text = clean_text(text)
        if not text:
            listed.blank += 1
            continue
        event = parse_moment(path, number, "charttime", charted)
        known = parse_moment(path, number, "storetime", stored)
        known = event if np.isnat(known) else known
        listed.subject.append(patient)
        listed.admission.append(parse_integer(path, number, "hadm_id", hadm) if hadm else -1)
        listed.event.append(event)
        listed.known.append(known)
        late = np.isnat(known) or (until is not None and patient in until and not known < until[patient])
        other = admissions is not None and listed.admission[-1] not in admissions
        key = None if late or other else vectors.key(text)
        listed.key.append(key)
        if key is not None and key not in planned and key not in vectors:
            planned.add(key)
            listed.todo[number] = key
            listed.characters += len(text)
    return listed


def _report_listed(say: Progress, table: str, listed: _Listed) -> None:
    encoded = sum(key is not None for key in listed.key)
    undated = int(np.isnat(np.array(listed.known, dtype="datetime64[s]")).sum())
    say(
        f"{table}: {listed.rows:,} notes, {len(listed.key):,} of the cohort's patients, {encoded:,} of them known before the last "
        f"landmark, {undated:,} without a moment, {listed.blank:,} blank, {len(listed.todo):,} to encode"
    )
    if listed.strange:
        say(
            f"{table}: {listed.strange:,} notes of subjects that are not in patients, left out (the first is {listed.first_strange})"
        )


def _encode_notes(path: Path, listed: _Listed, encoder: TextEncoder, vectors: NoteCache, say: Progress) -> None:
    began = said = time.monotonic()
    notes = characters = 0
    for keys, texts in _split_chunks(path, listed.todo, CHUNK * encoder.batch):
        vectors.put(keys, encoder.encode(texts))
        notes += len(texts)
        characters += sum(map(len, texts))
        now = time.monotonic()
        if now - said >= SAY_EVERY or notes == len(listed.todo):
            said, spent = now, max(now - began, 1e-9)
            left = spent / characters * (listed.characters - characters)
            more = (
                f", about {format_duration(left)} left" if notes < len(listed.todo) else f" in {format_duration(spent)}"
            )
            say(
                f"{notes:,} of {len(listed.todo):,} notes encoded by {encoder.name}, {notes / spent:,.1f} a second{more}"
            )


def _split_chunks(path: Path, todo: Mapping[int, bytes], size: int) -> Iterator[tuple[list[bytes], list[str]]]:
    """Yield keys and clean texts of the rows in ``todo``, about ``size`` characters at a time."""
    keys, texts, characters, left = [], [], 0, len(todo)
    if not todo:
        return
    for number, (text,) in read_rows(path, ("text",)):
        if number not in todo:
            continue
        keys.append(todo[number])
        texts.append(clean_text(text))
        characters, left = characters + len(texts[-1]), left - 1
        if characters >= size or not left:
            yield keys, texts
            keys, texts, characters = [], [], 0
        if not left:
            return


def format_duration(seconds: float) -> str:
    """Write a length of time in words: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
