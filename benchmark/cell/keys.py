"""The source that a cell depends on: a file and every module of this project that it imports, transitively.

The file of a plug-in brings the modules of its own package as well, and those that lie in the same folder; the data files of its
package; all modules of it where one imports at run time; and the version of its distribution. Other distributions are not followed, as
they are not for a method of this project, nor are data files outside the package.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("datasets", "results", "methods", "benchmark", "reports")
AT_RUN_TIME = re.compile(rb"\b(importlib|__import__|runpy|pkgutil|exec)\b")
"""A plug-in's module with one of these may import modules of its package that no import statement names."""
RUN_CELL = ROOT / "benchmark" / "cell" / "run_cell.py"


@cache
def find_imported_modules(path: Path) -> tuple[Path, ...]:
    """Return the files of this project, or of the plug-in of ``path``, that the file at ``path`` imports by name, without itself."""
    if path.suffix != ".py":
        return ()
    files = set() if _is_ours(path) else {*_list_packages_above(path), *_list_files_read_at_run_time(path)}
    for folder, name in _iterate_imports(path):
        base = folder.joinpath(*name.split("."))
        files.update(p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())
    return tuple(sorted(files - {path}))


def find_import_closure(*paths: Path) -> tuple[Path, ...]:
    """Return the given files and all files that they import in the same sense, transitively, sorted by their names."""
    seen: set[Path] = set()
    todo = [p.resolve() for p in paths]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(find_imported_modules(path))
    return tuple(sorted(seen, key=_name_file))


@cache
def hash_sources(*paths: Path) -> str:
    """Return the SHA-256 over the import closure of ``paths``: names and contents, wherever the files lie."""
    digest = hashlib.sha256()
    for path in find_import_closure(*paths):
        digest.update(_name_file(path).as_posix().encode() + b"\0" + _read_source(path) + b"\0")
    for distribution in _list_distributions(paths):
        digest.update(repr(distribution).encode())
    return digest.hexdigest()


def hash_source_files(*paths: Path) -> dict[str, str]:
    """Return what ``hash_sources`` hashes, file by file: name -> the first 12 digits of its SHA-256."""
    hashes = {_name_file(path).as_posix(): _hash_file(path) for path in find_import_closure(*paths)}
    return hashes | {f"version of {name}": version for name, version in _list_distributions(paths)}


def list_cell_sources(config: dict[str, Any]) -> tuple[Path, ...]:
    """Return the files that a cell of this configuration (``PlannedCell.config``) starts from: what runs it, its method and its probes."""
    from benchmark.cell.probes import find_probe_file
    from methods.registry import source_file

    method = config.get("method", {"fitted": False})
    method = (source_file(method["class"]),) if method["fitted"] else ()
    return (RUN_CELL, *method, *(find_probe_file(name) for name in config.get("probes", [])))


def _list_distributions(paths: tuple[Path, ...]) -> list[tuple[str, str]]:
    """Return name and version of the distributions of those of ``paths`` that are plug-ins."""
    from methods.registry import find_distribution

    return [found for path in paths if not _is_ours(path) and (found := find_distribution(path))]


def _list_files_read_at_run_time(path: Path) -> list[Path]:
    """Return the files of a plug-in's outermost package that no import statement names and the module at ``path`` may read all the same."""
    packages = _list_packages_above(path)
    if not packages:
        return []
    inside = [p for p in packages[-1].parent.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".pyo")]
    modules = AT_RUN_TIME.search(path.read_bytes()) is not None
    return [p for p in inside if p.suffix != ".py" or modules]


@cache
def _hash_file(path: Path) -> str:
    return hashlib.sha256(_read_source(path)).hexdigest()[:12]


def _read_source(path: Path) -> bytes:
    """Return a file's content, its INFO without ``weak``: what is found of a method once it has run must not make it run again."""
    content = path.read_bytes()
    for node in ast.parse(content).body if path.suffix == ".py" and b"INFO" in content else []:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if [ast.unparse(target) for target in targets] == ["INFO"] and isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            kept = [
                ast.dump(part) for pair in pairs if ast.unparse(pair[0] or pair[1]) != "'weak'" for part in pair if part
            ]
            lines = content.splitlines(keepends=True)
            return b"".join([*lines[: node.lineno - 1], "\n".join(kept).encode(), *lines[node.end_lineno :]])
    return content


def _is_ours(path: Path) -> bool:
    """Return whether a file is this project's; an environment inside the clone, with plug-ins in it, is not."""
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES


def _name_file(path: Path) -> Path:
    """Return the path from the folder that imports start at: the clone, or the one that holds a plug-in's package."""
    if _is_ours(path):
        return path.relative_to(ROOT)
    return path.relative_to(_find_import_root(path))


def _find_import_root(path: Path) -> Path:
    """Return the folder that holds the outermost package of a file, or the file itself."""
    return path.parents[len(_list_packages_above(path))]


def _list_packages_above(path: Path) -> list[Path]:
    """Return the ``__init__.py`` of the packages that a file lies in, innermost first: importing it runs them."""
    inits = []
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            break
        inits.append(folder / "__init__.py")
    return inits


def _iterate_imports(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each module that a file imports by name, as a folder and the dotted name below it; what may not be ours is left out."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names, above = [alias.name for alias in node.names], None
        elif isinstance(node, ast.ImportFrom):
            module = [node.module] if node.module else []
            # an imported name may be a module itself; what is no file is dropped later
            names = [*module, *(".".join([*module, alias.name]) for alias in node.names)]
            above = path.parents[node.level - 1] if node.level else None
        else:
            continue
        for name in names:
            yield from (
                (folder, name) for folder in ([above] if above else _find_import_folders(name.split(".")[0], path))
            )


def _find_import_folders(top: str, path: Path) -> list[Path]:
    """Return the folders in which the package or module ``top`` may be found, where it is this project's or of the plug-in of ``path``."""
    if top in PACKAGES:
        return [ROOT]
    if _is_ours(path):
        return []
    neighbours = [_find_import_root(path)] if (_find_import_root(path) / f"{top}.py").is_file() else []
    return neighbours + [folder.parent for folder in path.parents if folder.name == top]
