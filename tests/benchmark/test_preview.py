"""``run --dry-run``: says what a run would compute, and leaves everything as it was."""

import re

import pytest

from datasets import registry
from tests.benchmark.conftest import SMALL

FEW = (*SMALL, "method=logistic,s_only", "method.max_epochs=1", "landmark=icu_24h")


def list_files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def read_rows(out):
    return {line[:50].split("  ")[1].strip(): line.split() for line in out.splitlines()[1:]}


@pytest.fixture
def preview(cli, tmp_path):
    """Run a dry run on built cohorts of the test's own; it must not change a file."""

    def run(*argv):
        before = list_files(tmp_path)
        status, out, err = cli("run", "smoke", "--dry-run", f"built={tmp_path / 'mine'}", *argv)
        assert list_files(tmp_path) == before
        return status, out, err

    return run


def test_a_cohort_that_is_not_built_stays_so(preview, tmp_path, monkeypatch):
    from datasets.synthetic import cohort

    monkeypatch.setattr(cohort, "build", lambda params: pytest.fail("a cohort was built"))
    status, out, err = preview(*FEW, "seeds=3")
    assert status == 0
    assert re.search(r"Logistic regression +6 +0 +6 +not known", out)
    assert "embedded-mimic is not built as asked" in err
    assert "12 cells, 0 done before, 12 to do, no estimate" in err
    assert not (tmp_path / "mine").exists()


def test_the_plan_and_an_estimate_from_what_is_stored(cli, preview, tmp_path):
    own = f"built={tmp_path / 'mine'}"
    assert cli("run", "smoke", *FEW, own, "known=none")[0] == 0
    status, out, err = preview(*FEW, "known=none", "seeds=2")
    assert status == 0
    assert re.search(r"Logistic regression +4 +2 +2 +1 s", out)
    assert "8 cells, 4 done before, 4 to do, about " in err
    assert err.rstrip().endswith("nothing was computed or written")
    _, out, err = preview(*FEW, "known=none")
    assert "4 cells, 4 done before, 0 to do; nothing" in err
    _, out, err = preview(*FEW, "known=none", "seeds=2", "folds=3", "method.hidden=16")  # a split that is not drawn
    assert re.search(r"S only \(.*hidden=16\) +6 +0 +6 +not known", out)
    assert not list((tmp_path / "mine").rglob("folds-3-*"))
    _, out, err = preview(*FEW, "known=all", "-j", "2")  # the ceilings have no cell yet
    assert re.search(r"Ceiling \(Bayes-optimal\) +2 +0 +2 +not known", out)
    _, _, err = preview(*FEW, "known=none", "seeds=2", "--cell", "fold-1/seed-1")
    assert "2 cells, 0 done before, 2 to do, about " in err
    status, _, err = preview(*FEW, "known=none", "--cell", "fold-9/seed-1")
    assert status == 2
    assert "unknown cell 'fold-9/seed-1'" in err


def test_the_estimate_is_the_mean_of_the_stored_cells_by_row(cli, preview, tmp_path):
    from benchmark.plan.config import load_config
    from benchmark.verbs.preview import _collect_seconds, _list_planned_rows, plan_without_building
    from results.storage.store import Store

    own = [*FEW, f"built={tmp_path / 'mine'}", "known=none", "bootstrap=0"]
    assert cli("run", "smoke", *own)[0] == 0
    store = Store(tmp_path / "cells")
    planned = plan_without_building(load_config("smoke", [*own, "seeds=2"]))
    seconds = _collect_seconds(store, planned)
    rows, work = _list_planned_rows(store, planned, planned.cells, dict.fromkeys(seconds, 10.0))
    assert [(row.cells, row.done, row.seconds) for row in rows] == [(4, 2, 20.0), (4, 2, 20.0)]
    assert len(work) == 4
    taken = [store.record(p)["provenance"]["seconds"]["total"] for p in planned.cells if store.record(p)]
    assert sum(seconds.values()) * 2 == pytest.approx(sum(taken))


def test_the_experiments_arms_and_trials_are_counted(cli, preview, tmp_path):
    registry.prepare("embedded-mimic", {"n": 160, "draws": 16}, tmp_path / "mine")
    _, _, err = preview(*FEW, "known=none", "tuning=random", "budget=2")
    assert "4 cells, 0 done before, 4 to do after 8 trials of their tuning" in err
