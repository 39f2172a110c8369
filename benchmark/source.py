"""The source a cell stands on: a file and every module of this project that it imports, transitively."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("datasets", "results", "methods", "benchmark", "reports")


@cache
def imported_modules(path: Path) -> tuple[Path, ...]:
    """Files of this project that the file at ``path`` imports by name, anywhere in it, itself left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES:
                base = ROOT.joinpath(*name.split("."))
                found.update(p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())
    return tuple(sorted(found - {path}))


def closure(*paths: Path) -> tuple[Path, ...]:
    """The given files and all files of this project that they import, transitively, sorted."""
    seen: set[Path] = set()
    todo = [p.resolve() for p in paths]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(imported_modules(path))
    return tuple(sorted(seen))


@cache
def source_hash(*paths: Path) -> str:
    """SHA-256 over the closure of ``paths``: names and contents."""
    digest = hashlib.sha256()
    for path in closure(*paths):
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
