"""The audit's units with their keys, and the plans that the store keeps of them."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.audit.cohorts import Dials
from benchmark.audit.steps import FITTED, STEPS, AuditStepSet, list_step_sets
from benchmark.audit.unit import PREFIX, Ground, load_audit_cohort, name_fit
from benchmark.cell import provenance
from benchmark.cell.keys import hash_sources
from benchmark.cell.splits import load_or_draw_split
from benchmark.errors import UsageError
from benchmark.plan.config import RunConfig
from benchmark.plan.plan import describe_landmark, prepare_dataset
from benchmark.plan.rows import KNOWN_TITLES, MethodSpec, select_method_rows
from methods import registry
from results.cell import Cell, PlannedCell, digest
from results.plan import Landmark, Plan, PlannedRow, Settings

UNIT = Path(__file__).resolve().parent / "unit.py"
WHOLE = "stay"


@dataclass(frozen=True)
class AuditPlan:
    """One audit: its plan, the cells of its fits and of its rows, and where each landmark's cells find their inputs."""

    plan: Plan
    fits: list[PlannedCell]
    rows: list[PlannedCell]
    grounds: dict[str, Ground]


@dataclass(frozen=True)
class Site:
    """The parts that the cells of one landmark share: dataset, landmark, settings and the parts of their keys."""

    dataset: str
    landmark: str
    settings: dict[str, Any]
    shared: dict[str, str]

    def plan_cell(
        self, method: str, variant: str, how: dict[str, Any], title: str, fold: int, seed: int
    ) -> PlannedCell:
        """Return a cell whose configuration is the settings and ``how``."""
        cell = Cell(self.dataset, self.landmark, "strict", method, variant, "on", "none", fold, seed)
        config = self.settings | how
        return PlannedCell(cell, config, {"cell": cell.name, "config": digest(config), **self.shared}, title)


def plan_audit(config: RunConfig, outcomes: str, folds: int, quick: bool, dials: Dials) -> AuditPlan:
    """Plan the audit of the configuration's one method at the strict landmarks of its dataset.

    ``outcomes``: ``true`` or ``shuffled``; ``folds``: how many of the split's folds are tested.

    Raises:
        UsageError: several methods, or more folds than there are.
    """
    methods = select_method_rows(config)
    if len(methods) != 1:
        raise UsageError(f"audit takes one method, not {', '.join(m.method for m in methods)}")
    if not 1 <= folds <= config.folds:
        raise UsageError(f"--test-folds {folds} is not between 1 and folds={config.folds}")
    (method,) = methods
    dataset, printed = prepare_dataset(config), list_step_sets(quick)
    ceiling = "ceiling_series" if method.series else "ceiling"
    hyper = {k: v for k, v in method.config.items() if k != "rectifier"}
    settings = {
        "method": {"class": method.method, "fitted": True, "config": hyper},
        "device": config.device,
        "outcomes": outcomes,
        "folds": config.folds,
        "dials": asdict(dials),
    }
    fits: dict[str, PlannedCell] = {}
    cells: list[PlannedCell] = []
    described: dict[str, Landmark] = {}
    grounds, ceilings = {}, False
    for landmark in dataset.info.landmarks["strict"]:
        folder = dataset.folder / landmark
        grounds[landmark] = Ground(folder, dataset.folder / WHOLE)
        cohort = load_audit_cohort(folder, outcomes)
        split, _ = load_or_draw_split(cohort, folder / "splits", config.folds)
        source = hash_sources(UNIT, registry.source_file(method.method))
        shared = {"cohort": cohort.fingerprint, "split": split.hash, "source": source}
        site = Site(dataset.info.name, landmark, settings, shared)
        described[landmark] = describe_landmark(dataset, landmark, cohort, split.hash, [])
        for fold, seed in itertools.product(range(folds), range(config.seeds)):
            for row in (row for row in printed if row.applies_to(cohort.tasks)):
                fit, own = plan_cells(site, method, row, cohort.tasks, fold, seed)
                fits.setdefault(fit.key, fit)
                cells.append(own)
        if outcomes == "true" and ceiling in dataset.ground_truth(landmark).predictions:
            how: dict[str, Any] = {"kind": "known", "steps": []}
            ceilings = True
            cells += [site.plan_cell(ceiling, "default", how, KNOWN_TITLES[ceiling], fold, 0) for fold in range(folds)]
    listings = [make_row(method.method, name_variant(row), row.title, "method") for row in printed]
    listings += [make_row(ceiling, "default", KNOWN_TITLES[ceiling], "known")] if ceilings else []
    given = {
        "method": method.method,
        "config": hyper,
        "dials": asdict(dials),
        "outcomes": outcomes,
        "folds_of_the_split": config.folds,
        "quick": quick,
        "n": config.n,
    }
    plan = build_plan(
        "audit",
        cells,
        listings,
        given,
        dataset=dataset.info.name,
        description=dataset.info.description,
        schedule=config.schedule.name,
        folds=folds,
        seeds=config.seeds,
        n=dataset.manifest["parameters"].get("n"),
        reference=method.method,
        bootstrap=config.bootstrap,
        landmarks=described,
        audit={"title": method.title, "blocks": {name_variant(row): row.block for row in printed}},
    )
    return AuditPlan(plan, list(fits.values()), cells, grounds)


def plan_cells(
    site: Site, method: MethodSpec, row: AuditStepSet, tasks: tuple[str, ...], fold: int, seed: int
) -> tuple[PlannedCell, PlannedCell]:
    """Return the cell of the fit that a row rests on, which several rows may share, and the row's own."""
    steps = row.select_steps(tasks)
    how: dict[str, Any] = {"kind": "fit", "steps": sorted(steps & FITTED)}
    fit = site.plan_cell(method.method, name_fit(steps), how, method.title, fold, seed)
    how = {"kind": "row", "steps": sorted(steps), "fit": {"cell": asdict(fit.cell), "key_parts": fit.key_parts}}
    return fit, site.plan_cell(method.method, name_variant(row), how, row.title, fold, seed)


def name_variant(row: AuditStepSet) -> str:
    """Return the variant of a row's cells, which no cell of a run has."""
    return f"{PREFIX}{row.name}"


def build_plan(
    experiment: str, cells: list[PlannedCell], rows: list[PlannedRow], settings: dict[str, Any], **facts: Any
) -> Plan:
    """Return a plan of the audit for the store; ``facts``: further fields of ``Plan``, ``dataset``, ``folds`` and ``seeds`` among them."""
    commit, clean = provenance.read_commit()
    mark = digest(settings | {"folds": facts["folds"], "seeds": facts["seeds"]})[:10]
    return Plan(
        name=f"{experiment}-{facts['dataset']}-{mark}",
        experiment=experiment,
        protocol="strict",
        written=provenance.now(),
        commit=commit,
        clean=clean,
        rectifier="on",
        rows=rows,
        cells=cells,
        settings=Settings(settings),
        **facts,
    )


def describe_steps() -> list[dict[str, str]]:
    """Return the registry of steps, as a document shows it."""
    return [
        {"id": s.id, "title": s.title, "where": s.where, "released": s.released, "here": s.here, "stage": s.kind}
        for s in STEPS.values()
    ]


def make_row(method: str, variant: str, title: str, kind: str) -> PlannedRow:
    """Return a row as a plan of the audit lists it."""
    return PlannedRow(method, variant, "on", title, kind)
