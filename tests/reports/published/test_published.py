import csv
from dataclasses import replace

import pandas as pd
import pytest

from methods import registry
from reports.build import assemble_report
from reports.frames.tidy import build_tidy_frame
from reports.published.measured import find_measured
from reports.published.paper import COHORTS, EXPERIMENTS, METHODS, NUMBERS, OBSERVED, ROWS, SWEPT
from reports.published.published import (
    COLUMNS,
    FOOTNOTES,
    SOURCE,
    build_published_tables,
    compare_with_published,
    load_published,
)
from results.plan import Settings
from tests.stores import ROWS as MADE
from tests.stores import fabricate

with SOURCE.open(encoding="utf-8") as file:
    PAPER = list(csv.DictReader(file))


def paper(**wanted):
    found = [r for r in PAPER if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return float(found[0]["mean"])


@pytest.fixture(scope="module")
def store_and_plan(tmp_path_factory):
    return fabricate(
        tmp_path_factory.mktemp("published"),
        rows=MADE,
        n=120,
        folds=2,
        failed=[("cm_ae", "icu_24h", f) for f in (0, 1)],
    )


def beside(store_and_plan, **changes):
    store, plan = store_and_plan
    frame = build_tidy_frame(store, plan).assign(dataset=changes.get("dataset", plan.dataset))
    return compare_with_published([replace(plan, **changes)], [frame])


def test_every_number_of_the_file_belongs_to_an_experiment():
    spoken = pd.concat([load_published(name) for name in EXPERIMENTS])
    for r in PAPER:
        own = spoken[
            (spoken["table"] == r["table"]) & (spoken["dataset"] == r["dataset"]) & (spoken["task"] == r["task"])
        ]
        own = own[(own["method"] == r["method_or_row"]) & (own["metric"] == r["metric"].lower())]
        assert own["published"].tolist() == [float(r["mean"])]
        assert own["published_sd"].fillna(-1).tolist() == [float(r["std"] or -1)]
    sizes = spoken[spoken["metric"] == "n"].set_index("method")["published"]
    assert sizes.to_dict() == {r["method_or_row"]: float(r["n"]) for r in PAPER if r["n"]}
    assert len(spoken) == len(PAPER) + len(sizes)


def test_every_published_name_is_mapped():
    known = set(registry.infos())
    for table, column in (
        ("Table1", METHODS),
        ("Table2", ROWS["Table2"]),
        ("Table3", ROWS["Table3"]),
        ("Table4", SWEPT),
    ):
        assert {r["method_or_row"] for r in PAPER if r["table"] == table} == set(column)
    assert set(METHODS.values()) | {m.method for of in ROWS.values() for m in of.values()} <= known
    assert {r["metric"] for r in PAPER if r["table"] == "Text"} == set(NUMBERS) | set(OBSERVED)
    assert {r["dataset"] for r in PAPER} - {"unspecified"} == set(COHORTS)
    fields = registry.load("crl_mmnar").Config.__dataclass_fields__
    assert set(SWEPT.values()) <= set(fields)
    variants = {v for m in ROWS["Table2"].values() for v in m.variants}
    assert {v.removesuffix("no_rectifier").rstrip("+") for v in variants} - {"", "default"} <= set(
        registry.load("crl_mmnar").variants
    )


def test_rows_of_patterns_are_read_in_the_group_that_they_are_named_by():
    patterns = {printed: m.group for printed, m in ROWS["Table3"].items() if "(" in printed}
    assert len(patterns) == 5
    assert patterns == {printed: printed.partition(" ")[0] for printed in patterns}


def test_measured_beside_published_on_a_cohort_that_is_not_the_papers(store_and_plan):
    frame = beside(store_and_plan)
    assert list(frame.columns) == COLUMNS
    assert frame["difference"].isna().all()
    own = frame[(frame["method"] == "CRL-MMNAR") & (frame["task"] == "icu_90d") & (frame["metric"] == "auc")].iloc[0]
    store, plan = store_and_plan
    measured = (
        build_tidy_frame(store, plan)
        .query("method == 'crl_mmnar' and variant == 'default' and task == 'icu_90d' and metric == 'auc'")
        .iloc[0]
    )
    assert (own["published"], own["published_sd"]) == (0.9824, 0.016)
    assert (own["measured"], own["measured_sd"]) == (measured["mean"], measured["sd_folds"])
    assert "no patients: not comparable" in own["comment"]
    assert own["source"] == "CRL-MMNAR (arXiv:2509.17228), Table 1"
    failed = frame[
        (frame["method"] == "CM-AE") & (frame["task"] == "mortality_inhosp") & (frame["dataset"] == "MIMIC-IV")
    ]
    assert failed["measured"].isna().all()
    assert failed["comment"].str.startswith("failed here").all()
    elsewhere = frame[(frame["dataset"] == "eICU")]
    assert len(elsewhere) == 14 * 6
    assert (
        elsewhere["comment"].eq("embedded-mimic cannot speak to numbers of eICU: report a run with dataset=eicu").all()
    )
    absent = frame[(frame["method"] == "GRAPE") & (frame["dataset"] == "MIMIC-IV")]
    assert absent["comment"].str.contains("not among the rows").all()


def test_a_difference_only_on_the_papers_own_cohort_and_task(store_and_plan):
    frame = beside(store_and_plan, dataset="mimic-iv")
    own = frame[frame["difference"].notna()]
    assert set(own["method"]) == {"CRL-MMNAR", "CM-AE", "cohort"}
    assert (own["difference"] - (own["measured"] - own["published"])).abs().max() == 0
    assert own["comment"].str.contains("labels and preprocessing differ").all()


def test_the_nearest_task_of_eicu_is_named_and_not_subtracted(tmp_path):
    store, plan = fabricate(tmp_path, dataset="eicu", rows=MADE[:1], n=80, folds=2,
                            landmarks={"icu_24h": ("mortality_inhosp",), "unit_discharge": ("icu_readmission",)})  # fmt: skip
    frame = compare_with_published([plan], [build_tidy_frame(store, plan)])
    own = frame[(frame["method"] == "CRL-MMNAR") & (frame["dataset"] == "eICU")].set_index(["task", "metric"])
    readmission, death = own.loc[("readmission_30d", "auc")], own.loc[("mortality_inhosp", "auc")]
    assert readmission["measured_task"] == "icu_readmission"
    assert readmission["measured"] > 0
    assert pd.isna(readmission["difference"])
    assert "nearest task is measured: ICU readmission, same hospital stay" in readmission["comment"]
    assert death["difference"] == death["measured"] - 0.938


def test_counts_come_from_the_plan(store_and_plan):
    frame = beside(store_and_plan).set_index("metric")
    assert frame.loc["cohort_n", "measured"] == 120
    assert frame.loc["cohort_n", "published"] == 20000
    assert pd.isna(frame.loc["has_any_text_n", "measured"])
    landmarks = store_and_plan[1].landmarks
    facts = replace(landmarks["discharge"], modalities={"S": 1.0, "I": 0.25, "T": 0.75, "R": 0.8})
    frame = beside(store_and_plan, landmarks=landmarks | {"discharge": facts})
    assert frame.set_index("metric").loc["has_cxr_n", "measured"] == 30


LADDER = [
    ("crl_mmnar", "concat", "on", "concat", "method", 0.2), ("crl_mmnar", "mmnar", "on", "mmnar", "method", 0.5),
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 1.0),
]  # fmt: skip


def test_the_ladders_steps_are_rows_before_the_rectifier(tmp_path):
    store, plan = fabricate(tmp_path, experiment="table2", rows=LADDER, n=120, folds=2)
    numbers = build_tidy_frame(store, plan)
    auc = numbers.query("metric == 'auc' and task == 'icu_90d'").set_index("variant")["mean"]
    own = compare_with_published([plan], [numbers]).query("task == 'icu_90d'").set_index(["method", "metric"])
    for step, variant in (
        ("Basic Baseline", "concat+no_rectifier"),
        ("+ MR", "no_rectifier"),
        ("+ Rectifier", "default"),
    ):
        assert own.loc[(step, "auc"), "measured"] == auc[variant]
        assert own.loc[(step, "auc"), "measured_variant"] == variant
    assert own.loc[("+ MMNAR", "delta_auc"), "measured"] == auc["mmnar+no_rectifier"] - auc["concat+no_rectifier"]
    assert own.loc[("+ Rectifier", "delta_auc"), "published"] == 0.093


def number(**changes):
    at = {
        "dataset": "embedded-mimic", "protocol": "strict", "landmark": "discharge", "task": "readmission_30d", "method": "crl_mmnar",
        "variant": "default", "group": "all", "metric": "auc", "mean": 0.5, "sd_seeds": float("nan"), "sd_folds": 0.1, "n": 10,
        "status": "done",
    }  # fmt: skip
    return at | changes


@pytest.mark.parametrize(
    ("experiment", "metric", "method", "numbers", "value"),
    [
        ("table3", "auc", "S+R (Struct.+Radio.)", [number(group="S+R", mean=0.7), number()], 0.7),
        ("table3", "n", "S+R (Struct.+Radio.)", [number(group="S+R", n=33), number()], 33),
        ("table3", "auprc", "Mean Imputation", [number(method="mean_impute", metric="auprc", mean=0.3)], 0.3),
        ("embedding", "embedding_norm_max", "AppC.6", [number(metric="norm", group=g, mean=m) for g, m in (("S", 9), ("S+T", 8))], 9),
        ("embedding", "embedding_norm_min", "AppC.6", [number(metric="norm", group=g, mean=m) for g, m in (("S", 9), ("S+T", 8))], 8),
        ("embedding", "pattern_decode_accuracy_pct", "AppC.6", [number(metric="decoded_accuracy", task="", mean=0.9)], 90),
        ("efficiency", "train_hours_low", "AppC.5", [number(metric="fit_seconds", task="", mean=1800)], 0.5),
        ("table4", "max_drop", "Dropout Rate", [number(variant="dropout", task="mean over tasks", metric="max_drop", mean=0.01)], 0.01),
        ("table4", "stability_pct", "Dropout Rate", [number(variant="dropout", task="mean over tasks", metric="stability", mean=99)], 99),
    ],
)  # fmt: skip
def test_counterparts_in_the_frames_of_sections(store_and_plan, experiment, metric, method, numbers, value):
    _, plan = store_and_plan
    frame = pd.DataFrame(numbers)
    found = compare_with_published([replace(plan, experiment=experiment)], [pd.DataFrame({"other": [1]}), frame])
    own = found[(found["metric"] == metric) & (found["method"] == method) & ~found["task"].isin(["icu_90d"])]
    assert own["measured"].tolist() == [value]


def test_what_a_sweep_tried(store_and_plan):
    _, plan = store_and_plan
    cells = [replace(planned, config={"method": {"config": {"lr": 2.8e-4}}}) for planned in plan.cells]
    rows = [replace(plan.rows[0], change={"lr": value}) for value in (1e-5, 1e-3)]
    settings = Settings({"schedule": {"lr_factor": 1.4}})
    swept = replace(plan, experiment="table4", cells=cells, rows=rows, settings=settings)
    own = compare_with_published([swept], []).query("method == 'Learning Rate'").set_index("metric")["measured"]
    assert own[["default", "range_low", "range_high"]].tolist() == [2e-4, 1e-5, 1e-3]
    assert pd.isna(own["max_drop"])


def test_nothing_where_the_paper_has_no_table(store_and_plan):
    store, plan = store_and_plan
    assert load_published("smoke").empty
    assert compare_with_published([replace(plan, experiment="smoke")], [build_tidy_frame(store, plan)]).empty


TITLED = {"30-day": "readmission_30d", "90-day": "icu_90d", "In-hosp": "mortality_inhosp"}


def test_tables_never_mix_and_never_bold(store_and_plan):
    store, plan = store_and_plan
    tables = assemble_report(store.root, [plan]).with_published
    assert [t.title for t in tables] == [
        "Paper, Table 1: MIMIC-IV, 30-day readmission", "Paper, Table 1: MIMIC-IV, 90-day ICU admission",
        "Paper, Table 1: MIMIC-IV, In-hospital mortality", "Paper, Table 1: eICU, 30-day readmission",
        "Paper, Table 1: eICU, In-hospital mortality", "Paper, Text: MIMIC-IV",
    ]  # fmt: skip
    for t in tables[:5]:
        assert "Source of the published column: CRL-MMNAR (arXiv:2509.17228), Table 1" in t.caption
        assert [kind for _, kind in t.columns] == ["published", "measured", "difference"] * 3 + ["comment"]
        assert len(t.rows) == 14
        assert not any(e.bold for _, _, entries in t.rows for e in entries)
        for title, _, entries in t.rows:
            task = next(task for words, task in TITLED.items() if words in t.title)
            dataset = "eICU" if "eICU" in t.title else "MIMIC-IV"
            assert entries[0].mean == paper(
                table="Table1", dataset=dataset, task=task, method_or_row=title, metric="AUC"
            )
            number_of = entries[-1].word
            assert any(note.startswith(f"{number_of}: ") for note in t.notes)


def test_contradictions_are_attached_to_their_numbers():
    with FOOTNOTES.open(encoding="utf-8") as file:
        assert {r["table"] for r in csv.DictReader(file)} == {"Table1", "Table2", "Table3", "Table4", "Text"}
    notes = pd.concat([load_published(name) for name in EXPERIMENTS]).query("footnote != ''")
    marked = notes.groupby("table").size().to_dict()
    assert marked == {"Table1": 5, "Table2": 2, "Table3": 4 + 2 + 2 + 5, "Table4": 5 + 5 + 2, "Text": 2 + 4}


def test_the_contradictions_are_there():
    """Each footnote, recomputed from the printed numbers."""
    for task in ("readmission_30d", "icu_90d"):
        for metric in ("AUC", "AUPRC"):
            at = {"dataset": "MIMIC-IV", "task": task, "metric": metric}
            whole = paper(table="Table1", method_or_row="CRL-MMNAR", **at)
            parts = [float(r["mean"]) for r in PAPER if r["n"] and r["task"] == task and r["metric"] == metric]
            assert max(parts) == whole == paper(table="Table3", method_or_row="S+I+T+R (Complete)", **at)
            assert sorted(parts)[-2] < whole
        at = {"table": "Table3", "task": task, "metric": "AUC"}
        assert paper(method_or_row="S only (Structured)", **at) == paper(method_or_row="Zero-filling + Masking", **at)
    steps = list(ROWS["Table2"])
    wrong = set()
    for r in PAPER:
        if r["metric"] == "delta_AUC":
            at = {"table": "Table2", "dataset": r["dataset"], "task": r["task"], "metric": "AUC"}
            before = steps[steps.index(r["method_or_row"]) - 1]
            step = paper(method_or_row=r["method_or_row"], **at) - paper(method_or_row=before, **at)
            if abs(step - float(r["mean"])) > 5e-4:
                wrong.add((r["dataset"], r["task"], r["method_or_row"]))
    assert wrong == {("eICU", "readmission_30d", "+ MR"), ("eICU", "readmission_30d", "+ Rectifier")}
    assert sum({r["method_or_row"]: int(r["n"]) for r in PAPER if r["n"]}.values()) == 4366
    main = [
        float(r["mean"])
        for r in PAPER
        if (r["table"], r["metric"], r["method_or_row"]) == ("Table1", "AUC", "CRL-MMNAR")
    ]
    ends = [float(r["mean"]) for r in PAPER if r["metric"] in ("auc_low", "auc_high")]
    assert (min(ends), max(ends)) == (0.767, 0.779)
    assert min(main) > 0.86


def test_a_published_table_reads_the_measured_number_of_its_own_plan(store_and_plan):
    store, plan = store_and_plan
    other = replace(plan, protocol="paper")
    frame = compare_with_published([plan, other], [build_tidy_frame(store, plan)])
    strict, paper_protocol = (frame[frame["protocol"] == p] for p in ("strict", "paper"))
    assert strict["measured"].notna().sum() > 10
    assert paper_protocol.query("metric == 'auc'")["measured"].isna().all()
    assert len(build_published_tables(frame, [plan, other])) == 12
    assert find_measured(load_published("table1").iloc[0].to_dict(), plan, []).value is None
