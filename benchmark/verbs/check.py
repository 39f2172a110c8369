"""``check``: runs the conformance tests on one method."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from dataclasses import asdict
from typing import Any

from benchmark.overrides import DATA
from benchmark.show import NOTES, format_duration, report_every_minute, show
from benchmark.verbs.common import JSON

OVERRIDES = ("dataset", *DATA, "protocol", "landmark", "method.FIELD", "selection", "device")


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("method", help="METHOD or METHOD:VARIANT, of this repository or a plug-in")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these checks alone")
    parser.add_argument("--slow", action="store_true", help="the checks that take minutes too")
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Run the conformance tests on one method; the status is 0 where one passes and none fails."""
    from benchmark.check.method import check_method, choose_checks

    only = [name for name in options.only if "=" not in name]
    overrides = [*options.overrides, *(text for text in options.only if "=" in text)]
    checks = choose_checks(only, options.slow)
    results = check_method(options.method, overrides, checks)
    own = [check.name for check in checks if not check.given]
    if own and any(text.startswith("dataset=") for text in overrides):
        NOTES.print(f"on cohorts of their own: {', '.join(own)}")
    rows: list[dict[str, Any]] = []

    def describe_progress(seconds: float) -> str:
        failed = sum(row["verdict"] == "failed" for row in list(rows))
        return f"{len(rows)} of {len(checks)} checks, {failed} failed, after {format_duration(seconds)}"

    with NOTES.status(f"{len(checks)} checks") as status, report_every_minute(describe_progress):
        for check, result in zip(checks, results, strict=True):
            rows.append({**asdict(result), "protects": check.protects})
            status.update(f"{len(rows)} of {len(checks)} checks")
    show(rows, ("name", "verdict", "seconds", "protects"), options.json)
    counts = Counter(row["verdict"] for row in rows)
    for row in rows:
        if row["detail"]:
            style = "red" if row["verdict"] == "failed" else None
            NOTES.print(f"{row['verdict']}: {row['name']}: {row['detail']}", style=style)
    NOTES.print(f"{options.method}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0
