import numpy as np
import pandas as pd
import pytest

from reports.figures.critical_difference import draw_critical_difference
from results.statistics.ranking import rank_methods


def values(cohorts, methods=6, gap=1.0):
    rng = np.random.default_rng(0)
    names = [f"method {i}" for i in range(methods)]
    drawn = rng.normal(-gap * np.arange(methods), 1, (cohorts, methods))
    return pd.DataFrame(drawn, [f"cohort_{i}" for i in range(cohorts)], names)


def lines(drawn):
    return drawn.mpl_figure.axes[0].get_lines()


def test_bars_span_the_cliques_and_the_scale_is_the_critical_difference():
    ranking = rank_methods(values(12))
    drawn = draw_critical_difference(ranking)
    bars = [line.get_ydata() for line in lines(drawn) if line.get_linewidth() == 4]
    order = list(ranking.ranks.index)
    assert len(ranking.cliques) > 1
    assert [(order[round(y[0] + 0.25)], order[round(y[1] - 0.25)]) for y in bars] == [
        (clique[0], clique[-1]) for clique in ranking.cliques
    ]
    dots = {line.get_ydata()[0]: line.get_xdata()[0] for line in lines(drawn) if line.get_marker() == "o"}
    assert dots == pytest.approx(dict(enumerate(ranking.ranks)))
    (scale,) = [line.get_xdata() for line in lines(drawn) if line.get_marker() == "|"]
    assert scale[1] - scale[0] == pytest.approx(ranking.critical_difference)
    assert f"{ranking.critical_difference:.2f}" in drawn.caption
    assert "12 independent cohorts (cohort_0, " in drawn.caption
    assert f"{order[0]} {ranking.ranks.iloc[0]:.2f}" in drawn.alt
    assert f"Not told apart: {ranking.cliques[0][0]} to" in drawn.alt


def test_overlapping_bars_stand_beside_each_other():
    bars = [line for line in lines(draw_critical_difference(rank_methods(values(12)))) if line.get_linewidth() == 4]
    for i, a in enumerate(bars):
        for b in bars[:i]:
            if a.get_xdata()[0] == b.get_xdata()[0]:
                assert min(a.get_ydata()) > max(b.get_ydata())


@pytest.mark.parametrize(("given", "words"), [
    (values(3), "the Friedman test needs 11 independent cohorts"),
    (pd.DataFrame([np.roll(range(6), i) for i in range(12)], columns=list("abcdef")).rename(index=str), "finds no difference"),
])  # fmt: skip
def test_without_a_test_there_are_ranks_and_the_reason_but_no_bars(given, words):
    drawn = draw_critical_difference(rank_methods(given))
    assert words in drawn.caption
    assert "critical difference is" not in drawn.caption
    assert [line for line in lines(drawn) if line.get_linewidth() == 4 or line.get_marker() == "|"] == []
    assert len([line for line in lines(drawn) if line.get_marker() == "o"]) == 6


def test_without_ranks_it_says_why():
    drawn = draw_critical_difference(rank_methods(values(12).mask(values(12) > 1)))
    assert "Not ranked: no value for" in drawn.caption
    assert "Not ranked: no value for" in drawn.alt
    assert list(lines(drawn)) == []
