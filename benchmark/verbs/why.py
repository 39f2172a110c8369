"""``why``: tells which part of a cell's key changed since its stored result."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmark.overrides import OVERRIDES as ALL
from benchmark.show import NOTES
from benchmark.verbs.common import JSON

if TYPE_CHECKING:
    from benchmark.plan.why import Answer, Change

DIGITS = 16
"""Of a key or hash that is printed; ``--json`` has all."""

OVERRIDES = tuple(ALL)


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "cell", help="its name as printed, a part of it that no other cell has, or a path into the store"
    )
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Print which part of a cell's key changed since its stored result: config, cohort, split, source, or nothing."""
    from benchmark.errors import UsageError
    from benchmark.plan.plan import plan_run
    from benchmark.plan.replan import restore_config
    from benchmark.plan.stored import open_store
    from benchmark.plan.why import explain, find_cell

    if "=" in options.cell:
        raise UsageError("why needs a cell: its name as printed, or its folder in the store")
    store = open_store(options.overrides)
    plan, cell = find_cell(store, options.cell)
    config = restore_config(plan, options.overrides)
    answer = explain(store, plan, cell, plan_run(config, say=lambda text: NOTES.print(text)).plan)
    if options.json:
        print(json.dumps(asdict(answer), indent=1))
    else:
        print("\n".join(format_answer(answer)))
    return 0


def format_answer(answer: Answer) -> list[str]:
    """Return an answer as text."""
    stored = answer.stored or {}
    text_lines = [answer.cell, f"plan: {answer.plan}"]
    if "finished" in stored:
        commit = f", commit {stored['commit'][:10]}" if stored["commit"] else ""
        text_lines.append(f"stored: {stored['status']}, {stored['finished']}{commit}, key {stored['key'][:DIGITS]}")
    text_lines.append(f"now: key {answer.key[:DIGITS]}")
    if answer.verdict == "stands":
        why = f" ({stored['status']}: {stored['reason']})" if stored["status"] != "done" else ""
        return [*text_lines, f"nothing: the stored result stands{why}"]
    if answer.verdict == "failed":
        return [*text_lines, f"failed: {stored['reason']}; the next run computes it again"]
    if answer.verdict == "not stored":
        return [*text_lines, "nothing is stored under this name: the next run computes it"]
    if answer.verdict == "broken":
        files = ", ".join(answer.faults)
        text_lines.append(
            f"broken: {files} of key {stored['key'][:DIGITS]} not as written; the next run computes it again"
        )
    for part, changes in answer.changed.items():
        text_lines += [f"changed: {part}", *(f"  {_format_change(change)}" for change in changes)]
    return text_lines


def _format_change(change: Change) -> str:
    if change.old is None and change.new is None:
        return change.what
    return f"{change.what}: {_format_value(change.old)} -> {_format_value(change.new)}"


def _format_value(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    hexadecimal = len(text) >= 64 and not set(text) - set("0123456789abcdef:")
    return ":".join(piece[:DIGITS] for piece in text.split(":")) if hexadecimal else text
