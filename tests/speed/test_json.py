"""What `make bench` writes, `report speed` reads: the row that was measured, and the one that was left out."""

import os
import subprocess
import sys

from results.speed import read_newest
from tests.speed.peer import ROOT


def test_what_is_measured_and_what_is_left_out_are_in_the_json(tmp_path):
    chosen = ["tests/speed/test_start.py", "-k", "help", "--benchmark-enable", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *chosen, f"--benchmark-json={tmp_path / 'made.json'}"]
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}  # else it measures nothing
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=alone)
    bench = read_newest(tmp_path)
    start = bench.frames["start"].set_index("command")
    assert dict(start["status"]) == {"--help": "done", "list methods": "missing"}
    measured = start.loc["--help"]
    assert measured["ratio"] == measured["seconds"] / measured["beside_seconds"]
    assert bench.provenance["hardware"]["cores"] >= 1
