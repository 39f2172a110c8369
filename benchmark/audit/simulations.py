"""The two measurements made on the released code itself, repeated: the rectifier on noise, and the sampler on random outcomes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.audit import noise, random_labels
from benchmark.audit.plan import WHOLE, build_plan, make_row
from benchmark.audit.unit import PREFIX, Ground
from benchmark.cell.keys import hash_sources
from benchmark.executors.work import Work
from benchmark.plan.config import RunConfig
from benchmark.plan.plan import prepare_dataset
from benchmark.plan.rows import select_method_rows
from datasets.cohort import Cohort
from methods import registry
from results.cell import Cell, PlannedCell, digest
from results.plan import Plan

HERE = Path(__file__).resolve().parent
NOTHING: dict[str, Any] = {"schedule": "none", "bootstrap": 0, "landmarks": {}, "reference": None}
LONG = {"max_epochs": max(random_labels.EPOCHS), "patience": max(random_labels.EPOCHS), "batch_size": 32}


def plan_noise(draws: int) -> tuple[Plan, list[Work]]:
    """Return the plan and the work of the rectifier on noise, ``draws`` times."""
    cells, rows = [], []
    for simulation in noise.SIMULATIONS:
        variant = f"{PREFIX}{simulation.base}-icu{simulation.icu:g}"
        title = f"{simulation.base}, ICU prevalence {simulation.icu:.2f}"
        rows.append(make_row("released_rectifier", variant, title, "method"))
        for draw in range(draws):
            cell = Cell("simulated", "test", "strict", "released_rectifier", variant, "on", "none", 0, draw)
            config = {"simulation": asdict(simulation)}
            parts = {"cell": cell.name, "config": digest(config), "source": hash_sources(HERE / "noise.py")}
            cells.append(PlannedCell(cell, config, parts, title))
    plan = build_plan(
        "audit_noise",
        cells,
        rows,
        {"patterns": noise.PATTERNS, "informed": list(noise.INFORMED)},
        dataset="simulated",
        description="drawn predictions and outcomes",
        folds=1,
        seeds=draws,
        n=sum(noise.PATTERNS.values()),
        audit={"simulations": {f"{PREFIX}{s.base}-icu{s.icu:g}": asdict(s) for s in noise.SIMULATIONS}},
        **NOTHING,
    )
    return plan, [Work(cell, None, how=noise.measure) for cell in cells]


def plan_sampler(config: RunConfig) -> tuple[Plan, list[Work]]:
    """Return the plan and the work of the sampler on random outcomes, with the configuration's method and cohort, at two learning rates."""
    row = select_method_rows(config)[0]
    dataset = prepare_dataset(config)
    ground = Ground(dataset.folder / WHOLE, dataset.folder / WHOLE)
    cohort: Cohort = dataset.cohort(WHOLE)
    fields = {k: v for k, v in row.config.items() if k != "rectifier"}
    cells, rows = [], []
    for rate in random_labels.RATES:
        own = fields | {k: v for k, v in (LONG | {"lr": rate}).items() if k in fields}
        variant, title = f"{PREFIX}sampler-lr{rate:g}", f"learning rate {rate:g}"
        rows.append(make_row(row.method, variant, title, "method"))
        for seed in range(config.seeds):
            cell = Cell(dataset.info.name, WHOLE, "strict", row.method, variant, "on", "none", 0, seed)
            how = {
                "method": {"class": row.method, "fitted": True, "config": own},
                "device": config.device,
                "folds": config.folds,
            }
            source = hash_sources(HERE / "random_labels.py", registry.source_file(row.method))
            parts = {"cell": cell.name, "config": digest(how), "cohort": cohort.fingerprint, "source": source}
            cells.append(PlannedCell(cell, how, parts, title))
    plan = build_plan(
        "audit_sampler",
        cells,
        rows,
        {"method": row.method, "config": fields | LONG, "n": config.n},
        dataset=dataset.info.name,
        description=dataset.info.description,
        folds=1,
        seeds=config.seeds,
        n=len(cohort),
        audit={"title": row.title, "tasks": list(cohort.tasks), "epochs": list(random_labels.EPOCHS)},
        **NOTHING,
    )
    return plan, [Work(cell, ground, how=random_labels.measure) for cell in cells]
