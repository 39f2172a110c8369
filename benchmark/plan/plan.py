"""Plans a run: configuration -> cohorts and splits -> cells with their keys, and the plan that the store keeps."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.cell import provenance
from benchmark.cell.inputs import CellInputs
from benchmark.cell.keys import find_import_closure, hash_sources, list_cell_sources
from benchmark.cell.run_cell import ORACLE
from benchmark.cell.shuffled import shuffle_outcomes
from benchmark.cell.splits import load_or_draw_split
from benchmark.errors import UsageError
from benchmark.plan.build_progress import BuildProgress
from benchmark.plan.config import WHERE, Executor, Outcomes, RunConfig, find_schedule_changes
from benchmark.plan.rows import MethodSpec, make_budget, select_known_rows, select_method_rows
from benchmark.plan.tuning import Budget
from benchmark.show import report_every_minute
from datasets import registry as dataset_registry
from datasets.cohort import Cohort
from datasets.describe import describe_cohort
from datasets.registry import Dataset
from datasets.storage import GroundTruth
from methods import registry as method_registry
from results.cell import Cell, PlannedCell, digest
from results.plan import Arm, Landmark, Plan, PlannedRow, Settings


@dataclass(frozen=True)
class PlannedRun:
    """A plan for the store, the inputs of each of its cells, and the groups that stays belong to."""

    plan: Plan
    inputs: dict[tuple[str, str], CellInputs]
    groups: pd.DataFrame

    @property
    def name(self) -> str:
        """The plan's name."""
        return self.plan.name

    @property
    def cells(self) -> list[PlannedCell]:
        """The plan's cells."""
        return self.plan.cells

    def inputs_of(self, cell: Cell) -> CellInputs:
        """Return the inputs of a cell."""
        return self.inputs[cell.dataset, cell.landmark]


def plan_run(config: RunConfig, say: Callable[[str], None] | None = None) -> PlannedRun:
    """Plan a run; build the dataset where it is missing, draw the split where there is none.

    Raises:
        UsageError: an unknown method, variant or hyper-parameter.
        CohortError: unusable raw tables.
    """
    methods = select_method_rows(config)
    dataset = prepare_dataset(config, say)
    landmarks = dataset.info.landmarks[config.protocol.value]
    if config.landmark is not None:
        landmarks = (config.landmark,)
    cells: list[PlannedCell] = []
    inputs: dict[tuple[str, str], CellInputs] = {}
    described: dict[str, Landmark] = {}
    groups = []
    rows: dict[tuple[str, str, str], MethodSpec] = {}
    for landmark in landmarks:
        cohort, known = dataset.cohort(landmark), dataset.ground_truth(landmark)
        if config.outcomes is Outcomes.shuffled:
            cohort = shuffle_outcomes(cohort)
        folder = dataset.folder / landmark
        split, split_file = load_or_draw_split(cohort, folder / "splits", config.folds, config.split.value)
        inputs[dataset.info.name, landmark] = CellInputs(folder, split_file)
        notes = dataset.manifest["landmarks"][landmark].get("notes", {}).get("caption", [])
        described[landmark] = describe_landmark(dataset, landmark, cohort, split.hash, notes)
        groups.append(build_groups_frame(cohort))
        for row in [*methods, *select_known_rows(config, cohort, known)]:
            # a row may have cells at some landmarks only: the first one names it
            rows.setdefault((row.method, row.variant, row.rectifier), row)
            cells += _plan_cells(config, dataset, landmark, cohort, known, split.hash, row)
    settings = _collect_settings(config)
    starts = {path for planned in cells for path in list_cell_sources(planned.config)}
    commit, clean = provenance.read_commit(find_import_closure(*starts))
    plan = Plan(
        name="-".join((config.experiment, dataset.info.name, config.protocol.value, digest(settings)[:10])),
        experiment=config.experiment,
        dataset=dataset.info.name,
        description=dataset.info.description,
        protocol=config.protocol.value,
        written=provenance.now(),
        commit=commit,
        clean=clean,
        schedule=config.schedule.name,
        schedule_changes=find_schedule_changes(config),
        tuning=str(make_budget(config)),
        rectifier=config.rectifier.value,
        calibration=config.calibration.value,
        folds=config.folds,
        seeds=config.seeds,
        n=dataset.manifest["parameters"].get("n"),
        reference=config.reference,
        bootstrap=config.bootstrap,
        derived=config.derived,
        arm=Arm.from_json(config.arms[0]) if config.arm else None,
        settings=Settings(settings),
        landmarks=described,
        rows=[_make_planned_row(row) for row in rows.values()],
        cells=cells,
    )
    return PlannedRun(plan, inputs, pd.concat(groups, ignore_index=True))


def describe_landmark(dataset: Dataset, landmark: str, cohort: Cohort, split: str, notes: list[str]) -> Landmark:
    """Return what a plan says of the cohort at a landmark; ``split``: the split's hash, ``notes``: sentences for captions."""
    counts = {k: v for k, v in describe_cohort(cohort).items() if k != "patterns"}
    flow = dataset.manifest["landmarks"][landmark]["flow"]
    return Landmark.from_json(
        {**counts, "fingerprint": cohort.fingerprint, "split": split, "notes": notes, "flow": flow}
    )


def build_groups_frame(cohort: Cohort) -> pd.DataFrame:
    """Return ``landmark, row`` and a column of labels for each group of the cohort (sex, age band, ...); ``site`` where there are sites."""
    columns = {name: pd.Categorical.from_codes(g.codes, g.labels) for name, g in cohort.groups.items()}
    if cohort.site is not None:
        columns["site"] = cohort.site
    return pd.DataFrame({"landmark": cohort.landmark, "row": np.arange(len(cohort)), **columns})


def prepare_dataset(config: RunConfig, say: Callable[[str], None] | None = None, force: bool = False) -> Dataset:
    """Return the dataset of the configuration, built where it is missing or stale; under ``force`` in any case."""
    options = {k: v for k, v in config.dataset.items() if k != "name"}
    info = dataset_registry.DATASETS[config.dataset["name"]]
    embedded = info.kind == "embedded"
    if embedded and config.n is not None:
        options["n"] = config.n
    building = BuildProgress(info, say)
    try:
        with report_every_minute(building.describe):
            return dataset_registry.prepare(info.name, options, Path(config.built), force=force, progress=building.say)
    except (ValueError, TypeError) as error:
        if embedded:
            raise UsageError(str(error)) from None
        raise


def _plan_cells(
    config: RunConfig, dataset: Dataset, landmark: str, cohort: Cohort, known: GroundTruth, split: str, row: MethodSpec
) -> list[PlannedCell]:
    fitted = row.kind == "method" or row.method == ORACLE
    if not fitted and np.isnan(known.predictions[row.method]).all():
        return []
    cls = "gbdt" if row.method == ORACLE else row.method
    hyper = {k: v for k, v in row.config.items() if k != "rectifier"}
    settings: dict[str, Any] = {
        "method": {"class": cls, "fitted": fitted, "config": hyper},
        "rectifier": {"kind": row.config["rectifier"], "calibration": config.calibration.value},
        "selection": config.selection.value,
        "device": config.device,
    }
    if config.outcomes is Outcomes.shuffled:
        settings["outcomes"] = config.outcomes.value
    if fitted and config.probes:
        settings["probes"] = list(config.probes)
    if row.tuning:
        settings["tuning"] = row.tuning
    if config.executor is Executor.stacked and row.kind == "method":
        chosen = method_registry.load(cls)
        if chosen.stackable(chosen.Config(**hyper)):
            settings["stacked"] = True  # other numbers than alone: within the spread of seeds
    cohort_part = cohort.fingerprint
    if row.kind == "known":
        values = known.arrays[ORACLE] if row.method == ORACLE else known.predictions[row.method]
        cohort_part += ":" + hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    source = hash_sources(*list_cell_sources(settings))
    shared = {"config": digest(settings), "cohort": cohort_part, "split": split, "source": source}
    tuning = make_budget(config).name if row.tuning else Budget().name
    planned = []
    for fold in range(config.folds):
        # nothing is drawn for predictions that are known
        for seed in range(config.seeds if fitted else 1):
            cell = Cell(dataset.info.name, landmark, config.protocol.value, row.method, row.variant, row.rectifier,
                        tuning, fold, seed)  # fmt: skip
            planned.append(PlannedCell(cell, settings, {"cell": cell.name, **shared}, row.title))
    return planned


def _make_planned_row(row: MethodSpec) -> PlannedRow:
    """Return a row as the plan has it: its cells hold the configuration and the candidates."""
    return PlannedRow(
        row.method, row.variant, row.rectifier, row.title, row.kind, row.change, row.series,
        len(row.tuning.get("candidates", [])), row.weak,
    )  # fmt: skip


def _collect_settings(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain values, without what no number depends on."""
    settings = _convert_to_plain(dataclasses.asdict(config))
    for key in WHERE:
        settings.pop(key)
    if config.executor is Executor.stacked:
        settings["executor"] = config.executor.value
    return settings | {"arms": [arm["name"] for arm in config.arms]}


def _convert_to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _convert_to_plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_convert_to_plain(v) for v in value]
    return value.value if isinstance(value, Enum) else value
