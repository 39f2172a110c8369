from dataclasses import replace

import pytest

from reports.tables.captions import compose_caption
from results.statistics.derive import derive
from results.storage.store import Store
from tests.stores import ROWS, fabricate, made_plan, rewrite


def test_caption_says_what_a_reader_must_know(fabricated):
    store, plan = fabricated
    facts = plan.landmarks["icu_24h"]
    positives = facts.tasks["mortality_inhosp"].positives
    fewer = replace(facts, tasks={"mortality_inhosp": replace(facts.tasks["mortality_inhosp"], n=120)})
    plan = replace(plan, landmarks=plan.landmarks | {"icu_24h": fewer})
    text = compose_caption(store, plan, store.statistics(plan.name))
    for part in (
        "embedded-mimic: a fabricated cohort", "Landmark icu_24h: N = 150", f"In-hospital mortality {positives} positive of 120",
        "5 folds, 1 seed (mean ± standard deviation over folds)", "strict protocol", "schedule: short", "tuning: none",
        "rectifier: CRL-MMNAR (on)", "Bold AUC: the reference (CRL-MMNAR)", "Commit 0123456789; 2026-01-02.",
    ):  # fmt: skip
        assert part in text
    assert "uncommitted" not in text
    assert "derived from other cells" not in text


@pytest.mark.parametrize("where", ["plan", "cell"])
def test_uncommitted_changes_show(tmp_path, where):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=40, folds=2)
    if where == "plan":
        plan = replace(plan, clean=False)
    else:
        planned = plan.cells[0]
        record = store.record(planned)
        record["provenance"] |= {"clean": False, "commit": "fedcba9876543210"}
        rewrite(store, planned, record, {"predictions": store.predictions(planned)})
        assert "(cells also from fedcba9876)" in compose_caption(store, plan, None)
    assert "with uncommitted changes" in compose_caption(store, plan, None)


def test_seeds_and_missing_statistics_show(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=40, folds=2, seeds=2)
    text = compose_caption(store, plan, None)
    assert "2 folds, 2 seeds (mean over folds ± standard deviation over seeds)" in text
    assert "No statistics are stored" in text
    assert "No reference method" in compose_caption(store, replace(plan, reference="mt"), None)


def test_statistics_of_an_earlier_state_show(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=40, folds=2, missing=[("cm_ae", "discharge", 0)])
    early = derive(store, plan, resamples=0)
    assert "derived from other cells" not in compose_caption(store, plan, early)
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=40, folds=2)
    assert "derived from other cells" in compose_caption(store, plan, early)


@pytest.mark.parametrize(("name", "kind", "said"), [("on", "hierarchical", "hierarchical"), ("on-oof", "hierarchical", "hierarchical-oof"),
                                                    ("shrunk", "shrunk", "shrunk"), ("on", "on", "on")])  # fmt: skip
def test_the_rectifiers_kind_is_that_of_the_cells(tmp_path, name, kind, said):
    plan = made_plan(("crl_mmnar", "default", name))
    cells = [replace(p, config={"rectifier": {"kind": kind}}) for p in plan.cells]
    assert f"rectifier: CRL_MMNAR ({said})." in compose_caption(Store(tmp_path), replace(plan, cells=cells), None)
