"""What a method's source declares of its hyper-parameters and variants, read without running it: listing needs no torch.

Read are ``Config`` with the dataclasses that it inherits from, ``grid`` and ``variants``, written as literals, names of the same or of an
imported module, and ``|``, ``+`` and an index of those. What is written otherwise is None here; ``import_declarations`` knows it.
"""

from __future__ import annotations

import ast
import dataclasses
import operator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from methods.registry import Info

OPERATORS = {ast.BitOr: operator.or_, ast.Add: operator.add}


class _Unreadable(Exception):
    """A value that cannot be known without running the source."""


@dataclass(frozen=True)
class Declarations:
    """The hyper-parameters of a method with their defaults, the grid that tuning tries, and the fields that each variant changes.

    None where the source has to be run to know.
    """

    defaults: dict[str, Any] | None
    grid: dict[str, list[Any]] | None
    variants: dict[str, dict[str, Any]] | None


def import_declarations(name: str) -> Declarations:
    """Return what a method declares, from its class: its file is imported.

    Raises:
        UnknownMethod, UnreadableInfo, UnusableMethod: as ``methods.registry.load``.
    """
    from methods import registry

    cls = registry.load(name)
    return Declarations(dataclasses.asdict(cls.Config()), dict(cls.grid), dict(cls.variants))


def read_declarations(info: Info) -> Declarations:
    """Return what a method declares, from its source."""
    try:
        source = _Source(info.file, info.module)
        method = _find_method(source, info.class_name)
    except (_Unreadable, OSError, SyntaxError):
        return Declarations(None, None, None)
    return Declarations(
        _read_or_none(lambda: _read_defaults(method)),
        _read_or_none(lambda: method.evaluate("grid")),
        _read_or_none(lambda: method.evaluate("variants")),
    )


def _read_or_none(read: Any) -> Any:
    try:
        return read()
    except (_Unreadable, OSError, SyntaxError, TypeError, LookupError, RecursionError):
        return None


class _Source:
    """A module's source: its top-level statements by the names that they bind, the last one of each."""

    def __init__(self, file: Path, module: str) -> None:
        self.file, self.module = file, module
        self.bound = _bind(ast.parse(file.read_text(encoding="utf-8-sig")).body)

    def evaluate(self, node: ast.expr) -> Any:
        """Return the value of an expression of this module."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Tuple):
            return tuple(self.evaluate(e) for e in node.elts)
        if isinstance(node, ast.List):
            return [self.evaluate(e) for e in node.elts]
        if isinstance(node, ast.Dict):
            parts = zip(node.keys, node.values, strict=True)
            pairs = [{self.evaluate(k): self.evaluate(v)} if k else self.evaluate(v) for k, v in parts]
            return {key: value for pair in pairs for key, value in pair.items()}
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.evaluate(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](self.evaluate(node.left), self.evaluate(node.right))
        if isinstance(node, ast.Subscript):
            return self.evaluate(node.value)[self.evaluate(node.slice)]
        if isinstance(node, ast.Name):
            found = self.find(node.id)
            if not isinstance(found, _Class):
                return found
        raise _Unreadable

    def find(self, name: str) -> Any:
        """Return a value or class that the module binds, itself or by an import."""
        node = self.bound.get(name)
        if isinstance(node, ast.ClassDef):
            return _Class(node, self)
        if isinstance(node, ast.ImportFrom):
            original = next(a.name for a in node.names if name == (a.asname or a.name))
            return _open_module(self._resolve(node)).find(original)
        if isinstance(node, ast.expr):
            return self.find(node.id) if isinstance(node, ast.Name) else self.evaluate(node)
        raise _Unreadable

    def _resolve(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        inside = self.module.split(".")
        up = node.level - (self.file.name == "__init__.py")
        return ".".join([*inside[: len(inside) - up], *([node.module] if node.module else [])])


class _Class:
    """A class statement, with the module that it stands in."""

    def __init__(self, node: ast.ClassDef, source: _Source) -> None:
        self.node, self.source = node, source
        self.bound = _bind(node.body)

    @property
    def bases(self) -> list[_Class]:
        """The classes that it inherits from."""
        found = [self.source.find(base.id) for base in self.node.bases if isinstance(base, ast.Name)]
        return [base for base in found if isinstance(base, _Class)]

    def locate(self, name: str) -> tuple[Any, _Class]:
        """Return the statement that binds an attribute, and the class in which it stands."""
        if name in self.bound:
            return self.bound[name], self
        for base in self.bases:
            try:
                return base.locate(name)
            except _Unreadable:
                continue
        raise _Unreadable

    def evaluate(self, name: str) -> Any:
        """Return the value of an attribute."""
        node, owner = self.locate(name)
        return owner.source.evaluate(node)

    def is_method(self) -> bool:
        """Whether it inherits from ``methods.base.Method``."""
        return any((b.node.name, b.source.module) == ("Method", "methods.base") or b.is_method() for b in self.bases)


def _bind(body: list[ast.stmt]) -> dict[str, Any]:
    """Return by name what binds it: a class, an import, or the expression of an assignment; a field without a default binds nothing."""
    bound: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            bound[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign):
            bound |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            bound[node.target.id] = node.value
    return bound


@cache
def _open_module(name: str) -> _Source:
    """Find and read the source of a module, without importing it or the packages that it lies in."""
    places: Any = None
    spec = None
    parts = name.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), places)
        if spec is None:
            raise _Unreadable
        places = spec.submodule_search_locations or []
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise _Unreadable
    return _Source(Path(spec.origin), name)


def _find_method(source: _Source, class_name: str | None) -> _Class:
    """Return the one method of a file, or the one that INFO names."""
    classes = [_Class(node, source) for node in source.bound.values() if isinstance(node, ast.ClassDef)]
    found = [c for c in classes if (c.node.name == class_name if class_name else c.is_method())]
    if len(found) != 1:
        raise _Unreadable
    return found[0]


def _read_defaults(method: _Class) -> dict[str, Any]:
    node, owner = method.locate("Config")
    config = _Class(node, owner.source) if isinstance(node, ast.ClassDef) else owner.source.find(node.id)
    return _read_fields(config)


def _read_fields(config: _Class) -> dict[str, Any]:
    """Return the fields of a dataclass with their defaults, those that it inherits first."""
    fields: dict[str, Any] = {}
    for base in reversed(config.bases):
        fields |= _read_fields(base)
    for node in config.node.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if "ClassVar" in ast.unparse(node.annotation):
                continue
            if node.value is None:
                raise _Unreadable
            fields[node.target.id] = config.source.evaluate(node.value)
    return fields
