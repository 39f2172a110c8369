"""``python -m benchmark``: says in one line what to do where Python is too old for this suite, or its packages are not installed.

Nothing here is newer than Python 3.7, so that an old one reads it to the end.
"""

import sys

OLDEST = (3, 11)


def start(argv: list) -> int:
    """Run the command line and return the exit status, 2 where it cannot start."""
    if sys.version_info < OLDEST:
        found, needed = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST))
        print(
            f"error: this is Python {found}, and {needed} or newer is needed: make install PYTHON=python3.11 (any such one), then "
            ".venv/bin/python at the root of the clone",
            file=sys.stderr,
        )
        return 2
    from benchmark.cli import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
