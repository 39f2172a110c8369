"""The summaries of the engine against pandas, for every way of summarising, on staged rows made at random."""

import duckdb
import numpy as np
import pandas as pd
import pytest

from datasets.raw.engine import SCALE, compute_long_features, compute_wide_features
from datasets.raw.features import COUNT, FLAG, STATISTICS, Column, Measure

STAYS = 30
BY_PANDAS = {
    "any": lambda x: float(x.any()),
    "rows": len,
    "sum": lambda x: x.sum(min_count=1),
    "last": lambda x: x.dropna().iloc[-1] if x.notna().any() else np.nan,
    "mean": lambda x: x.mean(),
    "min": lambda x: x.min(),
    "max": lambda x: x.max(),
    "sd": lambda x: x.std(ddof=1),
    "count": lambda x: x.count(),
}


@pytest.fixture
def staged():
    """A connection with a wide and a long staging table and a landmark, and the rows of both that are known, events in order."""
    rng, n = np.random.default_rng(0), 600
    rows = pd.DataFrame(
        {
            "id": rng.integers(0, STAYS, n).astype(np.int32),
            "event": rng.permutation(n).astype(np.int32) - 300,
            "known": rng.integers(0, 1000, n).astype(np.int32),
            "revised": pd.array(rng.integers(0, 1500, n), dtype="Int64"),
            "item": rng.integers(0, 3, n).astype(np.int16),
            "x": rng.integers(-40_000, 900_000, n),
            "flag": rng.random(n) < 0.1,
        }
    )
    rows["revised"] = rows.revised.mask(rng.random(n) < 0.5)
    wide = rows.assign(x=rows.x.astype("Int64").mask(rng.random(n) < 0.3))
    landmark = pd.DataFrame(
        {"id": np.arange(STAYS), "row": np.arange(STAYS)[::-1], "cutoff": rng.integers(0, 1200, STAYS)}
    )
    con = duckdb.connect()
    for name, frame in (("staged_wide", wide), ("staged_long", rows), ("landmark", landmark)):
        con.register("frame", frame)
        con.execute(f"CREATE TABLE {name} AS SELECT * FROM frame")
    known = [
        f.merge(landmark, on="id").query("known < cutoff and revised.fillna(9999) >= cutoff").sort_values("event")
        for f in (wide, rows)
    ]
    yield con, *(f.assign(x=f.x.astype(float) / SCALE) for f in known)
    con.close()


@pytest.mark.parametrize("how", STATISTICS)
def test_a_wide_source_is_summarised_as_pandas_does(staged, how):
    con, known, _ = staged
    column = "flag" if how == FLAG else "x"
    names, values = compute_wide_features(con, "wide", (Column(column, how, "true"),), STAYS)
    assert names == [column + end for end in STATISTICS[how]]
    for name, statistic in zip(names, STATISTICS[how].values(), strict=True):
        expected = known.groupby("row")[column].agg(BY_PANDAS[statistic]).reindex(range(STAYS)).astype(float)
        np.testing.assert_allclose(values[:, names.index(name)], expected, rtol=1e-6, err_msg=name)
    assert 0 < known.row.nunique() < STAYS


@pytest.mark.parametrize("how", [how for how in STATISTICS if how not in (FLAG, COUNT)])
def test_a_long_source_is_summarised_by_item_and_counts_are_zero_next_to_other_items(staged, how):
    con, _, known = staged
    wanted = {item: (how, Measure(f"m{item}", (), "", 0, 1)) for item in (0, 2)}
    names, values = compute_long_features(con, "long", wanted, STAYS)
    there = known[known.item.isin(list(wanted))].row.unique()
    for item in wanted:
        for end, statistic in STATISTICS[how].items():
            expected = known[known.item == item].groupby("row").x.agg(BY_PANDAS[statistic]).reindex(range(STAYS))
            if statistic == "count":
                expected[there] = expected[there].fillna(0)
            np.testing.assert_allclose(values[:, names.index(f"m{item}{end}")], expected, rtol=1e-6, err_msg=statistic)
