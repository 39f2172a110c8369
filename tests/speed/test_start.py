"""How long the command line takes to say what there is, beside an empty Python (`make bench`)."""

import subprocess
import sys
import time
from statistics import median

import pytest

from tests.speed.alternation import alternate, children_seconds
from tests.speed.peer import ROOT


def start(*arguments):
    """Wall-clock and CPU seconds of a Python with these arguments."""
    began, used = time.perf_counter(), children_seconds()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, children_seconds() - used


@pytest.mark.benchmark(group="start-up")
@pytest.mark.measures(table="start")
@pytest.mark.parametrize("command", ["--help", "list methods"])
def test_start(benchmark, command):
    wall = []
    alternate(
        benchmark,
        lambda: wall.append(start("-m", "benchmark", *command.split())[0]),
        lambda: start("-c", "pass")[1],
        rounds=15,
        timer=children_seconds,
    )
    if not benchmark.disabled:
        benchmark.extra_info["wall_seconds"] = median(wall)
