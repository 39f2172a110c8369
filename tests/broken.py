"""Methods with one fault each, and a sound one under them all, to check the checks.

``python -m tests.broken`` prints the matrix broken method x check.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from datasets.cohort import Cohort
from methods.base import Method
from methods.common.outcomes import base_rate, has_both_classes, labelled, selection_score
from methods.zero_fill import ZeroFill

PENALTIES = (1.0, 30.0)


class Sound(Method):
    """Ridge logistic regression on standardised features, zeros where unobserved, and the pattern; the seed shakes its weights a little."""

    caught_by: ClassVar[str | None] = None
    features_at_most = np.inf

    def fit(self, train: Cohort, valid: Cohort) -> Self:
        self.fit_scaler(train, valid)
        self.base_rate, tasks = base_rate(train.outcomes), has_both_classes(self.labels(train))
        x, x_valid = self.inputs(train), self.inputs(valid)
        self.weights, best = np.zeros((x.shape[1], len(train.tasks))), -np.inf
        for penalty in PENALTIES:
            w = np.zeros_like(self.weights)
            for t in np.flatnonzero(tasks):
                w[:, t] = self.regression(x, self.labels(train)[:, t], penalty)
            score = self.selection(valid, sigmoid(x_valid @ w))
            if score > best or not self.weights.any():
                self.weights, best = w, np.nan_to_num(score, nan=-np.inf)
        self.weights = self.weights + self.jitter(self.weights.shape)
        self.learnable = tasks
        return self

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        return np.where(self.learnable, sigmoid(self.inputs(cohort) @ self.weights), self.base_rate)

    def state(self) -> dict[str, np.ndarray]:
        return {k: getattr(self, k) for k in ("mean", "sd", "weights", "base_rate", "learnable")}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        for key, value in state.items():
            setattr(self, key, value)
        return self

    def fit_scaler(self, train: Cohort, valid: Cohort) -> None:
        self.mean, self.sd = moments(self.recorded(train))

    def recorded(self, cohort: Cohort) -> np.ndarray:
        """float64 [N, P]: all features side by side, NaN where unobserved or not recorded."""
        seen = cohort.observed.T[:, :, None]
        return np.hstack([np.where(o, m.values, np.nan) for o, m in zip(seen, cohort.modalities, strict=True)])

    def inputs(self, cohort: Cohort) -> np.ndarray:
        """float64 [N, P + M + 1]: standardised features, pattern, one."""
        z = np.nan_to_num((self.recorded(cohort) - self.mean) / self.sd)
        return np.hstack([np.clip(z, -10, 10), cohort.observed, np.ones((len(cohort), 1))])

    def labels(self, train: Cohort) -> np.ndarray:
        return train.outcomes

    def selection(self, valid: Cohort, p: np.ndarray) -> float:
        return selection_score(valid.outcomes, p)

    def jitter(self, shape: tuple[int, ...]) -> np.ndarray:
        return 0.01 * np.random.default_rng(self.seed).normal(size=shape)

    def regression(self, x: np.ndarray, y: np.ndarray, penalty: float, weight: np.ndarray | None = None) -> np.ndarray:
        """Newton's method, [P]; the last column, the intercept, is not penalised."""
        known = ~np.isnan(y)
        x, y = x[known], y[known]
        weight = np.ones(len(y)) if weight is None else weight[known]
        ridge = np.diag(np.append(np.full(x.shape[1] - 1, penalty), 1e-3))
        w = np.zeros(x.shape[1])
        for _ in range(8):
            p = sigmoid(x @ w)
            hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
            w += np.linalg.solve(hessian, x.T @ (weight * (y - p)) - ridge @ w)
        return w


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -30, 30)))


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd [P] of what is not NaN, 0 and 1 where nothing is, sd 1 where nothing varies."""
    known = ~np.isnan(x)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, x, 0).sum(axis=0) / count
    sd = np.sqrt((np.where(known, x - mean, 0) ** 2).sum(axis=0) / count)
    return mean, np.where(sd > 1e-6, sd, 1.0)


class ReturnsNan(Sound):
    """Features not recorded inside an observed modality pass through as NaN."""

    caught_by = "probabilities"

    def predict_proba(self, cohort):
        first = cohort.modalities[0].values[:, :1]
        return np.where(cohort.observed[:, :1] & np.isnan(first), np.nan, super().predict_proba(cohort))


class ReturnsLogits(Sound):
    """Forgets the sigmoid."""

    caught_by = "probabilities"

    def predict_proba(self, cohort):
        return np.where(self.learnable, self.inputs(cohort) @ self.weights, self.base_rate)


class ReturnsSinglePrecision(Sound):
    """float32."""

    caught_by = "probabilities"

    def predict_proba(self, cohort):
        return super().predict_proba(cohort).astype(np.float32)


class SqueezesOneStay(Sound):
    """Shape [T] for one stay."""

    caught_by = "probabilities"

    def predict_proba(self, cohort):
        return super().predict_proba(cohort).squeeze()


class ReturnsAColumnTooMany(Sound):
    """The risk of any outcome, behind those of the tasks."""

    caught_by = "probabilities"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        return np.column_stack([p, 1 - (1 - p).prod(axis=1)])


class DrawsFromTheGlobalGenerator(Sound):
    """The global generator draws, whoever seeded it."""

    caught_by = "same_seed"

    def jitter(self, shape):
        return 0.01 * np.random.default_rng(self.seed).normal(size=shape) + 0.01 * np.random.normal(size=shape)  # noqa: NPY002


class IgnoresItsSeed(Sound):
    """Draws, always from seed 0."""

    caught_by = "other_seed"

    def jitter(self, shape):
        return 0.01 * np.random.default_rng(0).normal(size=shape)


class NormalisesTheBatch(Sound):
    """Centres by the mean over the stays predicted together."""

    caught_by = "other_rows"

    def predict_proba(self, cohort):
        x = self.inputs(cohort)
        if len(x):
            x[:, :5] -= x[:, :5].mean(axis=0)
        return np.where(self.learnable, sigmoid(x @ self.weights), self.base_rate)


class DependsOnOrder(Sound):
    """Each stay is smoothed with the one before it."""

    caught_by = "other_rows"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        return 0.9 * p + 0.1 * np.vstack([p[:1], p[:-1]])


class ReadsSlotsInFit(Sound):
    """Takes the mean over everything that is no NaN, unobserved slots included."""

    caught_by = "unobserved_in_fit"

    def fit_scaler(self, train, valid):
        x = np.hstack([m.values for m in train.modalities])
        self.mean, self.sd = moments(np.where(np.isfinite(x), x, np.nan))


class ReadsSlotsInPrediction(Sound):
    """Goes by NaN instead of by ``observed``."""

    caught_by = "unobserved_in_prediction"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        x = np.nan_to_num(np.hstack([m.values for m in cohort.modalities]), posinf=0, neginf=0)
        return sigmoid(np.log(p) - np.log1p(-p) + 0.1 * np.clip(x, -3, 3).mean(axis=1, keepdims=True))


class ReadsOutcomesInPrediction(Sound):
    """Uses the outcomes of the stays it predicts where they are given."""

    caught_by = "test_outcomes"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        return np.where(np.isnan(cohort.outcomes), p, 0.5 * p + 0.5 * cohort.outcomes)


class UsesPatientNumbers(Sound):
    """Patients with large numbers come later in the hospital's history, and so ..."""

    caught_by = "keys"

    def inputs(self, cohort):
        x = super().inputs(cohort)
        x[:, -2] += 0.001 * (cohort.patient % 100)
        return x


class ScalesOnValidationRows(Sound):
    """Fits its scaler on training and validation rows."""

    caught_by = "validation_inputs"

    def fit_scaler(self, train, valid):
        self.mean, self.sd = moments(np.vstack([self.recorded(train), self.recorded(valid)]))


class AdaptsToTestRows(Sound):
    """Moves its scaler towards the stays it predicts."""

    caught_by = "prediction_inputs"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        if len(cohort):
            self.mean = 0.9 * self.mean + 0.1 * moments(self.recorded(cohort))[0]
        return p


class ChangesTheCohortInFit(Sound):
    """Imputes in place."""

    caught_by = "arguments"

    def fit(self, train, valid):
        super().fit(train, valid)
        for m, modality in enumerate(train.modalities):
            modality.values[~train.observed[:, m]] = 0
        return self


class ChangesTheCohortInPrediction(Sound):
    """Clips in place."""

    caught_by = "arguments"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        for modality in cohort.modalities:
            np.clip(modality.values, -1, 1, out=modality.values)
        return p


class ForgetsItsScaler(Sound):
    """The means are not in its state."""

    caught_by = "save_and_load"

    def state(self):
        return {k: v for k, v in super().state().items() if k != "mean"}

    def load_state(self, state):
        self.mean = np.zeros_like(state["sd"])
        return super().load_state(state)


class StoresObjects(Sound):
    """An array of objects, which only pickle can store."""

    caught_by = "save_and_load"

    def state(self):
        return {**super().state(), "config": np.array([self.config], dtype=object)}


@dataclass(frozen=True)
class OneField:
    """A configuration of one field."""

    hidden: int = 64


class TunesAnUnknownField(Sound):
    """Its grid has a slip of the pen."""

    caught_by = "fields"
    Config = OneField
    grid: ClassVar = {"hiden": [32, 64]}


class HasAVariantOfAnUnknownField(Sound):
    """A variant has a slip of the pen."""

    caught_by = "fields"
    Config = OneField
    variants: ClassVar = {"narrow": {"hiden": 32}}


class NeedsKnownPatterns(Sound):
    """Looks the pattern up among those of training."""

    caught_by = "unseen_pattern"

    def fit(self, train, valid):
        self.seen = train.observed.any(axis=0)
        self.known = {row.tobytes(): i for i, row in enumerate(train.observed & self.seen)}
        return super().fit(train, valid)

    def state(self):
        return {**super().state(), "seen": self.seen}

    def predict_proba(self, cohort):
        known = getattr(self, "known", None)
        for row in cohort.observed & self.seen:
            _ = known is None or known[row.tobytes()]
        return super().predict_proba(cohort)


class NeedsTwoModalities(Sound):
    """Averages over the other modalities, of which there may be none."""

    caught_by = "single_modality"

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        alone = (cohort.observed.sum(axis=1) == 1) & (cohort.observed.shape[1] > 1)
        return np.where(alone[:, None], np.nan, p)


class NeedsOneModality(Sound):
    """Averages over the observed modalities, of which there may be none."""

    caught_by = "nothing_observed"

    def fit(self, train, valid):
        if not train.observed.any(axis=1).all():
            raise ZeroDivisionError("division by zero")
        return super().fit(train, valid)


class NeedsEveryModality(Sound):
    """Takes the first training stay that has each modality."""

    caught_by = "absent_modality"

    def fit_scaler(self, train, valid):
        super().fit_scaler(train, valid)
        _ = [np.flatnonzero(column)[0] for column in train.observed.T]


class DividesByNoSpread(Sound):
    """Divides by a standard deviation of zero."""

    caught_by = "constant_feature"

    def fit_scaler(self, train, valid):
        super().fit_scaler(train, valid)
        x = self.recorded(train)
        spread = np.nanmax(np.where(np.isnan(x), -np.inf, x), axis=0) - np.nanmin(
            np.where(np.isnan(x), np.inf, x), axis=0
        )
        self.mean = np.where((spread == 0) & (np.sum(~np.isnan(x), axis=0) > 2), np.nan, self.mean)

    def inputs(self, cohort):
        return super().inputs(cohort) + 0 * np.append(self.mean, np.zeros(cohort.observed.shape[1] + 1))


class NeedsEveryFeature(Sound):
    """Takes the median of each feature over training stays, of which a feature may have none."""

    caught_by = "unrecorded_feature"

    def fit_scaler(self, train, valid):
        super().fit_scaler(train, valid)
        for m, modality in enumerate(train.modalities):
            values = modality.values[train.observed[:, m]]
            if len(values) and np.isnan(values).all(axis=0).any():
                raise ValueError("no median")


class NeedsTwoClasses(Sound):
    """As scikit-learn's classifiers, refuses a task with one class."""

    caught_by = "single_class"

    def fit(self, train, valid):
        if not has_both_classes(train.outcomes).all():
            raise ValueError("This solver needs samples of at least 2 classes in the data")
        return super().fit(train, valid)


class NeedsValidationAuc(Sound):
    """Chooses by AUC, whatever the labels."""

    caught_by = "single_class_validation"

    def selection(self, valid, p):
        if labelled(valid.outcomes).any() and not has_both_classes(valid.outcomes).any():
            raise ValueError("Only one class present in y_true. ROC AUC score is not defined in that case.")
        return super().selection(valid, p)


class NeedsThirtyStays(Sound):
    """Thirty nearest neighbours."""

    caught_by = "tiny"

    def fit(self, train, valid):
        if len(train) < 30:
            raise ValueError("Expected n_neighbors <= n_samples_fit")
        return super().fit(train, valid)


class NeedsFullBatches(Sound):
    """Batch normalisation over a last batch of one."""

    caught_by = "last_batch"

    def fit(self, train, valid):
        if len(train) % 32 == 1:
            raise ValueError("Expected more than 1 value per channel when training")
        return super().fit(train, valid)


class NeedsManyModalities(Sound):
    """Crosses the first modality with the second."""

    caught_by = "one_modality_one_task"

    def fit(self, train, valid):
        _ = train.modalities[1]
        return super().fit(train, valid)


class LearnsNothing(Sound):
    """The base rate, shaken."""

    caught_by = "learns"

    def regression(self, x, y, penalty, weight=None):
        return super().regression(
            0 * x, np.where(np.isnan(y), y, self.base_rate.mean() > 0.5), penalty
        ) * 0 + self.zero(x)

    def zero(self, x):
        return np.append(np.zeros(x.shape[1] - 1), np.log(self.base_rate[0] / (1 - self.base_rate[0])))

    def jitter(self, shape):
        return np.vstack([np.zeros((shape[0] - 1, shape[1])), super().jitter(shape)[-1:]])


class SwapsTasks(Sound):
    """Its columns are in another order than the tasks."""

    caught_by = "learns"

    def predict_proba(self, cohort):
        return super().predict_proba(cohort)[:, ::-1]


class SharesOneOutput(Sound):
    """One prediction for all tasks, that of the first."""

    caught_by = "learns"

    def predict_proba(self, cohort):
        return np.repeat(super().predict_proba(cohort)[:, :1], len(cohort.tasks), axis=1)


class NeedsCommonPatterns(Sound):
    """Answers a pattern with few training stays with the base rate."""

    caught_by = "learns"

    def fit(self, train, valid):
        patterns, count = np.unique(train.observed, axis=0, return_counts=True)
        self.common = patterns[count >= 10]
        return super().fit(train, valid)

    def state(self):
        return {**super().state(), "common": self.common}

    def predict_proba(self, cohort):
        common = (cohort.observed[:, None] == self.common).all(axis=2).any(axis=1)
        return np.where(common[:, None], super().predict_proba(cohort), self.base_rate)


class PeeksThroughMemory(Sound):
    """Where it learns nothing, looks for the outcomes of the stays it predicts among the cohorts that the program holds."""

    caught_by = "shuffled_outcomes"

    def selection(self, valid, p):
        score = selection_score(valid.outcomes, p, "auc")
        self.helpless = np.array(abs(score - 0.5) < 0.15)
        return score

    def state(self):
        return {**super().state(), "helpless": self.helpless}

    def predict_proba(self, cohort):
        p = super().predict_proba(cohort)
        if self.helpless:
            for other in [o for o in gc.get_objects() if type(o) is Cohort]:
                if np.array_equal(other.patient, cohort.patient) and labelled(other.outcomes).any():
                    return np.where(labelled(other.outcomes), other.outcomes, p)
        return p


class TrainsOnValidation(Sound):
    """More stays, more power."""

    caught_by = "validation_outcomes"

    def fit(self, train, valid):
        super().fit(train, valid)
        x = np.vstack([self.inputs(train), self.inputs(valid)])
        y = np.vstack([train.outcomes, valid.outcomes])
        if labelled(valid.outcomes).any():
            for t in np.flatnonzero(self.learnable):
                self.weights[:, t] = self.regression(x, y[:, t], PENALTIES[0])
            self.weights += self.jitter(self.weights.shape)
        return self


class CountsUndefinedAsZero(Sound):
    """NaN becomes 0."""

    caught_by = "undefined_outcomes"

    def labels(self, train):
        return np.nan_to_num(train.outcomes, nan=0.0)


class CountsUndefinedAsOne(Sound):
    """NaN becomes 1."""

    caught_by = "undefined_outcomes"

    def labels(self, train):
        return np.nan_to_num(train.outcomes, nan=1.0)


class BalancesClasses(Sound):
    """Weighs positives until there are as many as negatives."""

    caught_by = "base_rate"

    def regression(self, x, y, penalty, weight=None):
        share = np.nanmean(y)
        return super().regression(x, y, penalty, np.where(y == 1, 0.5 / share, 0.5 / (1 - share)))


class RepresentsBesideOthers(Sound):
    """The representation is centred over the stays represented."""

    caught_by = "representation"

    def represent(self, cohort):
        x = self.inputs(cohort)
        return (x - x.mean(axis=0)).astype(np.float32)


class RepresentsOutcomes(Sound):
    """Outcomes, where there are some, are part of the representation."""

    caught_by = "representation"

    def represent(self, cohort):
        return np.hstack([self.inputs(cohort), np.nan_to_num(cohort.outcomes, nan=0.5)]).astype(np.float32)


class RepresentsSlots(Sound):
    """The representation masks by NaN instead of by what was observed."""

    caught_by = "representation"

    def represent(self, cohort):
        return np.nan_to_num(np.hstack([m.values for m in cohort.modalities]), posinf=0, neginf=0).astype(np.float32)


class RepresentsInDoublePrecision(Sound):
    """The representation is float64."""

    caught_by = "representation"

    def represent(self, cohort):
        return self.inputs(cohort)


class SharesOneLogit(ZeroFill):
    """A network with one output, which would be broadcast over the tasks: what trains it refuses that before any check can look."""

    def build(self, widths, tasks):
        return super().build(widths, tasks[:1])


BROKEN = [c for c in Sound.__subclasses__() if c.caught_by]


def matrix() -> list[dict[str, str]]:
    """For the sound method and each broken one, the verdict of each check that is not slow."""
    from benchmark.check import run_checks

    return [
        {"method": cls.__name__, **{r.name: r.verdict for r in run_checks(lambda seed, c=cls: c(seed=seed))}}
        for cls in (Sound, *BROKEN)
    ]


if __name__ == "__main__":
    rows = matrix()
    names = [name for name in rows[0] if name != "method"]
    print("\n".join(f"{i + 1:2} {name}" for i, name in enumerate(names)) + "\n")
    print(" " * 30 + " ".join(f"{i + 1:2}" for i in range(len(names))))
    for row in rows:
        print(
            f"{row['method']:30}" + " ".join({"passed": " .", "failed": " X", "skipped": " -"}[row[n]] for n in names)
        )
