import dataclasses
import os
import re

import pandas as pd
import pytest

from reports.build import COMPARISONS, INTERVALS, assemble_report, write_report
from reports.formats.files import FORMATS, make_slug, render_text
from reports.frames.tidy import COLUMNS, build_tidy_frame
from reports.published.published import LABEL
from reports.report import ReportError
from results.statistics.derive import derive
from tests.stores import ROWS, fabricate


@pytest.fixture(scope="module")
def files(fabricated, tmp_path_factory):
    store, plan = fabricated
    out = tmp_path_factory.mktemp("out") / "new"
    return {p.name: p for p in write_report(assemble_report(store.root, [plan]), out, FORMATS)}


def test_files(files):
    assert list(files) == [
        "table1.csv", "table1_intervals.csv", "table1_comparisons.csv", "table1_published.csv",
        "table1.tex", "table1_1_every_task.tex", "table1_2_share_of_the_ceiling.tex",
        "table1_3_paper_table_1_mimic_iv_30_day_readmission.tex", "table1_4_paper_table_1_mimic_iv_90_day_icu_admission.tex",
        "table1_5_paper_table_1_mimic_iv_in_hospital_mortality.tex", "table1_6_paper_table_1_eicu_30_day_readmission.tex",
        "table1_7_paper_table_1_eicu_in_hospital_mortality.tex", "table1_8_paper_text_mimic_iv.tex",
        "table1_forest_embedded_mimic_strict.pdf", "table1_time_embedded_mimic_strict.pdf", "table1.txt",
        "table1_forest_embedded_mimic_strict.svg", "table1_time_embedded_mimic_strict.svg", "table1.html",
    ]  # fmt: skip
    assert files["table1_time_embedded_mimic_strict.pdf"].read_bytes().startswith(b"%PDF")
    assert b"<svg" in files["table1_time_embedded_mimic_strict.svg"].read_bytes()


def test_the_same_report_twice_is_the_same_bytes(files, fabricated, tmp_path):
    store, plan = fabricated
    for path in write_report(assemble_report(store.root, [plan]), tmp_path, FORMATS):
        assert path.read_bytes() == files[path.name].read_bytes(), path.name


def test_a_table_alone_is_a_part_of_the_document(files):
    document = files["table1.tex"].read_text()
    pieces = [path.read_text() for name, path in files.items() if re.fullmatch(r"table1_\d_.*\.tex", name)]
    assert len(pieces) == 8
    assert all(piece in document for piece in pieces)
    assert document.count("\\includegraphics") == 2


def test_an_interrupted_report_leaves_whole_files(fabricated, tmp_path, monkeypatch):
    store, plan = fabricated
    report = assemble_report(store.root, [plan])
    written = []

    def replace(source, target):
        if written:
            raise KeyboardInterrupt
        written.append(target)
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_report(report, tmp_path, ("csv",))
    assert [p.name for p in tmp_path.iterdir()] == ["table1.csv"]


def test_csv_has_the_contract_columns_and_full_precision(files, fabricated):
    back = pd.read_csv(files["table1.csv"])
    assert tuple(back.columns) == COLUMNS
    frame = build_tidy_frame(*fabricated)
    own = back[~back["metric"].str.startswith("share_")].reset_index(drop=True)
    pd.testing.assert_series_equal(own["mean"], frame["mean"], check_exact=True)
    assert own["status"].tolist() == frame["status"].tolist()
    assert own.loc[own["status"].isin(["failed", "skipped", "missing"]), "mean"].isna().all()
    assert {"share_auc", "share_log_loss"} <= set(back["metric"])
    counts = files["table1.csv"].read_text().splitlines()[1].split(",")[-5:]
    assert counts[:3] == ["5", "1", "150"]


def test_intervals_and_comparisons(files, fabricated):
    store, plan = fabricated
    statistics = store.statistics(plan.name)
    intervals, comparisons = pd.read_csv(files["table1_intervals.csv"]), pd.read_csv(files["table1_comparisons.csv"])
    assert (intervals.columns.tolist(), comparisons.columns.tolist()) == (INTERVALS, COMPARISONS)
    assert (len(intervals), len(comparisons)) == (len(statistics["intervals"]), len(statistics["comparisons"]))
    assert comparisons["p_holm"].notna().sum() == statistics["family"]["size"]
    assert set(comparisons["base_method"]) == {"crl_mmnar"}


def test_measured_and_published_numbers_stand_apart(files):
    tex = files["table1.tex"].read_text()
    measured, published = tex.split(LABEL, 1)
    assert "0.982" in published
    assert "CM-AE (adapted)" not in published
    assert "published" not in measured.lower()
    assert LABEL not in files["table1.txt"].read_text()
    heads = re.findall(r"^ & (published.*) \\\\$", published, flags=re.MULTILINE)
    assert len(heads) == 6
    assert all("published & measured & difference" in head for head in heads)


def test_the_same_numbers_everywhere(files, fabricated):
    frame = build_tidy_frame(*fabricated)
    tex, text = files["table1.tex"].read_text(), files["table1.txt"].read_text()
    printed = frame[frame["metric"].isin(["auc", "auprc", "brier"]) & frame["mean"].notna()]
    for value in printed["mean"]:
        assert f"{value:.3f}" in tex
        assert f"{value:.3f}" in text


def test_text_is_what_the_terminal_gets(files, fabricated):
    store, plan = fabricated
    assert render_text(assemble_report(store.root, [plan]).measured) == files["table1.txt"].read_text()


def test_each_plan_has_its_table(tmp_path):
    options = {"rows": ROWS[1:2], "n": 40, "folds": 2}
    plans = [fabricate(tmp_path, **options, dataset=name)[1] for name in ("embedded-mimic", "eicu-demo")]
    csv, *_, tex = write_report(assemble_report(tmp_path, plans), tmp_path / "out", ("csv", "tex"))[:5]
    assert set(pd.read_csv(csv)["dataset"]) == {"eicu-demo", "embedded-mimic"}
    measured = tex.read_text().split(LABEL)[0]
    assert len(re.findall(r"\\begin\{tabular\}", measured)) == 2


def test_a_row_that_does_not_speak_of_a_task_is_a_dash_and_no_missing_cell(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:], n=40, folds=2)
    plan = dataclasses.replace(
        plan, cells=[p for p in plan.cells if (p.cell.method, p.cell.landmark) != ("ceiling", "discharge")]
    )
    frame = build_tidy_frame(store, plan)
    assert set(frame[frame["method"] == "ceiling"]["landmark"]) == {"icu_24h"}
    line = next(
        line
        for line in render_text(assemble_report(store.root, [plan]).measured).splitlines()
        if line.startswith("ceiling")
    )
    assert line.split()[-6:] == ["–"] * 6


def test_a_row_on_some_of_the_stays_says_so(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:], n=200, partial_rows=("ceiling",))
    text = render_text(assemble_report(store.root, [plan]).measured)
    assert "ceiling (In-hospital mortality): on the 100 of 200 stays that have its prediction." in text
    assert "CM-AE (adapted) (In-hospital mortality)" not in text


def test_other_experiments_have_no_published_file(tmp_path):
    _, plan = fabricate(tmp_path, experiment="smoke", rows=ROWS[1:2], n=40, folds=2)
    names = [p.name for p in write_report(assemble_report(tmp_path, [plan]), tmp_path / "out")]
    assert names == [
        "smoke.csv", "smoke_intervals.csv", "smoke_comparisons.csv", "smoke.tex", "smoke_1_every_task.tex", "smoke.html",
    ]  # fmt: skip
    assert LABEL not in (tmp_path / "out" / "smoke.tex").read_text()
    # no statistics were stored: the files say so by having no row
    assert pd.read_csv(tmp_path / "out" / "smoke_intervals.csv").empty


def test_a_called_win_is_bold_in_print(tmp_path):
    rows = (
        ("crl_mmnar", "default", "off", "CRL-MMNAR", "method", 3.0),
        ("cm_ae", "default", "off", "CM-AE", "method", 0.0),
    )
    store, plan = fabricate(tmp_path, rows=rows, n=400, landmarks={"icu_24h": ("mortality_inhosp",)})
    store.write_statistics(plan.name, derive(store, plan, resamples=20))
    tex = write_report(assemble_report(tmp_path, [plan]), tmp_path / "out", ("tex",))[0].read_text()
    assert re.search(r"CRL-MMNAR & \{\\bfseries\\boldmath\\num\{0\.\d{3}\}\}", tex)
    assert tex.count(r"\bfseries") == 1


def test_an_unknown_format_is_one_line_and_writes_nothing(fabricated, tmp_path):
    store, plan = fabricated
    with pytest.raises(ReportError, match="format 'docx' is none of csv, tex, html, txt"):
        write_report(assemble_report(store.root, [plan]), tmp_path, ("csv", "docx"))
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_one_line(fabricated, tmp_path):
    store, plan = fabricated
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(ReportError, match=r"cannot write .*; choose another out=DIR"):
        write_report(assemble_report(store.root, [plan]), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Every task (eicu-demo, strict)", "every_task_eicu_demo_strict"),
        ("../../Ünïc/ode\n漢", "unic_ode"),
        ("漢", "table"),
        ("a" * 99, "a" * 60),
    ],
)
def test_names_of_files_are_plain(text, name):
    assert make_slug(text) == name
