"""Facts on methods and datasets for their cards, read from INFO, docstrings and the registry."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

from datasets.registry import DATASETS
from methods import registry


def collect_method_facts() -> list[dict[str, Any]]:
    """Return by method what INFO says, the docstring of its file, its hyper-parameters with their defaults, and its variants."""
    facts = []
    for name, info in sorted(registry.infos().items()):
        cls = registry.load(name)
        text = info.file.read_text(encoding="utf-8")
        facts.append(
            {
                "name": name,
                "title": info.title,
                "citation": info.citation,
                "year": info.year,
                "family": info.family,
                "based_on": info.based_on,
                "uses_series": info.uses_series,
                "rectifier": info.rectifier,
                "weak": info.weak,
                "docstring": ast.get_docstring(ast.parse(text)) or "",
                "defaults": dataclasses.asdict(cls.Config()),
                "grid": cls.grid,
                "variants": cls.variants,
            }
        )
    return facts


def collect_dataset_facts() -> list[dict[str, Any]]:
    """Return by dataset what the registry says of it."""
    return [dataclasses.asdict(info) for info in DATASETS.values()]
