"""Series as inputs: fitted on what the training stays recorded, blind to everything else."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.check.cohorts import draw_random_cohort, replace_fields
from datasets.cohort import Series, collect_records
from methods import registry
from methods.common.series import NoSeries, SeriesScaler, require_series


@pytest.fixture
def series():
    return draw_random_cohort(80).series


def test_recorded_training_values_have_mean_0_and_sd_1(series):
    out = SeriesScaler().fit(series).transform(series)
    for j in range(len(series.channels)):
        recorded = out["values"][..., j][series.mask[..., j]]
        assert recorded.mean() == pytest.approx(0, abs=1e-5)
        assert recorded.std() == pytest.approx(1, abs=1e-5)
    assert (out["values"][~series.mask] == 0).all()


def test_what_was_not_recorded_cannot_matter(series):
    scaler = SeriesScaler().fit(series)
    for junk in (np.inf, -1e30, 3.0):
        other = replace(
            series,
            values=np.where(series.mask, series.values, np.float32(junk)),
            hours=np.where(series.mask.any(axis=2), series.hours, np.float32(junk)),
        )
        refitted = SeriesScaler().fit(other)
        for name, value in scaler.transform(series).items():
            np.testing.assert_array_equal(refitted.transform(other)[name], value)


def test_a_channel_that_is_constant_or_never_recorded_is_zero(series):
    values, mask = series.values.copy(), series.mask.copy()
    values[..., 0] = np.where(mask[..., 0], 1e4, np.nan)
    values[..., 1], mask[..., 1] = np.nan, False
    scaler = SeriesScaler().fit(replace(series, values=values, mask=mask))
    out = scaler.transform(series)["values"]
    assert (out[..., :2] == 0).all()
    assert (out[..., 2] != 0).any()


def test_a_value_far_outside_is_clipped(series):
    scaler = SeriesScaler().fit(series)
    far = replace(series, values=series.values * np.float32(1e6))
    assert np.abs(scaler.transform(far)["values"]).max() == 10


def test_the_scaler_survives_saving(series):
    scaler = SeriesScaler().fit(series)
    again = SeriesScaler().load_state(scaler.state())
    np.testing.assert_array_equal(again.transform(series)["values"], scaler.transform(series)["values"])


def test_a_cohort_without_series_is_refused_in_one_line():
    with pytest.raises(NoSeries, match=r"^gru_d reads the series .* run gru_d:modality_as_sensor instead$"):
        require_series(draw_random_cohort(20, series=False), "gru_d")


def test_a_cohort_that_was_built_without_times_of_record_is_refused_in_one_line():
    cohort = draw_random_cohort(20)
    assert require_series(cohort, "gru_d") is cohort.series
    assert require_series(cohort, "gru_d", "records") is cohort.series.recorded
    bare = replace(cohort, series=replace(cohort.series, recorded=None))
    assert require_series(bare, "gru_d") is bare.series
    with pytest.raises(
        NoSeries, match=r"^gru_d:as_recorded reads the times of record .* dataset\.recorded=true .* or run gru_d$"
    ):
        require_series(bare, "gru_d", "records")


def make_records(n, seed):
    """Stays whose hourly means say nothing: of the two records of each hour, of opposite sign, the outcome is the sign of the later one."""
    rng, hours = np.random.default_rng(seed), 3
    c = draw_random_cohort(n, seed=seed, undefined=0.0, tasks=("a",))
    y = rng.random(n) < 0.5
    row, hour, minute = (v.ravel() for v in np.meshgrid(np.arange(n), np.arange(hours), [10, 50], indexing="ij"))
    size = rng.normal(1.0, 0.1, (n, hours, 1)).repeat(2, axis=2).ravel()
    values = np.where(minute == 50, 1, -1) * np.where(y[row], 1, -1) * size
    records = collect_records(row, hour + minute / 60, np.zeros_like(row), values, n, ("x",))
    hourly = np.zeros((n, hours, 1), np.float32)
    series = Series(hourly, hourly == 0, np.tile(np.arange(hours, dtype=np.float32), (n, 1)), ("x",), records)
    modalities = tuple(replace(m, values=rng.normal(size=m.values.shape).astype(np.float32)) for m in c.modalities)
    outcomes = y[:, None].astype(np.float32)
    return replace_fields(c, series=series, modalities=modalities, outcomes=outcomes, observed=np.ones_like(c.observed))


@pytest.mark.parametrize(("name", "epochs"), [("gru_d", 12), ("raindrop", 20)])
def test_methods_read_the_times_of_record_where_they_are_asked_to(name, epochs):
    train, valid, test = (make_records(n, s) for n, s in ((300, 0), (100, 1), (300, 2)))
    cls = registry.load(name)
    aucs = {}
    for variant in ("as_recorded", ""):
        changes = {**cls.variants.get(variant, {}), "max_epochs": epochs, "lr": 1e-2, "batch_size": 32}
        method = cls(cls.Config(**changes), seed=0).fit(train, valid)
        p = method.predict_proba(test)
        aucs[variant] = roc_auc_score(test.outcomes[:, 0], p[:, 0])
        again = cls(method.config, seed=5).load_state(method.state())
        np.testing.assert_array_equal(again.predict_proba(test), p)
    assert aucs["as_recorded"] > 0.95
    assert aucs[""] == pytest.approx(0.5, abs=0.1)
