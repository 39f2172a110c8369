"""The permutation test: its p-values where nothing depends on the label, and where everything does."""

import numpy as np
import pandas as pd
import pytest

from results.audit.finding import DeclaredStep
from results.audit.movement import add_movement
from results.audit.own_label import find_label_edits


def moves(seed, n=200, toward=0.0, share=1.0):
    """Random moves of rows of probability p, and ``toward`` their own label for a ``share`` of them."""
    rng = np.random.default_rng(seed)
    base = rng.beta(1, 4, n)
    label = (rng.random(n) < base).astype(float)
    edited = rng.random(n) < share
    moved = rng.normal(0, 0.05, n) + 0.3 * base**2 + toward * edited * (2 * label - 1)
    return pd.DataFrame(
        {"line": np.arange(n), "patient": np.arange(n), "task": "t", "label": label, "base": base, "moved": moved,
         "pattern": rng.choice(["a", "b"], n), "fold": "0"}
    )  # fmt: skip


def test_moves_that_do_not_know_the_label_are_not_raised(monkeypatch):
    monkeypatch.setattr("results.audit.own_label.ALPHA", 0.05)
    raised = sum(bool(find_label_edits(moves(seed), seed)) for seed in range(40))
    assert raised <= 6  # binomial, 40 of 0.05: more than 6 in 3 of 1,000


def test_moves_toward_the_label_are_raised_and_moves_away_are_not():
    found = find_label_edits(moves(0, toward=0.05, share=0.5))
    assert [f.kind for f in found] == ["own_label"]
    assert 0.02 < found[0].numbers["difference"] < 0.09
    assert found[0].numbers["p_holm"] <= 0.001
    assert not find_label_edits(moves(0, toward=-0.05, share=0.5))


def test_holm_runs_over_tasks():
    frame = pd.concat([moves(s, toward=0.05 * (s == 1)).assign(task=f"t{s}") for s in range(4)])
    found = find_label_edits(frame)
    assert [f.task for f in found] == ["t1"]
    assert found[0].numbers["p_holm"] >= 3.9 * found[0].numbers["p"]


def test_a_step_that_moves_high_probabilities_more_is_not_taken_for_the_label():
    frame = moves(0, n=600)
    moved = 0.5 * frame["base"] + np.random.default_rng(1).normal(0, 0.01, 600)
    pattern = (np.arange(600) // 12).astype(str)
    assert not find_label_edits(frame.assign(moved=moved, pattern=pattern))


def test_rows_at_a_clip_are_left_out():
    frame = moves(0, n=40).drop(columns="moved")
    after = np.clip(frame["base"] - 0.1, 0, 1)
    found = add_movement(frame.assign(after=after, base_half=1e-7, after_half=1e-7), DeclaredStep("offset"))
    assert (found["moved"].isna() == (after == 0)).all()
    assert found["moved"].dropna().to_numpy() == pytest.approx(-0.1, abs=1e-6)
