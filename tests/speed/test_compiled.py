"""Whether ``torch.compile`` pays within a run: ``python -m pytest -m slow -s tests/speed/test_compiled.py`` prints it for each method.

Full batches of 32 alone, so that one graph serves; the module is compiled again each time, as in a run on a machine that never did it.
"""

import dataclasses
import time
from statistics import median

import numpy as np
import pytest

from benchmark.executors.attempt import limit_to_one_thread
from methods import registry
from tests.speed.cohorts import random_cohort
from tests.speed.test_growth import TORCH

EPOCHS = 5


def epochs(cls, train, valid):
    """The CPU seconds of each epoch of a fit, the wall-clock seconds of the first, and what was fitted."""
    method = cls(dataclasses.replace(cls.Config(), batch_size=32, max_epochs=EPOCHS, patience=EPOCHS))
    ends = []
    method.on_epoch = lambda _: ends.append((time.process_time(), time.perf_counter()))
    started = time.process_time(), time.perf_counter()
    with limit_to_one_thread():
        method.fit(train, valid)
    seconds = np.diff([started, *ends], axis=0)
    return seconds[:, 0], seconds[0, 1], method


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH)
def test_a_compiled_module(name, tmp_path, monkeypatch, capsys):
    import torch

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    cls, cohort = registry.load(name), random_cohort("MIMIC-like", 704, 4)
    if not cls.stackable(cls.Config()) or cls.stages is not registry.load("zero_fill").stages:
        pytest.skip("not one stage of steps of one shape")
    train, valid = cohort.take(np.arange(640)), cohort.take(np.arange(640, 704))

    class Compiled(cls):
        def build(self, widths, tasks):
            module = super().build(widths, tasks)
            module.compile(dynamic=False)
            return module

    as_it_is, _, _ = epochs(cls, train, valid)
    compiled, first, method = epochs(Compiled, train, valid)
    same = cls(method.config).load_state(method.state()).predict_proba(valid)
    np.testing.assert_allclose(method.predict_proba(valid), same, atol=1e-4)
    one, other = median(as_it_is[1:]), median(compiled[2:])
    with capsys.disabled():
        print(f"\n{name}: epoch {one:.3f} s, compiled {other:.3f} s ({other / one:.2f}), first epoch {first:.0f} s")
