"""MUSE of iMML: its training steps and edge dropping, or what it makes of a small graph with given weights; in `.venv-peers`.

python tests/peers/muse.py BATCH WIDTH...    serves ``step`` and ``edge_drop``
python tests/peers/muse.py case              prints logits and loss, as JSON
"""

import json
import sys

import torch
from imml_module import import_imml
from serving import serve


def timed(batch, *widths):
    """Serve the training step of vector modalities, and its edge dropping alone."""
    torch.manual_seed(0)
    method = (
        import_imml().MUSE(input_dim=list(widths), modalities=["tabular"] * len(widths), learning_rate=1e-3).train()
    )
    optimiser = method.configure_optimizers()
    observed = torch.rand(batch, len(widths)) < 0.8
    x = [torch.randn(batch, d) * o[:, None] for d, o in zip(widths, observed.T, strict=True)]
    y, labelled = (x[0][:, 0] > 0.84).float(), torch.ones(batch, dtype=torch.bool)

    def step():
        optimiser.zero_grad()
        loss = method.training_step((x, y, ~observed, labelled))
        loss.backward()
        optimiser.step()
        return loss

    def edge_drop():
        method.model.mml.edgedrop(observed.clone())

    serve(step=step, edge_drop=edge_drop)


def waves(like, start):
    """A tensor of the shape of ``like`` whose values anyone can compute."""
    return 0.5 * torch.sin(0.7 * torch.arange(like.numel(), dtype=torch.float64) + start).float().view(like.shape)


def case(layers=3, d=4):
    """Logits and loss of a graph of 5 stays and 3 modalities, weights and inputs being ``waves`` of their place in the list."""
    mml = (
        import_imml()
        .MUSE(input_dim=[2, 2, 2], modalities=["tabular"] * 3, hidden_dim=d, gnn_layers=layers, dropout=0.0)
        .model.mml
    )
    parameters = [mml.modality_nodes]
    for conv in mml.gnn.convs:
        parameters += [*conv.message_lin.parameters(), *conv.agg_lin.parameters()]
    for edge in mml.gnn.edge_update_mlps:
        parameters += edge[0].parameters()
    parameters += [*mml.cl_projection.parameters(), *mml.classifier.parameters()]
    with torch.no_grad():
        for place, parameter in enumerate(parameters):
            parameter.copy_(waves(parameter, place))
    gone = ~torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    left = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    e = [waves(torch.zeros(5, d), 10 + m) * ~gone[:, [m]] for m in range(3)]
    y, labelled = torch.tensor([1.0, 0, 0, 1, 1]), torch.tensor([1, 1, 0, 1, 1], dtype=torch.bool)
    mml.edgedrop = lambda flag: left
    with torch.no_grad():
        _, logits = mml.inference(e, gone)
        return {"logits": logits.tolist(), "loss": mml(e, gone, y, labelled).item()}


if __name__ == "__main__":
    if sys.argv[1:] == ["case"]:
        print(json.dumps(case()))
    else:
        timed(*map(int, sys.argv[1:]))
