"""The ladder's section: the numbers of the derivation in table, frame and figure, and words where there are none."""

import pytest

from reports.sections.table2 import section
from reports.tables.table import build_text_frame, format_entry
from results.statistics.derivations import steps
from tests.stores import fabricate

ROWS = (
    ("crl_mmnar", "concat", "off", "concat", "method", 0.2),
    ("crl_mmnar", "mmnar", "off", "mmnar", "method", 0.5),
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 0.8),
)


def made(root, rows=ROWS, **options):
    store, plan = fabricate(root, experiment="table2", rows=rows, n=90, folds=3, **options)
    records = steps.derive(store, plan, 30)
    store.write_statistics(plan.name, {"steps": records})
    return records, section(store, [plan])


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return made(tmp_path_factory.mktemp("store"))


def test_the_table_prints_what_was_derived(case):
    records, section = case
    shown = build_text_frame(section.tables[0])
    assert shown.index.tolist() == ["Basic baseline", "+ MMNAR", "+ MR", "+ Rectifier"]
    assert (shown.loc["Basic baseline"].iloc[1::3] == "–").all()
    for r in (r for r in records if r["metric"] == "auc"):
        tasks = ["mortality_inhosp", "readmission_30d", "icu_90d"]
        place = 3 * tasks.index(r["task"])
        value, difference, p = shown.loc[r["name"]].iloc[place : place + 3]
        assert value.startswith(f"{r['value']:.3f}")
        assert f"{r['difference']:+.3f} [{r['ci_low']:.3f}, {r['ci_high']:.3f}]" == difference.replace("*", "")
        assert p == ("< .001" if r["p_holm"] < 0.001 else f"{r['p_holm']:.3f}")


def test_each_step_names_the_one_thing_it_changes(case):
    for table in case[1].tables:
        assert [note.split(":")[0] for note in table.notes] == ["Basic baseline", "+ MMNAR", "+ MR", "+ Rectifier"]


def test_auprc_and_brier_stand_in_a_table_of_their_own_and_the_csv_has_all(case):
    records, section = case
    assert {head for _, head in section.tables[1].columns} == {"AUPRC", "Brier", "Difference"}
    frame = section.frames["_steps"]
    assert len(frame) == len(records) == 27
    assert frame["mean"].tolist() == [r["difference"] for r in records]
    assert set(frame["metric"]) == {"difference_auc", "difference_auprc", "difference_brier"}
    assert (frame["n"] == 90).all()


def test_a_failed_step_is_visible_in_table_and_frame_and_in_the_step_after(tmp_path):
    from itertools import product

    failed = [("crl_mmnar", lm, f) for lm, f in product(("icu_24h",), range(3))]
    rows = (*ROWS[:2], ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 0.8))
    _, section = made(tmp_path, rows, failed=failed)
    first = {title: [format_entry(e) for e in entries[:3]] for title, _, entries in section.tables[0].rows}
    assert first["+ MR"] == ["failed", "failed", "–"]
    frame = section.frames["_steps"]
    assert set(frame.loc[frame["landmark"] == "icu_24h", "status"]) == {"failed"}
    assert any("out of memory" in note for note in section.tables[0].notes)


def test_a_step_that_was_not_planned_is_a_word(tmp_path):
    rows = (ROWS[0], ROWS[1], ("crl_mmnar", "default", "off", "CRL-MMNAR", "method", 0.8))
    _, section = made(tmp_path, rows)
    last = [format_entry(e) for e in section.tables[0].rows[-1][2]]
    assert last == ["not planned", "not planned", "–"] * 3
    assert "not planned" in set(section.frames["_steps"]["status"])


def test_the_figure_has_a_panel_a_metric(case):
    (figure,) = case[1].figures
    labels = [axes.get_xlabel().splitlines()[0] for axes in figure.mpl_figure.axes]
    assert labels == ["Difference in AUC", "Difference in AUPRC", "Difference in Brier"]
    assert "+ Rectifier" in figure.alt
