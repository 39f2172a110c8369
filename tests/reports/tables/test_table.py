from dataclasses import replace

import pytest

from reports.frames.tidy import PRINTED, build_tidy_frame
from reports.tables.table import build_table, build_text_frame, find_bold_cells, format_entry
from tests.stores import ROWS, fabricate


@pytest.fixture(scope="module")
def printed(fabricated):
    store, plan = fabricated
    return build_table(build_tidy_frame(store, plan), plan, PRINTED, "caption", frozenset())


def test_rows_in_order_and_known_ones_last(printed):
    assert [(title, known) for title, known, _ in printed.rows] == [
        ("CRL-MMNAR", False), ("CRL-MMNAR, before the rectifier", False), ("CM-AE (adapted)", False),
        ("S only & nothing_else", False), ("GRU-D", False), ("ceiling", True),
    ]  # fmt: skip


def test_known_rows_are_set_apart_wherever_they_stand(tmp_path):
    store, plan = fabricate(tmp_path, rows=(ROWS[3], ROWS[0]), n=60, folds=2)
    printed = build_table(build_tidy_frame(store, plan), plan, PRINTED, "", frozenset())
    assert [known for _, known, _ in printed.rows] == [False, False, True]


def test_columns_are_tasks_by_metrics(printed):
    assert [head for head, _ in printed.columns[::3]] == [
        "In-hospital mortality (icu_24h)", "30-day readmission (discharge)", "90-day ICU admission (discharge)",
    ]  # fmt: skip
    assert [metric for _, metric in printed.columns[:3]] == ["AUC", "AUPRC", "Brier"]


def test_nothing_is_missing_silently(printed):
    by_title = {title: [format_entry(e) for e in entries] for title, _, entries in printed.rows}
    assert by_title["CM-AE (adapted)"][:3] == ["failed"] * 3
    assert by_title["GRU-D"][3:] == ["skipped"] * 6
    assert all(text.endswith("†") for text in by_title["S only & nothing_else"][3:])
    assert not any("†" in text for text in by_title["S only & nothing_else"][:3])
    assert set(printed.notes) == {
        "CM-AE (adapted) (icu_24h): 5 failed of 5 cells: out of memory at layer_2 (100 %).",
        "† S only & nothing_else (discharge): 4 of 5 folds (1 missing).",
        "GRU-D (discharge): 5 skipped of 5 cells: no series.",
        "CRL-MMNAR: the rectifier changed 25.0% (In-hospital mortality), 25.0% (30-day readmission), "
        "25.0% (90-day ICU admission) of the predictions.",
    }


def test_spread_over_seeds_or_with_one_seed_over_folds(tmp_path):
    for seeds, spread in ((1, "sd_folds"), (2, "sd_seeds")):
        store, plan = fabricate(tmp_path / str(seeds), rows=ROWS[1:2], n=60, folds=2, seeds=seeds)
        frame = build_tidy_frame(store, plan)
        entry = build_table(frame, plan, PRINTED, "", frozenset()).rows[0][2][0]
        assert entry.sd == frame.iloc[0][spread] > 0


def test_undefined_reads_not_available_with_its_reason(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=60, folds=2, one_class=("icu_90d",))
    printed = build_table(build_tidy_frame(store, plan), plan, PRINTED, "", frozenset())
    texts = [format_entry(e) for e in printed.rows[0][2]]
    assert texts[6:8] == ["n/a‡", "n/a‡"]
    assert texts[8].startswith("0.")
    assert (
        "‡ CM-AE (adapted) (90-day ICU admission, AUC): the part has one class only (0 of 30 are positive)."
        in printed.notes
    )


def test_text_has_every_entry(printed):
    frame = build_text_frame(printed)
    assert frame.shape == (6, 9)
    assert frame.loc["GRU-D"].iloc[-1] == "skipped"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("small"), rows=ROWS, n=60, folds=2)


def comparison(method, task="icu_90d", landmark="discharge", better=False, worse=False, in_family=True):
    return {
        "landmark": landmark, "task": task, "method": method, "variant": "default",
        "in_family": in_family, "better": better, "worse": worse,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("comparisons", "bold"),
    [
        ([], set()),
        ([comparison("cm_ae", worse=True), comparison("s_only")], set()),
        (
            [comparison("cm_ae", worse=True), comparison("s_only", worse=True)],
            {("discharge", "icu_90d", "crl_mmnar", "default")},
        ),
        ([comparison("cm_ae", worse=True)], set()),
        (
            [comparison("cm_ae", worse=True), comparison("s_only", better=True)],
            {("discharge", "icu_90d", "s_only", "default")},
        ),
        ([comparison("cm_ae", worse=True), comparison("s_only", worse=True, in_family=False)], set()),
    ],
    ids=["no test", "one not won", "all won", "one not tested", "lost to one", "one outside the family"],
)
def test_bold_only_where_the_test_calls_it(small, comparisons, bold):
    store, plan = small
    statistics = {"reference": {"method": "crl_mmnar", "variant": "default"}, "comparisons": comparisons}
    assert find_bold_cells(plan, build_tidy_frame(store, plan), statistics) == bold
    assert find_bold_cells(plan, build_tidy_frame(store, plan), None) == frozenset()


def test_a_win_is_bold_at_its_own_landmark_alone(small):
    _, plan = small
    both = {name: replace(facts, tasks={"icu_90d": facts.tasks.get("icu_90d", next(iter(facts.tasks.values())))})
            for name, facts in plan.landmarks.items()}  # fmt: skip
    plan = replace(plan, landmarks=both)
    won = [comparison("s_only", landmark="icu_24h", better=True), comparison("s_only", landmark="discharge")]
    statistics = {"reference": {"method": "crl_mmnar", "variant": "default"}, "comparisons": won}
    assert find_bold_cells(plan, build_tidy_frame(*small), statistics) == {("icu_24h", "icu_90d", "s_only", "default")}


def test_bold_goes_to_the_auc_alone(fabricated):
    store, plan = fabricated
    places = frozenset({("discharge", "icu_90d", "crl_mmnar", "default")})
    printed = build_table(build_tidy_frame(store, plan), plan, PRINTED, "", places)
    bold = [(title, column) for title, _, entries in printed.rows for column, e in enumerate(entries) if e.bold]
    assert bold == [("CRL-MMNAR", 6)]
    assert format_entry(printed.rows[0][2][6]).startswith("*0.")
