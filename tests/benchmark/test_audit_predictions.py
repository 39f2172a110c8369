"""``audit --predictions``: nothing is raised on honest predictions, and each fault is named."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tests.results.audit.declared_cases import DECLARED, honest, own_label_edits, written
from tests.stores import fabricate, rewrite

PLAIN = {
    "n": 900,
    "tasks": 1,
    "patterns": 5,
    "folds": 3,
    "unlabelled": 0.0,
    "bias": 0.5,
    "ties": "no",
    "quality": 1.0,
    "prevalence": 0.15,
}


@pytest.fixture
def audit(cli, tmp_path):
    """Write a frame and audit it: (exit status, kinds of findings, kinds of queries, the document)."""

    def run(frame, *declared, printed="%.5f", more=()):
        path = written(tmp_path / "predictions.csv", frame, printed)
        status, out, err = cli("audit", "--predictions", str(path), "--declared", *declared, "--json", *more)
        assert status in (0, 1), err
        document = json.loads(out)
        found = document["audited"][0]
        assert status == bool(found["findings"])
        assert "Silence clears nobody" in document["silence"]
        return status, {f["kind"] for f in found["findings"]}, {f["kind"] for f in found["queries"]}, found

    return run


@pytest.mark.parametrize("seed", range(10))
def test_honest_predictions_raise_nothing(audit, seed):
    frame, printed, step = honest(seed, n=150 + 30 * seed)
    status, findings, queries, _ = audit(frame, *DECLARED[step], printed=printed)
    assert (status, findings, queries) == (0, set(), set())


@pytest.mark.slow
def test_200_honest_predictions_raise_nothing(audit):
    """Findings: none. Queries: ``all_gains`` alone, which a correction of a strongly biased base can raise."""
    raised, asked = {}, []
    for seed in range(1000, 1200):
        frame, printed, step = honest(seed)
        _, findings, queries, _ = audit(frame, *DECLARED[step], printed=printed)
        asked += sorted(queries)
        if findings:
            raised[seed, step, printed] = findings
    assert raised == {}
    assert asked in ([], ["all_gains"])


@pytest.mark.parametrize("task", ["readmission", "icu"])
@pytest.mark.parametrize("step", ["rectifier", "paper", "shrunk", "platt"])
def test_edits_by_own_label_are_named(audit, step, task):
    frame, _, _ = honest(3, step=step, printed="full", **PLAIN)
    edited = own_label_edits(frame["probability"].to_numpy(), frame["label"].to_numpy(), task)
    _, findings, _, found = audit(frame.assign(probability=edited), *DECLARED[step])
    assert {"own_label", "order" if step == "platt" else "offsets"} <= findings
    if step not in ("paper",):
        assert "auc_bound" in findings
    named = next(f for f in found["findings"] if f["kind"] == "own_label")
    assert named["task"] == "task0"
    lines = (np.array(named["lines"]) - 2).tolist()
    changed = (edited != frame["probability"].to_numpy())[lines]
    assert changed.all()


def test_edits_that_pass_for_two_halves_are_still_seen_to_follow_the_label(audit):
    frame, _, _ = honest(3, step="none", printed="full", **PLAIN)
    label = frame["label"].to_numpy()
    moved = np.clip(frame["probability_base"] + np.where(label == 1, 0.04, -0.02), 0, 1)
    _, findings, _, _ = audit(frame.assign(probability=moved), "offset", "--halves")
    assert "own_label" in findings
    assert not {"offsets", "auc_bound"} & findings


def test_acceptance_by_test_auc_within_patterns_is_named(audit):
    frame, _, _ = honest(
        0, **PLAIN | {"n": 2000, "patterns": 8, "folds": 5, "prevalence": 0.3}, step="none", printed="full"
    )
    rng = np.random.default_rng(0)
    for _, group in frame.groupby(["fold", "pattern"]):
        trial = np.clip(group["probability_base"] + rng.normal(0, 0.01, len(group)), 0, 1)
        if group["label"].nunique() == 2 and roc_auc_score(group["label"], trial) > roc_auc_score(
            group["label"], group["probability_base"]
        ):
            frame.loc[group.index, "probability"] = trial
    _, findings, _, _ = audit(frame, "offset")
    assert {"accepted", "offsets"} <= findings


def test_offsets_kept_only_where_the_test_auc_rises_are_asked_about(audit):
    frame, _, _ = honest(
        0, **PLAIN | {"n": 2000, "patterns": 8, "folds": 5, "prevalence": 0.3}, step="none", printed="full"
    )
    rng = np.random.default_rng(0)
    for (fold, _), group in frame.groupby(["fold", "pattern"]):
        whole = frame[frame["fold"] == fold]
        trial = whole["probability"].copy()
        trial[group.index] = np.clip(group["probability_base"] + rng.normal(0, 0.05), 0, 1)
        if roc_auc_score(whole["label"], trial) > roc_auc_score(whole["label"], whole["probability"]):
            frame.loc[group.index, "probability"] = trial[group.index]
    status, findings, queries, _ = audit(frame, "offset")
    assert (status, findings) == (0, set())
    assert "all_gains" in queries


def test_different_results_of_one_base_probability_are_named_with_their_lines(audit):
    frame, _, _ = honest(3, **PLAIN | {"ties": "few"}, step="rectifier", printed="full")
    frame["probability_base"] = frame["probability_base"].round(4)
    frame["probability"] = np.clip(frame["probability_base"] + 0.0123, 0, 1)
    frame.loc[17, "probability"] += 0.05
    _, findings, _, found = audit(frame, "offset", printed="%.4f")
    assert {"same_base", "offsets"} <= findings
    same = next(f for f in found["findings"] if f["kind"] == "same_base")
    assert (same["groups"], 19 in same["lines"]) == (1, True)
    assert frame.loc[np.array(same["lines"]) - 2, "probability_base"].nunique() == 1


@pytest.mark.parametrize(
    ("step", "declared"),
    [("paper", ("offset",)), ("platt", ("offset", "--halves")), ("shrunk", ("offset",)), ("rectifier", ("none",))],
)
def test_another_step_than_declared_has_the_wrong_number_of_offsets(audit, step, declared):
    frame, _, _ = honest(3, **PLAIN | {"bias": 1.0}, step=step, printed="full")
    _, findings, _, _ = audit(frame, *declared)
    assert "offsets" in findings
    assert "own_label" not in findings


def test_patients_who_stand_twice_are_named(audit, tmp_path):
    frame, _, _ = honest(1, step="none", **PLAIN | {"n": 300}, printed="full")
    train = tmp_path / "train.txt"
    train.write_text("\n".join(str(p) for p in [*range(1000, 1007), 7, 8]))
    assert audit(frame, "none", more=("--train", str(train)))[1] == {"train_test"}
    by_fold = pd.DataFrame({"patient": [1000, 1001], "fold": [frame["fold"][0], (frame["fold"][1] + 1) % 3]})
    by_fold.to_csv(tmp_path / "train.csv", index=False)
    found = audit(frame, "none", more=("--train", str(tmp_path / "train.csv")))[3]
    assert [f["patients"] for f in found["findings"]] == [1]
    moved = frame.assign(patient=frame["patient"].where(frame.index >= 5, frame["patient"] + 10))
    assert audit(moved, "none")[1] <= {"two_folds", "repeated"}
    assert audit(moved, "none")[1]
    stays = moved.assign(fold=0, row=np.arange(len(frame)))
    assert audit(stays, "none")[:3] == (0, set(), {"repeated"})


def test_a_copied_subgroup_and_a_fit_on_the_rows_corrected_are_asked_about(audit):
    frame, _, _ = honest(3, step="none", printed="full", **PLAIN | {"prevalence": 0.3, "bias": 0.3, "quality": 0.8})
    copied = frame[frame["pattern"] == "p0"].assign(pattern="copy", patient=lambda f: f["patient"] + 10_000)
    assert audit(pd.concat([frame, copied]), "none")[:3] == (0, set(), {"equal_scores"})
    frame["probability_base"] = 0.2 + 0.6 * frame["probability_base"]
    shift = (frame["label"] - frame["probability_base"]).groupby([frame["pattern"], frame["fold"]]).transform("mean")
    fitted = frame.assign(probability=np.clip(frame["probability_base"] + shift, 0, 1))
    assert "fitted_here" in audit(fitted, "offset")[2]
    assert "fitted_here" not in audit(fitted, "offset", more=("--fitted-on", "same"))[2]


def test_what_is_printed(cli, tmp_path):
    frame, _, _ = honest(3, step="none", printed="full", **PLAIN)
    frame.loc[4, "probability"] = 0.9876
    frame = frame.rename(columns={"patient": "subject_id"})
    path = written(tmp_path / "theirs.csv", frame)
    status, out, _ = cli("audit", "--predictions", str(path), "--columns", "patient=subject_id", "--declared", "none")
    assert status == 1
    assert "FINDING" in out
    assert "verdict: inconsistent with the declaration: more offsets in a group than declared" in out
    assert "Not checked: patients in training and test" in out
    assert "Silence clears nobody" in out
    assert "0.9876" not in out
    assert str(frame["subject_id"][4]) not in out.replace(",", "").split()


def test_stored_cells_and_plans_name_their_step(cli, tmp_path):
    store, plan = fabricate(tmp_path / "cells", n=80, folds=2)
    path = store.root / "plans" / f"{plan.name}.json"
    status, out, _ = cli("audit", "--predictions", str(path), "--json")
    audited = json.loads(out)["audited"]
    assert len(audited) == 8
    assert {a["name"].split()[1]: a["declared"]["name"] for a in audited}["crl_mmnar:default"] == "offset"
    assert status == any(a["findings"] for a in audited)
    cell = next((store.root / "embedded-mimic").rglob("s_only/**/predictions.parquet"))
    status, out, _ = cli("audit", "--predictions", str(cell), "--json")
    assert json.loads(out)["audited"][0]["declared"]["name"] == "none"


@pytest.mark.parametrize("stored", [True, False])
def test_the_intercept_of_a_hierarchical_rectifier_is_no_offset(cli, tmp_path, stored):
    store, plan = fabricate(tmp_path / "cells", n=80, folds=2)
    for planned in plan.cells:
        if planned.cell.rectifier == "off":
            continue
        record, frame = store.record(planned), store.predictions(planned)
        intercept = {task: 0.7 - 0.4 * k for k, task in enumerate(frame["task"].unique())}
        base = frame["probability_base"].astype(np.float32).astype(float)
        odds = np.log(base) - np.log1p(-base) + frame["task"].map(intercept).astype(float)
        after = np.clip(1 / (1 + np.exp(-odds)) + 0.03, 0, 1).astype(np.float32)
        rectifier = record["rectifier"] | ({"kind": "hierarchical", "intercept": intercept} if stored else {})
        frame = frame.assign(probability_base=base.astype(np.float32), probability=after)
        rewrite(store, planned, record | {"rectifier": rectifier}, {"predictions": frame})
    _, out, _ = cli("audit", "--predictions", str(store.root / "plans" / f"{plan.name}.json"), "--json")
    verdicts = {a["name"].split()[1]: a["verdict"] for a in json.loads(out)["audited"]}
    assert ("offsets" not in verdicts["crl_mmnar:default"]) == stored
    cell = next((store.root / "embedded-mimic").rglob("crl_mmnar/**/predictions.parquet"))
    _, out, _ = cli("audit", "--predictions", str(cell), "--json")
    assert ("offsets" not in json.loads(out)["audited"][0]["verdict"]) == stored


BAD = {
    "missing column": (lambda f: f.drop(columns="label"), "lacks label: --columns label=NAME"),
    "no fold": (lambda f: f.drop(columns="fold"), "--one-fold"),
    "out of range": (
        lambda f: f.assign(probability=f["probability"].where(f.index != 3, 1.2)),
        "line 5: probability '1.2'",
    ),
    "label": (
        lambda f: f.assign(label=f["label"].where(f.index != 2, 2)),
        "line 4: label '2.0' is none of 0, 1, True, False, NaN",
    ),
    "text": (
        lambda f: f.assign(label=f["label"].astype(object).where(f.index != 0, "yes")),
        "line 2: label 'yes' is no number",
    ),
    "one probability": (lambda f: f.assign(probability=f["probability"].where(f.index != 1)), "line 3: one of the two"),
    "duplicate": (lambda f: pd.concat([f, f.head(2)]), "duplicate rows, 2 in all, the first on lines 2 and 62"),
    "empty": (lambda f: f.head(0), "has no test rows"),
}


@pytest.mark.parametrize("fault", BAD)
def test_unusable_input_is_one_line(cli, tmp_path, fault):
    change, message = BAD[fault]
    frame, _, _ = honest(1, **PLAIN | {"n": 60}, step="none", printed="full")
    path = written(tmp_path / "bad.csv", change(frame))
    status, out, err = cli("audit", "--predictions", str(path), "--declared", "none")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_broken_files_and_wrong_options_are_one_line(cli, tmp_path):
    frame, _, _ = honest(1, **PLAIN | {"n": 60}, step="none", printed="full")
    good = written(tmp_path / "good.csv", frame)
    (tmp_path / "nothing.csv").write_text("")
    packed = gzip.compress(good.read_bytes())
    (tmp_path / "half.csv.gz").write_bytes(packed[: len(packed) // 2])
    frame.to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "half.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:900])
    for name, message in (
        ("nothing.csv", "is empty"),
        ("half.csv.gz", "cannot be read"),
        ("half.parquet", "cannot be read"),
        ("absent.csv", "is no file"),
    ):
        status, _, err = cli("audit", "--predictions", str(tmp_path / name), "--declared", "none")
        assert (status, err.count("\n"), message in err) == (2, 1, True), err
    for options, message in (
        (("--columns", "patients=patient"), "unknown column 'patients'; did you mean patient or pattern?"),
        (("--columns", "patient=subject"), "has no column subject"),
        (("--tasks", "task1"), "unknown task 'task1'; did you mean task0?"),
        (("--halves",), "--halves goes with"),
        (("--clip", "1", "0"), "--clip 1 0"),
        (("--train", "absent"), "is no file"),
    ):
        status, _, err = cli("audit", "--predictions", str(good), "--declared", "none", *options)
        assert (status, err.count("\n"), message in err) == (2, 1, True), err
    status, _, err = cli("audit", "--predictions", str(good))
    assert (status, "--declared says what was done" in err) == (2, True)
    assert cli("audit", "--predictions", str(tmp_path / "whole.parquet"), "--declared", "none")[0] == 0


NUMBERS = [2**53 + 2 * i for i in range(60)]
OTHER_FORMS = {
    "floats": (range(1000, 1060), lambda k: f"{k}.0", lambda f: f"{f}.0"),
    "spaces": (range(1000, 1060), lambda k: f" {k} ", lambda f: f" {f}"),
    "exponents": (range(1000, 61000, 1000), lambda k: f"{k / 1000:.1f}e+03", str),
    "leading zeros": (range(1000, 1060), lambda k: f"{k:08d}", str),
    "large": (NUMBERS, lambda k: f"{k}.0", str),
    "text": ([f"a{i}" for i in range(60)], lambda k: f"{k} ", str),
    "truth values of folds": (range(1000, 1060), str, lambda f: str(bool(f))),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_training_list_is_compared_by_what_its_keys_mean(audit, tmp_path, form):
    names, patient, fold = OTHER_FORMS[form]
    frame, _, _ = honest(1, step="none", **PLAIN | {"n": 60, "folds": 2}, printed="full")
    frame["patient"] = list(names)
    train = frame.assign(patient=[patient(k) for k in names], fold=frame["fold"].astype(int).map(fold))
    train[["patient", "fold"]].head(20).to_csv(tmp_path / "train.csv", index=False)
    found = audit(frame, "none", more=("--train", str(tmp_path / "train.csv")))[3]["findings"]
    assert [(f["kind"], f["patients"]) for f in found] == [("train_test", 20)]


def test_names_that_leading_zeros_tell_apart_stay_two(audit):
    frame, _, _ = honest(1, step="none", **PLAIN | {"n": 60}, printed="full")
    frame["patient"] = [("0" if i % 2 else "") + str(1000 + i // 2) for i in range(60)]
    assert audit(frame, "none")[:2] == (0, set())


def test_a_list_that_shares_nothing_is_refused(cli, tmp_path):
    frame, _, _ = honest(1, step="none", **PLAIN | {"n": 60}, printed="full")
    path = written(tmp_path / "predictions.csv", frame)
    other = frame[["patient", "fold"]].assign(patient=frame["patient"] + 5000)
    lists = {
        "patient": (other, 2, "shares no patient"),
        "fold": (frame[["patient", "fold"]].assign(fold="fold_1"), 2, "shares no fold"),
        "split": (pd.concat([other.assign(split="train"), frame[["patient", "fold"]].assign(split="test")]), 0, ""),
    }
    for name, (table, expected, message) in lists.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        train = ("--train", str(tmp_path / f"{name}.csv"))
        status, out, err = cli("audit", "--predictions", str(path), "--declared", "none", *train)
        assert (status, message in err, err.count("\n")) == (expected, True, bool(message)), (out, err)


@pytest.mark.parametrize("name", ["p.pq", "p.parquet", "P.PARQUET", "no_ending"])
@pytest.mark.parametrize("labels", ["bool", "boolean", object])
def test_truth_values_are_labels_and_a_parquet_file_is_known_by_its_content(cli, tmp_path, name, labels):
    frame, _, _ = honest(1, step="none", **PLAIN | {"n": 60}, printed="full")
    label = frame["label"].astype(bool)
    frame["label"] = label.map(lambda v: str(v).lower()) if labels is object else label.astype(labels)
    with (tmp_path / name).open("wb") as file:
        frame.to_parquet(file)
    assert cli("audit", "--predictions", str(tmp_path / name), "--declared", "none")[0] == 0
