"""Plans as JSON: everything comes back, earlier formats are read, and what cannot be read is one line."""

import json
from dataclasses import MISSING, fields, is_dataclass, replace

import pytest

from results.cell import Cell, PlannedCell
from results.plan import FORMAT, Arm, Landmark, Plan, PlannedRow, Settings, TaskCounts, UnreadablePlan

CELL = PlannedCell(
    Cell("d", "icu_24h", "paper", "mt", "wide", "on", "grid", 3, 2), {"hidden": 8}, {"config": "abc"}, "MT (wide)"
)
PLAN = Plan(
    name="p",
    experiment="table1",
    dataset="d",
    protocol="paper",
    written="2026-01-02T03:04:05",
    landmarks={
        "icu_24h": Landmark(
            n=40,
            tasks={"mortality_inhosp": TaskCounts(38, 4, 0.105), "icu_90d": TaskCounts(0, 0, None)},
            modalities={"S": 1.0, "I": None},
            fingerprint="f",
            split="s",
            notes=["a note"],
            flow=[{"step": "stays", "n": 40}],
        )
    },
    rows=[PlannedRow("mt", "wide", "on", "MT (wide)", "method", {"hidden": 8}, True, 5, "few stays")],
    cells=[CELL],
    folds=4,
    seeds=3,
    description="a cohort",
    commit="0123",
    clean=False,
    schedule="short",
    tuning="grid",
    rectifier="on",
    calibration="oof",
    schedule_changes={"max_epochs": 1},
    n=40,
    reference="mt",
    bootstrap=7,
    derived=["curves"],
    arm=Arm(
        "strong", "kappa", 3.2, {"beta": 0.4}, ["dataset.kappa=3.2"], [Arm("mcar", "mechanism", "mcar", {"kappa": 0})]
    ),
    settings=Settings({"methods": ["mt:wide"], "schedule": {"lr_factor": 1.4}}),
    audit={"title": "MT", "blocks": {"audit-A1": "A"}},
    sequence=6,
)
FORMAT_1 = {
    "name": "p",
    "experiment": "smoke",
    "dataset": "d",
    "description": "a cohort",
    "protocol": "strict",
    "written": "2026-01-01",
    "commit": None,
    "clean": None,
    "schedule": "short",
    "tuning": "none",
    "rectifier": "auto",
    "calibration": "valid",
    "folds": 5,
    "seeds": 1,
    "n": 40,
    "reference": "crl_mmnar",
    "bootstrap": 1000,
    "derived": [],
    "arm": None,
    "settings": {"experiment": "smoke", "folds": 5, "outcomes": "shuffled"},
    "landmarks": {
        "icu_24h": {
            "n": 40,
            "tasks": {"mortality_inhosp": {"n": 38, "positives": 4, "prevalence": 0.105}},
            "modalities": {"S": 1.0},
            "fingerprint": "f",
            "split": "s",
            "notes": [],
            "flow": [{"step": "stays", "n": 40}],
        }
    },
    "rows": [
        {
            "method": "mt", "variant": "wide", "rectifier": "on", "title": "MT (wide)", "kind": "method", "cut": "no third stage",
            "change": {},
            "series": False, "candidates": 0,
        }
    ],
    "cells": [{"cell": vars(CELL.cell), "config": {"hidden": 8}, "key_parts": {"config": "abc"}, "title": "MT (wide)"}],
}  # fmt: skip
"""A plan as version 0.1.0 wrote it, before there was a format number, without the count of plans."""


def back(plan):
    return Plan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False)))


def parts(value):
    """The dataclasses in a value, itself included."""
    if is_dataclass(value):
        yield value
        value = [getattr(value, f.name) for f in fields(value)]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


@pytest.mark.parametrize("of", [Plan, Landmark, TaskCounts, PlannedRow, PlannedCell, Arm, Settings])
def test_the_plan_of_these_tests_leaves_no_field_at_its_default(of):
    found = [part for part in parts(PLAN) if type(part) is of]
    for f in fields(of):
        if (of, f.name) != (Plan, "format"):
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            assert any(getattr(part, f.name) != default for part in found), f.name


def test_every_field_comes_back():
    assert back(PLAN) == PLAN
    assert PLAN.to_json()["format"] == FORMAT
    assert back(replace(PLAN, arm=None)) == replace(PLAN, arm=None)


def test_a_plan_of_format_1_is_read():
    plan = Plan.from_json(json.loads(json.dumps(FORMAT_1)))
    assert (plan.format, plan.sequence, plan.audit, plan.arm) == (FORMAT, 0, {}, None)
    assert (plan.name, plan.clean, plan.n, plan.settings.outcomes) == ("p", None, 40, "shuffled")
    assert plan.landmarks["icu_24h"].tasks == {"mortality_inhosp": TaskCounts(38, 4, 0.105)}
    assert plan.rows == [PlannedRow("mt", "wide", "on", "MT (wide)", "method")]
    assert plan.cells == [CELL]
    assert back(plan) == plan


def test_an_arm_of_format_1_has_no_overrides_in_the_arms_beside_it():
    mcar = {"name": "mcar", "axis": "mechanism", "value": "mcar", "also": {"kappa": 0}}
    of = [mcar, {"name": "strong", "axis": "kappa", "value": 3.2}]
    arm = of[1] | {"set": ["dataset.kappa=3.2"], "of": of}
    read = Plan.from_json(FORMAT_1 | {"arm": arm}).arm
    assert (read.name, read.axis, read.value, read.also, read.set) == (
        "strong",
        "kappa",
        3.2,
        {},
        ["dataset.kappa=3.2"],
    )
    assert read.of == [Arm("mcar", "mechanism", "mcar", {"kappa": 0}), Arm("strong", "kappa", 3.2)]


def test_the_facts_of_an_audit_of_format_1_are_read_from_among_the_plans_own():
    facts = {"title": "M (x=1)", "blocks": {"audit-A1": "A"}}
    rows = [{k: v for k, v in row.items() if k != "candidates"} for row in FORMAT_1["rows"]]
    plan = Plan.from_json(FORMAT_1 | facts | {"experiment": "audit", "rows": rows})
    assert plan.audit == facts
    assert plan.rows[0].candidates == 0
    assert back(plan) == plan


def test_a_later_format_is_refused_in_one_line_with_both_numbers():
    with pytest.raises(UnreadablePlan) as error:
        Plan.from_json(PLAN.to_json() | {"format": FORMAT + 7})
    assert (
        str(error.value) == f"plan p has format {FORMAT + 7}, this version reads up to {FORMAT}: use the newer version"
    )


def without(value, *path):
    """A copy of a JSON value without what lies at a path."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


@pytest.mark.parametrize(
    "path",
    [
        ("experiment",), ("cells",), ("folds",), ("landmarks", "icu_24h", "tasks"), ("landmarks", "icu_24h", "split"),
        ("landmarks", "icu_24h", "tasks", "icu_90d", "positives"), ("rows", 0, "title"), ("cells", 0, "cell"),
        ("cells", 0, "cell", "fold"), ("cells", 0, "key_parts"), ("arm", "axis"), ("arm", "of", 0, "name"),
    ],
)  # fmt: skip
def test_a_missing_field_is_one_line_that_names_it(path):
    with pytest.raises(
        UnreadablePlan, match=r"^plan p is not as it was written \(.*\): remove it and run again$"
    ) as error:
        Plan.from_json(without(PLAN.to_json(), *path))
    assert "\n" not in str(error.value)
    assert str(path[-1]) in str(error.value)


@pytest.mark.parametrize("value", [[], "plan", 3, {"format": "2"}, {"format": None}])
def test_what_is_no_plan_is_one_line(value):
    with pytest.raises(UnreadablePlan, match=r"^this is not a plan as this suite writes it: remove it and run again$"):
        Plan.from_json(value)


@pytest.mark.parametrize("name", ["rows", "cells", "landmarks"])
@pytest.mark.parametrize("value", [None, 3, ["x"], {"x": 1}])
def test_a_field_of_another_kind_is_one_line(name, value):
    with pytest.raises(UnreadablePlan, match=r"^plan p is not as it was written \(.*\): remove it and run again$"):
        Plan.from_json(PLAN.to_json() | {name: value})


def test_landmark_tasks_are_in_print_order():
    other = replace(PLAN.landmarks["icu_24h"], tasks={"readmission_30d": TaskCounts(1, 1)})
    plan = replace(PLAN, landmarks=PLAN.landmarks | {"discharge": other})
    assert plan.landmark_tasks == [
        ("icu_24h", "mortality_inhosp"),
        ("icu_24h", "icu_90d"),
        ("discharge", "readmission_30d"),
    ]
