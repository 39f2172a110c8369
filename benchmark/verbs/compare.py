"""``compare``: compares the metrics of one store or locked file with another's, and tells whether any got worse."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from benchmark.verbs.common import JSON

BROKEN = 3
"""Exit status of a gate that is broken."""

OVERRIDES = ("method",)


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("base", help="what it was: a locked CSV (results/locked/gate.csv) or a store's folder")
    parser.add_argument("new", help="what it is now: the same")
    parser.add_argument("experiment", nargs="?", default="gate", help="whose newest plan in a store (default gate)")
    parser.add_argument("--gate", action="store_true", help=f"exit {BROKEN} where a row is worse or missing")
    parser.add_argument("--all", action="store_true", help="print the rows that are ok as well")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help=JSON)
    shape.add_argument("--markdown", action="store_true", help="a summary for a page of continuous integration")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="method= restricts the rows")


def run(options: Namespace) -> int:
    """Compare two sets of metrics; with --gate the exit status is 3 where one got worse or is missing."""
    from benchmark.verbs.gate_values import compare_metrics
    from benchmark.verbs.show_gate import format_markdown, print_json, print_table
    from results.gate.judge import RED

    overrides = list(options.overrides)
    if "=" in options.experiment:
        overrides, options.experiment = [options.experiment, *overrides], "gate"
    verdicts = compare_metrics(options.base, options.new, options.experiment, overrides, needs_tolerance=options.gate)
    if options.json:
        print_json(options.base, options.new, verdicts)
    elif options.markdown:
        print(format_markdown(options.base, options.new, verdicts))
    else:
        print_table(verdicts, options.all)
    return BROKEN if options.gate and verdicts["verdict"].isin(RED).any() else 0
