"""Gains in rank that the declared step cannot give, or gives too regularly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from results.audit.bounds import FoldScores, bound_auc, bound_precision
from results.audit.finding import DeclaredStep, Finding, Place, make_finding, select_at_places
from results.audit.offsets import convert_scale
from results.audit.ranks import compute_rank_metrics

PAIRS = 4_000_000
"""Pairs of a positive and a negative row compared in a fold; of more, the rows are a draw, for which the bound holds as well."""
ALPHA = 0.001
ENOUGH = 0.95
"""Share of groups with a gain from which on the groups' regularity is asked about."""


def find_above_bound(rows: pd.DataFrame, task: str, declared: DeclaredStep) -> list[Finding]:
    """Find ``auc_bound`` and ``auprc_bound``: folds whose results rank better than any offsets could make the base rank."""
    found = []
    for kind, name, metric, bound in (
        ("auc_bound", "AUC", "auc", bound_auc),
        ("auprc_bound", "average precision", "auprc", bound_precision),
    ):
        places = []
        for fold, part, s in _prepare_folds(rows, declared):
            after, most = compute_rank_metrics(s.label, s.after)[metric], bound(s)
            if after > most + 1e-9:
                before = compute_rank_metrics(s.label, s.base)[metric]
                numbers = {"before": before, "after": after, "bound": most, "n": len(part)}
                places.append(Place(None, fold, numbers, (int(part["line"].iloc[0]),)))
        if places:
            places.sort(key=lambda place: place.numbers["bound"] - place.numbers["after"])
            first = {key: places[0].numbers[key] for key in ("before", "after", "bound")}
            what = (
                f"{name} {first['after']:.4f} after ({first['before']:.4f} before), above {first['bound']:.4f}, "
                f"the most that {declared} could give"
            )
            found.append(make_finding(kind, task, select_at_places(rows, places), what, places=places, numbers=first))
    return found


def find_accepted_by_gain(frame: pd.DataFrame, declared: DeclaredStep) -> list[Finding]:
    """Find ``accepted`` and the query ``all_gains``: what accepting a correction only where the test AUC rises leaves behind.

    ``accepted``: the AUC within groups, whose order the step should keep, changed and rose; ``all_gains``: (nearly) every group's offset
    raised its fold's AUC. A sign test over the groups of a task, Holm over tasks.
    """
    found = []
    for kind, gains_of, query in (
        ("accepted", _measure_gains_within, False),
        ("all_gains", _measure_gains_of_offsets, True),
    ):
        if query and not declared.by_pattern:
            continue
        tested = {}
        for task, rows in frame.groupby("task", observed=True):
            gains = gains_of(rows, declared)
            if gains:
                rises = sum(place.numbers["gain"] > 0 for place in gains)
                tested[str(task)] = (gains, rises, binomtest(rises, len(gains), alternative="greater").pvalue)
        if min((p for _, _, p in tested.values()), default=1.0) > ALPHA:
            continue
        holm = multipletests([p for _, _, p in tested.values()], ALPHA, method="holm")[1]
        for (task, (gains, rises, p)), adjusted in zip(tested.items(), holm, strict=True):
            if adjusted > ALPHA or (query and rises < ENOUGH * len(gains)):
                continue
            gains.sort(key=lambda place: -place.numbers["gain"])
            said = (
                f"the AUC within the pattern rose in {rises} of {len(gains)} groups in which the order changed"
                if kind == "accepted"
                else f"{rises} of {len(gains)} offsets raised the AUC of their fold"
            )
            what = f"{said} (sign test, Holm {adjusted:.1g}): as accepting corrections by test AUC leaves it"
            rows = select_at_places(frame[frame["task"].astype(str) == task], gains)
            numbers = {"rises": rises, "groups_tested": len(gains), "p": float(p), "p_holm": float(adjusted)}
            found.append(make_finding(kind, task, rows, what, places=gains, query=query, numbers=numbers))
    return found


def _prepare_folds(rows: pd.DataFrame, declared: DeclaredStep) -> Iterator[tuple[str, pd.DataFrame, FoldScores]]:
    """Yield the folds with both labels: name, labelled rows, and what the bounds need."""
    for fold, part in rows[rows["label"].notna()].groupby("fold", observed=True):
        part = _limit_pairs(part)
        if part["label"].nunique() < 2:
            continue
        base, half = part["base"].to_numpy(), part["base_half"].to_numpy()
        low, high = convert_scale(base - half, base + half, declared)
        group = np.where(part["half"] < 0, -1, part["group"] * declared.offsets + part["half"])
        if not declared.halves:
            group = part["group"].to_numpy()
        # the bounds take groups as 0, 1, ... and -1 for unknown: -1 is added, so that it is number 0 whether or not a row has it
        _, group = np.unique(np.r_[-1, group], return_inverse=True)
        room = 2 * (part["after_half"] + part["base_half"] * _bound_slope(part, declared)).to_numpy()
        label, after = part["label"].to_numpy(), part["after"].to_numpy()
        yield str(fold), part, FoldScores(label, _coarsen(base), low, high, after, room, group[1:] - 1)


def _coarsen(values: np.ndarray) -> np.ndarray:
    """Round values [N] to 20 binary digits: a sigmoid computed with 32 bits may turn the order of closer ones."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**20), exponent - 20)


def _bound_slope(part: pd.DataFrame, declared: DeclaredStep) -> pd.Series | float:
    """Return how much steeper than the base the results may be."""
    if declared.name == "monotone":
        return np.inf
    if declared.name != "logit_offset":
        return 1.0
    p, q = part["base"].clip(1e-6, 1 - 1e-6), part["after"]
    return 2 * (q * (1 - q) / (p * (1 - p))).clip(lower=1.0)


def _limit_pairs(part: pd.DataFrame) -> pd.DataFrame:
    positives = part["label"].sum()
    pairs = positives * (len(part) - positives)
    return part if pairs <= PAIRS else part.sample(frac=float(np.sqrt(PAIRS / pairs)), random_state=0).sort_index()


def _measure_gains_within(rows: pd.DataFrame, declared: DeclaredStep) -> list[Place]:
    """Return the groups (pattern, fold) in which pairs of rows changed sides, with the AUC gained by these pairs alone."""
    found = []
    for (pattern, fold), group in rows[rows["label"].notna()].groupby(["pattern", "fold"], observed=True):
        one, zero = (_limit_pairs(group)[group["label"] == y] for y in (1, 0))
        if one.empty or zero.empty:
            continue
        room = (one["after_half"].max() + zero["after_half"].max()) * 2
        before = np.sign(np.subtract.outer(one["base"].to_numpy(), zero["base"].to_numpy()))
        after = np.subtract.outer(one["after"].to_numpy(), zero["after"].to_numpy())
        after = np.where(np.abs(after) > room, np.sign(after), 0)
        # only pairs whose order was reversed count: +1 if the positive is now above, -1 if it is now below
        gain = float((after * (before * after < 0)).sum()) / before.size
        if gain:
            lines = tuple(int(line) for line in group["line"].head(2))
            found.append(Place(str(pattern), str(fold), {"gain": gain, "n": len(group)}, lines))
    return found


def _measure_gains_of_offsets(rows: pd.DataFrame, declared: DeclaredStep) -> list[Place]:
    """Return the groups whose offset is not 0, with the fold's AUC with it less the AUC without it."""
    found = []
    for fold, part in rows[rows["label"].notna()].groupby("fold", observed=True):
        if part["label"].nunique() < 2:
            continue
        label, base, after = (part[c].to_numpy() for c in ("label", "base", "after"))
        whole = compute_rank_metrics(label, after)["auc"]
        astray = ((part["lower"] > 0) | (part["upper"] < 0)).to_numpy()
        for pattern, at in part.groupby("pattern", observed=True).indices.items():
            if astray[at].any():
                without = after.copy()
                without[at] = base[at]
                gain = whole - compute_rank_metrics(label, without)["auc"]
                if gain:
                    lines = tuple(int(line) for line in part["line"].iloc[at[:2]])
                    found.append(Place(str(pattern), str(fold), {"gain": gain, "n": len(at)}, lines))
    return found
