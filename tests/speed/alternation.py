"""Two things timed in turn, so that what disturbs the machine disturbs both, and their ratio holds."""

import resource
import time
from statistics import median


def cpu_seconds(work):
    """CPU seconds of this process in ``work()``."""
    started = time.process_time()
    work()
    return time.process_time() - started


def children_seconds():
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def alternate(benchmark, ours, beside, rounds, timer=time.process_time):
    """Rounds of ``ours``, each after one of ``beside``, which gives its own seconds. ``seconds`` and ``beside_seconds`` (medians) and
    their ``ratio`` are kept with the benchmark; where benchmarks are disabled everything runs once, untimed."""
    seconds = []
    benchmark._timer = timer
    benchmark.pedantic(ours, setup=lambda: seconds.append(beside()), rounds=rounds)
    assert min(seconds) > 0
    if not benchmark.disabled:
        assert len(seconds) == rounds
        found = {"seconds": benchmark.stats.stats.median, "beside_seconds": median(seconds)}
        benchmark.extra_info |= found | {"ratio": found["seconds"] / found["beside_seconds"]}
