"""``cards``: writes data cards and model cards, from source and store."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmark.show import NOTES

OVERRIDES = ("store", "out")


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Write data cards and model cards, from source and store."""
    from benchmark.plan.config import load_config
    from benchmark.verbs.card_facts import collect_dataset_facts, collect_method_facts
    from reports.cards import write_cards

    config = load_config("table1", options.overrides)
    paths = write_cards(Path(config.store), collect_method_facts(), collect_dataset_facts(), Path(config.out) / "cards")
    NOTES.print(f"wrote {len(paths)} cards below {Path(config.out) / 'cards'}")
    return 0
