"""The checks are checked: each fault is caught by the check that names it and by no other; and every registered method passes."""

import json
import re
import time
import warnings

import numpy as np
import pytest

from benchmark.check import CHECKS, learning, run_checks
from benchmark.check.cohorts import draw_random_cohort, replace_fields
from benchmark.check.method import check_method, choose_checks
from methods import registry
from methods.base import NotApplicable
from tests.broken import BROKEN, PeeksThroughMemory, SharesOneLogit, Sound

QUICK = [check for check in CHECKS if not check.slow]
TIMES_THE_PLAIN_NETWORK = 30


def results(cls, names=None, **given):
    checks = None if names is None else choose_checks(names, slow=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return {r.name: r for r in run_checks(lambda seed: cls(seed=seed), checks, **given)}


def failed(found):
    return {r.name: r.detail for r in found if r.verdict != "passed"}


def checked_in(name):
    """CPU seconds that the checks of a method take, all of which it passes."""
    started = time.process_time()
    assert not failed(check_method(name))
    return time.process_time() - started


@pytest.fixture(scope="module")
def warm():
    """What the first check of a process pays for: imports and cohorts."""
    checked_in("zero_fill")


@pytest.mark.parametrize("name", list(registry.infos()))
@pytest.mark.usefixtures("warm")
def test_every_registered_method_passes_in_some_times_what_the_plain_network_takes(name):
    """Beside each other, since seconds depend on what else the machine does; the plain network takes about one."""
    beside = checked_in("zero_fill")
    assert checked_in(name) < TIMES_THE_PLAIN_NETWORK * beside


@pytest.mark.slow
@pytest.mark.parametrize("name", list(registry.infos()))
def test_every_registered_method_passes_the_slow_checks(name):
    assert not failed(check_method(name, checks=[check for check in CHECKS if check.slow]))


@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_a_fault_is_caught_by_the_check_that_names_it_and_by_no_other(cls):
    assert set(failed(results(cls).values())) == {cls.caught_by}


def test_every_check_has_a_method_that_fails_it():
    assert {cls.caught_by for cls in BROKEN} == {check.name for check in QUICK}


@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.name)
def test_each_check_runs_alone(check):
    assert not failed(results(Sound, [check.name]).values())


def test_a_check_has_a_name_of_its_own_and_a_sentence():
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert re.fullmatch(r"[A-Z][^\n]+\.", check.protects), check.name


def test_a_leak_is_seen_over_repeated_shuffles_too():
    assert failed(results(PeeksThroughMemory, ["shuffled_repeatedly"]).values())
    assert not failed(results(Sound, ["shuffled_repeatedly"]).values())


def test_cost_is_measured_and_not_judged(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(learning.time, "perf_counter", lambda: clock[0])

    class Quadratic(Sound):
        def fit(self, train, valid):
            clock[0] += len(train) ** 2 / 1e6
            return super().fit(train, valid)

    result = results(Quadratic, ["cost"])["cost"]
    said = "0.25 s at 500, 1.00 s at 1,000, 4.00 s at 2,000 stays: time grows as N to the power of 2.0"
    assert (result.verdict, result.detail) == ("passed", said)


def test_declaring_that_no_seed_is_used_is_held_to():
    class DrawsNothing(Sound):
        def jitter(self, shape):
            return np.zeros(shape)

    assert not failed(results(DrawsNothing, uses_seed=False).values())
    assert set(failed(results(DrawsNothing).values())) == {"other_seed"}
    assert set(failed(results(Sound, uses_seed=False).values())) == {"other_seed"}


@pytest.mark.parametrize("uses_series", [True, False])
def test_series_are_given_to_methods_that_declare_them(uses_series):
    seen = set()

    class Looks(Sound):
        def fit(self, train, valid):
            seen.update(c.series is not None for c in (train, valid))
            return super().fit(train, valid)

    results(Looks, ["tiny", "arguments", "learns", "cost"], uses_series=uses_series)
    assert seen == {uses_series}


def test_an_exception_is_a_failure_in_one_line():
    class Crashes(Sound):
        def fit(self, train, valid):
            raise RuntimeError("out of\nmemory")

    result = results(Crashes, ["tiny"])["tiny"]
    assert (result.verdict, result.detail) == ("failed", "raised RuntimeError: out of")


def test_one_logit_for_all_tasks_is_refused_by_name():
    found = results(SharesOneLogit, ["probabilities", "learns"])
    for result in found.values():
        assert result.verdict == "failed"
        assert re.search(r"SharesOneLogit: .*Output\.logits have shape \[\d+, 1\], expected \[B, T\]", result.detail)


class NeedsReports(Sound):
    """Does not apply to a cohort without a modality called reports."""

    def fit(self, train, valid):
        if "reports" not in [m.name for m in train.modalities]:
            raise NotApplicable("it reads reports, and this cohort has none")
        return super().fit(train, valid)


def test_a_method_that_does_not_apply_says_so_once():
    found = list(results(NeedsReports).values())
    assert {r.verdict for r in found} == {"passed", "skipped"}
    assert [r.name for r in found if r.verdict == "passed"] == ["fields"]  # which reads the class alone
    details = [r.detail for r in found if r.verdict == "skipped"]
    assert details[0] == "not applicable, and so are the checks that follow: it reads reports, and this cohort has none"
    assert not any(details[1:])


def test_a_method_that_does_not_apply_to_an_odd_cohort_alone_fails_its_check():
    class NeedsMany(Sound):
        def fit(self, train, valid):
            if len(train) < 30:
                raise NotApplicable("fewer than 30 stays")
            return super().fit(train, valid)

    found = results(NeedsMany, ["tiny", "keys"])
    assert (found["tiny"].verdict, found["tiny"].detail) == ("failed", "raised NotApplicable: fewer than 30 stays")
    assert found["keys"].verdict == "passed"


def test_the_status_of_check_is_1_where_nothing_passes(cli, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda name: NeedsReports)
    status, out, err = cli("check", "gbdt", "--only", "tiny", "keys", "probabilities")
    assert status == 1
    assert out.count("skipped") == 3
    assert err.count("it reads reports, and this cohort has none") == 1
    assert "gbdt: 3 skipped" in err


def test_a_method_without_state_fails_one_check():
    class Stateless(Sound):
        def state(self):
            raise NotImplementedError

    assert set(failed(results(Stateless).values())) == {"save_and_load"}


def test_a_given_cohort_takes_the_place_of_the_small_one_and_may_be_too_plain_for_a_check():
    plain = draw_random_cohort(200, widths=(4,), tasks=("mortality_inhosp",))
    plain = replace_fields(plain, observed=np.ones_like(plain.observed))
    found = results(Sound, cohort=plain)
    skipped = {r.name for r in found.values() if r.verdict == "skipped"}
    assert skipped == {"unseen_pattern", "single_modality", "absent_modality"}
    assert {r.verdict for r in found.values()} == {"passed", "skipped"}
    few = results(Sound, ["last_batch"], cohort=draw_random_cohort(100))["last_batch"]
    assert (few.verdict, few.detail) == ("skipped", "the training part has fewer than 65 stays")


def test_check_prints_a_table_and_its_status_says_whether_all_passed(cli, monkeypatch):
    status, out, err = cli("check", "logistic", "--only", "tiny", "keys")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["name", "verdict"],
        ["tiny", "passed"],
        ["keys", "passed"],
    ]
    assert "logistic: 2 passed" in err

    monkeypatch.setattr(registry, "load", lambda name: next(c for c in BROKEN if c.caught_by == "keys"))
    status, out, err = cli("check", "gbdt", "--only", "tiny", "keys", "--json")
    assert status == 1
    assert [(row["name"], row["verdict"]) for row in json.loads(out)] == [("tiny", "passed"), ("keys", "failed")]
    assert "failed: keys: other patient numbers, hospitals and groups" in err


def test_check_on_a_registered_cohort_with_a_variant_and_hyper_parameters(cli, built):
    small = ("dataset=embedded-mimic", "n=160", "dataset.draws=16", f"built={built}")
    only = ("--only", "probabilities", "single_modality", "learns")
    status, out, err = cli("check", "crl_mmnar:concat", "method.hidden=16", *only, *small)
    assert status == 0, err
    assert out.count("passed") == 3
    assert "on cohorts of their own: learns" in err


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["logistik"], "no method is called 'logistik'; nearest: logistic"),
        (["logistic", "--only", "tinny"], "unknown check 'tinny'; did you mean tiny?"),
        (["crl_mmnar:concatt"], "unknown variant of crl_mmnar 'concatt'; did you mean concat or focal?"),
        (["gbdt", "method.round=3"], "unknown hyper-parameter of Gbdt: 'method.round'; did you mean method.rounds"),
        (["gbdt", "seeds=3"], "seeds=3: check has no use for it"),
        (["gbdt", "dataset=eicu-dem"], "unknown dataset 'eicu-dem'; did you mean"),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(cli, argv, fault):
    status, out, err = cli("check", *argv)
    assert (status, out) == (2, "")
    assert fault in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_the_shared_demo_cohort_can_be_checked(cli, data_root, built):
    status, out, err = cli(
        "check", "logistic", "dataset=eicu-demo", f"built={built}", f"root={data_root / 'eicu-demo'}"
    )
    assert status == 0, out + err
