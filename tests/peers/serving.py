"""What the scripts of this folder share: they run in `.venv-peers`, and do one step of a public implementation for each line they read.

The caller (``tests/speed/peer.py``) alternates these steps with ours; the seconds are measured here, so that no pipe is in them, and come
with the loss, where a step has one, so that the caller sees it learn.
"""

import sys
import time
from collections.abc import Callable

import torch


def serve(**steps: Callable[[], torch.Tensor | None]) -> None:
    """Each step twice, to warm up; then the one that each line of standard input names, answered by its seconds of CPU time and its loss
    (NaN without one)."""
    torch.set_num_threads(1)
    for step in steps.values():
        step()
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.process_time()
        loss = steps[line.strip()]()
        print(time.process_time() - started, "nan" if loss is None else loss.item(), flush=True)
