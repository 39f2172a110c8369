"""``audit``: what a leak is worth, and what predictions show of one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from benchmark import audit_predictions
from benchmark.errors import UsageError
from benchmark.verbs.common import JSON


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--json", action="store_true", help=JSON)
    audit_predictions.add_arguments(parser)


def run(options: Namespace) -> int:
    """Audit a predictions file."""
    if not options.predictions:
        raise UsageError("audit needs --predictions FILE")
    return audit_predictions.run(options)
