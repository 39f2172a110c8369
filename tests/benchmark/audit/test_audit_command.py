"""The command: what it computes, that a second run computes nothing, and what it refuses."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmark.audit import random_labels
from benchmark.audit.cohorts import Dials
from benchmark.audit.noise import SIMULATIONS
from benchmark.audit.plan import plan_audit
from benchmark.audit.simulations import plan_sampler
from benchmark.audit.unit import measure
from benchmark.cell.run_cell import run_cell
from benchmark.cli import main
from benchmark.executors import Work
from benchmark.executors.attempt import compute
from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from benchmark.verbs import audit as verb
from reports.audit.numbers import select_audit_plans
from results.storage.store import Store

SMALL = ("n=160", "folds=2", "dataset.draws=16", "bootstrap=20")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit of s_only on a small cohort: (the command line, the folder)."""
    folder = tmp_path_factory.mktemp("audit")
    places = [f"{name}={folder / name}" for name in ("store", "out", "built")]
    line = ["audit", "s_only", "--quick", *SMALL, *places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.audit.noise.SIMULATIONS", SIMULATIONS[:1])
        assert main(line) == 0
        yield line, folder


def test_the_quick_audit_flags_moves_toward_own_outcomes(audited):
    _, folder = audited
    intervals = pd.read_csv(folder / "out" / "audit_intervals.csv")
    of = intervals[intervals["metric"] == "auc"].set_index(["outcomes", "task", "variant"])["value"]
    for outcomes in ("true", "shuffled"):
        assert of[outcomes, "icu_90d", "audit-A2"] > of[outcomes, "icu_90d", "audit-default"] + 0.1
    assert of["true", "icu_90d", "default"] > 0.5
    names = {p.name for p in (folder / "out").iterdir()}
    assert {"audit.csv", "audit.tex", "audit.html", "audit_noise.csv", "audit_auc_true_embedded_mimic.svg"} <= names
    assert "<title>" in (folder / "out" / "audit.html").read_text(encoding="utf-8")


def test_a_second_run_computes_nothing_and_a_lost_cell_alone(audited, capsys):
    line, folder = audited
    before = {p: p.stat().st_mtime_ns for p in (folder / "store").rglob("cell.json")}
    lost = next(p for p in before if "audit-A4" in str(p))
    shutil.rmtree(lost.parent)
    assert main([*line, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "1 to do" in err
    assert {p for p in before if p.exists() and p.stat().st_mtime_ns == before[p]} == set(before) - {lost}
    assert '"outcomes":"shuffled"' in out.replace(" ", "")


def test_the_strict_row_is_the_suites_own_cell(audited):
    """The audit wraps the suite: without a step, predictions equal those of ``run rectifier=offset`` bit for bit."""
    _, folder = audited
    own = ["method=s_only", "rectifier=offset", "known=none", *SMALL, f"built={folder / 'built'}"]
    config = load_config("table1", own)
    plan = plan_run(config)
    audit = plan_audit(config, "true", 1, True, Dials())
    store = Store(folder / "again")
    for landmark in ("icu_24h", "discharge"):
        planned = next(p for p in plan.cells if p.cell.landmark == landmark and p.cell.fold == 0)
        expected = run_cell(planned, plan.inputs_of(planned.cell))[1]["predictions"]
        for units in (audit.fits, audit.rows):
            unit = next(u for u in units if u.cell.landmark == landmark)
            assert compute(Work(unit, audit.grounds[landmark], how=measure), store.root).status == "done"
        found = store.predictions(unit)
        for column in ("label", "probability_base"):
            assert (found[column] == expected[column].astype("float32")).all()
        test = found["split"] == "test"
        assert (found["probability"][test] == expected["probability"].astype("float32")[test]).all()


def test_shuffled_units_know_no_true_outcome(audited):
    _, folder = audited
    config = load_config("table1", ["method=s_only", *SMALL, f"built={folder / 'built'}"])
    true, shuffled = (plan_audit(config, outcomes, 1, True, Dials()) for outcomes in ("true", "shuffled"))
    assert {u.key for u in true.fits}.isdisjoint(u.key for u in shuffled.fits)
    assert any(row.kind == "known" for row in true.plan.rows)
    assert not any(row.kind == "known" for row in shuffled.plan.rows)
    assert true.plan.name != shuffled.plan.name


def test_the_document_is_rebuilt_from_the_store(audited, monkeypatch, tmp_path):
    _, folder = audited
    page = tmp_path / "audit.md"
    shutil.copy(verb.DOCUMENT, page)
    monkeypatch.setattr(verb, "DOCUMENT", page)
    monkeypatch.setattr(
        "reports.audit.numbers.select_audit_plans",
        lambda store: [p for e in ("audit", "audit_noise") for p in store.plans(e)],
    )
    assert main(["audit", "--docs", "--json", f"store={folder / 'store'}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Audit, shuffled outcomes, discharge" in text
    assert "Worth, true outcomes, 90-day ICU admission: AUC" in text
    assert (
        text.split("<!-- audit:steps -->")[0]
        == Path(verb.DOCUMENT).read_text(encoding="utf-8").split("<!-- audit:steps -->")[0]
    )


def test_what_is_quick_stands_in_no_document(audited, capsys):
    _, folder = audited
    assert select_audit_plans(Store(folder / "store")) == []
    assert main(["audit", "--docs", f"store={folder / 'store'}"]) == 2
    assert "no audit is stored" in capsys.readouterr().err


def test_the_sampler_on_random_outcomes_scores_reached_rows_apart(audited, monkeypatch):
    _, folder = audited
    monkeypatch.setattr(random_labels, "EPOCHS", (1, 2))
    small = ["method=crl_mmnar", "method.hidden=16", "method.heads=2", *SMALL, f"built={folder / 'built'}"]
    _, tasks = plan_sampler(load_config("table1", small))
    planned = tasks[0].planned
    planned = dataclasses.replace(planned, config=planned.config | {"method": with_epochs(planned.config["method"], 2)})
    record, frames = tasks[0].how(dataclasses.replace(tasks[0], planned=planned), Store(folder / "sampler"))
    assert (record["status"], frames) == ("done", {})
    metrics = pd.DataFrame(record["metrics"])
    assert set(metrics["stage"]) == {"epoch-1", "epoch-2"}
    n = metrics[metrics["metric"] == "auc"].drop_duplicates("split").set_index("split")["n"]
    assert n["test_seen"] + n["test_unseen"] == n["test"] == 80
    assert n["test_seen"] > 0 < n["test_unseen"]


def with_epochs(method, epochs):
    return method | {"config": method["config"] | {"max_epochs": epochs}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["audit", "nobody"], "no method is called 'nobody'"),
        (["audit", "s_only", "protocol=paper"], "protocol="),
        (["audit", "--test-folds", "9"], "--test-folds 9"),
        (["audit", "-j", "0"], "-j 0"),
        (["audit", "method=s_only"], "method="),
    ],
)
def test_wrong_usage_is_one_line(line, said, tmp_path, capsys):
    places = [f"store={tmp_path / 'cells'}", f"built={tmp_path}", "n=60", "dataset.draws=2"]
    assert main([*line, *places]) == 2
    err = capsys.readouterr().err.strip()
    assert said in err
    assert "\n" not in err
