"""Honest predictions of many kinds, and honest predictions made faulty, as the file that an audit reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from methods.common.rectifier import Rectifier, rectify_paper
from methods.common.rectifier.offsets import add_offsets, fit_pattern_offsets

PRINTED = ("full", "float32", "%.6f", "%.5f", "%.4f", "%.6g")
STEPS = ("rectifier", "oof", "shrunk", "paper", "platt", "isotonic", "none")
DECLARED = {
    "rectifier": ("offset",),
    "oof": ("offset",),
    "shrunk": ("logit_offset",),
    "paper": ("offset", "--halves"),
    "platt": ("monotone",),
    "isotonic": ("monotone",),
    "none": ("none",),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logit(p):
    return np.log(p) - np.log1p(-p)


def honest(seed, **fixed):
    """An honest case: (frame with probabilities in full, how they are printed, the step's name). ``fixed`` sets what is else drawn:
    ``n, tasks, patterns, folds, prevalence, step, printed, ties, quality, bias, unlabelled``."""
    rng = np.random.default_rng(seed)
    draw = {
        "n": int(rng.integers(60, 1500)),
        "tasks": int(rng.integers(1, 4)),
        "patterns": int(rng.integers(1, 9)),
        "folds": int(rng.integers(1, 6)),
        "prevalence": rng.uniform(0.03, 0.5),
        "step": STEPS[seed % len(STEPS)],
        "printed": PRINTED[int(rng.integers(len(PRINTED)))],
        "ties": rng.choice(["no", "rounded", "few"], p=[0.6, 0.2, 0.2]),
        "quality": rng.uniform(0, 2),
        "bias": rng.choice([0.0, 0.5, 2.0]),
        "unlabelled": rng.choice([0.0, 0.3]),
    } | fixed
    n, patterns = draw["n"], draw["patterns"]
    weight = rng.dirichlet(np.ones(patterns)) * 0.9 + 0.1 / patterns
    code = rng.choice(patterns, size=n, p=weight / weight.sum())
    rare = rng.choice(n, size=min(n // 4, int(rng.integers(1, 60))), replace=False)
    code[rare] = patterns + np.arange(len(rare)) // int(rng.integers(1, 21))
    pattern = np.array([f"p{c}" for c in code])
    fold = rng.permutation(n) % draw["folds"]
    bias = rng.normal(0, draw["bias"], size=code.max() + 1)[code]
    parts = []
    for task in range(draw["tasks"]):
        signal = rng.normal(size=n)
        truth = sigmoid(logit(draw["prevalence"]) + draw["quality"] * signal + rng.normal(0, 0.3, code.max() + 1)[code])
        label = (rng.random(n) < truth).astype(float)
        label[rng.random(n) < draw["unlabelled"]] = np.nan
        base = sigmoid(
            logit(draw["prevalence"])
            + rng.uniform(0.5, 3) * signal * (draw["quality"] > 0.2)
            + bias
            + rng.normal(0, 0.2, n)
        )
        if draw["ties"] == "rounded":
            base = np.round(base, 2)
        elif draw["ties"] == "few":
            levels = np.quantile(base, np.linspace(0, 1, 8))
            base = levels[np.abs(np.subtract.outer(base, levels)).argmin(axis=1)]
        if draw["printed"] == "float32":
            base = base.astype(np.float32).astype(float)
        after = np.empty(n)
        for f in range(draw["folds"]):
            test = fold == f
            after[test] = _step(draw["step"], base, label, pattern, test, int(rng.integers(1 << 30)), rng)
        parts.append(
            pd.DataFrame(
                {
                    "patient": np.arange(n) + 1000,
                    "task": f"task{task}",
                    "label": label,
                    "probability_base": base,
                    "probability": after,
                    "pattern": pattern,
                    "fold": fold,
                }
            )
        )
    return pd.concat(parts, ignore_index=True), draw["printed"], draw["step"]


def written(path, frame, printed="full"):
    """``frame`` as a CSV, its probabilities printed as ``printed`` says."""
    out = frame.copy()
    for name in ("probability_base", "probability"):
        if printed == "float32":
            out[name] = out[name].astype(np.float32)
        elif printed != "full":
            out[name] = [printed % value for value in out[name]]
    out.to_csv(path, index=False)
    return path


def _step(step, base, label, pattern, test, seed, rng):
    """The results of the test rows; every step is fitted on other rows, the paper's on the other half."""
    known = ~np.isnan(label)
    if step == "paper":
        return rectify_paper(base[test, None], label[test, None], pattern[test], seed)[0][:, 0]
    other = ~test & (rng.random(len(test)) < 0.4) if not test.all() else np.zeros(len(test), bool)
    if not (other & known).any() or len(np.unique(label[other & known])) < 2:
        moved = {p: rng.normal(0, 0.05) for p in np.unique(pattern)}
        shift = np.array([moved[p] for p in pattern[test]])
        p = np.clip(base[test], 1e-7, 1 - 1e-7)
        return {
            "none": base[test],
            "platt": sigmoid(0.3 + 0.8 * logit(p)),
            "isotonic": np.floor(base[test] * 7) / 7,
            "shrunk": sigmoid(logit(p) + shift),
        }.get(step, np.clip(base[test] + shift, 0, 1))
    if step in ("rectifier", "shrunk"):
        kind = "shrunk" if step == "shrunk" else "offset"
        fitted = Rectifier(kind, seed=seed).fit(base[other, None], label[other, None], pattern[other])
        return fitted.apply(base[test, None], pattern[test])[:, 0]
    if step == "oof":
        names, code = np.unique(pattern, return_inverse=True)
        offsets = fit_pattern_offsets(base[~test, None], label[~test, None], code[~test], len(names), 5)
        return add_offsets(base[test, None], offsets, code[test], 0.0)[:, 0]
    x = logit(np.clip(base, 1e-7, 1 - 1e-7))
    if step == "platt":
        line = LogisticRegression().fit(x[other & known, None], label[other & known])
        slope, intercept = abs(line.coef_[0, 0]) + 1e-3, line.intercept_[0]
        return sigmoid(slope * x[test] + intercept)
    if step == "isotonic":
        fit = IsotonicRegression(out_of_bounds="clip").fit(base[other & known], label[other & known])
        return fit.predict(base[test])
    return base[test]


def own_label_edits(after, label, task, iterations=5):
    """The moves of the released rectifier toward the own label (its readmission and ICU steps), nothing else."""
    after = after.copy()
    high, low, move, rate = {"readmission": (0.7, 0.3, 0.1, 0.3), "icu": (0.8, 0.2, 0.15, 1.0)}[task]
    for _ in range(iterations if task == "readmission" else 1):
        down, up = (after > high) & (label == 0), (after < low) & (label == 1)
        after = np.clip(after - move * rate * down + move * rate * up, 0, 1)
    return after
