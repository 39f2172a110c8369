"""The configuration of a run, which Hydra composes and validates from ``conf/`` and the overrides of the command line.

``method=`` takes one name or a comma list, each with an optional variant after a colon (``crl_mmnar:mmnar``);
``method.FIELD=VALUE`` sets a hyper-parameter of the chosen methods that have it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Optional, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.errors import UsageError, unknown
from datasets.registry import DATASETS
from methods import registry as method_registry

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = ("dataset", "schedule")
PATH_OPTIONS = ("root", "note_root", "cxr_root", "encoder", "subset")
"""Options of a dataset that need no ``dataset.`` before them."""
PLACES = ("store", "out", "built")
"""Folders that a run reads and writes."""
AS_THEY_ARE = (*PLACES, "device", "landmark", "arm", "scheduler")
"""Overrides whose value is taken as it is typed, whatever it would mean to Hydra."""
DEVICE = re.compile(r"cpu|(cuda|mps)(:\d+)?")
KNOWN_BY_DEFAULT = ("ceiling", "ceiling_series", "oracle_features", "apache_iva")
"""What ``known=all`` stands for, where a cohort offers it."""
NOT_OVERRIDES = {"methods", "hyper", "experiment", "only", "arms", "sweep", "probes", "derived"}
"""Fields that an experiment's file sets, or that have a shorter name on the command line."""


class Protocol(Enum):
    """The rules of evaluation: the suite's strict ones or the paper's."""

    strict = "strict"
    paper = "paper"


class RectifierKind(Enum):
    """Whether and how predictions are rectified: ``auto`` is on for the methods that have it by default (crl_mmnar) and off for the others.

    ``on`` is ``hierarchical`` under protocol=strict, and the paper's rule under protocol=paper.
    """

    auto = "auto"
    on = "on"
    off = "off"
    hierarchical = "hierarchical"
    offset = "offset"
    shrunk = "shrunk"


class Calibration(Enum):
    """Rows on which the strict rectifier is fitted: the validation part, or out-of-fold predictions of the training part."""

    valid = "valid"
    oof = "oof"


class Tuning(Enum):
    """The choice of hyper-parameters: the defaults, or nested in each fold from each method's grid, or ``budget=`` of it at random."""

    none = "none"
    grid = "grid"
    random = "random"


class Selection(Enum):
    """The rule by which validation rows stop training and choose an epoch, a penalty or a candidate (``methods.common.outcomes``)."""

    log_loss = "log_loss"
    auc = "auc"


class Executor(Enum):
    """The place where cells are computed (``benchmark/executors``)."""

    local = "local"
    dask = "dask"
    slurm = "slurm"
    stacked = "stacked"


class Outcomes(Enum):
    """The outcomes; ``shuffled``: whole rows permuted among the stays before the split is drawn, so that every AUC should be 0.5."""

    true = "true"
    shuffled = "shuffled"


class SplitKind(Enum):
    """The kind of split: ``folds`` at random, stratified; ``sites`` whole hospitals, so that no method has seen the tested ones."""

    folds = "folds"
    sites = "sites"


@dataclass
class Schedule:
    """The length of training, for methods that train by epochs; None = the method's own.

    ``stage_length``: the most that a stage lasts whose length is part of a method (``Method.stage_lengths``), in the unit of its field;
    for tests alone, which train next to nothing.
    """

    name: str = MISSING
    batch_size: Optional[int] = None  # noqa: UP045
    max_epochs: Optional[int] = None  # noqa: UP045
    patience: Optional[int] = None  # noqa: UP045
    lr_factor: float = 1.0
    stage_length: Optional[int] = None  # noqa: UP045


@dataclass
class CellLimits:
    """The limits of one cell: minutes of wall time, GiB of memory; None = no limit."""

    minutes: Optional[float] = None  # noqa: UP045
    gib: Optional[float] = None  # noqa: UP045


@dataclass
class RawDataset:
    """A dataset built from raw tables in ``root``."""

    name: str = MISSING
    root: Optional[str] = None  # noqa: UP045 (OmegaConf reads this spelling)


@dataclass
class MimicDataset(RawDataset):
    """MIMIC-IV: also notes, X-ray embeddings, how notes are encoded, and which cohort."""

    note_root: Optional[str] = None  # noqa: UP045
    cxr_root: Optional[str] = None  # noqa: UP045
    encoder: Optional[str] = None  # noqa: UP045
    revision: Optional[str] = None  # noqa: UP045
    subset: Optional[str] = None  # noqa: UP045
    observation_admit: bool = False


@dataclass
class RunConfig:
    """The configuration of a run: everything that it depends on.

    What an experiment's file may say besides the overrides of the command line: ``only`` the datasets that it applies to; ``arms`` the
    cohorts or settings that it compares (each ``name``, ``axis``, ``value``, ``set``, a list of overrides, and ``also``, axis -> value,
    where it stands on other axes too), one plan an arm; ``beside``: whether ``method=all`` also stands for the variants in the methods'
    ``beside``;
    ``sweep`` hyper-parameters to vary one at a time, field -> values; ``probes`` measurements of each cell besides its predictions
    (``benchmark/cell/probes/``); ``derived`` results derived from the stored predictions besides intervals and comparisons
    (``results/statistics/derivations/``).
    """

    experiment: str = MISSING
    dataset: Any = MISSING  # the group's schema; a plain dict once composed
    schedule: Schedule = field(default_factory=Schedule)
    methods: list[str] = field(default_factory=list)
    hyper: dict[str, Any] = field(default_factory=dict)
    known: list[str] = field(default_factory=lambda: ["all"])
    only: list[str] = field(default_factory=list)
    arms: list[Any] = field(default_factory=list)
    arm: Optional[str] = None  # noqa: UP045
    beside: bool = True
    sweep: dict[str, Any] = field(default_factory=dict)
    probes: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    landmark: Optional[str] = None  # noqa: UP045
    n: Optional[int] = None  # noqa: UP045
    split: SplitKind = SplitKind.folds
    outcomes: Outcomes = Outcomes.true
    folds: int = 5
    seeds: int = 1
    protocol: Protocol = Protocol.strict
    rectifier: RectifierKind = RectifierKind.auto
    calibration: Calibration = Calibration.valid
    selection: Selection = Selection.log_loss
    tuning: Tuning = Tuning.none
    budget: Optional[int] = None  # noqa: UP045
    reference: str = "crl_mmnar"
    bootstrap: int = 1000
    device: str = "cpu"
    store: str = "results/cells"
    out: str = "reports/build"
    built: str = "datasets/built"
    executor: Executor = Executor.local
    scheduler: Optional[str] = None  # noqa: UP045
    slurm: dict[str, Any] = field(default_factory=dict)
    limits: CellLimits = field(default_factory=CellLimits)


WHERE = ("store", "out", "built", "executor", "scheduler", "slurm", "limits")
"""Fields that say where a run computes and writes; no number depends on them, but for ``executor=stacked``, which cells and plans name."""


def list_names(group: str) -> list[str]:
    """Return the names that a group of the configuration (dataset, schedule, experiment) knows."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


def load_config(experiment: str, overrides: list[str]) -> RunConfig:
    """Compose the configuration of an experiment and validate it.

    Raises:
        UsageError: an unknown experiment, name, key or value.
    """
    if experiment not in list_names("experiment"):
        raise unknown("experiment", experiment, list_names("experiment"))
    embedded = find_dataset(overrides).startswith("embedded-")
    if not embedded and any(text.startswith("n=") for text in overrides):
        raise UsageError(f"n= is a dial of embedded cohorts; {find_dataset(overrides)} has the stays it has")
    _register_schemas(embedded)
    lines = [f"experiment={experiment}"]
    for text in overrides:
        lines.extend(_translate(text))
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = cast(RunConfig, OmegaConf.to_object(compose("config", overrides=lines)))
            # a plain dictionary, whatever schema the dataset has
            config.dataset = dataclasses.asdict(config.dataset)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain_refusal(error, overrides) from None
    _take_as_typed(config, overrides)
    for name in config.methods if "all" in config.methods else ():
        if name != "all":
            method_registry.info(name.partition(":")[0])  # raises: all would take in a name that is none
    config.methods, config.known = normalise_methods(config.methods), _normalise_known(config.known)
    _validate(config)
    if config.landmark is not None:
        own = DATASETS[config.dataset["name"]].landmarks[config.protocol.value]
        config.landmark = None if own == (config.landmark,) else config.landmark
    return config


def _take_as_typed(config: RunConfig, overrides: list[str]) -> None:
    """Put the values of ``AS_THEY_ARE`` and of the paths of a dataset into the configuration.

    Raises:
        UsageError: a path of a dataset that has no such path, or a path that is empty or in the home folder of nobody.
    """
    for text in overrides:
        key, _, value = text.partition("=")
        if key in AS_THEY_ARE:
            setattr(config, key, value)
        name = key.removeprefix("dataset.")
        if name in PATH_OPTIONS:
            if name not in config.dataset:
                raise unknown("override", key, [f"dataset.{known}" for known in _list_dataset_fields(overrides)])
            config.dataset[name] = expand_path(key, value)
    for key in PLACES:
        setattr(config, key, expand_path(key, getattr(config, key)))


def expand_path(key: str, value: str) -> str:
    """Return the path of an override with ``~`` as the home folder.

    Raises:
        UsageError: it is empty, as a variable of the shell is that was never set, or ``~NAME`` of nobody.
    """
    if not value.strip():
        raise UsageError(f"{key}= is empty: name a folder ({key}=DIR), or leave it out for the default")
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        raise UsageError(f"{key}={value}: {value.split('/')[0]} is nobody's home folder here") from None


def normalise_methods(given: Iterable[str]) -> list[str]:
    """Return a list of methods as every way of writing it becomes: each once, in the order of the alphabet; ``all`` has every default.

    ``name:`` names no variant, and rows are printed in an order of their own, so that neither makes another plan.
    """
    names = {name.strip().removesuffix(":").rstrip() for name in given} - {""}
    return sorted(name for name in names if name == "all" or ":" in name or "all" not in names)


def _normalise_known(given: Iterable[str]) -> list[str]:
    """Return the known rows asked for, each once, in the order of the alphabet, without those in ``all``; ``[none]`` for an empty list.

    Raises:
        UsageError: ``none`` together with others.
    """
    names = sorted({name.strip() for name in given} - {""}) or ["none"]
    if "none" in names and len(names) > 1:
        raise UsageError(f"known={','.join(names)}: none stands alone")
    return [name for name in names if "all" not in names or name not in KNOWN_BY_DEFAULT]


def find_schedule_changes(config: RunConfig) -> dict[str, Any]:
    """Return the fields of the schedule that the command line set to another value than its file, with their values.

    None of a schedule that an experiment's own file states, such as the gate's.
    """
    if config.schedule.name not in list_names("schedule"):
        return {}
    own = dataclasses.asdict(Schedule()) | dict(OmegaConf.load(CONF / "schedule" / f"{config.schedule.name}.yaml"))
    return {name: value for name, value in dataclasses.asdict(config.schedule).items() if value != own[name]}


def load_arms(experiment: str, overrides: list[str]) -> list[RunConfig]:
    """Compose the configuration of each arm of an experiment, or its one configuration where it has no arms; ``arm=NAME[,NAME]`` chooses.

    Raises:
        UsageError: as ``load_config``, an unknown arm, or an override of what the arms vary.
    """
    base = load_config(experiment, overrides)
    own = [text for text in overrides if not text.startswith("arm=")]
    varied = {text.partition("=")[0] for arm in base.arms for text in arm["set"]}
    for key in [text.partition("=")[0] for text in own]:
        if key in varied:
            raise UsageError(f"{key}= is what the arms of {experiment} vary: choose some with arm=NAME[,NAME]")
    wanted = None if base.arm is None else split_names(base.arm)
    known = [arm["name"] for arm in base.arms]
    for name in wanted or []:
        if name not in known:
            raise unknown(f"arm of {experiment}", name, known)
    if not base.arms:
        return [base]
    configs = []
    for arm in base.arms:
        if wanted is None or arm["name"] in wanted:
            config = load_config(experiment, [*arm["set"], *own])
            of = [{k: v for k, v in other.items() if k != "set"} for other in base.arms]
            config.arm, config.arms = arm["name"], [{**arm, "of": of}]
            configs.append(config)
    return configs


def split_names(text: str) -> list[str]:
    """Return the names of a comma list, without blanks and empty ones."""
    return [name for part in text.split(",") if (name := part.strip())]


def find_dataset(overrides: list[str]) -> str:
    """Return the dataset that the overrides choose, or the default one."""
    chosen = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == "dataset"]
    return chosen[-1] if chosen else "embedded-mimic"


def _translate(text: str) -> list[str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is not an override: write key=value, e.g. seeds=5")
    if key in GROUPS:
        if value not in list_names(key):
            raise unknown(key, value, list_names(key))
        return [text]
    if key == "method":
        chosen = split_names(value.strip("[]"))
        return [f"methods=[{','.join(repr(v) for v in chosen)}]"]
    if key == "method.selection":
        raise UsageError(
            "method.selection= is no hyper-parameter of one method: selection=log_loss|auc sets it for all"
        )
    if key.lstrip("+~") in ("dataset.name", "schedule.name"):
        raise UsageError(f"{key}= is no dial: {key.lstrip('+~').partition('.')[0]}=NAME chooses")
    if key.startswith("method."):
        return [f"+hyper.{key.removeprefix('method.')}={value}"]
    if key == "known":
        return [f"known=[{value.strip('[]')}]"]
    root = key.lstrip("+~").split(".")[0]
    fields = {f.name for f in dataclasses.fields(RunConfig)} - NOT_OVERRIDES | {"method"}
    if key in AS_THEY_ARE or key.removeprefix("dataset.") in PATH_OPTIONS:
        return []  # not for Hydra, which would parse what a path may hold
    if root not in fields:
        raise unknown("override", key, fields | set(PATH_OPTIONS))
    if key == "outcomes":
        return [f"{key}={value!r}"]
    if key.startswith("slurm."):
        return [f"+{text}"]
    return [text]


def find_infinite(value: Any, key: str = "") -> Iterator[str]:
    """Yield ``key=value`` for each number in nested lists and dictionaries that is NaN or infinite, by the names of the command line."""
    if isinstance(value, dict):
        for name, inner in value.items():
            name = "method" if not key and name == "hyper" else str(name)
            yield from find_infinite(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from find_infinite(inner, key)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}={value}"


def check_device(config: RunConfig) -> None:
    """Check that this machine has the device of a run whose cells it computes itself.

    Raises:
        UsageError: it has none.
    """
    if config.device == "cpu" or config.executor not in (Executor.local, Executor.stacked):
        return
    import torch

    kind, _, number = config.device.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(number or 0) >= count:
        there = f"{count} of this kind" if count else "none of this kind"
        raise UsageError(f"device={config.device}: this machine has {there}; device=cpu")


def _validate(config: RunConfig) -> None:
    for text in find_infinite(dataclasses.asdict(config)):
        raise UsageError(f"{text} is no number to compute with: a finite one")
    if not DEVICE.fullmatch(config.device):
        raise UsageError(f"device={config.device} is no device: cpu, cuda or cuda:N, mps")
    for key, least in (("folds", 2), ("seeds", 1), ("bootstrap", 0)):
        if getattr(config, key) < least:
            raise UsageError(f"{key}={getattr(config, key)} is too small: {least} or more")
    if config.only and config.dataset["name"] not in config.only:
        raise UsageError(
            f"{config.experiment} applies to {', '.join(config.only)}, not to {config.dataset['name']}: pass dataset="
        )
    for key in ("minutes", "gib"):
        value = getattr(config.limits, key)
        if value is not None and value <= 0:
            raise UsageError(f"limits.{key}={value:g} is too small: more than 0")
    _validate_tuning(config)
    if config.n is not None and config.n < 1:
        raise UsageError(f"n={config.n} is too small: 1 or more")
    info = DATASETS[config.dataset["name"]]
    landmarks = info.landmarks[config.protocol.value]
    if config.protocol is Protocol.strict:
        landmarks += info.on_request
    if config.landmark is not None and config.landmark not in landmarks:
        raise unknown(f"landmark of {info.name} under protocol={config.protocol.value}", config.landmark, landmarks)
    if config.protocol is Protocol.paper and (
        config.rectifier not in (RectifierKind.auto, RectifierKind.on, RectifierKind.off)
        or config.calibration is Calibration.oof
    ):
        raise UsageError(
            "rectifier=hierarchical, offset and shrunk and calibration=oof belong to protocol=strict; the paper's rectifier is rectifier=on"
        )
    if not config.methods:
        raise UsageError("method= names no method")


def _validate_tuning(config: RunConfig) -> None:
    random, name = config.tuning is Tuning.random, config.dataset["name"]
    if random != (config.budget is not None):
        raise UsageError("tuning=random needs budget=N, the candidates of each method; no other tuning takes one")
    if config.budget is not None and config.budget < 1:
        raise UsageError(f"budget={config.budget} is too small: 1 or more")
    if config.tuning is Tuning.none:
        return
    if not DATASETS[name].tunable:
        raise UsageError(
            f"tuning={config.tuning.value} on {name}: its validation parts hold a dozen events; tuning=none, the defaults"
        )
    if config.sweep:
        raise UsageError(
            f"tuning={config.tuning.value}: {config.experiment} varies hyper-parameters itself; tuning=none"
        )


def _explain_refusal(error: Exception, overrides: list[str]) -> UsageError:
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    known = [f"dataset.{name}" for name in _list_dataset_fields(overrides)]
    for text in overrides:
        key = text.partition("=")[0]
        if (key in PATH_OPTIONS and f"dataset.{key}" not in known) or (key.startswith("dataset.") and key not in known):
            return unknown("override", key, known)
    if lines[0].startswith("In 'experiment/"):
        experiment = lines[0].split("'")[1].removeprefix("experiment/")
        return UsageError(
            f"{experiment} sets dials that {find_dataset(overrides)} does not have: pass another dataset="
        )
    values = [line for line in lines if "Invalid value" in line or "could not be converted" in line]
    detail = values[0] if values else lines[0]
    return UsageError(f"{' '.join(overrides)}: {detail}")


def _list_dataset_fields(overrides: list[str]) -> list[str]:
    if find_dataset(overrides).startswith("embedded-"):
        return [f.name for f in dataclasses.fields(_make_synthetic_schema())]
    kind = DATASETS[find_dataset(overrides)].kind
    return [f.name for f in dataclasses.fields(MimicDataset if kind == "mimic" else RawDataset)]


def _make_synthetic_schema() -> type:
    """Return the dials of a synthetic cohort as a schema; None = the preset's own value."""
    from typing import get_type_hints

    from datasets.synthetic.params import SyntheticParams

    hints = get_type_hints(SyntheticParams)
    dials = [(f.name, Optional[hints[f.name]], None) for f in dataclasses.fields(SyntheticParams)]  # noqa: UP045
    return dataclasses.make_dataclass("EmbeddedDataset", [("name", str, MISSING), *dials])


def _register_schemas(embedded: bool) -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=RunConfig)
    store.store(group="dataset", name="raw", node=RawDataset)
    store.store(group="dataset", name="mimic", node=MimicDataset)
    if embedded:
        store.store(group="dataset", name="embedded", node=_make_synthetic_schema())
