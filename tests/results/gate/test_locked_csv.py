"""Locked metrics as a file: what is refused, and what can be recomputed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.gate.judge import COUNTS, KEY, GateError, add_method_all, judge, list_seeds
from results.gate.locked_csv import make_locked, read_locked, summarise_seeds, write_locked
from tests.results.gate.test_judge import moved, table

LOCKED = Path(__file__).resolve().parents[3] / "results" / "locked"


def test_what_is_written_is_read_again(tmp_path):
    values = table()
    write_locked(tmp_path / "deep" / "locked.csv", values)
    again = read_locked(tmp_path / "deep" / "locked.csv")
    pd.testing.assert_frame_equal(again, values, atol=1e-8, rtol=0, check_column_type=False)
    found = judge(again, moved(values, "b", "auc", -0.2))
    assert list(found[found["verdict"] == "worse"][["method", "metric"]].iloc[0]) == ["b", "auc"]


def test_methods_that_are_kept_stay_as_they_are(tmp_path):
    path = tmp_path / "locked.csv"
    write_locked(path, table(["a", "b"]))
    before = pd.read_csv(path)
    after = write_locked(path, table(["b", "c"], draw=1), keep=True)
    assert list(after["method"].drop_duplicates()) == ["a", "b", "c", "all"]
    assert after.iloc[:2]["seed_3"].tolist() == before.iloc[:2]["seed_3"].tolist()
    assert after.iloc[2]["seed_3"] != before.iloc[2]["seed_3"]
    mean = after.set_index(["method", "metric"])["seed_3"]
    assert mean["all", "auc"] == pytest.approx(mean[[("a", "auc"), ("b", "auc"), ("c", "auc")]].mean(), abs=1e-8)


@pytest.mark.parametrize(
    ("other", "message"), [(table(["c"], seeds=21), "as many"), (table(["c"], n=9), "not the same")]
)
def test_methods_of_other_seeds_or_stays_cannot_be_kept(tmp_path, other, message):
    write_locked(tmp_path / "locked.csv", table(["a", "b"]))
    with pytest.raises(GateError, match=message):
        write_locked(tmp_path / "locked.csv", other, keep=True)


def test_the_mean_over_methods_is_locked_too():
    frame = make_locked(table())
    assert list(frame["method"].drop_duplicates()) == ["a", "b", "c", "all"]
    assert frame.columns[-1] == "seed_19"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (table(seeds=19), "19 seeds are too few to lock: 20 or more"),
        (moved(table(), "b", "auc", np.nan), "not every cell of b is done"),
    ],
)
def test_what_cannot_be_locked(tmp_path, values, message):
    with pytest.raises(GateError, match=message):
        write_locked(tmp_path / "locked.csv", values)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "cannot be read as a locked CSV"), ("method,auc\na,0.8\n", "is not a locked CSV: it has no column variant")],
)
def test_a_file_that_is_no_locked_one(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(GateError, match=message):
        read_locked(tmp_path / "x.csv")


@pytest.mark.parametrize("path", sorted(LOCKED.glob("*.csv")), ids=lambda p: p.name)
def test_the_locked_numbers_follow_from_their_seeds(path):
    frame = pd.read_csv(path).set_index(list(KEY))
    seeds = frame[[*COUNTS, *(c for c in frame.columns if c.startswith("seed_"))]]
    again = summarise_seeds(seeds)
    pd.testing.assert_frame_equal(again, frame, atol=2e-9, rtol=0, check_like=True)
    methods = seeds[seeds.index.get_level_values("method") != "all"]
    pd.testing.assert_frame_equal(add_method_all(methods), seeds, atol=2e-9, rtol=0)
    assert len(list_seeds(seeds)) >= 20
