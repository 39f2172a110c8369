"""Notes and images pooled at the landmark: what counts, when, and why a modality is absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv import landmarks, pooling
from datasets.mimic_iv.dated import Dated
from datasets.mimic_iv.dated import make_empty as no_items
from datasets.mimic_iv.pooling import REASONS, pool_items
from datasets.mimic_iv.stays import read_history, select_index_stays
from datasets.mimic_iv.tables import Release
from datasets.raw import mapped
from datasets.raw.tables import connect
from tests.datasets.mimic_iv.conftest import made_items

ROW = 0
"""Row of patient 101."""


@pytest.fixture
def selected(raw, tmp_path):
    con = connect(tmp_path)
    history = read_history(con, Release(raw.write(tmp_path / "release")))
    con.close()
    index = select_index_stays(history)
    return {k: (history, landmarks.select_stays(history, index, k)) for k in landmarks.PROTOCOL}


def pooled(name, items, selected, landmark):
    values, observed, reasons = pool_items(name, items, *selected[landmark], Path("."))
    assert (observed == np.isfinite(values).all(axis=1)).all()
    assert (observed == (reasons == 0)).all()
    return values[ROW], bool(observed[ROW]), REASONS[reasons[ROW]]


@pytest.mark.parametrize(
    ("name", "landmark", "event", "known", "hadm", "reason"),
    [
        ("R", "icu_24h", 3, 4, -1, "observed"), ("R", "icu_24h", 3, 24, -1, "not_yet_known"), ("R", "icu_24h", 24, 4, -1, "not_yet_known"),
        ("R", "icu_24h", 24, 24, -1, "not_yet_known"),
        ("R", "icu_24h", -9000, -8999, 9, "observed"), ("R", "icu_24h", 500, 501, 77, "not_recorded"),
        ("R", "icu_24h", 3, "", -1, "not_yet_known"), ("R", "discharge_72h", 119, 191.9, -1, "observed"),
        ("R", "discharge_72h", 119, 192, -1, "not_yet_known"), ("R", "discharge", 119, 120, -1, "not_yet_known"),
        ("T", "discharge_72h", 120, 150, 1010, "observed"), ("T", "discharge_72h", 120, 193, 1010, "not_yet_known"),
        ("T", "discharge_72h", -800, -700, 9, "not_recorded"), ("T", "icu_24h", 120, 150, 1010, "not_yet_known"),
        ("T", "icu_24h", -800, -700, 9, "not_recorded"), ("T", "discharge", 120, 400, 1010, "observed"),
        ("T", "stay", 120, 400, 1010, "observed"), ("T", "discharge", -800, -700, 9, "not_recorded"),
        ("I", "icu_24h", 23, 23, -1, "observed"), ("I", "icu_24h", 24, 24, -1, "not_yet_known"),
        ("I", "icu_24h", 500, 500, -1, "not_recorded"), ("I", "icu_24h", -500, -500, -1, "observed"),
    ],
)  # fmt: skip
def test_one_item_counts_when_it_was_known_and_else_says_why(selected, name, landmark, event, known, hadm, reason):
    items = made_items([101], [event], [known], [hadm])
    values, observed, why = pooled(name, items, selected, landmark)
    assert (observed, why) == (reason == "observed", reason)
    if observed:
        np.testing.assert_array_equal(values, items.vectors[0])


def test_notes_are_averaged_and_images_first_within_their_study(selected):
    items = made_items([101] * 3, [3, 3, 9], [3, 3, 9], [-1] * 3)
    notes, images = (pooled(name, items, selected, "icu_24h")[0] for name in ("R", "I"))
    v = items.vectors.astype(np.float64)
    np.testing.assert_allclose(notes, v.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(images, (v[:2].mean(axis=0) + v[2]) / 2, rtol=1e-6)


@pytest.mark.parametrize("name", ["I", "T", "R"])
@pytest.mark.parametrize("landmark", landmarks.PROTOCOL)
def test_items_of_later_admissions_change_nothing(selected, tmp_path, name, landmark):
    before = made_items([101, 101, 103], [3, 120, 120], [4, 121, 121], [1010, 1010, 1030])
    more = made_items(
        [101, 101, 103, 101, 103], [3, 120, 120, 500, 700], [4, 121, 121, 501, 701], [1010, 1010, 1030, 77, 78]
    )
    for one, two in zip(
        pool_items(name, before, *selected[landmark], tmp_path),
        pool_items(name, more, *selected[landmark], tmp_path),
        strict=True,
    ):
        assert one.tobytes() == two.tobytes()


def test_vectors_of_items_not_known_are_never_read(selected, tmp_path):
    items = made_items([101, 101], [3, 30], [4, 30], [-1, -1])
    items.vectors[1] = np.nan
    assert pooled("R", items, selected, "icu_24h")[1]
    items.vectors[0] = np.nan
    with pytest.raises(CohortError, match="modality R: an item of subject_id 101 has a vector that is not finite"):
        pool_items("R", items, *selected["icu_24h"], tmp_path)


def test_no_files_and_no_items_are_two_reasons(selected):
    assert [pooled("R", items, selected, "icu_24h")[1:] for items in (None, no_items(3))] == [
        (False, "not_given"), (False, "not_recorded"),
    ]  # fmt: skip


def test_x_rays_could_not_be_released_for_whom_the_emergency_department_did_not_see(raw, tmp_path):
    raw.tables["hosp/admissions"][0]["edregtime"] = ""
    con = connect(tmp_path)
    history = read_history(con, Release(raw.write(tmp_path / "release")))
    con.close()
    selection = landmarks.select_stays(history, select_index_stays(history), "icu_24h")
    reasons = pool_items("I", no_items(3), history, selection, tmp_path)[2]
    assert [REASONS[code] for code in reasons[:2]] == ["not_released", "not_recorded"]


def test_dated_items_are_checked():
    items = made_items([101], [1], [1], [-1])
    with pytest.raises(CohortError, match="vectors must be float32"):
        Dated(items.subject, items.admission, items.event, items.known, items.vectors.astype(np.float64))
    with pytest.raises(CohortError, match="known must be datetime64"):
        Dated(items.subject, items.admission, items.event, items.known[:0], items.vectors)
    assert len(items.take(np.array([False]))) == 0


def test_many_items_and_arrays_beyond_memory_give_the_same(selected, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    hours = rng.uniform(0, 24, 500).tolist()
    items = made_items(rng.choice([101, 103, 104], 500).tolist(), hours, hours, [-1] * 500)
    whole = [pool_items(name, items, *selected["icu_24h"], tmp_path) for name in "IR"]
    monkeypatch.setattr(pooling, "CHUNK", 7)
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    parts = [pool_items(name, items, *selected["icu_24h"], tmp_path) for name in "IR"]
    assert isinstance(parts[0][0], np.memmap)
    for one, two in zip(whole, parts, strict=True):
        assert [a.tobytes() for a in one] == [a.tobytes() for a in two]
    means = [items.vectors[items.subject == s].astype(float).mean(axis=0) for s in (101, 103, 104)]
    np.testing.assert_allclose(whole[1][0][np.flatnonzero(whole[1][1])], means, rtol=1e-5)
