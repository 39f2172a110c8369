"""Faults planted one at a time: a test named beside each has to fail under it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ("benchmark", "datasets", "methods", "reports", "results", "tests")


class Fault(NamedTuple):
    """A replacement of text in a file, and the test that catches it: a file below ``tests`` and a function."""

    name: str
    place: str
    before: str
    after: str
    test: str


RUN_CELL, RUN_CELL_TESTS = "benchmark/cell/run_cell.py", "benchmark/test_run_cell.py"
PAIRED, PAIRED_TESTS = "results/statistics/paired.py", "results/statistics/test_paired.py"
FEATURES, VALUES_TESTS = "datasets/mimic_iv/features.py", "datasets/mimic_iv/test_mimic_values.py"
FAULTS = [
    Fault("SP2", "benchmark/cell/splits.py", "np.isnan(outcomes), 2,", "np.isnan(outcomes), 0,",
          "benchmark/test_splits.py::test_undefined_is_a_stratum_apart_from_negative_and_positive"),
    Fault("RC1", RUN_CELL, 'score_recalibrated(*pairs["valid"], *', 'score_recalibrated(*pairs["test"], *',
          f"{RUN_CELL_TESTS}::test_the_recalibrating_line_is_fitted_on_the_validation_part"),
    Fault("RC3", RUN_CELL, "cohort.take(train[part != k])", "cohort.take(train)",
          f"{RUN_CELL_TESTS}::test_out_of_fold_predictions_come_from_fits_that_did_not_see_the_row"),
    Fault("RC4", RUN_CELL, 'how["kind"], seed=seed,', 'how["kind"],',
          f"{RUN_CELL_TESTS}::test_the_strict_rectifier_is_fitted_on_the_calibration_rows"),
    Fault("RC5", RUN_CELL, '- parts.base["test"][here, t]', '- parts.final["test"][here, t]',
          f"{RUN_CELL_TESTS}::test_the_truth_beside_the_rectifier"),
    Fault("TU2", "benchmark/plan/tuning.py", '"rectifier": {**planned.config["rectifier"], "kind": "off"},', "",
          "benchmark/test_tuning.py::test_trials_are_shared_by_seeds_and_rectifiers_and_draw_alike"),
    Fault("RE1", "benchmark/plan/replan.py", ", f\"protocol={config.protocol.value}\"]", "]",
          "benchmark/test_why.py::test_an_override_is_read_under_the_protocol_of_the_plan"),
    Fault("RF5", "methods/common/rectifier/offsets.py", "TAUS, minimum / 2, seed", "TAUS, minimum, seed",
          "methods/test_rectifier.py::test_a_half_needs_half_of_the_rows_that_a_pattern_needs"),
    Fault("PP2", "methods/common/preprocessing.py", "missing <= MOST_MISSING", "missing < MOST_MISSING",
          "methods/test_preprocessing.py::test_a_feature_is_kept_up_to_four_fifths_missing"),
    Fault("MT2", "results/metrics/scores.py", '": (precision - prevalence) / (1 - prevalence)', '": (precision - prevalence) / prevalence',
          "results/metrics/test_scores.py::test_worked_example"),
    Fault("FV2", "results/statistics/fold_values.py", "covered = min(", "covered = max(",
          f"{PAIRED_TESTS}::test_a_seed_that_lacks_stays_is_not_compared"),
    Fault("PA4", PAIRED, "math.isfinite(p) and p < LEVEL", 'math.isfinite(c["p"]) and c["p"] < LEVEL',
          f"{PAIRED_TESTS}::test_what_is_called_goes_by_the_adjusted_p"),
    Fault("RK2", "results/statistics/ranking.py", "PART_OF.get(plan.dataset) in datasets", "plan.dataset in PART_OF",
          "results/statistics/test_ranking.py::test_a_demo_counts_unless_its_whole_release_is_there"),
    Fault("SG2", "results/statistics/subgroups.py", "s.seeds, s.sd_seeds, s.sd_folds", "s.seeds, s.sd_folds, s.sd_seeds",
          "results/statistics/test_subgroups.py::test_the_spreads_over_seeds_and_over_folds_are_told_apart"),
    Fault("SU1", "reports/public/suppression.py", "if total.small or", "if is_small(total.n) or",
          "reports/public/test_public.py::test_a_task_is_blank_where_its_rows_positives_or_negatives_are_few"),
    Fault("SY3", "datasets/synthetic/truth.py", "seed, counts=True, cells=BEST", "seed, cells=BEST",
          "datasets/test_synthetic_truth.py::test_the_ceiling_with_the_series_knows_how_often_was_measured"),
    Fault("IF1", FEATURES, "100.0 * gas.x", "gas.x",
          f"{VALUES_TESTS}::test_the_ratio_pairs_the_latest_arterial_gas_with_an_oxygen_fraction_of_the_four_hours_before"),
    Fault("IF2", FEATURES, "selection.cutoff - selection.index.begin", "selection.cutoff - selection.index.admitted",
          f"{VALUES_TESTS}::test_urine_is_that_of_the_unit_and_unknown_where_none_is_charted"),
    Fault("IF5", FEATURES, "by.discharged.max()", "by.discharged.min()",
          "datasets/mimic_iv/test_mimic_build.py::test_the_days_are_counted_from_the_last_of_several_discharges"),
    Fault("CP1", "reports/tables/captions.py", "positive of {t.n:,}", "positive of {facts.n:,}",
          "reports/tables/test_captions.py::test_caption_says_what_a_reader_must_know"),
    Fault("TB4", "reports/tables/table.py", '(c["landmark"], c["task"]) == (landmark, task)', 'c["task"] == task',
          "reports/tables/test_table.py::test_a_win_is_bold_at_its_own_landmark_alone"),
    Fault("PU5", "reports/published/paper.py", 'Measure(group="S+T"),', 'Measure(group="S+R"),  # planted',
          "reports/published/test_published.py::test_rows_of_patterns_are_read_in_the_group_that_they_are_named_by"),
    Fault("GD2", "methods/gru_d/__init__.py", '{"inputs": "modality_as_sensor"}', "{}",
          "methods/test_gru_d.py::test_the_variant_that_reads_modalities_as_sensors_is_not_the_default"),
    Fault("PA7", PAIRED, "compute_interval(means[1:], 1 - LEVEL)", "compute_interval(means[1:], LEVEL)",
          f"{PAIRED_TESTS}::test_the_interval_is_of_95_per_cent_of_the_resamples"),
    Fault("RC8", RUN_CELL, "names[calibration], size[calibration]", "names[: len(calibration)], size[calibration]",
          f"{RUN_CELL_TESTS}::test_the_strict_rectifier_is_fitted_on_the_calibration_rows"),
]  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the tree, in which faults are planted."""
    root = tmp_path_factory.mktemp("planted")
    for name in CODE:
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "build", "cells", "built")
        )
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


def run_test(root, test):
    """Run a test in ``root``: (exit status, last line)."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "--tb=no", f"tests/{test}"]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return done.returncode, (done.stdout.strip().splitlines() or [done.stderr])[-1]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_place_of_a_fault_and_its_test_are_there(fault):
    assert (ROOT / fault.place).read_text(encoding="utf-8").count(fault.before) == 1
    name, _, function = fault.test.partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / "tests" / name).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_planted_fault_is_caught(copy, fault, capsys):
    path = copy / fault.place
    right = path.read_text(encoding="utf-8")
    before = run_test(copy, fault.test)
    path.write_text(right.replace(fault.before, fault.after), encoding="utf-8")
    try:
        status, line = run_test(copy, fault.test)
    finally:
        path.write_text(right, encoding="utf-8")
    caught = before[0] == 0 and status == 1 and "failed" in line
    with capsys.disabled():
        print(
            f"\n{fault.name:4} {fault.place:36} {fault.test.partition('::')[2]:88} {'caught' if caught else 'SURVIVES'}"
        )
    assert before[0] == 0, before[1]
    assert caught, line
