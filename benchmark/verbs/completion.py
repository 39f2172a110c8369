"""``completion``: prints what makes a shell complete command lines of this program, and the words that it asks for."""

from __future__ import annotations

import importlib
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import pairwise

from benchmark.overrides import OVERRIDES
from benchmark.verbs.common import list_experiments

BASH = """\
_crl_mmnar_bench() {
    local line="${COMP_LINE:0:COMP_POINT}" word
    [[ "$line" == *" -m benchmark "* ]] || return 0
    word="${line##* }"
    # bash splits words at = and : and replaces what stands behind the last of them
    local behind="${word##*[=:]}"
    local before="${word%"$behind"}" IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" -m benchmark completion words -- "$line" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -o default -F _crl_mmnar_bench python python3 {python}
"""
ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_crl_mmnar_bench() {
    local line="${(j: :)words[1,CURRENT-1]} ${PREFIX}"
    if [[ "$line" != *" -m benchmark "* ]]; then _default; return; fi
    local -a found
    found=(${(f)"$("${words[1]}" -m benchmark completion words -- "$line" 2>/dev/null)"})
    if (( ! $#found )); then _default; return; fi
    compadd -Q -S '' -- ${(M)found:#*[=.]}
    compadd -Q -- ${found:#*[=.]}
}
compdef _crl_mmnar_bench python python3 {python}
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("shell", choices=(*SCRIPTS, "words"), help="bash or zsh; words: what LINE may go on with")
    parser.add_argument("line", nargs="?", default="", metavar="LINE", help="of words: the command line so far")


def run(options: Namespace) -> int:
    """Print a shell's script, or the words that may stand at the end of a command line."""
    if options.shell in SCRIPTS:
        print(SCRIPTS[options.shell].replace("{python}", f"'{sys.executable}' .venv/bin/python"), end="")
        return 0
    print("\n".join(complete(options.line)))
    return 0


def complete(line: str) -> list[str]:
    """Return the words that the last one of a command line may become; one that is to go on ends in ``=`` or ``.``."""
    # the list of verbs stands above this module, which is imported by name as every verb is
    command_line = importlib.import_module("benchmark.cli")
    *before, word = re.split(r"\s+", line.split(" -m benchmark ", 1)[-1].lstrip())
    if not before:
        found = [*command_line.VERBS, "--help", "--version"]
    elif before[0] not in command_line.VERBS:
        found = []
    else:
        parser, own = command_line.build_parser(before[0])
        found = list(_list_words(parser, own, before, word))
    return sorted({candidate for candidate in found if candidate.startswith(word)})


def _list_words(parser: ArgumentParser, own: tuple[str, ...], before: list[str], word: str) -> Iterator[str]:
    key, equals, value = word.partition("=")
    if equals:
        yield from (f"{key}={known}" for known in (_list_values(key, value) if key in own else ()))
    elif word.startswith("-"):
        yield from (option for action in parser._actions for option in action.option_strings)
    else:
        yield from _list_positional(parser, before)
        yield from (f"{name}=" for name in own if not name.endswith((".DIAL", ".FIELD", ".OPTION")))
        if "method.FIELD" in own:
            yield from _list_fields() if word.startswith("method.") else ("method.",)


def _list_positional(parser: ArgumentParser, before: list[str]) -> Iterator[str]:
    """Yield what the next argument by position may be: experiments, methods, datasets, or the choices of the parser."""
    verb = before[0]
    valued = {name for action in parser._actions if action.nargs != 0 for name in action.option_strings}
    given = [
        text for last, text in pairwise(before) if "=" not in text and not text.startswith("-") and last not in valued
    ]
    positional = [action for action in parser._actions if not action.option_strings and action.dest != "overrides"]
    if len(given) >= len(positional):
        return
    action = positional[len(given)]
    if action.choices:
        yield from map(str, action.choices)
    elif action.dest == "experiment":
        yield from (row["name"] for row in list_experiments())
        yield from ("speed",) if verb == "report" else ()
    elif action.dest == "dataset":
        yield from _list_datasets()
    elif action.dest == "method" or given[-1:] == ["methods"]:
        yield from _list_methods("")


def _list_values(key: str, value: str) -> Iterator[str]:
    if key == "dataset":
        yield from _list_datasets()
    elif key == "method":
        head, comma, last = value.rpartition(",")
        yield from (f"{head}{comma}{name}" for name in ("all", *_list_methods(last)))
    elif key == "reference":
        yield from _list_methods("")
    else:
        yield from (known for known in OVERRIDES[key].split("|") if known == known.lower())


def _list_datasets() -> list[str]:
    from datasets.registry import DATASETS

    return list(DATASETS)


def _list_methods(word: str) -> list[str]:
    """Return the names of all methods; of one that ``word`` ends with a colon, or goes on behind it, its variants."""
    from benchmark.verbs.declarations import read_declarations
    from methods.registry import infos

    known = infos()
    name, colon, _ = word.partition(":")
    if colon and name in known:
        return [f"{name}:{variant}" for variant in read_declarations(known[name]).variants or ()]
    return list(known)


def _list_fields() -> set[str]:
    from benchmark.verbs.declarations import read_declarations
    from methods.registry import infos

    declared = [read_declarations(info).defaults or {} for info in infos().values()]
    return {f"method.{field}=" for defaults in declared for field in defaults} - {"method.selection="}
