"""Series as inputs: fitted on what the training stays recorded, blind to everything else."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.check.cohorts import draw_random_cohort
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
