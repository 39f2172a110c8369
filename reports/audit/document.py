"""The tables of ``docs/audit.md``, written between markers ``<!-- audit:NAME -->`` and ``<!-- /audit:NAME -->`` from the store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from reports.audit.numbers import AuditNumbers, load_numbers
from reports.audit.report import SHOWN, build_steps_tables, format_range
from reports.audit.simulated import build_noise_table, build_sampler_table
from reports.build import assemble_report, write_report_file
from reports.report import ReportError
from reports.tables.shuffled import is_shuffled
from reports.tables.table import METRICS, Table, format_entry, get_task_title
from results.plan import Plan
from results.storage.store import Store

NOTHING = "*Nothing is stored: `python -m benchmark audit` computes it.*"
SIMULATED = {"audit_noise": build_noise_table, "audit_sampler": build_sampler_table}


def rewrite_document(store: Store, plans: Sequence[Plan], path: Path, steps: Sequence[dict[str, str]]) -> Path:
    """Rewrite every marked part of the document at ``path`` from these plans and return the path.

    Args:
        store: where the cells of the plans are.
        plans: of ``reports.audit.report.EXPERIMENTS``.
        path: a Markdown file with the markers.
        steps: the registry: ``id, title, where, released, here, stage`` of each step.

    Raises:
        ReportError: the document has a marker of another name, or one without its end.
    """
    audits = [load_numbers(store, plan) for plan in plans if plan.experiment == "audit"]
    parts = {
        "steps": "\n\n".join(_render_step(step, audits) for step in steps),
        "tables": "\n\n".join(render_markdown(t) for n in audits for t in build_steps_tables(store, n)) or NOTHING,
    }
    for experiment, table in SIMULATED.items():
        own = [plan for plan in plans if plan.experiment == experiment]
        parts[experiment.removeprefix("audit_")] = (
            "\n\n".join(render_markdown(table(store, p)[0]) for p in own) or NOTHING
        )
    shuffled = next((plan for plan in store.plans("table1") if is_shuffled(plan)), None)
    parts["shuffled"] = (
        NOTHING if shuffled is None else render_markdown(assemble_report(store.root, [shuffled]).measured[0])
    )
    return write_report_file(path, replace_parts(path.read_text(encoding="utf-8"), parts, path.name).encode())


def replace_parts(text: str, parts: dict[str, str], name: str) -> str:
    """Return ``text`` with what lies between the markers of each part exchanged.

    Raises:
        ReportError: a marker has a name that is no part, or no end.
    """
    for part in re.findall(r"<!-- audit:(\w+) -->", text):
        if part not in parts:
            raise ReportError(f"{name} has a marker audit:{part}; known: {', '.join(parts)}")
        between = re.compile(rf"(?<=<!-- audit:{part} -->\n).*?(?=<!-- /audit:{part} -->)", re.DOTALL)
        if not between.search(text):
            raise ReportError(f"{name} has a marker audit:{part} without its end <!-- /audit:{part} -->")
        # Backslashes of the content are no references to groups, hence the doubling.
        text = between.sub(parts[part].replace("\\", r"\\") + r"\n", text)
    return text


def render_markdown(table: Table) -> str:
    """Render a table as Markdown: its heading, caption, rows and notes."""
    heads = [", ".join(filter(None, column)) for column in table.columns]
    lines = [
        f"### {table.heading}",
        "",
        _escape_bars(table.caption),
        "",
        f"| | {' | '.join(map(_escape_bars, heads))} |",
    ]
    lines.append("| --- |" + " --- |" * len(heads))
    lines += [
        f"| {_escape_bars(title)} | {' | '.join(_escape_bars(format_entry(e)) for e in entries)} |"
        for title, _, entries in table.rows
    ]
    return "\n".join([*lines, "", *(f"- {_escape_bars(note)}" for note in table.notes)])


def _render_step(step: dict[str, str], audits: list[AuditNumbers]) -> str:
    """Render a step's facts, and what it is worth alone, in each audit."""
    lines = [
        f"### {step['id']}: {step['title']}",
        "",
        f"- As released ({step['where']}): {step['released']}.",
        f"- Here: {step['here']}.",
    ]
    if step["stage"]:
        lines += [line for n in audits for line in _render_worth(step["id"], n)] or [f"- Worth: {NOTHING}"]
    return "\n".join(lines)


def _render_worth(step: str, n: AuditNumbers) -> list[str]:
    """Return a line for each task: the number under the strict protocol and with the step alone, and what they rest on."""
    own = next((r.variant for r in n.plan.rows if r.variant.endswith(f"-{step}")), "")
    base = n.plan.rows[0].variant
    lines = []
    for landmark, facts in n.plan.landmarks.items():
        fits = n.fits.get((landmark, str(n.plan.reference), own))
        if fits is None or not fits["done"]:
            continue
        for task in facts.tasks:
            said = []
            for metric in SHOWN:
                before, after = (n.find_interval(landmark, task, metric, variant) for variant in (base, own))
                if before is None or after is None:
                    continue
                interval = "" if after["ci_low"] is None else f" [{after['ci_low']:.3f}, {after['ci_high']:.3f}]"
                flag = ", flagged" if n.is_flagged(landmark, task, metric, own) else ""
                said.append(f"{METRICS[metric]} {before['value']:.3f} → {after['value']:.3f}{interval}{flag}")
            ceiling = n.find_ceiling(landmark, task, "auc")
            said += [f"ceiling AUC {ceiling:.3f}"] if ceiling is not None else []
            epochs = f"epochs {format_range(fits['epochs'])}" if fits["epochs"] else "no epochs"
            folds = f"{n.plan.folds} of {n.plan.settings.given['folds_of_the_split']} folds"
            done = f"fits done: {fits['done']} of {n.plan.seeds} seeds x {folds}"
            rest = f"N {max(fits['n_train']):,} in training, {max(fits['n_test']):,} tested; {epochs}; {done}"
            lines.append(f"- Worth, {n.outcomes} outcomes, {get_task_title(task)}: {'; '.join(said)} ({rest}).")
    return lines


def _escape_bars(text: str) -> str:
    return text.replace("|", "\\|")
