"""Checks of the contract: what a prediction is, and what it may depend on. A check's docstring says what it protects."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np

from benchmark.check.cohorts import make_wild_cohort, replace_fields, replace_keys, spoil_unobserved
from benchmark.check.harness import Fault, Harness, expect_same
from datasets.cohort import Cohort, compute_fingerprint
from methods.base import Method
from methods.registry import find_unknown_field

State = dict[str, np.ndarray]


def probabilities(harness: Harness) -> None:
    """What is stored and scored are probabilities: float64 [N, T], each in [0, 1], for no stay and for one as for many."""
    for n in (len(harness.test), 1, 0):
        cohort = harness.copy_cohort(harness.test.take(np.arange(n))).without_outcomes()
        p = copy.deepcopy(harness.fitted).predict_proba(cohort)
        received = f"{type(p).__name__} {getattr(p, 'dtype', '')} {list(np.shape(p))}"
        if not isinstance(p, np.ndarray) or p.dtype != np.float64 or p.shape != (n, len(cohort.tasks)):
            raise Fault(f"for {n} stays and {len(cohort.tasks)} tasks predict_proba gave {received}")
        bad = ~((p >= 0) & (p <= 1))
        if bad.any():
            row, task = np.argwhere(bad)[0]
            raise Fault(f"{bad.sum()} of {bad.size} are none, the first {p[row, task]} for {cohort.tasks[task]}")


def same_seed(harness: Harness) -> None:
    """A run can be repeated: the same seed gives the same predictions, whatever was drawn elsewhere in the program."""
    again = harness.predict(harness.fit(around=77), around=78)
    expect_same(again, harness.prediction, "fitted again with the same seed")


def other_seed(harness: Harness) -> None:
    """A spread over seeds means something: other seeds give other predictions, unless INFO declares "uses_seed": False."""
    others = [harness.predict(harness.fit(seed=seed)) for seed in (1, 2)]
    same = [np.array_equal(p, harness.prediction, equal_nan=True) for p in others]
    if harness.uses_seed and all(same):
        raise Fault('seeds 0, 1 and 2 give the same predictions; if nothing is drawn, INFO says "uses_seed": False')
    if not harness.uses_seed and not all(same):
        raise Fault('INFO says "uses_seed": False, but another seed gives other predictions')


def other_rows(harness: Harness) -> None:
    """A patient's prediction is the patient's own: to 1e-6 whichever stays, how many and in which order are predicted with it."""
    n, rng = len(harness.test), np.random.default_rng(0)
    for rows in (rng.permutation(n), rng.permutation(n)[:7], [0], [n // 2], [n - 1]):
        p = harness.predict(harness.fitted, harness.test.take(np.asarray(rows)))
        expect_same(p, harness.prediction[rows], f"predicted {len(rows)} at a time, in another order", atol=1e-6)
    rows = np.concatenate([harness.parts.rows["test"][:7], harness.parts.rows["train"]])
    p = harness.predict(harness.fitted, harness.parts.whole.take(rows))[:7]
    expect_same(p, harness.prediction[:7], "predicted with other stays", atol=1e-6)


def unobserved_in_fit(harness: Harness) -> None:
    """What stands in the slot of an unobserved modality (NaN, infinity, noise) changes nothing that is fitted, bit for bit."""
    method = harness.fit(spoil_unobserved(harness.train, 1), spoil_unobserved(harness.valid, 2))
    expect_same(harness.predict(method), harness.prediction, "other contents of unobserved slots in fit")


def unobserved_in_prediction(harness: Harness) -> None:
    """What stands in the slot of an unobserved modality (NaN, infinity, noise) changes no prediction, bit for bit."""
    p = harness.predict(harness.fitted, spoil_unobserved(harness.test, 3))
    expect_same(p, harness.prediction, "other contents of unobserved slots in predict_proba")


def test_outcomes(harness: Harness) -> None:
    """Predictions cannot know the answer: outcomes present, reversed or taken away change none of them, bit for bit."""
    reversed_ = replace_fields(harness.test, outcomes=1 - harness.test.outcomes)
    for what, cohort, blind in (
        ("present", harness.test, False),
        ("reversed", reversed_, False),
        ("reversed, then taken away", reversed_, True),
    ):
        p = harness.predict(harness.fitted, cohort, blind=blind)
        expect_same(p, harness.prediction, f"outcomes of the test part {what}")


def keys(harness: Harness) -> None:
    """Patient number, hospital and groups are keys, never inputs: other ones change no prediction, bit for bit."""
    method = harness.fit(replace_keys(harness.train, 4), replace_keys(harness.valid, 5))
    p = harness.predict(method, replace_keys(harness.test, 6))
    expect_same(p, harness.prediction, "other patient numbers, hospitals and groups")


def representation(harness: Harness) -> None:
    """A method's representation of a stay, where it has one, is the stay's own: float32 [N, d], the same whatever stands in outcomes and
    unobserved slots, bit for bit, and whichever stays are represented with it, to 1e-5 of the largest entry.
    """

    def represent(cohort: Cohort) -> np.ndarray | None:
        return copy.deepcopy(harness.fitted).represent(harness.copy_cohort(cohort))

    blind = harness.test.without_outcomes()
    h, n = represent(blind), len(blind)
    if h is None:
        return
    if not isinstance(h, np.ndarray) or h.dtype != np.float32 or h.ndim != 2 or len(h) != n or not np.isfinite(h).all():
        received = f"{type(h).__name__} {getattr(h, 'dtype', '')} {list(np.shape(h))}"
        raise Fault(f"for {n} stays represent gave {received}, expected finite float32 [{n}, d]")
    reversed_ = replace_fields(harness.test, outcomes=1 - harness.test.outcomes)
    for cohort, what in (
        (reversed_, "representation, with outcomes, reversed"),
        (spoil_unobserved(blind, 3), "representation, other contents of unobserved slots"),
    ):
        expect_same(np.asarray(represent(cohort)), h, what)
    rows, largest = np.random.default_rng(0).permutation(n)[:7], np.abs(h).max(initial=1e-9)
    expect_same(
        np.asarray(represent(blind.take(rows))) / largest,
        h[rows] / largest,
        "representation, 7 stays at a time",
        atol=1e-5,
    )


def validation_inputs(harness: Harness) -> None:
    """Scalers and the like are fitted on training rows alone: where the validation part has no outcomes to choose by, its inputs
    change nothing, bit for bit (what is fitted on its outcomes, validation_outcomes checks).
    """
    valid = harness.valid.without_outcomes()
    ordinary, other = (harness.fit(valid=v) for v in (valid, make_wild_cohort(valid)))
    expect_same(harness.predict(other), harness.predict(ordinary), "other inputs in the validation part")
    _expect_same_state(_read_state(other), _read_state(ordinary))


def prediction_inputs(harness: Harness) -> None:
    """Nothing is fitted on test rows: predicting stays far from the training part leaves the fitted state as it was, bit for bit."""
    method = copy.deepcopy(harness.fitted)
    before = copy.deepcopy(_read_state(method))
    method.predict_proba(harness.copy_cohort(make_wild_cohort(harness.test)).without_outcomes())
    expect_same(harness.predict(method), harness.prediction, "after predicting other stays")
    _expect_same_state(_read_state(method), before)


def arguments(harness: Harness) -> None:
    """Cohorts are shared by all methods: fit and predict_proba leave theirs as they were, unobserved slots included."""
    cohorts = [harness.copy_cohort(c) for c in (harness.train, harness.valid, harness.test.without_outcomes())]
    before = [_hash_contents(c) for c in cohorts]
    method = harness.make(0).fit(*cohorts[:2])
    copy.deepcopy(method).predict_proba(cohorts[2])
    for name, cohort, old in zip(("training", "validation", "test"), cohorts, before, strict=True):
        new = _hash_contents(cohort)
        touched = [key for key in old if old[key] != new[key]]
        if touched:
            raise Fault(f"{', '.join(touched)} of the {name} part changed")


def save_and_load(harness: Harness) -> None:
    """A fitted method can be kept without pickle: state() is plain arrays, and load_state() of them predicts the same, bit for bit."""
    state = copy.deepcopy(harness.fitted).state()
    for key, value in state.items():
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise Fault(f"state()[{key!r}] is no plain array but {getattr(value, 'dtype', type(value).__name__)}")
    file = io.BytesIO()
    arrays: dict[str, Any] = {f"state {key}": value for key, value in state.items()}
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        loaded = {key.removeprefix("state "): stored[key] for key in stored.files}
    method = harness.make(0)
    method.load_state(loaded)
    expect_same(harness.predict(method), harness.prediction, "saved and loaded")


def fields(harness: Harness) -> None:
    """The method's grid and variants name fields of its Config, and no others."""
    fault = find_unknown_field(type(harness.make(0)))
    if fault:
        raise Fault(fault)


def _read_state(method: Method) -> State:
    """Return the state, as far as it is plain arrays; whether all of it is there is checked by save_and_load."""
    try:
        state = method.state()
    except NotImplementedError:
        return {}
    return {k: v for k, v in state.items() if isinstance(v, np.ndarray) and not v.dtype.hasobject}


def _expect_same_state(actual: State, expected: State) -> None:
    for key in expected:
        a, b = np.asarray(actual.get(key)), np.asarray(expected[key])
        if a.dtype != b.dtype or a.tobytes() != b.tobytes():
            raise Fault(f"state()[{key!r}] is another")


def _hash_contents(cohort: Cohort) -> dict[str, object]:
    """Return hashes of what a method could change, by name."""
    values = {f"modality {m.name}": m.values.tobytes() for m in cohort.modalities}
    return {"contents": compute_fingerprint(cohort), **values}
