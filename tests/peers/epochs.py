"""Epochs of an iMML classifier as its documentation trains it, with its own data set, torch's DataLoader and Lightning's Trainer.

    python tests/peers/epochs.py M3Care|MUSE DATA.npz BATCH    serves ``epoch``; in `.venv-peers`

``DATA.npz``: ``x0``, ``x1`` ... [N, d_m] with NaN where a modality is not observed, and ``y`` [N].
"""

import sys
import time

import lightning
import numpy as np
import pandas as pd
import torch
from imml_module import import_imml
from torch.utils.data import DataLoader

WARM_UP = 1


class Served(lightning.Callback):
    """An epoch for each line of standard input, answered by its seconds of CPU time and its mean loss."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == WARM_UP:
            print("ready", flush=True)
        if trainer.current_epoch >= WARM_UP and not sys.stdin.readline():
            raise SystemExit
        self.losses, self.started = [], time.process_time()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"])

    def on_train_epoch_end(self, trainer, module):
        seconds = time.process_time() - self.started
        if trainer.current_epoch >= WARM_UP:
            print(seconds, torch.stack(self.losses).mean().item(), flush=True)


def main(name, path, batch):
    """Train until standard input ends."""
    imml, data = import_imml(), np.load(path)
    from imml import load

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = [pd.DataFrame(data[f"x{m}"]) for m in range(len(data.files) - 1)]
    widths, settings = [v.shape[1] for v in x], {"M3Care": {"vocab": []}, "MUSE": {}}[name]
    if name == "MUSE":  # which takes what is not observed as it comes, and expects zeros there
        stays = load.MUSEDataset(Xs=x, y=pd.Series(data["y"]))
        stays.Xs = [v.nan_to_num() for v in stays.Xs]
    else:
        stays = load.M3CareDataset(Xs=x, y=pd.Series(data["y"]))
    method = getattr(imml, name)(
        input_dim=widths, modalities=["tabular"] * len(widths), hidden_dim=128, learning_rate=1e-3, **settings
    )
    trainer = lightning.Trainer(
        max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[Served()],
    )  # fmt: skip
    trainer.fit(method, DataLoader(stays, batch_size=int(batch), shuffle=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
