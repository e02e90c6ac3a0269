"""Values that the published programs of other methods gave, and how ours are held against them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

ASSETS = Path(__file__).parents[2] / "assets" / "peers"


def read(name: str) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file and what its metadata says of them."""
    path = ASSETS / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["config"])


def published_state(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the program, with the whole token table where it has texts."""
    start = "weight."
    state = {n.removeprefix(start): t for n, t in vectors.items() if n.startswith(start)}
    if "token_embedding.ids" in vectors:
        rows = vectors["token_embedding.rows"]
        table = torch.zeros(49408, rows.shape[1])
        table[vectors["token_embedding.ids"].long()] = rows
        state["token_embedding.weight"] = table
    return state


def check(model, views, vectors: Mapping[str, Tensor], frames: Tensor) -> None:
    """Logits, loss and the gradient of every trained tensor.

    Args:
        model: in eval mode.
        views: the method's published_views(): our tensors by the published names.
        vectors: of the published program.
        frames: as the model takes them.
    """
    logits = model(frames)
    check_logits(logits, vectors["output.logits"])
    loss = F.cross_entropy(logits, vectors["input.target"].long())
    check_gradients(model, views, vectors, loss)


def check_logits(found: Tensor, expected: Tensor) -> None:
    """To what rounding explains."""
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


def check_gradients(model, views, vectors: Mapping[str, Tensor], loss: Tensor) -> None:
    """The loss and the gradient of every trained tensor; arguments as check()."""
    torch.testing.assert_close(loss, vectors["output.loss"].view(()), rtol=1e-5, atol=1e-5)
    parameters = model.trained_parameters()
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    found = views(dict(zip(parameters, gradients, strict=True)))
    start = "gradient."
    wanted = {n.removeprefix(start): t for n, t in vectors.items() if n.startswith(start)}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 2e-5 * gradient.norm(), name
