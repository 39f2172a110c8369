"""``report``: tables and figures of the newest matching plans, from the store alone."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmark.errors import unknown
from benchmark.show import NOTES
from benchmark.verbs.common import config_of


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument(
        "--format", default="csv,tex,html", metavar="LIST", help="of csv, tex, html, txt (default csv,tex,html)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Tables and figures of the newest matching plans, from the store alone."""
    from benchmark.stored import chosen_plans
    from reports.build import assemble, write_report
    from reports.files import FORMATS, text_of
    from results.store import Store

    formats = tuple(dict.fromkeys(options.format.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    config = config_of(options, "report")
    plans = chosen_plans(Store(config.store), options.experiment, config, options.overrides)
    report = assemble(Path(config.store), plans)
    for path in write_report(report, Path(config.out), formats):
        NOTES.print(f"wrote {path}")
    print(text_of(report.measured))
    return 0
