"""The command line: reads the verb, and imports only what that verb needs."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TextIO

from benchmark.errors import UsageError, unknown
from benchmark.overrides import OVERRIDES, describe_overrides
from benchmark.terminal import use_plain_characters

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
VERBS = {
    "list": "list the methods, datasets or experiments",
    "run": "compute what an experiment still lacks",
    "status": "count the cells done, failed, skipped and to do, by method",
    "why": "tell which part of a cell's key changed since its stored result",
    "store": "merge results computed elsewhere, export what may leave a credentialed site",
    "report": "write tables and figures from the store, as CSV, LaTeX and HTML",
    "compare": "compare the metrics of a store or locked file with another's; --gate exits 3 where one got worse",
    "lock": "write a store's metrics over 20 seeds as the file that the gate compares with",
    "cards": "write a data card for each cohort and a model card for each method",
    "check": "run the conformance tests on a method",
    "new": "write the file of a new method, and its test",
    "audit": "measure what each step of the released evaluation adds; check predictions against a declared step",
    "completion": "print what makes bash or zsh complete command lines",
    "data": "list, fetch, build, verify or describe cohorts",
}


def main(argv: list[str]) -> int:
    """Run the command line and return the exit status.

    0 all well, 1 a cell or a check failed, 2 wrong usage or unusable input, 3 the gate is broken (a metric got worse or is missing), 130
    interrupted.
    """
    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"]
    use_plain_characters()
    try:
        _check_text(argv)
        with _print_plug_in_warnings_in_one_line():
            return _dispatch(argv)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("interrupted: finished cells are stored; the same command continues", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, _find_usage_errors()):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        if isinstance(error, ModuleNotFoundError):
            print(f"error: {error}: make install, then .venv/bin/python at the root of the clone", file=sys.stderr)
        elif not debug:
            line = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"error: {line} (a fault of the program; --debug shows where)", file=sys.stderr)
        return 2


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_format_usage())
        return 0
    if argv[0] == "--version":
        print(f"crl-mmnar-bench {read_version()}")
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    options = build_parser(verb)[0].parse_intermixed_args(rest)
    _check_packages()
    return _import_verb(verb).run(options)


def _check_text(argv: list[str]) -> None:
    """Check that every argument is text: bytes that are not UTF-8 reach Python as surrogates, which no file can hold.

    Raises:
        UsageError: one is not, or has characters of control other than white space.
    """
    for text in argv:
        if any(unicodedata.category(character) in ("Cs", "Cc") and not character.isspace() for character in text):
            shown = text.encode("unicode_escape", "backslashreplace").decode()
            raise UsageError(f"{shown!r} is no plain text in UTF-8")


def _format_usage() -> str:
    lines = ["usage: python -m benchmark VERB ... [key=value ...]", ""]
    lines += [f"  {verb:10} {what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            *lines,
            "",
            describe_overrides(OVERRIDES),
            "",
            "python -m benchmark VERB --help shows a verb's own options and overrides; --debug shows tracebacks; --version",
        ]
    )


def read_version() -> str:
    """Return the version of this clone, which no installed package has to know."""
    import tomllib

    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.format_usage().strip()}")


def build_parser(verb: str) -> tuple[argparse.ArgumentParser, tuple[str, ...]]:
    """Return the parser of a verb, and the keys of the overrides that it takes."""
    module = _import_verb(verb)
    own = list_overrides(module)
    epilog = describe_overrides(own) if own else None
    parser = _Parser(prog=f"python -m benchmark {verb}", description=VERBS[verb], epilog=epilog)
    module.arguments(parser)
    return parser, own


def list_overrides(module: ModuleType) -> tuple[str, ...]:
    """Return the keys of the overrides that a verb takes, as its module declares them: none where it does not."""
    return tuple(getattr(module, "OVERRIDES", ()))


def _import_verb(verb: str) -> ModuleType:
    return importlib.import_module(f"benchmark.verbs.{verb}")


def _check_packages() -> None:
    """Stop in one line where another distribution named ``datasets`` is found instead of this suite's package."""
    import datasets

    if "what a cohort is" not in (datasets.__doc__ or "").lower():
        raise UsageError(
            f"the package 'datasets' found in {datasets.__path__} is not this suite's: run at the root of the clone"
        )


@contextmanager
def _print_plug_in_warnings_in_one_line() -> Iterator[None]:
    """Print each warning of a plug-in that is left out once, without Python's file and line; other warnings as they are."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            text = " ".join(str(message).split())
            if category.__name__ != "PlugInWarning":
                usual(message, category, filename, lineno, file, line)
            elif text not in printed:
                printed.add(text)
                print(f"warning: {text}", file=sys.stderr)

        warnings.showwarning = show
        yield


def _find_usage_errors() -> tuple[type[Exception], ...]:
    """Return the errors that the user can mend, of the modules imported so far."""
    errors: list[type[Exception]] = [UsageError]
    for module, name in (
        ("datasets.cohort", "CohortError"),
        ("results.storage.store", "StoreError"),
        ("reports.report", "ReportError"),
        ("methods.registry", "UnknownMethod"),
        ("methods.registry", "UnreadableInfo"),
        ("methods.registry", "UnusableMethod"),
    ):
        if module in sys.modules:
            errors.append(getattr(sys.modules[module], name))
    return tuple(errors)
