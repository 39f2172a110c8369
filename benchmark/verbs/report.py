"""``report``: tables and figures of the newest matching plans, from the store alone; of ``speed``, of the newest ``make bench``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import unknown
from benchmark.show import NOTES
from benchmark.verbs.common import config_of

if TYPE_CHECKING:
    from reports.report import Report

SPEED = "speed"
"""What stands where an experiment's name does, for the measurements of ``make bench``."""


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument(
        "--format", default="csv,tex,html", metavar="LIST", help="of csv, tex, html, txt (default csv,tex,html)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Tables and figures of the newest matching plans, or of the newest measurements, without computing anything."""
    from reports.build import write_report
    from reports.formats.files import FORMATS, text_of

    formats = tuple(dict.fromkeys(options.format.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    report, out = (_speed if options.experiment == SPEED else _stored)(options)
    for path in write_report(report, Path(out), formats):
        NOTES.print(f"wrote {path}")
    print(text_of(report.measured))
    return 0


def _stored(options: Namespace) -> tuple[Report, str]:
    """The report of an experiment, and where to write it."""
    from benchmark.plan.stored import chosen_plans
    from reports.build import assemble
    from results.storage.store import Store

    config = config_of(options, "report")
    plans = chosen_plans(Store(config.store), options.experiment, config, options.overrides)
    return assemble(Path(config.store), plans), config.out


def _speed(options: Namespace) -> tuple[Report, str]:
    """The report of the newest measurements in ``store=DIR``, and where to write it."""
    from benchmark.plan.config import RunConfig
    from reports.speed import speed_report
    from results.speed import FOLDER, read_newest

    places = {"store": FOLDER, "out": RunConfig.out}
    for text in options.overrides:
        name, _, place = text.partition("=")
        if name not in places:
            raise unknown("override", name, places)
        places[name] = place
    return speed_report(read_newest(Path(places["store"]))), places["out"]
