from dataclasses import replace

import numpy as np
import pytest

from reports.frames.shares import compute_shares
from reports.frames.tidy import build_tidy_frame
from tests.stores import ROWS, fabricate


def by_fold(store, plan, method, metric):
    return [
        (m["value"], m["n"], m["positives"])
        for p in plan.cells if p.cell.method == method
        for m in (store.record(p) or {"metrics": []})["metrics"]
        if (m["split"], m["stage"], m["metric"], m["task"]) == ("test", "final", metric, "icu_90d")
    ]  # fmt: skip


def test_shares_are_ratios_of_means(tmp_path):
    store, plan = fabricate(tmp_path, rows=(ROWS[0], ROWS[3]), n=150)
    found = compute_shares(build_tidy_frame(store, plan), plan)
    found = found[(found["task"] == "icu_90d") & (found["variant"] == "default")].set_index("metric")["mean"]
    own, top = (np.mean([v[0] for v in by_fold(store, plan, m, "auc")]) for m in ("crl_mmnar", "ceiling"))
    assert found["share_auc"] == pytest.approx((own - 0.5) / (top - 0.5))
    facts = plan.landmarks["discharge"].tasks["icu_90d"]
    nothing = []
    for _, n, positives in by_fold(store, plan, "ceiling", "log_loss"):
        q = (facts.positives - positives) / (facts.n - n)
        nothing.append(-(positives * np.log(q) + (n - positives) * np.log(1 - q)) / n)
    own, top = (np.mean([v[0] for v in by_fold(store, plan, m, "log_loss")]) for m in ("crl_mmnar", "ceiling"))
    assert found["share_log_loss"] == pytest.approx((np.mean(nothing) - own) / (np.mean(nothing) - top))


def test_only_the_folds_that_both_have(tmp_path):
    store, plan = fabricate(tmp_path, rows=(ROWS[1], ROWS[3]), n=150, missing=[("ceiling", "discharge", 0)])
    found = compute_shares(build_tidy_frame(store, plan), plan)
    found = found[(found["task"] == "icu_90d") & (found["metric"] == "share_auc")].iloc[0]
    own = np.mean([v[0] for v in by_fold(store, plan, "cm_ae", "auc")[1:]])
    top = np.mean([v[0] for v in by_fold(store, plan, "ceiling", "auc")])
    assert found["mean"] == pytest.approx((own - 0.5) / (top - 0.5))
    assert (found["folds"], found["status"]) == (4, "partial")


def test_a_ceiling_no_better_than_chance_gives_no_share(tmp_path):
    rows = (ROWS[1], ("ceiling", "default", "off", "ceiling", "known", -2.0))
    store, plan = fabricate(tmp_path, rows=rows, n=150)
    found = compute_shares(build_tidy_frame(store, plan), plan)
    assert set(found["status"]) == {"undefined"}
    assert found["mean"].isna().all()


def test_nothing_without_a_ceiling(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=60, folds=2)
    assert compute_shares(build_tidy_frame(store, plan), plan).empty


def test_a_row_that_reads_the_series_is_held_against_the_ceiling_that_does(tmp_path):
    top = ("ceiling_series", "default", "off", "ceiling with series", "known", 3.0)
    store, plan = fabricate(tmp_path, rows=(*ROWS[:2], ROWS[3], top), n=150)
    plan = replace(plan, rows=[replace(row, series=row.method == "cm_ae") for row in plan.rows])
    found = compute_shares(build_tidy_frame(store, plan), plan)
    found = found[(found["task"] == "icu_90d") & (found["metric"] == "share_auc")].set_index("method")["mean"]
    auc = {
        m: np.mean([v[0] for v in by_fold(store, plan, m, "auc")])
        for m in ("crl_mmnar", "cm_ae", "ceiling", "ceiling_series")
    }
    assert found["cm_ae"] == pytest.approx((auc["cm_ae"] - 0.5) / (auc["ceiling_series"] - 0.5))
    assert found["crl_mmnar"].iloc[0] == pytest.approx((auc["crl_mmnar"] - 0.5) / (auc["ceiling"] - 0.5))
    assert set(found.index) == {"crl_mmnar", "cm_ae"}
