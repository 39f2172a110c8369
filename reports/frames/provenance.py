"""What stands behind a plan's numbers: how many cells are done, which are not and why, with which packages, where and how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from results.plan import Plan
from results.rows import list_rows
from results.storage.store import Store

STATES = ("done", "failed", "skipped", "missing")


@dataclass(frozen=True)
class Provenance:
    """``counts``: status -> cells; ``lost``: (cell, status, reason) of those that are not done; ``facts``: name -> what the records
    of the cells say (each value with the number of cells where they differ); ``settings``: name -> value of the plan's settings."""

    counts: dict[str, int]
    lost: tuple[tuple[str, str, str], ...]
    facts: dict[str, str]
    settings: dict[str, str]


def collect_provenance(store: Store, plan: Plan) -> Provenance:
    """Collect the provenance of a plan from the records of its cells; what a record does not say is left out."""
    cells = list({p.key: p for row in list_rows(plan) for p in row.cells}.values())
    records = [store.record(p) for p in cells]
    states = ["missing" if r is None else r["status"] for r in records]
    lost = tuple(
        (p.cell.name, state, (r or {}).get("reason") or "not in the store")
        for p, state, r in zip(cells, states, records, strict=True) if state != "done"
    )  # fmt: skip
    counts = Counter(states)
    found = [r.get("provenance") or {} for r in records if r]
    facts = _collect_facts(found) | _describe_cohorts(plan)
    return Provenance({s: counts[s] for s in STATES}, lost, facts, _flatten_settings(plan.settings.given))


def _collect_facts(found: list[dict[str, Any]]) -> dict[str, str]:
    facts = {"commit": _tally_values(str(p["commit"]) for p in found if p.get("commit"))}
    dirty = sum(p.get("clean") is False for p in found)  # None: not known, without a checkout
    facts["uncommitted changes"] = f"in {dirty} cells" if dirty else ""
    facts["plug-ins"] = _tally_values(describe_plug_in(p["plug_in"]) for p in found if p.get("plug_in"))
    for group in ("versions", "hardware"):
        names = dict.fromkeys(name for p in found for name in p.get(group) or {})
        facts |= {
            name: _tally_values(str(p[group][name]) for p in found if name in (p.get(group) or {})) for name in names
        }
    facts["threads a process"] = _tally_values(str(p["threads"]) for p in found if p.get("threads"))
    seconds = [p["seconds"]["total"] for p in found if (p.get("seconds") or {}).get("total") is not None]
    facts["computing time"] = f"{sum(seconds) / 3600:.2f} h in {len(seconds)} cells" if seconds else ""
    memory = [p["peak_memory_mib"] for p in found if p.get("peak_memory_mib")]
    facts["peak memory of a cell"] = f"{max(memory):,.0f} MiB at most" if memory else ""
    finished = sorted(p["finished"] for p in found if p.get("finished"))
    facts["cells finished"] = f"{finished[0]} to {finished[-1]}" if finished else ""
    return {name: text for name, text in facts.items() if text}


def describe_plug_in(plug_in: dict[str, str]) -> str:
    """Return the distribution of a plug-in and its version, as a record has them."""
    return f"{plug_in['distribution']} {plug_in['version']}"


def _describe_cohorts(plan: Plan) -> dict[str, str]:
    """Return for each landmark the fingerprint of the cohort, the hash of its split, and the flow of inclusions with counts."""
    facts = {}
    for landmark, cohort in plan.landmarks.items():
        flow = ", ".join(f"{step['step']} {step['n']:,}" for step in cohort.flow)
        hashes = f"fingerprint {cohort.fingerprint[:12]}, split {cohort.split[:12]}"
        facts[f"cohort at {landmark}"] = hashes + (f"; {flow}" if flow else "")
    return facts


def _tally_values(values: Any) -> str:
    counts = Counter(values)
    if len(counts) < 2:
        return next(iter(counts), "")
    return ", ".join(f"{value} ({count} cells)" for value, count in counts.most_common())


def _flatten_settings(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as ``group.name`` -> value, without those left at their preset's own value and without paths of raw tables."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flatten_settings(value, f"{prefix}{name}.")
        elif value is not None and value != [] and not name.endswith("root"):
            flat[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
