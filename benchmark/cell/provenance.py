"""Where a number comes from: commit, versions, hardware, times."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "duckdb", "POT")


@cache
def read_commit() -> tuple[str | None, bool | None]:
    """Return the commit of the working tree and whether the tree is clean; (None, None) outside a git checkout."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return head, not changes.strip()


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
