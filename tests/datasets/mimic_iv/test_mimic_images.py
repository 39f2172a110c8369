import csv
import gzip

import numpy as np
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv.images import WIDTH, parse_study_moment, read_chest_images
from datasets.mimic_iv.tfrecord import make_example, write_records

HEAD = [
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime",
]  # fmt: skip
METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"


class Release:
    """A release of embeddings to be written: image i is the vector of i's."""

    def __init__(self, root):
        self.root, self.rows = root, []
        (root / "files").mkdir(parents=True)

    def add(
        self, name, subject, study, view="AP", date="21500301", time="93005.5", *, value=1.0, embedded=True, listed=True
    ):
        path = self.root / "files" / f"p{str(subject)[:2]}" / f"p{subject}" / f"s{study}" / f"{name}.tfrecord"
        if embedded:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_records(path, [make_example({"embedding": np.full(WIDTH, value)})])
        if listed:
            self.rows.append((name, subject, study, "CHEST", view, 2544, 3056, date, time))
        return path

    def write(self, head=HEAD):
        with gzip.open(self.root / METADATA, "wt", newline="") as stream:
            csv.writer(stream).writerows([head, *self.rows])
        return self.root


@pytest.fixture
def release(tmp_path):
    return Release(tmp_path / "cxr")


def test_frontal_views_come_dated_one_row_an_image(release):
    release.add("b", 10000001, 51, "PA", "21500301", "93005.5", value=2)
    release.add("a", 10000001, 51, "AP", "21500301", "93005.5", value=1)
    release.add("c", 10000001, 50, "AP", "21490101", "1.0", value=3)
    release.add("side", 10000001, 50, "LATERAL")
    release.add("unknown", 10000001, 50, "")
    release.add("undated", 10000001, 50, date="")
    release.add("absent", 10000001, 50, embedded=False)
    release.add("other", 10000002, 52)
    said = []
    found = read_chest_images(release.write(), np.array([10000001]), said.append)
    assert found.vectors[:, 0].tolist() == [3, 1, 2]
    assert found.vectors.shape == (3, WIDTH)
    assert found.subject.tolist() == [10000001] * 3
    assert found.admission.tolist() == [-1] * 3
    assert found.event.astype(str).tolist() == ["2149-01-01T00:00:01", "2150-03-01T09:30:05", "2150-03-01T09:30:05"]
    assert (found.known == found.event).all()
    assert said == [
        "images: 3 frontal images of 1 patients, 2 other views, 1 without a date, 1 in the metadata without an embedding"
    ]


def test_patients_without_images_are_no_fault(release):
    release.add("a", 10000001, 50)
    assert len(read_chest_images(release.write(), [10000009])) == 0


@pytest.mark.parametrize(
    ("date", "time", "moment"),
    [
        ("21800506", "213014.531", "2180-05-06T21:30:14"), ("21800506", "130", "2180-05-06T00:01:30"),
        ("21800506", "", "2180-05-06T23:59:59"), ("", "130", "NaT"),
    ],
)  # fmt: skip
def test_a_study_has_a_moment(tmp_path, date, time, moment):
    assert str(parse_study_moment(tmp_path, 1, date, time)) == moment


@pytest.mark.parametrize(
    ("date", "time"),
    [("2180", "130"), ("21801306", "130"), ("21800506", "93"), ("21800506", "noon"), ("21800506", "996100")],
)
def test_a_moment_that_is_none_names_its_row(tmp_path, date, time):
    with pytest.raises(CohortError, match=r"metadata.csv.gz: row 7: StudyDate"):
        parse_study_moment(tmp_path / METADATA, 7, date, time)


def test_missing_metadata_is_asked_for_by_name(release):
    release.add("a", 10000001, 50)
    with pytest.raises(CohortError, match=r"mimic-cxr-2.0.0-metadata.csv.gz is needed for the dates and views"):
        read_chest_images(release.root, [10000001])


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CohortError, match="has no folder files/"):
        read_chest_images(tmp_path, [1])


def test_an_image_that_the_metadata_does_not_know_is_named(release):
    release.add("a", 10000001, 50)
    release.add("stray", 10000001, 50, listed=False)
    with pytest.raises(CohortError, match=r"stray.tfrecord is not in .*metadata.csv.gz"):
        read_chest_images(release.write(), [10000001])


def test_an_image_in_the_folder_of_another_study_is_named(release):
    path = release.add("a", 10000001, 50)
    path.parent.rename(path.parent.with_name("s51"))
    with pytest.raises(CohortError, match=r"s51/a.tfrecord stands in .*row 1, as subject 10000001, study 50"):
        read_chest_images(release.write(), [10000001])


def test_an_image_listed_twice_is_named_with_both_rows(release):
    release.add("a", 10000001, 50)
    release.add("a", 10000001, 50)
    with pytest.raises(CohortError, match="row 2: dicom_id a stands twice, first in row 1"):
        read_chest_images(release.write(), [10000001])


def test_a_damaged_image_is_named(release):
    path = release.add("a", 10000001, 50)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CohortError, match=r"a.tfrecord: record 1 is cut short"):
        read_chest_images(release.write(), [10000001])


def test_missing_columns_and_truncated_metadata_are_named(release):
    release.add("a", 10000001, 50)
    path = release.write(head=[name.replace("StudyTime", "Time") for name in HEAD]) / METADATA
    with pytest.raises(CohortError, match=r"metadata.csv.gz lacks column StudyTime"):
        read_chest_images(release.root, [10000001])
    release.write()
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(CohortError, match=r"metadata.csv.gz is truncated or corrupt after row \d"):
        read_chest_images(release.root, [10000001])
