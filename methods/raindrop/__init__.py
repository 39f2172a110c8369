"""Raindrop: a graph over the sensors of each stay, whose messages stand in for what was not read at a step.

X. Zhang, M. Zeman, T. Tsiligkaridis, M. Zitnik, "Graph-Guided Network for Irregularly Sampled Multivariate Time Series", ICLR 2022,
arXiv 2110.05357. Code: mims-harvard/Raindrop (MIT); PyPOTS 1.5 has a port of it (BSD-3).

Equations of ``paper`` (sensors u, v of F; x_u^t the value of u at step t, at the times T_u; A_t the sensors read at t; l in 1..L):

    h_u^t      = relu(x_u^t R_u) in R^d_ob,  0 if u is not read at t;      p^t in R^d_t: sin and cos of t / 10000^(2k/d_t)
    alpha_uv^t = relu( (h_u^t D) [r_v ; p^t]^T ),   D in R^(d_ob x (d_r + d_t))
    h_v^t     := [v in A_t] h_v^t + relu( 1/|A_t| sum_(u in A_t) (h_u^t . w_u) w_v alpha_uv^t e_uv^(l-1) )
    e_uv^(0)   = 1,   e_uv^(l) = e_uv^(l-1) / |T_u| sum_(t in T_u) alpha_uv^(l),t;    e^(1): the lowest half of a stay's edges is pruned
    beta_v     = softmax_t( (Q K^T / sqrt(d_k)) s ),   Q = [h_v ; p] W_Q,  K = [h_v ; p] W_K,  s in R^S
    z_v        = sum_t beta_v^t h_v^t W,     y = MLP[z_1 ; .. ; z_F ; (delta_m Linear_m(x_m))_m ; delta]
    L          = L_sup + lambda L_r,   L_r = (1/F^2) sum_uv mean_(i,j in batch) |e_i,uv^(L) - e_j,uv^(L)|

``variant = released``, what the released code computes and its published numbers probably came from: no message between sensors, but

    o_v = relu(W_2 relu(W_1 [h_v^1 ; .. ; h_v^S] + b_1) + b_2), alike for all sensors;    x^t = [o_1^t ; .. ; o_F^t ; p^t]
    y   = MLP[ sum_t Transformer(x)^t / (S_i + 1) ; late modalities ],   S_i the steps of stay i;    timescales of p^t: S^(k / (d_t/2 - 1))

The two are in ``graph.py`` and ``released.py``. Late modalities are the same in both.

Adaptations:

- Of the paper only abstract and introduction were at hand. The equations are the design card's, recalled and cross-checked with the code
  and an independent port, which differ from them in places. Ours where all are silent: the mean over senders; a sensor that is read keeps
  its embedding, messages added, and only such sensors send, in every layer; r, D and w of each layer for itself; e^(l-1), not e^(l),
  in layer l; e^(L) in L_r; d_k = 16; z_v as wide as h_v; Glorot initial values; dropout on h, as in the code; lambda = .02 is recalled.
- Pruning: the lowest half of e^(1), once, so that layer 1 sends over all edges and the later ones over what is left; a pruned edge stays
  pruned, since e^(l) is a product, and layers 2 to L prune no further. Whether the paper prunes at every layer is not known here: its
  body was not at hand. The port by others prunes so, with the first e and once. The branch for it in the code, which is off (``use_beta =
  False``), ranks the weights of layer 1 and drops half of the edges before layer 1 itself sends; its layer 2 is called without it, and
  prunes nothing.
- Static modalities join late, with the pattern, as in GRU-D here: each through one linear map to 8 columns (``static = linear``), or
  through the suite's phi_m, of 64 columns, with dropout (``encoder``). On the 14 development draws of GRU-D's docstring: AUC .706 with
  linear maps, .702 with encoders (difference .004, standard error .008), log loss over that of the base rate .934 and .956, the plain
  network .698 and .941; encoders are behind at 24 hours of embedded-mimic (.691, .719; with 2,000 stays, one cohort, .690, .709), ahead
  by .003 on embedded-eicu and by .008 at discharge. So linear maps are the default. The code has one vector of demographics, through a
  linear map to F columns whose weights start within 1e-10 of zero.
- A step is an hour in which something was recorded, with the hour's mean of each sensor, of the last 72 hours before the landmark: the
  series as cohorts have it (the code reads records, at most 215 of a stay in its P12). ``steps = records`` (variant ``as_recorded``)
  reads the times of record, the last 256 of a stay, where the cohort was built with them (embedded cohorts).
- ``inputs = modality_as_sensor``: no series is read; modality m is one sensor, seen only at pseudo-step m, and x R_u becomes a linear map
  of x_m to d_ob numbers (``ModalitySensors``). Time has no meaning there, nothing joins late, and a sensor is seen once at most. It is not
  the paper's setting, and its weakness says nothing of Raindrop.
- Hours in which nothing was recorded are no steps: a stay's steps stand first. S is the most that a training stay has; of a later
  stay with more, the last S count. A stay without any has z = 0 (released: a pooled sum of 0). Time is in hours.
- The code counts a stay's steps as those with time > 0, and takes values <= 0 for missing where it standardises: here as recorded. On a GPU
  it never trains R_u, which is not a leaf there; here it is trained. What has no effect there (see ``released.py``) is left out.
- Natural batches: the code oversamples positives to half of each batch, which moves the base rate. Constant lr: the code divides it by 10
  when validation AUPRC rests. Several outcomes, masked cross-entropy, 1/T, for a softmax over classes; early stopping is the suite's.
- Adam 1e-3: the code has 1e-4, with the remark that 1e-3 works slightly better, sometimes 1e-4. Other defaults are the code's: batches of
  128, 20 epochs (``schedule=own``), dropout .2, two layers, two heads, d_ob = 4, d_t = d_r = 16.

Looked up: code/models_rd.py, code/Ob_propagation.py and Raindrop.py of mims-harvard/Raindrop, pypots/nn/modules/raindrop (a port of its
propagation too) and pypots/classification/raindrop of PyPOTS 1.5 (all said of the code), and a port by others (public, unnamed in the
index that has it; 10000 as the base of p^t, from the paper's appendix A.1, and when e is pruned are its account). Read for facts; no line
is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from datasets.cohort import Cohort
from methods.base import prefix, unprefix
from methods.common.layers import ModalityEncoders, ModalitySensors, encoder, keep_observed, mlp
from methods.common.series import STEPS, SeriesScaler, require_series
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.raindrop.graph import SensorGraph, compute_disagreement
from methods.raindrop.released import ReleasedBody

INFO = {
    "title": "Raindrop (true series)",
    "citation": "Graph-Guided Network for Irregularly Sampled Multivariate Time Series (ICLR 2022; arXiv 2110.05357)",
    "year": 2022,
    "family": "irregular series",
    "based_on": "recalled equations, cross-checked with the released code (MIT) and ports, none of which is used; late static modalities",
    "uses_series": True,
    "class": "Raindrop",
}
STATIC = ("linear", "encoder")
LATE = 8
"""Columns of a late modality behind its linear map."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the released code, or the choices listed in the module's docstring."""

    lr: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    max_epochs: int = 20
    patience: int = 20
    inputs: str = "true_series"
    """``true_series`` or ``modality_as_sensor``."""
    steps: str = "hours"
    """Of ``true_series``: ``hours``, with the mean of each, or ``records``, the times of record."""
    variant: str = "paper"
    """``paper`` or ``released``."""
    static: str = "linear"
    """How a static modality joins ``true_series``: ``linear``, or ``encoder``, the suite's phi_m."""
    hidden: int = 64
    """Columns of a static modality behind phi_m."""
    layers: int = 2
    """L of messages (paper), or layers of the transformer (released)."""
    d_ob: int = 4
    d_t: int = 16
    dropout: float = 0.2
    d_r: int = 16
    d_k: int = 16
    prune: float = 0.5
    """Share of a stay's edges; with ``d_r``, ``d_k`` and ``lambda_r`` of the paper's form alone."""
    lambda_r: float = 0.02
    heads: int = 2
    """Of the released form alone."""

    def __post_init__(self) -> None:
        self.one_of(
            inputs=("true_series", "modality_as_sensor"), variant=("paper", "released"), static=STATIC, steps=STEPS
        )
        if self.layers < 1 or self.d_t < 4 or self.d_t % 2:
            raise ValueError(f"raindrop: layers={self.layers} must be at least 1, d_t={self.d_t} even and at least 4")
        if not 0 <= self.prune < 1:
            raise ValueError(f"raindrop: prune is {self.prune}; it must be at least 0 and less than 1")


class RaindropModule(nn.Module):
    """Embeddings of what was read, then graph or transformer, late modalities, head; for series of F ``sensors`` and S ``steps``."""

    def __init__(self, widths: tuple[int, ...], tasks: int, sensors: int, steps: int, config: Config) -> None:
        super().__init__()
        c = config
        self.config, self.series, late = c, c.inputs == "true_series", 0
        if self.series:
            self.R = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, sensors * c.d_ob)).view(sensors, c.d_ob))
            linear = c.static == "linear"
            d_late = LATE if linear else c.hidden
            self.late = ModalityEncoders(widths, d_late, c.dropout, make=_linear if linear else encoder)
            late = len(widths) * (d_late + 1)
        else:
            self.modalities = ModalitySensors(widths, c.d_ob)
        if c.variant == "paper":
            self.body: nn.Module = SensorGraph(
                sensors, steps, c.layers, c.d_ob, c.d_r, c.d_t, c.d_k, c.prune, c.dropout
            )
            scales = 10_000.0 ** (2 * torch.arange(c.d_t // 2).double() / c.d_t)
        else:
            self.body = ReleasedBody(sensors, steps, c.layers, c.heads, c.d_ob, c.d_t, c.dropout)
            scales = float(steps) ** torch.linspace(0, 1, c.d_t // 2, dtype=torch.float64)
        self.register_buffer("scales", scales, persistent=False)
        d = self.body.width + late
        self.head = mlp((d, d, tasks), 0.0)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training, of the paper's form, also the loss ``edges``, lambda L_r."""
        z, edges = self.read(batch)
        weighted = self.training and edges is not None and self.config.lambda_r > 0
        return Output(self.head(z), {"edges": self.config.lambda_r * compute_disagreement(edges)} if weighted else {})

    def represent(self, batch: Batch) -> Tensor:
        """Return z [B, d], concatenated with the modalities that join late."""
        return self.read(batch)[0]

    def read(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return z as the head reads it, and the edges of the paper's form."""
        h, read, hours = self.embed(batch)
        z, edges = self.body(h, read, self.encode_time(hours))
        if self.series:
            late = self.late(batch.x, batch.observed).flatten(1)
            z = torch.cat([z.to(late.dtype), late, batch.observed.to(late.dtype)], dim=1)
        return z, edges

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return h [B, S, F, d_ob], zeros where not read; which sensor is read at which step bool [B, S, F]; hours [B, S]."""
        if self.series:
            values, read, hours = (batch.extra[k] for k in ("values", "mask", "hours"))
            values, hours = keep_observed(values.unsqueeze(3), read), torch.where(read.any(dim=2), hours, 0.0)
            return torch.relu(values * self.R), read, hours
        d, given = self.config.d_ob, self.modalities(batch.x, batch.observed)
        return torch.relu(given["values"].unflatten(2, (-1, d))), given["mask"][..., ::d], given["hours"]

    def encode_time(self, hours: Tensor) -> Tensor:
        """Return p [B, S, d_t] of hours [B, S]; in double precision, since a thousand hours are many turns."""
        turns = hours.unsqueeze(2) / self.scales
        return torch.cat([turns.sin(), turns.cos()], dim=2).to(hours.dtype)


class Raindrop(TorchMethod):
    """Raindrop; see the module's docstring."""

    Config = Config
    grid: ClassVar = {
        "lr": [1e-4, 1e-3],
        "d_ob": [4, 8],
        "dropout": [0.2, 0.3],
        "lambda_r": [0.0, 0.02, 0.1],
        "prune": [0.0, 0.5],
    }
    variants: ClassVar = {
        "released": {"variant": "released"},
        "modality_as_sensor": {"inputs": "modality_as_sensor"},
        "as_recorded": {"steps": "records"},
        "static_encoder": {"static": "encoder"},
        "unpruned": {"prune": 0.0},
        "unregularised": {"lambda_r": 0.0},
    }
    titles: ClassVar = {
        "released": "Raindrop (true series, as released)",
        "modality_as_sensor": "Raindrop (modality as sensor)",
        "as_recorded": "Raindrop (true series, times as recorded)",
        "static_encoder": "Raindrop (true series, static modalities encoded)",
    }

    @property
    def _reads_series(self) -> bool:
        return self.config.inputs == "true_series"

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Fit the scaler and S."""
        if self._reads_series:
            series = require_series(train, "raindrop", self.config.steps)
            self.scaler = SeriesScaler().fit(series)
            self.steps = max(1, int(np.asarray(series.mask).any(axis=2).sum(axis=1).max(initial=0)))

    def extra_inputs(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """Return ``values`` and ``mask`` [N, S, F] and ``hours`` [N, S] of the recorded steps."""
        if not self._reads_series:
            return {}
        series = require_series(cohort, "raindrop", self.config.steps)
        return keep_recorded_steps(self.scaler.transform(series), self.steps)

    @classmethod
    def stackable(cls, config: Config) -> bool:
        """Return False: messages have as many rows as there are readings."""
        return False

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        sizes = (len(self.scaler.mean), self.steps) if self._reads_series else (len(widths), len(widths))
        return RaindropModule(widths, len(tasks), *sizes, self.config)

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted method as plain arrays, the scaler of series and S among them."""
        own = {**prefix("series", self.scaler.state()), "steps": np.array(self.steps)} if self._reads_series else {}
        return {**super().state(), **own}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method from its ``state`` and return it, ready to predict."""
        if self._reads_series:
            self.scaler, self.steps = SeriesScaler().load_state(unprefix("series", state)), int(state["steps"])
        return super().load_state(state)


def keep_recorded_steps(series: dict[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """Keep the last ``steps`` bins of each stay in which anything was recorded, in their order; zeros after them.

    ``series``: ``values`` and ``mask`` [N, L, F], ``hours`` [N, L], for any L; the result has ``steps`` for L.
    """
    recorded = series["mask"].any(axis=2)
    count = recorded.sum(axis=1, keepdims=True)
    place = np.maximum(count - steps, 0) + np.arange(steps)
    there, place = place < count, np.minimum(place, max(recorded.shape[1] - 1, 0))
    bins = np.take_along_axis(np.argsort(~recorded, axis=1, kind="stable"), place, axis=1)
    out = {k: np.take_along_axis(series[k], bins[:, :, None], axis=1) for k in ("values", "mask")}
    out["hours"] = np.take_along_axis(series["hours"], bins, axis=1)
    for array in out.values():
        array[~there] = 0
    return out


def _linear(d: int, hidden: int, dropout: float) -> nn.Module:
    return nn.Linear(d, hidden)
