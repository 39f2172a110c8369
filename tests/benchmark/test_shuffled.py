"""``outcomes=shuffled``: the permutation test as a command."""

import json

import numpy as np
import pytest

from benchmark.cell.shuffled import shuffle_outcomes
from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from datasets.cohort import Cohort
from tests.benchmark.conftest import SMALL
from tests.made import fields


def test_whole_rows_are_permuted_and_nothing_else():
    cohort = Cohort(**fields(40))
    shuffled = shuffle_outcomes(cohort)
    before, after = (np.nan_to_num(c.outcomes, nan=9).tolist() for c in (cohort, shuffled))
    assert sorted(after) == sorted(before)
    assert after != before
    assert shuffled.fingerprint != cohort.fingerprint
    np.testing.assert_array_equal(shuffled.observed, cohort.observed)
    np.testing.assert_array_equal(shuffle_outcomes(cohort).outcomes, shuffled.outcomes)


@pytest.fixture(scope="module")
def plans(built):
    line = ["method=s_only", *SMALL, f"built={built}"]
    return [plan_run(load_config("table1", [*line, f"outcomes={o}"])) for o in ("true", "shuffled")]


def test_they_are_part_of_names_keys_and_splits(plans):
    true, shuffled = plans
    assert true.name != shuffled.name
    assert {p.key for p in true.cells}.isdisjoint(p.key for p in shuffled.cells)
    for landmark in true.plan.landmarks:
        of = [p.plan.landmarks[landmark] for p in plans]
        assert of[0].split != of[1].split
        assert of[0].tasks == of[1].tasks
    assert any(row.kind == "known" for row in true.plan.rows)
    assert not any(row.kind == "known" for row in shuffled.plan.rows)


def test_a_run_scores_against_shuffled_outcomes_and_its_report_says_so(cli, tmp_path):
    assert cli("run", "table1", "outcomes=shuffled", "method=s_only", "rectifier=on", *SMALL)[0] == 0
    status, out, _ = cli("report", "table1", "outcomes=shuffled")
    assert status == 0
    assert "Outcomes were shuffled" in out
    assert "intervals of the AUC do not hold 0.5" in out
    assert "Ceiling" not in out
    (record,) = [json.loads(p.read_text()) for p in (tmp_path / "cells").rglob("*discharge/**/fold-0/**/cell.json")]
    assert all(row["true_delta"] is None for row in record["rectifier"]["rows"])
    status, _, err = cli("report", "table1")
    assert (status, "nothing stored" in err) == (2, True)


def test_another_value_is_refused_with_the_known_ones(cli):
    status, _, err = cli("run", "table1", "outcomes=mixed")
    assert status == 2
    assert "expected one of [true, shuffled]" in err
