"""What methods say of their fits: from the cells to the CSV and the printed table."""

import shutil

import numpy as np
import pandas as pd
import pytest

from reports.build import assemble_report, write_report
from reports.frames.fits import COLUMNS, collect_fit_reports
from reports.public.public import build_export
from results.storage.store import Store
from tests.stores import fabricate


@pytest.fixture
def reported(tmp_path):
    """A store whose CRL-MMNAR cells of one landmark report a share, all but the last fold."""
    store, plan = fabricate(tmp_path, folds=3, seeds=2)
    shares = {}
    for planned in plan.cells:
        cell = planned.cell
        if cell.method == "crl_mmnar" and cell.landmark == "icu_24h" and cell.fold < 2:
            shares[cell.fold, cell.seed] = cell.fold / 10 + cell.seed / 100
            told = {"fit_report": {"share of 100 % & more": shares[cell.fold, cell.seed]}}
            record, frames = store.record(planned) | told, {"predictions": store.predictions(planned)}
            shutil.rmtree(store.folder(planned))  # of two writers of one key the first wins
            store.write(planned, record, frames)
    return store, plan, np.array(list(shares.values()))


def test_frame(reported):
    store, plan, shares = reported
    frame = collect_fit_reports(Store(store.root), plan)
    assert tuple(frame.columns) == COLUMNS
    (row,) = frame.to_dict("records")
    assert (row["method"], row["landmark"], row["quantity"]) == ("crl_mmnar", "icu_24h", "share of 100 % & more")
    assert row["cells"] == 4
    np.testing.assert_allclose(
        [row["mean"], row["sd"], row["minimum"], row["maximum"]], [shares.mean(), shares.std(ddof=1), 0.0, 0.11]
    )


def test_files_and_what_may_leave_the_site(reported, tmp_path):
    store, plan, shares = reported
    report = assemble_report(store.root, [plan])
    files = {path.name: path for path in write_report(report, tmp_path / "out")}
    assert len(pd.read_csv(files["table1_fits.csv"])) == 1
    (table,) = [t for t in report.measured if t.title == "What fits report"]
    ((title, _, entries),) = table.rows
    assert title.endswith(": share of 100 % & more")
    assert entries[0].mean == pytest.approx(shares.mean())
    assert entries[1].mean is None  # the other landmark reports nothing
    assert "What fitted methods report" in files["table1.html"].read_text()
    assert not any("fits" in name for name in build_export(store.root, [[plan]]).files)


def test_a_report_without_fit_reports_has_none(tmp_path):
    store, plan = fabricate(tmp_path, folds=2)
    report = assemble_report(store.root, [plan])
    assert "_fits" not in report.frames
    assert not [t for t in report.measured if t.title == "What fits report"]
