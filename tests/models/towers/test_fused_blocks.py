"""The frozen blocks on the Triton backend are those in plain PyTorch: logits and every gradient."""

from __future__ import annotations

import pytest
import torch
from helpers.models.small_backbone import save_small_backbone
from torch import Tensor

from peclip_fast import create_model
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.ops.devices import triton_missing

CLASSES = ("happiness", "sadness")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small_backbone(tmp_path_factory.mktemp("small"), layers=3)


def made(backbone: str, method: str, backend: str) -> AdaptedCLIP:
    torch.manual_seed(0)
    options = {"prompt_depth": 3} if method == "pe_clip" else {}
    model = create_model(
        backbone=backbone, classes=CLASSES, method=method, backend=backend, **options
    )
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(torch.randn(parameter.shape) * 0.02)
    return model.train()


def both_passes(model: AdaptedCLIP, frames: Tensor, recompute: int) -> dict[str, Tensor]:
    model.recompute(recompute)
    torch.manual_seed(1)  # of dropout
    logits = model(frames)
    logits.square().sum().backward()
    gradients = {n: p.grad for n, p in model.trained_parameters().items() if p.grad is not None}
    return {"logits": logits.detach()} | gradients


@pytest.mark.skipif(triton_missing() is not None, reason=str(triton_missing()))
@pytest.mark.parametrize(("method", "recompute"), [("pe_clip", 1), ("clip_lora", 0), ("full", 0)])
def test_as_in_plain_pytorch(backbone: str, method: str, recompute: int) -> None:
    """With prompts and adapters; with sums that wait for the next norm; with trained weights."""
    model = made(backbone, method, "reference")
    frames = torch.rand(1, 1, 3, model.image_size, model.image_size)
    expected = both_passes(model, frames, 0)
    found = both_passes(made(backbone, method, "triton"), frames, recompute)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4 * scale + 1e-7)
