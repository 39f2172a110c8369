"""Output of a command: tables on standard output, one JSON document where asked, notes on standard error."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.progress import Progress

NOTES = Console(stderr=True, highlight=False, soft_wrap=True)
PATTERNS_SHOWN = 20
EVERY = 60.0
"""Seconds between two lines on long work where no terminal shows a bar."""


def make_progress() -> Progress:
    """Return a progress bar on standard error: how many are done of how many, the time so far and left, and a description.

    Nothing is shown where there is no terminal: ``report_every_minute`` is for that.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.description}"), console=NOTES, disable=not _can_show_bars())


@contextmanager
def report_every_minute(describe: Callable[[float], str]) -> Iterator[None]:
    """Print a line on standard error every minute until the block ends, where no terminal shows a bar.

    ``describe`` takes the seconds so far and returns the line; it is called in a thread of its own.
    """
    if _can_show_bars():
        yield
        return
    started, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(EVERY):
            NOTES.print(describe(time.monotonic() - started), markup=False)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def show_work(what: str) -> Iterator[None]:
    """Show that there is work until the block ends: a spinner on a terminal, elsewhere a line every minute."""
    with NOTES.status(what), report_every_minute(lambda seconds: f"{what}: {format_duration(seconds)} so far"):
        yield


def format_progress(done: int, failed: int, left: int, seconds: float) -> str:
    """Return a line on work that consists of equal pieces: how many are done, failed and left after how long, and an estimate."""
    line = f"{done} done, {failed} failed, {left} left after {format_duration(seconds)}"
    finished = done + failed
    return (
        f"{line}, about {format_duration(seconds / finished * left)} more" if finished else f"{line}, no estimate yet"
    )


def format_duration(seconds: float) -> str:
    """Return a time as seconds, minutes or hours: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _can_show_bars() -> bool:
    """Return whether standard error is a terminal that can move its cursor, whatever FORCE_COLOR makes rich believe of a log."""
    return sys.stderr.isatty() and not NOTES.is_dumb_terminal


def _open_output() -> Console:
    """Return standard output; as wide as it takes where it is no terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 240)


def show(rows: Iterable[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    """Print ``rows`` as a table of ``columns``, or whole as one JSON document."""
    rows = list(rows)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(escape(str(row[c])) for c in columns))
    _open_output().print(table)


def show_description(described: dict[str, Any], patterns: bool) -> None:
    """Print a described dataset, by landmark: flow, outcomes, observed shares and, if asked for, the most frequent patterns."""
    out = _open_output()
    for landmark, part in described.items():
        out.print(f"\n[bold]{landmark}[/bold]: {part['n']:,} stays")
        for step in part["flow"]:
            out.print(f"  {step['n']:>9,}  {step['step']}")
        for task, t in part["tasks"].items():
            share = f"{t['positives'] / t['n']:.1%}" if t["n"] else "undefined"
            out.print(f"  {task}: {t['positives']:,} of {t['n']:,} ({share})")
        out.print("  observed: " + ", ".join(f"{name} {share:.1%}" for name, share in part["modalities"].items()))
        if patterns:
            table = _make_table("pattern", "n", *part["tasks"])
            for row in part["patterns"][:PATTERNS_SHOWN]:
                name = _shorten(row["pattern"], list(part["modalities"]))
                table.add_row(name, str(row["n"]), *(_format_rate(row, t) for t in part["tasks"]))
            out.print(table)
            rest = part["patterns"][PATTERNS_SHOWN:]
            if rest:
                out.print(f"({len(rest)} rarer patterns, {sum(row['n'] for row in rest)} stays; --json has them all)")
            _show_counts(out, part)


def _show_counts(out: Console, part: dict[str, Any]) -> None:
    """Print the further tables that a builder counted, how much is missing of each feature, and which features are constant."""
    for title, rows in part.items():
        if isinstance(rows, list) and rows and title not in ("flow", "patterns"):
            out.print(f"\n  {title}")
            table = _make_table(*rows[0])
            for row in rows:
                table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
            out.print(table)
    for name, shares in part.get("missing", {}).items():
        order = sorted(shares.values())
        most = sum(share > 0.8 for share in order)
        median = f"median {order[len(order) // 2]:.0%}, more than 80 % in {most:,} of {len(order):,}"
        out.print(f"\n  missing by feature of {name}: {median}")
        if order[0] == order[-1]:
            out.print(f"    {order[0]:.1%} in each of {len(order):,}")
            continue
        out.print(f"    {', '.join(f'{feature} {share:.1%}' for feature, share in shares.items())}", markup=False)
    for name, values in part.get("constant", {}).items():
        never = [feature for feature, value in values.items() if value is None]
        shown = [f"{feature} {value:g}" for feature, value in values.items() if value is not None]
        for what, of in (("the same in every stay that has it", shown), ("never recorded", never)):
            if of:
                out.print(f"\n  {name}, {what}: {len(of):,} features")
                out.print(f"    {', '.join(of)}", markup=False)


def _format_rate(row: dict[str, Any], task: str) -> str:
    positives, n = row["positives"][task], row["defined"][task]
    return f"{positives:,} of {n:,} ({positives / n:.1%})" if n else "-"


def _make_table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _shorten(pattern: str, modalities: list[str]) -> str:
    """Return the name of a pattern, by what it lacks where that is shorter."""
    lacks = [name for name in modalities if name not in pattern.split("+")]
    if len(modalities) <= 4 or len(lacks) > len(modalities) // 2:
        return pattern
    return f"all but {', '.join(lacks)}" if lacks else "all"
