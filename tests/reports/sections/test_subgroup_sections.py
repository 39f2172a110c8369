"""The sections of table3, fairness and sites, from fabricated stores."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.build import assemble_report, write_report
from reports.figures.heat_map import draw_heat_map
from reports.frames.tidy import COLUMNS
from reports.sections import load_section
from reports.sections.sites import subtract_estimates
from reports.sections.table3 import AT_LEAST, format_pattern
from reports.tables.table import format_entry
from results.plan import Arm, Settings
from results.statistics.derivations import groups, hospitals, patterns
from results.statistics.derive import derive
from tests.stores import ROWS, fabricate, rewrite

MANY = [f"structured+p{i}" for i in range(14)]
"""Patterns of three stays each."""


def pattern_of(row):
    return np.where(row < 3 * len(MANY), np.array(MANY)[np.minimum(row // 3, len(MANY) - 1)], "structured")


def store_of(root, name, experiment, **options):
    """A store whose plan has the derivation ``name`` stored: patterns as above, sexes and hospitals."""
    store, plan = fabricate(root, experiment=experiment, n=240, folds=3, **options)
    for planned in plan.cells:
        record = store.record(planned)
        if record and record["status"] == "done":
            frame = store.predictions(planned)
            rewrite(store, planned, record, {"predictions": frame.assign(pattern=pattern_of(frame["row"].to_numpy()))})
    row = np.arange(240)
    frame = pd.DataFrame(
        {"row": row, "sex": np.where(row % 5 == 0, None, np.where(row % 2, "male", "female")), "site": row % 6}
    )
    store.write_groups(plan.name, pd.concat([frame.assign(landmark=lm) for lm in plan.landmarks]))
    derivation = {"patterns": patterns, "groups": groups, "hospitals": hospitals}[name]
    store.write_statistics(plan.name, derive(store, plan, 20) | {name: derivation.derive(store, plan, 20)})
    return store, plan


LOST = {
    "failed": [("cm_ae", "icu_24h", fold) for fold in range(3)],
    "skipped": [("s_only", "discharge", fold) for fold in range(3)],
    "missing": [("ceiling", "discharge", fold) for fold in range(3)] + [("ceiling", "icu_24h", 1)],
}


@pytest.fixture(scope="module")
def by_pattern(tmp_path_factory):
    store, plan = store_of(tmp_path_factory.mktemp("store"), "patterns", "table3", **LOST)
    return store, plan, load_section(store, [plan])


@pytest.fixture(scope="module")
def by_group(tmp_path_factory):
    store, plan = store_of(tmp_path_factory.mktemp("store"), "groups", "fairness", **LOST)
    return store, plan, load_section(store, [plan])


def row_of(table, title):
    return next([format_entry(e) for e in entries] for name, _, entries in table.rows if name == title)


def heads(table):
    return [" ".join(c) for c in table.columns]


def test_words_stand_where_there_are_no_numbers(by_pattern):
    _, _, section = by_pattern
    table = next(t for t in section.tables if t.caption.startswith("AUC by observation pattern, In-hospital"))
    cells = dict(zip(heads(table), row_of(table, "structured"), strict=True))
    assert cells["CM-AE (adapted) AUC"] == "failed"
    assert cells["ceiling AUC"].endswith("†")
    assert float(cells["CRL-MMNAR AUC"][:5]) > 0.5
    assert any("out of memory" in note for note in table.notes)
    table = next(t for t in section.tables if t.caption.startswith("AUC by observation pattern, 30-day"))
    cells = dict(zip(heads(table), row_of(table, "structured"), strict=True))
    assert (cells["S only & nothing_else AUC"], cells["ceiling AUC"]) == ("skipped", "missing")
    assert row_of(table, MANY[0])[0] == "3"
    assert row_of(table, MANY[0])[2] == "too few"
    assert any(note.startswith("too few: fewer than ten positives") for note in table.notes)


def test_rare_patterns_are_counted_where_they_are_not_printed(by_pattern):
    _, _, section = by_pattern
    table = section.tables[0]
    assert len(table.rows) == 1 + AT_LEAST
    left = len(MANY) + 1 - AT_LEAST
    assert f"Not shown, in the CSV: {left} rarer patterns with {3 * left} stays." in table.notes
    frame = section.frames["_patterns"]
    assert set(frame.loc[frame["attribute"] == "pattern", "group"]) == {*MANY, "structured"}


def test_the_csv_has_the_tidy_columns_and_the_printed_numbers(by_pattern, tmp_path):
    store, plan, section = by_pattern
    write_report(assemble_report(store.root, [plan]), tmp_path, ("csv", "tex", "txt"))
    frame = pd.read_csv(tmp_path / "table3_patterns.csv")
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert {"ci_low", "ci_high", "attribute", "alarm_share", "note"} <= set(frame.columns)
    assert set(frame["status"]) == {"done", "partial", "failed", "skipped", "missing", "too_few"}
    given = frame["status"].isin(["done", "partial"])
    assert frame.loc[~given, "mean"].isna().all()
    assert frame.loc[given, "mean"].notna().all()
    assert frame.loc[~given, "note"].notna().all()
    own = frame.query(
        "task == 'mortality_inhosp' and method == 'crl_mmnar' and variant == 'default' and group == 'structured'"
    )
    auc = own.set_index("metric").loc["auc"]
    printed = dict(zip(heads(section.tables[0]), row_of(section.tables[0], "structured"), strict=True))
    assert printed["CRL-MMNAR AUC"] == f"{auc['mean']:.3f} [{auc['ci_low']:.3f}, {auc['ci_high']:.3f}]"
    assert printed["Stays N"] == str(auc["n"])
    assert "table3_patterns" not in (tmp_path / "table3.txt").read_text()


def test_every_table_says_what_it_is_of(by_pattern, by_group):
    for _, plan, section in (by_pattern, by_group):
        for table in section.tables:
            for part in ("N = 240", "3 folds, 1 seed", "strict protocol", plan.commit[:10], plan.dataset):
                assert part in table.caption
        for figure in section.figures:
            assert figure.alt
            assert plan.commit[:10] in figure.caption
        assert len({f.name for f in section.figures}) == len(section.figures) == 3


def test_the_heat_map_has_every_number_and_the_words(by_pattern):
    _, _, section = by_pattern
    texts = {t.get_text() for t in section.figures[0].mpl_figure.axes[0].texts}
    cells = dict(zip(heads(section.tables[0]), row_of(section.tables[0], "structured"), strict=True))
    assert cells["CRL-MMNAR AUC"][1:5] in texts
    assert {"failed", "too\nfew"} <= texts


def test_a_heat_map_hatches_what_has_no_number():
    numbers = pd.DataFrame([[0.5, np.nan], [0.9, 0.7]], ["a", "b"], ["x", "y"])
    picture = draw_heat_map(numbers, numbers.map("{:.1f}".format), "AUC", 0.5, 0.9)
    patches = picture.axes[0].patches
    assert [bool(p.get_hatch()) for p in patches] == [False, True, False, False]
    light = [sum(p.get_facecolor()[:3]) for p in patches if not p.get_hatch()]
    assert light[0] < light[2] < light[1]
    assert [t.get_color() for t in picture.axes[0].texts] == ["white", "black", "black", "black"]


def test_long_patterns_are_named_by_what_is_absent():
    ten = [f"m{i}" for i in range(10)]
    assert format_pattern("+".join(ten), ten) == "all 10 modalities"
    assert format_pattern("+".join(ten[:8]), ten) == "without m8, m9"
    assert format_pattern("m0+m1", ten) == "m0+m1"
    assert format_pattern("S+T", ["S", "I", "T", "R"]) == "S+T"


def test_fairness_prints_the_reference_in_full_and_every_row_s_gaps(by_group):
    _, _, section = by_group
    own, gaps = section.tables[:2]
    assert own.caption.startswith("CRL-MMNAR by group, In-hospital mortality (icu_24h)")
    assert [title for title, _, _ in own.rows] == ["sex: female", "sex: male", "sex: unknown"]
    assert "highest 20% of the validation part's predictions" in own.caption
    assert "without reading any outcome" in gaps.caption
    frame = section.frames["_groups"].query(
        "task == 'mortality_inhosp' and method == 'crl_mmnar' and variant == 'default'"
    )
    assert (frame["alarm_share"] == 0.2).all()
    at = frame.set_index(["group", "metric"])
    largest, other = "female", "male"  # of equal size: the first by name
    gap = at.loc[(other, "gap_tpr"), "mean"]
    assert gap == pytest.approx(at.loc[(other, "tpr"), "mean"] - at.loc[(largest, "tpr"), "mean"])
    printed = dict(zip(heads(gaps), row_of(gaps, f"sex: {other}"), strict=True))
    assert printed["CRL-MMNAR TPR gap"].startswith(f"{gap:+.3f} [")
    assert printed["CM-AE (adapted) TPR gap"] == "failed"
    assert set(row_of(gaps, f"sex: {largest}")[2:]) == {"compared with"}
    assert (largest, "gap_tpr") not in at.index


def test_a_row_that_is_not_drawn_says_so_in_the_legend(by_group):
    _, _, section = by_group
    labels = [t.get_text() for t in section.figures[0].mpl_figure.legends[0].get_texts()]
    assert "CM-AE (adapted) (failed)" in labels


def test_a_cohort_without_groups_gets_one_sentence(tmp_path):
    store, plan = fabricate(tmp_path, experiment="fairness", rows=ROWS[:1], n=80, folds=2)
    (table,) = load_section(store, [plan]).tables
    assert "nothing derived yet" in table.caption
    store.write_statistics(plan.name, derive(store, plan, 5) | {"groups": groups.derive(store, plan, 5)})
    (table,) = load_section(store, [plan]).tables
    assert (
        table.rows[0][2][0].word
        == "embedded-mimic records no groups of patients, so that this experiment says nothing about them"
    )
    files = write_report(assemble_report(tmp_path, [plan]), tmp_path / "out", ("csv", "tex"))
    assert tmp_path / "out" / "fairness_groups.csv" in files


def test_mover_of_symmetric_and_of_skewed_intervals():
    assert subtract_estimates((0.8, 0.77, 0.83), (0.7, 0.66, 0.74)) == pytest.approx((0.1, 0.05, 0.15))
    value, low, high = subtract_estimates((0.8, 0.5, 0.81), (0.7, 0.69, 0.9))
    assert (value - low, high - value) == pytest.approx((math.hypot(0.3, 0.2), math.hypot(0.01, 0.01)))


@pytest.fixture(scope="module")
def by_site(tmp_path_factory):
    """Two arms in one store, whose cells differ in their keys alone; under ``sites`` CM-AE failed at discharge."""
    root, plans = tmp_path_factory.mktemp("store"), []
    for draw, (arm, lost) in enumerate({"sites": [("cm_ae", "discharge", f) for f in range(3)], "folds": []}.items()):
        store, plan = store_of(root, "hospitals", "sites", draw=draw, failed=lost, split=arm)
        plans.append(replace(plan, arm=Arm(arm, "split", arm), settings=Settings({"split": arm})))
    return store, plans


def test_arms_stand_side_by_side_and_are_not_mixed_up(by_site):
    store, plans = by_site
    section = load_section(store, plans)
    table = section.tables[0]
    assert [metric for _, metric in table.columns] == ["random folds", "unseen hospitals", "difference"]
    stored = {
        plan.arm.name: next(
            i for i in store.statistics(plan.name)["intervals"]
            if (i["method"], i["task"], i["metric"]) == ("s_only", "mortality_inhosp", "auc")
        )
        for plan in plans
    }  # fmt: skip
    folds, sites = stored["folds"], stored["sites"]
    assert folds["value"] != sites["value"]
    value, low, high = subtract_estimates(*((i["value"], i["ci_low"], i["ci_high"]) for i in (sites, folds)))
    assert row_of(table, "S only & nothing_else") == [
        f"{folds['value']:.3f} [{folds['ci_low']:.3f}, {folds['ci_high']:.3f}]",
        f"{sites['value']:.3f} [{sites['ci_low']:.3f}, {sites['ci_high']:.3f}]",
        f"{value:+.3f} [{low:.3f}, {high:.3f}]",
    ]
    assert row_of(section.tables[1], "CM-AE (adapted)")[1:3] == ["failed", "failed"]
    assert "Hospitals tested: random folds: 2 in a fold's test part; unseen hospitals: 2 in" in table.caption
    assert "arm sites" not in table.caption
    frame = section.frames["_arms"]
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert set(frame["arm"]) == {"folds", "sites", "sites - folds"}
    lost = frame.query("arm == 'sites - folds' and method == 'cm_ae' and landmark == 'discharge'")
    assert set(lost["status"]) == {"failed"}
    assert lost["note"].str.startswith("unseen hospitals: 3 failed of 3 cells").all()
    assert set(section.frames["_hospitals"]["arm"]) == {"folds", "sites"}


def test_one_arm_alone_says_that_the_other_is_missing(by_site):
    store, plans = by_site
    table = load_section(store, plans[:1]).tables[0]
    assert row_of(table, "S only & nothing_else")[::2] == ["missing", "missing"]
    assert "random folds: missing, this arm is not run." in table.notes


def test_hospitals_are_drawn_where_they_have_events(by_site):
    store, plans = by_site
    section = load_section(store, plans)
    frame = section.frames["_hospitals"].query("arm == 'sites' and task == 'mortality_inhosp' and method == 's_only'")
    able = frame["status"].isin(["done", "partial"]).sum()
    assert 0 < able < 6
    figure = next(f for f in section.figures if "mortality" in f.name)
    assert len(figure.mpl_figure.axes[0].get_yticks()) == able
    assert f"{6 - able} of 6 hospitals have fewer than ten positives" in figure.caption
    assert any(f"{6 - able} of 6 hospitals" in note for note in section.tables[0].notes)
