"""The report of ``worlds``: draws of a world joined, arms that were not run visible, weak rows listed with the reason of their INFO."""

from dataclasses import replace

import numpy as np
import pytest

from reports.build import assemble_report, write_report
from reports.sections import worlds
from reports.tables.table import format_entry
from results.plan import Arm
from results.statistics.derive import derive
from results.statistics.draws import compute_draw_interval
from tests.stores import fabricate

ROWS = (
    ("zero_fill", "default", "off", "Zero-filling", "method", 1.5),
    ("logistic", "default", "off", "Logistic regression", "method", 1.5),
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 1.5),
    ("s_only", "default", "off", "S only", "method", 0.0),
    ("ceiling", "default", "off", "Ceiling", "known", 3.0),
)
OF = [
    {"name": f"{world}-{draw}", "axis": "world", "value": world, "also": {"draw": draw}}
    for world in ("mcar", "mnar", "clusters") for draw in (1000, 1001, 1002)
]  # fmt: skip
REASON = "it reads S alone"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(store, plans, section): all draws of mcar and mnar, and none of clusters."""
    root, plans = tmp_path_factory.mktemp("worlds"), []
    for i, arm in enumerate(OF[:6]):
        store, plan = fabricate(root, experiment="worlds", rows=ROWS, n=400, folds=2, draw=i, split=str(i))
        rows = [replace(row, weak=REASON if row.method == "s_only" else "") for row in plan.rows]
        plan = replace(plan, arm=Arm.from_json(arm | {"of": OF}), rows=rows, derived=["worlds"])
        store.write_plan(plan)
        store.write_statistics(plan.name, derive(store, plan, 0))
        plans.append(plan)
    return store, plans, worlds.section(store, plans)


def rows(table):
    return {title: [format_entry(e) for e in entries] for title, _, entries in table.rows}


def test_a_difference_is_the_mean_over_draws_and_folds_with_its_interval(made):
    store, plans, section = made
    table = section.tables[0]
    assert table.columns == (
        ("A linear model is near the truth", "MCAR"), ("A linear model is near the truth", "MNAR"),
        ("A linear model cannot be right", "Clusters"),
    )  # fmt: skip
    draws = [
        [
            v["less_zero_fill"]
            for v in store.statistics(plan.name)["worlds"]["values"]
            if (v["method"], v["metric"]) == ("s_only", "auc")
        ]
        for plan in plans[:3]
    ]
    low, high = compute_draw_interval(draws, 0.5)
    assert rows(table)["S only"] == [
        f"*{np.mean(draws):+.3f}* [{low:.3f}, {high:.3f}]",
        rows(table)["S only"][1],
        "missing",
    ]


def test_each_table_has_its_base_and_the_levels_above_the_rule(made):
    _, _, section = made
    assert [t.heading for t in section.tables] == [
        "AUC less that of the plain network", "Log loss less that of the plain network", "AUC less that of logistic regression",
        "Log loss less that of logistic regression", "Rows below the plain network",
    ]  # fmt: skip
    levels = ["Zero-filling", "Logistic regression", "Ceiling"]
    for table, metric, base in zip(
        section.tables, ("AUC", "Log loss") * 2, [levels[0]] * 2 + [levels[1]] * 2, strict=False
    ):
        titles = list(rows(table))
        assert titles[:3] == [f"{level}: {metric}" for level in levels]
        assert base not in titles
        assert [known for _, known, _ in table.rows] == [True] * 3 + [False] * (len(titles) - 3)
    assert "a positive difference is worse" in section.tables[1].caption


def test_rows_below_in_two_worlds_are_listed_with_the_reason_that_is_known(made):
    _, _, section = made
    table = rows(section.tables[-1])
    assert table["S only"] == ["2: MCAR, MNAR", "2: MCAR, MNAR", REASON]
    assert "Logistic regression" not in table
    weak = section.frames["_weak"].set_index("method")
    assert weak.loc["s_only", ["worlds_auc", "reason"]].tolist() == ["mcar mnar", REASON]


def test_one_world_is_not_enough(made):
    store, plans, _ = made
    assert "S only" not in rows(worlds.section(store, plans[:3]).tables[-1])


def test_what_was_not_run_is_said(made):
    store, plans, section = made
    notes = section.tables[0].notes
    assert any(note.startswith("Clusters: ") and note.endswith("not run.") for note in notes)
    assert any("3 of 3 draws (seeds 1000, 1001, 1002), the first: icu_24h N = 400, 1 pattern" in note for note in notes)
    (one,) = [plan for plan in plans if plan.arm.name == "mcar-1000"]
    table = worlds.section(store, [one]).tables[0]
    assert "[" not in rows(table)["S only"][0]
    assert "MCAR: too few folds for an interval, which takes 3 differences." in table.notes
    frame = section.frames["_differences"]
    assert set(frame.loc[frame["world"] == "clusters", "status"]) == {"missing"}
    assert len(section.frames["_folds"]) == 6 * 2 * 2 * 6  # draws, folds, metrics, rows


def test_the_tables_of_single_plans_stay_out_of_print_and_in_the_csv(made, tmp_path):
    store, plans, section = made
    report = assemble_report(store.root, plans)
    assert [t.heading for t in report.measured] == [t.heading for t in section.tables]
    assert len(report.numbers)
    names = {path.name for path in write_report(report, tmp_path)}
    assert {"worlds.csv", "worlds_differences.csv", "worlds_weak.csv", "worlds.html", "worlds.tex"} <= names


def test_every_world_of_the_experiment_has_a_name_and_three_draws():
    from benchmark.plan.config import load_config

    arms = load_config("worlds", []).arms
    seeds = {}
    for arm in arms:
        assert f"dataset.seed={arm['also']['draw']}" in arm["set"]
        seeds.setdefault(arm["value"], []).append(arm["also"]["draw"])
    assert set(seeds) == set(worlds.WORLDS)
    assert all(own == [1000, 1001, 1002] for own in seeds.values())
    assert set(worlds.NOT_LINEAR) < set(seeds)
