"""Locked metrics as a file: what is refused, and what can be recomputed."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.gate.judge import COUNTS, KEY, GateError, add_method_all, compute_tolerances, judge, list_seeds
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
    write_locked(path, table(["a", "b", "d"]))
    before = path.read_bytes().splitlines()
    after = write_locked(path, table(["b", "c"], draw=1), keep=True)
    assert list(after["method"].drop_duplicates()) == ["a", "b", "c", "d", "all"]
    lines = path.read_bytes().splitlines()
    assert [line for line in lines if not line.startswith((b"b,", b"c,"))] == [
        line for line in before if not line.startswith(b"b,")
    ]
    assert after["seed_3"].iloc[2] != pd.read_csv(io.BytesIO(b"\n".join(before)))["seed_3"].iloc[2]
    again = read_locked(path)
    expected = table(["b", "c"], draw=1)
    pd.testing.assert_frame_equal(again.loc[["b", "c"]], expected, atol=1e-8, rtol=0, check_column_type=False)


@pytest.mark.parametrize(("mine", "yours"), [("a", "c"), ("bb", "d"), ("a", "zz")])
def test_two_authors_changes_merge(tmp_path, mine, yours):
    if shutil.which("git") is None:
        pytest.skip("no git is installed")
    for draw, name in enumerate(("base", "mine", "yours")):
        write_locked(tmp_path / name, table(["a", "b", "c", "e"]))
        if draw:
            write_locked(tmp_path / name, table([mine if name == "mine" else yours], draw=draw), keep=True)
    done = subprocess.run(["git", "merge-file", "-p", "mine", "base", "yours"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()
    (tmp_path / "merged").write_bytes(done.stdout)
    merged = read_locked(tmp_path / "merged")
    for draw, method in ((1, mine), (2, yours)):
        assert merged.loc[method, 3].tolist() == pytest.approx(table([method], draw=draw)[3].tolist(), abs=1e-8)


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
    # the tolerance is for as many rows as there were when a line was locked: --keep leaves the lines of other methods alone
    pd.testing.assert_frame_equal(
        again.drop(columns="tolerance"), frame.drop(columns="tolerance"), atol=2e-9, rtol=0, check_like=True
    )
    alone, twice = (compute_tolerances(seeds, 1, rows) for rows in (1, 2 * len(seeds)))
    assert ((frame["tolerance"] >= alone - 2e-9) & (frame["tolerance"] <= twice + 2e-9)).all()
    methods = seeds[seeds.index.get_level_values("method") != "all"]
    assert list(add_method_all(methods).index) == list(seeds.index)
    assert len(list_seeds(seeds)) >= 20
