"""The registry of the audit: each entry A1 to A13, what the released code does, and how it is reproduced on a cohort.

Released code: the repository CausalMLResearch/CRL-MMNAR, as released; the commit that was read was not recorded. ``mm`` =
multimodal_missingness.py, ``ar`` = apply_rectifier.py, ``nb cK:L`` = data_preprocessing.ipynb, cell K from 0, line L. Steps are
written from their description; nothing of that code is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.audit.edits import find_role

Tasks = tuple[str, ...]


def _has_any_task(tasks: Tasks) -> bool:
    return True


def _has_returns(tasks: Tasks) -> bool:
    return any(find_role(task) for task in tasks)


def _has_mortality(tasks: Tasks) -> bool:
    return any(task.startswith("mortality") for task in tasks)


@dataclass(frozen=True)
class Step:
    """One step of the released evaluation.

    ``where``: file and line; ``released``: what is done there; ``here``: how it is reproduced, or why it is not; ``kind``: ``data``,
    ``training``, ``evaluation``, or nothing where it is not reproduced; ``applies_to``: whether it can change a landmark with these tasks;
    ``cheap``: part of ``--quick``.
    """

    id: str
    title: str
    where: str
    released: str
    here: str
    kind: str = ""
    applies_to: Callable[[Tasks], bool] = _has_any_task
    cheap: bool = True


STEPS = {
    step.id: step
    for step in (
        Step(
            "A1",
            "sampler over all rows",
            "mm:724-750, 1957-1985",
            "the weighted sampler yields positions 0..n_train-1, and the loader applies them to the whole dataset, not to the "
            "training rows: "
            "of 100 rows drawn about 68 are training, 12 validation and 20 test rows, with their outcomes; the weights (.8 "
            "inverse frequency "
            "of readmission, .2 of the pattern) belong to other rows",
            "the rows handed to the fit are the first n_train of the cohort, drawn again each epoch with replacement by "
            "weights made of the "
            "training rows; scaling and base rates are of the rows handed over; validation and test parts stay as drawn",
            "training",
        ),
        Step(
            "A2",
            "moves toward own outcomes, not selective",
            "ar:464-491, 559-567",
            "a test patient's prediction is moved toward that patient's own outcome: readmission above .7 with outcome 0 "
            "down, below .3 with "
            "outcome 1 up, by .1 x .3; ICU above .8 down, below .2 up, by .15; up to five rounds",
            "five rounds of these moves after the suite's rectifier, for the readmission and the ICU task; the member that "
            "moves by .2 (ar:649-657) "
            "is left out. Cumulative: inside the released rectifier",
            "evaluation",
            _has_returns,
        ),
        Step(
            "A2s",
            "moves toward own outcomes, selective",
            "ar:406-439, 573-589",
            "the same, each round kept where it raises the test AUC of its pattern (the option its README recommends)",
            "the same, with that rule. Cumulative: inside the released rectifier",
            "evaluation",
            _has_returns,
        ),
        Step(
            "A3a",
            "contents of later stays",
            "nb c7:196, 255-256, 265-266; c9:81-97",
            "notes, radiology reports and X-rays are pooled over all of a subject's life, without a filter on admission or date",
            "a stay with a counted return has a later stay, others alive have one with probability later_share; it records a "
            "modality as often as "
            "the cohort does, with the content of a stay drawn at random, moved by mention sd along one direction a task "
            "where the return is "
            "counted; the input is the mean of both. The rate and the size are assumptions: the notes on the released code give none",
            "data",
            cheap=False,
        ),
        Step(
            "A3b",
            "pattern of later stays",
            "nb c7:255-256; c9:81-97",
            "has_T, has_R and has_I are 1 if there ever was a note, report or image, so later stays raise the pattern",
            "modalities that only the later stay of A3a records count as observed; alone, with its content unmoved by the event",
            "data",
            cheap=False,
        ),
        Step(
            "A4",
            "rectifier fitted on the rows it corrects",
            "mm:2563-2577; ar:191-207, 346-365, 904-931",
            "its only input is the file of test predictions; no folds, no validation predictions",
            "the suite's rectifier, fitted on the test rows and applied to them",
            "evaluation",
        ),
        Step(
            "A5",
            "acceptance by test AUC",
            "ar:406-439, 573-589, 688, 706, 813, 821",
            "corrections are kept or dropped by the test AUC, pattern by pattern, round by round, and for the ensemble",
            "an offset of the suite's rectifier is kept, pattern by pattern, where it does not lower the AUC of all test rows "
            "(a constant moves no "
            "AUC inside its pattern)",
            "evaluation",
        ),
        Step(
            "A6",
            "fixed factors by pattern",
            "ar:274-296",
            "corrections are multiplied by constants written into the code, by pattern and task (.5 to 1.8)",
            "the offsets of the suite's rectifier times these constants; patterns of other names have factor 1",
            "evaluation",
            _has_returns,
        ),
        Step(
            "A7",
            "reference pattern chosen on test rows",
            "ar:141-163",
            "one pattern, chosen by .6 test AUC + .3 min(1, n/200) + .1 completeness, is left uncorrected",
            "the same rule; its offset of the suite's rectifier is 0",
            "evaluation",
        ),
        Step(
            "A8",
            "index deaths kept as negatives, with their flag as input",
            "nb c5:24-123; mm:109",
            "patients who die in the index stay remain in the cohort as negatives of every task, idx_hospital_expire_flag is "
            "an input; ICU and "
            "death are counted in any later admission, without the time limit in the label's name",
            "the dead of the whole-stay cohort join the discharge landmark as negatives and the flag joins the first "
            "modality; their split is drawn "
            "apart from that of the others. Labels without time limit are not reproduced: this cohort has no events beyond its "
            "windows",
            "data",
            _has_returns,
            False,
        ),
        Step(
            "A9a",
            "contents of the whole stay",
            "nb c5:154-162; c7",
            "length of stay, whole-stay counts, codes assigned after discharge and the discharge summary are inputs, whatever "
            "the outcome",
            "in-hospital mortality is predicted from the contents and the pattern of the whole stay (the paper protocol's "
            "landmark) instead of the "
            "first 24 hours",
            "data",
            _has_mortality,
            False,
        ),
        Step(
            "A9b",
            "flag of in-hospital death as input of in-hospital mortality",
            "nb c5:154-162; mm:1563",
            "idx_hospital_expire_flag is an input; it is the outcome of the task that the paper names in-hospital mortality, "
            "while the label in the code is "
            "death in a later admission",
            "the flag joins the first modality. Alone only: the label in the code is another one",
            "data",
            _has_mortality,
            False,
        ),
        Step(
            "A10",
            "scaling on all rows",
            "mm:1470-1494, 1611-1619",
            "structured features are cut at mean +- 3 sd, and gaps filled with the mean, over all rows before the split; "
            "class weights too",
            "the same on the first modality; the suite's methods have no class weights",
            "data",
            cheap=False,
        ),
        Step(
            "A11",
            "first non-null value of a column from later stays",
            "nb c5:24",
            "pandas' groupby.first() fills empty columns of the index stay from later ones",
            "not reproduced: the columns concerned are text and enter the released model as the constant 0",
        ),
        Step(
            "A12",
            "unseeded noise at test time and unseeded image pooling",
            "mm:755-820; nb c9:246-247",
            "predictions are means over passes with noise that depends on run order; image features come from a random, "
            "unseeded network",
            "not reproduced: it makes numbers differ from run to run rather than higher, and the cohorts hold pooled vectors, "
            "not image features",
        ),
        Step(
            "A13",
            "stale metrics",
            "ar:688-693, 858-866",
            "ICU metrics printed are those of the last round whose ensemble was accepted, not of the predictions written",
            "not reproduced: every number here is recomputed from the predictions stored",
        ),
    )
}
CUMULATIVE = (
    ("A3", ("A3a", "A3b")),
    ("A8", ("A8",)),
    ("A9", ("A9a",)),
    ("A10", ("A10",)),
    ("A1", ("A1",)),
    ("A4", ("A4",)),
    ("A5", ("A5",)),
    ("A6", ("A6",)),
    ("A7", ("A7",)),
    ("A2", ("R",)),
    ("A2s", ("R", "Rs")),
)
"""The order of the released pipeline: (name, what it adds); ``R`` and ``Rs`` are the released rectifier whole, not selective and
selective, which takes the place of the suite's (`benchmark.audit.released`)."""
FITTED = frozenset(step.id for step in STEPS.values() if step.kind in ("data", "training"))
"""Steps that need a fit of their own."""


@dataclass(frozen=True)
class AuditStepSet:
    """The steps that are on in one row of the audit's table; ``block``: ``base``, ``alone`` or ``cumulative``."""

    name: str
    title: str
    steps: frozenset[str]
    block: str

    def select_steps(self, tasks: Tasks) -> frozenset[str]:
        """Return the steps that can change a landmark with these tasks."""
        return frozenset(
            s
            for s in self.steps
            if (s in ("R", "Rs") and _has_returns(tasks)) or (s in STEPS and STEPS[s].applies_to(tasks))
        )

    def applies_to(self, tasks: Tasks) -> bool:
        """Return whether the set is a row of the table at a landmark with these tasks: the newest step of it can change that."""
        return (
            _has_any_task(tasks)
            if self.block == "base"
            else bool(AuditStepSet("", "", self.newest, "").select_steps(tasks))
        )

    @property
    def newest(self) -> frozenset[str]:
        """The steps that the set adds to the one before it."""
        if self.block != "cumulative":
            return self.steps
        return frozenset(dict(CUMULATIVE)[self.name.removeprefix("to_")])


def list_step_sets(quick: bool = False) -> tuple[AuditStepSet, ...]:
    """Return the sets in print order: the strict base, each step alone, then the steps one after the other.

    ``quick``: the cheap ones.
    """
    own = [step for step in STEPS.values() if step.kind and (step.cheap or not quick)]
    order = {
        name: i
        for i, name in enumerate(("A3a", "A3b", "A8", "A9a", "A9b", "A10", "A1", "A4", "A5", "A6", "A7", "A2", "A2s"))
    }
    own.sort(key=lambda step: order[step.id])
    sets = [AuditStepSet("default", "strict protocol, with its rectifier", frozenset(), "base")]
    sets += [AuditStepSet(step.id, f"{step.id} {step.title}", frozenset({step.id}), "alone") for step in own]
    so_far: frozenset[str] = frozenset()
    for name, added in CUMULATIVE:
        if quick and not set(added) <= {"R", "Rs", *(step.id for step in own)}:
            continue
        so_far = so_far | set(added)
        sets.append(AuditStepSet(f"to_{name}", f"... + {_name_step(name)}", so_far, "cumulative"))
    return tuple(sets)


def _name_step(name: str) -> str:
    special = {
        "A3": "A3 contents and pattern of later stays",
        "A9": "A9 contents of the whole stay",
        "A2": "A2 in the released rectifier, not selective",
        "A2s": "A2 in the released rectifier, selective",
    }
    return special.get(name) or f"{name} {STEPS[name].title}"
