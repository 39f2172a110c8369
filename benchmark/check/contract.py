"""Checks of the contract: what a prediction is, and what it may depend on. A check's docstring says what it protects."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np

from benchmark.check.bench import Bench, Fault, expect_same
from benchmark.check.cohorts import changed, spoiled, wild, with_other_keys
from datasets.cohort import Cohort, content_fingerprint
from methods.base import Method

State = dict[str, np.ndarray]


def probabilities(bench: Bench) -> None:
    """What is stored and scored are probabilities: float64 [N, T], each in [0, 1], for no stay and for one as for many."""
    for n in (len(bench.test), 1, 0):
        cohort = bench.given(bench.test.take(np.arange(n))).without_outcomes()
        p = copy.deepcopy(bench.fitted).predict_proba(cohort)
        found = f"{type(p).__name__} {getattr(p, 'dtype', '')} {list(np.shape(p))}"
        if not isinstance(p, np.ndarray) or p.dtype != np.float64 or p.shape != (n, len(cohort.tasks)):
            raise Fault(f"for {n} stays and {len(cohort.tasks)} tasks predict_proba gave {found}")
        bad = ~((p >= 0) & (p <= 1))
        if bad.any():
            row, task = np.argwhere(bad)[0]
            raise Fault(f"{bad.sum()} of {bad.size} are none, the first {p[row, task]} for {cohort.tasks[task]}")


def same_seed(bench: Bench) -> None:
    """A run can be repeated: the same seed gives the same predictions, whatever was drawn elsewhere in the program."""
    again = bench.predict(bench.fit(around=77), around=78)
    expect_same(again, bench.prediction, "fitted again with the same seed")


def other_seed(bench: Bench) -> None:
    """A spread over seeds means something: other seeds give other predictions, unless INFO declares "uses_seed": False."""
    others = [bench.predict(bench.fit(seed=seed)) for seed in (1, 2)]
    same = [np.array_equal(p, bench.prediction, equal_nan=True) for p in others]
    if bench.uses_seed and all(same):
        raise Fault('seeds 0, 1 and 2 give the same predictions; if nothing is drawn, INFO says "uses_seed": False')
    if not bench.uses_seed and not all(same):
        raise Fault('INFO says "uses_seed": False, but another seed gives other predictions')


def other_rows(bench: Bench) -> None:
    """A patient's prediction is the patient's own: to 1e-6 whichever stays, how many and in which order stand beside it."""
    n, rng = len(bench.test), np.random.default_rng(0)
    for rows in (rng.permutation(n), rng.permutation(n)[:7], [0], [n // 2], [n - 1]):
        p = bench.predict(bench.fitted, bench.test.take(np.asarray(rows)))
        expect_same(p, bench.prediction[rows], f"predicted {len(rows)} at a time, in another order", atol=1e-6)
    rows = np.concatenate([bench.parts.rows["test"][:7], bench.parts.rows["train"]])
    p = bench.predict(bench.fitted, bench.parts.whole.take(rows))[:7]
    expect_same(p, bench.prediction[:7], "predicted beside other stays", atol=1e-6)


def unobserved_in_fit(bench: Bench) -> None:
    """What stands in the slot of an unobserved modality (NaN, infinity, noise) changes nothing that is fitted, bit for bit."""
    method = bench.fit(spoiled(bench.train, 1), spoiled(bench.valid, 2))
    expect_same(bench.predict(method), bench.prediction, "other contents of unobserved slots in fit")


def unobserved_in_prediction(bench: Bench) -> None:
    """What stands in the slot of an unobserved modality (NaN, infinity, noise) changes no prediction, bit for bit."""
    p = bench.predict(bench.fitted, spoiled(bench.test, 3))
    expect_same(p, bench.prediction, "other contents of unobserved slots in predict_proba")


def test_outcomes(bench: Bench) -> None:
    """Predictions cannot know the answer: outcomes present, reversed or taken away change none of them, bit for bit."""
    reversed_ = changed(bench.test, outcomes=1 - bench.test.outcomes)
    for what, cohort, blind in (
        ("present", bench.test, False),
        ("reversed", reversed_, False),
        ("reversed, then taken away", reversed_, True),
    ):
        p = bench.predict(bench.fitted, cohort, blind=blind)
        expect_same(p, bench.prediction, f"outcomes of the test part {what}")


def keys(bench: Bench) -> None:
    """Patient number, hospital and groups are keys, never inputs: other ones change no prediction, bit for bit."""
    method = bench.fit(with_other_keys(bench.train, 4), with_other_keys(bench.valid, 5))
    p = bench.predict(method, with_other_keys(bench.test, 6))
    expect_same(p, bench.prediction, "other patient numbers, hospitals and groups")


def representation(bench: Bench) -> None:
    """A method's representation of a stay, where it has one, is the stay's own: float32 [N, d], the same whatever stands in outcomes and
    unobserved slots, bit for bit, and whichever stays are represented with it, to 1e-5 of the largest entry.
    """

    def of(cohort: Cohort) -> np.ndarray | None:
        return copy.deepcopy(bench.fitted).represent(bench.given(cohort))

    blind = bench.test.without_outcomes()
    h, n = of(blind), len(blind)
    if h is None:
        return
    if not isinstance(h, np.ndarray) or h.dtype != np.float32 or h.ndim != 2 or len(h) != n or not np.isfinite(h).all():
        found = f"{type(h).__name__} {getattr(h, 'dtype', '')} {list(np.shape(h))}"
        raise Fault(f"for {n} stays represent gave {found}, expected finite float32 [{n}, d]")
    reversed_ = changed(bench.test, outcomes=1 - bench.test.outcomes)
    for cohort, what in (
        (reversed_, "representation, with outcomes, reversed"),
        (spoiled(blind, 3), "representation, other contents of unobserved slots"),
    ):
        expect_same(np.asarray(of(cohort)), h, what)
    rows, largest = np.random.default_rng(0).permutation(n)[:7], np.abs(h).max(initial=1e-9)
    expect_same(
        np.asarray(of(blind.take(rows))) / largest, h[rows] / largest, "representation, 7 stays at a time", atol=1e-5
    )


def validation_inputs(bench: Bench) -> None:
    """Scalers and the like are fitted on training rows alone: where the validation part has no outcomes to choose by, its inputs
    change nothing, bit for bit (what is fitted on its outcomes is for validation_outcomes to see).
    """
    valid = bench.valid.without_outcomes()
    ordinary, other = (bench.fit(valid=v) for v in (valid, wild(valid)))
    expect_same(bench.predict(other), bench.predict(ordinary), "other inputs in the validation part")
    _expect_same_state(_state(other), _state(ordinary))


def prediction_inputs(bench: Bench) -> None:
    """Nothing is fitted on test rows: predicting stays far from the training part leaves the fitted state as it was, bit for bit."""
    method = copy.deepcopy(bench.fitted)
    before = copy.deepcopy(_state(method))
    method.predict_proba(bench.given(wild(bench.test)).without_outcomes())
    expect_same(bench.predict(method), bench.prediction, "after predicting other stays")
    _expect_same_state(_state(method), before)


def arguments(bench: Bench) -> None:
    """Cohorts are shared by all methods: fit and predict_proba leave theirs as they were, unobserved slots included."""
    cohorts = [bench.given(c) for c in (bench.train, bench.valid, bench.test.without_outcomes())]
    before = [_contents(c) for c in cohorts]
    method = bench.make(0).fit(*cohorts[:2])
    copy.deepcopy(method).predict_proba(cohorts[2])
    for name, cohort, old in zip(("training", "validation", "test"), cohorts, before, strict=True):
        new = _contents(cohort)
        touched = [key for key in old if old[key] != new[key]]
        if touched:
            raise Fault(f"{', '.join(touched)} of the {name} part changed")


def save_and_load(bench: Bench) -> None:
    """A fitted method can be kept without pickle: state() is plain arrays, and load_state() of them predicts the same, bit for bit."""
    state = copy.deepcopy(bench.fitted).state()
    for key, value in state.items():
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise Fault(f"state()[{key!r}] is no plain array but {getattr(value, 'dtype', type(value).__name__)}")
    file = io.BytesIO()
    arrays: dict[str, Any] = {f"state {key}": value for key, value in state.items()}
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        loaded = {key.removeprefix("state "): stored[key] for key in stored.files}
    method = bench.make(0)
    method.load_state(loaded)
    expect_same(bench.predict(method), bench.prediction, "saved and loaded")


def _state(method: Method) -> State:
    """The state, as far as it is plain arrays: whether it is all there is the business of save_and_load."""
    try:
        state = method.state()
    except NotImplementedError:
        return {}
    return {k: v for k, v in state.items() if isinstance(v, np.ndarray) and not v.dtype.hasobject}


def _expect_same_state(found: State, expected: State) -> None:
    for key in expected:
        a, b = np.asarray(found.get(key)), np.asarray(expected[key])
        if a.dtype != b.dtype or a.tobytes() != b.tobytes():
            raise Fault(f"state()[{key!r}] is another")


def _contents(cohort: Cohort) -> dict[str, object]:
    """Hashes of what a method could change, by name."""
    values = {f"modality {m.name}": m.values.tobytes() for m in cohort.modalities}
    return {"contents": content_fingerprint(cohort), **values}
