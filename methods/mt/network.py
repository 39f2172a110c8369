"""The network of MT (``methods/mt``): a transformer over tokens of several modalities, under several views of a stay at once.

A view is what is available of a stay. All views of a step are laid one after the other in one packed sequence, in which a token
attends to tokens of its own view only; so a layer is one call, however many views there are. A single-modality view holds no token of
another modality, so that all of them together are no longer than one whole view. Layers before the fusion see no other modality,
hence are the same in every view, and are computed once (their dropout is common to the views).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.common.layers import Dropout, keep_observed, mean_observed
from methods.common.training import Batch, Output, TrainingConfig, supervised_loss

POLICIES = ("search", "early", "mid", "late")
FUSED = -1
"""In the place of a modality: the token is a fused class token."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the choices listed in the docstring of ``methods/mt``."""

    lr: float = 1e-4
    weight_decay: float = 1e-2
    batch_size: int = 128
    max_epochs: int = 60
    hidden: int = 64
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    policy: str = "search"
    """``search``, ``early``, ``mid`` or ``late``."""
    random_views: int = 1
    """R, views of a random subset, if there are three modalities or more."""
    feature_tokens: int = 0
    """A modality of at most so many columns has one token a column."""
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises; it then falls as a cosine."""
    search_epochs: int = 20
    """Of the search, whatever ``max_epochs`` is."""
    search_frozen: int = 3
    """First epochs of the search, without alpha-steps."""
    search_share: float = 0.2
    """Of the training stays, for the alpha-steps."""
    alpha_lr: float = 3e-3
    tau_first: float = 1.0
    tau_last: float = 0.1

    def __post_init__(self) -> None:
        self.one_of(policy=tuple(POLICIES))
        if self.hidden % self.heads:
            raise ValueError(f"mt: hidden={self.hidden} must be a multiple of heads={self.heads}")
        if not 0 <= self.search_frozen <= self.search_epochs:
            raise ValueError(
                f"mt: search_frozen={self.search_frozen} must be at most search_epochs={self.search_epochs}"
            )

    @property
    def fixed_start(self) -> int:
        """s of a fixed policy; 0 before a search."""
        return {"mid": self.layers // 2, "late": self.layers}.get(self.policy, 0)


class MtModule(nn.Module):
    """The network of the docstring of ``methods/mt``. S0 tokens of the modalities, class tokens last; S in a packed sequence; V views."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config) -> None:
        super().__init__()
        c, d, m = config, config.hidden, len(widths)
        self.config, self.modalities = c, m
        self.tokenisers = nn.ModuleList(
            FeatureTokens(w, d) if w <= c.feature_tokens else VectorTokens(w, d, 4 if w >= 256 else 1) for w in widths
        )
        self.modality_type = nn.Parameter(0.02 * torch.randn(m, d))
        self.class_tokens = nn.Parameter(0.02 * torch.randn(m, d))
        self.fused_token = nn.Parameter(0.02 * torch.randn(d))
        self.blocks = nn.ModuleList(Block(d, c.heads, c.dropout) for _ in range(c.layers))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(2 * d, tasks)
        counts = torch.tensor([t.count for t in self.tokenisers])
        modality = torch.cat([torch.arange(m).repeat_interleave(counts), torch.arange(m)])
        self.register_buffer("modality", modality, persistent=False)
        self.register_buffer("base_log_odds", torch.zeros(tasks), persistent=False)
        self.register_buffer("stored_start", torch.tensor(0))
        self.register_buffer("trajectory", torch.full((c.search_epochs, c.layers + 1), torch.nan))
        self.one_view = Layout(modality, m, wholes=1, singles=False)
        self.all_views = Layout(modality, m, wholes=1 + (c.random_views if m > 2 else 0), singles=m > 1)
        self.views = self.all_views.wholes + (m if m > 1 else 0)
        self.gates: Tensor | None = None
        """g [L] of a policy drawn for an alpha-step; None: fusion from layer ``start`` on."""
        self.settle(c.fixed_start)
        self.register_load_state_dict_post_hook(lambda module, _: module.settle(int(module.stored_start)))

    def settle(self, start: int) -> None:
        """Fuse from layer ``start`` on."""
        self.start = start
        self.stored_start.fill_(start)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T] of all that is observed; in training also the loss ``views`` of the other views."""
        tokens, observed = self.tokenise(batch.x, batch.observed), batch.observed
        if not self.training or self.views == 1:
            return Output(self.view_logits(tokens, observed.unsqueeze(1)).squeeze(1), {})
        drawn = [draw_subset(observed) for _ in range(self.all_views.wholes - 1)]
        logits = self.view_logits(
            tokens, torch.cat([torch.stack([observed, *drawn], dim=1), make_single_views(observed)], dim=1)
        )
        spare = observed.sum(dim=1, keepdim=True) >= 2
        counted = torch.cat([*(spare for _ in drawn), observed & spare], dim=1)
        return Output(logits[:, 0], {"views": self.views_loss(logits[:, 1:], counted, batch)})

    def views_loss(self, logits: Tensor, counted: Tensor, batch: Batch) -> Tensor:
        """Return (1 / V) sum_v L_sup of logits [B, V - 1, T] over the stays that count in a view [B, V - 1], a scalar."""
        labels = batch.labels.unsqueeze(1).expand(logits.shape)
        mask = batch.label_mask.unsqueeze(1) & counted.unsqueeze(2)
        z = logits.float() + self.base_log_odds
        weights = z.new_full((z[0].numel(),), 1 / (z.shape[2] * self.views))
        return supervised_loss(z.flatten(1), labels.flatten(1), mask.flatten(1), weights, self.config.gamma)

    def tokenise(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return tokens [B, S0, D], class tokens c_1 .. c_M last, of x_m [B, d_m]; no content where unobserved [B, M]."""
        parts = zip(self.tokenisers, x, observed.unbind(dim=1), strict=True)
        content = [keep_observed(e(keep_observed(v, o)), o.unsqueeze(1)) for e, v, o in parts]
        classes = self.class_tokens.expand(len(observed), -1, -1)
        return torch.cat([*content, classes], dim=1) + self.modality_type[self.modality]

    def view_logits(self, tokens: Tensor, masks: Tensor) -> Tensor:
        """Return logits [B, V, T] of the views ``masks`` [B, V, M]: one whole view, or the wholes and singles of ``all_views``."""
        return self.head(self.read(tokens, masks))

    def represent(self, batch: Batch) -> Tensor:
        """Return what the head reads [B, 2D] of the view of all that is observed."""
        tokens = self.tokenise(batch.x, batch.observed)
        return self.read(tokens, batch.observed.unsqueeze(1)).squeeze(1)

    def read(self, tokens: Tensor, masks: Tensor) -> Tensor:
        """Return what the head reads [B, V, 2D], as in ``view_logits``."""
        layout = self.one_view if masks.shape[1] == 1 else self.all_views
        w, m = layout.wholes, self.modalities
        hidden = self.norm(self.encode(tokens, masks, layout))
        whole, single, fused = hidden.split([w * m, len(layout.read) - w * m - masks.shape[1], masks.shape[1]], dim=1)
        classes = mean_observed(whole.unflatten(1, (w, m)), masks[:, :w])
        if layout.singles:
            classes = torch.cat([classes, keep_observed(single, masks[:, 0])], dim=1)
        return torch.cat([self.levels()[-1] * fused, classes], dim=-1)

    def encode(self, tokens: Tensor, masks: Tensor, layout: Layout) -> Tensor:
        """Return the tokens to be read [B, ., D] after all layers: class tokens of whole views, of single ones, fused ones."""
        start, layers = 0 if self.gates is not None else self.start, len(self.blocks)
        hidden = torch.cat([tokens, self.fused_token.expand(len(tokens), 1, -1)], dim=1)
        apart = make_additive(self.one_view.within)
        for block in self.blocks[:start]:
            hidden = block(hidden, apart)
        if start == layers:
            return hidden[:, layout.source[layout.read]]
        hidden, there = hidden[:, layout.source], layout.find_keys(masks)
        levels = self.levels().log() if self.gates is None else (self.gates + 1e-6).log()
        bias = None
        for i in range(start, layers):
            if bias is None or self.gates is not None:
                bias = layout.bias(there, levels[i])
            hidden = self.blocks[i](hidden, bias, layout.read if i == layers - 1 else None)
        return hidden

    def levels(self) -> Tensor:
        """Return g [L]."""
        settled = torch.arange(self.config.layers, device=self.stored_start.device) >= self.start
        return settled.float() if self.gates is None else self.gates


class Layout(nn.Module):
    """A packed sequence: whole views (all tokens and a fused one), then perhaps all single ones (all tokens, a fused one a modality).

    For its S tokens: ``where`` the modality or FUSED, ``view``, ``source`` the place among the S0 + 1 tokens of one view. ``read``: the
    tokens that the head needs.
    """

    where: Tensor
    view: Tensor
    source: Tensor
    read: Tensor
    within: Tensor
    across: Tensor

    def __init__(self, modality: Tensor, m: int, wholes: int, singles: bool) -> None:
        super().__init__()
        self.wholes, self.singles, self.modalities = wholes, singles, m
        n = len(modality)
        tokens, each = torch.arange(n + 1), torch.arange(m)
        fused = torch.full((1,), FUSED)
        where = [torch.cat([modality, fused])] * wholes
        view = [torch.full((n + 1,), v) for v in range(wholes)]
        source = [tokens] * wholes
        if singles:
            where += [modality, fused.expand(m)]
            view += [wholes + modality, wholes + each]
            source += [tokens[:n], tokens[n:].expand(m)]
        where, view = torch.cat(where), torch.cat(view)
        place = torch.arange(len(where))
        is_class = (torch.cat(source) >= n - m) & (where != FUSED)
        one_view, itself = view.unsqueeze(1) == view, place.unsqueeze(1) == place
        within = one_view & (where.unsqueeze(1) == where) & ((where != FUSED) | itself)
        across = one_view & (where.unsqueeze(1) != where) & (where != FUSED)
        kept = {"where": where, "view": view, "source": torch.cat(source), "within": within, "across": across}
        for name, value in {**kept, "read": torch.cat([place[is_class], place[where == FUSED]])}.items():
            self.register_buffer(name, value, persistent=False)

    def find_keys(self, masks: Tensor) -> Tensor:
        """Return bool [B, S]: tokens that may be keys for others, of views [B, V, M]; no fused one."""
        return masks.flatten(1)[:, self.view * self.modalities + self.where.clamp(min=0)] & (self.where != FUSED)

    def bias(self, there: Tensor, level: Tensor) -> Tensor:
        """Return B_key + B_fuse [B, 1, S, S] at a layer's log g; every token is a key of itself, so that no row is empty."""
        none = level.new_full((), -torch.inf)
        fuse = torch.where(self.within, level.new_zeros(()), torch.where(self.across, level, none))
        bias = torch.where(there[:, None, None, :], fuse, none)
        itself = torch.eye(len(self.where), dtype=torch.bool, device=level.device)
        return torch.where(itself, level.new_zeros(()), bias)


class Block(nn.Module):
    """x + attention(LN x), then x + feed-forward(LN x)."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.feed_forward = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return the tokens ``wanted`` (None: all) of x [B, S, D] after this layer; ``bias`` [.., S, S] is added to attention logits."""
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if wanted is not None:
            q, bias, x = q[:, :, wanted], bias[..., wanted, :], x[:, wanted]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed_forward(self.norm_feed(x)))


class VectorTokens(nn.Module):
    """``count`` tokens of a vector, [B, d] -> [B, count, D], each an affine map of the whole."""

    def __init__(self, d: int, hidden: int, count: int) -> None:
        super().__init__()
        self.count, self.linear = count, nn.Linear(d, count * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens [B, count, D] of x [B, d]."""
        return self.linear(x).unflatten(1, (self.count, -1))


class FeatureTokens(nn.Module):
    """One token a feature, [B, d] -> [B, d, D]: x_f w_f + b_f."""

    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        self.count = d
        self.weight = nn.Parameter(torch.empty(d, hidden).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(d, hidden).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return a token for each feature, [B, d, D], of x [B, d]."""
        return torch.addcmul(self.bias, x.unsqueeze(2), self.weight)


def make_additive(allowed: Tensor) -> Tensor:
    """Return a float mask: 0 where ``allowed``, else -inf."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, -torch.inf)


def make_single_views(observed: Tensor) -> Tensor:
    """Return bool [B, M, M]: the m-th view of a stay is its m-th modality alone, if it is observed [B, M]."""
    return observed.unsqueeze(1) & torch.eye(observed.shape[1], dtype=torch.bool, device=observed.device)


def draw_subset(observed: Tensor) -> Tensor:
    """Draw a proper, non-empty subset of the observed, bool [B, M], its size uniform; without meaning where fewer than two are."""
    count = observed.sum(dim=1, keepdim=True)
    size = 1 + (torch.rand(len(observed), 1, device=observed.device) * (count - 1).clamp(min=1)).long()
    rank = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, 2.0).argsort(dim=1).argsort(dim=1)
    return observed & (rank < size)
