"""The guides as a reader follows them: their fenced code, their command lines, and a copy of the repository to try both in."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (".*", "__pycache__", "built", "cells", "build", "data", "shared", "late_fusion.py", "test_late_fusion.py")
PYTHON = "python -m benchmark "


def blocks(text):
    """Return the fenced blocks of a page as (language, text), in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    """Return every command line ``python -m benchmark ...`` of a page, fenced or inline, without its comment."""
    fenced = [line for _, block in blocks(text) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [shlex.split(line, comments=True)[3:] for line in fenced + inline if line.startswith(PYTHON)]


def fenced_files(text):
    """Return the files that a page fences, path -> content: those whose path ends the paragraph before the block."""
    return dict(re.findall(r"`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


class Shell:
    """Run blocks of shell commands at the root of a copy of the repository (``clone``); pip installs offline, into a folder of its own."""

    def __init__(self, folder):
        self.clone = shutil.copytree(ROOT, folder / "clone", ignore=shutil.ignore_patterns(*LEFT_OUT))
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "environment"),
            "OMP_NUM_THREADS": "1",
            "PIP_TARGET": str(folder / "environment"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the value as that of build isolation
        }

    def __call__(self, block):
        """Return what a block prints; it has to end well."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.clone,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout
