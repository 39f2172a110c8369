"""The parameters of a synthetic cohort: size, seed and dials, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass

# The first two repeat the keys of `presets.PRESETS` and `departures.WORLDS`, which cannot be imported here: presets imports this module.
PRESET_NAMES = ("mimic", "eicu")
WORLD_NAMES = ("factors", "clusters", "interaction", "text", "policy_shift")
MECHANISM_NAMES = ("complete", "mcar", "mar", "mnar")
WHOLE = ("n", "seed", "world_seed", "draws", "series_hours")


@dataclass(frozen=True)
class SyntheticParams:
    """Size, seed and dials of a synthetic cohort; the defaults were set once, before any method was compared.

    - ``preset``: ``mimic`` (S, I, T, R) or ``eicu`` (ten small modalities, 30 sites)
    - ``world``: ``factors``, ``clusters``, ``interaction``, ``text`` or ``policy_shift`` (`datasets.synthetic.departures`); ``departure``
      in [0, 1]: how far it is from ``factors``
    - ``n`` stays, ``seed`` of their draw, ``world_seed`` of the loadings, Delta and sites
    - ``mechanism``: ``complete`` (every modality of every stay is observed, at 24 h as well, with ``nan_share`` of its features NaN),
      ``mcar`` (kappa 0), ``mar`` (rho 0) or
      ``mnar`` (rho 1, or the given share ``rho`` in (0, 1])
    - ``kappa``: how much the pattern depends on h or on S (logit scale); ``known_24h``: probability that a modality which may come late
      (R and I; diagnosis, medication and fluid balance) is known by 24 h
    - ``strength``: size of w_t; ``q``: size of the nonlinearity q_t; ``beta``: standard deviation over stays of the pattern's own
      effect Delta (logit scale)
    - ``snr``: signal to noise of a feature before phi; ``blur``: how much the private factors blur h; ``bend``: curvature of phi;
      ``nan_share``: features NaN at random inside S (a multiple of it by modality in the eICU preset)
    - ``series_rate``: multiplies the measurements an hour; ``series_rise``: log rate per unit of severity; ``series_signal``: length of
      l_c; ``series_patient_sd``, ``series_noise_sd``: standard deviations of the patient effect and of the noise; ``series_hours``: the
      longest stay, the shortest lasts half as long (at 24 h every series has 24 hours)
    - ``recorded``: whether cohorts also keep the times at which series were recorded (``Series.recorded``)
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
    series_hours: int = 72
    recorded: bool = False
    draws: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("preset", PRESET_NAMES), ("world", WORLD_NAMES), ("mechanism", MECHANISM_NAMES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"synthetic cohort: {name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}"
                )
        for name, low, high in _RANGES:
            value = getattr(self, name)
            whole = name in WHOLE
            kinds = int if whole else (int, float)
            if name == "draws" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise ValueError(
                    f"synthetic cohort: {name} must be a {'whole ' if whole else ''}number from {low} to {high}, not {value!r}"
                )
            if not whole:
                object.__setattr__(self, name, float(value))
        if not isinstance(self.recorded, bool):
            raise ValueError(f"synthetic cohort: recorded must be true or false, not {self.recorded!r}")
        if self.draws is not None and self.draws & (self.draws - 1):
            raise ValueError(f"synthetic cohort: draws must be a power of 2, not {self.draws}")
        number = isinstance(self.rho, (int, float))
        if self.rho is not None and (self.mechanism != "mnar" or not number or not 0 < self.rho <= 1):
            raise ValueError(
                f"synthetic cohort: rho must be in (0, 1] and needs mechanism mnar, not {self.rho!r} with {self.mechanism}"
            )

    @property
    def points(self) -> int:
        """Points of the posterior in use: ``draws``, else 2048, or 1024 above 5,000 stays (the error of an AUC falls with both)."""
        return self.draws or (2048 if self.n <= 5000 else 1024)

    @property
    def effective_kappa(self) -> float:
        """Kappa, or 0 under ``mcar`` and ``complete``."""
        return 0.0 if self.mechanism in ("mcar", "complete") else float(self.kappa)

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
    ("series_hours", 48, 1000),
)
