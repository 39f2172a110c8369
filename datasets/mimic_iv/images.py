"""Chest X-rays: the embeddings of frontal views, dated by the metadata of MIMIC-CXR.

The release "Generalized Image Embeddings for the MIMIC Chest X-Ray dataset" 1.0 has a TFRecord an image and no dates; those,
and the view, are in ``mimic-cxr-2.0.0-metadata.csv.gz`` of MIMIC-CXR-JPG. An image counts from the moment of its study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.cohort import CohortError
from datasets.mimic_iv.dated import Dated
from datasets.mimic_iv.records import find_file, parse_integer, read_rows
from datasets.mimic_iv.tfrecord import read_floats

WIDTH = 1376
FEATURE = "embedding"
FRONTAL = ("AP", "PA")
METADATA = "mimic-cxr-2.0.0-metadata"
_COLUMNS = ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime")
Progress = Callable[[str], None]


class _Image(NamedTuple):
    row: int
    subject: int
    study: int
    frontal: bool
    at: np.datetime64


def read_chest_images(cxr_root: Path, subjects: Iterable[int], progress: Progress | None = None) -> Dated:
    """Read the frontal images of ``subjects``, one row an image, by patient, moment and name; width 1376.

    ``event`` and ``known`` are the date and time of the study; an image has no admission (-1). What is left out is said to
    ``progress`` with its count: other views, images without a date, frontal images without a file of the embedding.

    Raises:
        CohortError: where ``files/`` or the metadata is missing or damaged, an image with an embedding is not in the metadata
            or stands there under another patient or study, or a TFRecord is damaged; naming file and row or record.
    """
    say = progress or (lambda line: None)
    root = Path(cxr_root)
    if not (root / "files").is_dir():
        raise CohortError(
            f"{root} has no folder files/: give the folder of the embeddings with files/pXX/pSUBJECT/sSTUDY/DICOM.tfrecord"
        )
    table = find_file([root], METADATA)
    if table is None:
        raise CohortError(
            f"{root}/{METADATA}.csv.gz is needed for the dates and views of the images; it comes with MIMIC-CXR-JPG (PhysioNet)"
        )
    wanted = {int(subject) for subject in subjects}
    listed = _read_metadata(table, wanted)
    chosen, undated, read = [], 0, set()
    for subject in sorted(wanted):
        for path in _list_files(root, subject):
            image = listed.get(path.stem)
            if image is None:
                raise CohortError(
                    f"{path} is not in {table}: its date and view are not known; fetch the metadata again"
                )
            if (f"p{image.subject}", f"s{image.study}") != (path.parent.parent.name, path.parent.name):
                raise CohortError(
                    f"{path} stands in {table}, row {image.row:,}, as subject {image.subject}, study {image.study}"
                )
            read.add(path.stem)
            if image.frontal and np.isnat(image.at):
                undated += 1
            elif image.frontal:
                chosen.append((image, path))
    chosen.sort(key=lambda pair: (pair[0].subject, pair[0].at, pair[1].name))
    vectors = np.empty((len(chosen), WIDTH), dtype=np.float32)
    for i, (_, path) in enumerate(chosen):
        vectors[i] = read_floats(path, FEATURE, WIDTH)
        if (i + 1) % 20_000 == 0:
            say(f"images: {i + 1:,} of {len(chosen):,} read")
    images = [image for image, _ in chosen]
    subject = np.array([image.subject for image in images], dtype=np.int64)
    absent = sum(image.frontal and name not in read for name, image in listed.items())
    say(
        f"images: {len(chosen):,} frontal images of {len(np.unique(subject)):,} patients, {len(read) - len(chosen) - undated:,} other "
        f"views, {undated:,} without a date, {absent:,} in the metadata without an embedding"
    )
    at = np.array([image.at for image in images], dtype="datetime64[s]")
    return Dated(subject, np.full(len(images), -1, dtype=np.int64), at, at.copy(), vectors)


def _list_files(root: Path, subject: int) -> list[Path]:
    return sorted((root / "files" / f"p{str(subject)[:2]}" / f"p{subject}").glob("s*/*.tfrecord"))


def _read_metadata(table: Path, wanted: set[int]) -> dict[str, _Image]:
    """Read the images of the wanted patients, by dicom_id."""
    listed = {}
    for number, (dicom, subject, study, view, date, time) in read_rows(table, _COLUMNS):
        patient = parse_integer(table, number, "subject_id", subject)
        if patient not in wanted:
            continue
        if dicom in listed:
            raise CohortError(
                f"{table}: row {number:,}: dicom_id {dicom} stands twice, first in row {listed[dicom].row:,}"
            )
        at = parse_study_moment(table, number, date, time)
        listed[dicom] = _Image(
            number, patient, parse_integer(table, number, "study_id", study), view.upper() in FRONTAL, at
        )
    return listed


def parse_study_moment(table: Path, number: int, date: str, time: str) -> np.datetime64:
    """Parse StudyDate (20170413) and StudyTime (hours, minutes, seconds and a fraction as one number: 93005.5 is 09:30:05) as
    datetime64[s]; NaT where the date is blank. Without a time the study counts from the end of its day.

    Raises:
        CohortError: naming the file and the row.
    """
    if not date:
        return np.datetime64("NaT", "s")
    clock = time.partition(".")[0].zfill(6) if time else "235959"
    text = f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}"
    try:
        if not (len(date) == 8 and date.isdigit() and len(clock) == 6 and clock.isdigit()):
            raise ValueError
        return np.datetime64(text, "s")
    except ValueError:
        raise CohortError(
            f"{table}: row {number:,}: StudyDate {date!r}, StudyTime {time!r} are no date and time"
        ) from None
