from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datasets.eicu.build import build
from datasets.raw import mapped, series


def made(raw, root, landmark="icu_24h"):
    return build(raw.write(root), landmarks=[landmark])[landmark].cohort.series


def test_bins_are_hourly_means_from_admission_or_the_first_record(empty, tmp_path):
    empty.patient(1, "002-1")
    empty.patient(2, "002-2")
    empty.patient(3, "002-3")
    for minute, rate in ((0, 60), (59, 70), (60, 100), (1439, 90)):
        empty.add("vitalPeriodic", 1, minute, heartrate=rate, sao2="")
    empty.add("lab", 2, -61, labname="sodium", labresult=141)
    empty.add("lab", 2, 5, labname="RDW", labresult=14)
    s = made(empty, tmp_path)
    rate, sodium = s.channels.index("heart_rate"), s.channels.index("sodium")
    assert s.values.shape == (3, 48, len(s.channels))
    assert s.values[0, [0, 1, 23], rate].tolist() == [65, 100, 90]
    assert s.mask[0].sum() == 3
    assert s.hours[0, :25].tolist()[:24] == list(range(24))
    assert np.isnan(s.hours[0, 24:]).all()
    assert s.values[1, 0, sodium] == 141
    assert s.hours[1, 0] == -2
    assert s.hours[1, 25] == 23
    assert np.isnan(s.hours[1, 26:]).all()
    assert s.mask[1].sum() == 1
    assert not s.mask[2].any()
    assert s.hours[2, 0] == 0
    assert np.isnan(s.values[~s.mask]).all()


def test_only_the_last_72_bins_are_kept(empty, tmp_path):
    empty.patient(1, "002-1", unitdischargeoffset=100 * 60 + 30, hospitaldischargeoffset=99999)
    for hour in range(101):
        empty.add("vitalPeriodic", 1, hour * 60, heartrate=50 + hour, sao2="")
    s = made(empty, tmp_path, "unit_discharge")
    assert s.values.shape[1] == series.BINS == 72
    assert s.hours[0].tolist() == list(range(29, 101))
    assert s.values[0, :, s.channels.index("heart_rate")].tolist() == [50.0 + h for h in range(29, 101)]


def test_the_cuff_and_the_line_share_a_bin(empty, tmp_path):
    empty.patient(1, "002-1")
    empty.add("vitalPeriodic", 1, 10, systemicsystolic=130, systemicdiastolic=70, systemicmean=90)
    empty.add("vitalAperiodic", 1, 20, noninvasivesystolic=110, noninvasivediastolic=50, noninvasivemean=70)
    s = made(empty, tmp_path)
    assert [s.values[0, 0, s.channels.index(c)] for c in ("systolic", "diastolic", "map")] == [120, 60, 80]


def test_chunks_and_mapped_arrays_give_the_same_series(raw, untouched, tmp_path, monkeypatch):
    monkeypatch.setattr(series, "CHUNK", 2)
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    for landmark, built in build(raw.write(tmp_path / "release"), scratch=tmp_path).items():
        assert isinstance(built.cohort.series.values, np.memmap)
        assert built.cohort.fingerprint == untouched[landmark].fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["release"]


def test_the_series_is_not_gated_by_the_observed_modalities(empty, tmp_path):
    empty.patient(1, "002-1")
    empty.add("lab", 1, 5, labname="sodium", labresult=141)
    cohort = build(empty.write(tmp_path), landmarks=["icu_24h"])["icu_24h"].cohort
    assert not cohort.observed[0, cohort.modality_names.index("Laboratory")]
    assert cohort.series.mask.sum() == 1


def test_hourly_potassium_of_the_demo(demo, demo_built):
    cohort = demo_built["icu_24h"].cohort
    s = cohort.series
    rows = pd.read_csv(demo / "lab.csv.gz")
    rows = rows[(rows.labname == "potassium") & rows.labresult.between(1, 12) & (rows.labresultrevisedoffset < 1440)]
    stays = pd.read_csv(demo / "patient.csv.gz")
    stays = stays[stays.uniquepid.isin([f"{c // 10**9:03d}-{c % 10**9}" for c in cohort.patient])]
    channel = s.channels.index("potassium")
    assert 0 < s.mask[..., channel].sum() <= rows[rows.patientunitstayid.isin(stays.patientunitstayid)].shape[0]
    hours = np.broadcast_to(s.hours[..., None], s.mask.shape)[s.mask]
    assert hours.min() >= -24
    assert hours.max() <= 23
    assert s.values[..., channel][s.mask[..., channel]].mean() == pytest.approx(rows.labresult.mean(), rel=0.03)
