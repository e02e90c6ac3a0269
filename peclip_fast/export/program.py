"""A model as one program from a batch to probabilities, of no more than it needs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from peclip_fast.models.adapted_clip import AdaptedCLIP


class ClassProbabilities(nn.Module):
    """A model with the features of its class texts folded in.

    Args:
        model: in eval mode, its tensors float32.
    """

    def __init__(self, model: AdaptedCLIP) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("class_features", model.encode_classes().detach().clone())

    def forward(self, *batch: Tensor) -> Tensor:
        """The entries of a batch in the order of ``model.inputs`` -> probabilities (B, C)."""
        inputs = dict(zip(self.model.inputs, batch, strict=True))
        return self.model(**inputs, class_features=self.class_features).softmax(1)


@torch.no_grad()
def export_program(model: AdaptedCLIP, batch: Sequence[Tensor]) -> ExportedProgram:
    """The program for batches of any size.

    Args:
        model: in eval mode, its tensors float32.
        batch: an example, the entries in the order of ``model.inputs``, with at least two clips.
    """
    whole = ClassProbabilities(model).eval()
    program = _exported(whole, batch)
    # What nothing reads would be in the file too: the text encoder, for one.
    signature = program.graph_signature
    tensors = signature.inputs_to_parameters | signature.inputs_to_buffers
    unread = [
        tensors[node.name]
        for node in program.graph.nodes
        if node.op == "placeholder" and not node.users and node.name in tensors
    ]
    with _without(whole, unread):
        return _exported(whole, batch)


def _exported(whole: nn.Module, batch: Sequence[Tensor]) -> ExportedProgram:
    shapes = tuple({0: Dim("batch")} for _ in batch)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lifted.*|.*isinstance.*")
        return torch.export.export(whole, tuple(batch), dynamic_shapes=(shapes,))


@contextlib.contextmanager
def _without(module: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """The module without some of its tensors, for the time of the block."""
    kept: list[tuple[dict[str, Any], str, Tensor | None]] = []
    for name in names:
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        parameters: dict[str, Any] = owner._parameters
        tensors = parameters if last in parameters else owner._buffers
        kept.append((tensors, last, tensors[last]))
        tensors[last] = None
    try:
        yield
    finally:
        for tensors, last, tensor in kept:
            tensors[last] = tensor
