"""``report``: writes tables and figures of the newest matching plans, from the store alone; of ``speed``, of the newest ``make bench``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import unknown
from benchmark.overrides import STORED
from benchmark.show import NOTES
from benchmark.verbs.common import compose_config

if TYPE_CHECKING:
    from reports.report import Report

SPEED = "speed"
"""The name that takes the place of an experiment's, for the measurements of ``make bench``."""

OVERRIDES = STORED


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument(
        "--format", default="csv,tex,html", metavar="LIST", help="of csv, tex, html, txt (default csv,tex,html)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Write tables and figures of the newest matching plans, or of the newest measurements, without computing a cell."""
    from reports.build import write_report
    from reports.formats.files import FORMATS, render_text

    formats = tuple(dict.fromkeys(options.format.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    report, out = (_assemble_speed if options.experiment == SPEED else _assemble_stored)(options)
    for path in write_report(report, Path(out), formats):
        NOTES.print(f"wrote {path}")
    print(render_text(report.measured))
    return 0


def _assemble_stored(options: Namespace) -> tuple[Report, str]:
    """Assemble the report of an experiment; return it and where to write it."""
    from benchmark.plan.stored import choose_plans
    from reports.build import assemble_report
    from results.storage.store import Store

    config = compose_config(options, "report")
    plans = choose_plans(Store(config.store), options.experiment, config, options.overrides)
    return assemble_report(Path(config.store), plans), config.out


def _assemble_speed(options: Namespace) -> tuple[Report, str]:
    """Assemble the report of the newest measurements in ``store=DIR``; return it and where to write it."""
    from benchmark.plan.config import RunConfig, expand_path
    from reports.speed import build_speed_report
    from results.speed import FOLDER, read_newest

    places = {"store": FOLDER, "out": RunConfig.out}
    for text in options.overrides:
        name, _, place = text.partition("=")
        if name not in places:
            raise unknown("override", name, places)
        places[name] = expand_path(name, place)
    return build_speed_report(read_newest(Path(places["store"]))), places["out"]
