import re

import pytest

from reports.figures.curve_figures import LINES, draw_curve_figures, group_lines
from reports.figures.drawing import create_figure
from reports.figures.forest import CALLED, KNOWN, UNCALLED, draw_forest
from reports.figures.time_figure import draw_time_figure
from reports.formats.pictures import embed_svg, render_figure
from reports.report import Figure
from reports.sections import load_section
from results.statistics.derive import derive
from tests.stores import ROWS, fabricate


def test_forest_has_every_comparison_and_says_where_there_is_none(fabricated):
    store, plan = fabricated
    figure = draw_forest(store, plan)
    comparisons = [c for c in store.statistics(plan.name)["comparisons"] if c["metric"] == "auc"]
    panels = figure.mpl_figure.axes
    assert len(panels) == 3
    for ax, task in zip(panels, ("mortality_inhosp", "readmission_30d", "icu_90d"), strict=True):
        own = [c for c in comparisons if c["task"] == task]
        drawn = [float(line.get_xdata()[0]) for line in ax.lines if line.get_linestyle() == "None"]
        assert sorted(drawn) == sorted(c["difference"] for c in own if c["difference"] is not None)
        words = [t.get_text() for t in ax.texts]
        assert words.count("no comparison") == sum(c["difference"] is None for c in own)
    names = [t.get_text() for t in panels[0].get_yticklabels()]
    assert names == ["CRL-MMNAR, before the rectifier", "CM-AE (adapted)", "S only & nothing_else", "GRU-D", "ceiling"]
    assert "N = 150" in figure.caption
    assert "30-day readmission: CRL-MMNAR is called" in figure.alt


def test_what_is_called_is_filled_and_has_a_mark_of_its_own(tmp_path):
    rows = (
        ("crl_mmnar", "default", "off", "Ours", "method", 3.0),
        ("cm_ae", "default", "off", "Theirs", "method", 0.0),
    )
    store, plan = fabricate(tmp_path, rows=rows, n=400, landmarks={"icu_24h": ("mortality_inhosp",)})
    store.write_statistics(plan.name, derive(store, plan, resamples=20))
    figure = draw_forest(store, plan)
    point = next(line for line in figure.mpl_figure.axes[0].lines if line.get_linestyle() == "None")
    assert point.get_markerfacecolor() == CALLED["worse"][1].colour
    assert "Ours is called better than Theirs" in figure.alt
    looks = [*CALLED.values(), UNCALLED, KNOWN]
    assert len({(look.marker, filled) for _, look, filled in looks}) == len(looks)


def test_no_forest_without_statistics_or_reference(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=40, folds=2)
    assert draw_forest(store, plan) is None
    store.write_statistics(plan.name, derive(store, plan, resamples=0))
    assert draw_forest(store, plan) is None


@pytest.mark.parametrize("others", [0, 1, 6, 7, 20, 45])
def test_at_most_eight_lines_a_panel_and_nobody_left_out(others):
    common = [("ceiling", "default"), ("crl_mmnar", "default")]
    keys = [*((f"m{i}", "default") for i in range(others)), *common]
    groups = group_lines(keys, common)
    assert all(len(group) <= LINES and set(common) <= set(group) for group in groups)
    assert [k for group in groups for k in group if k not in common] == keys[:others]
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_curves_by_task_each_with_a_mark_of_its_own(with_curves):
    store, plan = with_curves
    roc, precision, reliability = draw_curve_figures(store, plan)
    assert [f.name.partition("-")[0] for f in (roc, precision, reliability)] == ["roc", "pr", "reliability"]
    # CM-AE has no curve at icu_24h, GRU-D none at discharge
    assert [len([line for line in ax.lines if len(line.get_xdata()) == 52]) for ax in roc.mpl_figure.axes] == [5, 5, 5]
    for figure in (roc, precision, reliability):
        panel = figure.mpl_figure.axes[1]
        lines = [line for line in panel.lines if line.get_marker() != "None" and len(line.get_xdata())]
        looks = {(line.get_marker(), line.get_linestyle()) for line in lines}
        assert len(looks) == len(lines) == 5
    names = {t.get_text() for t in roc.mpl_figure.axes[-1].get_legend().get_texts()}
    assert "CM-AE (adapted)" in names
    assert "GRU-D (30-day readmission: no cell is done)" in roc.caption


def test_time_against_auc(fabricated):
    store, plan = fabricated
    figure = draw_time_figure(store, plan)
    ax = figure.mpl_figure.axes[1]
    points = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ax.lines}
    intervals = store.statistics(plan.name)["intervals"]
    auc = {
        (v["method"], v["variant"]): v["value"]
        for v in intervals
        if (v["task"], v["metric"]) == ("readmission_30d", "auc")
    }
    expected = {
        (1.5 + 0.2 + len("crl_mmnar"), auc["crl_mmnar", "default"]), (1.5 + 0.2 + len("cm_ae"), auc["cm_ae", "default"]),
        (1.5 + (0 + 0.1 + 0.3 + 0.4) / 4 + len("s_only"), auc["s_only", "default"]),
    }  # fmt: skip
    assert {(round(x, 9), y) for x, y in points} == {(round(x, 9), y) for x, y in expected}
    assert {t.get_text() for t in ax.texts} == {"CRL-MMNAR", "CM-AE", "S only & nothing_else"}
    assert "CM-AE (adapted) is fastest" in figure.alt


def test_what_cannot_be_drawn_is_said(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=40, folds=2)
    section = load_section(store, [plan])
    assert section.figures == ()
    assert len(section.notes) == 5
    assert all(note.startswith("No ") for note in section.notes)


def test_smoke_has_the_figures_of_the_main_table(tmp_path):
    store, plan = fabricate(tmp_path, experiment="smoke", rows=ROWS[:2], n=40, folds=2)
    store.write_statistics(plan.name, derive(store, plan, resamples=5))
    assert [f.name for f in load_section(store, [plan]).figures] == [
        "forest-embedded-mimic-strict",
        "time-embedded-mimic-strict",
    ]


def test_a_drawing_in_a_page_has_ids_of_its_own():
    picture, (ax,) = create_figure(2, 2)
    ax.plot([0, 1], [0, 1], marker="o")
    ax.set_title("<b> & text")
    drawn = render_figure(Figure("f", "c", "a", picture), "svg")
    text = embed_svg(drawn, "figure-7")
    assert text.startswith("<svg")
    assert "http" not in text
    assert "<metadata" not in text
    names = set(re.findall(r'\sid="([^"]+)"', text))
    assert names
    assert all(name.startswith("figure-7-") for name in names)
    used = set(re.findall(r'xlink:href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used
    assert used <= names
    assert "&lt;b&gt; &amp; text" in text
