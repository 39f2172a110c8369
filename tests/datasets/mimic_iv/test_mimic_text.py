import csv
import gzip
import hashlib
import io

import numpy as np
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv import text
from datasets.mimic_iv.note_cache import FILE, NoteCache

HEAD = ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text"]
LATE = np.datetime64("2190-01-01", "s")


class Counting:
    """An encoder of four numbers from a hash of the text, which remembers what it was asked."""

    name, key, width, batch = "counting", "k1", 4, 1

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked += texts
        digests = [hashlib.sha256(t.encode()).digest()[:4] for t in texts]
        return np.array([list(d) for d in digests], dtype=np.float32).reshape(len(texts), 4)


def note(subject, words="Chest pain.", hadm="20000001", charted="2150-03-01 00:00:00", stored="2150-03-03 10:00:00"):
    return [f"{subject}-DS-1", subject, hadm, "DS", 1, charted, stored, words]


def write(root, rows, table="discharge", head=HEAD):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    path = root / "note" / f"{table}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(stream.getvalue().encode()))
    return path


def read(root, subjects=(1, 2), encoder=None, **options):
    return text.read_discharge_notes(root, np.array(subjects), encoder or Counting(), **options)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Name:  ___    Unit No: ___\nDr. ___ saw", "Name: Unit No: Dr. saw"),
        ("seen by [**First Name8 (NamePattern2) **]\nat ______", "seen by at"),
        ("IMPRESSION:\n==========\n1.  Effusion ----- small", "IMPRESSION: 1. Effusion small"),
        ("BP 120/80, pH 7.35; see follow_up", "BP 120/80, pH 7.35; see follow_up"),
        ("___", ""),
    ],
)
def test_marks_rules_and_blanks_are_cleaned(raw, cleaned):
    assert text.clean_text(raw) == cleaned


def test_a_note_has_its_admission_its_moments_and_its_vector(tmp_path):
    rows = [
        note(1, "Chest pain.\nWith \"quotes\", and commas."), note(3), note(2, "Fever ___.", hadm="", stored=""),
        note(2, "No moment.", charted="", stored=""),
    ]  # fmt: skip
    write(tmp_path, rows)
    encoder = Counting()
    found = read(tmp_path, encoder=encoder)
    assert found.subject.tolist() == [1, 2, 2]
    assert found.admission.tolist() == [20000001, -1, 20000001]
    assert found.event.astype(str).tolist() == ["2150-03-01T00:00:00", "2150-03-01T00:00:00", "NaT"]
    assert found.known.astype(str).tolist() == ["2150-03-03T10:00:00", "2150-03-01T00:00:00", "NaT"]
    assert encoder.asked == ['Chest pain. With "quotes", and commas.', "Fever ."]
    np.testing.assert_array_equal(found.vectors[:2], Counting().encode(encoder.asked))
    assert np.isnan(found.vectors[2]).all()


def test_radiology_reports_are_read_from_their_own_file(tmp_path):
    write(tmp_path, [note(1)], "radiology")
    assert len(text.read_radiology_notes(tmp_path, [1], Counting())) == 1
    with pytest.raises(CohortError, match=r"note/discharge.csv.gz of MIMIC-IV-Note is needed"):
        read(tmp_path)


def test_notes_after_the_last_landmark_are_listed_but_not_encoded(tmp_path):
    write(
        tmp_path,
        [
            note(1, "early"),
            note(1, "at it", stored="2150-03-05 00:00:00"),
            note(1, "late", stored="2150-03-06 00:00:00"),
        ],
    )
    encoder = Counting()
    found = read(tmp_path, encoder=encoder, until={1: np.datetime64("2150-03-05", "s")})
    assert encoder.asked == ["early"]
    assert np.isnan(found.vectors[1:]).all()
    assert len(found) == 3


def test_what_was_encoded_once_is_not_encoded_again(tmp_path):
    write(tmp_path, [note(1, "a"), note(1, "b"), note(2, "a")])
    encoder = Counting()
    first = read(tmp_path, encoder=encoder, cache=tmp_path / "cache")
    assert encoder.asked == ["a", "b"]
    write(tmp_path, [note(2, "c"), note(1, "a"), note(2, "b")])
    again = read(tmp_path, encoder=encoder, cache=tmp_path / "cache")
    assert encoder.asked == ["a", "b", "c"]
    np.testing.assert_array_equal(again.vectors[1:], first.vectors[:2])


def test_another_encoder_has_its_own_vectors(tmp_path):
    write(tmp_path, [note(1, "a")])
    first, second = Counting(), Counting()
    second.key = "k2"
    for encoder in (first, second):
        read(tmp_path, encoder=encoder, cache=tmp_path / "cache")
    assert first.asked == second.asked == ["a"]


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "CHUNK", 1)
    write(tmp_path, [note(1, word) for word in "abcde"])

    class Stopped(Counting):
        def encode(self, texts):
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, encoder=Stopped(), cache=tmp_path / "cache")
    encoder = Counting()
    found = read(tmp_path, encoder=encoder, cache=tmp_path / "cache")
    assert encoder.asked == ["d", "e"]
    np.testing.assert_array_equal(found.vectors, Counting().encode(list("abcde")))


def test_progress_says_how_many_how_fast_and_how_long(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "CHUNK", 1)
    monkeypatch.setattr(text, "SAY_EVERY", 0.0)
    write(tmp_path, [note(1, "a"), note(1, "b"), note(7, "c")])
    said = []
    read(tmp_path, progress=said.append, patients=[1, 2])
    assert said[0].startswith(
        "discharge: 3 notes, 2 of the cohort's patients, 2 of them known before the last landmark"
    )
    assert said[0].endswith("2 to encode")
    assert (
        said[1] == "discharge: 1 notes of subjects that are not in patients, left out (the first is row 3, note 7-DS-1)"
    )
    assert "1 of 2 notes encoded by counting" in said[2]
    assert "a second, about" in said[2]
    assert "2 of 2 notes" in said[3]


@pytest.mark.parametrize(("seconds", "words"), [(4, "4 s"), (125, "2 min"), (12_000, "3 h 20 min")])
def test_durations_are_said_in_words(seconds, words):
    assert text.format_duration(seconds) == words


def test_deleting_or_adding_a_note_changes_no_other(tmp_path):
    rows = [note(1, "a"), note(1, "b"), note(2, "c")]
    write(tmp_path, rows)
    both = read(tmp_path)
    write(tmp_path, [rows[0], note(1, "later", stored="2151-01-01 00:00:00"), rows[2]])
    other = read(tmp_path)
    np.testing.assert_array_equal(other.vectors[[0, 2]], both.vectors[[0, 2]])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["x-DS-1", "x", "2", "DS", 1, "2150-03-01", "", "a"], "row 2: subject_id 'x' is no whole number"),
        (note(1, hadm="2.5"), "row 2: hadm_id '2.5' is no whole number"),
        (note(1, stored="yesterday"), "row 2: storetime 'yesterday' is no date and time"),
        (note(1)[:-1], "row 2 has 7 fields, its head has 8"),
    ],
)
def test_a_row_at_fault_is_named(tmp_path, row, said):
    write(tmp_path, [note(1), row])
    with pytest.raises(CohortError, match=f"discharge.csv.gz: {said}") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_column_is_named(tmp_path):
    write(tmp_path, [note(1)], head=["storetime_" if name == "storetime" else name for name in HEAD])
    with pytest.raises(CohortError, match=r"discharge.csv.gz lacks column storetime; it has note_id"):
        read(tmp_path)


@pytest.mark.parametrize("where", [1, 2])
def test_a_note_that_is_not_utf8_is_named_by_row(tmp_path, where):
    path = write(tmp_path, [note(1, "fine\nnaïve ≥ 3"), note(where, "caf\u00e9 au lait")])
    content = gzip.decompress(path.read_bytes()).replace("caf\u00e9".encode(), b"caf\xe9")
    path.write_bytes(gzip.compress(content))
    with pytest.raises(
        CohortError, match=r"discharge.csv.gz: row 2: text is not UTF-8 \(byte 0xe9 at character 3\)"
    ) as error:
        read(tmp_path, subjects=[1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_file_is_named_with_the_last_row_read(tmp_path, keep):
    path = write(tmp_path, [note(1, str(np.random.default_rng(i).random(50))) for i in range(20)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        CohortError, match=r"discharge.csv.gz (is truncated or corrupt after row \d+|is empty)"
    ) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_plain_file_cut_in_a_note_is_named_by_row(tmp_path):
    path = write(tmp_path, [note(1), note(1, "two\nlines, one lost")])
    content = gzip.decompress(path.read_bytes())
    path.unlink()
    path.with_suffix("").write_bytes(content[:-8])
    with pytest.raises(CohortError, match=r"discharge.csv: row 2 is cut short or badly quoted"):
        read(tmp_path)


def test_faults_are_found_before_anything_is_encoded(tmp_path):
    write(tmp_path, [note(1), note(1, stored="never")])
    encoder = Counting()
    with pytest.raises(CohortError, match="row 2"):
        read(tmp_path, encoder=encoder)
    assert encoder.asked == []


def test_a_damaged_cache_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database, " * 100)
    with pytest.raises(CohortError, match=r"cache of notes .*notes.sqlite: .*; delete it") as error:
        NoteCache(tmp_path, "k", 4)
    assert "\n" not in str(error.value)
