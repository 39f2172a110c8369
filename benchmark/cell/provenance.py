"""Where a number comes from: commit, versions, hardware, times."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from methods import registry

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ("datasets", "results", "methods", "benchmark", "reports")
"""The folders of this project whose files numbers depend on."""
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "duckdb", "POT")


def read_commit(files: Iterable[Path] = ()) -> tuple[str | None, bool | None]:
    """Return the commit of the working tree, and whether what was run is as in it; (None, None) outside a checkout of this project.

    Only what a number may depend on counts: a change of the commit's own Python files and configuration in SOURCE, and a file of
    this project among ``files`` that the commit lacks, ignored or not. Inside another repository the commit is not known.

    Args:
        files: the source that was read (``benchmark.cell.keys.find_import_closure``).
    """
    tree = _read_tree(ROOT)
    if tree is None:
        return None, None
    commit, tracked, changed = tree
    own = (path.relative_to(ROOT).as_posix() for path in files if path.is_relative_to(ROOT))
    return commit, not changed and all(
        name in tracked for name in own if name.startswith(tuple(f"{room}/" for room in SOURCE))
    )


@cache
def _read_tree(root: Path) -> tuple[str, frozenset[str], frozenset[str]] | None:
    """Return the commit of the checkout at ``root``, the names of its files in SOURCE, and of those that were changed since; or None."""

    def ask(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=root, env=clean, capture_output=True, text=True, check=True).stdout

    # a hook sets GIT_DIR and others to the repository that it runs in
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k.startswith("GIT_CONFIG")}
    try:
        if Path(ask("rev-parse", "--show-toplevel").removesuffix("\n")).resolve() != root.resolve():
            return None
        commit = ask("rev-parse", "HEAD").strip()
        tracked = frozenset(ask("ls-files", "-z", "--", *SOURCE).split("\0")) - {""}
        changed = frozenset(ask("diff", "HEAD", "--name-only", "-z", "--", *SOURCE).split("\0")) - {""}
    except (OSError, subprocess.CalledProcessError):
        return None
    return (commit, tracked, frozenset(n for n in changed if n.endswith((".py", ".yaml")))) if tracked else None


@cache
def find_plug_in(method: str) -> dict[str, str] | None:
    """Return ``distribution`` and ``version`` of the plug-in that registers a method; None for a method of this repository."""
    if not registry.info(method).is_plug_in:
        return None
    points = (point for point in entry_points(group=registry.GROUP) if point.name == method and point.dist)
    return next(({"distribution": p.dist.name, "version": p.dist.version} for p in points if p.dist), None)


@cache
def collect_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    by_name = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_name[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_name


@cache
def describe_hardware(device: str = "cpu") -> dict[str, Any]:
    """Return the processor, its number of cores, and the GPU where ``device`` is one."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    facts = {"cpu": model, "cores": os.cpu_count(), "system": platform.system()}
    if device.startswith("cuda"):
        import torch

        facts["gpu"] = torch.cuda.get_device_name(device) if torch.cuda.is_available() else None
    return facts


def count_threads() -> int | None:
    """Return the threads that numerical work uses in this process; None where nothing numerical was loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def reset_peak_memory() -> None:
    """Reset the counts of peak memory: of the process, where the system lets it do so, and of its GPUs."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def read_peak_memory_mib() -> float | None:
    """Return the peak resident memory of this process since the last reset, in MiB; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM:")), None)
