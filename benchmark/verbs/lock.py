"""``lock``: writes the metrics of a store with enough seeds as the file that the gate compares with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.show import NOTES


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("store", help="a store's folder that holds a run with 20 seeds or more")
    parser.add_argument("file", help="the CSV to write, e.g. results/locked/gate.csv")
    parser.add_argument("experiment", nargs="?", default="gate", help="whose newest plan (default gate)")
    parser.add_argument("--keep", action="store_true", help="methods of FILE that the plan has not stay as they are")


def run(options: Namespace) -> int:
    """Write the locked metrics of a store's newest plan of an experiment."""
    from benchmark.verbs.gate_values import read_stored_values
    from results.gate.judge import GateError
    from results.gate.locked_csv import write_locked

    if not options.file.endswith(".csv"):
        raise UsageError(f"{options.file} is no CSV to write: lock STORE FILE.csv")
    values = read_stored_values(Path(options.store), options.experiment, [])
    try:
        frame = write_locked(Path(options.file), values, options.keep)
    except GateError as error:
        raise UsageError(f"{options.store}: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot write {options.file}: {error.strerror or error}") from None
    NOTES.print(f"wrote {options.file}: {len(frame)} rows from {frame['seeds'].iloc[0]} seeds")
    return 0
