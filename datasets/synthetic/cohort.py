"""The embedded cohort: drawn from a structural causal model in which every assumption is a dial (`datasets.synthetic.model`).

Landmarks: ``icu_24h`` (all stays; what comes last in the clinical order is not there yet, some modalities are known with probability
``known_24h``, 24 hours of series), ``discharge`` (those alive, everything) and ``stay`` (paper protocol: the inputs of ``discharge``,
all stays, all tasks). One latent h and one admission a stay: contents, series and outcomes are the same at every landmark, and what is
observed at 24 h is also observed at discharge. Readmission and ICU return are undefined (NaN) for those who died in hospital. Mortality
depends on the pattern at 24 h, the other two on the pattern at discharge, whatever the landmark they are predicted from. Sex and age
band are drawn independently of everything else; sites (eICU-like) differ in what they send, not in who is treated there.

Defaults, measured at n = 20,000, seed 0 (AUC; "others" = best prediction without the pattern less that from S or demographics alone,
"evidence" and "cause" = what the ceiling loses when the pattern is not used as such, "series" = the ceiling with the series):

====== ========= ================ ======= ====== ======== ===== ======
preset landmark  task             ceiling others evidence cause series
====== ========= ================ ======= ====== ======== ===== ======
mimic  icu_24h   mortality_inhosp 0.796   0.084  0.012    0.011 0.842
mimic  stay      mortality_inhosp 0.840   0.118  0.023    0.007 0.863
mimic  discharge readmission_30d  0.811   0.124  0.025    0.012 0.840
mimic  discharge icu_90d          0.827   0.113  0.020    0.007 0.851
eicu   icu_24h   mortality_inhosp 0.812   0.161  0.019    0.008 0.840
eicu   stay      mortality_inhosp 0.818   0.165  0.029    0.001 0.848
eicu   discharge readmission_30d  0.796   0.151  0.029    0.008 0.827
eicu   discharge icu_90d          0.785   0.174  0.033    0.012 0.821
====== ========= ================ ======= ====== ======== ===== ======

Favoured by construction, if not by intent: shared-and-private factor models (contents are Gaussian factors under one monotone
function), and a rectifier or any model with a term per pattern (Delta is additive on the logit). The other worlds take these advantages
away one at a time (`datasets.synthetic.departures`).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from datasets.cohort import Cohort
from datasets.storage import Known
from datasets.synthetic.departures import WORLDS
from datasets.synthetic.draw import draw
from datasets.synthetic.presets import PRESETS, world_of
from datasets.synthetic.truth import truth

WHOLE = ("n", "seed", "world_seed", "draws")
MECHANISMS = ("mcar", "mar", "mnar")
SOURCES = sorted(Path(__file__).parent.glob("*.py"))


@dataclass(frozen=True)
class SyntheticParams:
    """Size, seed and dials of an embedded cohort; the defaults were set once, before any method was compared.

    - ``preset``: ``mimic`` (S, I, T, R) or ``eicu`` (ten small modalities, 30 sites)
    - ``world``: ``factors``, ``clusters``, ``interaction``, ``text`` or ``policy_shift`` (`datasets.synthetic.departures`); ``departure``
      in [0, 1]: how far it is from ``factors``
    - ``n`` stays, ``seed`` of their draw, ``world_seed`` of the loadings, Delta and sites
    - ``mechanism``: ``mcar`` (kappa 0), ``mar`` (rho 0) or ``mnar`` (rho 1, or the given share ``rho`` in (0, 1])
    - ``kappa``: how much the pattern depends on h or on S (logit scale); ``known_24h``: probability that a modality which may come late
      (R and I; diagnosis, medication and fluid balance) is known by 24 h
    - ``strength``: size of w_t; ``q``: size of the nonlinearity q_t; ``beta``: standard deviation over stays of the pattern's own
      effect Delta (logit scale)
    - ``snr``: signal to noise of a feature before phi; ``blur``: how much the private factors blur h; ``bend``: curvature of phi;
      ``nan_share``: features NaN at random inside S (a multiple of it by modality in the eICU preset)
    - ``series_rate``: multiplies the measurements an hour; ``series_rise``: log rate per unit of severity; ``series_signal``: length of
      l_c; ``series_patient_sd``, ``series_noise_sd``: standard deviations of the patient effect and of the noise
    - ``draws``: points of the posterior (a power of 2) on which the best prediction is averaged; None: see ``points``

    Raises:
        ValueError: one line that names the dial and its range.
    """

    preset: str = "mimic"
    n: int = 1000
    seed: int = 0
    world: str = "factors"
    departure: float = 1.0
    world_seed: int = 0
    mechanism: str = "mnar"
    rho: float | None = None
    kappa: float = 1.6
    known_24h: float = 0.8
    strength: float = 2.0
    q: float = 0.3
    beta: float = 0.4
    snr: float = 0.5
    blur: float = 0.8
    bend: float = 0.75
    nan_share: float = 0.2
    series_rate: float = 1.0
    series_rise: float = 0.15
    series_signal: float = 0.8
    series_patient_sd: float = 1.0
    series_noise_sd: float = 0.5
    draws: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("preset", tuple(PRESETS)), ("world", tuple(WORLDS)), ("mechanism", MECHANISMS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"embedded cohort: {name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}"
                )
        for name, low, high in _RANGES:
            value = getattr(self, name)
            whole = name in WHOLE
            kinds = int if whole else (int, float)
            if name == "draws" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise ValueError(
                    f"embedded cohort: {name} must be a {'whole ' if whole else ''}number from {low} to {high}, not {value!r}"
                )
            if not whole:
                object.__setattr__(self, name, float(value))
        if self.draws is not None and self.draws & (self.draws - 1):
            raise ValueError(f"embedded cohort: draws must be a power of 2, not {self.draws}")
        number = isinstance(self.rho, (int, float))
        if self.rho is not None and (self.mechanism != "mnar" or not number or not 0 < self.rho <= 1):
            raise ValueError(
                f"embedded cohort: rho must be in (0, 1] and needs mechanism mnar, not {self.rho!r} with {self.mechanism}"
            )

    @property
    def points(self) -> int:
        """Points of the posterior in use: ``draws``, else 2048, or 1024 above 5,000 stays (the error of an AUC falls with both)."""
        return self.draws or (2048 if self.n <= 5000 else 1024)

    @property
    def effective_kappa(self) -> float:
        """Kappa, or 0 under ``mcar``."""
        return 0.0 if self.mechanism == "mcar" else float(self.kappa)

    @property
    def effective_rho(self) -> float:
        """Share of the mechanism that looks at h: the dial, else 1 under ``mnar`` and 0 otherwise."""
        return float(self.rho) if self.rho is not None else float(self.mechanism == "mnar")


_RANGES = (
    ("n", 1, 10_000_000),
    ("seed", 0, 2**32 - 1),
    ("world_seed", 0, 2**32 - 1),
    ("draws", 2, 1 << 16),
    ("departure", 0, 1),
    ("kappa", 0, 10),
    ("known_24h", 0, 1),
    ("strength", 0, 10),
    ("q", 0, 5),
    ("beta", 0, 5),
    ("snr", 1e-4, 1e4),
    ("blur", 0, 10),
    ("bend", 0, 3),
    ("nan_share", 0, 0.9),
    ("series_rate", 1e-3, 20),
    ("series_rise", 0, 2),
    ("series_signal", 0, 10),
    ("series_patient_sd", 1e-3, 100),
    ("series_noise_sd", 1e-3, 100),
)


def build(params: SyntheticParams) -> dict[str, tuple[Cohort, Known]]:
    """The cohort and what is known of its truth at each landmark: ``icu_24h``, ``discharge``, ``stay``.

    On one thread: matrix products on several sum in another order, and the same cohort would differ in its last digits.
    """
    with threadpool_limits(1):
        world = world_of(params)
        cohorts, h = draw(world, params.n, params.seed, fingerprint(params))
        found = truth(world, cohorts, h, params.points)
    notes = {"params": asdict(params), "world": world.summary()}
    return {
        landmark: (cohorts[landmark], replace(known, notes={**notes, **known.notes}))
        for landmark, known in found.items()
    }


def fingerprint(params: SyntheticParams) -> str:
    """Hash of the generator's source and of every parameter, the seed included."""
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update(source.read_bytes())
    digest.update(repr([(f.name, getattr(params, f.name)) for f in fields(params)]).encode())
    return digest.hexdigest()
