"""The public export, walked file by file: nothing of a patient, and no count of 1 to 9, printed or by subtraction."""

import csv
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.public.public import build_export, write_export
from reports.public.public_frame import Tally, suppress_frame
from reports.public.suppression import Suppression, find_suppression
from reports.report import ReportError
from results.disclosure import Count
from results.plan import Landmark, Settings, TaskCounts
from results.statistics.derive import derive
from results.storage.store import Store
from tests.stores import ROWS, fabricate, made_plan, measured, record_of, rewrite

PATIENT = 88_000_000
TASKS = ("mortality_inhosp",)
PATTERNS = {"structured": 110, "text": 55, "structured+text": 24, "image": 6, "image+text": 5}
SEX = {"Female": 120, "Male": 76, "unknown": 4}
REASON = "ValueError: could not convert 'Smith 88000007'"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(store, plan): 200 stays; small patterns and groups; one row that knows 195 stays; one failed with a reason that quotes data."""
    root = tmp_path_factory.mktemp("credentialed")
    store, plan = fabricate(
        root,
        rows=ROWS[:3],
        n=200,
        folds=2,
        landmarks={"icu_24h": TASKS},
        failed=[("s_only", "icu_24h", f) for f in (0, 1)],
    )
    rng = np.random.default_rng(7)
    pattern = rng.permutation(np.repeat(list(PATTERNS), list(PATTERNS.values())))
    for planned in plan.cells:
        record = store.record(planned)
        if record["status"] == "failed":
            rewrite(store, planned, record | {"reason": REASON, "traceback": f"Traceback: {REASON}"}, {})
            continue
        frame = store.predictions(planned)
        row = frame["row"].to_numpy()
        frame = frame.assign(patient=PATIENT + row, pattern=pattern[row])
        if planned.cell.method == "cm_ae":
            frame = frame[frame["row"] >= 5]
        done = record_of(planned, "done", measured(frame), None)
        rewrite(store, planned, done | {"rectifier": record["rectifier"]}, {"predictions": frame, "probe": frame})
    sex = rng.permutation(np.repeat(list(SEX), list(SEX.values())))
    store.write_groups(plan.name, pd.DataFrame({"landmark": "icu_24h", "row": np.arange(200), "sex": sex}))
    facts = replace(
        plan.landmarks["icu_24h"],
        modalities={"structured": 134 / 200, "text": 84 / 200, "image": 11 / 200, "rare": 7 / 200},
        flow=[{"step": "stays", "n": 260}, {"step": "adults", "n": 255}, {"step": "at risk", "n": 200}],
    )
    plan = replace(
        plan,
        landmarks={"icu_24h": facts},
        derived=["patterns", "groups"],
        settings=Settings({"dataset": {"name": "x", "root": "/secure/raw", "encoder": "/models/b"}}),
    )
    store.write_plan(plan)
    store.write_statistics(plan.name, derive(store, plan, resamples=10))
    return store, store.plans("table1")[0]


@pytest.fixture(scope="module")
def made(stored):
    store, plan = stored
    return {name: content.decode() for name, content in build_export(store.root, [[plan]]).files.items()}


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("n", "labelled", "positives", "blank"),
    [(200, 200, 6, True), (200, 200, 195, True), (200, 8, 0, True), (200, 200, 60, False), (8, 0, 0, True)],
)
def test_a_task_is_blank_where_its_rows_positives_or_negatives_are_few(tmp_path, n, labelled, positives, blank):
    facts = Landmark(n=n, tasks={"t": TaskCounts(labelled, positives)}, modalities={}, fingerprint="f", split="s")
    found = find_suppression(Store(tmp_path), [made_plan(("s_only", "default", "off"), landmarks={"l": facts})])
    assert found.blank == ({("d", "strict", "l", "t")} if blank else set())


def test_what_is_written(made):
    assert set(made) == {
        "metrics.csv", "plans.json", "README.txt", "tables/table1.csv", "tables/table1_intervals.csv", "tables/table1_comparisons.csv",
    }  # fmt: skip


def test_nothing_of_a_patient_and_no_path(made, stored):
    for name, text in made.items():
        assert "880000" not in text, name
        assert "Smith" not in text, name
        assert "/secure" not in text, name
        assert "/models" not in text, name
        assert "Traceback" not in text, name
        assert str(stored[0].root) not in text, name
    for name in made:
        if name.endswith(".csv"):
            assert not {"row", "patient", "label", "probability", "reason", "note", "pattern"} & set(
                rows(made[name])[0]
            ), name


def numbers(value, path=()):
    """Every (path, number) of a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


def test_no_count_is_from_1_to_9(made):
    seen = 0
    for name in (name for name in made if name.endswith(".csv")):
        for row in rows(made[name]):
            counts = [row[c] for c in ("n", "positives") if c in row]
            assert all(c in ("", "<10", "hidden") or not 0 < float(c) < 10 for c in counts), (name, row)
            if len(counts) == 2 and all(c.isdecimal() for c in counts):
                assert not 0 < int(counts[0]) - int(counts[1]) < 10, (name, row)
            seen += len(counts)
    assert seen > 50
    plan = json.loads(made["plans.json"])[0]
    counted = [(p, v) for p, v in numbers(plan["landmarks"]) if p[-1] in ("n", "positives")]
    assert counted
    assert not [(p, v) for p, v in counted if 0 < v < 10]
    facts = plan["landmarks"]["icu_24h"]
    shares = {k: v for k, v in facts["modalities"].items() if v != "hidden"}
    assert not [k for k, v in shares.items() if 0 < round(v * 200) < 10 or 0 < round((1 - v) * 200) < 10]
    assert facts["modalities"]["rare"] == "hidden"
    assert [step["n"] for step in facts["flow"]] == [260, "hidden", 200]


def group_frame(stored, name):
    from reports.frames.subgroups import FRAME, build_subgroup_frame

    return build_subgroup_frame(*stored, name)[list(FRAME)]


def printed(stored, name):
    from reports.public.suppression import find_suppression

    return suppress_frame(group_frame(stored, name), find_suppression(stored[0], [stored[1]]), Tally())


@pytest.mark.parametrize("name", ["patterns", "groups"])
def test_small_groups_have_no_number_and_do_not_follow_by_subtraction(stored, name):
    before, after = group_frame(stored, name), printed(stored, name)
    counts = before[before["method"] == "crl_mmnar"].groupby(["attribute", "group"])[["n", "positives"]].first()
    assert counts["n"].between(1, 9).any(), "the test's own groups are too large"
    own = after[(after["method"] == "crl_mmnar") & (after["variant"] == "default")]
    for attribute, part in own.groupby("attribute"):
        first = part.groupby("group", sort=False).first()
        for column in ("n", "positives"):
            known = pd.to_numeric(first[column], errors="coerce")
            assert not known.between(1, 9).any()
            lost = counts.loc[attribute][column][first.index][known.isna()].astype(int)
            if attribute != "all" and len(lost):
                assert len(lost) > 1, (attribute, column)
                assert lost.sum() >= 10 or not known.sum(), (attribute, column)
    blanked = after[after["n"].isin(["<10", "hidden"]) | after["positives"].isin(["<10", "hidden"])]
    assert len(blanked)
    assert blanked[blanked["method"] == "crl_mmnar"][["mean", "ci_low", "sd_folds"]].isna().all(axis=None)
    assert "too_few" not in set(after["status"])
    assert after["mean"].notna().any()


def test_a_pattern_does_not_follow_from_the_modalities(stored):
    own = printed(stored, "patterns").query("method == 'crl_mmnar' and variant == 'default' and metric == 'auc'")
    n = {(r["attribute"], r["group"]): r["n"] for r in own.to_dict("records")}
    assert n["pattern", "image"] == n["pattern", "image+text"] == "<10"
    assert n["modality image", "image observed"] == 11
    with_text = ("text", "structured+text", "image+text")
    assert (
        n["modality text", "text observed"] == "hidden"
        or sum(n["pattern", p] in ("<10", "hidden") for p in with_text) > 1
    )


def test_rows_of_some_stays_have_no_counts_by_which_the_others_follow(made, stored):
    partial = [r for r in rows(made["tables/table1.csv"]) if r["method"] == "cm_ae"]
    assert {r["n"] for r in partial} == {"hidden"}
    assert any(r["mean"] for r in partial)
    cells = [r for r in rows(made["metrics.csv"]) if r["method"] == "cm_ae"]
    assert {r["n"] for r in cells} <= {"hidden", "<10"}
    groups = printed(stored, "patterns").query("method == 'cm_ae'")
    unlike = group_frame(stored, "patterns").query("method == 'cm_ae' and attribute == 'all'")
    assert set(unlike["n"]) == {195}
    assert set(groups[groups["attribute"] == "all"]["n"]) == {"hidden"}


def test_failures_are_named_without_their_reasons(made):
    plan = json.loads(made["plans.json"])[0]
    assert [c["status"] for c in plan["not done"]] == ["failed", "failed"]
    assert {r["status"] for r in rows(made["tables/table1.csv"]) if r["method"] == "s_only"} == {"failed"}
    assert [r["status"] for r in rows(made["metrics.csv"]) if r["method"] == "s_only"] == ["failed", "failed"]


def test_metrics_are_those_of_the_cells(made, stored):
    store, plan = stored
    record = store.record(plan.cells[0])
    own = [r for r in rows(made["metrics.csv"]) if r["method"] == "crl_mmnar" and r["fold"] == "0"]
    assert len(own) == len(record["metrics"])
    for row, m in zip(own, record["metrics"], strict=True):
        if row["value"]:
            assert float(row["value"]) == m["value"]
    assert any(row["value"] for row in own)


def test_the_read_me_counts_what_is_suppressed(made):
    words = sum(
        row[c] in ("<10", "hidden")
        for n in made
        if n.endswith(".csv")
        for row in rows(made[n])
        for c in ("n", "positives")
        if c in row
    )
    facts = made["plans.json"].count('"hidden"') + made["plans.json"].count('"<10"')
    assert f"{words + facts} counts" in made["README.txt"]


@pytest.mark.parametrize(
    ("rate", "n", "positives", "kept"),
    [(0.25, 200, 60, True), (0.02, 200, 60, False), (0.97, 200, 60, False), (0.0, 200, 60, True)],
)
def test_a_rate_that_gives_a_small_count_is_left_out_with_its_gaps(rate, n, positives, kept):
    place = {
        "experiment": "fairness",
        "dataset": "d",
        "landmark": "l",
        "protocol": "strict",
        "task": "t",
        "method": "m",
        "variant": "v",
    }
    row = place | {"attribute": "sex", "n": n, "positives": positives, "status": "done", "folds": 2, "seeds": 1}
    frame = pd.DataFrame([
        row | {"group": "a", "metric": "flagged", "mean": rate}, row | {"group": "b", "metric": "flagged", "mean": 0.5},
        row | {"group": "b", "metric": "gap_flagged", "mean": 0.5 - rate}, row | {"group": "a", "metric": "auc", "mean": 0.7},
    ])  # fmt: skip
    hide = Suppression()
    for group in "ab":
        hide.parts[("d", "strict", "l", "t"), "sex", group].add(Count(n, positives))
    found = suppress_frame(frame, hide, Tally())
    assert found["mean"].notna().tolist() == [kept, True, kept, True]


def test_whole_folders_alone_are_written(stored, tmp_path):
    store, plan = stored
    out = tmp_path / "out"
    write_export(store.root, [[plan]], out)
    assert (out / "tables" / "table1.csv").is_file()
    with pytest.raises(ReportError, match="is not an empty folder: choose another DIR"):
        write_export(store.root, [[plan]], out)


def test_a_broken_cell_is_refused(stored, tmp_path):
    from results.storage.store import BrokenCell

    store, plan = stored
    shutil.copytree(store.root, tmp_path / "copy")
    path = next((tmp_path / "copy").rglob("cell.json"))
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26", 1) + b" ")
    with pytest.raises(BrokenCell, match=r"cell.json does not match its checksum: run again"):
        write_export(tmp_path / "copy", [[plan]], tmp_path / "out")
    assert not (tmp_path / "out").exists()
