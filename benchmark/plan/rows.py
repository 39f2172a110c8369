"""The rows of a run's tables: methods with their hyper-parameters, and reference predictions known with the cohort."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.cell.run_cell import ORACLE
from benchmark.errors import UsageError, unknown
from benchmark.plan.config import (
    KNOWN_BY_DEFAULT,
    Calibration,
    Outcomes,
    Protocol,
    RectifierKind,
    RunConfig,
    find_infinite,
)
from benchmark.plan.tuning import Budget, list_candidates, make_rules
from datasets.cohort import Cohort
from datasets.storage import GroundTruth
from methods import registry as method_registry
from methods.base import Method

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


@dataclass(frozen=True)
class MethodSpec:
    """One row of a table: a method (with variant and rectifier), or reference predictions known with the cohort.

    ``change``: the hyper-parameter that a sweep varies in this row, and its value; ``series``: whether the row reads the series of labs and
    vitals; ``tuning``: the candidates of its tuning, none where its defaults stand; ``weak``: INFO's reason why it stays below the plain
    network.
    """

    method: str
    variant: str
    rectifier: str
    title: str
    kind: str
    config: dict[str, Any]
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    series: bool = False
    tuning: dict[str, Any] = dataclasses.field(default_factory=dict)
    weak: str = ""


def select_method_rows(config: RunConfig) -> list[MethodSpec]:
    """Return the rows of the chosen methods, in print order; ``all`` stands for every method that can be used, the reference last,
    and, where ``config.beside`` is set, for the variants in their ``beside``: after the method, those of the reference before it.

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
        chosen += _list_all(infos, config) if name == "all" else [name]
    for name in set(config.hyper) & set(config.sweep):
        raise UsageError(f"method.{name}= is what {config.experiment} varies: it cannot be set as well")
    budget = make_budget(config)
    used: set[str] = set()
    rows = []
    for spec in _sort_rows(dict.fromkeys(chosen), infos, config.reference):
        name, _, variant = spec.partition(":")
        info = method_registry.info(name)
        cls = method_registry.load(name)
        if variant and variant not in cls.variants:
            raise unknown(f"variant of {name}", variant, cls.variants)
        kind = config.rectifier
        if kind is RectifierKind.auto:
            kind = RectifierKind.on if info.rectifier and variant not in cls.unrectified else RectifierKind.off
        if kind is RectifierKind.on and config.protocol is Protocol.strict:
            kind = RectifierKind.hierarchical
        for change in [{}, *_list_changes(cls, config.sweep)]:
            settings, title, taken = resolve_hyperparameters(cls, config, info.title, variant, change)
            used |= taken
            changed = [f"{field}={value}" for field, value in change.items()]
            tried = list_candidates(cls, settings, {*cls.variants.get(variant, {}), *taken}, budget)
            rows.append(
                MethodSpec(
                    name,
                    "+".join(([variant] if variant else []) + changed) or "default",
                    _name_rectifier(kind, config.calibration),
                    title,
                    "method",
                    settings | {"rectifier": kind.value},
                    change,
                    info.uses_series and settings.get("inputs", TRUE_SERIES) == TRUE_SERIES,
                    make_rules(tried, info.uses_seed) if tried else {},
                    info.weak,
                )
            )
    rows = _tell_titles_apart(rows)
    unused = set(config.hyper) - used
    if unused:
        known = {f.name for row in rows for f in dataclasses.fields(method_registry.load(row.method).Config)}
        raise unknown(
            f"hyper-parameter of {', '.join(row.method for row in rows)}:",
            f"method.{min(unused)}",
            [f"method.{k}" for k in known],
        )
    return rows


def _sort_rows(specs: Iterable[str], infos: dict[str, method_registry.Info], reference: str) -> list[str]:
    """Return methods and variants in print order: a method, then its variants as its file has them; the reference after its own."""
    order = {name: i for i, name in enumerate(sort_for_print(infos, reference))}

    def place(spec: str) -> tuple[int, bool, int]:
        name, _, variant = spec.partition(":")
        variants = list(method_registry.load(name).variants)
        last = (name == reference) != bool(variant)
        return order[name], last, variants.index(variant) if variant in variants else -1

    return sorted(specs, key=place)


def _tell_titles_apart(rows: list[MethodSpec]) -> list[MethodSpec]:
    """Return the rows, those that share their title with another each with its method's name and variant behind it."""
    count = Counter(row.title for row in rows)
    names = [row.method if row.variant == "default" else f"{row.method}:{row.variant}" for row in rows]
    return [
        dataclasses.replace(row, title=f"{row.title} [{name}]") if count[row.title] > 1 else row
        for row, name in zip(rows, names, strict=True)
    ]


def _list_changes(cls: type[Method], sweep: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return one change at a time, each value of its sweep but the method's default, for those that the method has."""
    defaults = dataclasses.asdict(cls.Config())
    return [{k: v} for k, values in sweep.items() if k in defaults for v in values if v != defaults[k]]


def _list_all(infos: dict[str, method_registry.Info], config: RunConfig) -> list[str]:
    """Return what ``all`` stands for; ``_sort_rows`` puts it in order."""
    names = []
    for name in _select_usable(infos):
        names += [name, *(f"{name}:{v}" for v in method_registry.load(name).beside if config.beside)]
    return names


def _select_usable(infos: dict[str, method_registry.Info]) -> dict[str, method_registry.Info]:
    """Return the methods without the plug-ins that cannot be imported, each of which is warned of by name."""
    usable = {}
    for name, info in infos.items():
        try:
            method_registry.load(name)
        except method_registry.UnusableMethod as error:
            if not info.is_plug_in:
                raise
            message = f"plug-in method {name} is left out of method=all: {error}"
            warnings.warn(message, method_registry.PlugInWarning, stacklevel=2)
        else:
            usable[name] = info
    return usable


def sort_for_print(infos: dict[str, Any], reference: str) -> list[str]:
    """Return the names of methods in print order: plain baselines first, then by year and name, the reference last."""
    return sorted(
        infos, key=lambda name: (name == reference, infos[name].family != "plain baseline", infos[name].year, name)
    )


def resolve_hyperparameters(
    cls: type[Method], config: RunConfig, title: str, variant: str, change: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str, set[str]]:
    """Return a method's hyper-parameters after schedule, variant, a sweep's change and overrides, the name to print, and the
    overrides taken.

    A schedule is for methods that train by epochs (``max_epochs``); it scales the learning rate that a sweep sets as it does the
    default one.
    """
    change = change or {}
    fields = {f.name for f in dataclasses.fields(cls.Config)}
    schedule, chosen = config.schedule, dict[str, Any]()
    by_epochs = "max_epochs" in fields
    factor = schedule.lr_factor if by_epochs else 1.0
    if by_epochs:
        lengths = {k: getattr(schedule, k) for k in ("batch_size", "max_epochs", "patience") if k in fields}
        chosen |= {k: v for k, v in lengths.items() if v is not None}
    if schedule.stage_length is not None:
        chosen |= {k: min(getattr(cls.Config(), k), schedule.stage_length) for k in cls.stage_lengths}
    if "lr" in fields:
        chosen["lr"] = cls.Config().lr * factor
    if "selection" in fields:
        chosen["selection"] = config.selection.value
    chosen |= cls.variants.get(variant, {}) | change
    if "lr" in change:
        chosen["lr"] = change["lr"] * factor
    taken = {k: v for k, v in config.hyper.items() if k in fields}
    try:
        merged: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls.Config), chosen, taken))
        settings = dataclasses.asdict(merged)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise UsageError(f"hyper-parameters {taken} of {title}: {str(error).splitlines()[0]}") from None
    for text in find_infinite({"hyper": settings}):  # text that the type of its field turns into a number
        raise UsageError(f"{text} of {title} is no number to compute with: a finite one")
    own = cls.titles.get(variant)
    notes = ([variant] if variant and own is None else []) + [f"{k}={v}" for k, v in (change | taken).items()]
    return settings, (own or title) + (f" ({', '.join(notes)})" if notes else ""), set(taken)


def select_known_rows(config: RunConfig, cohort: Cohort, known: GroundTruth) -> list[MethodSpec]:
    """Return the reference rows asked for; ``known=all`` stands for the ceilings, oracle features and APACHE's own predictions.

    By name also the 2 x 2 worth of the pattern: ``known=ceiling,evidence1_cause0,evidence0_cause1,evidence0_cause0``. What this
    cohort does not offer is left out (captions say so); a name that no cohort offers is an error.
    """
    if config.known == ["none"] or config.outcomes is Outcomes.shuffled:
        return []
    offered = {*known.predictions, *({ORACLE} if ORACLE in known.arrays else ())}
    wanted = [
        name for name in KNOWN_TITLES if name in {*config.known, *(KNOWN_BY_DEFAULT if "all" in config.known else ())}
    ]
    wanted += [name for name in config.known if name not in {*KNOWN_TITLES, "all"}]
    for name in wanted:
        if name not in {*offered, *KNOWN_TITLES}:
            raise unknown("known row", name, {*offered, "all", "none"})
    rows = []
    for name in (name for name in wanted if name in offered):
        fitted = name == ORACLE
        settings = dataclasses.asdict(method_registry.load("gbdt").Config()) if fitted else {}
        rows.append(
            MethodSpec(name, "default", "off", KNOWN_TITLES.get(name, name), "known", settings | {"rectifier": "off"})
        )
    return rows


def make_budget(config: RunConfig) -> Budget:
    """Return the budget of the run's tuning."""
    return Budget(config.tuning.value, config.budget)


def _name_rectifier(kind: RectifierKind, calibration: Calibration) -> str:
    """Return the rectifier's part of a cell's name: ``on`` for the kind that is the default, so that it has one name however it is asked
    for; the configuration has the kind."""
    name = "on" if kind is RectifierKind.hierarchical else kind.value
    return name if kind is RectifierKind.off or calibration is Calibration.valid else f"{name}-{calibration.value}"
