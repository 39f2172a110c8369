"""The gate against faults put in on purpose: each turns it red, and the tree as it is does not."""

from pathlib import Path

import pytest

from methods import registry
from results.gate.judge import RED, judge
from results.gate.locked_csv import read_locked
from tests.faults import FAULTS, run_gate

LOCKED = Path(__file__).resolve().parents[2] / "results" / "locked" / "gate.csv"
CAUGHT_BY = {
    None: ("discharge", "logistic", "s_only", "zero_fill", "hgmf"),
    "labels_shifted": ("discharge", "logistic", "s_only", "zero_fill"),
    "mask_ignored": ("discharge", "hgmf", "zero_fill"),
    "mask_ignored_and_filled_forward": ("discharge", "zero_fill", "mean_impute"),
    "validation_trained_on": ("discharge", "logistic", "zero_fill"),
    "learning_rate_tenfold": ("discharge", "s_only", "zero_fill"),
}
"""Cheap methods, at one landmark, in which each fault is seen."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return tmp_path_factory.mktemp("built")


@pytest.fixture(scope="module")
def locked():
    return read_locked(LOCKED)


def test_every_method_is_locked(locked):
    own = {name for name, info in registry.infos().items() if not info.is_plug_in}
    lacking = sorted(own - set(locked.index.unique("method")))
    assert not lacking, f"not in {LOCKED.name}: {', '.join(lacking)}; make lock"


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_a_fault_turns_the_gate_red_in_cheap_methods(locked, built, tmp_path, fault):
    landmark, *methods = CAUGHT_BY[fault]
    overrides = [f"landmark={landmark}", f"method={','.join(methods)}"]
    values = run_gate(tmp_path, built, overrides, FAULTS[fault]() if fault else None)
    base = locked[locked.index.get_level_values("landmark") == landmark]
    found = judge(base, values, methods)
    assert "missing" not in set(found["verdict"])
    assert found["verdict"].isin(RED).any() == (fault is not None), found.head(8).to_string()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_fault_turns_the_gate_red(locked, built, tmp_path, fault):
    found = judge(locked, run_gate(tmp_path, built, [], FAULTS[fault]() if fault else None))
    worse = found[found["verdict"] == "worse"]
    print(f"\n{fault or 'no fault'}: {len(worse)} of {len(found)} rows worse: {', '.join(worse['method'].unique())}")
    assert found["verdict"].isin(RED).any() == (fault is not None)
