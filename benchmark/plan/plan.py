"""An experiment expanded: configuration -> table rows -> cells with their keys."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.cell import provenance
from benchmark.cell.keys import cell_sources, source_hash
from benchmark.cell.run_cell import ORACLE, Place
from benchmark.cell.shuffled import shuffle_outcomes
from benchmark.cell.splits import stored_split
from benchmark.errors import UsageError, unknown
from benchmark.plan.config import WHERE, Calibration, Executor, Outcomes, RectifierKind, RunConfig
from benchmark.plan.tuning import Budget, candidates, rules
from datasets import registry as dataset_registry
from datasets.cohort import Cohort
from datasets.describe import describe_cohort
from datasets.registry import Dataset
from datasets.storage import GroundTruth
from methods import registry as method_registry
from results.cell import Cell, PlannedCell, digest

TRUE_SERIES = "true_series"
"""The input mode of a method of series that reads them; its other modes do not."""
KNOWN_TITLES = {
    "ceiling": "Ceiling (Bayes-optimal)",
    "ceiling_series": "Ceiling (with series)",
    ORACLE: "Oracle features (gradient boosting)",
    "apache_iva": "APACHE IVa",
    "evidence1_cause0": "Ceiling, pattern as evidence only",
    "evidence0_cause1": "Ceiling, pattern as cause only",
    "evidence0_cause0": "Ceiling, pattern unused",
}
KNOWN_BY_DEFAULT = ("ceiling", "ceiling_series", ORACLE, "apache_iva")


@dataclass(frozen=True)
class Row:
    """One row of a table: a method (with variant and rectifier), or something known beside the cohort.

    ``cut``: what the schedule leaves out of the method's stages, to be said over the table; ``change``: the hyper-parameter that a
    sweep varies in this row, and its value; ``series``: whether the row knows the series of labs and vitals; ``tuning``: the candidates
    of its tuning, none where its defaults stand.
    """

    method: str
    variant: str
    rectifier: str
    title: str
    kind: str
    config: dict[str, Any]
    cut: str = ""
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    series: bool = False
    tuning: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a run intends: its document for the store, its cells, where each finds its inputs, and the groups that stays belong to."""

    name: str
    document: dict[str, Any]
    cells: list[PlannedCell]
    places: dict[tuple[str, str], Place]
    groups: pd.DataFrame

    def place(self, cell: Cell) -> Place:
        """The inputs of a cell."""
        return self.places[cell.dataset, cell.landmark]


def make_plan(config: RunConfig, say: Callable[[str], None] | None = None) -> Plan:
    """The plan of a run; builds the dataset where it is missing, draws the split where there is none.

    Raises:
        UsageError: an unknown method, variant or hyper-parameter.
        CohortError: unusable raw tables.
    """
    methods = method_rows(config)
    dataset = prepare_dataset(config, say)
    landmarks = dataset.info.landmarks[config.protocol.value]
    if config.landmark is not None:
        landmarks = (config.landmark,)
    cells: list[PlannedCell] = []
    places: dict[tuple[str, str], Place] = {}
    described: dict[str, dict[str, Any]] = {}
    groups = []
    rows: dict[tuple[str, str, str], Row] = {}
    for landmark in landmarks:
        cohort, known = dataset.cohort(landmark), dataset.ground_truth(landmark)
        if config.outcomes is Outcomes.shuffled:
            cohort = shuffle_outcomes(cohort)
        folder = dataset.folder / landmark
        split, split_file = stored_split(cohort, folder / "splits", config.folds, config.split.value)
        places[dataset.info.name, landmark] = Place(folder, split_file)
        described[landmark] = {
            **{k: v for k, v in describe_cohort(cohort).items() if k != "patterns"},
            "fingerprint": cohort.fingerprint,
            "split": split.hash,
            "notes": dataset.manifest["landmarks"][landmark].get("notes", {}).get("caption", []),
            "flow": dataset.manifest["landmarks"][landmark]["flow"],
        }
        groups.append(groups_of(cohort))
        for row in [*methods, *known_rows(config, cohort, known)]:
            rows.setdefault((row.method, row.variant, row.rectifier), row)
            cells += _cells(config, dataset, landmark, cohort, known, split.hash, row)
    commit, clean = provenance.commit()
    settings = _plain(dataclasses.asdict(config))
    for key in WHERE:
        settings.pop(key)
    if config.executor is Executor.stacked:
        settings["executor"] = config.executor.value
    settings["arms"] = [arm["name"] for arm in config.arms]
    name = "-".join((config.experiment, dataset.info.name, config.protocol.value, digest(settings)[:10]))
    document = {
        "name": name,
        "experiment": config.experiment,
        "dataset": dataset.info.name,
        "description": dataset.info.description,
        "protocol": config.protocol.value,
        "written": provenance.now(),
        "commit": commit,
        "clean": clean,
        "schedule": config.schedule.name,
        "tuning": str(budget_of(config)),
        "rectifier": config.rectifier.value,
        "calibration": config.calibration.value,
        "folds": config.folds,
        "seeds": config.seeds,
        "n": dataset.manifest["parameters"].get("n"),
        "reference": config.reference,
        "bootstrap": config.bootstrap,
        "derived": config.derived,
        "arm": config.arms[0] if config.arm else None,
        "settings": settings,
        "landmarks": described,
        "rows": [_printed(row) for row in rows.values()],
        "cells": [
            {"cell": dataclasses.asdict(p.cell), "config": p.config, "key_parts": p.key_parts, "title": p.title}
            for p in cells
        ],
    }
    return Plan(name, document, cells, places, pd.concat(groups, ignore_index=True))


def groups_of(cohort: Cohort) -> pd.DataFrame:
    """``landmark, row`` and a column of labels for each group of the cohort (sex, age band, ...); ``site`` where there are sites."""
    columns = {name: pd.Categorical.from_codes(g.codes, g.labels) for name, g in cohort.groups.items()}
    if cohort.site is not None:
        columns["site"] = cohort.site
    return pd.DataFrame({"landmark": cohort.landmark, "row": np.arange(len(cohort)), **columns})


def prepare_dataset(config: RunConfig, say: Callable[[str], None] | None = None, force: bool = False) -> Dataset:
    """The dataset that the configuration names, built where it is missing or stale."""
    options = {k: v for k, v in config.dataset.items() if k != "name"}
    embedded = dataset_registry.DATASETS[config.dataset["name"]].kind == "embedded"
    if embedded and config.n is not None:
        options["n"] = config.n
    try:
        return dataset_registry.prepare(config.dataset["name"], options, Path(config.built), force=force, progress=say)
    except (ValueError, TypeError) as error:
        if embedded:
            raise UsageError(str(error)) from None
        raise


def method_rows(config: RunConfig) -> list[Row]:
    """The rows of the chosen methods, in print order; ``all`` stands for every method that can be used, the reference last.

    Raises:
        UsageError: an unknown variant or hyper-parameter.
        UnknownMethod, UnreadableInfo, UnusableMethod: a method asked for by name, or one of this repository, cannot be used.
    """
    for spec in config.methods:
        if spec != "all":
            method_registry.load(spec.partition(":")[0])
    infos = method_registry.infos()
    chosen: list[str] = []
    for name in config.methods:
        chosen += in_print_order(_usable(infos), config.reference) if name == "all" else [name]
    for name in set(config.hyper) & set(config.sweep):
        raise UsageError(f"method.{name}= is what {config.experiment} varies: it cannot be set as well")
    budget = budget_of(config)
    used: set[str] = set()
    rows = []
    for spec in dict.fromkeys(chosen):
        name, _, variant = spec.partition(":")
        info = method_registry.info(name)
        cls = method_registry.load(name)
        if variant and variant not in cls.variants:
            raise unknown(f"variant of {name}", variant, cls.variants)
        kind = config.rectifier
        if kind is RectifierKind.auto:
            kind = RectifierKind.on if info.rectifier and variant not in cls.unrectified else RectifierKind.off
        for change in [{}, *_changes(cls, config.sweep)]:
            settings, title, taken = resolved(cls, config, info.title, variant, change)
            used |= taken
            changed = [f"{field}={value}" for field, value in change.items()]
            tried = candidates(cls, settings, {*cls.variants.get(variant, {}), *taken}, budget)
            rows.append(
                Row(
                    name,
                    "+".join(([variant] if variant else []) + changed) or "default",
                    _rectifier_name(kind, config.calibration),
                    title,
                    "method",
                    settings | {"rectifier": kind.value},
                    info.stages if settings.get("max_epochs", 0) < getattr(cls.Config(), "max_epochs", 0) else "",
                    change,
                    info.uses_series and settings.get("inputs", TRUE_SERIES) == TRUE_SERIES,
                    rules(tried, info.uses_seed) if tried else {},
                )
            )
    unused = set(config.hyper) - used
    if unused:
        known = {f.name for row in rows for f in dataclasses.fields(method_registry.load(row.method).Config)}
        raise unknown(
            f"hyper-parameter of {', '.join(row.method for row in rows)}:",
            f"method.{min(unused)}",
            [f"method.{k}" for k in known],
        )
    return rows


def _changes(cls: type, sweep: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """One hyper-parameter at a time, each value of its sweep but the method's default, for those that the method has."""
    defaults = dataclasses.asdict(cls.Config())
    return [{k: v} for k, values in sweep.items() if k in defaults for v in values if v != defaults[k]]


def _usable(infos: dict[str, method_registry.Info]) -> dict[str, method_registry.Info]:
    """The methods without the plug-ins that cannot be imported, each of which is warned of by name."""
    usable = {}
    for name, info in infos.items():
        try:
            method_registry.load(name)
        except method_registry.UnusableMethod as error:
            if not info.is_plug_in:
                raise
            said = f"plug-in method {name} is left out of method=all: {error}"
            warnings.warn(said, method_registry.PlugInWarning, stacklevel=2)
        else:
            usable[name] = info
    return usable


def in_print_order(infos: dict[str, Any], reference: str) -> list[str]:
    """Plain baselines first, then by year and name, the reference last."""
    return sorted(
        infos, key=lambda name: (name == reference, infos[name].family != "plain baseline", infos[name].year, name)
    )


def resolved(
    cls: type, config: RunConfig, title: str, variant: str, change: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str, set[str]]:
    """A method's hyper-parameters after schedule, variant, a sweep's change and overrides, the name to print, and the overrides taken.

    The schedule scales the learning rate that a sweep sets as it does the default one.
    """
    change = change or {}
    fields = {f.name for f in dataclasses.fields(cls.Config)}
    schedule = config.schedule
    chosen: dict[str, Any] = {k: getattr(schedule, k) for k in ("batch_size", "max_epochs", "patience") if k in fields}
    if "lr" in fields:
        chosen["lr"] = cls.Config().lr * schedule.lr_factor
    chosen |= cls.variants.get(variant, {}) | change
    if "lr" in change:
        chosen["lr"] = change["lr"] * schedule.lr_factor
    taken = {k: v for k, v in config.hyper.items() if k in fields}
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls.Config), chosen, taken))
        settings = dataclasses.asdict(merged)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise UsageError(f"hyper-parameters {taken} of {title}: {str(error).splitlines()[0]}") from None
    own = cls.titles.get(variant)
    notes = ([variant] if variant and own is None else []) + [f"{k}={v}" for k, v in (change | taken).items()]
    return settings, (own or title) + (f" ({', '.join(notes)})" if notes else ""), set(taken)


def known_rows(config: RunConfig, cohort: Cohort, known: GroundTruth) -> list[Row]:
    """The comparison rows asked for; ``known=all`` stands for the ceilings, oracle features and APACHE's own predictions.

    By name also the 2 x 2 worth of the pattern: ``known=ceiling,evidence1_cause0,evidence0_cause1,evidence0_cause0``. What this
    cohort does not offer is left out (captions say so); a name that no cohort offers is an error.
    """
    if config.known == ["none"] or config.outcomes is Outcomes.shuffled:
        return []
    offered = {*known.predictions, *({ORACLE} if ORACLE in known.arrays else ())}
    wanted = [name for name in KNOWN_BY_DEFAULT if name in offered] if config.known == ["all"] else config.known
    for name in wanted:
        if name not in {*offered, *KNOWN_TITLES}:
            raise unknown("known row", name, {*offered, "all", "none"})
    rows = []
    for name in (name for name in wanted if name in offered):
        fitted = name == ORACLE
        settings = dataclasses.asdict(method_registry.load("gbdt").Config()) if fitted else {}
        rows.append(Row(name, "default", "off", KNOWN_TITLES.get(name, name), "known", settings | {"rectifier": "off"}))
    return rows


def _cells(
    config: RunConfig, dataset: Dataset, landmark: str, cohort: Cohort, known: GroundTruth, split: str, row: Row
) -> list[PlannedCell]:
    fitted = row.kind == "method" or row.method == ORACLE
    if not fitted and np.isnan(known.predictions[row.method]).all():
        return []
    cls = "gbdt" if row.method == ORACLE else row.method
    hyper = {k: v for k, v in row.config.items() if k != "rectifier"}
    settings = {
        "method": {"class": cls, "fitted": fitted, "config": hyper},
        "rectifier": {"kind": row.config["rectifier"], "calibration": config.calibration.value},
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
    source = source_hash(*cell_sources(settings))
    shared = {"config": digest(settings), "cohort": cohort_part, "split": split, "source": source}
    tuning = budget_of(config).name if row.tuning else Budget().name
    planned = []
    for fold in range(config.folds):
        for seed in range(config.seeds if fitted else 1):
            cell = Cell(dataset.info.name, landmark, config.protocol.value, row.method, row.variant, row.rectifier,
                        tuning, fold, seed)  # fmt: skip
            planned.append(PlannedCell(cell, settings, {"cell": cell.name, **shared}, row.title))
    return planned


def budget_of(config: RunConfig) -> Budget:
    """The budget of the run's tuning."""
    return Budget(config.tuning.value, config.budget)


def _printed(row: Row) -> dict[str, Any]:
    """A row as the plan's document has it: its cells hold the configuration and the candidates."""
    said = {k: v for k, v in dataclasses.asdict(row).items() if k not in ("config", "tuning")}
    return said | {"candidates": len(row.tuning.get("candidates", []))}


def _rectifier_name(kind: RectifierKind, calibration: Calibration) -> str:
    return (
        kind.value
        if kind is RectifierKind.off or calibration is Calibration.valid
        else f"{kind.value}-{calibration.value}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value.value if isinstance(value, Enum) else value
