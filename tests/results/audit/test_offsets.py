"""What rounding, clipping and binary places leave open, and how few offsets are needed."""

import itertools

import numpy as np
import pytest

from results.audit.finding import DeclaredStep
from results.audit.offsets import bound_offsets, min_stabbing_points
from results.audit.rounding import compute_half_widths


@pytest.mark.parametrize(
    ("text", "half"),
    [
        (["0.1234", "0.5", "0.0001"], [5e-5] * 3),
        (["0.12", "1", "0"], [5e-3, 5e-2, 5e-3]),
        (["0.123456", "0.00123456", "1.23456e-05"], [5e-7, 5e-9, 5e-11]),
        (["0.123456789012345", "0.2", "0.3"], [2.0**-27, 2.0**-26, 2.0**-25]),
    ],
)
def test_half_widths(text, half):
    values = np.array([float(t) for t in text])
    assert compute_half_widths(values, text) == pytest.approx(half, rel=0.2)


def test_a_few_long_values_do_not_make_the_others_exact():
    text = ["0.1234"] * 299 + ["0.12345678901"]
    assert compute_half_widths(np.array([float(t) for t in text]), text)[0] == pytest.approx(5e-5, rel=1e-6)


def test_half_precision_is_seen():
    values = np.random.default_rng(0).random(200).astype(np.float16).astype(float)
    assert compute_half_widths(values, [str(float(v)) for v in values])[0] == pytest.approx(
        np.ldexp(1.0, np.frexp(values[0])[1] - 11), rel=1e-6
    )


def fewest(lower, upper):
    ends = np.unique(upper)
    for k in range(1, len(lower) + 1):
        for points in itertools.combinations(ends, k):
            if all(any(a <= p <= b for p in points) for a, b in zip(lower, upper, strict=True)):
                return k
    return 0


def test_pierce_is_the_fewest():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        lower = rng.uniform(0, 1, 7)
        upper = lower + rng.uniform(0, 0.5, 7)
        assert len(min_stabbing_points(lower, upper)) == fewest(lower, upper)


def test_clipped_rows_agree_with_a_range_of_offsets():
    base, after, half = np.array([0.05, 0.2, 0.4, 0.98]), np.array([0.0, 0.1, 0.3, 0.88]), np.full(4, 5e-5)
    lower, upper = bound_offsets(base, after, half, half, DeclaredStep("offset"))
    assert lower[0] == -np.inf
    assert len(min_stabbing_points(lower, upper)) == 1
    lower, upper = bound_offsets(base, np.array([0.01, 0.1, 0.3, 0.88]), half, half, DeclaredStep("offset"))
    assert len(min_stabbing_points(lower, upper)) == 2
    lower, upper = bound_offsets(
        base, np.array([0.01, 0.1, 0.3, 0.88]), half, half, DeclaredStep("offset", clip=(0.01, 0.99))
    )
    assert len(min_stabbing_points(lower, upper)) == 1


def test_a_clip_that_the_offset_does_not_reach_is_not_excused():
    lower, upper = bound_offsets(
        np.array([0.3, 0.5]), np.array([0.0, 0.4]), np.full(2, 1e-7), np.full(2, 1e-7), DeclaredStep("offset")
    )
    assert len(min_stabbing_points(lower, upper)) == 2
