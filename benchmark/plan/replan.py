"""Restores the configuration of a stored plan, so that it can be planned under today's source and cohorts."""

from __future__ import annotations

import dataclasses
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.errors import UsageError
from benchmark.plan.config import PATH_OPTIONS, RunConfig, load_config
from results.plan import Plan

FIELDS = {"method": "methods"}
"""Names of the command line for fields of another name."""


def restore_config(plan: Plan, overrides: list[str]) -> RunConfig:
    """Return the configuration that wrote ``plan``, with ``overrides`` of the command line put over it; the experiment's file is not
    read for
    what they do not name.

    Raises:
        UsageError: an override that cannot be, or settings that this version does not know.
    """
    settings = {**plan.settings.given, "arms": [{"name": name} for name in plan.settings.arms]}
    settings["selection"] = plan.settings.selection
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), settings)
        config = cast(RunConfig, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        line = str(error).splitlines()[0]
        raise UsageError(
            f"plan {plan.name} was written by another version of this suite ({line}): run it again"
        ) from None
    if not overrides:
        return config
    own = [f"dataset={config.dataset['name']}", f"protocol={config.protocol.value}"]
    asked = load_config(config.experiment, [*own, *overrides])
    for key in (text.partition("=")[0] for text in overrides):
        config = _take_field(config, asked, "dataset." + key if key in PATH_OPTIONS else key)
    return config


def _take_field(config: RunConfig, asked: RunConfig, key: str) -> RunConfig:
    """Return ``config`` with what ``key`` names taken from ``asked``."""
    group, _, name = key.partition(".")
    if group == "method" and name:
        return dataclasses.replace(config, hyper={**config.hyper, name: asked.hyper[name]})
    if group == "dataset" and name:
        return dataclasses.replace(config, dataset={**config.dataset, name: asked.dataset[name]})
    if group == "schedule" and name:
        schedule = dataclasses.replace(config.schedule, **{name: getattr(asked.schedule, name)})
        return dataclasses.replace(config, schedule=schedule)
    field = FIELDS.get(group, group)
    return dataclasses.replace(config, **{field: getattr(asked, field)})
