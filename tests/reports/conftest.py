"""A fabricated store with a failed row, a missing and a skipped cell, its statistics stored."""

import pytest

from results.statistics import derive
from tests.stores import ROWS, fabricate


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory):
    """(store, plan): CM-AE failed at icu_24h, one fold of "s_only" missing at discharge, GRU-D skipped there."""
    root = tmp_path_factory.mktemp("fabricated")
    rows = (*ROWS[:3], ("gru_d", "default", "off", "GRU-D", "method", 0.5), ROWS[3])
    store, plan = fabricate(
        root,
        rows=rows,
        n=150,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(5)],
        missing=[("s_only", "discharge", 2)],
        skipped=[("gru_d", "discharge", fold) for fold in range(5)],
    )
    store.write_statistics(plan["name"], derive(store, plan, resamples=50))
    return store, plan
