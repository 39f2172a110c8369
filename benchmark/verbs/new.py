"""``new``: writes the file of a new method, and its test."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("method", help="its name: the file is methods/METHOD.py")


def run(options: Namespace) -> int:
    """Write a new method's file and its test, which pass as they are; print what to do next."""
    from benchmark.check.scaffold import ROOT, write_method

    for path in write_method(options.method):
        print(f"wrote {path.relative_to(ROOT)}")
    print("next:")
    for command in (f"check {options.method}", f"run smoke method={options.method}"):
        print(f"  python -m benchmark {command}")
    return 0
