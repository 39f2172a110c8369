"""GRU-D: a GRU over irregular series whose missing inputs and whose state decay with the time since the last record.

Z. Che, S. Purushotham, K. Cho, D. Sontag, Y. Liu, "Recurrent Neural Networks for Multivariate Time Series with Missing Values",
Scientific Reports 8:6085, 2018, arXiv 1606.01865.

Equations (variable f of F, step t of S at time s_t in hours, m the mask, x~ the training mean, x_t' the last value before t):

    delta_1^f = 0,   delta_t^f = s_t - s_(t-1) + (1 - m_(t-1)^f) delta_(t-1)^f
    gx_t = exp(-max(0, w_x o delta_t + b_x)),   gh_t = exp(-max(0, W_h delta_t + b_h))
    xh_t = m_t o x_t + (1 - m_t) o (gx_t o x_t' + (1 - gx_t) o x~),   x_t' = x~ before the first record
    hd_t = gh_t o h_(t-1),   h_0 = 0
    r_t = sig(W_r xh_t + U_r hd_t + V_r m_t + b_r),   z_t likewise
    n_t = tanh(W xh_t + U (r_t o hd_t) + V m_t + b),   h_t = (1 - z_t) o hd_t + z_t o n_t
    y = sig(W_o [h_S ; (delta_m phi_m(x_m))_m ; delta] + b_o)       delta, delta_m here: the pattern of the static modalities

These are the design card's, from memory of the paper and in agreement with the published programs where those agree with each other. The
sources differ: the first author's Keras program feeds 1 - m, has sigmoid and hard sigmoid for tanh and sigmoid, mixes the candidate with
the state that has not decayed, and lets z be the share of the old state; PyPOTS resets after the product, has z as the share of the old
state, and reads hd twice, as state and as input. ``cell = pypots`` is the last, for comparison with the same weights.

Adaptations:

- Static modalities join late (the paper has series alone): each through the suite's phi_m, of 64 columns, with dropout (``static =
  encoder``), or through one linear map to 8 columns, as wide as a block of ``ModalitySensors`` (``linear``). Compared on development
  draws: 14 cohorts, seeds 1000 to 1004 of embedded-mimic at 24 hours (less one) and at discharge and of embedded-eicu at 24 hours, each
  765 stays for training, 135 for validation, 1,200 to 1,500 for test; short schedule, selection by log loss; the plain network
  (zero_fill) has AUC .698 there, and log loss over that of the base rate .941. Encoders have AUC .725, linear maps .727 (difference
  -.003, standard error .010; encoders ahead in 9 of 14), log loss .932 and .920. Encoders are ahead on embedded-eicu (.721, .714) and at
  discharge (.734, .724), behind at 24 hours of embedded-mimic (.717, .747; with 2,000 stays, one cohort, .761, .762, plain network .674).
  So these draws do not tell the two apart; encoders are the default because they did better in 6 of 7 earlier runs, under selection by
  AUC. Decays drawn instead of zero: .718 for .724, over 10 of the cohorts.
- A step is an hour in which something was recorded, with the hour's mean of each variable, of the last 72 hours before the landmark: the
  series as cohorts have it (the Keras program reads the records of the first 48 hours, at most 200). ``steps = records`` (variant
  ``as_recorded``) reads the times of record, the last 256 of a stay, where the cohort was built with them (embedded cohorts).
- Several outcomes, masked cross-entropy, weights 1/T.
- ``inputs = modality_as_sensor``: no series is read, each modality is a block of 8 learned channels seen once, at a pseudo-time that is its
  position among the modalities (``ModalitySensors``). Decays have no clinical meaning there; x~ is the channels' mean over stays that have
  them, which is their map's bias. It is not the setting of the paper, and its weakness says nothing of GRU-D.
- Hours in which nothing was recorded are no steps (the Keras program masks such steps too), and s_1 is a stay's first step. A stay without
  any step has h_S = 0. Time is in hours, unscaled. Recorded values are standardised by training values and clipped to 10 sd. A channel that
  no training stay has recorded counts as unrecorded later.
- Decays start at zero, as the Keras program's, so that gh = gx = 1. Its ReLU has slope 0 there, and the decays have no gradient at the
  start; here the slope of max(0, a) at a = 0 is 1. ``decay_init = uniform`` draws them as PyPOTS does, from +- 1/sqrt(number of outputs).
- Dropout .3 (Keras program) on the inputs of the gates, on the state that the gates read, and before the head; the first two have one
  mask a stay for all steps. One mask serves all three gates; the Keras program has three.
- 64 units, Adam 1e-3, batches of 32, at most 100 epochs, patience 10 (``schedule=own``), Glorot and orthogonal initial weights, biases 0,
  no layer between state and outcomes (Keras program). The rule of early stopping is the suite's (the program: the validation loss); there
  is no batch normalisation.

Looked up: nn_utils/grud_layers.py, nn_utils/activations.py, models.py, data_handler.py and Run.ipynb of github.com/PeterChe1990/GRU-D (MIT;
all that is said of the Keras program), pypots/nn/modules/grud and pypots/classification/grud of PyPOTS 1.5 (BSD-3). Of the paper itself
only the beginning could be read, and the numbers of its figure 2, as tests of public programs quote them. No line is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from datasets.cohort import Cohort
from methods.base import prefix, unprefix
from methods.common.layers import Dropout, ModalityEncoders, ModalitySensors, encoder
from methods.common.series import STEPS, SeriesScaler, require_series
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.gru_d.cell import CELLS, DECAY_INITS, GruD, gather_steps

INFO = {
    "title": "GRU-D (true series)",
    "citation": "Recurrent Neural Networks for Multivariate Time Series with Missing Values (Scientific Reports 8, 2018; arXiv 1606.01865)",
    "year": 2018,
    "family": "irregular series",
    "based_on": "the paper's equations as two published programs (MIT, BSD-3) have them, none used; hourly means, late static modalities",
    "uses_series": True,
    "class": "GruDMethod",
}
INPUTS, STATIC = ("true_series", "modality_as_sensor"), ("linear", "encoder")
LATE = 8
"""Width of a static modality behind its linear map, as wide as the blocks of ``ModalitySensors``."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the first author's Keras program, or the choices listed in the module's docstring."""

    lr: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    patience: int = 10
    inputs: str = "true_series"
    """``true_series`` or ``modality_as_sensor``."""
    steps: str = "hours"
    """Of ``true_series``: ``hours``, with the mean of each, or ``records``, the times of record."""
    cell: str = "paper"
    """``paper`` or ``pypots``."""
    hidden: int = 64
    static: str = "encoder"
    """How a static modality joins ``true_series``: ``encoder``, the suite's phi_m, or ``linear``."""
    dropout: float = 0.3
    decay_init: str = "zeros"
    """``zeros`` or ``uniform``."""

    def __post_init__(self) -> None:
        self.one_of(inputs=INPUTS, static=STATIC, steps=STEPS, cell=CELLS, decay_init=DECAY_INITS)


def _linear(d: int, hidden: int, dropout: float) -> nn.Module:
    return nn.Linear(d, hidden)


class GruDModule(nn.Module):
    """The network; ``channels``: of the series, None where modalities are the sensors."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config, channels: int | None) -> None:
        super().__init__()
        c, late = config, 0
        self.sensors = self.static = None
        if channels is None:
            self.sensors = ModalitySensors(widths)
            channels = len(widths) * self.sensors.k
        else:
            linear = c.static == "linear"
            d = LATE if linear else c.hidden
            self.static = ModalityEncoders(widths, d, c.dropout, make=_linear if linear else encoder)
            late = len(widths) * (d + 1)
        self.gru = GruD(channels, c.hidden, c.cell, c.dropout, c.decay_init)
        self.dropout = Dropout(c.dropout)
        self.head = nn.Linear(c.hidden + late, tasks)
        self.register_buffer("zero", torch.zeros(channels), persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]."""
        return Output(self.head(self.dropout(self.represent(batch))), {})

    def represent(self, batch: Batch) -> Tensor:
        """Return the last hidden state [B, hidden], concatenated with the modalities that join late."""
        if self.sensors is not None:
            mean = torch.cat([f.bias for f in self.sensors.maps])
            return self.gru(**gather_steps(**self.sensors(batch.x, batch.observed), mean=mean), mean=mean)
        h = self.gru(**batch.extra, mean=self.zero)
        tokens = self.static(batch.x, batch.observed).flatten(1)
        return torch.cat([h.to(tokens.dtype), tokens, batch.observed.to(tokens.dtype)], dim=1)


class GruDMethod(TorchMethod):
    """GRU-D; see the module's docstring."""

    Config = Config
    grid: ClassVar = {
        "hidden": [32, 64, 128],
        "lr": [1e-3, 5e-4],
        "dropout": [0.0, 0.3],
        "decay_init": ["zeros", "uniform"],
    }
    variants: ClassVar = {
        "modality_as_sensor": {"inputs": "modality_as_sensor"},
        "pypots": {"cell": "pypots"},
        "as_recorded": {"steps": "records"},
        "static_encoder": {},  # the default, under the name that it had before
        "static_linear": {"static": "linear"},
    }
    titles: ClassVar = {
        "modality_as_sensor": "GRU-D (modality as sensor)",
        "pypots": "GRU-D (true series, cell of PyPOTS)",
        "as_recorded": "GRU-D (true series, times as recorded)",
        "static_encoder": "GRU-D (true series, static modalities encoded)",
        "static_linear": "GRU-D (true series, static modalities through linear maps)",
    }
    scaler: SeriesScaler | None = None
    recorded: np.ndarray
    """bool [C]: channels that some training stay has."""

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Fit the scaler of the series.

        Raises:
            NoSeries: the cohort has none, and they are asked for.
        """
        if self.config.inputs == "true_series":
            series = require_series(train, "gru_d", self.config.steps)
            self.scaler, self.recorded = SeriesScaler().fit(series), np.asarray(series.mask).any(axis=(0, 1))

    def extra_inputs(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """Return what ``gather_steps`` returns for the series; nothing where modalities are the sensors."""
        if self.scaler is None:
            return {}
        series = self.scaler.transform(require_series(cohort, "gru_d", self.config.steps))
        series["mask"] &= self.recorded
        placed = {k: torch.from_numpy(v) for k, v in series.items()}
        return {k: v.numpy() for k, v in gather_steps(**placed, mean=torch.zeros(len(self.recorded))).items()}

    @classmethod
    def stackable(cls, config: Config) -> bool:
        """Return False: the loop over steps is as long as the longest stay."""
        return False

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return GruDModule(widths, len(tasks), self.config, None if self.scaler is None else len(self.recorded))

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted method as plain arrays, with what was fitted on the series."""
        fitted = {} if self.scaler is None else {**self.scaler.state(), "recorded": self.recorded}
        return {**super().state(), **prefix("series", fitted)}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method, with what was fitted on the series."""
        fitted = unprefix("series", state)
        if fitted:
            self.scaler, self.recorded = SeriesScaler().load_state(fitted), fitted["recorded"]
        return super().load_state(state)
