"""Two ways of saying the same thing are one plan with the same cells; and what a command line changed is named in every output."""

import json

import pandas as pd
import pytest

from benchmark.errors import UsageError
from benchmark.plan.config import load_arms, load_config
from benchmark.plan.plan import plan_run
from benchmark.plan.rows import select_method_rows
from methods import registry
from tests.benchmark.conftest import SMALL

SAME = [
    (["method=logistic,s_only"], ["method=s_only,logistic"]),
    (["method=logistic"], ["method=logistic,logistic:"]),
    (["method=logistic"], ["method=[ logistic, ,logistic ]"]),
    (["method=crl_mmnar:mmnar,crl_mmnar"], ["method=crl_mmnar,crl_mmnar:mmnar"]),
    (
        ["method=logistic", "known=ceiling,oracle_features"],
        ["method=logistic", "known=oracle_features,ceiling,ceiling"],
    ),
    (["method=logistic", "known=none"], ["method=logistic", "known="]),
    (["method=logistic", "known=all"], ["method=logistic", "known=ceiling,all"]),
    (["method=logistic", "protocol=paper"], ["method=logistic", "protocol=paper", "landmark=stay"]),
    (["method=logistic", "seeds=2"], ["seeds=2", "method=logistic"]),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=lambda given: " ".join(given))
def test_the_same_meaning_is_the_same_plan(built, one, other):
    found = [plan_run(load_config("smoke", [*SMALL, f"built={built}", *given])).plan for given in (one, other)]
    assert found[0].name == found[1].name
    assert found[0].rows == found[1].rows
    assert found[0].cells == found[1].cells
    assert len({cell.key for cell in found[0].cells}) == len(found[0].cells)


def test_all_takes_in_methods_named_with_it_but_no_name_that_is_none():
    assert load_config("smoke", ["method=logistic,all,crl_mmnar:mmnar"]).methods == ["all", "crl_mmnar:mmnar"]
    with pytest.raises(registry.UnknownMethod, match="logistik"):
        load_config("smoke", ["method=all,logistik"])
    with pytest.raises(UsageError, match="none stands alone"):
        load_config("smoke", ["known=none,ceiling"])


def test_rows_come_in_print_order_however_they_are_asked_for():
    rows = select_method_rows(load_config("smoke", ["method=crl_mmnar,crl_mmnar:mmnar,hgmf,logistic"]))
    assert [(row.method, row.variant) for row in rows] == [
        ("logistic", "default"), ("hgmf", "default"), ("crl_mmnar", "mmnar"), ("crl_mmnar", "default"),
    ]  # fmt: skip


def test_arms_are_the_same_in_any_order_and_a_blank_is_none():
    names = [config.arm for config in load_arms("mechanisms", [])][:2]
    of = [[c.arm for c in load_arms("mechanisms", [f"arm={text}"])] for text in (
        ",".join(names), ",".join(reversed(names)), f"{names[1]}, {names[0]},{names[0]},",
    )]  # fmt: skip
    assert of == [names] * 3


def test_titles_that_two_rows_share_name_their_methods(monkeypatch):
    info = registry.info

    def with_one_title(name):
        from dataclasses import replace

        return replace(info(name), title="Ours") if name in ("logistic", "s_only") else info(name)

    monkeypatch.setattr(registry, "info", with_one_title)
    rows = select_method_rows(load_config("smoke", ["method=logistic,s_only,mean_impute"]))
    titles = [row.title for row in rows]
    assert {"Ours [logistic]", "Ours [s_only]"} < set(titles)
    assert len(set(titles)) == 3


def test_what_was_changed_is_named_in_every_output(cli, tmp_path):
    shape = (*SMALL, "landmark=icu_24h", "known=none", "reference=s_only", "schedule.max_epochs=1")
    given = ("method.hidden=8", "method=s_only,logistic")
    assert cli("run", "smoke", *shape, *given)[0] == 0
    assert cli("status", "smoke", "method=logistic,s_only", "method.hidden=8")[0] == 0
    status, printed, _ = cli("report", "smoke", "--format", "csv,tex,html,txt", "method=logistic,s_only,logistic")
    assert (status, "(hidden=8)" in printed) == (0, True)
    out = tmp_path / "out"
    tidy = pd.read_csv(out / "smoke.csv")
    assert set(zip(tidy["method"], tidy["variant"], strict=True)) == {("s_only", "hidden=8"), ("logistic", "default")}
    intervals = pd.read_csv(out / "smoke_intervals.csv")
    assert set(intervals["variant"]) == {"hidden=8", "default"}
    comparisons = pd.read_csv(out / "smoke_comparisons.csv")
    assert set(comparisons["base_variant"]) == {"hidden=8"}
    for name in ("smoke.tex", "smoke.html", "smoke.txt"):
        assert "(hidden=8)" in (out / name).read_text(encoding="utf-8").replace("{}", ""), name
        text = (out / name).read_text(encoding="utf-8").replace("\\_", "_")
        assert "schedule: own (max_epochs=1)" in text or "schedule: short (max_epochs=1)" in text, name
    cells = str(tmp_path / "cells")
    rows = json.loads(cli("compare", cells, cells, "smoke", "--json")[1])["rows"]
    assert {row["variant"] for row in rows if row["method"] == "s_only"} == {"hidden=8"}
    assert cli("store", "export", str(tmp_path / "public"), "--public", "smoke")[0] == 0
    facts = json.loads((tmp_path / "public" / "plans.json").read_text())
    assert "hidden=8" in {row["variant"] for row in facts[0]["rows"]}
    assert set(pd.read_csv(tmp_path / "public" / "metrics.csv").query("method == 's_only'")["variant"]) == {"hidden=8"}
