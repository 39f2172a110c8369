"""``audit --predictions``: checks test predictions against the post-processing step that is declared for them."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.audit.prediction_files import Predictions, TrainingList
    from results.audit.finding import DeclaredStep, Finding

NAMES = ("offset", "logit_offset", "monotone", "none")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``audit`` for a predictions file."""
    group = parser.add_argument_group(
        "predictions of others", "test predictions before and after a post-processing step"
    )
    group.add_argument(
        "--predictions", metavar="FILE",
        help="CSV or parquet: patient, task, label, probability_base, probability, pattern, fold; or a stored plan (.json)",
    )  # fmt: skip
    group.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="what the file calls a column, e.g. patient=subject_id",
    )
    group.add_argument("--declared", choices=NAMES, help="the declared step; of stored cells, the rectifier they name")
    group.add_argument(
        "--halves", action="store_true", help="offsets were fitted on two halves: at most two a task, pattern and fold"
    )
    group.add_argument(
        "--clip", nargs=2, type=float, default=(0.0, 1.0), metavar=("LOW", "HIGH"), help="where results are cut (0 1)"
    )
    group.add_argument(
        "--fitted-on", choices=("other", "same"), default="other", help="rows that the step was fitted on (other)"
    )
    group.add_argument("--tasks", nargs="+", metavar="TASK", help="only these tasks")
    group.add_argument("--one-fold", action="store_true", help="all rows are one test part: the file needs no fold")
    group.add_argument(
        "--train", metavar="FILE", help="training patients: a table with patient (and fold), or one a line"
    )


def run(options: Namespace) -> int:
    """Print what is inconsistent with the declaration; exit status 1 if anything is, 0 with queries alone."""
    from benchmark.audit.prediction_files import read_predictions, read_train
    from results.audit.checks import examine_predictions

    train = read_train(Path(options.train), options.columns) if options.train else None
    audited = []
    for predictions in read_predictions(Path(options.predictions), options.columns, options.one_fold):
        declared = _read_declaration(options, predictions)
        predictions = _select_tasks(predictions, options.tasks)
        if train is not None:
            train.require_shared_keys(predictions)
        frame = None if train is None else train.frame
        audited.append((predictions, declared, examine_predictions(predictions.frame, declared, frame)))
    if options.json:
        print(json.dumps(_build_document(options, audited), indent=1, allow_nan=False))
    else:
        _print(audited, train)
    return int(any(not f.query for _, _, findings in audited for f in findings))


def _read_declaration(options: Namespace, predictions: Predictions) -> DeclaredStep:
    from benchmark.errors import UsageError
    from results.audit.finding import DeclaredStep

    low, high = options.clip
    if not 0 <= low < high <= 1:
        raise UsageError(f"--clip {low:g} {high:g}: needs 0 <= LOW < HIGH <= 1")
    name, halves = options.declared, options.halves
    if name is None:
        if predictions.rectifier is None:
            raise UsageError(f"--declared says what was done to the probabilities: {', '.join(NAMES)}")
        name = {"off": "none", "shrunk": "logit_offset"}.get(predictions.rectifier.partition("-")[0], "offset")
        halves = halves or (name == "offset" and predictions.protocol == "paper")
        if name == "logit_offset" and predictions.protocol == "paper":
            name, halves = "offset", True
    if halves and name not in ("offset", "logit_offset"):
        raise UsageError(f"--halves goes with --declared offset or logit_offset, not {name}")
    return DeclaredStep(name, halves, (low, high), options.fitted_on)


def _select_tasks(predictions: Predictions, tasks: list[str] | None) -> Predictions:
    from dataclasses import replace

    from benchmark.errors import unknown

    if not tasks:
        return predictions
    known = predictions.frame["task"].unique()
    for task in tasks:
        if task not in known:
            raise unknown("task", task, known)
    return replace(predictions, frame=predictions.frame[predictions.frame["task"].isin(tasks)].reset_index(drop=True))


def _print(audited: list[tuple[Predictions, DeclaredStep, list[Finding]]], train: TrainingList | None) -> None:
    from benchmark.show import show
    from results.audit.checks import KINDS, SILENCE

    raised = {True: 0, False: 0}
    for predictions, declared, findings in audited:
        frame = predictions.frame
        left_out = f", {predictions.left_out} without a prediction left out" if predictions.left_out else ""
        print(
            f"{predictions.name}: {len(frame):,} test rows of {frame['patient'].nunique():,} patients, {frame['task'].nunique()} tasks, "
            f"{frame['pattern'].nunique()} patterns, {frame['fold'].nunique()} folds{left_out}"
        )
        width = float(frame[["base_half", "after_half"]].to_numpy().max())
        print(f"declared: {declared}, fitted on {declared.fitted_on} rows; probabilities known to within {width:.1g}")
        if findings:
            show(
                [_format_finding(f) for f in findings],
                ("", "kind", "where", "groups", "rows", "patients", "lines", "what"),
                False,
            )
        for f in findings:
            raised[f.query] += 1
        verdict = ", ".join(sorted({KINDS[f.kind] for f in findings if not f.query}))
        print(f"verdict: {f'inconsistent with the declaration: {verdict}' if verdict else 'no finding'}\n")
    print(f"{raised[False]} findings, {raised[True]} queries (a query is a question, no inconsistency).")
    if train is None:
        print("Not checked: patients in training and test (--train FILE).")
    unlisted = sorted({fold for p, _, _ in audited for fold in train.find_unlisted_folds(p)}) if train else []
    if train is not None and unlisted:
        print(
            f"Not checked: patients in training and test of fold {', '.join(unlisted)}, of which {train.path} has no row."
        )
    print(SILENCE)


def _format_finding(f: Finding) -> dict[str, Any]:
    where = ", ".join([f.task, *([f.pattern] if f.pattern else []), *([f"fold {f.fold}"] if f.fold else [])])
    return {"": "query" if f.query else "FINDING", "kind": f.kind, "where": where, "groups": f.groups or "-", "rows": f.rows,
            "patients": f.patients, "lines": ", ".join(map(str, f.lines)), "what": f.what}  # fmt: skip


def _build_document(
    options: Namespace, audited: list[tuple[Predictions, DeclaredStep, list[Finding]]]
) -> dict[str, Any]:
    from results.audit.checks import KINDS, SILENCE

    return {
        "file": options.predictions,
        "audited": [
            {
                "name": predictions.name,
                "declared": asdict(declared),
                "rows": len(predictions.frame),
                "left_out": predictions.left_out,
                "patients": int(predictions.frame["patient"].nunique()),
                "findings": [f.to_json() for f in findings if not f.query],
                "queries": [f.to_json() for f in findings if f.query],
                "verdict": sorted({f.kind for f in findings if not f.query}),
            }
            for predictions, declared, findings in audited
        ],
        "kinds": KINDS,
        "silence": SILENCE,
    }
