"""Why a cell is computed again: which part of its key differs from that of the stored result."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.cell.keys import hash_source_files, list_cell_sources
from benchmark.errors import UsageError
from results.cell import Cell, PlannedCell
from results.plan import Plan
from results.storage.store import Store

PARTS = ("config", "cohort", "split", "source")
COUNTS = ("n", "tasks", "modalities")
"""What a plan says of a landmark's cohort."""
LISTED = 5


@dataclass(frozen=True)
class Change:
    """A change of a field, file or count: its value before and now (None where it was or is not there)."""

    what: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Answer:
    """The answer of ``why``.

    ``verdict``: ``stands``, ``changed``, ``failed``, ``broken`` or ``not stored``; ``key`` as it is today; ``stored``: key, status,
    reason and time of the result looked at; ``faults``: its broken files; ``changed``: part of the key -> what changed in it.
    """

    cell: str
    verdict: str
    key: str
    plan: str
    stored: dict[str, Any] | None = None
    faults: list[str] = field(default_factory=list)
    changed: dict[str, list[Change]] = field(default_factory=dict)


def find_cell(store: Store, text: str) -> tuple[Plan, Cell]:
    """Find a cell by name; return the newest stored plan that has it, and the cell.

    Args:
        text: the cell's name, any part of it between slashes that no other cell has, or a path into the store.

    Raises:
        UsageError: no such cell, with the nearest names; or several.
    """
    newest: dict[str, tuple[Plan, Cell]] = {}
    for plan in store.every_plan():
        for planned in plan.cells:
            newest.setdefault(planned.cell.name, (plan, planned.cell))
    if not newest:
        raise UsageError(f"no plan is stored in {store.root}: python -m benchmark run EXPERIMENT")
    asked = _parse_name(store, text)
    matches = [name for name in newest if name == asked] or [name for name in newest if f"/{asked}/" in f"/{name}/"]
    if len(matches) > 1:
        listed = ", ".join(matches[:LISTED]) + (", ..." if len(matches) > LISTED else "")
        raise UsageError(f"{asked!r} is the name of {len(matches)} cells: {listed}; give more of one")
    if not matches:
        near = difflib.get_close_matches(asked, newest, n=3, cutoff=0.3) or sorted(newest)[:3]
        raise UsageError(f"no stored plan has a cell {asked!r}; the nearest: {', '.join(near)}")
    return newest[matches[0]]


def explain(store: Store, plan: Plan, cell: Cell, fresh: Plan) -> Answer:
    """Compare today's key of a cell with that of its stored result.

    The stored result is the one under today's key, else the one that the plan names, else the last of that name.

    Args:
        plan: the newest stored plan that has ``cell``.
        fresh: the same plan made again, today.

    Raises:
        UsageError: it does not have the cell any more.
    """
    now = next((p for p in fresh.cells if p.cell == cell), None)
    if now is None:
        raise UsageError(f"{cell.name} is no cell of {fresh.name} as it would be planned now")
    answer = partial(Answer, cell.name, key=now.key, plan=plan.name)
    if faults := store.faults(now):
        return answer(verdict="broken", stored={"key": now.key}, faults=faults)
    if record := store.record(now):
        return answer(verdict="failed" if record["status"] == "failed" else "stands", stored=_summarise_record(record))
    before = next(p for p in plan.cells if p.cell == cell)
    faults = store.faults(before)
    if faults and before.key != now.key:
        changed = {
            part: _find_changes(part, None, before, plan, now, fresh)
            for part in _list_unlike_parts(before.key_parts, now)
        }
        return answer(verdict="broken", stored={"key": before.key}, faults=faults, changed=changed)
    record = store.record(before) or next(iter(store.records(cell.name)), None)
    if record is None:
        return answer(verdict="not stored")
    held = next((p for p in store.every_plan() if any(c.key_parts == record["key_parts"] for c in p.cells)), None)
    old = PlannedCell(cell, record["config"], record["key_parts"], record["title"])
    changed = {
        part: _find_changes(part, record, old, held, now, fresh)
        for part in _list_unlike_parts(record["key_parts"], now)
    }
    return answer(verdict="changed", stored=_summarise_record(record), changed=changed)


def _parse_name(store: Store, text: str) -> str:
    """Return the name of a cell from what was typed: a path into the store without the store's own folders, the key and the file."""
    path = Path(text)
    try:
        parts = path.resolve().relative_to(store.root.resolve()).parts
    except ValueError:
        parts = path.parts
    if not path.exists():
        parts = path.parts
    # a cell lies as many folders deep as its name has fields; below are its key and files
    return "/".join(parts[: len(Cell.__dataclass_fields__)] if path.exists() else parts).strip("/")


def _summarise_record(record: dict[str, Any]) -> dict[str, Any]:
    summary = {k: record[k] for k in ("key", "status", "reason")}
    return summary | {k: record["provenance"][k] for k in ("finished", "commit")}


def _list_unlike_parts(parts: dict[str, str], now: PlannedCell) -> list[str]:
    return [part for part in PARTS if parts.get(part) != now.key_parts[part]]


def _find_changes(
    part: str,
    record: dict[str, Any] | None,
    old: PlannedCell,
    plan: Plan | None,
    now: PlannedCell,
    fresh: Plan,
) -> list[Change]:
    if part == "config":
        return _list_differences(_flatten(old.config), _flatten(now.config))
    if part == "source":
        sources = (record or {}).get("sources")
        if not sources:
            return [Change("files (the stored record does not name them)", None, None)]
        return _list_differences(sources, hash_source_files(*list_cell_sources(now.config)))
    hashes = [Change("fingerprint" if part == "cohort" else "hash", old.key_parts.get(part), now.key_parts[part])]
    if plan is None:
        return hashes
    landmark, settings = now.cell.landmark, (plan.settings.given, fresh.settings.given)
    if part == "split":
        return hashes + _list_differences(*({k: s.get(k) for k in ("split", "folds")} for s in settings))
    dials = _list_differences(*({"n": s.get("n"), **_flatten(s.get("dataset") or {}, "dataset.")} for s in settings))
    facts = (asdict(p.landmarks[landmark]) if landmark in p.landmarks else {} for p in (plan, fresh))
    counts = _list_differences(*(_flatten({k: f.get(k) for k in COUNTS}) for f in facts))
    known = {change.what for change in dials}
    return hashes + dials + [change for change in counts if change.what not in known]


def _list_differences(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    return [Change(k, old.get(k), new.get(k)) for k in dict.fromkeys([*old, *new]) if old.get(k) != new.get(k)]


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flatten(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {f"{prefix}{name}": inner}
    return flat
