"""Seconds of a report, from the plan to the files, on a fabricated store of the paper's 14 methods (`make bench`)."""

import pytest

from reports.build import assemble_report, write_report
from reports.formats.files import FORMATS
from results.statistics.derive import derive
from tests.reports.conftest import made_curves
from tests.stores import fabricate

METHODS = (
    "cm_ae",
    "mt",
    "smil",
    "grape",
    "hgmf",
    "m3care",
    "com",
    "drfuse",
    "missmodal",
    "flexgen_ehr",
    "muse",
    "gru_d",
    "raindrop",
)
ROWS = (
    *((name, "default", "off", name, "method", 0.2 + 0.05 * i) for i, name in enumerate(METHODS)),
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 1.0),
    ("ceiling", "default", "off", "Ceiling", "known", 1.6),
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    made = {}

    def make(folds, seeds):
        if (folds, seeds) not in made:
            root = tmp_path_factory.mktemp("stored")
            store, plan = fabricate(root, rows=ROWS, n=100, folds=folds, seeds=seeds)
            statistics = derive(store, plan, resamples=2)
            store.write_statistics(plan.name, statistics | {"curves": made_curves(plan, statistics)})
            made[folds, seeds] = store, plan
        return made[folds, seeds]

    return make


@pytest.mark.parametrize("formats", [("csv",), ("tex",), ("html",), FORMATS], ids="+".join)
@pytest.mark.parametrize(("folds", "seeds"), [(2, 1), pytest.param(5, 5, marks=pytest.mark.slow)])
def test_report(benchmark, stored, tmp_path, folds, seeds, formats):
    store, plan = stored(folds, seeds)
    benchmark.group = f"report of 14 methods, {folds} folds x {seeds} seeds, 3 tasks"
    written = benchmark.pedantic(lambda: write_report(assemble_report(store.root, [plan]), tmp_path, formats), rounds=1)
    assert len({p.name for p in written}) == len(written) > 0
