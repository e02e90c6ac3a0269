"""torch.compile takes the whole model as one graph."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast import create_model


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "recompute"), [(torch.float32, 0), (torch.bfloat16, 2)])
def test_model_compiles_without_graph_breaks(
    tiny_backbone: str, precision: torch.dtype, recompute: int
) -> None:
    torch.manual_seed(0)
    model = create_model(backbone=tiny_backbone, classes=("happiness", "anger"), prompt_depth=3)
    model.recompute(recompute)
    trained = list(model.trained_parameters().values())
    with torch.no_grad():
        for parameter in trained:  # up-projections start at zero
            parameter.add_(0.05 * torch.randn_like(parameter))
    frames, labels = torch.rand(2, 3, 3, 32, 32), torch.tensor([0, 1])

    def loss(frames: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            return F.cross_entropy(model(frames), labels)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected, found = loss(frames), compiled(frames)
    assert torch.allclose(expected, found, rtol=1e-4)
    gradients = [torch.autograd.grad(value, trained) for value in (expected, found)]
    for a, b in zip(*gradients, strict=True):
        assert (a - b).abs().max() <= 1e-2 * a.abs().max()
