"""A public implementation in an environment of its own, doing steps on request (``tests/peers``)."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("CRL_MMNAR_PEERS", ROOT / ".venv-peers")) / "bin" / "python"
PRINTED = {"pypots": "PyPOTS", "imml": "iMML", "torch": "torch beside them"}
needs_peers = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-peers; `make peers` builds it")


def script(name: str) -> list[Path]:
    """The command of ``tests/peers/NAME.py``."""
    return [PYTHON, ROOT / "tests" / "peers" / f"{name}.py"]


def exchange(name: str, source: Path, target: Path) -> None:
    """``tests/peers/NAME.py`` reads ``source`` and writes ``target``, both npz."""
    subprocess.run([*script(name), source, target], check=True, capture_output=True)


def versions() -> dict[str, str]:
    """Of the public implementations that are installed and of their torch, by name."""
    if not PYTHON.exists():
        return {}
    code = "from importlib.metadata import distributions as all; print(*(f'{d.name}={d.version}' for d in all()))"
    said = subprocess.run([PYTHON, "-c", code], check=False, capture_output=True, text=True).stdout.split()
    found = {name.lower(): version for name, _, version in (text.partition("=") for text in said)}
    return {title: found[name] for name, title in PRINTED.items() if name in found}


class Peer:
    """The script ``tests/peers/NAME.py`` running, which does a step whenever it is asked for one."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.losses: list[float] = []
        command = [*script(name), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        while (line := self.process.stdout.readline().strip()) != "ready":
            if not line and self.process.poll() is not None:
                raise RuntimeError(f"tests/peers/{name}.py ended with {self.process.returncode} before it was ready")

    def step(self, name: str = "step") -> float:
        """CPU seconds of one step of that name; its loss joins ``losses``."""
        print(name, file=self.process.stdin, flush=True)
        seconds, loss = map(float, self.process.stdout.readline().split())
        self.losses.append(loss)
        return seconds

    def close(self) -> None:
        """End the script."""
        self.process.stdin.close()
        self.process.wait(timeout=30)
