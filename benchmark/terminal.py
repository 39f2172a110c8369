"""Text for terminals that cannot show all of it: an ASCII one gets plain characters for those it lacks."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import unicodedata
from typing import cast

PLAIN = {
    "±": "+/-",
    "×": "x",
    "·": "*",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "•": "*",
    "━": "-",
    "─": "-",
    "│": "|",
    "Δ": "Delta",
    "α": "alpha",
    "β": "beta",
    "κ": "kappa",
    "λ": "lambda",
    "µ": "u",
    "μ": "mu",
    "τ": "tau",
    "ß": "ss",
}
"""What stands for characters that are not a letter with accents; for any other, a question mark."""


def write_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that a terminal cannot show, and where the text goes on (an error handler of ``codecs``)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_make_plain, error.object[error.start : error.end])), error.end


def _make_plain(character: str) -> str:
    if character in PLAIN:
        return PLAIN[character]
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def use_plain_characters() -> None:
    """Let standard output and standard error write plain characters for those that their encoding lacks."""
    codecs.register_error("plain", write_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        # a stream that a test or a notebook put in place may have no encoding to set
        with contextlib.suppress(AttributeError, ValueError):
            cast(io.TextIOWrapper, stream).reconfigure(errors="plain")
