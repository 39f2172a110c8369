"""What the sections of ``embedding``, ``drop`` and ``efficiency`` print: the records' numbers, and words where there are none."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from reports.sections import load_section
from reports.sections.embedding import average_correlations, compute_wilson_interval, shorten_pattern
from reports.tables.probed import build_probe_frame
from reports.tables.table import format_entry
from tests.stores import LANDMARKS, ROWS, fabricate, rewrite

TASKS = LANDMARKS
PATTERNS = ("S", "S+I", "S+T", "S+I+T", "S+I+T+R")
METHODS = (*ROWS[:3], ("logistic", "default", "off", "Logistic", "method", 0.5), ROWS[3])


def number(metric, value, group="all", task=None, n=100, positives=None, reason=None, **more):
    at = {"metric": metric, "group": group, "task": task, "value": value, "reason": reason}
    return at | {"n": n, "positives": positives} | more


def embedded(cell, rng):
    if cell.method == "logistic":
        return [number("decoded_accuracy", None, reason="the method has no one vector")]
    found = [number(m, rng.random()) for m in ("decoded_accuracy", "decoded_balanced", "majority_accuracy", "chance")]
    found += [number("norm", 10 + i + cell.fold, group=name, n=40 - i) for i, name in enumerate(PATTERNS)]
    for task in TASKS[cell.landmark]:
        found += [
            number("outcome_rate", 0.1 * i, group=name, task=task, n=40 - i, positives=round(0.1 * i * (40 - i)))
            for i, name in enumerate(PATTERNS)
        ]
        found.append(number("norm_rate_r", 0.5 + 0.01 * cell.fold, task=task, n=5, positives=9))
        found.append(number("norm_outcome_r", 0.1 - 0.05 * cell.fold, task=task, n=100, positives=9))
    return found


def dropped(cell, rng):
    found = [number("withheld_from", 25 * i, group=name) for i, name in enumerate(("structured", "text"))]
    for task in TASKS[cell.landmark]:
        found.append(number("auc", 0.7, group="nothing", task=task, positives=20))
        for name in ("structured", "text"):
            auc = rng.random()
            found.append(number("auc", auc, group=name, task=task, positives=20))
            found.append(number("auc_difference", auc - 0.7, group=name, task=task, positives=20))
    return found


def costly(cell, rng):
    size = {"parameters": 1234567}
    latencies = {f"latency_{w}_ms{q}": v for w in ("one", "batch") for q, v in (("", 2.0), ("_q1", 1.5), ("_q3", 2.75))}
    values = {"fit_seconds": 10 * (1 + cell.fold), **latencies, **size, "peak_memory_mib": 512.0, "load": 1.5}
    return [number(metric, float(value), device="a processor of the run") for metric, value in values.items()]


def fabricate_probed(root, experiment, probe):
    """CM-AE failed at icu_24h, a fold of S only is missing there; every other cell has the probe's numbers."""
    store, plan = fabricate(
        root, experiment=experiment, rows=METHODS, n=120, folds=2,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(2)], missing=[("s_only", "icu_24h", 1)],
    )  # fmt: skip
    rng, given = np.random.default_rng(0), {}
    for planned in plan.cells:
        record = store.record(planned)
        if record and record["status"] == "done" and planned.cell.method != "ceiling":
            record["probes"] = {experiment: probe(planned.cell, rng)}
            record["provenance"]["hardware"] = {"cpu": "a processor of the run", "cores": 4}
            given[planned.cell] = record["probes"][experiment]
            rewrite(store, planned, record, {"predictions": store.predictions(planned)})
    return store, plan, given


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """By experiment: its store, plan and the probe's numbers by cell, as ``fabricate_probed`` makes them; read only."""
    probes = {"embedding": embedded, "drop": dropped, "efficiency": costly}
    return {name: fabricate_probed(tmp_path_factory.mktemp(name), name, probe) for name, probe in probes.items()}


def places(table):
    """(row, heading, metric) -> the place as text."""
    return {
        (title, *column): format_entry(e)
        for title, _, entries in table.rows
        for column, e in zip(table.columns, entries, strict=True)
    }


@pytest.mark.parametrize("experiment", ["embedding", "drop", "efficiency"])
def test_failed_missing_and_partial_rows_show_in_every_table_and_csv(probed, tmp_path, experiment):
    store, plan, _ = probed[experiment]
    section = load_section(store, [plan])
    for table in section.tables:
        text = list(places(table).values())
        if "discharge" in table.caption and "icu_24h" not in table.caption:
            assert "failed" not in text
            continue
        assert text.count("failed") >= 1, table.caption
        assert table.caption.count("embedded-mimic") == 1
        for part in ("N = 120", "2 folds", "1 seed", "strict protocol", "commit 0123456789"):
            assert part in table.caption
    of_methods = [t for t in section.tables if t.rows[0][0] == "CRL-MMNAR"]
    for table in of_methods:
        assert [title for title, *_ in table.rows] == [
            "CRL-MMNAR",
            "CM-AE (adapted)",
            "S only & nothing_else",
            "Logistic",
        ]
    notes = " ".join(note for t in of_methods for note in t.notes)
    assert "CM-AE (adapted) (icu_24h): 2 failed of 2 cells: out of memory at layer_2 (100 %)" in notes
    assert "S only & nothing_else (icu_24h): 1 of 2 folds (1 missing)" in notes
    frame = section.frames["_numbers"]
    status = frame.groupby(["landmark", "method"])["status"].unique().map(set)
    assert status["icu_24h", "cm_ae"] == {"failed"}
    assert status["icu_24h", "s_only"] == {"partial"}
    assert status["discharge", "cm_ae"] == {"done"}
    assert frame[frame["status"] == "failed"]["mean"].isna().all()
    assert not frame["method"].eq("ceiling").any()
    for figure in section.figures:
        assert figure.alt
        assert "embedded-mimic" in figure.caption
        figure.mpl_figure.savefig(tmp_path / "f.svg")


def test_nothing_done_is_said_in_words(tmp_path):
    for experiment in ("embedding", "drop", "efficiency"):
        every = [(m[0], lm, f) for m in METHODS for lm in LANDMARKS for f in range(2)]
        store, plan = fabricate(
            tmp_path / experiment, experiment=experiment, rows=METHODS[:2], n=40, folds=2, failed=every
        )
        section = load_section(store, [plan])
        for table in section.tables:
            if "Published" not in table.columns[0]:
                assert "failed" in places(table).values()
        for figure in section.figures:
            figure.mpl_figure.savefig(tmp_path / f"{experiment}.svg")


def test_means_are_over_folds_and_positives_are_sums(probed):
    store, plan, given = probed["drop"]
    frame = build_probe_frame(store, plan, "drop").set_index(["landmark", "method", "task", "group", "metric"])
    cell = frame.loc["discharge", "crl_mmnar", "icu_90d", "text", "auc"]
    values = [
        x["value"]
        for c, numbers in given.items() if (c.method, c.landmark) == ("crl_mmnar", "discharge")
        for x in numbers if (x["metric"], x["group"], x["task"]) == ("auc", "text", "icu_90d")
    ]  # fmt: skip
    assert len(values) == 2
    assert cell["mean"] == pytest.approx(np.mean(values))
    assert cell["sd_folds"] == pytest.approx(np.std(values, ddof=1))
    assert (cell["n"], cell["positives"], cell["folds"], cell["status"]) == (200, 40, 2, "done")
    assert pd.isna(frame.loc["discharge", "crl_mmnar", "", "text", "withheld_from"]["positives"])


def test_drop_prints_auc_and_difference(probed):
    store, plan, _ = probed["drop"]
    section = load_section(store, [plan])
    assert len(section.tables) == 3
    table = places(section.tables[0])
    numbers = (
        section.frames["_numbers"].set_index(["landmark", "method", "task", "group", "metric"])["mean"].sort_index()
    )
    at = numbers["icu_24h", "crl_mmnar", "mortality_inhosp", "text"]
    head = "Without text (25% have it)"
    assert table["CRL-MMNAR", head, "AUC"].startswith(f"{at['auc']:.3f} ± ")
    assert table["CRL-MMNAR", head, "Difference"].startswith(f"{at['auc'] - 0.7:+.3f} ± ")
    assert table["CRL-MMNAR", "All modalities", "AUC"] == "0.700 ± 0.000"


def test_ten_modalities_make_two_tables_a_task(probed):
    store, plan, _ = probed["drop"]
    ten = {f"m{i}": 1.0 for i in range(10)}
    plan = replace(plan, landmarks={name: replace(facts, modalities=ten) for name, facts in plan.landmarks.items()})
    assert [len(t.columns) for t in load_section(store, [plan]).tables] == [11] * 6


def test_efficiency_prints_quartiles_sizes_and_the_machine_of_the_run(probed):
    store, plan, _ = probed["efficiency"]
    section = load_section(store, [plan])
    table = places(section.tables[0])
    assert table["CRL-MMNAR", "icu_24h", "fit (s)"] == "15.00 ± 7.07"
    assert table["CRL-MMNAR", "icu_24h", "one patient (ms)"] == "2.000 [1.500, 2.750]"
    assert table["CRL-MMNAR", "icu_24h", "parameters"] == "1,234,567"
    assert table["CM-AE (adapted)", "icu_24h", "parameters"] == "failed"
    assert "a processor of the run (4 cores)" in section.tables[0].caption
    assert "-j above 1" in section.tables[0].caption
    (figure,) = section.figures
    assert "CM-AE (adapted) (In-hospital mortality: failed)" in figure.caption
    mortality = figure.mpl_figure.axes[0]
    assert next(float(line.get_xdata()[0]) for line in mortality.lines) == 15
    assert "CM-AE" not in {text.get_text() for text in mortality.texts}
    assert "CRL-MMNAR" in {text.get_text() for text in mortality.texts}


def test_embedding_shows_patterns_by_frequency_and_rows_without_representation(probed):
    store, plan, _ = probed["embedding"]
    decoding, correlations, icu, discharge = load_section(store, [plan]).tables
    assert [title for title, *_ in discharge.rows] == list(PATTERNS)
    table = places(discharge)
    assert table["S+I", "Stays", "n"] == "78"
    assert table["S+I", "30-day readmission, positive", "of defined"] == "8 of 78 (10.3%)"
    assert table["S", "Mean norm of h", "CRL-MMNAR"] == "10.50 ± 0.71"
    assert table["S", "Mean norm of h", "Logistic"] == "n/a‡"
    assert places(icu)["S", "Mean norm of h", "CM-AE (adapted)"] == "failed"
    assert any("Logistic (icu_24h, discharge): the method has no one vector" in note for note in decoding.notes)
    assert any("layer-normalised" in note for note in decoding.notes)
    row = places(correlations)
    assert row["CRL-MMNAR", "30-day readmission", "Patterns"] == "5"
    assert row["Logistic", "30-day readmission", "r over stays"] == "n/a‡"


def test_fishers_interval_is_scipys_for_one_fold_and_narrows_over_stays_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    found = pearsonr(x, x + rng.normal(size=30))
    own = average_correlations([(found.statistic, 30)], True)
    low, high = found.confidence_interval()
    assert (own["r"], own["ci_low"], own["ci_high"]) == pytest.approx((found.statistic, low, high))
    two = {kind: average_correlations([(0.4, 30)] * 2, kind) for kind in (True, False)}
    half = {kind: math.atanh(t["ci_high"]) - math.atanh(0.4) for kind, t in two.items()}
    assert half[False] == pytest.approx(1.959964 / 27**0.5)
    assert half[True] == pytest.approx(half[False] / 2**0.5)
    assert average_correlations([(1.0, 5)], False)["ci_high"] <= 1


def test_wilson_is_that_of_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    for k, n in ((0, 7), (3, 40), (40, 40)):
        assert compute_wilson_interval(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-6)


def test_long_patterns_are_named_by_what_they_lack():
    ten = [f"m{i}" for i in range(10)]
    assert shorten_pattern("+".join(ten), ten) == "all"
    assert shorten_pattern("+".join(ten[:8]), ten) == "all but m8, m9"
    assert shorten_pattern("m0+m1", ten) == "m0+m1"
    assert shorten_pattern("S+I+T", ["S", "I", "T", "R"]) == "S+I+T"
