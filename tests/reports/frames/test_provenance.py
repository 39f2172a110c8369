from dataclasses import replace

from reports.frames.provenance import collect_provenance
from results.plan import Settings
from tests.stores import ROWS, fabricate, rewrite


def test_counts_and_what_is_lost(fabricated):
    found = collect_provenance(*fabricated)
    assert found.counts == {"done": len(fabricated[1].cells) - 11, "failed": 5, "skipped": 5, "missing": 1}
    assert len(found.lost) == 11
    cell = "embedded-mimic/discharge/strict/s_only/default/rectifier-off/tuning-none/fold-2/seed-0"
    assert (cell, "missing", "not in the store") in found.lost
    assert {state for _, state, _ in found.lost} == {"failed", "skipped", "missing"}


def test_facts_name_what_differs(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:1], n=40, folds=2)
    planned = plan.cells[0]
    record = store.record(planned)
    record["provenance"]["versions"]["numpy"] = "1.0"
    record["provenance"]["clean"] = False
    rewrite(store, planned, record, {"predictions": store.predictions(planned)})
    given = {
        "dataset": {"name": "d", "root": "/somewhere", "seed": None},
        "methods": ["all"],
        "folds": 2,
        "hyper": {},
    }
    found = collect_provenance(store, replace(plan, settings=Settings(given)))
    assert found.facts["numpy"] == "2.4.6 (3 cells), 1.0 (1 cells)"
    assert found.facts["python"] == "3.11.7"
    assert found.facts["uncommitted changes"] == "in 1 cells"
    assert found.facts["computing time"] == "0.04 h in 4 cells"
    assert found.facts["peak memory of a cell"] == "501 MiB at most"
    assert found.settings == {"dataset.name": "d", "methods": "all", "folds": "2"}


def test_records_that_say_little(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:1], n=40, folds=2)
    for planned in plan.cells:
        record = store.record(planned)
        record["provenance"] = None
        rewrite(store, planned, record, {"predictions": store.predictions(planned)})
    hashes = "fingerprint ffffffff, split ssssssss"
    assert collect_provenance(store, plan).facts == {"cohort at icu_24h": hashes, "cohort at discharge": hashes}
    flow = [{"step": "stays", "n": 1200}, {"step": "adults", "n": 1000}]
    plan = replace(plan, landmarks=plan.landmarks | {"icu_24h": replace(plan.landmarks["icu_24h"], flow=flow)})
    assert collect_provenance(store, plan).facts["cohort at icu_24h"] == f"{hashes}; stays 1,200, adults 1,000"
