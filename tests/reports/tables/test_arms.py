"""Arms side by side: their numbers, their differences, and those that were not run."""

from dataclasses import replace

import pytest

from reports.sections import learning_curve, mechanisms
from reports.tables.table import format_entry
from results.plan import Arm, Settings
from results.statistics.derivations import ceiling, worth
from tests.stores import fabricate

ROWS = (
    ("zero_fill", "default", "off", "Zero-filling", "method", 0.6),
    ("mean_impute", "default", "off", "Mean imputation", "method", 0.5),
    ("ceiling", "default", "off", "Ceiling", "known", 1.6),
    ("evidence0_cause0", "default", "off", "Pattern unused", "known", 1.2),
)
OF = {
    "n": [{"name": f"n={n}", "axis": "n", "value": n} for n in (5000, 60, 90)],
    "kappa": [
        {"name": "mcar", "axis": "mechanism", "value": "mcar", "also": {"kappa": 0}},
        {"name": "strong", "axis": "kappa", "value": 3.2},
        {"name": "mnar", "axis": "mechanism", "value": "mnar", "also": {"kappa": 1.6}},
    ],
}


def run(root, axis, names, experiment, **options):
    """Plans of the arms named, their statistics stored."""
    plans = []
    for i, arm in enumerate(a for a in OF[axis] if a["name"] in names):
        n = arm["value"] if axis == "n" else 60
        store, plan = fabricate(root, experiment=experiment, n=n, folds=2, draw=i, **{"rows": ROWS} | options)
        # each arm has its own cohort, so its own cells
        settings = Settings({"known": ["ceiling", "evidence0_cause0"]})
        plan = replace(plan, arm=Arm.from_json(arm | {"of": OF[axis]}), settings=settings)
        store.write_plan(plan)
        store.write_statistics(
            plan.name, {"ceiling": ceiling.derive(store, plan, 20), "worth": worth.derive(store, plan, 20)}
        )
        plans.append(plan)
    return store, plans


def rows(table):
    return {title: [format_entry(e) for e in entries] for title, _, entries in table.rows}


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    """(store, plans, section) of a learning curve of which one arm of three was run."""
    store, plans = run(tmp_path_factory.mktemp("curve"), "n", ["n=90"], "learning_curve")
    return store, plans, learning_curve.section(store, plans)


def test_values_ascend_and_an_arm_that_was_not_run_has_its_line(curve):
    _, _, made = curve
    (table,) = made.tables
    found = rows(table)
    assert list(found) == [
        "n = 60 (not run)", "n = 90: Zero-filling", "n = 90: Mean imputation", "n = 90: Ceiling", "n = 90: Pattern unused",
        "n = 5,000 (not run)",
    ]  # fmt: skip
    assert set(found["n = 5,000 (not run)"]) == {"missing"}
    assert "Not run: n = 60; 5,000." in table.caption
    assert any("n = 5,000: not run (arm=n=5000)" in note for note in table.notes)
    assert any("n = 90: icu_24h N = 90" in note for note in table.notes)
    (figure,) = made.figures
    assert "Not run: n = 60; 5,000." in figure.caption
    assert [t.get_text() for t in figure.mpl_figure.axes[0].texts] == ["not run", "not run"]


def test_the_frame_has_every_arm_and_its_own_n(curve):
    _, _, made = curve
    frame = made.frames["_arms"]
    missing = frame[frame["status"] == "missing"]
    assert set(missing["arm"]) == {"n=60", "n=5000"}
    assert len(missing) == 2 * 4 * 3  # arms x rows x tasks
    assert missing["mean"].isna().all()
    differences = made.frames["_to_ceiling"]
    assert set(differences["n"].dropna()) == {90}
    assert set(differences["at_n"]) == {90}


def test_distance_to_the_ceiling_and_share_of_it(curve):
    store, plans, made = curve
    found = rows(made.tables[0])
    record = store.statistics(plans[0].name)["ceiling"][0]
    assert (record["method"], record["task"], record["metric"]) == ("zero_fill", "mortality_inhosp", "auc")
    auc, distance, share = found["n = 90: Zero-filling"][:3]
    assert auc.startswith(f"{record['value']:.3f}")
    assert distance.startswith(f"{record['difference']:+.3f} [")
    assert float(share) == pytest.approx((record["value"] - 0.5) / (record["base_value"] - 0.5), abs=6e-4)
    assert found["n = 90: Ceiling"][1:3] == ["–", "–"]


def test_an_arm_on_two_axes_stands_in_both_tables(tmp_path):
    store, plans = run(tmp_path, "kappa", ["mcar", "mnar"], "mechanisms")
    made = mechanisms.section(store, plans)
    by_mechanism, mechanism_worth, by_kappa, kappa_worth = made.tables
    assert [t for t in rows(by_mechanism) if "Zero" in t] == [
        "mechanism = mcar: Zero-filling",
        "mechanism = mnar: Zero-filling",
    ]
    kappas = [t for t in rows(by_kappa) if "Zero" in t or "not run" in t]
    assert kappas == ["kappa = 0: Zero-filling", "kappa = 1.6: Zero-filling", "kappa = 3.2 (not run)"]
    assert rows(by_kappa)["kappa = 0: Ceiling"] == rows(by_mechanism)["mechanism = mcar: Ceiling"]
    assert len(mechanism_worth.rows) == 2 * 3
    assert set(rows(kappa_worth)["kappa = 3.2 (not run)"]) == {"missing"}
    assert [f.name for f in made.figures] == ["mechanism-embedded-mimic-strict", "kappa-embedded-mimic-strict"]


def test_the_worth_that_a_cohort_cannot_give_is_a_word(tmp_path):
    store, plans = run(tmp_path, "kappa", ["mcar"], "mechanisms")
    record = next(r for r in store.statistics(plans[0].name)["worth"] if r["name"] == "both" and r["metric"] == "auc")
    unused, *differences = rows(mechanisms.section(store, plans).tables[1])["mechanism = mcar: In-hospital mortality"]
    assert unused.startswith(f"{record['base_value']:.3f}")
    assert differences[:4] == ["not planned"] * 4
    assert differences[4].startswith(f"{record['difference']:+.3f} [")
    assert differences[5][0] in "+-"


def test_without_a_ceiling_the_table_says_so_and_keeps_the_methods(tmp_path):
    store, plans = run(tmp_path, "kappa", ["mcar"], "mechanisms", rows=ROWS[:2])
    table = mechanisms.section(store, plans).tables[0]
    assert rows(table)["mechanism = mcar: Zero-filling"][1:3] == ["no ceiling", "no ceiling"]
    assert "Not known of this cohort: ceiling, evidence0_cause0." in table.caption


def test_a_failed_row_of_an_arm_is_a_word(tmp_path):
    failed = [("zero_fill", "icu_24h", fold) for fold in range(2)]
    store, plans = run(tmp_path, "n", ["n=90"], "learning_curve", failed=failed)
    made = learning_curve.section(store, plans)
    assert rows(made.tables[0])["n = 90: Zero-filling"][:3] == ["failed"] * 3
    assert any("out of memory" in note for note in made.tables[0].notes)
    assert "failed" in set(made.frames["_arms"]["status"])
