"""Chooses the stored plans that a command applies to: the newest of each dataset, protocol and arm that agrees with the overrides given."""

from __future__ import annotations

from benchmark.errors import UsageError
from benchmark.plan.config import WHERE, RunConfig, expand_path, normalise_methods, split_names
from results.plan import Plan
from results.storage.store import Store

CHOOSING = {
    "dataset": lambda plan, config: plan.dataset == config.dataset["name"],
    "protocol": lambda plan, config: plan.protocol == config.protocol.value,
    "schedule": lambda plan, config: plan.schedule == config.schedule.name,
    "folds": lambda plan, config: plan.folds == config.folds,
    "seeds": lambda plan, config: plan.seeds == config.seeds,
    "n": lambda plan, config: plan.n == config.n,
    "rectifier": lambda plan, config: plan.rectifier == config.rectifier.value,
    "landmark": lambda plan, config: (
        config.landmark == plan.settings.landmark
        or (config.landmark is None and list(plan.landmarks) == [plan.settings.landmark])
    ),
    "split": lambda plan, config: plan.settings.split == config.split.value,
    "selection": lambda plan, config: plan.settings.selection == config.selection.value,
    "tuning": lambda plan, config: plan.settings.tuning == config.tuning.value,
    "budget": lambda plan, config: plan.settings.budget == config.budget,
    "outcomes": lambda plan, config: plan.settings.outcomes == config.outcomes.value,
    "arm": lambda plan, config: plan.settings.arm in split_names(config.arm),
    "method": lambda plan, config: normalise_methods(plan.settings.methods) == config.methods,
}


def choose_plans(store: Store, experiment: str, config: RunConfig, overrides: list[str]) -> list[Plan]:
    """Choose the plans, by dataset, protocol and arm (in the order of the experiment's file); ``overrides`` are those of the command line,
    ``config`` is what they compose.

    Raises:
        UsageError: an override that does not choose among plans, or no plan that agrees.
    """
    keys = {key for key in (text.partition("=")[0] for text in overrides) if key.split(".")[0] not in WHERE}
    for key in sorted(keys):
        if key not in CHOOSING and key.split(".")[0] not in ("method", "dataset"):
            raise UsageError(f"{key}= does not choose among stored plans; these do: {', '.join(CHOOSING)}")
    keys |= {"outcomes"}  # a plan with shuffled outcomes is never taken for one with the true ones
    newest: dict[tuple[str, str, int], Plan] = {}
    order = {arm["name"]: i for i, arm in enumerate(config.arms)}
    for plan in store.plans(experiment):
        arm = plan.settings.arm
        if (arm is None or arm in order) and all(_agrees(key, plan, config) for key in keys):
            newest.setdefault((plan.dataset, plan.protocol, order.get(arm, -1)), plan)
    if not newest:
        asked = " ".join([experiment, *overrides])
        raise UsageError(f"nothing stored for {asked} in {store.root}: python -m benchmark run {asked}")
    return [newest[key] for key in sorted(newest)]


def find_newest_plans(store: Store, experiment: str | None = None) -> list[list[Plan]]:
    """Return by experiment (or of one) the newest plan of each dataset, protocol and arm, arms in the order of the experiment's file.

    Raises:
        UsageError: there is none.
    """
    newest: dict[str, dict[tuple[str, str, int], Plan]] = {}
    for plan in store.every_plan():
        if experiment in (None, plan.experiment):
            arm = plan.arm
            names = [other.name for other in arm.of or [arm]] if arm else []
            order = names.index(arm.name) if arm else -1
            newest.setdefault(plan.experiment, {}).setdefault((plan.dataset, plan.protocol, order), plan)
    if not newest:
        raise UsageError(f"nothing stored in {store.root}: python -m benchmark run {experiment or 'EXPERIMENT'}")
    return [[plans[key] for key in sorted(plans)] for _, plans in sorted(newest.items())]


def open_store(overrides: list[str]) -> Store:
    """Return the store that ``store=DIR`` names, or the default one, for a verb that takes no experiment.

    Raises:
        UsageError: ``store=`` is empty.
    """
    places = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == "store"]
    return Store(expand_path("store", places[-1]) if places else RunConfig.store)


def _agrees(key: str, plan: Plan, config: RunConfig) -> bool:
    if key in CHOOSING:
        return CHOOSING[key](plan, config)
    group, _, name = key.partition(".")
    stored, asked = (
        (plan.settings.hyper, config.hyper) if group == "method" else (plan.settings.dataset, config.dataset)
    )
    return stored.get(name) == asked.get(name)
