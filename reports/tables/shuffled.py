"""What a report says of a plan whose outcomes were shuffled: the interval of every AUC should hold 0.5; those that do not are marked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reports.tables.table import Entry, Table, get_task_title
from results.plan import Plan

MARK = "^"
SHUFFLED_NOTE = (
    "Outcomes were shuffled: whole rows of outcomes permuted among the stays before the split was drawn. The truth is an AUC of 0.5, which "
    "every interval should hold (AUC with its 95 % bootstrap interval); what is known of the cohort's true outcomes (ceiling, oracle "
    "features, APACHE) is left out."
)


def is_shuffled(plan: Plan) -> bool:
    """Return whether the plan was run with ``outcomes=shuffled``."""
    return plan.settings.outcomes == "shuffled"


def flag_auc_off_half(
    table: Table, plan: Plan, statistics: dict[str, Any] | None, titles: dict[tuple[str, str], str]
) -> Table:
    """Return the table of a plan with shuffled outcomes: each AUC with its stored interval, and MARK where that does not hold 0.5.

    ``titles``: printed title by (method, variant). A table of a plan with true outcomes comes back as it is.
    """
    if not is_shuffled(plan):
        return table
    several = len(plan.landmarks) > 1
    stored = [i for i in (statistics or {}).get("intervals", []) if i["metric"] == "auc" and i["ci_low"] is not None]
    if not stored:
        return replace(
            table, notes=(*table.notes, "No intervals are stored for this plan, so none is held against 0.5.")
        )
    heads = [f"{get_task_title(i['task'])} ({i['landmark']})" if several else get_task_title(i["task"]) for i in stored]
    by_place = {(titles[i["method"], i["variant"]], head): i for i, head in zip(stored, heads, strict=True)}

    def shown(title: str, entry: Entry, column: tuple[str, str]) -> Entry:
        found = by_place.get((title, column[0])) if column[1] == "AUC" else None
        if found is None:
            return entry
        mark = MARK if _excludes_half(found) else ""
        return replace(entry, sd=None, interval=(found["ci_low"], found["ci_high"]), mark=entry.mark + mark)

    rows = tuple(
        (title, known, tuple(shown(title, e, column) for e, column in zip(entries, table.columns, strict=True)))
        for title, known, entries in table.rows
    )
    off = [place for place, interval in by_place.items() if _excludes_half(interval)]
    expected = f"at 95 %, {len(stored) / 20:.1f} are expected by chance"
    note = f"{len(off)} of {len(stored)} intervals of the AUC do not hold 0.5 ({MARK}); {expected}."
    return replace(table, rows=rows, notes=(*table.notes, note, *(f"{MARK} {title}: {head}." for title, head in off)))


def _excludes_half(interval: dict[str, Any]) -> bool:
    return not interval["ci_low"] <= 0.5 <= interval["ci_high"]
